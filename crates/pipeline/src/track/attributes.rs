//! Age and gender over time: a running median, and the side that the frames lean to.

use std::collections::VecDeque;

use facesocial_types::{Gender, GenderAge};

/// Newest frames that count.
const WINDOW: usize = 15;

/// The estimates of one track.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AttributeVote {
    /// Years, and the probability of male.
    estimates: VecDeque<(f32, f32)>,
}

impl AttributeVote {
    /// One frame's estimate; an age that is no number says nothing.
    pub fn add(&mut self, estimate: &GenderAge) {
        let male = match estimate.gender {
            Gender::Male => estimate.gender_score,
            Gender::Female => 1.0 - estimate.gender_score,
        };
        if estimate.age.is_finite() && male.is_finite() {
            self.estimates.push_back((estimate.age, male));
        }
        while self.estimates.len() > WINDOW {
            self.estimates.pop_front();
        }
    }

    /// Median of the newest ages, in years; `None` without estimates.
    pub fn age(&self) -> Option<f32> {
        let mut ages: Vec<f32> = self.estimates.iter().map(|(age, _)| *age).collect();
        ages.sort_by(f32::total_cmp);
        let middle = ages.len() / 2;
        match ages.len() {
            0 => None,
            n if n % 2 == 1 => ages.get(middle).copied(),
            _ => Some((ages[middle - 1] + ages[middle]) / 2.0),
        }
    }

    /// The likelier gender with its mean probability, 0.5..=1; `None` without estimates.
    pub fn gender(&self) -> Option<(Gender, f32)> {
        let n = self.estimates.len();
        let male = self.estimates.iter().map(|(_, male)| male).sum::<f32>() / n as f32;
        (n > 0).then_some(if male >= 0.5 { (Gender::Male, male) } else { (Gender::Female, 1.0 - male) })
    }

    /// How many frames it stands on.
    pub fn frames(&self) -> usize {
        self.estimates.len()
    }

    /// Forgets everything.
    pub fn reset(&mut self) {
        self.estimates.clear();
    }
}

#[cfg(test)]
mod tests {
    use facesocial_types::ModelId;

    use super::*;

    fn vote(estimates: &[(f32, Gender, f32)]) -> AttributeVote {
        let mut vote = AttributeVote::default();
        for (age, gender, gender_score) in estimates {
            let model = ModelId::new("net", "1");
            vote.add(&GenderAge { model, age: *age, age_range: None, gender: *gender, gender_score: *gender_score });
        }
        vote
    }

    #[test]
    fn one_wild_frame_moves_neither_age_nor_gender() {
        let (f, m) = (Gender::Female, Gender::Male);
        let steady = vote(&[(30.0, f, 0.9), (31.0, f, 0.9), (90.0, m, 1.0), (29.0, f, 0.9), (30.0, f, 0.9)]);
        assert_eq!(steady.age(), Some(30.0));
        assert_eq!(steady.gender().map(|(gender, _)| gender), Some(f));
        assert_eq!(vote(&[(20.0, f, 0.9), (30.0, f, 0.9)]).age(), Some(25.0));
    }

    #[test]
    fn without_estimates_nothing_is_said_and_old_ones_go() {
        assert_eq!((vote(&[]).age(), vote(&[]).gender()), (None, None));
        assert_eq!(vote(&[(f32::NAN, Gender::Male, 0.9)]).age(), None);
        let mut ages = vec![(20.0, Gender::Male, 0.9); 20];
        ages.extend([(60.0, Gender::Male, 0.9); 15]);
        assert_eq!((vote(&ages).age(), vote(&ages).frames()), (Some(60.0), 15));
    }
}
