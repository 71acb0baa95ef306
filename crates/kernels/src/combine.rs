//! What joins and reshapes maps: sums, concatenation, resizing, factors for channels.

use crate::activation::Activation;
use crate::error::{Result, shape_error};
use crate::instructions::Instructions;
use crate::kernel::{Epilogue, MatrixMut, Part, Sum};
use crate::map::Map;
use crate::threads::lines;

/// A pixel's channels from one place to another: few values, for which a call would take longer than the copy.
#[inline]
fn copy(to: &mut [f32], from: &[f32]) {
    let ((to, to_rest), (from, from_rest)) = (to.as_chunks_mut::<8>(), from.as_chunks::<8>());
    to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
    to_rest.iter_mut().zip(from_rest).for_each(|(to, from)| *to = *from);
}

/// `xs + ys`, then ReLU if `relu`; what one of them lacks in rows, columns or channels is zero.
///
/// # Errors
/// Batches of different sizes, pixels without channels, or kernels that this processor cannot run.
pub fn add(xs: &Map, ys: &Map, relu: bool) -> Result<Map> {
    let ([n, h, w, c], [m, yh, yw, yc]) = (xs.shape(), ys.shape());
    if n != m {
        return Err(shape_error!("a sum of {n} and {m} images"));
    }
    if c * yc == 0 {
        return Err(shape_error!("a sum of pixels without channels"));
    }
    let [oh, ow, oc] = [h.max(yh), w.max(yw), c.max(yc)];
    let kernel = Instructions::chosen()?.kernel()?;
    let mut out = Map::unwritten(xs.pool(), [n, oh, ow, oc]);
    lines(&mut out, 2, |line, to| {
        let (i, y) = (line / oh, line % oh);
        // The row of each map, none below its last.
        let (a, b) = (if y < h { w } else { 0 }, if y < yh { yw } else { 0 });
        let (first, second) = (
            &xs.values()[(i * h + y) * w * c * a.min(1)..][..a * c],
            &ys.values()[(i * yh + y) * yw * yc * b.min(1)..][..b * yc],
        );
        // Pixels of both, of one, of none.
        let (short, long) = (a.min(b), a.max(b));
        let (of_both, rest) = to.split_at_mut(short * oc);
        let (of_one, of_none) = rest.split_at_mut((long - short) * oc);
        // With as many channels in both, all pixels are one.
        let pixel = if c == yc { short.max(1) } else { 1 };
        (kernel.sum)(&Sum { rows: [(first, c * pixel), (second, yc * pixel)], channels: oc * pixel, relu }, of_both);
        let one = if a > b { (&first[short * c..], c) } else { (&second[short * yc..], yc) };
        (kernel.sum)(&Sum { rows: [one, (&[], 0)], channels: oc, relu }, of_one);
        of_none.fill(0.0);
    });
    Ok(out)
}

/// The channels of all maps, one map's after the other's: `[n, h, w, ..] -> [n, h, w, sum]`.
///
/// # Errors
/// No map, maps that differ in more than their channels, or kernels that this processor cannot run.
pub fn concat(maps: &[&Map]) -> Result<Map> {
    let Some(one) = maps.first() else { return Err(shape_error!("nothing to concatenate")) };
    let [n, h, w, _] = one.shape();
    if maps.iter().any(|map| map.shape()[..3] != [n, h, w]) {
        let shapes: Vec<_> = maps.iter().map(|map| map.shape()).collect();
        return Err(shape_error!("maps of {shapes:?} side by side"));
    }
    let c = maps.iter().map(|map| map.shape()[3]).sum();
    let kernel = Instructions::chosen()?.kernel()?;
    let mut out = Map::unwritten(one.pool(), [n, h, w, c]);
    lines(&mut out, 1, |line, to| {
        let mut first = 0;
        for map in maps {
            let of_map = map.shape()[3];
            let values = &map.values()[line * w * of_map..][..w * of_map];
            (kernel.copy)(&Part { values, channels: of_map, stride: of_map }, &mut to[first..], c);
            first += of_map;
        }
    });
    Ok(out)
}

