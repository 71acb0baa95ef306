//! Scores between which an answer stays uncertain.

/// Why two numbers bound no uncertain scores.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("{low} and {high} bound no scores: both lie between 0 and 1, and the first is not above the second")]
pub struct BandError {
    low: f32,
    high: f32,
}

/// The two thresholds of a decision with a third answer, uncertain.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Band {
    low: f32,
    high: f32,
}

impl Band {
    /// Scores below `low` say one thing, from `high` on the other, between the two neither.
    ///
    /// # Errors
    /// A number outside 0..=1, or `low` above `high`.
    pub fn new(low: f32, high: f32) -> Result<Self, BandError> {
        if (0.0..=1.0).contains(&low) && (0.0..=1.0).contains(&high) && low <= high {
            Ok(Self { low, high })
        } else {
            Err(BandError { low, high })
        }
    }

    /// A band that is known to be one.
    pub(crate) const fn shipped(low: f32, high: f32) -> Self {
        assert!(0.0 <= low && low <= high && high <= 1.0);
        Self { low, high }
    }

    /// Below it, the lower answer.
    pub const fn low(self) -> f32 {
        self.low
    }

    /// From it on, the higher answer.
    pub const fn high(self) -> f32 {
        self.high
    }

    /// The answer for `score`; what is no number is uncertain.
    pub fn decide<T>(self, score: f32, below: T, between: T, above: T) -> T {
        match score {
            s if s >= self.high => above,
            s if s < self.low => below,
            _ => between,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_fall_into_three() {
        let band = Band::new(0.3, 0.7).unwrap();
        let of = |score| band.decide(score, '-', '?', '+');
        assert_eq!([0.0, 0.29, 0.3, 0.69, 0.7, 1.0, f32::NAN].map(of), ['-', '-', '?', '?', '+', '+', '?']);
        assert_eq!(Band::new(0.5, 0.5).unwrap().decide(0.5, '-', '?', '+'), '+');
    }

    #[test]
    fn what_is_no_band_is_refused() {
        for (low, high) in [(0.7, 0.3), (-0.1, 0.5), (0.5, 1.1), (f32::NAN, 0.5)] {
            assert!(Band::new(low, high).is_err(), "{low} {high}");
        }
        assert!(Band::new(0.7, 0.3).unwrap_err().to_string().starts_with("0.7 and 0.3 bound no scores"));
    }
}
