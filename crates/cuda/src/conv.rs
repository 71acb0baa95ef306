//! Convolution.

use candle::{
    CpuStorage, CudaStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor,
    backend::BackendStorage,
    cuda_backend::{
        WrapErr,
        cudarc::driver::{DeviceRepr, PushKernelArg},
    },
};

use crate::{
    element::{Element, by_type, contiguous, grid, kernel, size},
    epilogue::{Epilogue, Held},
    ptx,
};

/// Columns of more bytes are made and multiplied in parts of a batch, so that a large batch of large images needs no more
/// memory than its results.
const COLUMN_BYTES: usize = 64 << 20;

/// Stride, zero padding and groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// The same in both directions.
    pub stride: usize,
    /// Rows above.
    pub top: usize,
    /// Rows below.
    pub bottom: usize,
    /// Columns before.
    pub left: usize,
    /// Columns after.
    pub right: usize,
    /// Channel groups: 1, or as many as channels (depthwise).
    pub groups: usize,
}

/// `[n, c_in, h, w]` and `[c_out, c_in / groups, kh, kw]` to `[n, c_out, oh, ow]`, and what follows.
///
/// Depthwise convolutions are one kernel. Others multiply the weights with the image, where the kernel is one pixel, or with
/// its windows as columns.
///
/// # Errors
/// Shapes that do not fit each other, groups of several channels, a type without kernels, or no memory on the card.
pub fn conv2d(xs: &Tensor, weight: &Tensor, geometry: Geometry, epilogue: &Epilogue<'_>) -> Result<Tensor> {
    let (_, c_in, h, w) = xs.dims4()?;
    let (c_out, inside, kh, kw) = weight.dims4()?;
    if inside * geometry.groups != c_in || !(geometry.groups == 1 || geometry.groups == c_in && c_in == c_out) {
        candle::bail!("weights of {:?} in {} groups on {:?}", weight.dims(), geometry.groups, xs.dims());
    }
    let window = Window::new([c_in, h, w], (kh, kw), geometry)?;
    let (xs, weight) = (xs.contiguous()?, weight.contiguous()?);
    if geometry.groups == c_in && inside == 1 && c_in > 1 {
        let ys = xs.apply_op2_no_bwd(&weight, &Depthwise { window, epilogue })?;
        let Epilogue { shortcut, then, then_slopes, .. } = *epilogue;
        Epilogue { shortcut, then, then_slopes, ..Epilogue::default() }.apply(&ys)?;
        return Ok(ys);
    }
    let ys = by_matmul(&xs, &weight.reshape((c_out, c_in * kh * kw))?, window)?;
    // The product is fresh: no other tensor shares its storage.
    epilogue.apply(&ys)?;
    Ok(ys)
}

/// `[n, c_in, h, w]` and `[c_out, taps]` to `[n, c_out, oh, ow]`
fn by_matmul(xs: &Tensor, weight: &Tensor, window: Window) -> Result<Tensor> {
    let (n, c_in, h, w) = xs.dims4()?;
    let (c_out, taps) = weight.dims2()?;
    let (oh, ow) = window.out;
    let product = |n: usize, columns: &Tensor| {
        let weight = weight.unsqueeze(0)?.broadcast_as((n, c_out, taps))?; // the same for every image: its stride is 0
        weight.matmul(columns)?.reshape((n, c_out, oh, ow))
    };
    if window.is_pointwise() {
        return product(n, &xs.reshape((n, c_in, h * w))?);
    }
    let bytes = taps * oh * ow * xs.dtype().size_in_bytes();
    let at_once = (COLUMN_BYTES / bytes.max(1)).clamp(1, n.max(1));
    let mut parts = Vec::with_capacity(n.div_ceil(at_once));
    for first in (0..n).step_by(at_once) {
        let count = at_once.min(n - first);
        let columns = xs.narrow(0, first, count)?.apply_op1_no_bwd(&Im2Col(window))?;
        parts.push(product(count, &columns)?);
    }
    if parts.len() == 1 { Ok(parts.remove(0)) } else { Tensor::cat(&parts, 0) }
}

/// Where a kernel's taps fall on the input.
#[derive(Debug, Clone, Copy)]
struct Window {
    image: [usize; 3],
    kernel: (usize, usize),
    geometry: Geometry,
    out: (usize, usize),
}

/// As `Window` in `kernels/conv.cu`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Params {
    channels: u32,
    height: u32,
    width: u32,
    kernel_h: u32,
    kernel_w: u32,
    stride: u32,
    top: u32,
    left: u32,
    out_h: u32,
    out_w: u32,
}

// SAFETY: Ten 32-bit numbers, laid out as the kernel's struct.
#[expect(unsafe_code, reason = "an argument of a kernel")]
unsafe impl DeviceRepr for Params {}

impl Window {
    fn new(image: [usize; 3], kernel: (usize, usize), geometry: Geometry) -> Result<Self> {
        let Geometry { stride, top, bottom, left, right, .. } = geometry;
        let out = |n: usize, k: usize| match n.checked_sub(k) {
            Some(steps) if stride > 0 => Ok(steps / stride + 1),
            _ => candle::bail!("a kernel of {k} with stride {stride} does not fit into a padded extent of {n}"),
        };
        let out = (out(image[1] + top + bottom, kernel.0)?, out(image[2] + left + right, kernel.1)?);
        Ok(Self { image, kernel, geometry, out })
    }

