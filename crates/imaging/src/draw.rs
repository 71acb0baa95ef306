//! Boxes, points and captions on a photo.

use facesocial_types::{BBox, Point};
use image::RgbImage;

/// An opaque colour: red, green, blue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Color(pub [u8; 3]);

impl Color {
    /// A green that stands out from skin.
    pub const GREEN: Self = Self([46, 204, 113]);
    /// For what went wrong, or is fake.
    pub const RED: Self = Self([231, 76, 60]);
    /// For what is uncertain.
    pub const AMBER: Self = Self([243, 156, 18]);
    /// Neutral.
    pub const BLUE: Self = Self([52, 152, 219]);
    /// White.
    pub const WHITE: Self = Self([255, 255, 255]);
    /// Nearly black.
    pub const BLACK: Self = Self([20, 20, 20]);

    /// Black or white, whichever reads better on this colour.
    pub fn text_on(self) -> Self {
        let [r, g, b] = self.0.map(f32::from);
        if 0.299 * r + 0.587 * g + 0.114 * b > 140.0 { Self::BLACK } else { Self::WHITE }
    }
}

/// A line width in pixels that reads well on a photo of this size.
pub fn line_width(image: &RgbImage) -> f32 {
    (image.width().max(image.height()) as f32 / 400.0).max(1.5)
}

/// Lays `color` over the pixel at `(x, y)` with `coverage` 0..=1; outside the image nothing happens.
pub(crate) fn blend(image: &mut RgbImage, x: i64, y: i64, color: Color, coverage: f32) {
    let inside = (0..i64::from(image.width())).contains(&x) && (0..i64::from(image.height())).contains(&y);
    if !inside || coverage <= 0.0 {
        return;
    }
    let coverage = coverage.min(1.0);
    for (v, c) in image.get_pixel_mut(x as u32, y as u32).0.iter_mut().zip(color.0) {
        *v = (f32::from(*v) + (f32::from(c) - f32::from(*v)) * coverage + 0.5) as u8;
    }
}

/// Colours every pixel of `within` by `coverage(x, y)` of its centre.
pub(crate) fn paint(image: &mut RgbImage, within: &BBox, color: Color, coverage: impl Fn(f32, f32) -> f32) {
    let part = within.clipped(image.width(), image.height());
    for y in part.y.floor() as i64..part.bottom().ceil() as i64 {
        for x in part.x.floor() as i64..part.right().ceil() as i64 {
            blend(image, x, y, color, coverage(x as f32 + 0.5, y as f32 + 0.5));
        }
    }
}

/// Distance of a point to a box with corners rounded by `radius`; negative inside.
pub(crate) fn distance(b: &BBox, radius: f32, x: f32, y: f32) -> f32 {
    let c = b.center();
    let dx = (x - c.x).abs() - b.width / 2.0 + radius;
    let dy = (y - c.y).abs() - b.height / 2.0 + radius;
    dx.max(0.0).hypot(dy.max(0.0)) + dx.max(dy).min(0.0) - radius
}

/// The outline of `bbox`, `thickness` pixels wide, centred on the box's edge, corners a little rounded.
pub fn draw_box(image: &mut RgbImage, bbox: &BBox, color: Color, thickness: f32) {
    let half = thickness.max(1.0) / 2.0;
    let radius = (half * 3.0).min(bbox.width.min(bbox.height) / 2.0);
    let reach = half + 1.0;
    let outer = BBox::new(bbox.x - reach, bbox.y - reach, bbox.width + 2.0 * reach, bbox.height + 2.0 * reach);
    // Four strips instead of the whole box: the inside of a large face stays untouched.
    let band = (reach + radius).min(outer.width.min(outer.height) / 2.0);
    let line = |x: f32, y: f32| half + 0.5 - distance(bbox, radius, x, y).abs();
    let (top, bottom) = ((outer.y + band).floor(), (outer.bottom() - band).ceil().max((outer.y + band).floor()));
    let (left, right) = ((outer.x + band).floor(), (outer.right() - band).ceil().max((outer.x + band).floor()));
    for strip in [
        BBox::from_corners(outer.x, outer.y, outer.right(), top),
        BBox::from_corners(outer.x, bottom, outer.right(), outer.bottom()),
        BBox::from_corners(outer.x, top, left, bottom),
        BBox::from_corners(right, top, outer.right(), bottom),
    ] {
        paint(image, &strip, color, line);
    }
}

