//! Detection by three networks: MTCNN finds faces, YOLOv10n and BlazeFace those that it misses; MTCNN gives all of them
//! landmarks where it can.

use facesocial_engine::{
    Engine, EngineError, Network,
    models::{BlazeFace, blazeface::weighted_nms, yolov10},
};
use facesocial_imaging::Sampling;
use facesocial_types::{BBox, Detection, Detector, Face, Service};
use image::RgbImage;

use crate::{
    DetectOptions,
    batch::Call,
    error::{PipelineError, Result},
    single_shot::{self, Look, Searching},
};

/// Averaged, not sampled: a photo is many times larger than the input, and sampling would alias.
const BLAZEFACE: Look = Look { fill: [0; 3], sampling: Sampling::Box };
const YOLO: Look = Look { fill: [yolov10::LETTERBOX; 3], sampling: Sampling::Area };
/// Two boxes that overlap more than this are the same face seen twice.
const SAME_FACE_IOU: f32 = 0.3;
/// A face that only BlazeFace sees, and that O-Net does not confirm, is kept from this score on: masks, profiles and
/// heavy shadows defeat O-Net before they defeat BlazeFace.
const UNCONFIRMED_SCORE: f32 = 0.75;
/// A face that only YOLOv10n sees, and that O-Net does not confirm, must be surer than was asked for by so much: of those
/// just above its usual threshold every second one is none, a tenth higher one in fifty (its card).
const UNCONFIRMED_MARGIN: f32 = 0.1;
/// YOLOv10n's boxes from this score on tell which of the cascade's faces are faces.
const FAINT_SCORE: f32 = 0.05;
/// The cascade's faces that YOLOv10n does not see at all are kept from this score on.
const CASCADE_ALONE: f32 = 0.9;
/// What their score counts: they are more often wrong than those that both see.
const ALONE_WEIGHT: f32 = 0.6;
/// The cascade looks for faces from this share of the photo's longer side on; smaller ones only when asked for.
const RELATIVE_MIN_FACE: f32 = 0.015;
/// Boxes of YOLOv10n that overlap more than this are one face answered twice.
const YOLO_IOU: f32 = 0.6;
/// The smallest face that MTCNN was trained on, in pixels.
const MIN_FACE: f32 = 20.0;

/// Finds faces, largest first.
pub(crate) fn find(call: Call<'_>, image: &RgbImage, options: &DetectOptions) -> Result<Detection> {
    let (engine, min_score) = (call.engine, options.min_score);
    let (detector, faces) = match options.detector {
        Detector::Auto => auto(call, image, options)?,
        Detector::Mediapipe => {
            let screening = Screening::begin(call, image, min_score).map_err(unavailable(Service::Mediapipe))?;
            let faces = screening.finish().map_err(unavailable(Service::Mediapipe))?;
            (screen_id(engine).map_err(unavailable(Service::Mediapipe))?, faces)
        }
        Detector::MediapipeShort => one_range(call, &engine.blazeface_short, image, min_score)?,
        Detector::MediapipeFull => one_range(call, &engine.blazeface_full, image, min_score)?,
        Detector::Mtcnn => {
            let faces = cascade(call, image, options).map_err(unavailable(Service::Mtcnn))?;
            (engine.mtcnn.id().map_err(unavailable(Service::Mtcnn))?.to_string(), faces)
        }
        Detector::Yolo => {
            let searching = single_shot::begin(call, &engine.yolo, image, YOLO, min_score);
            let faces = searching.and_then(finish_yolo).map_err(unavailable(Service::Yolo))?;
            (engine.yolo.id().map_err(unavailable(Service::Yolo))?.to_string(), faces)
        }
    };
    Ok(Detection { detector, faces: select(faces, image, options) })
}

/// Faces at known boxes, in order. A box that MTCNN does not recognise stays, without landmarks.
pub(crate) fn at(call: Call<'_>, image: &RgbImage, boxes: &[BBox]) -> Result<Detection> {
    let refined = refine(call, image, boxes).map_err(unavailable(Service::Mtcnn))?;
    let faces = boxes
        .iter()
        .zip(refined)
        .map(|(bbox, found)| Face {
            bbox: *bbox,
            score: found.as_ref().map_or(0.0, |f| f.score),
            landmarks: found.map(|f| f.landmarks).unwrap_or_default(),
        })
        .collect();
    Ok(Detection { detector: "caller".to_owned(), faces })
}

