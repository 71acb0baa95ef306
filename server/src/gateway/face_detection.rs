//! `/api/v1/face-detection`: one form for all detectors, with crops, quality and attributes per face.

use std::time::Instant;

use actix_web::web;
use base64::{Engine, prelude::BASE64_STANDARD};
use facesocial_imaging::{self as imaging, Photo};
use facesocial_pipeline::DetectOptions;
use facesocial_types::{Analysis, Analyzer, AnalyzerSet, Detection, FaceAnalysis, GenderAge};
use image::{RgbImage, imageops};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{
    Envelope,
    batch::{DEFAULT_CONCURRENT, max_concurrent},
    timestamp,
};
use crate::{
    auth::{Analyze, Authorized},
    error::ApiResult,
    extract::{Batch, Fields, RequestInfo, Single},
    services::{
        detection::{self, Method},
        face::{Answer, BatchEntry, BoxDto, LandmarksDto, MouthNames},
        gender_age::AgeRange,
        quality,
    },
    state::{Item, Loaded, State, milliseconds},
};

/// Quality of the JPEG crops that are sent back.
const CROP_QUALITY: u8 = 90;

/// The form's options.
#[derive(Debug, Clone, Copy)]
struct Options {
    method: Method,
    detect: DetectOptions,
    landmarks: bool,
    attributes: bool,
    quality: bool,
    align: bool,
    crop: bool,
    enhance: bool,
}

impl Options {
    fn of(fields: &Fields) -> ApiResult<Self> {
        let method = detection::method(fields, "detection_method")?.unwrap_or(Method::Mediapipe);
        let defaults = DetectOptions { min_score: 0.7, min_size: 40.0, ..DetectOptions::default() };
        let flag = |name, default| -> ApiResult<bool> { Ok(fields.flag(name)?.unwrap_or(default)) };
        Ok(Self {
            method,
            detect: detection::options(fields, method, defaults)?,
            landmarks: flag("return_landmarks", true)?,
            attributes: flag("return_attributes", false)?,
            quality: flag("quality_assessment", true)?,
            align: flag("face_alignment", true)?,
            crop: flag("crop_faces", true)?,
            enhance: flag("enhance_quality", false)?,
        })
    }
}

/// `data` for one photo.
#[derive(Debug, Serialize)]
struct DetectionData {
    total_faces: usize,
    image_info: ImageInfo,
    faces: Vec<DetectedFace>,
    processing_stats: Stats,
    #[serde(skip)]
    models: Models,
}

#[derive(Debug, Serialize)]
struct ImageInfo {
    width: u32,
    height: u32,
    format: String,
    file_size_bytes: usize,
}

#[derive(Debug, Serialize)]
struct DetectedFace {
    face_id: String,
    face_index: usize,
    bounding_box: BoxDto,
    landmarks: Option<LandmarksDto>,
    quality_assessment: Option<Answer<Value>>,
    face_attributes: Option<Answer<FaceAttributes>>,
    aligned_face: Option<String>,
    cropped_face: Option<String>,
    detection_method: &'static str,
}

/// The original also sent emotions; those were constants, no network of this version reads them.
#[derive(Debug, Serialize)]
struct FaceAttributes {
    estimated_age: f64,
    age_range: Option<AgeRange>,
    estimated_gender: facesocial_types::Gender,
    gender_confidence: f64,
}

#[derive(Debug, Serialize)]
struct Stats {
    detection_time_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    quality_assessment_time_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attributes_time_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alignment_time_ms: Option<f64>,
    total_time_ms: f64,
}

#[derive(Debug, Clone, Serialize)]
struct Models {
    detector: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    attributes: Option<String>,
}

#[derive(Debug, Serialize)]
struct Metadata {
    request_id: String,
    processing_time: String,
    model_versions: Models,
    timestamp: String,
}

/// `POST /api/v1/face-detection/detect`.
pub async fn detect(
    _: Authorized<Analyze>,
    state: web::Data<State>,
    info: RequestInfo,
    form: Single,
) -> ApiResult<web::Json<impl Serialize>> {
    let options = Options::of(&form.fields)?;
    state.loaded()?.require_detector(options.method.detector())?;
    let data = state.photo(form.file, move |loaded, photo| look(loaded, photo, &options)).await?;
    let metadata = Metadata {
        processing_time: info.elapsed_ms(),
        request_id: info.id,
        model_versions: data.models.clone(),
        timestamp: timestamp(),
    };
    Ok(web::Json(Envelope { success: true, data, metadata }))
}

