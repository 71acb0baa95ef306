//! The report of a detection set.

use std::path::Path;

use facesocial_types::{BBox, Detector};

use super::{
    Found,
    measure::{DetectionReport, Figures, MIN_IOU},
    set::Set,
};
use crate::{
    cli::table::TextTable,
    eval::{
        Report, four, groups,
        metrics::ap::{Detected, Judged, Truth, Verdict, judge, precision_curve},
        report::{
            Page,
            chart::{Axis, Chart, Series},
            pictures::Picture,
        },
        scores, within,
    },
};

/// Photos shown.
const SHOWN: usize = 12;

impl Report for DetectionReport {
    fn page(&self) -> Page {
        let mut page = Page::new(format!("detection on {}: {} photos", self.data, self.images));
        page.text(format!(
            "a detection counts from IoU {} on, each box is found once; AP50 is the area under the interpolated curve of all \
             detections from score {} on, AP the mean of such areas at IoU 0.50 to 0.95; precision and recall are those at \
             score {}",
            self.min_iou, self.min_score, self.default_score
        ));
        let mut table = TextTable::new(["detector", "boxes", "number", "AP50", "AP50:95", "precision", "recall"]);
        for d in &self.detectors {
            let mut row = |which: &str, f: &Figures| {
                table.row([
                    d.detector.to_owned(),
                    which.to_owned(),
                    f.boxes.to_string(),
                    four(f.average_precision),
                    four(f.average_precision_50_95),
                    f.precision.map_or("-".to_owned(), four),
                    within(f.recall, Some(f.recall_interval)),
                ]);
            };
            row("all", &d.all);
            let sizes = [
                ("20 px and more", &d.height_20),
                ("small, below 32 x 32", &d.small),
                ("medium", &d.medium),
                ("large, from 96 x 96 on", &d.large),
            ];
            sizes.into_iter().filter_map(|(which, f)| Some((which, f.as_ref()?))).for_each(|(which, f)| row(which, f));
        }
        page.table(table);
        for d in &self.detectors {
            if self.detectors.len() > 1 && !d.groups.is_empty() {
                page.text(format!("detector {}:", d.detector));
            }
            groups::tell(&mut page, &d.groups);
        }
        page
    }
}

fn truths(set: &Set, image: usize) -> Vec<Truth> {
    set.boxes[image].iter().map(|l| Truth { bbox: l.bbox, counts: true }).collect()
}

fn judged(set: &Set, found: &[Vec<Detected>]) -> Vec<Judged> {
    found.iter().enumerate().flat_map(|(i, detections)| judge(detections, &truths(set, i), MIN_IOU)).collect()
}

/// Writes every detection with its verdict at IoU 0.5.
pub(super) fn write_scores(path: &Path, set: &Set, all: &Found) -> anyhow::Result<()> {
    let head = ["detector", "file", "x1", "y1", "x2", "y2", "score", "hit"];
    let mut rows = Vec::new();
    for (detector, found) in all {
        for (i, detections) in found.iter().enumerate() {
            // In the order of the verdicts, the surest first.
            let mut sorted: Vec<&Detected> = detections.iter().collect();
            sorted.sort_by(|a, b| b.score.total_cmp(&a.score));
            for (detected, (_, verdict)) in sorted.iter().zip(judge(detections, &truths(set, i), MIN_IOU)) {
                let b = detected.bbox;
                let numbers = [b.x, b.y, b.right(), b.bottom(), detected.score].map(|v| v.to_string());
                let names = [detector.as_str().to_owned(), set.names[i].clone()];
                let hit = scores::flag(verdict == Verdict::Hit);
                rows.push(names.into_iter().chain(numbers).chain([hit]).collect());
            }
        }
    }
    scores::write(path, &head, rows)
}

/// Adds the curve of each detector, and the photos that the first one gets most wrong.
pub(super) fn illustrate(page: &mut Page, set: &Set, all: &Found, default_score: f32) -> anyhow::Result<()> {
    let boxes = set.boxes.iter().map(Vec::len).sum();
    let curve = |(detector, found): &(Detector, Vec<Vec<Detected>>)| Series {
        name: detector.as_str().to_owned(),
        points: precision_curve(&judged(set, found), boxes),
    };
    let series = all.iter().map(curve).collect();
    page.charts(vec![Chart::lines("precision and recall", Axis::share("recall"), Axis::share("precision"), series)]);
    let Some((detector, found)) = all.first() else { return Ok(()) };
    let mut wrong: Vec<(usize, usize, usize)> = Vec::new();
    for (i, detections) in found.iter().enumerate() {
        let told: Vec<Detected> = detections.iter().copied().filter(|d| d.score >= default_score).collect();
        let verdicts = judge(&told, &truths(set, i), MIN_IOU);
        let hits = verdicts.iter().filter(|v| v.1 == Verdict::Hit).count();
        wrong.push((i, set.boxes[i].len() - hits, verdicts.len() - hits));
    }
    wrong.retain(|w| w.1 + w.2 > 0);
    wrong.sort_by_key(|w| std::cmp::Reverse(w.1 + w.2));
    let scene = |&(i, missed, extra): &(usize, usize, usize)| {
        let labelled: Vec<BBox> = set.boxes[i].iter().map(|l| l.bbox).collect();
        let detected = found[i].iter().filter(|d| d.score >= default_score).map(|d| d.bbox);
        let caption = format!("{missed} missed, {extra} wrong: {}", set.names[i]);
        Picture::scene(&set.images[i], &labelled, &detected.collect::<Vec<_>>(), caption)
    };
    let pictures = wrong.iter().take(SHOWN).map(scene).collect::<anyhow::Result<_>>()?;
    let caption = format!("Photos with the most mistakes of {}: labelled green, detected red", detector.as_str());
    page.pictures(caption, pictures);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            measure::measure,
            set::tests::{BOXES, read, written},
        },
        *,
    };

    #[test]
    fn what_is_wrong_is_shown_and_every_detection_written() {
        let dir = written(BOXES, "file\nc.png\n");
        let set = read(dir.path(), None).unwrap();
        let at = |x, side, score| Detected { bbox: BBox::new(x, 0.0, side, side), score };
        let found = vec![vec![at(100.0, 10.0, 0.6), at(60.0, 10.0, 0.9)], vec![], vec![at(0.0, 50.0, 0.4)]];
        let report = DetectionReport {
            version: 1,
            task: "detection",
            data: "set".to_owned(),
            images: 3,
            min_iou: 0.5,
            min_score: 0.1,
            default_score: 0.5,
            detectors: vec![measure(Detector::Mtcnn, &set, &found, 0.5).unwrap()],
        };
        let mut page = report.page();
        let all = vec![(Detector::Mtcnn, found)];
        illustrate(&mut page, &set, &all, 0.5).unwrap();
        let path = dir.path().join("report.html");
        page.write_html(&path).unwrap();
        let html = std::fs::read_to_string(&path).unwrap();
        // a.png: one missed, one wrong; b.png: one missed; on c.png nothing is sure enough.
        assert!(html.contains("1 missed, 1 wrong: a.png") && html.contains("1 missed, 0 wrong: b.png"), "{html}");
        assert_eq!(html.matches("<img").count(), 2);
        let scores = dir.path().join("scores.csv");
        write_scores(&scores, &set, &all).unwrap();
        let text = std::fs::read_to_string(scores).unwrap();
        assert_eq!(text.lines().nth(1), Some("mtcnn,a.png,60,0,70,10,0.9,0"));
        assert_eq!(text.lines().nth(2), Some("mtcnn,a.png,100,0,110,10,0.6,1"));
    }
}
