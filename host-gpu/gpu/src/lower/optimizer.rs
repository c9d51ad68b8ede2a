//! Steps of the optimisers, some tensors in one launch; a projection's gradient is made and stepped tile by tile.

use super::{count, int};
use crate::executor::Executor;
use crate::memory::{Place, Tensor};
use crate::op::Arg;
use crate::{CONTROL_BYTES, Gpu};
use clapp_engine::backend::Parameter;
use clapp_engine::optimizer::Optimizer;

/// Tensors of one launch.
const TOGETHER: usize = 4;

/// Edge of a projection's tile.
const TILE: usize = 64;

/// Blocks that measure a tensor's norm.
const NORM_BLOCKS: usize = 256;

impl<E: Executor + 'static> Gpu<E> {
    /// Number of the step, learning rate and corrections for an optimiser, where no program writes them.
    fn set_control(&self, optimizer: &Optimizer, step: u64) {
        if self.device.is_recording() {
            return;
        }
        let [beta1, beta2] = betas(optimizer);
        let exponent = i32::try_from(step).unwrap_or(i32::MAX);
        let correction1 = (1.0 - f64::from(beta1).powi(exponent)) as f32;
        let correction2 = (1.0 - f64::from(beta2).powi(exponent)).sqrt() as f32;
        let mut bytes = Vec::with_capacity(CONTROL_BYTES);
        bytes.extend_from_slice(&step.to_ne_bytes());
        bytes.extend_from_slice(&0_u64.to_ne_bytes());
        for value in [optimizer.learning_rate(), correction1, correction2] {
            bytes.extend_from_slice(&value.to_ne_bytes());
        }
        bytes.extend_from_slice(&0_i32.to_ne_bytes());
        self.device.write(&self.control, &bytes);
    }

    /// Gives a parameter the moments that the optimiser keeps, at zero, where it does not have them yet.
    pub(crate) fn ensure_state(&self, parameter: &mut Parameter<Tensor>, optimizer: &Optimizer) {
        let len = parameter.value.len();
        let moments = [(&mut parameter.first, optimizer.has_first()), (&mut parameter.second, optimizer.has_second())];
        for (moment, has) in moments {
            if has && moment.len() != len {
                *moment = self.device.fixed(len, size_of::<f32>());
                self.device.zero_now(moment);
            }
        }
    }

    pub(crate) fn lower_update(
        &self,
        tensors: &mut [(&mut Parameter<Tensor>, &Tensor)],
        optimizer: &Optimizer,
        step: u64,
    ) {
        self.set_control(optimizer, step);
        for (parameter, _) in tensors.iter_mut() {
            self.ensure_state(parameter, optimizer);
        }
        let present: Vec<_> = tensors.iter().filter(|(parameter, _)| !parameter.value.is_empty()).collect();
        for group in present.chunks(TOGETHER) {
            let mut args = Vec::new();
            // Kept until they are used.
            let scales: Vec<Tensor> =
                group.iter().map(|(parameter, gradient)| self.scale(&parameter.value, gradient, optimizer)).collect();
            for ((parameter, gradient), scale) in group.iter().zip(&scales) {
                args.extend(self.group(parameter, gradient, scale, optimizer));
            }
            let width = args.len() / group.len();
            for _ in group.len()..TOGETHER {
                args.extend(std::iter::repeat_n(Arg::Null, width - 1));
                args.push(count(0));
            }
            args.push(self.device.input(&self.control));
            let kernel = match *optimizer {
                Optimizer::Sgd { momentum: 0.0, weight_decay, .. } => {
                    args.push(Arg::F32(weight_decay));
                    "sgd4"
                }
                Optimizer::Sgd { momentum, weight_decay, .. } | Optimizer::Lars { momentum, weight_decay, .. } => {
                    args.extend([Arg::F32(momentum), Arg::F32(weight_decay)]);
                    "momentum4"
                }
                Optimizer::AdamW { beta1, beta2, eps, weight_decay, .. } => {
                    args.extend([beta1, beta2, eps, weight_decay].map(Arg::F32));
                    "adamw4"
                }
            };
            let largest = group.iter().map(|(parameter, _)| parameter.value.len()).max().unwrap_or(0);
            self.device.launch_over(kernel, largest, args);
        }
    }

    /// One tensor's arguments.
    fn group(
        &self,
        parameter: &Parameter<Tensor>,
        gradient: &Tensor,
        scale: &Tensor,
        optimizer: &Optimizer,
    ) -> Vec<Arg<Place>> {
        let Parameter { value, first, second } = parameter;
        let mut args = vec![self.device.both(value)];
        match optimizer {
            Optimizer::Sgd { momentum: 0.0, .. } => args.push(self.device.input(gradient)),
            Optimizer::Sgd { .. } | Optimizer::Lars { .. } => {
                args.extend([self.device.both(first), self.device.input(gradient), self.device.input(scale)]);
            }
            Optimizer::AdamW { .. } => {
                args.extend([self.device.both(first), self.device.both(second), self.device.input(gradient)]);
            }
        }
        args.push(count(value.len()));
        args
    }

    /// The factor of a tensor's gradient; empty for 1.
    fn scale(&self, value: &Tensor, gradient: &Tensor, optimizer: &Optimizer) -> Tensor {
        let Optimizer::Lars { weight_decay, trust, .. } = *optimizer else { return Tensor::empty() };
        let blocks = value.len().div_ceil(1024).min(NORM_BLOCKS);
        let partial = self.doubles(2 * blocks);
        let args = vec![
            self.device.input(value),
            self.device.input(gradient),
            self.device.output(&partial),
            Arg::F32(weight_decay),
            count(value.len()),
        ];
        self.device.launch("lars_partial", [blocks, 1, 1], args);
        self.finish_scale(&partial, trust)
    }

    fn finish_scale(&self, partial: &Tensor, trust: f32) -> Tensor {
        let scale = self.floats(1);
        let args =
            vec![self.device.input(partial), self.device.output(&scale), Arg::F32(trust), int(partial.len() / 2)];
        self.device.launch("lars_scale", [1, 1, 1], args);
        scale
    }

    pub(crate) fn lower_update_projection(
        &self,
        errors: &Tensor,
        c: &Tensor,
        rows: usize,
        projection: &mut Parameter<Tensor>,
        optimizer: &Optimizer,
        step: u64,
    ) {
        self.set_control(optimizer, step);
        self.ensure_state(projection, optimizer);
        let (errors, c, rows) = self.of_all(errors, c, rows);
        let (dimension, source) = (errors.len() / rows, c.len() / rows);
        let grid = [source.div_ceil(TILE), dimension.div_ceil(TILE), 1];
        let sizes = [int(rows), int(dimension), int(source)];
        let Parameter { value, first, second } = projection;
        let operands = || vec![self.device.input(&errors), self.device.input(&c)];
        let mut args = operands();
        match *optimizer {
            Optimizer::Sgd { momentum: 0.0, weight_decay, .. } => {
                args.extend([self.device.both(value), self.device.input(&self.control)]);
                args.extend(sizes);
                args.push(Arg::F32(weight_decay));
                self.device.launch("outer_sgd", grid, args);
            }
            Optimizer::Sgd { momentum, weight_decay, .. } => {
                args.extend([self.device.both(value), self.device.both(first), Arg::Null]);
                args.push(self.device.input(&self.control));
                args.extend(sizes);
                args.extend([momentum, weight_decay].map(Arg::F32));
                self.device.launch("outer_momentum", grid, args);
            }
            Optimizer::Lars { momentum, weight_decay, trust, .. } => {
                // The gradient is made twice: to be measured, and to be stepped. It is still cheaper than writing it.
                let partial = self.doubles(2 * grid[0] * grid[1]);
                let mut norms = operands();
                norms.extend([self.device.input(value), self.device.output(&partial)]);
                norms.extend(sizes);
                norms.push(Arg::F32(weight_decay));
                self.device.launch("outer_norms", grid, norms);
                let scale = self.finish_scale(&partial, trust);
                args.extend([self.device.both(value), self.device.both(first), self.device.input(&scale)]);
                args.push(self.device.input(&self.control));
                args.extend(sizes);
                args.extend([momentum, weight_decay].map(Arg::F32));
                self.device.launch("outer_momentum", grid, args);
            }
            Optimizer::AdamW { beta1, beta2, eps, weight_decay, .. } => {
                args.extend([self.device.both(value), self.device.both(first), self.device.both(second)]);
                args.push(self.device.input(&self.control));
                args.extend(sizes);
                args.extend([beta1, beta2, eps, weight_decay].map(Arg::F32));
                self.device.launch("outer_adamw", grid, args);
            }
        }
    }
}

/// Decays of the moments; 0 where the optimiser corrects none.
pub(crate) fn betas(optimizer: &Optimizer) -> [f32; 2] {
    match *optimizer {
        Optimizer::AdamW { beta1, beta2, .. } => [beta1, beta2],
        Optimizer::Sgd { .. } | Optimizer::Lars { .. } => [0.0, 0.0],
    }
}
