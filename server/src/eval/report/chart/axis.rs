//! Where values lie on an axis, and which are written beside it.

/// An axis: what it measures, from where to where, in equal steps or in equal factors.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    /// Beside the axis.
    pub label: String,
    low: f64,
    high: f64,
    logarithmic: bool,
}

impl Axis {
    /// Equal steps from `low` to `high`.
    pub fn linear(label: &str, low: f64, high: f64) -> Self {
        let high = if high > low { high } else { low + 1.0 };
        Self { label: label.to_owned(), low, high, logarithmic: false }
    }

    /// A share, 0 to 1.
    pub fn share(label: &str) -> Self {
        Self::linear(label, 0.0, 1.0)
    }

    /// Equal factors from `low`, above 0, to 1. Lower values lie on the edge.
    pub fn rate(label: &str, low: f64) -> Self {
        Self { label: format!("{label} (log)"), low: low.clamp(1e-9, 0.1), high: 1.0, logarithmic: true }
    }

    /// Place of `value`, 0 at the low end, 1 at the high one; what lies outside is moved to the end.
    pub fn place(&self, value: f64) -> f64 {
        let place = if self.logarithmic {
            (value.max(self.low) / self.low).log10() / (self.high / self.low).log10()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        place.clamp(0.0, 1.0)
    }

    /// Values to write beside the axis, with their text.
    pub fn ticks(&self) -> Vec<(f64, String)> {
        if self.logarithmic {
            let (first, last) = (self.low.log10().ceil() as i32, self.high.log10().floor() as i32);
            return (first..=last).map(|e| (10_f64.powi(e), power(e))).collect();
        }
        let step = step((self.high - self.low) / 5.0);
        let first = (self.low / step - 1e-9).ceil() as i64;
        let last = (self.high / step + 1e-9).floor() as i64;
        let digits = (-step.log10()).ceil().max(0.0) as usize;
        (first..=last).map(|i| (i as f64 * step, format!("{:.digits$}", i as f64 * step))).collect()
    }
}

fn power(exponent: i32) -> String {
    if exponent >= -2 { 10_f64.powi(exponent).to_string() } else { format!("1e{exponent}") }
}

/// The next of 1, 2, 5 times a power of ten from `least` on.
fn step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0].into_iter().find(|f| f * power >= least * (1.0 - 1e-9));
    factor.unwrap_or(10.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round() {
        let text = |axis: Axis| axis.ticks().into_iter().map(|t| t.1).collect::<Vec<_>>();
        assert_eq!(text(Axis::share("x")), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(text(Axis::linear("x", 0.0, 90.0)), ["0", "20", "40", "60", "80"]);
        assert_eq!(text(Axis::linear("x", -0.3, 0.95)), ["0.0", "0.5"]);
        assert_eq!(text(Axis::rate("x", 1e-4)), ["1e-4", "1e-3", "0.01", "0.1", "1"]);
    }

    #[test]
    fn values_lie_between_the_ends() {
        let rate = Axis::rate("x", 1e-4);
        assert_eq!((rate.place(0.0), rate.place(1.0)), (0.0, 1.0));
        assert!((rate.place(1e-2) - 0.5).abs() < 1e-12);
        let share = Axis::linear("x", -1.0, 1.0);
        assert_eq!((share.place(0.0), share.place(7.0)), (0.5, 1.0));
        assert!(Axis::linear("x", 0.0, 0.0).place(0.0).is_finite());
    }
}
