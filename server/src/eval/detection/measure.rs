//! From boxes to figures.

use facesocial_types::{BBox, Detector};
use serde::Serialize;

use super::set::{Labelled, Set};
use crate::eval::{
    figure,
    groups::{GroupRates, by_group},
    interval,
    metrics::{
        MetricError,
        ap::{COCO_IOUS, Detected, Judged, Truth, Verdict, average_precision, judge_within, precision_recall},
        interval::wilson,
    },
};

/// Intersection over union from which a detection covers a labelled box.
pub(super) const MIN_IOU: f32 = 0.5;
/// Boxes at least this high are also measured alone.
const HIGH: f32 = 20.0;
/// Areas that COCO divides small, medium and large boxes by.
const SMALL: f32 = 32.0 * 32.0;
const LARGE: f32 = 96.0 * 96.0;

/// What was measured.
#[derive(Debug, Serialize)]
pub(super) struct DetectionReport {
    pub version: u32,
    pub task: &'static str,
    pub data: String,
    pub images: usize,
    pub min_iou: f64,
    pub min_score: f64,
    pub default_score: f64,
    pub detectors: Vec<DetectorReport>,
}

#[derive(Debug, Serialize)]
pub(super) struct DetectorReport {
    pub detector: &'static str,
    pub all: Figures,
    /// Boxes of [`HIGH`] pixels and more; `None` if the set has none. So for each size.
    pub height_20: Option<Figures>,
    pub small: Option<Figures>,
    pub medium: Option<Figures>,
    pub large: Option<Figures>,
    /// Faces missed at the default score, by group.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupRates>,
}

#[derive(Debug, Serialize)]
pub(super) struct Figures {
    pub boxes: usize,
    /// At an intersection over union of 0.5.
    pub average_precision: f64,
    /// Mean over [`COCO_IOUS`].
    pub average_precision_50_95: f64,
    /// At the score from which `facesocial analyze` reports a face; `None` without detections.
    pub precision: Option<f64>,
    pub recall: f64,
    pub recall_interval: [f64; 2],
}

/// Measures one detector.
///
/// # Errors
/// No box at all, a score that is no number.
pub(super) fn measure(
    detector: Detector,
    set: &Set,
    found: &[Vec<Detected>],
    default_score: f32,
) -> Result<DetectorReport, MetricError> {
    let of = |wanted: &dyn Fn(&BBox) -> bool| -> Result<Option<Figures>, MetricError> {
        let any = set.boxes.iter().flatten().any(|b| wanted(&b.bbox));
        any.then(|| figures(set, found, wanted, default_score)).transpose()
    };
    Ok(DetectorReport {
        detector: detector.as_str(),
        all: figures(set, found, &|_| true, default_score)?,
        // Detections of any height may be wrong here: the rule of the figures that were published so far.
        height_20: set
            .boxes
            .iter()
            .flatten()
            .any(|b| b.bbox.height >= HIGH)
            .then(|| figures_of(set, found, |l| l.bbox.height >= HIGH, |_| true, default_score))
            .transpose()?,
        small: of(&|b| b.area() < SMALL)?,
        medium: of(&|b| (SMALL..LARGE).contains(&b.area()))?,
        large: of(&|b| b.area() >= LARGE)?,
        groups: group_rates(set, found, default_score),
    })
}

/// Figures over the boxes that are `wanted`; others are neither to be found nor, if something covers nothing, wrong.
fn figures(
    set: &Set,
    found: &[Vec<Detected>],
    wanted: &dyn Fn(&BBox) -> bool,
    default_score: f32,
) -> Result<Figures, MetricError> {
    figures_of(set, found, |l| wanted(&l.bbox), wanted, default_score)
}

fn figures_of(
    set: &Set,
    found: &[Vec<Detected>],
    counts: impl Fn(&Labelled) -> bool,
    may_be_wrong: impl Fn(&BBox) -> bool,
    default_score: f32,
) -> Result<Figures, MetricError> {
    let boxes = set.boxes.iter().flatten().filter(|b| counts(b)).count();
    let at = |iou| judged(set, found, &counts, &may_be_wrong, iou);
    let half = at(MIN_IOU);
    let all: Vec<f64> =
        COCO_IOUS.into_iter().map(|iou| average_precision(&at(iou), boxes)).collect::<Result<_, _>>()?;
    let (precision, recall) = precision_recall(&half, boxes, default_score);
    let hits = hits(&half, default_score);
    Ok(Figures {
        boxes,
        average_precision: figure(average_precision(&half, boxes)?),
        average_precision_50_95: figure(all.iter().sum::<f64>() / all.len() as f64),
        precision: precision.map(figure),
        recall: figure(recall),
        recall_interval: interval(wilson(hits, boxes)),
    })
}

