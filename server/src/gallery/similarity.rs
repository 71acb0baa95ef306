//! How alike a photo and a face of the gallery are said to be. A client that changes its photo a little at a time, and learns
//! each time whether that brought it nearer to a stored face, arrives at a picture that passes for it (hill climbing; Adler,
//! "Images can be regenerated from quantized biometric match score data", 2004). It learns less from coarse steps, so that
//! more requests are needed, which are counted; what two photos of a client's own have in common is told in full.

use crate::services::face::score;

/// One step in 1 of similarity.
const STEPS: f64 = 100.0;
/// Of a step: what single precision leaves of a whole number of steps.
const SLACK: f64 = 1e-5;

/// A similarity in whole steps of 0.01, rounded down.
pub fn in_steps(similarity: f32) -> f64 {
    (f64::from(similarity) * STEPS + SLACK).floor() / STEPS
}

/// A similarity in whole steps; of a match, never below the threshold that it passed.
pub fn shown(similarity: f32, threshold: f32) -> f64 {
    let steps = in_steps(similarity);
    if similarity >= threshold { steps.max(score(threshold)) } else { steps }
}

/// The similarity from which every match is shown with at least the one that a client asked for: a finer one would be a way to
/// ask for what is not shown.
pub fn least(asked: f32) -> f32 {
    ((f64::from(asked) * STEPS - SLACK).ceil() / STEPS) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_similarity_is_rounded_down_and_agrees_with_the_decision() {
        assert_eq!(shown(0.8479, 0.9), 0.84);
        assert_eq!(shown(0.84, 0.9), 0.84);
        assert_eq!(shown(-0.121, 0.9), -0.13);
        assert_eq!(shown(0.9999, 0.9), 0.99);
        // Two hundredths with the threshold between them.
        assert_eq!(shown(0.8349, 0.835), 0.83);
        assert_eq!(shown(0.8351, 0.835), 0.835);
        assert_eq!(shown(1.0, 0.835), 1.0);
    }

    #[test]
    fn no_least_similarity_tells_more_than_is_shown() {
        for (asked, used) in
            [(0.5, 0.5), (0.501, 0.51), (0.509, 0.51), (0.07, 0.07), (-1.0, -1.0), (-0.505, -0.5), (1.0, 1.0)]
        {
            assert_eq!(least(asked), used, "{asked}");
        }
        let first = (0..2000).map(|i| 0.8 + i as f32 * 1e-5).find(|s| *s >= least(0.8099)).unwrap();
        assert_eq!(shown(first, least(0.8099)), 0.81);
    }
}
