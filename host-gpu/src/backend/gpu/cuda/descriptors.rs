//! What cuDNN is told about the operands of a convolution.

use super::super::op::{Convolution, MapType, Pass};
use cudarc::cudnn::result::{self, CudnnError};
use cudarc::cudnn::sys;
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
    fn format(self) -> sys::cudnnTensorFormat_t {
        match self {
            Self::Nhwc => sys::cudnnTensorFormat_t::CUDNN_TENSOR_NHWC,
            Self::Nchw => sys::cudnnTensorFormat_t::CUDNN_TENSOR_NCHW,
        }
    }
}

fn data_type(maps: MapType) -> sys::cudnnDataType_t {
    match maps {
        MapType::F32 => sys::cudnnDataType_t::CUDNN_DATA_FLOAT,
        MapType::Bf16 => sys::cudnnDataType_t::CUDNN_DATA_BFLOAT16,
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
pub struct Tensor(pub sys::cudnnTensorDescriptor_t);

impl Tensor {
    /// Of sizes `[rows, channels, height, width]`.
    pub fn new(maps: MapType, layout: Layout, sizes: [c_int; 4]) -> Result<Self, CudnnError> {
        let tensor = Self(result::create_tensor_descriptor()?);
        // SAFETY: it has just been made.
        unsafe { result::set_tensor4d_descriptor(tensor.0, layout.format(), data_type(maps), sizes) }?;
        Ok(tensor)
    }
}

impl Drop for Tensor {
    fn drop(&mut self) {
        // SAFETY: it was made above and is given back once. Nobody can do anything about a failure.
        let _ = unsafe { result::destroy_tensor_descriptor(self.0) };
    }
}

/// Weights as cuDNN sees them.
#[derive(Debug)]
pub struct Filter(pub sys::cudnnFilterDescriptor_t);

impl Filter {
    fn new(maps: MapType, layout: Layout, sizes: [c_int; 4]) -> Result<Self, CudnnError> {
        let filter = Self(result::create_filter_descriptor()?);
        // SAFETY: it has just been made.
        unsafe { result::set_filter4d_descriptor(filter.0, data_type(maps), layout.format(), sizes) }?;
        Ok(filter)
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        // SAFETY: as for a tensor.
        let _ = unsafe { result::destroy_filter_descriptor(self.0) };
    }
}

/// Step and padding of a convolution, and how it multiplies.
#[derive(Debug)]
pub struct Geometry(pub sys::cudnnConvolutionDescriptor_t);

impl Geometry {
    fn new(shape: &Convolution) -> Result<Self, CudnnError> {
        let geometry = Self(result::create_convolution_descriptor()?);
        // A step or a padding beyond the integers has no map that fits.
        let int = |size: usize| c_int::try_from(size).unwrap_or(c_int::MAX);
        // SAFETY: it has just been made.
        unsafe {
            result::set_convolution2d_descriptor(
                geometry.0,
                int(shape.padding[0]),
                int(shape.padding[1]),
                int(shape.stride[0]),
                int(shape.stride[1]),
                1,
                1,
                sys::cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION,
                sys::cudnnDataType_t::CUDNN_DATA_FLOAT,
            )
        }?;
        Ok(geometry)
    }

    /// How it multiplies.
    pub fn set_math(&self, math: sys::cudnnMathType_t) -> Result<(), CudnnError> {
        // SAFETY: it lives.
        unsafe { result::set_convolution_math_type(self.0, math) }
    }
}

impl Drop for Geometry {
    fn drop(&mut self) {
        // SAFETY: as for a tensor.
        let _ = unsafe { result::destroy_convolution_descriptor(self.0) };
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
    pub fn new(shape: &Convolution, sizes: &Sizes, maps: MapType, layout: Layout) -> Result<Self, CudnnError> {
        Ok(Self {
            x: Tensor::new(maps, layout, sizes.x)?,
            w: Filter::new(maps, layout, sizes.w)?,
            y: Tensor::new(maps, layout, sizes.y)?,
            geometry: Geometry::new(shape)?,
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
