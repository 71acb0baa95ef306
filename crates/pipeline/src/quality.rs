//! Fitness of a face for recognition: measurements on its pixels and landmarks, a score, and the reasons that lower it.
//!
//! The measurements and weights are the original system's (face-quality 1.0), with its faults mended: pose and occlusion
//! come from landmarks and colours instead of constants, resolution grows without a jump, and large faces are measured at
//! one scale, so that the same photo in twice the size gets the same score.

use facesocial_imaging::{self as imaging, Sampling};
use facesocial_types::{BBox, Face, HeadPose, LandmarkName, Landmarks, Quality, QualityMetrics, QualityReason};
use image::{GrayImage, RgbImage};

/// Larger faces are measured at this many pixels on the longer side.
const MEASURED_SIDE: f32 = 160.0;
/// Area in pixels from which on more resolution helps recognition no further.
const ADEQUATE_AREA: f32 = 150.0 * 150.0;
/// Degrees of yaw, pitch or roll that count as turned away entirely.
const MAX_ANGLE: f32 = 45.0;

/// One answer per face, in order.
pub(crate) fn assess(image: &RgbImage, faces: &[Face]) -> Vec<Quality> {
    faces.iter().map(|face| assess_face(image, face)).collect()
}

fn assess_face(image: &RgbImage, face: &Face) -> Quality {
    let inside = face.bbox.clipped(image.width(), image.height());
    let shrink = (MEASURED_SIDE / inside.width.max(inside.height)).min(1.0);
    let side = |n: f32| ((n * shrink).round() as u32).max(1);
    let crop = imaging::crop_resize(image, &inside, side(inside.width), side(inside.height), [0; 3], Sampling::Area);
    let metrics = measure(image, &imaging::gray(&crop), face);
    let angle = metrics.pose.map_or(0.0, |p| p.yaw.abs().max(p.pitch.abs()).max(p.roll.abs()));
    let covered = metrics.occlusion.map_or(0.0, |o| o.iter().sum::<f32>() / o.len() as f32);
    let score = 0.20 * metrics.sharpness
        + 0.15 * metrics.brightness
        + 0.15 * metrics.contrast
        + 0.15 * metrics.blur_score
        + 0.10 * metrics.noise_level
        + 0.10 * metrics.illumination_quality
        + 0.10 * metrics.resolution_adequacy
        + 0.05 * (1.0 - angle / MAX_ANGLE).max(0.0)
        - 0.30 * covered;
    let reasons = reasons(&metrics, &imaging::gray(&crop), &inside, &face.bbox, angle);
    Quality { score: score.clamp(0.0, 1.0), reasons, metrics }
}

fn measure(image: &RgbImage, gray: &GrayImage, face: &Face) -> QualityMetrics {
    let (mean, std) = mean_and_std(gray);
    let laplacian = convolved_variance(gray, laplacian);
    let sobel = convolved_variance(gray, sobel_magnitude);
    let level = mean / 255.0;
    let brightness = match level {
        l if l < 0.4 => l / 0.4,
        l if l > 0.7 => (1.0 - l) / 0.3,
        _ => 1.0,
    };
    let total = gray.len().max(1) as f32;
    let share = |dark: fn(u8) -> bool| gray.as_raw().iter().filter(|v| dark(**v)).count() as f32 / total;
    QualityMetrics {
        sharpness: (laplacian / 1000.0).min(1.0),
        brightness,
        contrast: (std / 255.0 / 0.5).min(1.0),
        blur_score: ((laplacian + sobel) / 2.0 / 1000.0).min(1.0),
        noise_level: 1.0 - (2.0 * blur_residual(gray) / 255.0).min(1.0),
        illumination_quality: 1.0 - (share(|v| v < 64) + share(|v| v >= 192)).min(1.0),
        resolution_adequacy: (face.bbox.area() / ADEQUATE_AREA).min(1.0),
        pose: head_pose(&face.landmarks),
        occlusion: occlusion(image, &face.landmarks),
    }
}

