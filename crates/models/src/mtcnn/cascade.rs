//! The cascade's geometry: pyramid, proposals, suppression, box regression, crops. No tensors.
//!
//! Boxes are corners as the reference has them: of MATLAB's making, so the first pixel is 1 and, where a `+ 1` stands,
//! both ends count. The steps of the reference differ in that rule; each function says which it follows.

use std::ops::{AddAssign, Range};

use image::RgbImage;
use rayon::prelude::*;

/// Left, top, right, bottom.
pub(super) type Corners = [f32; 4];

/// A box on its way through the cascade.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Candidate {
    pub corners: Corners,
    /// Probability of a face, from the network that saw it last.
    pub score: f32,
}

/// Cell of P-Net's output in input pixels.
const CELL: f32 = 12.0;
/// Step between cells in input pixels.
const STRIDE: f32 = 2.0;
/// Pixels of the image under the rows that are resampled: fewer are not shared between threads.
const LEAST_SHARED: usize = 1 << 16;

/// Scales of the image pyramid: the smallest face fills a cell on the first level, the shorter side still does on the last.
///
/// In f64, as the reference has it: level sizes are cut to whole pixels, and f32 would cut some of them differently.
pub(super) fn scales(width: u32, height: u32, min_face_size: f32, factor: f32) -> Vec<f64> {
    let cell = f64::from(CELL);
    let mut scale = cell / f64::from(min_face_size);
    let mut short = f64::from(width.min(height)) * scale;
    // The decimal that was written: 0.709f32 is 0.70899999.
    let factor = (f64::from(factor) * 1e6).round() / 1e6;
    let mut scales = Vec::new();
    while short >= cell {
        scales.push(scale);
        scale *= factor;
        short *= factor;
    }
    scales
}

/// Height and width of a pyramid level.
pub(super) fn level_size(width: u32, height: u32, scale: f64) -> (usize, usize) {
    let size = |n: u32| (f64::from(n) * scale + 1.0) as usize;
    (size(height), size(width))
}

/// The box of P-Net's cell `(row, column)` in image pixels.
pub(super) fn cell_corners(row: usize, column: usize, scale: f64) -> Corners {
    let scale = scale as f32;
    let (x, y) = (STRIDE * column as f32, STRIDE * row as f32);
    [(x + 1.0) / scale, (y + 1.0) / scale, (x + CELL) / scale, (y + CELL) / scale].map(f32::floor)
}

/// Moves the corners by the regression times the box's extent; `inclusive` counts both ends (`+ 1`), as after R- and
/// O-Net, not after P-Net.
pub(super) fn regress(corners: Corners, regression: [f32; 4], inclusive: bool) -> Corners {
    let one = f32::from(u8::from(inclusive));
    let [x1, y1, x2, y2] = corners;
    let extent = [x2 - x1 + one, y2 - y1 + one];
    std::array::from_fn(|i| corners[i] + regression[i] * extent[i % 2])
}

/// The square around the same centre with the longer side.
pub(super) fn square([x1, y1, x2, y2]: Corners) -> Corners {
    let (w, h) = (x2 - x1, y2 - y1);
    let side = w.max(h);
    let (x, y) = (x1 + w * 0.5 - side * 0.5, y1 + h * 0.5 - side * 0.5);
    [x, y, x + side, y + side]
}

/// What the shared area of two boxes is compared with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Overlap {
    /// Their union; extents without `+ 1`.
    Union,
    /// The smaller of the two; extents with `+ 1`.
    Min,
}

/// Greedy non-maximum suppression: positions of the kept boxes, highest score first.
///
/// A box falls when its overlap with a kept one is above `threshold`.
pub(super) fn suppress(candidates: &[Candidate], threshold: f32, overlap: Overlap) -> Vec<usize> {
    let one = if overlap == Overlap::Min { 1.0 } else { 0.0 };
    let area = |[x1, y1, x2, y2]: Corners| (x2 - x1 + one) * (y2 - y1 + one);
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    order.sort_by(|a, b| candidates[*b].score.total_cmp(&candidates[*a].score));
    let mut kept: Vec<usize> = Vec::new();
    for i in order {
        let a = candidates[i].corners;
        let covered = kept.iter().any(|&k| {
            let b = candidates[k].corners;
            let shared =
                (a[2].min(b[2]) - a[0].max(b[0]) + one).max(0.0) * (a[3].min(b[3]) - a[1].max(b[1]) + one).max(0.0);
            let whole = match overlap {
                Overlap::Union => area(a) + area(b) - shared,
                Overlap::Min => area(a).min(area(b)),
            };
            shared / whole > threshold
        });
        if !covered {
            kept.push(i);
        }
    }
    kept
}

/// Leaves the `limit` candidates of the highest score.
pub(super) fn keep_best<T>(candidates: &mut Vec<T>, limit: usize, score: impl Fn(&T) -> f32) {
    if candidates.len() > limit {
        candidates.select_nth_unstable_by(limit, |a, b| score(b).total_cmp(&score(a)));
        candidates.truncate(limit);
    }
}

