//! Average precision of a detector.

use facesocial_types::BBox;

use super::{MetricError, all_finite};

/// What a detection turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It covers a labelled box that no better detection took.
    Hit,
    /// It covers none.
    Miss,
    /// It covers a box that does not count.
    Ignored,
}

/// A detected box with its score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Detected {
    /// Where.
    pub bbox: BBox,
    /// The detector's confidence.
    pub score: f32,
}

/// A labelled box; one that does not `count` is neither to be found nor wrong to find.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Truth {
    /// Where.
    pub bbox: BBox,
    /// Whether it must be found.
    pub counts: bool,
}

/// A score and its verdict.
pub type Judged = (f32, Verdict);

/// Intersection over union from which COCO's mean average precision counts a detection: 0.5 to 0.95 in steps of 0.05.
pub const COCO_IOUS: [f32; 10] = [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95];

/// Judges the detections of one image, the surest first: each takes the labelled box it covers best among those not
/// yet taken, if they share at least `min_iou`. Boxes that count go before those that do not; the latter can be taken
/// by any number of detections. The result is in the order of falling scores.
pub fn judge(detections: &[Detected], truths: &[Truth], min_iou: f32) -> Vec<Judged> {
    judge_within(detections, truths, min_iou, |_| true)
}

/// As [`judge`]; a detection that covers nothing is ignored unless its box `is_wanted`: among large boxes alone a small wrong
/// one is not wrong.
pub fn judge_within(
    detections: &[Detected],
    truths: &[Truth],
    min_iou: f32,
    is_wanted: impl Fn(&BBox) -> bool,
) -> Vec<Judged> {
    let mut order: Vec<&Detected> = detections.iter().collect();
    order.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut taken = vec![false; truths.len()];
    order
        .into_iter()
        .map(|detection| {
            let best = |counts: bool, taken: &[bool]| {
                let free = truths.iter().enumerate().filter(|(i, t)| t.counts == counts && !(counts && taken[*i]));
                free.map(|(i, t)| (i, t.bbox.iou(&detection.bbox)))
                    .filter(|(_, iou)| *iou >= min_iou)
                    .max_by(|a, b| a.1.total_cmp(&b.1))
            };
            let verdict = if let Some((i, _)) = best(true, &taken) {
                taken[i] = true;
                Verdict::Hit
            } else if best(false, &taken).is_some() || !is_wanted(&detection.bbox) {
                Verdict::Ignored
            } else {
                Verdict::Miss
            };
            (detection.score, verdict)
        })
        .collect()
}

/// Average precision: the area under the precision-recall curve, where the precision at a recall is the best one at
/// that recall or a higher one (interpolation at all points, no fixed grid). Equal scores are one step, so the order
/// of the images does not matter.
///
/// `judged` holds the verdicts of all images in any order, `positives` is the number of labelled boxes that count.
///
/// # Errors
/// No labelled boxes, a score that is no finite number.
pub fn average_precision(judged: &[Judged], positives: usize) -> Result<f64, MetricError> {
    all_finite(judged.iter().map(|j| f64::from(j.0)))?;
    if positives == 0 {
        return Err(MetricError::Empty);
    }
    let mut sorted: Vec<Judged> = judged.iter().copied().filter(|j| j.1 != Verdict::Ignored).collect();
    sorted.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (mut hits, mut seen) = (0_usize, 0_usize);
    let mut curve = Vec::new(); // (hits, precision), by falling threshold
    for tied in sorted.chunk_by(|a, b| a.0 == b.0) {
        hits += tied.iter().filter(|j| j.1 == Verdict::Hit).count();
        seen += tied.len();
        curve.push((hits, hits as f64 / seen as f64));
    }
    let mut area = 0.0;
    let mut envelope = 0.0_f64;
    for i in (0..curve.len()).rev() {
        let (hits, precision) = curve[i];
        envelope = envelope.max(precision);
        let before = if i == 0 { 0 } else { curve[i - 1].0 };
        area += (hits - before) as f64 * envelope;
    }
    Ok(area / positives as f64)
}

/// The curve as it is drawn: (recall, precision) at every score, from the highest on. Without interpolation.
pub fn precision_curve(judged: &[Judged], positives: usize) -> Vec<(f64, f64)> {
    let mut sorted: Vec<Judged> = judged.iter().copied().filter(|j| j.1 != Verdict::Ignored).collect();
    sorted.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (mut hits, mut seen) = (0_usize, 0_usize);
    let step = |tied: &[Judged]| {
        hits += tied.iter().filter(|j| j.1 == Verdict::Hit).count();
        seen += tied.len();
        (hits as f64 / positives.max(1) as f64, hits as f64 / seen as f64)
    };
    sorted.chunk_by(|a, b| a.0 == b.0).map(step).collect()
}