/// Runs the stages one after the other, so that each time in the answer is that stage's own.
fn look(loaded: &Loaded, photo: &Photo, options: &Options) -> ApiResult<DetectionData> {
    let (pipeline, image) = (&loaded.pipeline, &photo.image);
    let started = Instant::now();
    let detection = pipeline.detect(image, &options.detect)?;
    let detection_time_ms = milliseconds(started.elapsed());
    let stage = |wanted: bool, analyzer| {
        let started = Instant::now();
        let detection: Detection = if wanted { detection.clone() } else { return (None, None) };
        let analysis: Analysis = pipeline.analyze_faces(image, detection, AnalyzerSet::NONE.with(analyzer));
        (Some(analysis.faces), Some(milliseconds(started.elapsed())))
    };
    let (quality, quality_assessment_time_ms) = stage(options.quality, Analyzer::Quality);
    let (attributes, attributes_time_ms) = stage(options.attributes, Analyzer::GenderAge);
    let cropping = Instant::now();
    let crops: Vec<_> = detection.faces.iter().map(|face| crops(image, face, options)).collect();
    let alignment_time_ms = (options.align || options.crop).then(|| milliseconds(cropping.elapsed()));
    let faces = detection.faces.iter().zip(crops).enumerate().map(|(i, (face, (aligned_face, cropped_face)))| {
        let quality = quality.as_ref().and_then(|faces| faces.get(i)?.quality.as_ref());
        DetectedFace {
            face_id: format!("face_{i:03}"),
            face_index: i,
            bounding_box: BoxDto::scored(&face.bbox, face.score),
            landmarks: options
                .landmarks
                .then(|| LandmarksDto::of(&face.landmarks, face.score, MouthNames::MouthFirst))
                .flatten(),
            quality_assessment: quality.map(|q| Answer::of(q, quality::metrics)),
            face_attributes: attributes.as_ref().and_then(|faces| face_attributes(faces.get(i)?)),
            aligned_face,
            cropped_face,
            detection_method: options.method.as_str(),
        }
    });
    let faces: Vec<_> = faces.collect();
    let model = |service| loaded.model(service).ok().map(str::to_owned);
    Ok(DetectionData {
        total_faces: faces.len(),
        image_info: ImageInfo {
            width: image.width(),
            height: image.height(),
            format: photo.format.to_string(),
            file_size_bytes: photo.source_bytes,
        },
        faces,
        processing_stats: Stats {
            detection_time_ms,
            quality_assessment_time_ms,
            attributes_time_ms,
            alignment_time_ms,
            total_time_ms: milliseconds(started.elapsed()),
        },
        models: Models {
            detector: detection.detector.clone(),
            attributes: options.attributes.then(|| model(facesocial_types::Service::GenderAge)).flatten(),
        },
    })
}

fn face_attributes(face: &FaceAnalysis) -> Option<Answer<FaceAttributes>> {
    let attributes = |g: &GenderAge| FaceAttributes {
        estimated_age: (f64::from(g.age) * 10.0).round() / 10.0,
        age_range: g.age_range.map(AgeRange::from),
        estimated_gender: g.gender,
        gender_confidence: crate::services::face::score(g.gender_score),
    };
    Some(Answer::of(face.gender_age.as_ref()?, attributes))
}

/// The face turned upright (112 x 112, needs landmarks) and as it lies in the photo, as JPEG in base64.
fn crops(image: &RgbImage, face: &facesocial_types::Face, options: &Options) -> (Option<String>, Option<String>) {
    let encode = |mut crop: RgbImage| {
        if options.enhance {
            stretch(&mut crop);
        }
        BASE64_STANDARD.encode(imaging::encode_jpeg(&crop, CROP_QUALITY))
    };
    let aligned = options.align.then(|| imaging::arcface_112(image, &face.landmarks)).flatten();
    let inside = face.bbox.clipped(image.width(), image.height());
    let (x, y) = (inside.x.floor() as u32, inside.y.floor() as u32);
    let (width, height) =
        ((inside.right().ceil() as u32).saturating_sub(x), (inside.bottom().ceil() as u32).saturating_sub(y));
    let cropped =
        (options.crop && width > 0 && height > 0).then(|| imageops::crop_imm(image, x, y, width, height).to_image());
    (aligned.map(encode), cropped.map(encode))
}

/// `enhance_quality`: spreads the brightness between the darkest and the brightest hundredth over the whole range, the same
/// for all three colours. For the eye: the analyses always see the photo as it was sent.
fn stretch(image: &mut RgbImage) {
    let mut histogram = [0u32; 256];
    for pixel in image.pixels() {
        let [r, g, b] = pixel.0.map(u32::from);
        histogram[((299 * r + 587 * g + 114 * b) / 1000) as usize] += 1;
    }
    let hundredth = image.width() * image.height() / 100;
    let mut dark = 0;
    let low = histogram.iter().position(|n| {
        dark += n;
        dark > hundredth
    });
    let mut bright = 0;
    let high = histogram.iter().rposition(|n| {
        bright += n;
        bright > hundredth
    });
    if let (Some(low), Some(high)) = (low, high)
        && high > low
    {
        let (low, range) = (low as f32, (high - low) as f32);
        for value in image.iter_mut() {
            *value = ((f32::from(*value) - low) * 255.0 / range).round().clamp(0.0, 255.0) as u8;
        }
    }
}

