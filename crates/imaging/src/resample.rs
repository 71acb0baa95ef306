//! Separable resampling of any box of an image, inside it or not.

use facesocial_kernels::add_weighted_bytes;
use image::RgbImage;

/// How pixels are read when an image changes its size. All are the same where it grows.
///
/// Pixel `i` of the result has its centre at `(i + 0.5) * source / target` of the source ("half-pixel centres", as
/// OpenCV, Pillow and PyTorch with `align_corners=False`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sampling {
    /// The four nearest pixels, however far the image shrinks: OpenCV's `INTER_LINEAR`. MediaPipe makes the inputs of
    /// BlazeFace so; networks trained on such inputs expect its aliasing.
    Bilinear,
    /// Every pixel counts: the triangle filter widens as the image shrinks, as Pillow's `BILINEAR` and PyTorch's
    /// `interpolate(mode="bilinear", antialias=True)` do.
    Area,
    /// Every pixel counts by how much of it lies under the target pixel: OpenCV's `INTER_AREA` and Pillow's `BOX`.
    /// Sharper than [`Area`](Self::Area).
    Box,
}

/// What one pixel of the result takes along one axis: `weights` of the source pixels from `start`, and `outside` of
/// the fill colour. All of them add up to one.
struct Taps {
    start: usize,
    weights: Vec<f32>,
    outside: f32,
}

/// Taps of `target` pixels spread over `from .. from + extent`, of a source of `len` pixels.
///
/// Only pixels the box covers count, as if it had been cut out first and filled where it leaves the source.
fn taps(len: u32, from: f64, extent: f64, target: u32, sampling: Sampling) -> Vec<Taps> {
    let scale = extent / f64::from(target);
    let support = match sampling {
        Sampling::Bilinear => 1.0,
        Sampling::Area => scale.max(1.0),
        // Half the target pixel, and half the source pixel that may stand over its edge.
        Sampling::Box if scale > 1.0 => (scale + 1.0) / 2.0,
        Sampling::Box => 1.0,
    };
    let first = from.floor() as i64;
    // A box too thin to reach the next number still lies on a pixel.
    let last = ((from + extent).ceil() as i64 - 1).max(first);
    (0..target)
        .map(|i| {
            let centre = from + (f64::from(i) + 0.5) * scale;
            let low = ((centre - support - 0.5).ceil() as i64).clamp(first, last);
            let high = ((centre + support - 0.5).floor() as i64).clamp(first, last);
            // The edge pixel stands for what lies beyond the box's edge, as INTER_LINEAR repeats it.
            let weight = |j: i64| {
                let distance = (j as f64 + 0.5 - centre).abs();
                match sampling {
                    Sampling::Box if scale > 1.0 => (support - distance).clamp(0.0, 1.0),
                    _ => (1.0 - distance / support).max(0.0),
                }
            };
            let total: f64 = (low..=high).map(weight).sum();
            // A box thinner than a pixel may have its only pixel centre out of reach.
            let share = |j: i64| if total > 0.0 { weight(j) / total } else { 1.0 / (high - low + 1) as f64 };
            let (start, end) = (low.clamp(0, i64::from(len)), (high + 1).clamp(0, i64::from(len)));
            let weights: Vec<f32> = (start..end).map(|j| share(j) as f32).collect();
            let outside = if end - start == high - low + 1 { 0.0 } else { 1.0 - weights.iter().sum::<f32>() };
            Taps { start: start as usize, weights, outside }
        })
        .collect()
}

/// The box `x, y, width, height` of `image` as `w` x `h` pixels; `fill` where it leaves the image. The box has a
/// positive, finite size.
pub(crate) fn resample(
    image: &RgbImage,
    [x, y, width, height]: [f64; 4],
    (w, h): (u32, u32),
    fill: [u8; 3],
    sampling: Sampling,
) -> RgbImage {
    let columns = taps(image.width(), x, width, w, sampling);
    let rows = taps(image.height(), y, height, h, sampling);
    let stride = image.width() as usize * 3;
    // Only these columns are read.
    let first = columns.iter().map(|t| t.start).min().unwrap_or(0) * 3;
    let end = columns.iter().map(|t| t.start + t.weights.len()).max().unwrap_or(0) * 3;
    let fill = [fill[0], fill[1], fill[2], 0].map(f32::from);
    // Four values are read and written at a time; the fourth is the next pixel's, or this one more.
    let mut line = vec![0f32; end - first + 1];
    let mut values = vec![0f32; w as usize * 3 + 1];
    let mut out = RgbImage::new(w, h);
    for (row, target) in rows.iter().zip(out.chunks_exact_mut(w as usize * 3)) {
        // Rows first: this pass runs along memory.
        line.fill(0.0);
        for (j, &weight) in row.weights.iter().enumerate() {
            let source = &image.as_raw()[(row.start + j) * stride..][first..end];
            add_weighted_bytes(&mut line, weight, source);
        }
        for (x, column) in columns.iter().enumerate() {
            // What is outside: all of the columns beyond the edge, and of the others the rows beyond it.
            let inside = (1.0 - column.outside) * (1.0 - row.outside);
            let mut sum = fill.map(|f| f * (1.0 - inside));
            let mut at = column.start * 3 - first;
            for &weight in &column.weights {
                let source = line.get(at..).and_then(|line| line.first_chunk::<4>()).copied().unwrap_or_default();
                sum = std::array::from_fn(|i| sum[i] + weight * source[i]);
                at += 3;
            }
            if let Some(value) = values.get_mut(3 * x..).and_then(|values| values.first_chunk_mut()) {
                *value = sum;
            }
        }
        // By way of a wider integer, several values at a time.
        for (p, v) in target.iter_mut().zip(&values) {
            *p = (v + 0.5).clamp(0.0, 255.0) as i32 as u8;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    #[test]
    fn a_box_counts_pixels_by_their_share_under_the_target() {
        // Five pixels onto two: each target pixel covers two and a half.
        let row = RgbImage::from_fn(5, 1, |x, _| Rgb([[10, 20, 30, 40, 50][x as usize]; 3]));
        let got = resample(&row, [0.0, 0.0, 5.0, 1.0], (2, 1), [0; 3], Sampling::Box);
        let want = [(10.0 + 20.0 + 15.0) / 2.5, (15.0 + 40.0 + 50.0) / 2.5];
        assert_eq!([got.get_pixel(0, 0).0[0], got.get_pixel(1, 0).0[0]], want.map(|v: f64| v.round() as u8));
    }
}
