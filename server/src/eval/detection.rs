//! `facesocial eval detection`: average precision of the detectors.

use std::{
    collections::HashMap,
    fmt::Write,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use facesocial_pipeline::DetectOptions;
use facesocial_types::{AnalyzerSet, BBox, Detector};
use serde::Serialize;

use super::{
    DataArgs, Report, figure,
    labels::{Column, LabelError, Labels},
    metrics::{
        MetricError,
        ap::{Detected, Judged, Truth, average_precision, judge, precision_recall},
    },
    over_images, tell,
};
use crate::cli::{
    json::{VERSION, rounded},
    share,
    table::TextTable,
};

/// Options of `facesocial eval detection`.
#[derive(Debug, Args)]
pub struct DetectionArgs {
    #[command(flatten)]
    data: DataArgs,
    /// Detectors to measure, separated by commas: auto, mediapipe, mediapipe_short, mediapipe_full, yolo, mtcnn.
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "auto")]
    detector: Vec<Detector>,
    /// Detections less sure than this are not asked for; a low value lets the curve reach its full recall.
    #[arg(long, value_name = "SCORE", value_parser = share, default_value_t = 0.1)]
    min_score: f32,
}

/// Intersection over union from which a detection covers a labelled box.
const MIN_IOU: f32 = 0.5;
/// Boxes at least this high are also measured alone.
const LARGE: f32 = 20.0;
/// More faces than any photo of the sets shows.
const MAX_FACES: usize = 5000;

const FILE: Column = &["file"];

/// Images and the boxes on each.
#[derive(Debug, Default)]
struct Set {
    images: Vec<PathBuf>,
    boxes: Vec<Vec<BBox>>,
}

fn read_set(dir: &Path, limit: Option<NonZeroUsize>) -> Result<Set, LabelError> {
    let boxes = Labels::read(&dir.join("boxes.csv"), &[FILE, &["x1"], &["y1"], &["x2"], &["y2"]], &[])?;
    let mut on: HashMap<PathBuf, Vec<BBox>> = HashMap::new();
    let mut order = Vec::new();
    for row in boxes.rows(None) {
        let mut corners = [0.0; 4];
        for (i, corner) in corners.iter_mut().enumerate() {
            *corner = row.number(i + 1)? as f32;
        }
        let [x1, y1, x2, y2] = corners;
        for (low, high, column) in [(x1, x2, 3), (y1, y2, 4)] {
            if high <= low {
                return Err(row.bad(column, "a number larger than the opposite corner's"));
            }
        }
        let path = row.image(0, dir)?;
        let known = on.entry(path.clone()).or_insert_with(|| {
            order.push(path);
            Vec::new()
        });
        known.push(BBox::from_corners(x1, y1, x2, y2));
    }
    // Images without any box are told by images.csv only.
    let all = dir.join("images.csv");
    if all.is_file() {
        for row in Labels::read(&all, &[FILE], &[])?.rows(None) {
            let path = row.image(0, dir)?;
            on.entry(path.clone()).or_insert_with(|| {
                order.push(path);
                Vec::new()
            });
        }
    }
    let (total, count) = (order.len(), limit.map_or(order.len(), |l| l.get().min(order.len())));
    let images: Vec<PathBuf> = (0..count).map(|i| order[i * total / count].clone()).collect();
    Ok(Set { boxes: images.iter().map(|path| on.remove(path).unwrap_or_default()).collect(), images })
}

/// What was measured.
#[derive(Debug, Serialize)]
struct DetectionReport {
    version: u32,
    task: &'static str,
    data: String,
    images: usize,
    min_iou: f64,
    min_score: f64,
    default_score: f64,
    detectors: Vec<DetectorReport>,
}

#[derive(Debug, Serialize)]
struct DetectorReport {
    detector: &'static str,
    all: Figures,
    /// Boxes of [`LARGE`] pixels and more; `None` if the set has none.
    height_20: Option<Figures>,
}

#[derive(Debug, Serialize)]
struct Figures {
    boxes: usize,
    average_precision: f64,
    /// At the score from which `facesocial analyze` reports a face; `None` without detections.
    precision: Option<f64>,
    recall: f64,
}

/// Runs the command.
///
/// # Errors
/// See [`super`].
pub fn run(args: &DetectionArgs) -> anyhow::Result<ExitCode> {
    let data = &args.data;
    let set = read_set(&data.data, data.limit)?;
    let pipeline = data.run.load(AnalyzerSet::NONE)?;
    let default_score = DetectOptions::default().min_score;
    let mut detectors = Vec::new();
    for &detector in &args.detector {
        let options = DetectOptions { detector, min_score: args.min_score, min_size: 0.0, max_faces: MAX_FACES };
        let found = over_images(&set.images, data.run.at_once(), |image| {
            let faces = pipeline.detect(image, &options)?.faces;
            Ok(faces.into_iter().map(|f| Detected { bbox: f.bbox, score: f.score }).collect::<Vec<_>>())
        })?;
        let has_large = set.boxes.iter().flatten().any(|b| b.height >= LARGE);
        detectors.push(DetectorReport {
            detector: detector.as_str(),
            all: measure(&set, &found, 0.0, default_score)?,
            height_20: has_large.then(|| measure(&set, &found, LARGE, default_score)).transpose()?,
        });
    }
    let report = DetectionReport {
        version: VERSION,
        task: "detection",
        data: data.data.display().to_string(),
        images: set.images.len(),
        min_iou: f64::from(MIN_IOU),
        min_score: rounded(f64::from(args.min_score), 4),
        default_score: rounded(f64::from(default_score), 4),
        detectors,
    };
    tell(&report, data.json)
}

