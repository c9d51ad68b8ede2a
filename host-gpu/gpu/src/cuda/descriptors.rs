//! cuDNN's descriptors of the operands of a convolution.

use super::super::op::{Convolution, MapType, Pass};
use super::calls::{Owned, Status, done};
use super::cudnn::{self, Cudnn, Descriptor};
use std::ffi::c_int;

/// In which order values lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Channels last, as maps and weights are here.
    Nhwc,
    /// Channels first.
    Nchw,
}

impl Layout {
    fn format(self) -> c_int {
        match self {
            Self::Nhwc => cudnn::NHWC,
            Self::Nchw => cudnn::NCHW,
        }
    }
}

fn data_type(maps: MapType) -> c_int {
    match maps {
        MapType::F32 => cudnn::FLOAT,
        MapType::Bf16 => cudnn::BFLOAT16,
    }
}

/// Sizes of the three operands as cuDNN counts them: `[rows, channels, height, width]`, and of the weights
/// `[out, in, height, width]`. `None` where one is beyond cuDNN's integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// The input, or its gradient.
    pub x: [c_int; 4],
    /// The weights, or their gradient.
    pub w: [c_int; 4],
    /// The output, or its gradient.
    pub y: [c_int; 4],
}

impl Sizes {
    /// Of a convolution.
    pub fn of(shape: &Convolution) -> Option<Self> {
        let of = |sizes: [usize; 4]| -> Option<[c_int; 4]> {
            let mut out = [0; 4];
            for (out, size) in out.iter_mut().zip(sizes) {
                *out = c_int::try_from(size).ok()?;
            }
            Some(out)
        };
        let Convolution { rows, input, channels, output, out_channels, kernel, .. } = *shape;
        Some(Self {
            x: of([rows, channels, input[0], input[1]])?,
            w: of([out_channels, channels, kernel[0], kernel[1]])?,
            y: of([rows, out_channels, output[0], output[1]])?,
        })
    }
}

/// A map as cuDNN sees it.
#[derive(Debug)]
pub struct Tensor(Owned);

impl Tensor {
    /// Of sizes `[rows, channels, height, width]`.
    pub fn new(cudnn: &Cudnn, maps: MapType, layout: Layout, sizes: [c_int; 4]) -> Result<Self, Status> {
        // SAFETY: it writes one pointer.
        let create = |raw| unsafe { (cudnn.cudnnCreateTensorDescriptor)(raw) };
        let tensor = Owned::new(create, cudnn.cudnnDestroyTensorDescriptor)?;
        let [n, c, h, w] = sizes;
        // SAFETY: it has just been made.
        done(unsafe { (cudnn.cudnnSetTensor4dDescriptor)(tensor.raw, layout.format(), data_type(maps), n, c, h, w) })?;
        Ok(Self(tensor))
    }

    /// For cuDNN's functions.
    pub fn raw(&self) -> Descriptor {
        self.0.raw
    }
}

/// Weights as cuDNN sees them.
#[derive(Debug)]
pub struct Filter(Owned);

impl Filter {
    fn new(cudnn: &Cudnn, maps: MapType, layout: Layout, sizes: [c_int; 4]) -> Result<Self, Status> {
        // SAFETY: it writes one pointer.
        let create = |raw| unsafe { (cudnn.cudnnCreateFilterDescriptor)(raw) };
        let filter = Owned::new(create, cudnn.cudnnDestroyFilterDescriptor)?;
        let [k, c, h, w] = sizes;
        // SAFETY: it has just been made.
        done(unsafe { (cudnn.cudnnSetFilter4dDescriptor)(filter.raw, data_type(maps), layout.format(), k, c, h, w) })?;
        Ok(Self(filter))
    }

    /// For cuDNN's functions.
    pub fn raw(&self) -> Descriptor {
        self.0.raw
    }
}

/// Step and padding of a convolution, and how it multiplies.
#[derive(Debug)]
pub struct Geometry(Owned);

impl Geometry {
    fn new(cudnn: &Cudnn, shape: &Convolution) -> Result<Self, Status> {
        // SAFETY: it writes one pointer.
        let create = |raw| unsafe { (cudnn.cudnnCreateConvolutionDescriptor)(raw) };
        let geometry = Owned::new(create, cudnn.cudnnDestroyConvolutionDescriptor)?;
        // A step or a padding beyond the integers has no map that fits.
        let int = |size: usize| c_int::try_from(size).unwrap_or(c_int::MAX);
        let ([ph, pw], [sh, sw]) = (shape.padding.map(int), shape.stride.map(int));
        let (mode, sums) = (cudnn::CROSS_CORRELATION, cudnn::FLOAT);
        // SAFETY: it has just been made.
        done(unsafe { (cudnn.cudnnSetConvolution2dDescriptor)(geometry.raw, ph, pw, sh, sw, 1, 1, mode, sums) })?;
        Ok(Self(geometry))
    }

    /// Sets the kind of multiplication.
    pub fn set_math(&self, cudnn: &Cudnn, math: c_int) -> Result<(), Status> {
        // SAFETY: it lives.
        done(unsafe { (cudnn.cudnnSetConvolutionMathType)(self.0.raw, math) })
    }

    /// For cuDNN's functions.
    pub fn raw(&self) -> Descriptor {
        self.0.raw
    }
}

/// All of a convolution.
#[derive(Debug)]
pub struct Descriptors {
    /// The input, or its gradient.
    pub x: Tensor,
    /// The weights, or their gradient.
    pub w: Filter,
    /// The output, or its gradient.
    pub y: Tensor,
    /// The rest.
    pub geometry: Geometry,
}

impl Descriptors {
    /// Of a convolution whose operands lie in memory as said.
    pub fn new(
        cudnn: &Cudnn,
        shape: &Convolution,
        sizes: &Sizes,
        maps: MapType,
        layout: Layout,
    ) -> Result<Self, Status> {
        Ok(Self {
            x: Tensor::new(cudnn, maps, layout, sizes.x)?,
            w: Filter::new(cudnn, maps, layout, sizes.w)?,
            y: Tensor::new(cudnn, maps, layout, sizes.y)?,
            geometry: Geometry::new(cudnn, shape)?,
        })
    }
}

/// Elements of the operands `a`, `b` and the result, in this order.
pub fn lengths(pass: Pass, shape: &Convolution) -> [usize; 3] {
    let (x, w, y) = (shape.input_len(), shape.weight_len(), shape.output_len());
    match pass {
        Pass::Forward => [x, w, y],
        Pass::WeightGradient => [x, y, w],
        Pass::InputGradient => [w, y, x],
    }
}
