//! What is asked, and when: the same in each ten minutes, so that one ten minutes can be compared with another.

use std::time::Duration;

use serde::Serialize;

/// A kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Faces of the gallery, a page.
    ListFaces,
    /// Persons of the gallery, a page.
    ListPersons,
    /// One person.
    ReadPerson,
    /// Whose face it is, of all.
    Identify,
    /// Whether it is the face of this person.
    Verify,
    /// A new person's face.
    Enrol,
    /// Deletes the person that was enrolled first.
    Delete,
    /// Every analysis of a photo, computed.
    Analyze,
    /// The same of photos that the server may remember.
    AnalyzeKept,
    /// Five faces found.
    Detect,
    /// A file that is no image, or a broken one.
    BadImage,
    /// An image above the limit of pixels.
    TooLarge,
    /// An image just below it.
    Huge,
    /// The right password.
    Login,
    /// A wrong one.
    WrongPassword,
    /// No token, or a wrong one.
    WrongToken,
}

/// Every kind, with its share of a thousand requests. As many persons are deleted as are enrolled.
pub const SHARES: [(Kind, usize); 16] = [
    (Kind::ListFaces, 80),
    (Kind::ListPersons, 60),
    (Kind::ReadPerson, 60),
    (Kind::Identify, 160),
    (Kind::Verify, 120),
    (Kind::Enrol, 70),
    (Kind::Delete, 70),
    (Kind::Analyze, 100),
    (Kind::AnalyzeKept, 60),
    (Kind::Detect, 80),
    (Kind::BadImage, 60),
    (Kind::TooLarge, 15),
    (Kind::Huge, 5),
    (Kind::Login, 15),
    (Kind::WrongPassword, 10),
    (Kind::WrongToken, 35),
];

impl Kind {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ListFaces => "list faces",
            Self::ListPersons => "list persons",
            Self::ReadPerson => "read a person",
            Self::Identify => "identify",
            Self::Verify => "verify",
            Self::Enrol => "enrol",
            Self::Delete => "delete a person",
            Self::Analyze => "analyze",
            Self::AnalyzeKept => "analyze, kept",
            Self::Detect => "detect",
            Self::BadImage => "bad image",
            Self::TooLarge => "too many pixels",
            Self::Huge => "50 megapixels",
            Self::Login => "login",
            Self::WrongPassword => "wrong password",
            Self::WrongToken => "wrong token",
        }
    }
}

/// A request to be made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Planned {
    /// When, from the start of the plan.
    pub at: Duration,
    /// What.
    pub kind: Kind,
}

/// `per_second` requests on average over `length`, each kind with its share, at times that know nothing of each other.
pub fn plan(per_second: f64, length: Duration, seed: u64) -> Vec<Planned> {
    let mut random = fastrand::Rng::with_seed(seed);
    let total = per_second * length.as_secs_f64();
    let count = |share: usize| (total * share as f64 / 1000.0).round() as usize;
    let mut kinds: Vec<Kind> =
        SHARES.iter().flat_map(|&(kind, share)| std::iter::repeat_n(kind, count(share))).collect();
    random.shuffle(&mut kinds);
    let mut times: Vec<Duration> = kinds.iter().map(|_| length.mul_f64(random.f64())).collect();
    times.sort_unstable();
    times.into_iter().zip(kinds).map(|(at, kind)| Planned { at, kind }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_has_every_kind_and_deletes_what_it_enrols() {
        assert_eq!(SHARES.iter().map(|(_, share)| share).sum::<usize>(), 1000);
        let plan = plan(10.0, Duration::from_secs(600), 1);
        let count = |kind| plan.iter().filter(|p| p.kind == kind).count();
        assert_eq!((plan.len(), count(Kind::Enrol), count(Kind::Delete), count(Kind::Huge)), (6000, 420, 420, 30));
        assert!(plan.is_sorted_by_key(|p| p.at) && plan.last().is_some_and(|p| p.at < Duration::from_secs(600)));
        assert_eq!(super::plan(10.0, Duration::from_secs(600), 1), plan, "the same seed, the same plan");
    }
}