/// The id of everything that `detector` consists of.
pub(crate) fn id(engine: &Engine, detector: Detector) -> facesocial_engine::Result<String> {
    Ok(match detector {
        Detector::Auto => match engine.yolo.id() {
            Ok(yolo) => format!("{}+{yolo}+{}", screen_id(engine)?, engine.mtcnn.id()?),
            Err(_) => format!("{}+{}", screen_id(engine)?, engine.mtcnn.id()?),
        },
        Detector::Mediapipe => screen_id(engine)?,
        Detector::MediapipeShort => engine.blazeface_short.id()?.to_string(),
        Detector::MediapipeFull => engine.blazeface_full.id()?.to_string(),
        Detector::Mtcnn => engine.mtcnn.id()?.to_string(),
        Detector::Yolo => engine.yolo.id()?.to_string(),
    })
}

/// The screening stage's id.
pub(crate) fn screen_id(engine: &Engine) -> facesocial_engine::Result<String> {
    Ok(format!("{}+{}", engine.blazeface_short.id()?, engine.blazeface_full.id()?))
}

/// BlazeFace in both ranges, in the line.
struct Screening {
    short: Searching,
    full: Searching,
}

impl Screening {
    fn begin(call: Call<'_>, image: &RgbImage, min_score: f32) -> facesocial_engine::Result<Self> {
        let begin = |network| single_shot::begin(call, network, image, BLAZEFACE, min_score);
        Ok(Self { short: begin(&call.engine.blazeface_short)?, full: begin(&call.engine.blazeface_full)? })
    }

    /// Where both see a face, their answers are averaged as one range's overlapping answers are.
    fn finish(self) -> facesocial_engine::Result<Vec<Face>> {
        let mut faces = self.short.finish()?;
        faces.extend(self.full.finish()?);
        Ok(weighted_nms(faces, SAME_FACE_IOU))
    }
}

fn one_range(
    call: Call<'_>,
    network: &Network<BlazeFace>,
    image: &RgbImage,
    min_score: f32,
) -> Result<(String, Vec<Face>)> {
    let searching = single_shot::begin(call, network, image, BLAZEFACE, min_score);
    let faces = searching.and_then(Searching::finish).map_err(unavailable(Service::Mediapipe))?;
    Ok((network.id().map_err(unavailable(Service::Mediapipe))?.to_string(), faces))
}

/// YOLOv10n, which is wrong least often; box and landmarks of the MTCNN cascade for the faces that both see, and the cascade's
/// own where it is very sure; BlazeFace for those that both miss. What only one of them saw gets landmarks where O-Net recognises it. Gives the ids of
/// those that looked.
///
/// A detector that other processes run, none of which answers, is left out, unless it is the last one.
fn auto(call: Call<'_>, image: &RgbImage, options: &DetectOptions) -> Result<(String, Vec<Face>)> {
    let (engine, min_score) = (call.engine, options.min_score);
    let [mediapipe, mtcnn] = [Service::Mediapipe, Service::Mtcnn].map(unavailable);
    let mut reach = Reach::default();
    let screening = reach.of(Screening::begin(call, image, min_score)).map_err(&mediapipe)?;
    // Faint ones are no faces by themselves, but tell which of the cascade's are.
    let searching = match single_shot::begin(call, &engine.yolo, image, YOLO, min_score.min(FAINT_SCORE)) {
        // The one that need not be there.
        Err(EngineError::Absent { .. }) => None,
        begun => reach.of(begun).map_err(&mtcnn)?,
    };
    let found = reach.of(cascade(call, image, options)).map_err(&mtcnn)?;
    let more = searching.and_then(|searching| reach.of(finish_yolo(searching)).transpose()).transpose();
    let more = more.map_err(&mtcnn)?;
    let screened = screening.and_then(|screening| reach.of(screening.finish()).transpose()).transpose();
    let screened = screened.map_err(&mediapipe)?;

    let mut looked = Vec::new();
    if screened.is_some() {
        looked.push(screen_id(engine).map_err(&mediapipe)?);
    }
    if more.is_some() {
        looked.push(engine.yolo.id().map_err(&mtcnn)?.to_string());
    }
    if looked.is_empty()
        && found.is_none()
        && let Some(outage) = reach.missed
    {
        return Err(PipelineError::Engine(outage));
    }
    // A cascade that did not look cannot be asked to look again.
    let mut refiner = Refiner { call, image, reach, there: found.is_some() };
    let doubtful = more.is_some();
    let found = match (found.unwrap_or_default(), more) {
        (cascaded, Some(boxes)) => both(&mut refiner, cascaded, boxes, min_score).map_err(&mtcnn)?,
        (cascaded, None) => cascaded,
    };
    let faces = refine_missed(&mut refiner, screened.unwrap_or_default(), found, doubtful).map_err(&mtcnn)?;
    // One that was lost on the way has not looked at everything.
    if refiner.there {
        looked.push(engine.mtcnn.id().map_err(&mtcnn)?.to_string());
    }
    Ok((looked.join("+"), faces))
}