    fn is_pointwise(&self) -> bool {
        let Geometry { stride, top, bottom, left, right, .. } = self.geometry;
        self.kernel == (1, 1) && stride == 1 && top + bottom + left + right == 0
    }

    fn params(&self) -> Result<Params> {
        Ok(Params {
            channels: size(self.image[0])?,
            height: size(self.image[1])?,
            width: size(self.image[2])?,
            kernel_h: size(self.kernel.0)?,
            kernel_w: size(self.kernel.1)?,
            stride: size(self.geometry.stride)?,
            top: size(self.geometry.top)?,
            left: size(self.geometry.left)?,
            out_h: size(self.out.0)?,
            out_w: size(self.out.1)?,
        })
    }
}

/// `[n, c, h, w] -> [n, c * kh * kw, oh * ow]`
struct Im2Col(Window);

impl Im2Col {
    fn run<T: Element>(&self, xs: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let (n, ..) = layout.shape().dims4()?;
        let window = &self.0;
        let (taps, plane) = (window.image[0] * window.kernel.0 * window.kernel.1, window.out.0 * window.out.1);
        let (total, config) = grid(n * taps * plane)?;
        let params = window.params()?;
        let (device, input) = (xs.device(), contiguous::<T>(xs, layout)?);
        let function = kernel::<T>(device, "im2col", "facesocial-conv", ptx::CONV)?;
        // SAFETY: The kernel writes every element.
        #[expect(unsafe_code, reason = "zeros would be written twice")]
        let mut out = unsafe { device.alloc::<T>(n * taps * plane) }?;
        let stream = device.cuda_stream();
        let mut args = stream.launch_builder(&function);
        args.arg(&input).arg(&mut out).arg(&total).arg(&params);
        // SAFETY: The kernel takes these arguments in this order; it reads within the `n` images of the layout's shape, which
        // `params` describes, and writes `total` elements.
        #[expect(unsafe_code, reason = "starts a kernel")]
        unsafe { args.launch(config) }.w()?;
        Ok((CudaStorage::wrap_cuda_slice(out, device.clone()), (n, taps, plane).into()))
    }
}

impl CustomOp1 for Im2Col {
    fn name(&self) -> &'static str {
        "im2col"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        candle::bail!("on the processor the convolutions of facesocial-kernels do this")
    }

    fn cuda_fwd(&self, storage: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        by_type!(storage, self.run(storage, layout))
    }
}

/// `[n, c, h, w]` and `[c, 1, kh, kw]` to `[n, c, oh, ow]`
struct Depthwise<'a> {
    window: Window,
    epilogue: &'a Epilogue<'a>,
}

impl Depthwise<'_> {
    fn run<T: Element>(
        &self,
        (xs, layout): (&CudaStorage, &Layout),
        (weight, weight_layout): (&CudaStorage, &Layout),
    ) -> Result<(CudaStorage, Shape)> {
        let (n, c, ..) = layout.shape().dims4()?;
        let (oh, ow) = self.window.out;
        let (total, config) = grid(n * c * oh * ow)?;
        let (window, device) = (self.window.params()?, xs.device());
        // The shortcut and what follows it are left to the epilogue's own kernel.
        let Epilogue { bias, activation, slopes, .. } = *self.epilogue;
        let epilogue = Epilogue { bias, activation, slopes, ..Epilogue::default() };
        let after = epilogue.params([n, c, oh, ow], T::DTYPE)?;
        let (input, taps) = (contiguous::<T>(xs, layout)?, contiguous::<T>(weight, weight_layout)?);
        let held = [epilogue.bias, epilogue.slopes].map(|xs| xs.map(Held::new));
        // A pointer that the kernel does not follow is the taps'.
        let views = held.iter().map(|held| match held {
            Some(held) => held.view::<T>(),
            None => contiguous::<T>(weight, weight_layout),
        });
        let views = views.collect::<Result<Vec<_>>>()?;
        let function = kernel::<T>(device, "depthwise", "facesocial-conv", ptx::CONV)?;
        // SAFETY: The kernel writes every element.
        #[expect(unsafe_code, reason = "zeros would be written twice")]
        let mut out = unsafe { device.alloc::<T>(n * c * oh * ow) }?;
        let stream = device.cuda_stream();
        let mut args = stream.launch_builder(&function);
        args.arg(&input).arg(&taps);
        views.iter().for_each(|view| {
            args.arg(view);
        });
        args.arg(&mut out).arg(&total).arg(&window).arg(&after);
        // SAFETY: The kernel takes these arguments in this order; it reads within the images, of the layout's shape, and within
        // the `c` kernels, whose shape `conv2d` checked; `params` checked bias and slopes; it writes `total` elements.
        #[expect(unsafe_code, reason = "starts a kernel")]
        unsafe { args.launch(config) }.w()?;
        Ok((CudaStorage::wrap_cuda_slice(out, device.clone()), (n, c, oh, ow).into()))
    }
}

impl CustomOp2 for Depthwise<'_> {
    fn name(&self) -> &'static str {
        "depthwise-conv2d"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        candle::bail!("on the processor the convolutions of facesocial-kernels do this")
    }

    fn cuda_fwd(&self, s1: &CudaStorage, l1: &Layout, s2: &CudaStorage, l2: &Layout) -> Result<(CudaStorage, Shape)> {
        by_type!(s1, self.run((s1, l1), (s2, l2)))
    }
}
