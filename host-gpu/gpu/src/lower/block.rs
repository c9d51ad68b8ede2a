//! A block: convolution, activation, max-pool and loss pooling, and the gradients of its weights and biases.

use super::{count, int};
use crate::Gpu;
use crate::executor::Executor;
use crate::memory::{Place, Tensor};
use crate::op::{Arg, Convolution, MapType, Op, Pass};
use clapp_core::network::{Activation, LossPool};
use clapp_core::plan::Layer;
use clapp_core::shape::Shape;
use clapp_engine::backend::{Activity, ActivityOf, BlockGradient};

/// Channels whose biases' gradients one block sums.
const CHANNELS: usize = 32;

/// The geometry of a layer's convolution on `rows` frames.
pub(crate) fn convolution(layer: &Layer, rows: usize) -> Convolution {
    Convolution {
        rows,
        input: [layer.input.height, layer.input.width],
        channels: layer.input.channels,
        output: [layer.conv.height, layer.conv.width],
        out_channels: layer.block.out_channels,
        kernel: layer.block.kernel,
        stride: layer.block.stride,
        padding: layer.block.padding,
    }
}

fn relu(layer: &Layer) -> Arg<Place> {
    Arg::I32(i32::from(layer.block.activation == Activation::Relu))
}

/// `GEOM`: of a convolution's output and of the max-pool behind it.
fn geometry(layer: &Layer, rows: usize) -> [Arg<Place>; 8] {
    let pool = layer.block.max_pool.unwrap_or([1, 1]);
    [
        int(rows),
        int(layer.conv.height),
        int(layer.conv.width),
        int(layer.conv.channels),
        int(pool[0]),
        int(pool[1]),
        int(layer.output.height),
        int(layer.output.width),
    ]
}

/// The geometry of a block's output.
pub(super) fn output_geometry(layer: &Layer, rows: usize) -> [Arg<Place>; 4] {
    [int(rows), int(layer.output.height), int(layer.output.width), int(layer.output.channels)]
}

/// `LP`: the cells of the loss pooling.
pub(super) fn cells(layer: &Layer) -> [Arg<Place>; 5] {
    let (kind, block) = match layer.block.loss_pool {
        LossPool::Block(block) => (0, block),
        LossPool::Adaptive(_) => (1, [0, 0]),
        LossPool::Global => (2, [0, 0]),
    };
    [int(layer.pooled.height), int(layer.pooled.width), Arg::I32(kind), int(block[0]), int(block[1])]
}

