//! Reordering of axes from a framework's layout to PyTorch's.

use bytes::Bytes;
use serde::Deserialize;

/// Layout of a source tensor. All but the last two give the layout of a PyTorch weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// TensorFlow convolution `[kh, kw, i, o] -> [o, i, kh, kw]`.
    Hwio,
    /// TensorFlow depthwise convolution `[kh, kw, c, 1] -> [c, 1, kh, kw]`.
    Hwim,
    /// TensorFlow Lite convolution `[o, kh, kw, i] -> [o, i, kh, kw]`.
    Ohwi,
    /// TensorFlow Lite depthwise convolution `[1, kh, kw, c] -> [c, 1, kh, kw]`.
    Ihwo,
    /// TensorFlow matrix `[in, out] -> [out, in]`.
    Io,
    /// Axes of length 1 dropped; at least one axis stays.
    Flatten,
    /// Nothing changes.
    #[default]
    AsIs,
}

impl Layout {
    /// Reorders `data`, elements of `size` bytes in row-major order of `shape`; gives the new shape and data.
    ///
    /// # Errors
    /// A message for a shape that this layout cannot have.
    ///
    /// # Panics
    /// If `data` is not `size` bytes for each element of `shape`.
    pub fn apply(self, shape: &[usize], size: usize, data: &Bytes) -> Result<(Vec<usize>, Bytes), String> {
        assert_eq!(data.len(), shape.iter().product::<usize>() * size, "data of shape {shape:?}");
        let order: &[usize] = match (self, shape) {
            (Self::AsIs, _) => return Ok((shape.to_vec(), data.clone())),
            (Self::Flatten, _) => {
                let mut flat: Vec<_> = shape.iter().copied().filter(|n| *n != 1).collect();
                if flat.is_empty() {
                    flat.push(1);
                }
                return Ok((flat, data.clone()));
            }
            (Self::Hwio, [_, _, _, _]) => &[3, 2, 0, 1],
            (Self::Hwim, [_, _, _, 1]) => &[2, 3, 0, 1],
            (Self::Ohwi, [_, _, _, _]) => &[0, 3, 1, 2],
            (Self::Ihwo, [1, _, _, _]) => &[3, 0, 1, 2],
            (Self::Io, [_, _]) => &[1, 0],
            _ => return Err(format!("shape {shape:?} is not {}", self.expected())),
        };
        Ok((order.iter().map(|axis| shape[*axis]).collect(), permute(shape, order, size, data).into()))
    }

    fn expected(self) -> &'static str {
        match self {
            Self::Hwio => "[kh, kw, i, o]",
            Self::Hwim => "[kh, kw, c, 1]",
            Self::Ohwi => "[o, kh, kw, i]",
            Self::Ihwo => "[1, kh, kw, c]",
            Self::Io => "[in, out]",
            Self::Flatten | Self::AsIs => "any shape",
        }
    }
}

/// Axis `k` of the result is axis `order[k]` of the source.
pub(crate) fn permute(shape: &[usize], order: &[usize], size: usize, data: &[u8]) -> Vec<u8> {
    let mut strides = vec![size; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    let mut out = Vec::with_capacity(data.len());
    let mut index = vec![0usize; order.len()];
    while out.len() < data.len() {
        let at: usize = index.iter().zip(order).map(|(i, axis)| i * strides[*axis]).sum();
        out.extend_from_slice(&data[at..at + size]);
        for k in (0..order.len()).rev() {
            index[k] += 1;
            if index[k] < shape[order[k]] {
                break;
            }
            index[k] = 0;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The source counts 0, 1, 2, ...; expected values were written down by hand.
    fn check(layout: Layout, shape: &[usize], expected_shape: &[usize], expected: &[u8]) {
        let data: Vec<u8> = (0..expected.len() as u8).collect();
        let narrow = layout.apply(shape, 1, &data.clone().into()).unwrap();
        assert_eq!(narrow, (expected_shape.to_vec(), expected.to_vec().into()), "{layout:?}");
        // The same in elements of two bytes.
        let wide = |bytes: &[u8]| bytes.iter().flat_map(|b| [*b, 0xee]).collect::<Vec<_>>();
        assert_eq!(layout.apply(shape, 2, &wide(&data).into()).unwrap().1, wide(expected), "{layout:?}");
    }

    #[test]
    fn axes_move_as_computed_by_hand() {
        check(Layout::Hwio, &[1, 2, 2, 2], &[2, 2, 1, 2], &[0, 4, 2, 6, 1, 5, 3, 7]);
        check(Layout::Hwim, &[2, 1, 3, 1], &[3, 1, 2, 1], &[0, 3, 1, 4, 2, 5]);
        check(Layout::Ohwi, &[2, 1, 2, 2], &[2, 2, 1, 2], &[0, 2, 1, 3, 4, 6, 5, 7]);
        check(Layout::Ihwo, &[1, 2, 1, 3], &[3, 1, 2, 1], &[0, 3, 1, 4, 2, 5]);
        check(Layout::Io, &[2, 3], &[3, 2], &[0, 3, 1, 4, 2, 5]);
        check(Layout::Flatten, &[1, 1, 3], &[3], &[0, 1, 2]);
        check(Layout::Flatten, &[1, 1], &[1], &[0]);
        check(Layout::AsIs, &[2, 1], &[2, 1], &[0, 1]);
        check(Layout::AsIs, &[], &[], &[0]);
    }

    #[test]
    fn a_shape_that_does_not_fit_is_an_error() {
        for (layout, shape) in [
            (Layout::Hwio, &[2, 2][..]),
            (Layout::Hwim, &[1, 1, 2, 2]),
            (Layout::Ihwo, &[2, 1, 1, 2]),
            (Layout::Ohwi, &[4]),
            (Layout::Io, &[4]),
        ] {
            let error = layout.apply(shape, 1, &Bytes::from_static(&[0; 4])).unwrap_err();
            assert!(error.contains(&format!("{shape:?}")), "{error}");
        }
    }
}