/// Columns and rows of an image, in whole pixels from 0.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Crop {
    pub x: Range<usize>,
    pub y: Range<usize>,
}

impl Crop {
    /// The whole image.
    pub fn all(image: &RgbImage) -> Self {
        Self { x: 0..image.width() as usize, y: 0..image.height() as usize }
    }

    /// The pixels under a box whose first pixel is 1 and whose ends both count; what lies outside the image is cut
    /// off, not filled, so a box over the edge is stretched. `None` if nothing is inside.
    pub fn under(corners: Corners, image: &RgbImage) -> Option<Self> {
        let [x1, y1, x2, y2] = corners.map(f32::trunc);
        // Casts saturate: far outside stays outside.
        let range = |first: f32, last: f32, n: u32| (first.max(1.0) - 1.0) as usize..last.clamp(0.0, n as f32) as usize;
        let crop = Self { x: range(x1, x2, image.width()), y: range(y1, y2, image.height()) };
        (!crop.x.is_empty() && !crop.y.is_empty()).then_some(crop)
    }
}

/// Resamples `crop` by area to `(height, width)` and writes the given rows of it to `out`, `[rows, width, 3]`,
/// as `(x - 127.5) / 128`.
///
/// Each value is the mean of the pixels `floor(i * n / m) .. ceil((i + 1) * n / m)`, PyTorch's
/// `interpolate(mode="area")`. It works on the pixels, not on a tensor: the first pyramid levels of a large photo as
/// f32 planes would take gigabytes.
pub(super) fn resample(image: &RgbImage, crop: &Crop, size: (usize, usize), rows: Range<usize>, out: &mut [f32]) {
    let (oh, ow) = size;
    let bytes = image.width() as usize * 3;
    let pixels = image.as_raw();
    let cells = |i: usize, n: usize, m: usize| i * n / m..((i + 1) * n).div_ceil(m);
    let columns: Vec<Range<usize>> = (0..ow).map(|x| cells(x, crop.x.len(), ow)).collect();
    let row_of = |column_sums: &mut ColumnSums, (out, row): (&mut [f32], usize)| {
        let ys = cells(row, crop.y.len(), oh);
        let lines = ys.clone().map(|y| &pixels[(crop.y.start + y) * bytes..][crop.x.start * 3..crop.x.end * 3]);
        if ys.len() <= MOST_SHORT {
            means(&mut column_sums.short, lines, ys.len(), &columns, out);
        } else {
            means(&mut column_sums.long, lines, ys.len(), &columns, out);
        }
    };
    let lines = out.len() / (ow * 3).max(1);
    // To hand little work over takes longer than the work.
    if rayon::current_num_threads() == 1 || lines * crop.x.len() < LEAST_SHARED {
        let mut column_sums = ColumnSums::default();
        out.chunks_exact_mut(ow * 3).zip(rows).for_each(|row| row_of(&mut column_sums, row));
    } else {
        out.par_chunks_exact_mut(ow * 3).with_min_len(8).zip(rows).for_each_init(ColumnSums::default, row_of);
    }
}

/// Rows whose sum fits in 16 bits: twice as many are added at a time as in 32.
const MOST_SHORT: usize = 257;

/// Room for the sums of some rows of pixels.
#[derive(Default)]
struct ColumnSums {
    short: Vec<u16>,
    long: Vec<u32>,
}

