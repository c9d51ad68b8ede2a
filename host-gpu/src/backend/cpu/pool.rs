//! Loss pooling of maps `[row, y, x, channel]` to vectors `[row, channel, cell]`, and the way back (spec 2.4).

use clapp_core::network::LossPool;
use clapp_core::plan::Layer;
use clapp_core::shape::Shape;
use rayon::prelude::*;
use std::ops::Range;

/// Rows (or columns) of the map that each cell of the pooled map covers.
fn cells(size: usize, pooled: usize, pool: LossPool, axis: usize) -> Vec<Range<usize>> {
    (0..pooled)
        .map(|cell| match pool {
            LossPool::Block(block) => cell * block[axis]..(cell + 1) * block[axis],
            LossPool::Adaptive(_) => cell * size / pooled..((cell + 1) * size).div_ceil(pooled),
            LossPool::Global => 0..size,
        })
        .collect()
}

/// Calls `visit(cell, position)` for every position of every cell, cells in order.
fn visit_cells(output: Shape, pooled: Shape, pool: LossPool, mut visit: impl FnMut(usize, usize, f64)) {
    let columns = cells(output.width, pooled.width, pool, 1);
    for (cell_y, ys) in cells(output.height, pooled.height, pool, 0).into_iter().enumerate() {
        for (cell_x, xs) in columns.iter().enumerate() {
            let weight = 1.0 / (ys.len() * xs.len()) as f64;
            for y in ys.clone() {
                for x in xs.clone() {
                    visit(cell_y * pooled.width + cell_x, y * output.width + x, weight);
                }
            }
        }
    }
}

/// Means over the cells, channel-major: `[rows, D]`.
pub fn pool(layer: &Layer, z: &[f32], rows: usize) -> Vec<f32> {
    let (output, pooled) = (layer.output, layer.pooled);
    let channels = output.channels;
    let mut p = vec![0.0; rows * pooled.len()];
    p.par_chunks_mut(pooled.len()).zip(z.par_chunks(output.len())).for_each_init(
        || vec![0.0_f32; pooled.len()],
        |by_cell, (p, z)| {
            by_cell.fill(0.0);
            visit_cells(output, pooled, layer.block.loss_pool, |cell, position, weight| {
                let sums = &mut by_cell[cell * channels..(cell + 1) * channels];
                for (sum, z) in sums.iter_mut().zip(&z[position * channels..]) {
                    *sum += z * weight as f32;
                }
            });
            for (channel, p) in p.chunks_exact_mut(pooled.area()).enumerate() {
                for (p, sum) in p.iter_mut().zip(by_cell.iter().skip(channel).step_by(channels)) {
                    *p = *sum;
                }
            }
        },
    );
    p
}

/// Spreads a pooled gradient over the output map: each element of a cell gets an equal share.
#[derive(Debug)]
pub struct Spreader {
    channels: usize,
    cells: usize,
    /// For each position of the output map, the cells that cover it and its share in each.
    covers: Vec<Vec<(usize, f64)>>,
}

impl Spreader {
    /// The shares of a layer's loss pooling.
    pub fn new(layer: &Layer) -> Self {
        let mut covers = vec![Vec::new(); layer.output.area()];
        visit_cells(layer.output, layer.pooled, layer.block.loss_pool, |cell, position, weight| {
            covers[position].push((cell, weight));
        });
        Self { channels: layer.output.channels, cells: layer.pooled.area(), covers }
    }

    /// One row: `dp` `[channel, cell]` to `dz` `[position, channel]`.
    pub fn spread(&self, dp: &[f64], dz: &mut [f32]) {
        let mut by_cell = vec![0.0_f32; dp.len()];
        for (channel, dp) in dp.chunks_exact(self.cells).enumerate() {
            for (cell, dp) in dp.iter().enumerate() {
                by_cell[cell * self.channels + channel] = *dp as f32;
            }
        }
        for (dz, covers) in dz.chunks_exact_mut(self.channels).zip(&self.covers) {
            match covers.as_slice() {
                [] => dz.fill(0.0),
                [(cell, share), more @ ..] => {
                    for (dz, dp) in dz.iter_mut().zip(&by_cell[cell * self.channels..]) {
                        *dz = dp * *share as f32;
                    }
                    for (cell, share) in more {
                        for (dz, dp) in dz.iter_mut().zip(&by_cell[cell * self.channels..]) {
                            *dz += dp * *share as f32;
                        }
                    }
                }
            }
        }
    }

    /// One row of the distance between an error `dz` of the output map and the spread error `dp` (spec 3): its square,
    /// the square of `dz`, and its gradient by `dp` `[channel, cell]` in `slope`.
    pub fn distance(&self, dz: &[f32], dp: &[f64], slope: &mut [f64]) -> [f64; 2] {
        let (mut distance, mut ideal) = (0.0, 0.0);
        slope.fill(0.0);
        for (dz, covers) in dz.chunks_exact(self.channels).zip(&self.covers) {
            for (channel, dz) in dz.iter().enumerate() {
                let dz = f64::from(*dz);
                let spread: f64 = covers.iter().map(|(cell, share)| share * dp[channel * self.cells + cell]).sum();
                let missing = dz - spread;
                distance += missing * missing;
                ideal += dz * dz;
                for (cell, share) in covers {
                    slope[channel * self.cells + cell] -= 2.0 * share * missing;
                }
            }
        }
        [distance, ideal]
    }

    /// Adds one row's part of the bias's gradient: `dp` of each cell times the share of the cell that is active.
    ///
    /// The same sum as over the spread gradient, but in double precision and with the large terms that cancel
    /// between rows kept whole; `active` is scratch of `dp`'s length.
    pub fn bias_gradient(&self, dp: &[f64], z: &[f32], relu: bool, active: &mut Vec<f64>, bias: &mut [f64]) {
        active.clear();
        active.resize(dp.len(), 0.0);
        for (z, covers) in z.chunks_exact(self.channels).zip(&self.covers) {
            for (cell, share) in covers {
                for (active, z) in active[cell * self.channels..].iter_mut().zip(z) {
                    *active += if !relu || *z > 0.0 { *share } else { 0.0 };
                }
            }
        }
        for ((channel, bias), dp) in bias.iter_mut().enumerate().zip(dp.chunks_exact(self.cells)) {
            for (dp, active) in dp.iter().zip(active.iter().skip(channel).step_by(self.channels)) {
                *bias += dp * active;
            }
        }
    }
}