/// A dot of `radius` pixels on every point, with a thin dark rim so that it shows on any skin.
pub fn draw_points(image: &mut RgbImage, points: &[Point], color: Color, radius: f32) {
    let radius = radius.max(1.0);
    for p in points {
        for (r, color) in [(radius + (radius / 3.0).max(0.6), Color::BLACK), (radius, color)] {
            let around = BBox::new(p.x - r - 1.0, p.y - r - 1.0, 2.0 * r + 2.0, 2.0 * r + 2.0);
            paint(image, &around, color, |x, y| r + 0.5 - p.distance(Point::new(x, y)));
        }
    }
}

/// `lines` on a label of colour `color`: above `anchor`, or below it, or inside, wherever it fits; always within the
/// image.
pub fn draw_caption(image: &mut RgbImage, anchor: &BBox, lines: &[String], color: Color) {
    crate::text::caption(image, anchor, lines, color);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_colours_its_edge_and_nothing_else() {
        let mut image = RgbImage::new(100, 100);
        draw_box(&mut image, &BBox::new(20.0, 30.0, 50.0, 40.0), Color::WHITE, 3.0);
        for (x, y) in [(45, 30), (45, 69), (20, 50), (69, 50)] {
            assert_eq!(image.get_pixel(x, y).0, [255; 3], "{x},{y}");
        }
        for (x, y) in [(45, 50), (10, 10), (45, 35), (45, 25), (75, 50)] {
            assert_eq!(image.get_pixel(x, y).0, [0; 3], "{x},{y}");
        }
    }

    #[test]
    fn edges_are_blended() {
        let mut image = RgbImage::new(60, 60);
        draw_points(&mut image, &[Point::new(30.3, 30.4)], Color::WHITE, 8.0);
        let levels: std::collections::BTreeSet<u8> = image.pixels().map(|p| p.0[0]).collect();
        assert!(levels.len() > 10, "{levels:?}");
    }

    #[test]
    fn drawing_outside_or_without_sense_does_not_panic() {
        let mut image = RgbImage::new(40, 30);
        let lines = vec!["a long caption that is much wider than this photo".to_owned(), "Zwei".to_owned()];
        for b in [
            BBox::new(-100.0, -100.0, 500.0, 500.0),
            BBox::new(35.0, 25.0, 50.0, 50.0),
            BBox::new(10.0, 10.0, 0.0, 0.0),
            BBox::new(f32::NAN, 0.0, 5.0, 5.0),
            BBox::new(0.0, 0.0, f32::INFINITY, 5.0),
            BBox::new(1e30, 1e30, 5.0, 5.0),
        ] {
            draw_box(&mut image, &b, Color::RED, 2.0);
            draw_points(&mut image, &[Point::new(b.x, b.y)], Color::GREEN, 3.0);
            draw_caption(&mut image, &b, &lines, Color::BLUE);
        }
        draw_caption(&mut RgbImage::new(1, 1), &BBox::default(), &lines, Color::BLUE);
        assert!(image.pixels().any(|p| p.0 != [0; 3]));
    }

    #[test]
    fn a_caption_shows_text_on_its_colour() {
        let mut image = RgbImage::new(300, 200);
        draw_caption(&mut image, &BBox::new(50.0, 100.0, 80.0, 80.0), &["Mm".to_owned()], Color::AMBER);
        assert!(image.pixels().any(|p| p.0 == Color::AMBER.0));
        assert!(image.pixels().any(|p| p.0 == Color::BLACK.0));
    }
}
