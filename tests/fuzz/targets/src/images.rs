//! Photos, frames and boxes.

use facesocial_imaging::{
    Color, Limits, RgbImage, Sampling, Similarity, arcface_112, crop_resize, decode, dlib_chip_150, draw_box,
    draw_caption, draw_points, letterbox, resize, warp,
};
use facesocial_pipeline::{AnalyzeOptions, DetectOptions};
use facesocial_types::{AnalyzerSet, BBox, Detector, LandmarkName, Landmarks, Point};

use crate::networks;

/// Pixels of a photo at most: enough for every path of the decoders, and little enough for many photos a second.
const PIXELS: u64 = 1 << 18;
/// Pixels of a photo that networks look at.
const FEW_PIXELS: u64 = 1 << 16;

/// A photo of any format.
pub fn image(bytes: &[u8]) {
    let limits = Limits::default().with_max_pixels(PIXELS);
    let Ok(photo) = decode(bytes, &limits) else { return };
    let (width, height) = photo.image.dimensions();
    assert!(u64::from(width) * u64::from(height) <= PIXELS && width.min(height) >= limits.min_side);
    assert_eq!(photo.source_bytes, bytes.len());
    // What every detector does with it.
    assert_eq!(letterbox(&photo.image, 32, 32, [0; 3], Sampling::Area).image.dimensions(), (32, 32));
}

/// Boxes and landmarks as a client or a network may name them: the first byte chooses, the others are numbers.
pub fn crop(bytes: &[u8]) {
    let Some((&[sides, kind], rest)) = bytes.split_first_chunk() else { return };
    let mut numbers = rest.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b));
    let mut next = || numbers.next().unwrap_or_default();
    let mut image = RgbImage::from_fn(u32::from(sides >> 4) + 1, u32::from(sides & 15) + 1, |x, y| {
        [x as u8 * 16, y as u8 * 16, 77].into()
    });
    let sampling = if kind & 1 == 0 { Sampling::Bilinear } else { Sampling::Area };
    let bbox = BBox::new(next(), next(), next(), next());
    let points: [Point; 6] = std::array::from_fn(|_| Point::new(next(), next()));
    match kind >> 1 & 3 {
        0 => {
            assert_eq!(crop_resize(&image, &bbox, 9, 7, [1; 3], sampling).dimensions(), (9, 7));
            let clipped = bbox.clipped(image.width(), image.height());
            // Where they do not meet, nothing is said of the place. Sums of floats are off by their last bit.
            let (right, bottom) = (image.width() as f32 + 1e-3, image.height() as f32 + 1e-3);
            let inside = clipped.x >= 0.0 && clipped.y >= 0.0 && clipped.right() <= right && clipped.bottom() <= bottom;
            let meets = clipped.area() > 0.0;
            assert!(inside || !meets, "{clipped:?}");
        }
        1 => {
            use LandmarkName::{LeftEye, MouthCenter, MouthLeft, MouthRight, Nose, RightEye};
            let names = [LeftEye, RightEye, Nose, MouthLeft, MouthRight, MouthCenter];
            // With a mouth of two corners, or of one point.
            let names = if kind & 8 == 0 { &names[..5] } else { &[LeftEye, RightEye, Nose, MouthCenter][..] };
            let landmarks = Landmarks::new(names.iter().copied().zip(points));
            arcface_112(&image, &landmarks);
            dlib_chip_150(&image, &landmarks);
        }
        2 => {
            let [a, b] = points.map(|p| (f64::from(p.x), f64::from(p.y)))[..2] else { return };
            warp(&image, &Similarity { a: a.0, b: a.1, tx: b.0, ty: b.1 }, 9, 7, [1; 3]);
            resize(&image, u32::from(kind), 3, sampling);
        }
        _ => {
            let name: String = rest.iter().map(|b| char::from(*b)).take(20).collect();
            draw_box(&mut image, &bbox, Color([1, 2, 3]), points[0].x.min(8.0));
            draw_points(&mut image, &points[1..], Color([1, 2, 3]), points[0].y.min(8.0));
            draw_caption(&mut image, &bbox, &[name], Color([1, 2, 3]));
        }
    }
}

/// A photo with everything that the bundled networks say of it; the first byte chooses the detector.
pub fn faces(bytes: &[u8]) {
    let Some((&kind, photo)) = bytes.split_first() else { return };
    let Ok(photo) = decode(photo, &Limits::default().with_max_pixels(FEW_PIXELS)) else { return };
    let detectors = [Detector::Mediapipe, Detector::Yolo, Detector::Mtcnn, Detector::Auto];
    let detect = DetectOptions {
        detector: detectors[usize::from(kind & 3)],
        // Most pictures show no face: with a low bar the rest of the way is taken nevertheless.
        min_score: if kind & 4 == 0 { 0.02 } else { 0.5 },
        min_size: 0.0,
        max_faces: 3,
    };
    let pipeline = networks::pipeline();
    let found = pipeline.analyze(&photo.image, &AnalyzeOptions { detect, analyzers: AnalyzerSet::ALL });
    let analysis = found.expect("bundled networks answer for every photo");
    assert!(analysis.faces.len() <= detect.max_faces);
}

/// What `ffmpeg` writes.
pub fn video(mut bytes: &[u8]) {
    while let Ok(Some(frame)) = facesocial::video::ppm::read_frame(&mut bytes, PIXELS) {
        assert!(!frame.is_empty() && u64::from(frame.width()) * u64::from(frame.height()) <= PIXELS);
    }
}
