//! 3 x 3 convolutions at stride 1 by Winograd's minimal filtering.

use std::ops::Range;

use super::{ConvSpec, Extent, Job, Minimal};
use crate::aligned::Aligned;
use crate::kernel::{Gemm, Kernel, Layout, MatrixMut, Planes, Products, Tiles, Windows, kernel_transform};
use crate::threads::{by_cols, by_rows, parts, with_scratch};

/// Fewer channels than this and the transforms cost more than the products they save.
const LEAST_CHANNELS: usize = 16;
/// Up to this product of channels, tiles of 6 x 6 pay: their weights take four times the memory of the plain ones, and have
/// to be read from it.
const MOST_FOR_6: usize = 128 * 128;
/// Values of the transformed input and of its products that are worked on at once: at least, at most.
const AT_ONCE: (usize, usize) = (144 << 10, 768 << 10);

/// Tiles that are worked on at once at least: fewer leave registers of the products empty.
const LEAST_TILES: usize = 14;
/// Values of a cache line.
const LINE: usize = 16;

/// Weights that each thread may read for its own rows.
const MOST_SHARED: usize = 1 << 18;

/// The side of the tiles that a convolution is computed with, if it is.
pub(super) fn tile(kernel: &Kernel, spec: ConvSpec) -> Option<usize> {
    let ConvSpec { c_in, c_out, kernel: extent, stride, groups, minimal, .. } = spec;
    if (extent, stride, groups) != ((3, 3), 1, 1) {
        return None;
    }
    match minimal {
        Minimal::Off => None,
        Minimal::Tiles4 => Some(4),
        Minimal::Tiles6 => Some(6),
        // Tiles of bfloat16 multiply faster than this saves products, and read fewer weights.
        Minimal::Auto if kernel.split.is_some() && Layout::pays(3, 3 * c_in, c_out) => None,
        Minimal::Auto if c_in.min(c_out) < LEAST_CHANNELS => None,
        Minimal::Auto => Some(if c_in * c_out <= MOST_FOR_6 { 6 } else { 4 }),
    }
}

/// The transformed weights.
#[derive(Debug, Clone)]
pub(super) struct Winograd {
    /// 4 or 6.
    tile: usize,
    /// Packed weights for each of the `tile * tile` values, one behind the other.
    weights: Aligned,
    /// Columns of a panel.
    panel: usize,
}

impl Winograd {
    /// Packs `[c_out, c_in, 3, 3]`.
    pub fn pack(kernel: &Kernel, spec: ConvSpec, tile: usize, weight: &[f32]) -> Self {
        let ConvSpec { c_in, c_out, .. } = spec;
        let values = tile * tile;
        let mut transformed = vec![0.0; c_in * c_out * values];
        for (g, out) in weight.as_chunks::<9>().0.iter().zip(transformed.chunks_exact_mut(values)) {
            kernel_transform(*g, tile, out);
        }
        let mut packed = Vec::new();
        for i in 0..values {
            packed.extend(kernel.pack(c_in, c_out, |k, col| transformed[(col * c_in + k) * values + i]));
        }
        Self { tile, weights: Aligned::from(packed.as_slice()), panel: kernel.panel(c_out) }
    }

    pub fn run(&self, job: &Job<'_>, out: MatrixMut<'_>) {
        let Extent { n, oh, ow, .. } = job.extent;
        let step = self.tile - 2;
        let (down, across) = (oh.div_ceil(step), ow.div_ceil(step));
        let units = n * down;
        let work = units * across * self.weights.len();
        let parts = parts(work);
        let start = |unit: usize| unit / down * oh * ow + (unit % down * step).min(oh) * ow;
        // Parts of the columns transform the whole input each; worth it where there are many weights to read and few rows.
        if units >= 3 * parts || self.weights.len() <= MOST_SHARED {
            by_rows(out, 0..units, parts, &start, &|units, part| self.rows(job, units, 0, part));
        } else {
            let parts = parts.min(rayon::current_num_threads());
            by_cols(out, 0, self.panel, parts, &|col, part| self.rows(job, 0..units, col, part));
        }
    }