#[derive(Debug, Serialize)]
struct BatchData {
    batch_id: String,
    status: &'static str,
    total_images: usize,
    completed_images: usize,
    failed_images: usize,
    total_faces_detected: usize,
    results: Vec<BatchEntry<DetectionData>>,
    success_rate: f64,
    processing_time_ms: f64,
}

#[derive(Debug, Serialize)]
struct BatchMetadata {
    request_id: String,
    batch_id: String,
    timestamp: String,
    processing_time: String,
}

/// `POST /api/v1/face-detection/batch-detect`.
pub async fn batch_detect(
    _: Authorized<Analyze>,
    state: web::Data<State>,
    info: RequestInfo,
    form: Batch<0>,
) -> ApiResult<web::Json<impl Serialize>> {
    let options = Options::of(&form.fields)?;
    let concurrent = max_concurrent(&form.fields)?.unwrap_or(DEFAULT_CONCURRENT);
    state.loaded()?.require_detector(options.method.detector())?;
    let items = state.photos(form.files, concurrent, move |loaded, photo| look(loaded, photo, &options)).await?;
    let data = BatchData::of(items, &info);
    let metadata = BatchMetadata {
        batch_id: data.batch_id.clone(),
        processing_time: info.elapsed_ms(),
        request_id: info.id,
        timestamp: timestamp(),
    };
    Ok(web::Json(Envelope { success: data.completed_images > 0, data, metadata }))
}

impl BatchData {
    fn of(items: Vec<Item<DetectionData>>, info: &RequestInfo) -> Self {
        let faces: Vec<usize> = items.iter().filter_map(|i| Some(i.answer.as_ref().ok()?.total_faces)).collect();
        let (total, completed) = (items.len(), faces.len());
        Self {
            batch_id: format!("batch_{}", info.id),
            status: "completed",
            total_images: total,
            completed_images: completed,
            failed_images: total - completed,
            total_faces_detected: faces.iter().sum(),
            results: items.into_iter().map(BatchEntry::of).collect(),
            success_rate: completed as f64 / total.max(1) as f64,
            processing_time_ms: milliseconds(info.started.elapsed()),
        }
    }
}

/// `GET /api/v1/face-detection/methods`.
pub async fn methods(_: Authorized<Analyze>, state: web::Data<State>) -> web::Json<Value> {
    let mut available = Map::new();
    for method in Method::ALL {
        let loaded = state.loaded().ok();
        let found = loaded.map(|l| match l.model(method.service()) {
            Ok(_) => l.require_detector(method.detector()).map_err(|e| e.detail.into_owned()),
            Err(reason) => Err(reason.to_owned()),
        });
        let entry = json!({
            "name": method.as_str().to_uppercase(),
            "available": matches!(found, Some(Ok(()))),
            "reason": found.and_then(Result::err),
            // Measured at start-up on a photo of 640 x 480 pixels without a face, where the detector runs here.
            "response_time_ms": loaded.and_then(|l| l.detection_ms(method.detector())),
            "capabilities": {
                "landmarks": method != Method::Yolo,
                "quality_assessment": true,
                "batch_processing": true,
                "real_time": matches!(method, Method::Mediapipe | Method::Yolo),
            },
            "recommended_use": recommended_use(method),
        });
        available.insert(method.as_str().to_owned(), entry);
    }
    web::Json(json!({
        "success": true,
        "data": { "available_methods": available, "default_method": "mediapipe", "recommended_method": "ensemble" },
        "metadata": { "timestamp": timestamp() },
    }))
}

fn recommended_use(method: Method) -> &'static str {
    match method {
        Method::Mediapipe => "fast screening of single portraits and small groups",
        Method::Yolo => "general detection",
        Method::Mtcnn => "precise landmarks, small faces",
        Method::Ensemble => "all stages together, where accuracy counts more than time",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_originals_defaults_apply_and_can_be_changed() {
        let mut fields = Fields::default();
        let options = Options::of(&fields).unwrap();
        assert_eq!((options.detect.min_size, options.detect.max_faces, options.detect.min_score), (40.0, 100, 0.7));
        assert!(options.landmarks && options.quality && options.align && options.crop);
        assert!(!options.attributes && !options.enhance);
        fields.push("crop_faces".to_owned(), "no".to_owned());
        fields.push("detection_method".to_owned(), "ensemble".to_owned());
        let options = Options::of(&fields).unwrap();
        assert!(!options.crop);
        assert_eq!(options.method, Method::Ensemble);
    }

    #[test]
    fn stretching_reaches_black_and_white_and_leaves_flat_images_alone() {
        let mut image = RgbImage::from_fn(16, 16, |x, _| image::Rgb([100 + x as u8 * 2; 3]));
        stretch(&mut image);
        assert_eq!((image.get_pixel(0, 0).0, image.get_pixel(15, 0).0), ([0; 3], [255; 3]));
        let mut flat = RgbImage::from_pixel(4, 4, image::Rgb([70; 3]));
        stretch(&mut flat);
        assert!(flat.pixels().all(|p| p.0 == [70; 3]));
    }
}