fn judged(
    set: &Set,
    found: &[Vec<Detected>],
    counts: impl Fn(&Labelled) -> bool,
    may_be_wrong: impl Fn(&BBox) -> bool,
    min_iou: f32,
) -> Vec<Judged> {
    let mut all = Vec::new();
    for (labelled, detections) in set.boxes.iter().zip(found) {
        let truths: Vec<Truth> = labelled.iter().map(|l| Truth { bbox: l.bbox, counts: counts(l) }).collect();
        all.extend(judge_within(detections, &truths, min_iou, &may_be_wrong));
    }
    all
}

fn hits(judged: &[Judged], min_score: f32) -> usize {
    judged.iter().filter(|j| j.0 >= min_score && j.1 == Verdict::Hit).count()
}

fn group_rates(set: &Set, found: &[Vec<Detected>], default_score: f32) -> Vec<GroupRates> {
    let labelled = || set.boxes.iter().flatten().map(|b| b.group.as_deref());
    let Some(groups) = by_group(labelled()) else { return Vec::new() };
    let counts = groups.iter().map(|(group, boxes)| {
        let judged = judged(set, found, |l| l.group.as_deref() == Some(group), |_| false, MIN_IOU);
        (*group, boxes.len() - hits(&judged, default_score), boxes.len())
    });
    vec![GroupRates::new("faces missed", counts)]
}

#[cfg(test)]
mod tests {
    use super::{
        super::set::tests::{BOXES, read, written},
        *,
    };

    #[test]
    fn figures_worked_out_by_hand() {
        let dir = written(BOXES, "file,width\na.png,200\nb.png,200\nc.png,200\n");
        let set = read(dir.path(), None).unwrap();
        let at = |x, y, side, score| Detected { bbox: BBox::new(x, y, side, side), score };
        let found = vec![
            vec![Detected { bbox: BBox::new(0.0, 0.0, 30.0, 40.0), score: 0.9 }, at(100.0, 0.0, 10.0, 0.8)],
            vec![],
            vec![at(0.0, 0.0, 50.0, 0.7)],
        ];
        let report = measure(Detector::Auto, &set, &found, 0.75).unwrap();
        let all = &report.all;
        assert_eq!((all.boxes, all.precision, all.recall), (3, Some(1.0), 0.666667));
        // Both hits are exact, so that every intersection over union counts them.
        assert_eq!((all.average_precision, all.average_precision_50_95), (0.666667, 0.666667));
        let high = report.height_20.as_ref().unwrap();
        assert_eq!((high.boxes, high.average_precision, high.precision, high.recall), (2, 0.5, Some(1.0), 0.5));
        // 10 x 10 is small, 30 x 40 and 40 x 40 are medium; the wrong one of 50 x 50 is not small.
        let small = report.small.as_ref().unwrap();
        assert_eq!((small.boxes, small.average_precision, small.recall), (1, 1.0, 1.0));
        assert_eq!((report.medium.as_ref().unwrap().boxes, report.large.is_none()), (2, true));
        // x has one box, found; y two, of which one is.
        let missed = &report.groups[0].groups;
        assert_eq!((missed[0].errors, missed[1].errors, missed[1].total), (0, 1, 2));
    }

    #[test]
    fn looser_boxes_lower_the_mean_over_intersections() {
        let dir = written("file,x1,y1,x2,y2\na.png,0,0,40,40\n", "file\na.png\n");
        let set = read(dir.path(), None).unwrap();
        // 32 of 40 columns: an intersection over union of 0.8, which counts up to 0.8 and not from 0.85 on.
        let found = vec![vec![Detected { bbox: BBox::new(0.0, 0.0, 32.0, 40.0), score: 0.9 }]];
        let report = measure(Detector::Auto, &set, &found, 0.5).unwrap();
        assert_eq!((report.all.average_precision, report.all.average_precision_50_95), (1.0, 0.7));
    }
}
