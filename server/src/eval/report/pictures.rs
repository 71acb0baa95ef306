//! Small pictures within a report.

use std::path::Path;

use base64::{Engine, engine::general_purpose::STANDARD};
use facesocial_imaging::{Color, Sampling, draw_box, encode_jpeg, line_width, resize};
use facesocial_types::BBox;
use image::RgbImage;

use crate::cli::inputs;

/// Longest side in pixels: enough to see what went wrong, too little to be a copy of the set.
const SIDE: u32 = 160;
/// Longest side where boxes are drawn in.
const SCENE_SIDE: u32 = 480;
const JPEG_QUALITY: u8 = 80;

/// One picture, or several that belong together, with a line below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// `data:` addresses.
    pub sources: Vec<String>,
    /// The line.
    pub caption: String,
}

impl Picture {
    /// Small copies of the photos.
    ///
    /// # Errors
    /// A photo cannot be read any more.
    pub fn of(paths: &[&Path], caption: String) -> anyhow::Result<Self> {
        let sources = paths.iter().map(|path| Ok(small(&inputs::read_image(path)?, SIDE)));
        Ok(Self { sources: sources.collect::<anyhow::Result<_>>()?, caption })
    }

    /// A small copy with labelled boxes in green and detected ones in red.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub fn scene(path: &Path, labelled: &[BBox], detected: &[BBox], caption: String) -> anyhow::Result<Self> {
        let mut image = inputs::read_image(path)?;
        let width = line_width(&image);
        labelled.iter().for_each(|b| draw_box(&mut image, b, Color::GREEN, width));
        detected.iter().for_each(|b| draw_box(&mut image, b, Color::RED, width));
        Ok(Self { sources: vec![small(&image, SCENE_SIDE)], caption })
    }
}

fn small(image: &RgbImage, side: u32) -> String {
    let scale = (f64::from(side) / f64::from(image.width().max(image.height()))).min(1.0);
    let length = |n: u32| ((f64::from(n) * scale).round() as u32).max(1);
    let small = resize(image, length(image.width()), length(image.height()), Sampling::Area);
    format!("data:image/jpeg;base64,{}", STANDARD.encode(encode_jpeg(&small, JPEG_QUALITY)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_small_and_carry_themselves() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.png");
        std::fs::write(&path, facesocial_imaging::encode_png(&RgbImage::new(640, 320))).unwrap();
        let picture = Picture::of(&[&path, &path], "twice".to_owned()).unwrap();
        assert_eq!(picture.sources.len(), 2);
        let bytes = STANDARD.decode(picture.sources[0].strip_prefix("data:image/jpeg;base64,").unwrap()).unwrap();
        let image = image::load_from_memory(&bytes).unwrap();
        assert_eq!((image.width(), image.height()), (160, 80));
        let bbox = [BBox::new(1.0, 1.0, 20.0, 20.0)];
        assert!(Picture::scene(&path, &bbox, &bbox, String::new()).is_ok());
        assert!(Picture::of(&[Path::new("/none.png")], String::new()).is_err());
    }
}