/// Precision and recall of the detections that score at least `min_score`. Precision is `None` without detections.
pub fn precision_recall(judged: &[Judged], positives: usize, min_score: f32) -> (Option<f64>, f64) {
    let count = |verdict| judged.iter().filter(|j| j.0 >= min_score && j.1 == verdict).count();
    let (hits, misses) = (count(Verdict::Hit), count(Verdict::Miss));
    let precision = (hits + misses > 0).then(|| hits as f64 / (hits + misses) as f64);
    (precision, hits as f64 / positives.max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::{super::roc::tests::generated, *};

    fn at(x: f32, score: f32) -> Detected {
        Detected { bbox: BBox::new(x, 0.0, 10.0, 10.0), score }
    }

    fn truth(x: f32, counts: bool) -> Truth {
        Truth { bbox: BBox::new(x, 0.0, 10.0, 10.0), counts }
    }

    #[test]
    fn each_box_is_found_once_and_by_the_surest() {
        let judged = judge(&[at(1.0, 0.6), at(0.0, 0.9), at(50.0, 0.8)], &[truth(0.0, true)], 0.5);
        assert_eq!(judged, [(0.9, Verdict::Hit), (0.8, Verdict::Miss), (0.6, Verdict::Miss)]);
    }

    #[test]
    fn boxes_that_do_not_count_swallow_any_number_of_detections() {
        let truths = [truth(0.0, false), truth(4.0, true)];
        let judged = judge(&[at(0.0, 0.9), at(1.0, 0.8), at(0.5, 0.7)], &truths, 0.5);
        // The second covers the counting box by 7/13, enough; the others cover only the one that does not count.
        assert_eq!(judged, [(0.9, Verdict::Ignored), (0.8, Verdict::Hit), (0.7, Verdict::Ignored)]);
    }

    #[test]
    fn a_wrong_detection_of_another_size_is_not_wrong() {
        let truths = [truth(0.0, true)];
        let found = [at(50.0, 0.9), at(0.0, 0.8)];
        let large = |b: &BBox| b.area() > 200.0;
        let judged = judge_within(&found, &truths, 0.5, large);
        assert_eq!(judged, [(0.9, Verdict::Ignored), (0.8, Verdict::Hit)]);
    }

    #[test]
    fn area_worked_out_by_hand() {
        // Hit, miss, hit of four boxes: precisions 1, 1/2, 2/3; envelope 1 up to recall 1/4, then 2/3 up to 1/2.
        let judged = [(0.9, Verdict::Hit), (0.8, Verdict::Miss), (0.75, Verdict::Ignored), (0.7, Verdict::Hit)];
        let ap = average_precision(&judged, 4).unwrap();
        assert!((ap - (0.25 + 0.25 * 2.0 / 3.0)).abs() < 1e-12);
        assert_eq!(precision_curve(&judged, 4), [(0.25, 1.0), (0.25, 0.5), (0.5, 2.0 / 3.0)]);
        assert_eq!(precision_recall(&judged, 4, 0.75), (Some(0.5), 0.25));
        assert_eq!(precision_recall(&judged, 4, 0.95), (None, 0.0));
        assert_eq!(average_precision(&[], 4), Ok(0.0));
        assert_eq!(average_precision(&judged, 0), Err(MetricError::Empty));
    }

    #[test]
    fn area_equals_the_envelope_of_scikit_learns_curve() {
        // precision_recall_curve with a running maximum over precision.
        let judged: Vec<Judged> = generated()
            .iter()
            .map(|s| (s.score as f32, if s.positive { Verdict::Hit } else { Verdict::Miss }))
            .collect();
        let ap = average_precision(&judged, 200).unwrap();
        assert!((ap - 0.845330272542415).abs() < 1e-12, "{ap}");
        let mut reversed = judged.clone();
        reversed.reverse();
        assert_eq!(average_precision(&reversed, 200), Ok(ap));
    }

    #[test]
    fn a_score_that_is_no_number_is_named() {
        let judged = [(f32::NAN, Verdict::Hit)];
        assert!(matches!(average_precision(&judged, 1), Err(MetricError::NotFinite { index: 0, .. })));
    }
}
