//! Identity over time: the best matches of many frames, one ballot each.

use std::collections::VecDeque;

/// A person that a face is like, by its best enrolled face.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// The caller's name for the person.
    pub person: String,
    /// Cosine similarity, at or above the caller's threshold.
    pub similarity: f32,
}

/// When ballots become a decision.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct IdentityOptions {
    /// Newest ballots that count.
    pub window: usize,
    /// Ballots for a person that are needed.
    pub min_votes: usize,
    /// Ballots that the person must be ahead of the next one.
    pub margin: usize,
    /// Share of all ballots, those for nobody included, that is needed; 0..=1.
    pub share: f32,
    /// Share at which a decision still stands.
    pub keep_share: f32,
    /// A frame whose two likeliest persons are nearer than this in similarity is a ballot for nobody.
    pub lead: f32,
}

impl Default for IdentityOptions {
    fn default() -> Self {
        Self { window: 10, min_votes: 3, margin: 2, share: 0.6, keep_share: 0.4, lead: 0.02 }
    }
}

/// The person with the most ballots.
#[derive(Debug, Clone, PartialEq)]
pub struct Leading {
    /// Who.
    pub person: String,
    /// Ballots for the person.
    pub votes: usize,
    /// Mean similarity of those ballots.
    pub similarity: f32,
}

/// The ballots of one track, and what they come to.
#[derive(Debug, Clone, PartialEq)]
pub struct IdentityVote {
    options: IdentityOptions,
    ballots: VecDeque<Option<Candidate>>,
    decided: Option<String>,
}

impl IdentityVote {
    /// No ballot.
    pub fn new(options: IdentityOptions) -> Self {
        Self { options, ballots: VecDeque::new(), decided: None }
    }

    /// One frame's candidates, each person once; none of them for somebody unknown.
    pub fn add(&mut self, candidates: &[Candidate]) {
        let mut sorted: Vec<&Candidate> = candidates.iter().filter(|c| c.similarity.is_finite()).collect();
        sorted.sort_by(|a, b| b.similarity.total_cmp(&a.similarity));
        let ballot = match sorted[..] {
            [first, second, ..] if first.similarity - second.similarity < self.options.lead => None,
            [first, ..] => Some(first.clone()),
            [] => None,
        };
        self.ballots.push_back(ballot);
        while self.ballots.len() > self.options.window {
            self.ballots.pop_front();
        }
        self.decided = self.decide();
    }

    /// Whom the track shows, once that is decided.
    pub fn decided(&self) -> Option<&str> {
        self.decided.as_deref()
    }

    /// The person with the most ballots, of equal ones the more similar; `None` without a ballot for anybody.
    pub fn leading(&self) -> Option<Leading> {
        self.counts().into_iter().next()
    }

    /// How many ballots count, those for nobody included.
    pub fn ballots(&self) -> usize {
        self.ballots.len()
    }

    /// Persons with their ballots, most first.
    fn counts(&self) -> Vec<Leading> {
        let mut counts: Vec<Leading> = Vec::new();
        for Candidate { person, similarity } in self.ballots.iter().flatten() {
            match counts.iter_mut().find(|c| c.person == *person) {
                Some(count) => {
                    count.votes += 1;
                    count.similarity += similarity;
                }
                None => counts.push(Leading { person: person.clone(), votes: 1, similarity: *similarity }),
            }
        }
        for count in &mut counts {
            count.similarity /= count.votes as f32;
        }
        counts.sort_by(|a, b| b.votes.cmp(&a.votes).then(b.similarity.total_cmp(&a.similarity)));
        counts
    }

    fn decide(&self) -> Option<String> {
        let IdentityOptions { min_votes, margin, share, keep_share, .. } = self.options;
        let counts = self.counts();
        let first = counts.first()?;
        let ahead = first.votes - counts.get(1).map_or(0, |second| second.votes);
        let of_all = first.votes as f32 / self.ballots.len() as f32;
        let stands = self.decided.as_deref() == Some(first.person.as_str());
        let enough = if stands { of_all >= keep_share && ahead >= 1 } else { of_all >= share && ahead >= margin };
        (first.votes >= min_votes && enough).then(|| first.person.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn like(person: &str, similarity: f32) -> Candidate {
        Candidate { person: person.to_owned(), similarity }
    }

    fn vote(ballots: &[&[Candidate]]) -> IdentityVote {
        let mut vote = IdentityVote::new(IdentityOptions::default());
        for ballot in ballots {
            vote.add(ballot);
        }
        vote
    }

    #[test]
    fn a_person_is_decided_by_count_and_margin() {
        let (ann, bob): (&[_], &[_]) = (&[like("ann", 0.9)], &[like("bob", 0.95)]);
        assert_eq!(vote(&[ann, ann]).decided(), None);
        assert_eq!(vote(&[ann, ann, ann]).decided(), Some("ann"));
        assert_eq!(vote(&[ann, bob, ann, bob, ann]).decided(), None);
        assert_eq!(vote(&[bob, ann, ann, ann, ann]).decided(), Some("ann"));
        assert_eq!(vote(&[&[], &[], &[], ann, ann, ann]).decided(), None, "half of the frames knew nobody");
    }

    #[test]
    fn a_single_frame_neither_makes_nor_ends_a_decision() {
        let (ann, bob): (&[_], &[_]) = (&[like("ann", 0.9)], &[like("bob", 1.0)]);
        let decided = vote(&[ann, ann, ann, bob, ann, &[]]);
        assert_eq!(decided.decided(), Some("ann"));
        let leading = decided.leading().unwrap();
        assert_eq!((leading.votes, decided.ballots()), (4, 6));
        assert!((leading.similarity - 0.9).abs() < 1e-6);
        let mut gone = decided;
        for _ in 0..8 {
            gone.add(&[]);
        }
        assert_eq!(gone.decided(), None, "somebody unknown took the place");
    }

    #[test]
    fn two_who_look_alike_are_a_ballot_for_nobody() {
        let twins: &[_] = &[like("ann", 0.900), like("amy", 0.899)];
        assert_eq!(vote(&[twins; 6]).decided(), None);
        assert_eq!(vote(&[twins; 6]).leading(), None);
    }

    #[test]
    fn who_is_decided_has_the_most_ballots_whatever_comes() {
        let mut random = fastrand::Rng::with_seed(11);
        for _ in 0..2000 {
            let mut vote = IdentityVote::new(IdentityOptions::default());
            for _ in 0..random.usize(1..25) {
                let names = ["ann", "bob", "cid"];
                let shown = names.iter().filter_map(|name| {
                    let seen = random.bool();
                    seen.then(|| like(name, random.f32()))
                });
                let shown: Vec<Candidate> = shown.collect();
                vote.add(&shown);
                if let Some(decided) = vote.decided() {
                    let leading = vote.leading().unwrap();
                    assert_eq!(decided, leading.person);
                    assert!(leading.votes >= 3 && leading.votes * 10 >= vote.ballots() * 4);
                }
            }
        }
    }
}