/// Tells whoever cannot be asked from whoever fails.
#[derive(Default)]
struct Reach {
    /// The first who could not be asked.
    missed: Option<EngineError>,
}

impl Reach {
    /// What was answered; `None` if nobody could be asked.
    fn of<T>(&mut self, answer: facesocial_engine::Result<T>) -> facesocial_engine::Result<Option<T>> {
        match answer {
            Ok(value) => Ok(Some(value)),
            Err(outage @ EngineError::Unreachable { .. }) => {
                self.missed.get_or_insert(outage);
                Ok(None)
            }
            Err(other) => Err(other),
        }
    }
}

/// MTCNN's last stages, if they can be asked.
struct Refiner<'a> {
    call: Call<'a>,
    image: &'a RgbImage,
    reach: Reach,
    there: bool,
}

impl Refiner<'_> {
    /// What they make of faces at these boxes; of none anything if they cannot be asked.
    fn refine(&mut self, boxes: &[BBox]) -> facesocial_engine::Result<Vec<Option<Face>>> {
        if self.there
            && let Some(refined) = self.reach.of(refine(self.call, self.image, boxes))?
        {
            return Ok(refined);
        }
        self.there = false;
        Ok(vec![None; boxes.len()])
    }
}

/// Joins the cascade's faces and YOLOv10n's `boxes`, best first, faint ones among them. A face that both see has box and landmarks
/// of the former, by which the networks after it were measured, and the mean score. What the cascade alone sees must be all but certain,
/// and ranks below; what YOLOv10n alone sees must be surer than was asked for, unless O-Net confirms it.
fn both(
    refiner: &mut Refiner<'_>,
    cascaded: Vec<Face>,
    mut boxes: Vec<Face>,
    min_score: f32,
) -> facesocial_engine::Result<Vec<Face>> {
    let mut faces = Vec::with_capacity(cascaded.len().max(boxes.len()));
    for face in suppress(cascaded, same_face) {
        let overlap = |i: &usize| face.bbox.iou(&boxes[*i].bbox);
        let seen = (0..boxes.len()).filter(|i| same_face(&face.bbox, &boxes[*i].bbox));
        match seen.max_by(|a, b| overlap(a).total_cmp(&overlap(b))) {
            Some(i) => {
                let seen = boxes.remove(i);
                faces.push(Face { score: f32::midpoint(seen.score, face.score), ..face });
            }
            None => faces.extend(without_yolo(face)),
        }
    }
    boxes.retain(|b| b.score >= min_score && faces.iter().all(|f| !same_face(&b.bbox, &f.bbox)));
    let places: Vec<BBox> = boxes.iter().map(|f| f.bbox).collect();
    for (mut face, refined) in boxes.into_iter().zip(refiner.refine(&places)?) {
        match refined.filter(|r| same_face(&r.bbox, &face.bbox)) {
            Some(refined) => face.landmarks = refined.landmarks,
            None if face.score < min_score + UNCONFIRMED_MARGIN => continue,
            None => {}
        }
        faces.push(face);
    }
    Ok(faces)
}

/// What is left of a face of the cascade's that YOLOv10n does not see.
fn without_yolo(face: Face) -> Option<Face> {
    (face.score >= CASCADE_ALONE).then_some(Face { score: face.score * ALONE_WEIGHT, ..face })
}

/// Waits for YOLOv10n, whose boxes carry no landmarks.
fn finish_yolo(searching: Searching) -> facesocial_engine::Result<Vec<Face>> {
    Ok(suppress(searching.finish()?, |a, b| a.iou(b) > YOLO_IOU))
}

fn cascade(call: Call<'_>, image: &RgbImage, options: &DetectOptions) -> facesocial_engine::Result<Vec<Face>> {
    let longer = image.width().max(image.height()) as f32;
    let least = if options.min_size > 0.0 { options.min_size } else { RELATIVE_MIN_FACE * longer }.max(MIN_FACE);
    call.engine.mtcnn.find(call.caller, image, least)
}

/// What MTCNN's last two stages make of faces at these boxes.
fn refine(call: Call<'_>, image: &RgbImage, boxes: &[BBox]) -> facesocial_engine::Result<Vec<Option<Face>>> {
    if boxes.is_empty() {
        return call.engine.mtcnn.id().map(|_| Vec::new());
    }
    call.engine.mtcnn.refine(call.caller, image, boxes)
}