/// Some of the channels, `[n, h, w, c] -> [n, h, w, channels.len()]`.
///
/// # Errors
/// There are fewer, or kernels that this processor cannot run.
pub fn channels(xs: &Map, channels: std::ops::Range<usize>) -> Result<Map> {
    let [n, h, w, c] = xs.shape();
    if channels.start > channels.end || channels.end > c {
        return Err(shape_error!("channels {channels:?} of {c}"));
    }
    let kernel = Instructions::chosen()?.kernel()?;
    let mut out = Map::unwritten(xs.pool(), [n, h, w, channels.len()]);
    lines(&mut out, 1, |line, to| {
        let values = &xs.values()[line * w * c + channels.start..(line + 1) * w * c];
        (kernel.copy)(&Part { values, channels: channels.len(), stride: c }, to, channels.len());
    });
    Ok(out)
}

/// Softmax over each `bins` channels in a row, then the mean of the bins' numbers, 0 to `bins - 1`, under it: `[n, h, w, g *
/// bins] -> [n, h, w, g]`.
///
/// # Errors
/// The channels are not a multiple of the bins, or kernels that this processor cannot run.
pub fn expectation(mut xs: Map, bins: usize) -> Result<Map> {
    let [n, h, w, c] = xs.shape();
    if bins == 0 || !c.is_multiple_of(bins) {
        return Err(shape_error!("{c} channels in rows of {bins} bins"));
    }
    let kernel = Instructions::chosen()?.kernel()?;
    let groups = c / bins;
    let mut out = Map::unwritten(xs.pool(), [n, h, w, groups]);
    lines(&mut xs, 4, |_, line| {
        (kernel.softmax)(MatrixMut::new(line, w * groups, bins, bins));
    });
    lines(&mut out, bins, |line, to| {
        let shares = xs.values()[line * w * c..][..w * c].chunks_exact(bins);
        for (to, shares) in to.iter_mut().zip(shares) {
            *to = shares.iter().enumerate().map(|(i, share)| i as f32 * share).sum();
        }
    });
    Ok(out)
}

/// One image of a batch, `[n, h, w, c] -> [1, h, w, c]`.
///
/// # Errors
/// There are fewer.
pub fn image(xs: &Map, index: usize) -> Result<Map> {
    let [n, h, w, c] = xs.shape();
    if index >= n {
        return Err(shape_error!("image {index} of {n}"));
    }
    let mut out = Map::unwritten(xs.pool(), [1, h, w, c]);
    let images = xs.values().get(index * h * w * c..);
    lines(&mut out, 1, |line, to| {
        if let Some(images) = images {
            to.copy_from_slice(&images[line * w * c..][..w * c]);
        }
    });
    Ok(out)
}

/// The images of all maps, one map's after the other's: `[.., h, w, c] -> [sum, h, w, c]`.
///
/// # Errors
/// No map, or maps whose images have different shapes.
pub fn stack(maps: &[Map]) -> Result<Map> {
    let Some(one) = maps.first() else { return Err(shape_error!("no images to stack")) };
    let [_, h, w, c] = one.shape();
    if maps.iter().any(|map| map.shape()[1..] != [h, w, c]) {
        let shapes: Vec<_> = maps.iter().map(Map::shape).collect();
        return Err(shape_error!("images of {shapes:?} in one batch"));
    }
    let mut out = Map::unwritten(one.pool(), [maps.iter().map(|map| map.shape()[0]).sum(), h, w, c]);
    let mut rest = out.values_mut();
    for map in maps.iter().filter(|map| !map.is_dry()) {
        let (to, others) = rest.split_at_mut(map.values().len());
        to.copy_from_slice(map.values());
        rest = others;
    }
    Ok(out)
}

/// The first pixel of each image, `[n, h, w, c] -> [n, 1, 1, c]`.
///
/// # Errors
/// The images have no pixels.
pub fn first_pixel(xs: &Map) -> Result<Map> {
    let [n, h, w, c] = xs.shape();
    if h * w == 0 {
        return Err(shape_error!("the first of {h} x {w} pixels"));
    }
    let mut out = Map::unwritten(xs.pool(), [n, 1, 1, c]);
    lines(&mut out, 1, |image, to| to.copy_from_slice(&xs.values()[image * h * w * c..][..c]));
    Ok(out)
}

