//! Captions in the embedded font.

use std::sync::LazyLock;

use ab_glyph::{Font, FontRef, Glyph, PxScale, ScaleFont, point};
use facesocial_types::BBox;
use image::RgbImage;

use crate::draw::{Color, blend, distance, paint};

/// Inter SemiBold, see `font/README.md`; Latin, Greek and Cyrillic.
#[expect(clippy::expect_used, reason = "the font is part of the program, and a test parses it")]
static FONT: LazyLock<FontRef<'static>> = LazyLock::new(|| {
    FontRef::try_from_slice(include_bytes!("../font/Inter-SemiBold.subset.ttf"))
        .expect("the embedded font parses, as the tests show")
});

/// Smallest and largest height of a line in pixels: readable when the photo is shown about 1000 pixels wide.
fn line_heights(image: &RgbImage) -> (f32, f32) {
    let longer = image.width().max(image.height()) as f32;
    ((longer / 85.0).max(11.0), (longer / 55.0).max(13.0))
}

/// A line's glyphs from x = 0 on its baseline, and its width.
fn shape(line: &str, size: f32) -> (Vec<Glyph>, f32) {
    let font = FONT.as_scaled(PxScale::from(size));
    let mut glyphs = Vec::new();
    let (mut x, mut previous) = (0.0, None);
    for character in line.chars().filter(|c| !c.is_control()) {
        let id = font.glyph_id(character);
        x += previous.map_or(0.0, |p| font.kern(p, id));
        glyphs.push(id.with_scale_and_position(size, point(x, 0.0)));
        x += font.h_advance(id);
        previous = Some(id);
    }
    (glyphs, x)
}

/// Where a label of this size goes: above the face, else below it, else inside its top edge; never over the photo's
/// edge unless it is larger than the photo.
fn place(anchor: &BBox, (width, height): (f32, f32), gap: f32, image: &RgbImage) -> BBox {
    let (w, h) = (image.width() as f32, image.height() as f32);
    let y = if anchor.y - gap - height >= 0.0 {
        anchor.y - gap - height
    } else if anchor.bottom() + gap + height <= h {
        anchor.bottom() + gap
    } else {
        anchor.y + gap
    };
    let keep = |v: f32, most: f32| v.min(most).max(0.0);
    BBox::new(keep(anchor.x - gap / 2.0, w - width), keep(y, h - height), width, height)
}

pub(crate) fn caption(image: &mut RgbImage, anchor: &BBox, lines: &[String], color: Color) {
    let lines: Vec<&str> = lines.iter().map(String::as_str).filter(|l| !l.trim().is_empty()).collect();
    if lines.is_empty() || ![anchor.x, anchor.y, anchor.width, anchor.height].iter().all(|v| v.is_finite()) {
        return;
    }
    let widest = |size: f32| lines.iter().map(|l| shape(l, size).1).fold(0.0, f32::max);
    let margin = |size: f32| size * 0.35;
    // In a group, labels much wider than their face would cover the neighbours.
    let (smallest, largest) = line_heights(image);
    let mut size = (largest * 1.6 * anchor.width / widest(largest)).clamp(smallest, largest);
    // A label wider or higher than the photo is set smaller still.
    let room = (image.width() as f32 / (widest(size) + 2.0 * margin(size)))
        .min(image.height() as f32 / (size * 1.2 * lines.len() as f32 + margin(size)));
    size *= room.min(1.0);

    let label = (widest(size) + 2.0 * margin(size), size * 1.2 * lines.len() as f32 + margin(size));
    let place = place(anchor, label, size * 0.2, image);
    paint(image, &place, color, |x, y| 0.5 - distance(&place, size * 0.25, x, y));

    let font = FONT.as_scaled(PxScale::from(size));
    let text_color = color.text_on();
    for (i, line) in lines.iter().enumerate() {
        let middle = place.y + margin(size) / 2.0 + size * 1.2 * (i as f32 + 0.5);
        let baseline = middle + (font.ascent() + font.descent()) / 2.0;
        for mut glyph in shape(line, size).0 {
            glyph.position += point(place.x + margin(size), baseline);
            let Some(outline) = FONT.outline_glyph(glyph) else { continue };
            let corner = outline.px_bounds().min;
            outline.draw(|x, y, coverage| {
                blend(image, corner.x as i64 + i64::from(x), corner.y as i64 + i64::from(y), text_color, coverage);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_font_has_the_letters_captions_use() {
        for c in "AZaz09 %@.,:;()/-–°±≥→éßñЖж".chars() {
            assert_ne!(FONT.glyph_id(c).0, 0, "{c}");
        }
    }

    #[test]
    fn labels_stay_inside_the_photo() {
        let image = RgbImage::new(400, 300);
        let size = (120.0, 50.0);
        for anchor in [
            BBox::new(100.0, 100.0, 50.0, 50.0),
            BBox::new(0.0, 0.0, 400.0, 300.0),
            BBox::new(380.0, 0.0, 60.0, 60.0),
            BBox::new(-50.0, 280.0, 60.0, 60.0),
        ] {
            let b = place(&anchor, size, 4.0, &image);
            assert!(b.x >= 0.0 && b.y >= 0.0 && b.right() <= 400.0 && b.bottom() <= 300.0, "{anchor:?}: {b:?}");
        }
        // Room above: the face is left free.
        assert!(place(&BBox::new(100.0, 100.0, 50.0, 50.0), size, 4.0, &image).bottom() <= 100.0);
    }
}