/// What to tell the person who retakes the photo, worst first.
fn reasons(m: &QualityMetrics, gray: &GrayImage, inside: &BBox, bbox: &BBox, angle: f32) -> Vec<QualityReason> {
    let (mean, _) = mean_and_std(gray);
    // Each with how far it is over its limit, so that the worst comes first.
    let mut found = Vec::new();
    let mut check = |reason, over: f32| {
        if over > 0.0 {
            found.push((reason, over));
        }
    };
    check(QualityReason::SmallFace, 1.0 - inside.width.min(inside.height) / 50.0);
    check(QualityReason::Blurred, 1.0 - m.sharpness / 0.08);
    check(QualityReason::TooDark, 1.0 - mean / 60.0);
    check(QualityReason::TooBright, (mean - 205.0) / 50.0);
    check(QualityReason::LowContrast, 1.0 - m.contrast / 0.2);
    check(QualityReason::Noisy, 1.0 - m.noise_level / 0.9);
    check(QualityReason::ExtremePose, (angle - 30.0) / 30.0);
    check(QualityReason::Occluded, m.occlusion.map_or(0.0, |o| o.into_iter().fold(0.0, f32::max) - 0.6));
    check(QualityReason::CutOff, 0.9 - inside.area() / bbox.area().max(1.0));
    found.sort_by(|a, b| b.1.total_cmp(&a.1));
    found.into_iter().map(|(reason, _)| reason).collect()
}

/// Depth of the nose tip before the plane of the eyes, as a share of the distance between the eyes, in a mean head.
const NOSE_DEPTH: f32 = 0.5;
/// Where the nose tip stands between eyes (0) and mouth (1) in a frontal face: the ArcFace template's value.
const NOSE_LEVEL: f32 = 0.495;
/// Distance between the eyes as a share of the distance from eyes to mouth, in the ArcFace template.
const EYES_TO_MOUTH: f32 = 35.2 / 40.7;

/// Head pose by weak perspective from eyes, nose and mouth of a mean head: a rough estimate, blind beyond a profile.
fn head_pose(marks: &Landmarks) -> Option<HeadPose> {
    let (left, right) = (marks.get(LandmarkName::LeftEye)?, marks.get(LandmarkName::RightEye)?);
    let (nose, mouth) = (marks.get(LandmarkName::Nose)?, marks.mouth_center()?);
    let roll = (right.y - left.y).atan2(right.x - left.x);
    let (sin, cos) = (-roll).sin_cos();
    let eyes = left.midpoint(right);
    let upright = |p: facesocial_types::Point| {
        let (x, y) = (p.x - eyes.x, p.y - eyes.y);
        (x * cos - y * sin, x * sin + y * cos)
    };
    let (nose_x, nose_y) = upright(nose);
    let (_, mouth_y) = upright(mouth);
    let between = left.distance(right);
    if between <= 0.0 || mouth_y <= 0.0 {
        return None;
    }
    let yaw = (nose_x / between / NOSE_DEPTH).atan();
    let pitch = ((nose_y / mouth_y - NOSE_LEVEL) / (NOSE_DEPTH * EYES_TO_MOUTH)).atan();
    Some(HeadPose { yaw: yaw.to_degrees(), pitch: pitch.to_degrees(), roll: roll.to_degrees() })
}

/// Colour distance (in Cb/Cr units) up to which a patch is like the skin between the eyes, and from which it is unlike.
const SKIN_LIKE: (f32, f32) = (8.0, 24.0);
/// Below this colourfulness of the skin patch the photo is taken as grey, and colours tell nothing.
const GREY_CHROMA: f32 = 6.0;

