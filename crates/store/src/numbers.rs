//! Numbers on their way to the databases, which know no unsigned ones.

use serde_json::Value;

/// A count as the databases keep it. What is larger than a count can be becomes the largest.
pub(crate) fn to_db(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A score in as few digits as tell it from its neighbours: 0.3, not 0.30000001192092896.
pub(crate) fn shortest(score: Option<f32>) -> Value {
    score.and_then(|score| score.to_string().parse::<f64>().ok()).map_or(Value::Null, Value::from)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn scores_are_written_shortly_and_read_back_the_same() {
        assert_eq!(shortest(Some(0.3)), json!(0.3));
        assert_eq!(shortest(None), Value::Null);
        for score in [0.1, 1.0, 0.333_333_34, -0.99, f32::MIN_POSITIVE] {
            assert_eq!(shortest(Some(score)).as_f64().unwrap() as f32, score);
        }
    }

    #[test]
    fn counts_never_wrap() {
        assert_eq!(to_db(12), 12);
        assert_eq!(to_db(u64::MAX), i64::MAX);
    }
}