    /// Rows of tiles, and the columns of `out` from column `col` of the whole result on.
    fn rows(&self, job: &Job<'_>, units: Range<usize>, col: usize, mut out: MatrixMut<'_>) {
        let Extent { oh, ow, .. } = job.extent;
        let step = self.tile - 2;
        let (down, across) = (oh.div_ceil(step), ow.div_ceil(step));
        let room = self.room(job, out.cols());
        let one = room.values * (room.inputs + room.products);
        let at_once = ((self.weights.len() / 2).clamp(AT_ONCE.0, AT_ONCE.1) / one).max(LEAST_TILES);
        // Several rows at once, or like parts of one.
        let (units_at_once, tiles_at_once) =
            if at_once >= across { (at_once / across, across) } else { (1, across.div_ceil(across.div_ceil(at_once))) };
        for first in units.clone().step_by(units_at_once) {
            let group = first..units.end.min(first + units_at_once);
            let lines = |unit: usize| (oh - unit % down * step).min(step);
            let (mut part, others) = out.split_rows(group.clone().map(|unit| lines(unit) * ow).sum());
            for tile in (0..across).step_by(tiles_at_once) {
                let tiles = tile..across.min(tile + tiles_at_once);
                self.tiles(job, &room, group.clone(), tiles, col, part.reborrow());
            }
            out = others;
        }
    }

    /// Some tiles of each of the rows `units`, whose pixels are all rows of `out`.
    fn tiles(
        &self,
        job: &Job<'_>,
        room: &Room,
        units: Range<usize>,
        across: Range<usize>,
        col: usize,
        mut out: MatrixMut<'_>,
    ) {
        let Extent { h, w, oh, ow, pad, .. } = job.extent;
        let (c_in, step) = (job.spec.c_in, self.tile - 2);
        let down = oh.div_ceil(step);
        let (tiles_in, tiles_out) = if self.tile == 4 { job.kernel.tiles4 } else { job.kernel.tiles6 };
        let tiles = units.len() * across.len();
        let (of_inputs, of_products) = (room.plane(tiles, room.inputs), room.plane(tiles, room.products));
        let (inputs, products) = (room.values * of_inputs, room.values * of_products);
        with_scratch(inputs + products + room.values * room.inputs, |scratch| {
            let (inputs, rest) = scratch.split_at_mut(inputs);
            let (products, patch) = rest.split_at_mut(products);
            for (i, unit) in units.clone().enumerate() {
                let row = Tiles {
                    input: job.image(unit / down),
                    height: h,
                    width: w,
                    channels: c_in,
                    pad: (pad[0], pad[2]),
                    fill: job.fill,
                    row: unit % down,
                    first: across.start,
                    count: across.len(),
                };
                tiles_in(&row, Planes { plane: of_inputs, first: i * across.len() }, patch, inputs);
            }
            self.products(job, room, tiles, col, inputs, products);
            for (i, unit) in units.enumerate() {
                let line = unit % down * step;
                let rows = (oh - line).min(step) * ow;
                let row = unit / down * oh * ow + line * ow;
                let row = Products {
                    values: products,
                    place: Planes { plane: of_products, first: i * across.len() },
                    width: ow,
                    first: across.start,
                    count: across.len(),
                    epilogue: job.epilogue.at(row, col),
                };
                let (part, others) = std::mem::replace(&mut out, MatrixMut::new(&mut [], 0, 0, 0)).split_rows(rows);
                tiles_out(&row, part);
                out = others;
            }
        });
    }

    fn room(&self, job: &Job<'_>, cols: usize) -> Room {
        let width = job.kernel.width;
        let (inputs, products) = (job.spec.c_in.next_multiple_of(width), cols.next_multiple_of(width));
        Room { values: self.tile * self.tile, inputs, products }
    }

    /// The transformed inputs times the transformed weights, for each of the tiles' values.
    fn products(&self, job: &Job<'_>, room: &Room, tiles: usize, col: usize, inputs: &[f32], products: &mut [f32]) {
        let c_in = job.spec.c_in;
        let windows = Windows { width: tiles, step_x: room.inputs, step_y: 0, runs: 1, run: c_in, run_step: 0 };
        let of_value = self.weights.len() / room.values;
        let weights = self.weights.chunks_exact(of_value).map(|weights| &weights[c_in * col..]);
        let following = weights.clone().skip(1).chain([&[][..]]);
        let inputs = inputs.chunks_exact(room.plane(tiles, room.inputs));
        let products = products.chunks_exact_mut(room.plane(tiles, room.products));
        for (((weights, next), input), products) in weights.zip(following).zip(inputs).zip(products) {
            let job_of_value = Gemm { input, windows, weights, panel: self.panel, next, epilogue: None };
            (job.kernel.gemm)(&job_of_value, MatrixMut::new(products, tiles, room.products, room.products));
        }
    }
}

/// What the values of tiles take.
struct Room {
    /// Values of a tile.
    values: usize,
    /// Channels of the input, and columns of the products, in whole vectors.
    inputs: usize,
    products: usize,
}

impl Room {
    /// From one value of the tiles to the next. Planes that are a power of two apart would all meet in the same few places of
    /// the first cache.
    const fn plane(&self, tiles: usize, channels: usize) -> usize {
        tiles * channels + LINE
    }
}
