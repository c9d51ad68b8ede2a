//! A layer: a matrix of weights that looks at windows of a map; a dense layer has one window, the whole input.

use nalgebra::{DMatrix, DVector, Dyn};
use std::borrow::Cow;

/// Input of a layer and its windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Channels of the input.
    pub channels: usize,
    /// Rows of the input's maps.
    pub height: usize,
    /// Columns of the input's maps.
    pub width: usize,
    /// Height and width of a window.
    pub kernel: usize,
    /// Pixels from one window to the next.
    pub stride: usize,
    /// Zeros around the maps.
    pub padding: usize,
}

impl Geometry {
    /// A dense layer of so many inputs.
    pub fn dense(inputs: usize) -> Self {
        Self { channels: inputs, height: 1, width: 1, kernel: 1, stride: 1, padding: 0 }
    }

    /// Rows and columns of the output's maps.
    pub fn output(&self) -> (usize, usize) {
        let count = |size: usize| (size + 2 * self.padding - self.kernel) / self.stride + 1;
        (count(self.height), count(self.width))
    }

    /// Values of a window.
    pub fn window(&self) -> usize {
        self.channels * self.kernel * self.kernel
    }

    /// Values of an input.
    pub fn inputs(&self) -> usize {
        self.channels * self.height * self.width
    }

    fn is_dense(&self) -> bool {
        (self.height, self.width, self.kernel, self.stride, self.padding) == (1, 1, 1, 1, 0)
    }

    /// Calls `each(window, place in the window, place in the input)` for every pixel under every window, in order.
    fn for_each_pixel(&self, mut each: impl FnMut(usize, usize, usize)) {
        let (rows, columns) = self.output();
        let inside = |start: usize, offset: usize, size: usize| {
            (start * self.stride + offset).checked_sub(self.padding).filter(|&at| at < size)
        };
        for row in 0..rows {
            for column in 0..columns {
                for y in 0..self.kernel {
                    for x in 0..self.kernel {
                        if let (Some(top), Some(left)) = (inside(row, y, self.height), inside(column, x, self.width)) {
                            let (window, pixel) = (row * columns + column, y * self.kernel + x);
                            each(window, pixel * self.channels, (top * self.width + left) * self.channels);
                        }
                    }
                }
            }
        }
    }

    /// The windows of all samples side by side, `[window, windows x samples]`.
    fn windows<'a>(&self, x: &'a DMatrix<f64>) -> Cow<'a, DMatrix<f64>> {
        assert_eq!(x.nrows(), self.inputs(), "values of an input");
        if self.is_dense() {
            return Cow::Borrowed(x);
        }
        let (rows, columns) = self.output();
        let mut windows = DMatrix::zeros(self.window(), rows * columns * x.ncols());
        let samples = windows.as_mut_slice().chunks_exact_mut(self.window() * rows * columns);
        for (to, from) in samples.zip(x.as_slice().chunks_exact(self.inputs())) {
            self.for_each_pixel(|window, place, pixel| {
                let start = window * self.window() + place;
                to[start..start + self.channels].copy_from_slice(&from[pixel..pixel + self.channels]);
            });
        }
        Cow::Owned(windows)
    }

    /// The adjoint of [`Geometry::windows`]: adds up what lies on the same pixel of the input.
    fn gather(&self, windows: DMatrix<f64>, samples: usize) -> DMatrix<f64> {
        if self.is_dense() {
            return windows;
        }
        let (rows, columns) = self.output();
        let mut x = DMatrix::zeros(self.inputs(), samples);
        let parts = windows.as_slice().chunks_exact(self.window() * rows * columns);
        for (to, from) in x.as_mut_slice().chunks_exact_mut(self.inputs()).zip(parts) {
            self.for_each_pixel(|window, place, pixel| {
                let start = window * self.window() + place;
                let values = &from[start..start + self.channels];
                to[pixel..pixel + self.channels].iter_mut().zip(values).for_each(|(to, value)| *to += value);
            });
        }
        x
    }
}

/// Weights, and biases where there are any.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// Input and windows of the weights.
    pub geometry: Geometry,
    /// `[outputs, window]`; a window's values lie pixel by pixel, all channels of a pixel together.
    pub weights: DMatrix<f64>,
    /// One an output.
    pub biases: Option<DVector<f64>>,
}

impl Layer {
    /// A layer without biases.
    ///
    /// # Panics
    /// If the weights do not fit the windows.
    pub fn new(geometry: Geometry, weights: DMatrix<f64>) -> Self {
        assert_eq!(weights.ncols(), geometry.window(), "weights of an output");
        Self { geometry, weights, biases: None }
    }

    /// Channels of the output.
    pub fn channels(&self) -> usize {
        self.weights.nrows()
    }

    /// Values of an output: channels, times pixels of its maps.
    pub fn outputs(&self) -> usize {
        let (rows, columns) = self.geometry.output();
        self.channels() * rows * columns
    }

    /// Output `[outputs, samples]` for inputs `[inputs, samples]`, without activation function.
    ///
    /// # Panics
    /// If `x` is not as high as an input.
    pub fn forward(&self, x: &DMatrix<f64>) -> DMatrix<f64> {
        let mut a = &self.weights * &*self.geometry.windows(x);
        if let Some(biases) = &self.biases {
            a.column_iter_mut().for_each(|mut column| column += biases);
        }
        a.reshape_generic(Dyn(self.outputs()), Dyn(x.ncols()))
    }

    /// Gradients of a loss by weights and biases from its gradient by the output, `[outputs, samples]`.
    ///
    /// # Panics
    /// If `error` is not as high as an output.
    pub fn gradient(&self, x: &DMatrix<f64>, error: &DMatrix<f64>) -> (DMatrix<f64>, Option<DVector<f64>>) {
        let error = self.by_window(error);
        let biases = self.biases.as_ref().map(|_| error.column_sum());
        (&*error * self.geometry.windows(x).transpose(), biases)
    }

    /// Gradient of a loss by the input from its gradient by the output, `[outputs, samples]`.
    ///
    /// # Panics
    /// If `error` is not as high as an output.
    pub fn input_gradient(&self, error: &DMatrix<f64>) -> DMatrix<f64> {
        self.geometry.gather(self.weights.tr_mul(&*self.by_window(error)), error.ncols())
    }

    /// `[outputs, samples]` as `[channels, windows x samples]`: the same values in the same order.
    fn by_window<'a>(&self, error: &'a DMatrix<f64>) -> Cow<'a, DMatrix<f64>> {
        assert_eq!(error.nrows(), self.outputs(), "values of an output");
        if self.geometry.is_dense() {
            return Cow::Borrowed(error);
        }
        let windows = error.len() / self.channels();
        Cow::Owned(error.clone().reshape_generic(Dyn(self.channels()), Dyn(windows)))
    }
}