/// Each channel of each image times its factor: `[n, h, w, c]`, `[n, 1, 1, c] -> [n, h, w, c]`.
///
/// # Errors
/// Another number of factors.
pub fn scale(xs: &Map, factors: &Map) -> Result<Map> {
    let [n, h, w, c] = xs.shape();
    if factors.shape() != [n, 1, 1, c] {
        return Err(shape_error!("factors of {:?} for {:?}", factors.shape(), xs.shape()));
    }
    let mut out = Map::unwritten(xs.pool(), [n, h, w, c]);
    lines(&mut out, 1, |line, to| {
        let factors = &factors.values()[line / h * c..][..c];
        let from = xs.values()[line * w * c..][..w * c].chunks_exact(c.max(1));
        for (to, from) in to.chunks_exact_mut(c.max(1)).zip(from) {
            for ((o, v), f) in to.iter_mut().zip(from).zip(factors) {
                *o = v * f;
            }
        }
    });
    Ok(out)
}

/// A rectifier alone, in place of the values.
///
/// # Errors
/// A PReLU, which needs slopes, or kernels that this processor cannot run.
pub fn activate(mut xs: Map, activation: Activation) -> Result<Map> {
    if activation == Activation::PRelu {
        return Err(shape_error!("a prelu needs its slopes"));
    }
    let kernel = Instructions::chosen()?.kernel()?;
    let width = xs.shape()[2] * xs.shape()[3];
    lines(&mut xs, 4, |_, line| {
        let epilogue = Epilogue { bias: &[], slopes: &[], activation, residual: None, then: Activation::None };
        (kernel.finish)(&epilogue, MatrixMut::new(line, 1, width, width));
    });
    Ok(xs)
}

/// Every pixel `by` times in both directions, `[n, h, w, c] -> [n, by * h, by * w, c]`.
///
/// # Errors
/// `by` is zero.
pub fn enlarge(xs: &Map, by: usize) -> Result<Map> {
    let [n, h, w, c] = xs.shape();
    if by == 0 {
        return Err(shape_error!("a map enlarged by nothing"));
    }
    let mut out = Map::unwritten(xs.pool(), [n, by * h, by * w, c]);
    lines(&mut out, 1, |line, to| {
        let (i, y) = (line / (by * h), line % (by * h) / by);
        let from = xs.values()[(i * h + y) * w * c..][..w * c].chunks_exact(c.max(1));
        for (to, from) in to.chunks_exact_mut((by * c).max(1)).zip(from) {
            to.chunks_exact_mut(c).for_each(|to| copy(to, from));
        }
    });
    Ok(out)
}