/// Adds to the faces those that only BlazeFace saw, refined where O-Net agrees, else as BlazeFace saw them; and BlazeFace's
/// landmarks to those that O-Net did not recognise. `doubtful`: YOLOv10n looked and did not see them.
fn refine_missed(
    refiner: &mut Refiner<'_>,
    screened: Vec<Face>,
    mut found: Vec<Face>,
    doubtful: bool,
) -> facesocial_engine::Result<Vec<Face>> {
    let mut missed: Vec<Face> = Vec::new();
    for seen in screened {
        match found.iter_mut().find(|f| same_face(&seen.bbox, &f.bbox)) {
            Some(face) if face.landmarks.is_empty() => face.landmarks = seen.landmarks,
            Some(_) => {}
            None => missed.push(seen),
        }
    }
    if missed.is_empty() {
        return Ok(suppress(found, same_face));
    }
    let boxes: Vec<BBox> = missed.iter().map(|f| f.bbox).collect();
    for (seen, refined) in missed.into_iter().zip(refiner.refine(&boxes)?) {
        match refined {
            Some(face) if doubtful => found.extend(without_yolo(face)),
            Some(face) => found.push(face),
            None if seen.score >= UNCONFIRMED_SCORE => found.push(seen),
            None => {}
        }
    }
    Ok(suppress(found, same_face))
}

/// Whether two detectors' boxes mean one face. Their styles differ (hair line or brows, ears or cheeks), so a box that
/// lies mostly inside the other counts too.
fn same_face(a: &BBox, b: &BBox) -> bool {
    let shared = a.intersection(b).area();
    a.iou(b) > SAME_FACE_IOU || shared > 0.7 * a.area().min(b.area())
}

/// Keeps the surest of the faces that are one face.
fn suppress(mut faces: Vec<Face>, same: impl Fn(&BBox, &BBox) -> bool) -> Vec<Face> {
    faces.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut kept: Vec<Face> = Vec::with_capacity(faces.len());
    for face in faces {
        if kept.iter().all(|k| !same(&k.bbox, &face.bbox)) {
            kept.push(face);
        }
    }
    kept
}

/// Applies the caller's limits; largest first, ties by position so that the order is stable.
fn select(faces: Vec<Face>, image: &RgbImage, options: &DetectOptions) -> Vec<Face> {
    let mut faces: Vec<Face> = faces
        .into_iter()
        .map(|f| Face { bbox: f.bbox.clipped(image.width(), image.height()), ..f })
        .filter(|f| f.score >= options.min_score && f.bbox.area() > 0.0 && f.bbox.height >= options.min_size)
        .collect();
    faces.sort_by(|a, b| {
        let position = |f: &Face| (f.bbox.x, f.bbox.y);
        b.bbox.area().total_cmp(&a.bbox.area()).then_with(|| {
            let ((ax, ay), (bx, by)) = (position(a), position(b));
            ax.total_cmp(&bx).then(ay.total_cmp(&by))
        })
    });
    faces.truncate(options.max_faces);
    faces
}

fn unavailable(service: Service) -> impl Fn(EngineError) -> PipelineError {
    move |error| match error {
        EngineError::Absent { reason, .. } => PipelineError::Unavailable { service, reason },
        other => PipelineError::Engine(other),
    }
}

#[cfg(test)]
mod tests {
    use facesocial_types::{LandmarkName, Landmarks, Point};

    use super::*;

    fn face(x: f32, size: f32, score: f32) -> Face {
        let landmarks = Landmarks::new([(LandmarkName::Nose, Point::new(x, 1.0))]);
        Face { bbox: BBox::new(x, 0.0, size, size), score, landmarks }
    }

    #[test]
    fn the_surest_of_overlapping_faces_stays() {
        let kept = suppress(vec![face(0.0, 10.0, 0.6), face(1.0, 10.0, 0.9), face(50.0, 10.0, 0.5)], same_face);
        assert_eq!(kept.iter().map(|f| f.score).collect::<Vec<_>>(), [0.9, 0.5]);
    }

    #[test]
    fn a_box_inside_another_is_the_same_face() {
        assert!(same_face(&BBox::new(0.0, 0.0, 100.0, 100.0), &BBox::new(30.0, 30.0, 40.0, 40.0)));
        assert!(!same_face(&BBox::new(0.0, 0.0, 10.0, 10.0), &BBox::new(9.0, 0.0, 10.0, 10.0)));
    }

    #[test]
    fn limits_are_applied_and_the_largest_face_comes_first() {
        let image = RgbImage::new(100, 100);
        let faces = vec![face(0.0, 10.0, 0.9), face(20.0, 30.0, 0.6), face(60.0, 20.0, 0.2), face(90.0, 40.0, 0.8)];
        let options = DetectOptions { min_size: 15.0, ..DetectOptions::default() };
        let kept = select(faces.clone(), &image, &options);
        assert_eq!(kept.iter().map(|f| f.bbox.x).collect::<Vec<_>>(), [20.0, 90.0]);
        assert_eq!(kept[1].bbox.right(), 100.0);
        let one = select(faces, &image, &DetectOptions { max_faces: 1, ..options });
        assert_eq!(one.len(), 1);
    }
}