impl<E: Executor + 'static> Gpu<E> {
    /// Frames `[rows, C, H, W]` as a map.
    pub(crate) fn frames_to_map(&self, shape: Shape, frames: &Tensor, rows: usize) -> Tensor {
        let map = self.map(frames.len());
        let args = vec![
            self.device.input(frames),
            self.device.output(&map),
            int(rows),
            int(shape.channels),
            int(shape.area()),
        ];
        self.device.launch_over("frames_to_map", map.len(), args);
        map
    }

    /// A map as frames `[rows, C, H, W]`.
    pub(crate) fn map_to_frames(&self, shape: Shape, map: &Tensor) -> Tensor {
        let frames = self.floats(map.len());
        let args = vec![
            self.device.input(map),
            self.device.output(&frames),
            int(map.len() / shape.len().max(1)),
            int(shape.channels),
            int(shape.area()),
        ];
        self.device.launch_over("map_to_frames", map.len(), args);
        frames
    }

    /// Values as elements of maps are; the same tensor where they are already.
    fn as_map(&self, values: &Tensor) -> Tensor {
        if self.device.executor.map_type() == MapType::F32 {
            return values.clone();
        }
        let map = self.map(values.len());
        let args = vec![self.device.input(values), self.device.output(&map), count(values.len())];
        self.device.launch_over("to_map", map.len(), args);
        map
    }

    /// The reverse of [`Gpu::as_map`].
    fn as_values(&self, map: Tensor) -> Tensor {
        if self.device.executor.map_type() == MapType::F32 {
            return map;
        }
        let values = self.floats(map.len());
        let args = vec![self.device.input(&map), self.device.output(&values), count(map.len())];
        self.device.launch_over("from_map", map.len(), args);
        values
    }

    fn convolve(&self, pass: Pass, layer: &Layer, rows: usize, a: &Tensor, b: &Tensor) -> Tensor {
        let shape = convolution(layer, rows);
        let out = self.map(match pass {
            Pass::Forward => shape.output_len(),
            Pass::WeightGradient => shape.weight_len(),
            Pass::InputGradient => shape.input_len(),
        });
        let bytes = self.device.note(self.device.executor.convolution_scratch(pass, &shape));
        let scratch = self.device.temporary(bytes, 1);
        self.device.run(Op::Convolve {
            pass,
            shape,
            a: self.device.place(a),
            b: self.device.place(b),
            out: self.device.place(&out),
            scratch: (self.device.place(&scratch), bytes),
        });
        out
    }

    pub(crate) fn lower_forward(
        &self,
        layer: &Layer,
        weight: &Tensor,
        bias: &Tensor,
        x: &Tensor,
        rows: usize,
    ) -> ActivityOf<Self> {
        let a = self.convolve(Pass::Forward, layer, rows, x, &self.as_map(weight));
        if layer.block.max_pool.is_none() {
            let args = vec![
                self.device.input(&a),
                self.device.input(bias),
                self.device.output(&a),
                int(layer.conv.channels),
                relu(layer),
                count(a.len()),
            ];
            self.device.launch_over("bias_activate", a.len(), args);
            return Activity { rows, z: a, argmax: Tensor::empty() };
        }
        let z = self.map(rows * layer.output.len());
        let argmax = self.device.temporary(z.len(), 1);
        let mut args =
            vec![self.device.input(&a), self.device.input(bias), self.device.output(&z), self.device.output(&argmax)];
        args.extend(geometry(layer, rows));
        args.push(relu(layer));
        self.device.launch_over("bias_activate_max_pool", z.len(), args);
        Activity { rows, z, argmax }
    }

    pub(crate) fn lower_pool(&self, layer: &Layer, z: &Tensor, rows: usize) -> Tensor {
        let p = self.floats(rows * layer.pooled.len());
        let mut args = vec![self.device.input(z), self.device.output(&p)];
        args.extend(output_geometry(layer, rows));
        args.extend(cells(layer));
        self.device.launch_over("loss_pool", p.len(), args);
        p
    }

    pub(crate) fn lower_spread(&self, layer: &Layer, pooled: &Tensor, rows: usize) -> Tensor {
        let dz = self.map(rows * layer.output.len());
        let mut args = vec![self.device.input(pooled), self.device.output(&dz)];
        args.extend(output_geometry(layer, rows));
        args.extend(cells(layer));
        self.device.launch_over("spread", dz.len(), args);
        dz
    }

    /// The gradient of a convolution's output, from that of the block's maps.
    fn route_maps(&self, layer: &Layer, activity: &ActivityOf<Self>, dz: &Tensor) -> Tensor {
        let da = self.map(activity.rows * layer.conv.len());
        let mut args = vec![
            self.device.input(dz),
            self.device.input(&activity.z),
            self.device.input(&activity.argmax),
            self.device.output(&da),
        ];
        args.extend(geometry(layer, activity.rows));
        args.push(relu(layer));
        self.device.launch_over("route_maps", da.len(), args);
        da
    }

    fn weight_gradient(&self, layer: &Layer, x: &Tensor, da: &Tensor, rows: usize) -> Tensor {
        self.as_values(self.convolve(Pass::WeightGradient, layer, rows, x, da))
    }

    /// Sums each column of `partial`, `[rows, columns]`.
    fn sum_rows(&self, partial: &Tensor, rows: usize) -> Tensor {
        let sum = self.floats(partial.len() / rows);
        let args = vec![self.device.input(partial), self.device.output(&sum), int(rows), int(sum.len())];
        self.device.launch_over("sum_rows", sum.len(), args);
        sum
    }

    pub(crate) fn lower_local_gradient(
        &self,
        layer: &Layer,
        x: &Tensor,
        activity: &ActivityOf<Self>,
        pooled: &Tensor,
    ) -> BlockGradient<Tensor> {
        let rows = activity.rows;
        let da = self.map(rows * layer.conv.len());
        let mut args = vec![
            self.device.input(pooled),
            self.device.input(&activity.z),
            self.device.input(&activity.argmax),
            self.device.output(&da),
        ];
        args.extend(geometry(layer, rows));
        args.extend(cells(layer));
        args.push(relu(layer));
        self.device.launch_over("route_pooled", da.len(), args);
        let weight = self.weight_gradient(layer, x, &da, rows);
        drop(da);
        let bias = if layer.block.bias {
            let partial = self.doubles(rows * layer.output.channels);
            let mut args =
                vec![self.device.input(pooled), self.device.input(&activity.z), self.device.output(&partial)];
            args.extend(output_geometry(layer, rows));
            args.extend(cells(layer));
            args.push(relu(layer));
            self.device.launch("bias_gradient_pooled", [rows, layer.output.channels.div_ceil(CHANNELS), 1], args);
            self.sum_rows(&partial, rows)
        } else {
            Tensor::empty()
        };
        self.average(&weight);
        self.average(&bias);
        BlockGradient { weight, bias }
    }

    pub(crate) fn lower_block_gradient(
        &self,
        layer: &Layer,
        x: &Tensor,
        activity: &ActivityOf<Self>,
        dz: &Tensor,
    ) -> BlockGradient<Tensor> {
        let rows = activity.rows;
        let da = self.route_maps(layer, activity, dz);
        let weight = self.weight_gradient(layer, x, &da, rows);
        let bias = if layer.block.bias {
            let partial = self.doubles(rows * layer.conv.channels);
            let args = vec![
                self.device.input(&da),
                self.device.output(&partial),
                int(rows),
                int(layer.conv.area()),
                int(layer.conv.channels),
            ];
            self.device.launch("bias_gradient_maps", [rows, layer.conv.channels.div_ceil(CHANNELS), 1], args);
            self.sum_rows(&partial, rows)
        } else {
            Tensor::empty()
        };
        self.average(&weight);
        self.average(&bias);
        BlockGradient { weight, bias }
    }

    pub(crate) fn lower_input_gradient(
        &self,
        layer: &Layer,
        weight: &Tensor,
        activity: &ActivityOf<Self>,
        dz: &Tensor,
    ) -> Tensor {
        let da = self.route_maps(layer, activity, dz);
        self.convolve(Pass::InputGradient, layer, activity.rows, &self.as_map(weight), &da)
    }

    /// A kernel from maps to maps of the same size, row by row.
    pub(crate) fn row_wise(&self, kernel: &'static str, z: &Tensor, rows: usize) -> Tensor {
        let out = self.map(z.len());
        let args = vec![self.device.input(z), self.device.output(&out), int(rows), int(z.len() / rows)];
        match kernel {
            "normalise_rows" => self.device.launch(kernel, [rows, 1, 1], args),
            _ => self.device.launch_over(kernel, out.len(), args),
        }
        out
    }
}