/// Bilinear resize with half-pixel centres and a repeated edge, `[n, h, w, c] -> [n, oh, ow, c]`; no smoothing beforehand.
///
/// # Errors
/// The images have no pixels.
pub fn bilinear(xs: &Map, oh: usize, ow: usize) -> Result<Map> {
    let [n, h, w, c] = xs.shape();
    if h * w == 0 {
        return Err(shape_error!("an empty image of {h} x {w} cannot be resized"));
    }
    // The two neighbours of a position and the second's share.
    let position = |i: usize, from: usize, to: usize| {
        let at = ((i as f32 + 0.5) * from as f32 / to as f32 - 0.5).clamp(0.0, (from - 1) as f32);
        (at as usize, (at as usize + 1).min(from - 1), at.fract())
    };
    let mut out = Map::unwritten(xs.pool(), [n, oh, ow, c]);
    lines(&mut out, 4, |line, to| {
        let image = &xs.values()[line / oh * h * w * c..][..h * w * c];
        let (top, bottom, down) = position(line % oh, h, oh);
        for (x, to) in to.chunks_exact_mut(c.max(1)).enumerate() {
            let (left, right, across) = position(x, w, ow);
            let pixel = |y: usize, x: usize| &image[(y * w + x) * c..][..c];
            let (a, b) = (pixel(top, left), pixel(top, right));
            let (d, e) = (pixel(bottom, left), pixel(bottom, right));
            for (k, o) in to.iter_mut().enumerate() {
                let upper = a[k] * (1.0 - across) + b[k] * across;
                let lower = d[k] * (1.0 - across) + e[k] * across;
                *o = upper * (1.0 - down) + lower * down;
            }
        }
    });
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::Pool;

    fn map(values: &[f32], shape: [usize; 4]) -> Map {
        Map::from_nhwc(&Pool::default(), values, shape).unwrap()
    }

    #[test]
    fn a_sum_fills_what_one_lacks_with_zeros() {
        let a = map(&[1.0, 2.0, 3.0, -4.0], [1, 2, 2, 1]);
        let b = map(&[10.0, 20.0], [1, 1, 1, 2]);
        for sum in [add(&a, &b, false).unwrap(), add(&b, &a, false).unwrap()] {
            assert_eq!((sum.shape(), sum.values()), ([1, 2, 2, 2], &[11.0, 20.0, 2.0, 0.0, 3.0, 0.0, -4.0, 0.0][..]));
        }
        assert_eq!(add(&a, &a, true).unwrap().values(), [2.0, 4.0, 6.0, 0.0]);
        assert!(add(&map(&[f32::NAN], [1; 4]), &map(&[1.0], [1; 4]), true).unwrap().values()[0].is_nan());
        assert!(add(&a, &map(&[1.0; 2], [2, 1, 1, 1]), false).is_err());
    }

    #[test]
    fn sums_of_any_two_shapes_are_those_of_their_pixels() {
        let mut rng = fastrand::Rng::with_seed(1);
        for round in 0..200 {
            let n = rng.usize(1..3);
            let mut shape = || [n, rng.usize(1..4), rng.usize(1..6), rng.usize(1..40)];
            let (a, b) = (shape(), shape());
            // Every second time the same but for the channels, or even in these.
            let b = [b, [a[0], a[1], a[2], b[3]], b, a][round % 4];
            let mut random = |shape: [usize; 4]| {
                let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.f32() - 0.5).collect();
                map(&values, shape)
            };
            let (xs, ys) = (random(a), random(b));
            let value = |map: &Map, [i, y, x, k]: [usize; 4]| {
                let [_, h, w, c] = map.shape();
                if y < h && x < w && k < c { map.values()[((i * h + y) * w + x) * c + k] } else { 0.0 }
            };
            for relu in [false, true] {
                let sum = add(&xs, &ys, relu).unwrap();
                let [_, h, w, c] = sum.shape();
                assert_eq!([h, w, c], [a[1].max(b[1]), a[2].max(b[2]), a[3].max(b[3])]);
                for (at, got) in sum.values().iter().enumerate() {
                    let place = [at / (h * w * c), at / (w * c) % h, at / c % w, at % c];
                    let want = value(&xs, place) + value(&ys, place);
                    assert_eq!(*got, if relu { want.max(0.0) } else { want }, "{a:?} + {b:?} at {place:?}");
                }
            }
        }
    }

    #[test]
    fn channels_go_side_by_side_and_apart_again() {
        let (a, b) = (map(&[1.0, 2.0], [1, 1, 2, 1]), map(&[3.0, 4.0, 5.0, 6.0], [1, 1, 2, 2]));
        let both = concat(&[&a, &b]).unwrap();
        assert_eq!((both.shape(), both.values()), ([1, 1, 2, 3], &[1.0, 3.0, 4.0, 2.0, 5.0, 6.0][..]));
        assert_eq!(channels(&both, 1..3).unwrap().values(), b.values());
        assert!(channels(&both, 2..4).is_err() && concat(&[]).is_err());
        assert!(concat(&[&a, &map(&[0.0], [1; 4])]).is_err());
        let mut rng = fastrand::Rng::with_seed(2);
        for _ in 0..50 {
            let (h, w) = (rng.usize(1..4), rng.usize(1..5));
            let mut random = |c: usize| map(&(0..2 * h * w * c).map(|_| rng.f32()).collect::<Vec<_>>(), [2, h, w, c]);
            let (a, b) = (random(1 + w * 7), random(40 / h));
            let ([.., c], [.., d]) = (a.shape(), b.shape());
            let both = concat(&[&a, &b, &a]).unwrap();
            assert_eq!(channels(&both, 0..c).unwrap().values(), a.values());
            assert_eq!(channels(&both, c..c + d).unwrap().values(), b.values());
            assert_eq!(channels(&both, c + d..2 * c + d).unwrap().values(), a.values());
        }
    }

    #[test]
    fn expectations_are_each_groups_own() {
        let xs = map(&[5.0, 5.0, 5.0, 0.0, -50.0, 50.0, 0.0, 60.0, 0.0, 0.0, f32::NAN, 0.0], [1, 2, 1, 6]);
        let ys = expectation(xs, 3).unwrap();
        assert_eq!(ys.shape(), [1, 2, 1, 2]);
        let near = |at: usize, want: f32| (ys.values()[at] - want).abs() < 1e-5;
        assert!(near(0, 1.0) && near(1, 2.0) && near(2, 1.0) && ys.values()[3].is_nan(), "{:?}", ys.values());
        assert!(expectation(map(&[0.0; 4], [1, 1, 1, 4]), 3).is_err());
    }

    #[test]
    fn pixels_and_images_are_taken_and_joined() {
        let xs = map(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], [2, 1, 2, 2]);
        assert_eq!(first_pixel(&xs).unwrap().values(), [1.0, 2.0, 5.0, 6.0]);
        assert!(first_pixel(&map(&[], [1, 0, 2, 1])).is_err());
        assert_eq!(image(&xs, 1).unwrap().values(), [5.0, 6.0, 7.0, 8.0]);
        let swapped = stack(&[image(&xs, 1).unwrap(), image(&xs, 0).unwrap()]).unwrap();
        assert_eq!((swapped.shape(), &swapped.values()[2..6]), ([2, 1, 2, 2], &[7.0, 8.0, 1.0, 2.0][..]));
        assert!(stack(&[]).is_err() && stack(&[swapped, map(&[0.0], [1; 4])]).is_err());
        let dry = || Map::zeros(&Pool::dry(), [3, 4, 5, 6]);
        assert_eq!(stack(&[dry(), dry()]).unwrap().shape(), [6, 4, 5, 6]);
        assert!(image(&xs, 2).is_err());
        assert_eq!(image(&Map::zeros(&Pool::dry(), [3, 4, 5, 6]), 2).unwrap().shape(), [1, 4, 5, 6]);
    }

    #[test]
    fn factors_belong_to_an_image_and_a_channel() {
        let xs = map(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], [2, 1, 2, 2]);
        let ys = scale(&xs, &map(&[1.0, 10.0, 0.0, -1.0], [2, 1, 1, 2])).unwrap();
        assert_eq!(ys.values(), [1.0, 20.0, 3.0, 40.0, 0.0, -6.0, 0.0, -8.0]);
        assert!(scale(&xs, &xs).is_err());
    }

    #[test]
    fn rectifiers_stand_alone_too() {
        let ys = activate(map(&[-3.0, 0.0, 9.0], [1, 1, 1, 3]), Activation::HardSigmoid).unwrap();
        assert_eq!(ys.values(), [0.0, 0.5, 1.0]);
        assert!(activate(ys, Activation::PRelu).is_err());
    }

    #[test]
    fn resizing_repeats_or_interpolates() {
        let xs = map(&[0.0, 4.0, 8.0, 12.0], [1, 2, 2, 1]);
        assert_eq!(bilinear(&xs, 2, 4).unwrap().values(), [0.0, 1.0, 3.0, 4.0, 8.0, 9.0, 11.0, 12.0]);
        let twice = enlarge(&map(&[1.0, 2.0], [1, 1, 2, 1]), 2).unwrap();
        assert_eq!((twice.shape(), twice.values()), ([1, 2, 4, 1], &[1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 2.0, 2.0][..]));
        assert!(bilinear(&map(&[], [1, 0, 2, 1]), 2, 2).is_err() && enlarge(&xs, 0).is_err());
    }
}
