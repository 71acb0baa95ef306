//! From which similarity on two faces count as the same person's.

use std::{fmt, str::FromStr};

use facesocial_engine::Ensemble;

/// False accept rates that a verification threshold is kept for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FarTarget {
    /// One impostor in a hundred is accepted.
    Percent1,
    /// One in a thousand.
    #[default]
    PerMille1,
    /// One in ten thousand.
    PerTenThousand1,
}

impl FarTarget {
    /// Every target.
    pub const ALL: [Self; 3] = [Self::Percent1, Self::PerMille1, Self::PerTenThousand1];

    /// The rate.
    pub const fn rate(self) -> f32 {
        match self {
            Self::Percent1 => 1e-2,
            Self::PerMille1 => 1e-3,
            Self::PerTenThousand1 => 1e-4,
        }
    }
}

/// Similarities that decide, one for each [`FarTarget`]. They belong to one ensemble: another one's say nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Thresholds {
    percent_1: f32,
    per_mille_1: f32,
    /// Needs tens of thousands of pairs of strangers, so that not everybody has it.
    per_ten_thousand_1: Option<f32>,
}

impl Thresholds {
    /// Those of the bundled ensemble.
    ///
    /// Chosen on the LFW development pairs with `facesocial eval verification`, and raised to what all 543,191 pairs of
    /// strangers among 1,044 of those photos ask for: 1,709 pairs alone say little about one in a thousand. That for one in
    /// ten thousand comes from 244,650 pairs among 700 people, of which 20 reach it.
    const BUNDLED: Self = Self { percent_1: 0.772, per_mille_1: 0.805, per_ten_thousand_1: Some(0.835) };

    /// What was measured for an ensemble of these members; `None` for one that was not measured.
    pub(crate) fn measured(members: &[(String, f32)]) -> Option<Self> {
        let bundled = Ensemble::bundled();
        let same = |(a, b): (&(String, f32), &(String, f32))| a.0 == b.0 && (a.1 - b.1).abs() < 1e-4;
        let is_bundled = members.len() == bundled.members().len() && members.iter().zip(bundled.members()).all(same);
        is_bundled.then_some(Self::BUNDLED)
    }

    /// The similarity for `far`, -1..=1; `None` if it was not measured.
    pub const fn at(&self, far: FarTarget) -> Option<f32> {
        match far {
            FarTarget::Percent1 => Some(self.percent_1),
            FarTarget::PerMille1 => Some(self.per_mille_1),
            FarTarget::PerTenThousand1 => self.per_ten_thousand_1,
        }
    }
}

impl FromStr for Thresholds {
    type Err = String;

    /// `1e-2=0.31,1e-3=0.42`, and `1e-4=0.48` where it was measured.
    fn from_str(s: &str) -> Result<Self, String> {
        let mut found = [None; FarTarget::ALL.len()];
        for part in s.split(',') {
            let (rate, value) = part.split_once('=').ok_or("write 1e-2=SIMILARITY,1e-3=SIMILARITY")?;
            let number = |text: &str| text.trim().parse::<f32>().map_err(|_| format!("\"{text}\" is no number"));
            let (rate, value) = (number(rate)?, number(value)?);
            let place = FarTarget::ALL.iter().position(|t| (t.rate() - rate).abs() < 1e-9);
            let place =
                place.ok_or_else(|| format!("{rate} is no rate that is decided at; those are 1e-2, 1e-3 and 1e-4"))?;
            if !(-1.0..=1.0).contains(&value) {
                return Err(format!("{value} is no similarity: they lie between -1 and 1"));
            }
            found[place] = Some(value);
        }
        let [Some(percent_1), Some(per_mille_1), per_ten_thousand_1] = found else {
            return Err("give both, 1e-2=SIMILARITY,1e-3=SIMILARITY; 1e-4 is optional".to_owned());
        };
        if percent_1 > per_mille_1 || per_ten_thousand_1.is_some_and(|strict| per_mille_1 > strict) {
            return Err("fewer false accepts need a higher similarity, not a lower one".to_owned());
        }
        Ok(Self { percent_1, per_mille_1, per_ten_thousand_1 })
    }
}

impl fmt::Display for Thresholds {
    /// As [`FromStr`] reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "1e-2={},1e-3={}", self.percent_1, self.per_mille_1)?;
        self.per_ten_thousand_1.map_or(Ok(()), |strict| write!(f, ",1e-4={strict}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_kept_for_what_was_measured_only() {
        let bundled = Ensemble::bundled();
        assert_eq!(Thresholds::measured(bundled.members()), Some(Thresholds::BUNDLED));
        assert_eq!(Thresholds::measured(Ensemble::full().members()), None);
        assert_eq!(Thresholds::measured(&bundled.members()[..2]), None);
        assert!(FarTarget::ALL.map(|far| Thresholds::BUNDLED.at(far)).is_sorted());
    }

    #[test]
    fn thresholds_are_read_and_faults_are_named() {
        let read: Thresholds = "1e-3=0.42, 0.01=0.31".parse().unwrap();
        assert_eq!(FarTarget::ALL.map(|far| read.at(far)), [Some(0.31), Some(0.42), None]);
        let read: Thresholds = "1e-3=0.42,1e-2=0.31,1e-4=0.5".parse().unwrap();
        assert_eq!(read.at(FarTarget::PerTenThousand1), Some(0.5));
        for text in ["1e-2=0.31,1e-3=0.42", "1e-2=-0.25,1e-3=0.42,1e-4=0.5"] {
            assert_eq!(text.parse::<Thresholds>().unwrap().to_string(), text);
        }
        for (text, fault) in [
            ("0.4", "write 1e-2="),
            ("1e-2=0.3", "give both"),
            ("1e-5=0.3", "no rate"),
            ("1e-4=0.3", "give both"),
            ("1e-2=0.3,1e-3=0.5,1e-4=0.4", "higher"),
            ("1e-2=2,1e-3=0.3", "between -1 and 1"),
            ("1e-2=0.5,1e-3=0.3", "higher"),
        ] {
            assert!(text.parse::<Thresholds>().unwrap_err().contains(fault), "{text}");
        }
    }
}