/// Figures over the boxes at least `min_height` high; lower ones are neither to be found nor wrong to find.
fn measure(set: &Set, found: &[Vec<Detected>], min_height: f32, default_score: f32) -> Result<Figures, MetricError> {
    let mut judged: Vec<Judged> = Vec::new();
    let mut boxes = 0;
    for (truths, detections) in set.boxes.iter().zip(found) {
        let truths: Vec<Truth> = truths.iter().map(|&bbox| Truth { bbox, counts: bbox.height >= min_height }).collect();
        boxes += truths.iter().filter(|t| t.counts).count();
        judged.extend(judge(detections, &truths, MIN_IOU));
    }
    let (precision, recall) = precision_recall(&judged, boxes, default_score);
    Ok(Figures {
        boxes,
        average_precision: figure(average_precision(&judged, boxes)?),
        precision: precision.map(figure),
        recall: figure(recall),
    })
}

impl Report for DetectionReport {
    fn text(&self) -> String {
        let mut out = format!("detection on {}: {} photos\n", self.data, self.images);
        let _ = writeln!(
            out,
            "a detection counts from IoU {} on, each box is found once; AP is the area under the interpolated curve \
             of all detections from score {} on; precision and recall are those at score {}\n",
            self.min_iou, self.min_score, self.default_score
        );
        let mut table = TextTable::new(["detector", "boxes", "number", "AP", "precision", "recall"]);
        for d in &self.detectors {
            let mut row = |which: &str, f: &Figures| {
                table.row([
                    d.detector.to_owned(),
                    which.to_owned(),
                    f.boxes.to_string(),
                    format!("{:.4}", f.average_precision),
                    f.precision.map_or("-".to_owned(), |p| format!("{p:.4}")),
                    format!("{:.4}", f.recall),
                ]);
            };
            row("all", &d.all);
            if let Some(figures) = &d.height_20 {
                row("20 px and more", figures);
            }
        }
        out + &table.render()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn written(boxes: &str, images: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("images")).unwrap();
        for name in ["a.png", "b.png", "c.png"] {
            fs::write(dir.path().join("images").join(name), "").unwrap();
        }
        fs::write(dir.path().join("boxes.csv"), boxes).unwrap();
        fs::write(dir.path().join("images.csv"), images).unwrap();
        dir
    }

    const BOXES: &str = "file,x1,y1,x2,y2,class\na.png,0,0,30,40,face\na.png,100,0,110,10,face\nb.png,5,5,45,45,face\n";

    #[test]
    fn images_without_boxes_count_and_small_boxes_can_be_left_out() {
        let dir = written(BOXES, "file,width\na.png,200\nb.png,200\nc.png,200\n");
        let set = read_set(dir.path(), None).unwrap();
        assert_eq!(set.boxes.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1, 0]);
        let at = |x, y, side, score| Detected { bbox: BBox::new(x, y, side, side), score };
        let found = vec![
            vec![Detected { bbox: BBox::new(0.0, 0.0, 30.0, 40.0), score: 0.9 }, at(100.0, 0.0, 10.0, 0.8)],
            vec![],
            vec![at(0.0, 0.0, 50.0, 0.7)],
        ];
        let all = measure(&set, &found, 0.0, 0.75).unwrap();
        assert_eq!((all.boxes, all.precision, all.recall), (3, Some(1.0), 0.666667));
        assert_eq!(all.average_precision, 0.666667);
        let large = measure(&set, &found, LARGE, 0.75).unwrap();
        assert_eq!((large.boxes, large.average_precision, large.precision, large.recall), (2, 0.5, Some(1.0), 0.5));
    }

    #[test]
    fn a_limit_takes_whole_images() {
        let dir = written(BOXES, "file\nc.png\n");
        let set = read_set(dir.path(), NonZeroUsize::new(1)).unwrap();
        assert_eq!((set.images.len(), set.boxes[0].len()), (1, 2));
    }

    #[test]
    fn a_box_inside_out_is_named_by_its_line() {
        let dir = written("file,x1,y1,x2,y2\na.png,0,0,30,40\nb.png,9,0,3,40\n", "file\na.png\n");
        let message = read_set(dir.path(), None).unwrap_err().to_string();
        assert!(message.contains("boxes.csv line 3: x2 is \"3\""), "{message}");
    }
}
