//! The networks that find faces.

use facesocial_models::{BlazeFace, Result, YoloV10, blazeface, yolov10};
use facesocial_types::Face;
use image::{Rgb, RgbImage};

use crate::{
    network::Task,
    wire::{Cursor, Wire, WireError},
};

/// What a single-shot detector looks at.
#[derive(Debug, Clone)]
pub struct Letterboxed {
    /// The photo in the square that the network takes.
    pub image: RgbImage,
    /// Faces with a lower score are left out; 0..=1.
    pub min_score: f32,
}

/// What must be known of a single-shot detector to prepare its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InputSide(
    /// Side of the square input in pixels.
    pub u32,
);

/// Most boxes that YOLOv10n is asked for. The reference takes 300, one a face; weights of a one-to-many head give some ten for
/// each face, before those that overlap a better one are left out.
const YOLO_MAX: usize = 3000;

/// A picture that shows nothing.
pub(crate) fn grey(width: u32, height: u32) -> RgbImage {
    RgbImage::from_pixel(width, height, Rgb([128; 3]))
}

/// Whether a picture is a square of this side.
pub(crate) fn is_square(image: &RgbImage, side: u32) -> bool {
    image.dimensions() == (side, side)
}

impl Letterboxed {
    fn grey(spec: &InputSide) -> Self {
        Self { image: grey(spec.0, spec.0), min_score: 0.5 }
    }

    fn fits(&self, spec: &InputSide) -> bool {
        is_square(&self.image, spec.0) && (0.0..=1.0).contains(&self.min_score)
    }
}

impl Wire for Letterboxed {
    const LEAST: usize = RgbImage::LEAST + f32::LEAST;

    fn write(&self, to: &mut Vec<u8>) {
        self.min_score.write(to);
        self.image.write(to);
    }

    fn read(from: &mut Cursor<'_>) -> std::result::Result<Self, WireError> {
        Ok(Self { min_score: f32::read(from)?, image: RgbImage::read(from)? })
    }
}

/// Runs `detect` once for each run of items that want the same score: nearly always once.
fn by_score(
    items: &[Letterboxed],
    detect: impl Fn(&[RgbImage], f32) -> Result<Vec<Vec<Face>>>,
) -> Result<Vec<Vec<Face>>> {
    let mut faces = Vec::with_capacity(items.len());
    for same in items.chunk_by(|a, b| a.min_score.to_bits() == b.min_score.to_bits()) {
        let images: Vec<RgbImage> = same.iter().map(|item| item.image.clone()).collect();
        faces.extend(detect(&images, same[0].min_score)?);
    }
    Ok(faces)
}

impl Task for BlazeFace {
    type Item = Letterboxed;
    type Output = Vec<Face>;
    type Spec = InputSide;

    fn forward(&self, items: &[Letterboxed]) -> Result<Vec<Vec<Face>>> {
        by_score(items, |images, min_score| self.detect(images, min_score))
    }

    fn grey(spec: &InputSide) -> Letterboxed {
        Letterboxed::grey(spec)
    }

    fn fits(spec: &InputSide, item: &Letterboxed) -> bool {
        item.fits(spec)
    }
}

impl Task for YoloV10 {
    type Item = Letterboxed;
    type Output = Vec<Face>;
    type Spec = InputSide;

    fn forward(&self, items: &[Letterboxed]) -> Result<Vec<Vec<Face>>> {
        by_score(items, |images, min_score| self.detect(images, min_score, YOLO_MAX))
    }

    fn grey(spec: &InputSide) -> Letterboxed {
        Letterboxed::grey(spec)
    }

    fn fits(spec: &InputSide, item: &Letterboxed) -> bool {
        item.fits(spec)
    }
}

/// The input of the single-shot detector called `name`.
pub(crate) fn input_side(name: &str) -> InputSide {
    InputSide(match name {
        "blazeface-short" => blazeface::Config::short_range().input_size(),
        "blazeface-full" => blazeface::Config::full_range().input_size(),
        _ => yolov10::INPUT_SIZE,
    })
}
