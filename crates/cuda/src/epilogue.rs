//! What follows a convolution's sum.

use candle::{
    CpuStorage, CudaStorage, DType, InplaceOp1, Layout, Result, Storage, StorageRef, Tensor,
    cuda_backend::{
        WrapErr,
        cudarc::driver::{CudaView, DeviceRepr, PushKernelArg},
    },
};
use facesocial_kernels::Activation;

use crate::{
    element::{Element, by_type, grid, kernel, size},
    ptx,
};

/// `then(activation(x + bias) + shortcut)`, each part where it is given.
#[derive(Debug, Clone, Copy, Default)]
pub struct Epilogue<'a> {
    /// `[c]`
    pub bias: Option<&'a Tensor>,
    /// Follows the sum.
    pub activation: Activation,
    /// `[c]`, for [`Activation::PRelu`].
    pub slopes: Option<&'a Tensor>,
    /// Of the result's shape.
    pub shortcut: Option<&'a Tensor>,
    /// Follows the sum with the shortcut.
    pub then: Activation,
    /// `[c]`, for [`Activation::PRelu`] behind the shortcut.
    pub then_slopes: Option<&'a Tensor>,
}

/// As `Epilogue` in `kernels/element.cuh`.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct Params {
    plane: u32,
    channels: u32,
    activation: u32,
    then: u32,
    bias: u32,
    slopes: u32,
    shortcut: u32,
    then_slopes: u32,
}

// SAFETY: Eight 32-bit numbers, laid out as the kernel's struct.
#[expect(unsafe_code, reason = "an argument of a kernel")]
unsafe impl DeviceRepr for Params {}

/// As `Activation` in `kernels/element.cuh`.
const fn number(activation: Activation) -> u32 {
    match activation {
        Activation::None => 0,
        Activation::Relu => 1,
        Activation::Relu6 => 2,
        Activation::PRelu => 3,
        Activation::Silu => 4,
        Activation::Gelu => 5,
        Activation::HardSwish => 6,
        Activation::HardSigmoid => 7,
        Activation::Sigmoid => 8,
    }
}

impl<'a> Epilogue<'a> {
    /// Whether it changes nothing.
    pub(crate) const fn is_empty(&self) -> bool {
        self.bias.is_none()
            && self.shortcut.is_none()
            && matches!((self.activation, self.then), (Activation::None, Activation::None))
    }

    /// Applies it to `xs` of `[n, c, h, w]`, in place: nobody else may hold `xs`.
    pub(crate) fn apply(&self, xs: &Tensor) -> Result<()> {
        if self.is_empty() { Ok(()) } else { xs.inplace_op1(self) }
    }

    /// Checks what is given against an output of `shape` and type, and lays it out for the kernels.
    pub(crate) fn params(&self, shape: [usize; 4], dtype: DType) -> Result<Params> {
        let [_, c, h, w] = shape;
        let of_channels = |what: &str, xs: Option<&Tensor>| match xs {
            Some(xs) if xs.dims() != [c] || xs.dtype() != dtype || !xs.is_contiguous() => {
                candle::bail!("{what} of {:?} {:?} for {c} channels of {dtype:?}", xs.dims(), xs.dtype())
            }
            given => Ok(u32::from(given.is_some())),
        };
        let slopes = |activation, slopes: Option<&Tensor>| match (activation, slopes) {
            (Activation::PRelu, None) => candle::bail!("a prelu needs its slopes"),
            (Activation::PRelu, slopes) => of_channels("slopes", slopes),
            _ => Ok(0),
        };
        let shortcut = match self.shortcut {
            Some(xs) if xs.dims() != shape || xs.dtype() != dtype || !xs.is_contiguous() => {
                candle::bail!("a shortcut of {:?} {:?} for {shape:?} {dtype:?}", xs.dims(), xs.dtype())
            }
            given => u32::from(given.is_some()),
        };
        Ok(Params {
            plane: size(h * w)?,
            channels: size(c)?,
            activation: number(self.activation),
            then: number(self.then),
            bias: of_channels("a bias", self.bias)?,
            slopes: slopes(self.activation, self.slopes)?,
            shortcut,
            then_slopes: slopes(self.then, self.then_slopes)?,
        })
    }

    fn run<T: Element>(&self, xs: &mut CudaStorage, layout: &Layout) -> Result<()> {
        let shape = layout.shape().dims4()?;
        let params = self.params(shape.into(), T::DTYPE)?;
        let Some((start, end)) = layout.contiguous_offsets() else {
            candle::bail!("what a convolution gave is not contiguous");
        };
        let (total, config) = grid(end - start)?;
        let device = candle::backend::BackendStorage::device(xs).clone();
        let function = kernel::<T>(&device, "epilogue", "facesocial-epilogue", ptx::EPILOGUE)?;
        let given = [self.bias, self.slopes, self.shortcut, self.then_slopes];
        let held = given.map(|xs| xs.map(Held::new));
        // A pointer that the kernel does not follow must still be one.
        // SAFETY: Nobody reads it.
        #[expect(unsafe_code, reason = "not worth a kernel")]
        let nothing = unsafe { device.alloc::<T>(1) }?;
        let views = held.iter().map(|xs| match xs {
            Some(held) => held.view::<T>(),
            None => Ok(nothing.slice(..)),
        });
        let views = views.collect::<Result<Vec<_>>>()?;
        let mut out = xs.as_cuda_slice_mut::<T>()?.slice_mut(start..end);
        let stream = device.cuda_stream();
        let mut args = stream.launch_builder(&function);
        args.arg(&mut out);
        views.iter().for_each(|view| {
            args.arg(view);
        });
        args.arg(&total).arg(&params);
        // SAFETY: The kernel takes these arguments in this order; `params` checked that bias and slopes have a value for each
        // channel and the shortcut one for each element, and the kernel follows no other pointer.
        #[expect(unsafe_code, reason = "starts a kernel")]
        unsafe { args.launch(config) }.w()?;
        Ok(())
    }
}

/// A tensor's storage, held while a kernel is queued.
pub(crate) struct Held<'a> {
    storage: StorageRef<'a>,
    layout: &'a Layout,
}

impl<'a> Held<'a> {
    pub(crate) fn new(xs: &'a Tensor) -> Self {
        let (storage, layout) = xs.storage_and_layout();
        Self { storage, layout }
    }

    pub(crate) fn view<T: Element>(&self) -> Result<CudaView<'_, T>> {
        match &*self.storage {
            Storage::Cuda(storage) => crate::element::contiguous::<T>(storage, self.layout),
            _ => candle::bail!("an argument of a kernel lies in another place"),
        }
    }
}

impl InplaceOp1 for Epilogue<'_> {
    fn name(&self) -> &'static str {
        "epilogue"
    }

    fn cpu_fwd(&self, _: &mut CpuStorage, _: &Layout) -> Result<()> {
        candle::bail!("on the processor the convolutions of facesocial-kernels do this")
    }

    fn cuda_fwd(&self, storage: &mut CudaStorage, layout: &Layout) -> Result<()> {
        by_type!(&*storage, self.run(storage, layout))
    }
}