/// The mean of each cell, `columns` of all `lines`, which are `count`; `(x - 127.5) / 128` of it to `out`.
fn means<'a, T: Copy + Default + From<u8> + Into<u32> + AddAssign>(
    sums: &mut Vec<T>,
    lines: impl Iterator<Item = &'a [u8]>,
    count: usize,
    columns: &[Range<usize>],
    out: &mut [f32],
) {
    sums.clear();
    for line in lines {
        if sums.is_empty() {
            sums.extend(line.iter().map(|v| T::from(*v)));
        } else {
            sums.iter_mut().zip(line).for_each(|(sum, v)| *sum += T::from(*v));
        }
    }
    // Four values at a time: the last one is of the next pixel, which overwrites it.
    sums.push(T::default());
    let mut mean = [0.0; 4];
    for (x, xs) in columns.iter().enumerate() {
        // Below 2^31 up to 2^23 pixels a cell; levels and crops have 144 cells or more.
        let mut sum = [0u32; 4];
        for cell in xs.clone() {
            let cell = sums.get(3 * cell..).and_then(|sums| sums.first_chunk::<4>()).copied().unwrap_or_default();
            sum = std::array::from_fn(|i| sum[i] + cell[i].into());
        }
        let share = 1.0 / (count * xs.len()) as f32;
        mean = sum.map(|sum| (sum as i32 as f32 * share - 127.5) * 0.007_812_5); // 1 / 128
        if let Some(out) = out.get_mut(3 * x..).and_then(|out| out.first_chunk_mut()) {
            *out = mean;
        }
    }
    if let Some(out) = out.last_chunk_mut() {
        *out = [mean[0], mean[1], mean[2]];
    }
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    fn candidate(corners: Corners, score: f32) -> Candidate {
        Candidate { corners, score }
    }

    #[test]
    fn the_pyramid_ends_when_a_cell_no_longer_fits() {
        let scales = scales(640, 480, 20.0, 0.709);
        assert_eq!(scales.len(), 10); // 480 * 0.6 * 0.709^9 = 13.04, the next 9.2
        assert_eq!(scales[0], 0.6);
        assert!((scales[9] - 0.6 * 0.709f64.powi(9)).abs() < 1e-12);
        assert_eq!(level_size(640, 480, 0.6), (289, 385));
        assert!(super::scales(640, 19, 20.0, 0.709).is_empty());
    }

    #[test]
    fn cells_map_back_to_the_image() {
        assert_eq!(cell_corners(0, 3, 0.5), [14.0, 2.0, 36.0, 24.0]);
    }

    #[test]
    fn regression_counts_both_ends_only_where_told() {
        assert_eq!(regress([0.0, 0.0, 9.0, 19.0], [0.1, 0.1, -0.1, -0.1], true), [1.0, 2.0, 8.0, 17.0]);
        assert_eq!(regress([0.0, 0.0, 10.0, 20.0], [0.1, 0.1, -0.1, -0.1], false), [1.0, 2.0, 9.0, 18.0]);
    }

    #[test]
    fn a_square_keeps_the_centre() {
        assert_eq!(square([0.0, 0.0, 10.0, 20.0]), [-5.0, 0.0, 15.0, 20.0]);
    }

    #[test]
    fn union_and_min_differ_for_a_box_inside_another() {
        let boxes = [candidate([0.0, 0.0, 10.0, 10.0], 0.8), candidate([0.0, 0.0, 20.0, 20.0], 0.9)];
        assert_eq!(suppress(&boxes, 0.7, Overlap::Union), [1, 0]);
        assert_eq!(suppress(&boxes, 0.7, Overlap::Min), [1]);
    }

    #[test]
    fn the_best_are_kept() {
        let mut scores = vec![0.1, 0.9, 0.5, 0.7];
        keep_best(&mut scores, 2, |s| *s);
        scores.sort_by(f32::total_cmp);
        assert_eq!(scores, [0.7, 0.9]);
    }

    #[test]
    fn sums_of_many_rows_do_not_overflow() {
        for height in [257, 258, 700] {
            let image = RgbImage::from_pixel(2, height, Rgb([255, 128, 0]));
            let mut out = [0.0; 6];
            resample(&image, &Crop::all(&image), (1, 2), 0..1, &mut out);
            for (got, want) in out.iter().zip([127.5, 0.5, -127.5, 127.5, 0.5, -127.5]) {
                assert!((got * 128.0 - want).abs() < 1e-4, "{out:?} of {height} rows");
            }
        }
    }

    #[test]
    fn a_crop_is_cut_at_the_edges() {
        let image = RgbImage::new(20, 10);
        let crop = |c| Crop::under(c, &image);
        assert_eq!(crop([1.0, 1.0, 20.0, 10.0]), Some(Crop::all(&image)));
        assert_eq!(crop([-5.5, 3.9, 4.2, 30.0]), Some(Crop { x: 0..4, y: 2..10 }));
        assert_eq!(crop([25.0, 1.0, 40.0, 10.0]), None);
        assert_eq!(crop([-40.0, 1.0, -3.0, 10.0]), None);
        assert_eq!(crop([f32::NAN, 1.0, f32::INFINITY, f32::NEG_INFINITY]), None);
    }

    #[test]
    fn resampling_averages_overlapping_cells() {
        let image = RgbImage::from_fn(3, 1, |x, _| Rgb([[0, 100, 200][x as usize], 0, 255]));
        let mut out = vec![0.0; 2 * 3];
        resample(&image, &Crop::all(&image), (1, 2), 0..1, &mut out);
        let pixels: Vec<f32> = out.iter().map(|v| v * 128.0 + 127.5).collect();
        assert_eq!(pixels, [50.0, 0.0, 255.0, 150.0, 0.0, 255.0]);
    }

    #[test]
    fn rows_of_a_band_equal_those_of_the_whole() {
        let image = RgbImage::from_fn(37, 29, |x, y| Rgb([(x * 7) as u8, (y * 5) as u8, (x * y) as u8]));
        let crop = Crop { x: 3..33, y: 2..29 };
        let (mut whole, mut band) = (vec![0.0; 11 * 13 * 3], vec![0.0; 4 * 13 * 3]);
        resample(&image, &crop, (11, 13), 0..11, &mut whole);
        resample(&image, &crop, (11, 13), 5..9, &mut band);
        assert_eq!(band, whole[5 * 13 * 3..9 * 13 * 3]);
    }
}