/// Hints that left eye, right eye, nose and mouth are covered: colours unlike the skin between the eyes.
///
/// The mouth's hint tells masked from bare faces of 45 pixels and more with AUC 0.958 (173 faces of the development set
/// of masks); above 0.6 it finds 68 % of the masks and no bare face. Coloured light deceives it.
fn occlusion(image: &RgbImage, marks: &Landmarks) -> Option<[f32; 4]> {
    let face = imaging::arcface_112(image, marks)?;
    let patch = |x: u32, y: u32, w: u32, h: u32| mean_chroma(&face, x, y, w, h);
    let skin = patch(50, 40, 12, 16);
    if skin.0.hypot(skin.1) < GREY_CHROMA {
        return None;
    }
    let hint = |(cb, cr): (f32, f32)| {
        let distance = (cb - skin.0).hypot(cr - skin.1);
        ((distance - SKIN_LIKE.0) / (SKIN_LIKE.1 - SKIN_LIKE.0)).clamp(0.0, 1.0)
    };
    Some([
        hint(patch(28, 44, 20, 16)),
        hint(patch(64, 44, 20, 16)),
        hint(patch(48, 64, 16, 14)),
        hint(patch(42, 84, 28, 18)),
    ])
}

/// Mean (Cb, Cr) of a patch, each 0 for grey.
fn mean_chroma(image: &RgbImage, x: u32, y: u32, w: u32, h: u32) -> (f32, f32) {
    let (mut cb, mut cr) = (0.0, 0.0);
    for (px, py) in (y..y + h).flat_map(|py| (x..x + w).map(move |px| (px, py))) {
        let [r, g, b] = image.get_pixel(px, py).0.map(f32::from);
        cb += -0.168_736 * r - 0.331_264 * g + 0.5 * b;
        cr += 0.5 * r - 0.418_688 * g - 0.081_312 * b;
    }
    let n = (w * h) as f32;
    (cb / n, cr / n)
}

fn mean_and_std(gray: &GrayImage) -> (f32, f32) {
    let n = gray.len().max(1) as f64;
    let sum: f64 = gray.as_raw().iter().map(|v| f64::from(*v)).sum();
    let mean = sum / n;
    let variance = gray.as_raw().iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / n;
    (mean as f32, variance.sqrt() as f32)
}

/// A 3x3 neighbourhood, row by row.
type Window = [f32; 9];

fn laplacian(w: Window) -> f32 {
    w[1] + w[3] + w[5] + w[7] - 4.0 * w[4]
}

fn sobel_magnitude(w: Window) -> f32 {
    let gx = w[2] + 2.0 * w[5] + w[8] - w[0] - 2.0 * w[3] - w[6];
    let gy = w[6] + 2.0 * w[7] + w[8] - w[0] - 2.0 * w[1] - w[2];
    gx.hypot(gy)
}

/// Variance of a 3x3 filter's response; at the border the image is mirrored without repeating the edge, as OpenCV does.
fn convolved_variance(gray: &GrayImage, filter: fn(Window) -> f32) -> f32 {
    let (w, h) = (i64::from(gray.width()), i64::from(gray.height()));
    let (mut sum, mut squares) = (0f64, 0f64);
    for (y, x) in (0..h).flat_map(|y| (0..w).map(move |x| (y, x))) {
        let window = std::array::from_fn(|i| {
            let (dy, dx) = (i as i64 / 3 - 1, i as i64 % 3 - 1);
            f32::from(gray.get_pixel(mirror(x + dx, w), mirror(y + dy, h)).0[0])
        });
        let v = f64::from(filter(window));
        sum += v;
        squares += v * v;
    }
    let n = (w * h).max(1) as f64;
    (squares / n - (sum / n).powi(2)) as f32
}

/// Index `i` of an axis of `n` cells, mirrored into it (`-1 -> 1`, `n -> n - 2`).
fn mirror(i: i64, n: i64) -> u32 {
    let i = if i < 0 { -i } else { i };
    let i = if i >= n { 2 * n - 2 - i } else { i };
    i.clamp(0, n - 1) as u32
}

