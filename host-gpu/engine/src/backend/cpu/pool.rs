//! Loss pooling of maps `[row, y, x, channel]` to vectors `[row, channel, cell]`, and the way back (docs/paper.md 2.4).

use crate::matmul::vectorised;
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
#[inline(always)]
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

/// Adds up the means of each cell of one map, `[cell, channel]`.
struct CellMeans<'a> {
    output: Shape,
    pooled: Shape,
    pool: LossPool,
    z: &'a [f32],
    by_cell: &'a mut [f32],
}

impl pulp::NullaryFnOnce for CellMeans<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { output, pooled, pool, z, by_cell } = self;
        let channels = output.channels;
        visit_cells(output, pooled, pool, |cell, position, weight| {
            let sums = &mut by_cell[cell * channels..(cell + 1) * channels];
            for (sum, z) in sums.iter_mut().zip(&z[position * channels..]) {
                *sum += z * weight as f32;
            }
        });
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
            vectorised(CellMeans { output, pooled, pool: layer.block.loss_pool, z, by_cell });
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
    /// Share of each element in its cell.
    shares: Vec<f64>,
    /// For each position of the output map, the cells that cover it.
    covers: Vec<Vec<usize>>,
}

impl Spreader {
    /// The shares of a layer's loss pooling.
    pub fn new(layer: &Layer) -> Self {
        let mut covers = vec![Vec::new(); layer.output.area()];
        let mut shares = vec![0.0; layer.pooled.area()];
        visit_cells(layer.output, layer.pooled, layer.block.loss_pool, |cell, position, weight| {
            covers[position].push(cell);
            shares[cell] = weight;
        });
        Self { channels: layer.output.channels, shares, covers }
    }

    /// Spreads one row `dp` `[channel, cell]` to `dz` `[position, channel]`. With a map `z`, elements where `z` is not
    /// above zero get zero.
    pub fn spread(&self, dp: &[f64], z: Option<&[f32]>, dz: &mut [f32]) {
        let mut by_cell = vec![0.0_f32; dp.len()];
        for (channel, dp) in dp.chunks_exact(self.shares.len()).enumerate() {
            for ((cell, dp), share) in dp.iter().enumerate().zip(&self.shares) {
                by_cell[cell * self.channels + channel] = *dp as f32 * *share as f32;
            }
        }
        vectorised(Spread { spreader: self, by_cell: &by_cell, z, dz });
    }

    /// One row of the distance between an error `dz` of the output map and the spread error `dp` (docs/paper.md 3): its
    /// square, the square of `dz`, and its gradient by `dp` `[channel, cell]` in `slope`.
    pub fn distance(&self, dz: &[f32], dp: &[f64], slope: &mut [f64]) -> [f64; 2] {
        let (mut distance, mut ideal) = (0.0, 0.0);
        slope.fill(0.0);
        for (dz, covers) in dz.chunks_exact(self.channels).zip(&self.covers) {
            for (channel, dz) in dz.iter().enumerate() {
                let dz = f64::from(*dz);
                let first = channel * self.shares.len();
                let spread: f64 = covers.iter().map(|cell| self.shares[*cell] * dp[first + cell]).sum();
                let missing = dz - spread;
                distance += missing * missing;
                ideal += dz * dz;
                for cell in covers {
                    slope[first + cell] -= 2.0 * self.shares[*cell] * missing;
                }
            }
        }
        [distance, ideal]
    }

    /// Adds one row's part of the bias's gradient: `dp` of each cell times the share of the cell that is active.
    ///
    /// The same sum as over the spread gradient, but in double precision and with the large terms that cancel
    /// between rows kept whole; `active` is scratch of `dp`'s length.
    pub fn bias_gradient(&self, dp: &[f64], z: &[f32], relu: bool, active: &mut Vec<f32>, bias: &mut [f64]) {
        active.clear();
        active.resize(dp.len(), 0.0);
        vectorised(CountActive { spreader: self, z, relu, active });
        for ((channel, bias), dp) in bias.iter_mut().enumerate().zip(dp.chunks_exact(self.shares.len())) {
            let active = active.iter().skip(channel).step_by(self.channels);
            for ((dp, active), share) in dp.iter().zip(active).zip(&self.shares) {
                *bias += dp * (f64::from(*active) * share);
            }
        }
    }
}

/// [`Spreader::spread`] of what each element of a cell gets, `[cell, channel]`.
struct Spread<'a> {
    spreader: &'a Spreader,
    by_cell: &'a [f32],
    z: Option<&'a [f32]>,
    dz: &'a mut [f32],
}

impl pulp::NullaryFnOnce for Spread<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { spreader, by_cell, z, dz } = self;
        let channels = spreader.channels;
        for (position, (dz, covers)) in dz.chunks_exact_mut(channels).zip(&spreader.covers).enumerate() {
            let Some((cell, more)) = covers.split_first() else {
                dz.fill(0.0);
                continue;
            };
            let first = &by_cell[cell * channels..][..channels];
            match z.filter(|_| more.is_empty()) {
                Some(z) => mask(first, &z[position * channels..][..channels], dz),
                None => dz.copy_from_slice(first),
            }
            for cell in more {
                for (dz, dp) in dz.iter_mut().zip(&by_cell[cell * channels..]) {
                    *dz += dp;
                }
            }
            if let Some(z) = z.filter(|_| !more.is_empty()) {
                for (dz, z) in dz.iter_mut().zip(&z[position * channels..]) {
                    *dz = if *z > 0.0 { *dz } else { 0.0 };
                }
            }
        }
    }
}

/// `dz` where `z` is above zero, and zero elsewhere.
#[inline(always)]
pub fn mask(dz: &[f32], z: &[f32], out: &mut [f32]) {
    for ((out, dz), z) in out.iter_mut().zip(dz).zip(z) {
        *out = if *z > 0.0 { *dz } else { 0.0 };
    }
}

/// Counts the active elements of each cell, `[cell, channel]`; as `f32`, which holds such counts exactly.
struct CountActive<'a> {
    spreader: &'a Spreader,
    z: &'a [f32],
    relu: bool,
    active: &'a mut [f32],
}

impl pulp::NullaryFnOnce for CountActive<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { spreader, z, relu, active } = self;
        let channels = spreader.channels;
        for (z, covers) in z.chunks_exact(channels).zip(&spreader.covers) {
            for cell in covers {
                for (active, z) in active[cell * channels..].iter_mut().zip(z) {
                    *active += if !relu || *z > 0.0 { 1.0 } else { 0.0 };
                }
            }
        }
    }
}
