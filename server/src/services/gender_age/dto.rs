//! The service's answers as clients of the original know them.

use std::collections::BTreeMap;

use facesocial_types::{Analysis, FaceAnalysis, Gender, GenderAge};
use serde::Serialize;

use crate::{
    services::face::{Answer, BatchEntry, BoxDto, FaceEntry, score},
    state::Item,
};

/// Age and gender of every face of a photo.
#[derive(Debug, Serialize)]
pub struct Assessed {
    /// One entry per face, by the photo's index.
    pub predictions: Vec<FaceEntry<Attributes>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    processing_time: Option<f64>,
    total_faces: usize,
    model_info: Option<String>,
}

/// Age and gender of one face.
#[derive(Debug, Clone, Serialize)]
pub struct Attributes {
    /// As the network's training labels knew it.
    pub gender: Gender,
    gender_confidence: f64,
    /// Years.
    pub age: f64,
    age_group: &'static str,
    /// Probability that the true age lies within five years of `age`; null of a network that does not tell.
    age_confidence: Option<f64>,
    /// Years between which the network puts about 80 % of its probability; null of a network that does not tell.
    age_range: Option<AgeRange>,
    model: String,
}

/// Lowest and highest year.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct AgeRange {
    min: u8,
    max: u8,
}

impl From<[u8; 2]> for AgeRange {
    fn from([min, max]: [u8; 2]) -> Self {
        Self { min, max }
    }
}

/// Age and gender of one face, if they were asked for.
pub fn entry(face: &FaceAnalysis) -> Option<FaceEntry<Attributes>> {
    let attributes = |g: &GenderAge| Attributes {
        gender: g.gender,
        gender_confidence: score(g.gender_score),
        age: (f64::from(g.age) * 10.0).round() / 10.0,
        age_group: age_group(g.age),
        age_confidence: g.age_range.map(age_confidence),
        age_range: g.age_range.map(AgeRange::from),
        model: g.model.to_string(),
    };
    let answer = Answer::of(face.gender_age.as_ref()?, attributes);
    Some(FaceEntry { face_id: face.index, bbox: BoxDto::plain(&face.bbox), answer })
}

fn age_group(age: f32) -> &'static str {
    match age {
        a if a < 3.0 => "0-2",
        a if a < 10.0 => "3-9",
        a if a < 20.0 => "10-19",
        a if a < 30.0 => "20-29",
        a if a < 40.0 => "30-39",
        a if a < 50.0 => "40-49",
        a if a < 60.0 => "50-59",
        a if a < 70.0 => "60-69",
        _ => "70+",
    }
}

/// The network's probability within five years of its estimate, taking its distribution for a normal one: 80 % of that
/// lie within 1.2816 standard deviations. The original's formula was `1 - |age - 35| / 35`, which says nothing.
fn age_confidence([low, high]: [u8; 2]) -> f64 {
    let sigma = (f64::from(high.saturating_sub(low)) / 2.0 / 1.2816).max(0.5);
    (erf(5.0 / (sigma * std::f64::consts::SQRT_2)) * 1e4).round() / 1e4
}

/// The error function for `x >= 0`, within 1.5e-7 (Abramowitz and Stegun, formula 7.1.26).
fn erf(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.327_591_1 * x);
    let poly = [1.061_405_429, -1.453_152_027, 1.421_413_741, -0.284_496_736, 0.254_829_592];
    1.0 - poly.iter().fold(0.0, |sum, c| sum * t + c) * t * (-x * x).exp()
}

impl Assessed {
    /// From an analysis that age and gender were asked of.
    pub fn of(analysis: &Analysis) -> Self {
        let predictions: Vec<_> = analysis.faces.iter().filter_map(entry).collect();
        let model_info = predictions.iter().find_map(|d| d.answer.done()).map(|a| a.model.clone());
        Self { total_faces: predictions.len(), predictions, processing_time: None, model_info }
    }

    /// With the time it took in seconds.
    #[must_use]
    pub fn within(self, seconds: f64) -> Self {
        Self { processing_time: Some(seconds), ..self }
    }

    /// How many faces of each gender.
    pub fn genders(&self) -> GenderCount {
        let count =
            |gender| self.predictions.iter().filter_map(|p| p.answer.done()).filter(|a| a.gender == gender).count();
        GenderCount { male: count(Gender::Male), female: count(Gender::Female) }
    }
}

/// Faces by gender.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct GenderCount {
    male: usize,
    female: usize,
}

/// Answer for a batch.
#[derive(Debug, Serialize)]
pub struct Batch {
    results: Vec<BatchEntry<Assessed>>,
    total_processing_time: f64,
    total_faces_processed: usize,
    gender_distribution: GenderCount,
    age_distribution: BTreeMap<&'static str, usize>,
}

impl Batch {
    /// The answer for a batch that took `seconds`.
    pub fn of(items: Vec<Item<Assessed>>, seconds: f64) -> Self {
        let done = || items.iter().filter_map(|i| i.answer.as_ref().ok());
        let mut ages = BTreeMap::new();
        for attributes in done().flat_map(|a| &a.predictions).filter_map(|p| p.answer.done()) {
            *ages.entry(attributes.age_group).or_insert(0) += 1;
        }
        let genders = done().map(Assessed::genders).fold(GenderCount::default(), |sum, g| GenderCount {
            male: sum.male + g.male,
            female: sum.female + g.female,
        });
        Self {
            total_faces_processed: done().map(|a| a.total_faces).sum(),
            gender_distribution: genders,
            age_distribution: ages,
            total_processing_time: seconds,
            results: items.into_iter().map(BatchEntry::of).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn age_groups_begin_where_the_original_begins_them() {
        let groups: Vec<_> = [0.0, 2.9, 3.0, 19.9, 20.0, 69.0, 70.0, 99.0].into_iter().map(age_group).collect();
        assert_eq!(groups, ["0-2", "0-2", "3-9", "10-19", "20-29", "60-69", "70+", "70+"]);
    }

    #[test]
    fn the_error_function_is_within_its_bound() {
        for (x, expected) in [(0.0, 0.0), (0.5, 0.520_499_877_8), (1.0, 0.842_700_792_9), (2.0, 0.995_322_265_0)] {
            assert!((erf(x) - expected).abs() < 1.5e-7, "erf({x})");
        }
    }

    #[test]
    fn a_wider_range_is_less_sure() {
        assert!(age_confidence([30, 34]) > age_confidence([20, 50]));
        // An interval of ten years around the estimate holds 80 % by definition.
        assert!((age_confidence([30, 40]) - 0.8).abs() < 1e-3);
    }
}