/// Mean absolute difference from a 5x5 Gaussian blur (1 4 6 4 1), separable.
fn blur_residual(gray: &GrayImage) -> f32 {
    const TAPS: [f32; 5] = [1.0 / 16.0, 4.0 / 16.0, 6.0 / 16.0, 4.0 / 16.0, 1.0 / 16.0];
    let (w, h) = (i64::from(gray.width()), i64::from(gray.height()));
    let rows: Vec<f32> = (0..h)
        .flat_map(|y| (0..w).map(move |x| (y, x)))
        .map(|(y, x)| {
            let tap = |k: usize| f32::from(gray.get_pixel(mirror(x + k as i64 - 2, w), y as u32).0[0]);
            (0..5).map(|k| TAPS[k] * tap(k)).sum()
        })
        .collect();
    let mut total = 0f64;
    for (y, x) in (0..h).flat_map(|y| (0..w).map(move |x| (y, x))) {
        let tap = |k: usize| rows[mirror(y + k as i64 - 2, h) as usize * w as usize + x as usize];
        let blurred: f32 = (0..5).map(|k| TAPS[k] * tap(k)).sum();
        total += f64::from((f32::from(gray.get_pixel(x as u32, y as u32).0[0]) - blurred).abs());
    }
    (total / (w * h).max(1) as f64) as f32
}

#[cfg(test)]
mod tests {
    use facesocial_types::Point;
    use image::Luma;

    use super::*;

    fn marks(nose: Point) -> Landmarks {
        Landmarks::new([
            (LandmarkName::LeftEye, Point::new(38.0, 52.0)),
            (LandmarkName::RightEye, Point::new(74.0, 52.0)),
            (LandmarkName::Nose, nose),
            (LandmarkName::MouthLeft, Point::new(42.0, 92.0)),
            (LandmarkName::MouthRight, Point::new(70.0, 92.0)),
        ])
    }

    #[test]
    fn a_frontal_template_face_has_no_rotation() {
        let pose = head_pose(&marks(Point::new(56.0, 71.8))).unwrap();
        assert!(pose.yaw.abs() < 1.0 && pose.pitch.abs() < 2.0 && pose.roll.abs() < 1.0, "{pose:?}");
    }

    #[test]
    fn a_nose_to_the_right_is_a_turn_to_the_right() {
        let pose = head_pose(&marks(Point::new(66.0, 71.8))).unwrap();
        assert!(pose.yaw > 20.0 && pose.yaw < 40.0, "{pose:?}");
        assert!(head_pose(&marks(Point::new(46.0, 71.8))).unwrap().yaw < -20.0);
        assert!(head_pose(&Landmarks::default()).is_none());
    }

    #[test]
    fn filters_match_hand_computed_values() {
        let flat = GrayImage::from_pixel(8, 8, Luma([100]));
        assert_eq!(convolved_variance(&flat, laplacian), 0.0);
        assert_eq!(blur_residual(&flat), 0.0);
        assert_eq!(mean_and_std(&flat), (100.0, 0.0));
        // One bright pixel: the Laplacian is -4 there, 1 at its four neighbours: variance (16 + 4) / 49 - 0.
        let mut dot = GrayImage::new(7, 7);
        dot.put_pixel(3, 3, Luma([1]));
        assert!((convolved_variance(&dot, laplacian) - 20.0 / 49.0).abs() < 1e-6);
    }

    #[test]
    fn a_blurred_dark_small_face_gets_its_reasons() {
        let image = RgbImage::from_pixel(40, 40, image::Rgb([20; 3]));
        let face = Face { bbox: BBox::new(-20.0, 0.0, 40.0, 40.0), score: 1.0, landmarks: Landmarks::default() };
        let quality = assess_face(&image, &face);
        for reason in [QualityReason::SmallFace, QualityReason::Blurred, QualityReason::TooDark, QualityReason::CutOff]
        {
            assert!(quality.reasons.contains(&reason), "{reason:?} in {:?}", quality.reasons);
        }
        assert!(quality.score < 0.5);
    }

    #[test]
    fn mirroring_stays_inside() {
        assert_eq!((mirror(-1, 5), mirror(5, 5), mirror(2, 5), mirror(-1, 1)), (1, 3, 2, 0));
    }
}
