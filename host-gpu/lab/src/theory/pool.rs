//! Average pooling of maps before the loss (docs/paper.md 2.4).

use nalgebra::DMatrix;

/// Averages over blocks of `kernel` x `kernel` pixels; a border that fills no block is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    /// Channels.
    pub channels: usize,
    /// Rows of the maps.
    pub height: usize,
    /// Columns of the maps.
    pub width: usize,
    /// Rows and columns of a block; 1 leaves the maps as they are.
    pub kernel: usize,
}

impl Pool {
    /// Values of a pooled sample.
    pub fn outputs(&self) -> usize {
        self.channels * (self.height / self.kernel) * (self.width / self.kernel)
    }

    /// Calls `each(place in the input, place in the output)` for every pixel of a block.
    fn for_each_pixel(&self, mut each: impl FnMut(usize, usize)) {
        let (rows, columns) = (self.height / self.kernel, self.width / self.kernel);
        for y in 0..rows * self.kernel {
            for x in 0..columns * self.kernel {
                let block = (y / self.kernel) * columns + x / self.kernel;
                each((y * self.width + x) * self.channels, block * self.channels);
            }
        }
    }

    /// `[channels x height x width, samples]` to `[outputs, samples]`.
    pub fn forward(&self, z: &DMatrix<f64>) -> DMatrix<f64> {
        if self.kernel == 1 {
            return z.clone();
        }
        let share = 1.0 / (self.kernel * self.kernel) as f64;
        let mut pooled = DMatrix::zeros(self.outputs(), z.ncols());
        for sample in 0..z.ncols() {
            self.for_each_pixel(|from, to| {
                for channel in 0..self.channels {
                    pooled[(to + channel, sample)] += share * z[(from + channel, sample)];
                }
            });
        }
        pooled
    }

    /// Gradient by the maps from the gradient by what was pooled.
    pub fn backward(&self, error: &DMatrix<f64>) -> DMatrix<f64> {
        if self.kernel == 1 {
            return error.clone();
        }
        let share = 1.0 / (self.kernel * self.kernel) as f64;
        let mut spread = DMatrix::zeros(self.channels * self.height * self.width, error.ncols());
        for sample in 0..error.ncols() {
            self.for_each_pixel(|to, from| {
                for channel in 0..self.channels {
                    spread[(to + channel, sample)] = share * error[(from + channel, sample)];
                }
            });
        }
        spread
    }
}
