//! `projection.cu`: gradient and step in one, against both of them one after the other, and against the CPU backend.

use super::common::{Device, Draw, assert_close, control, ints, run};
use clapp_engine::backend::cpu::Cpu;
use clapp_engine::backend::{Backend, Parameter};
use clapp_engine::optimizer::{Optimizer, apply};
use clapp_gpu::op::{Arg, MapType};

const RATE: f32 = 0.05;

struct Case {
    rows: usize,
    dimension: usize,
    source: usize,
    q: Vec<f32>,
    c: Vec<f32>,
    b: Parameter<Vec<f32>>,
}

impl Case {
    fn new(number: u64) -> Self {
        let mut draw = Draw::new(40, number);
        // Tiles of 64, rows in stages of 16: below, at and above them.
        let sizes = [1, 2, 5, 63, 64, 65, 68, 100, 130];
        let (rows, dimension, source) =
            (draw.one_of(&[1, 2, 15, 16, 17, 34]), draw.one_of(&sizes), draw.one_of(&sizes));
        let (q, c) = (draw.numbers(rows * dimension), draw.numbers(rows * source));
        let mut numbers = || draw.numbers(dimension * source);
        let (value, first) = (numbers(), numbers());
        let second = numbers().iter().map(|v| v.abs()).collect();
        Self { rows, dimension, source, q, c, b: Parameter { value, first, second } }
    }

    fn parameter(&self) -> Parameter<Vec<f32>> {
        let Parameter { value, first, second } = &self.b;
        Parameter { value: value.clone(), first: first.clone(), second: second.clone() }
    }

    /// `Q^T C` in single precision, row after row of the batch.
    fn gradient(&self) -> Vec<f32> {
        let mut gradient = vec![0.0; self.dimension * self.source];
        for (q, c) in self.q.chunks(self.dimension).zip(self.c.chunks(self.source)) {
            for (gradient, q) in gradient.chunks_mut(self.source).zip(q) {
                for (gradient, c) in gradient.iter_mut().zip(c) {
                    *gradient += q * c;
                }
            }
        }
        gradient
    }

    fn launch(&self, device: &Device, optimizer: &Optimizer, step: u64, stopped: i32) -> Vec<Vec<f64>> {
        let [beta1, beta2] = match *optimizer {
            Optimizer::AdamW { beta1, beta2, .. } => [beta1, beta2],
            _ => [0.0; 2],
        };
        let control = device.bytes(&control(step - 1, RATE, [f32::NAN; 2], stopped));
        device.launch("tick", [1, 1], vec![control.in_out(), Arg::F32(beta1), Arg::F32(beta2)]);
        let (q, c) = (device.f32s(&self.q), device.f32s(&self.c));
        let [b, m, v] = [&self.b.value, &self.b.first, &self.b.second].map(|values| device.f32s(values));
        let grid = [self.source.div_ceil(64), self.dimension.div_ceil(64)];
        let sizes = ints([self.rows, self.dimension, self.source]);
        let launch = |kernel, middle: Vec<Arg<u64>>, settings: &[f32]| {
            let mut args = vec![q.input(), c.input()];
            args.extend(middle);
            args.extend(sizes);
            args.extend(settings.iter().map(|value| Arg::F32(*value)));
            device.launch_tiled(kernel, grid, args);
        };
        match *optimizer {
            Optimizer::Sgd { momentum: 0.0, weight_decay, .. } => {
                launch("outer_sgd", vec![b.in_out(), control.input()], &[weight_decay]);
            }
            Optimizer::Sgd { momentum, weight_decay, .. } => {
                let middle = vec![b.in_out(), m.in_out(), Arg::Null, control.input()];
                launch("outer_momentum", middle, &[momentum, weight_decay]);
            }
            Optimizer::AdamW { beta1, beta2, eps, weight_decay, .. } => {
                let middle = vec![b.in_out(), m.in_out(), v.in_out(), control.input()];
                launch("outer_adamw", middle, &[beta1, beta2, eps, weight_decay]);
            }
            Optimizer::Lars { momentum, weight_decay, trust, .. } => {
                let tiles = grid[0] * grid[1];
                let (partial, scale) = (device.empty(16 * tiles), device.empty(4));
                launch("outer_norms", vec![b.input(), partial.out()], &[weight_decay]);
                let args = vec![partial.input(), scale.out(), Arg::F32(trust), ints([tiles])[0]];
                device.launch("lars_scale", [1, 1], args);
                let middle = vec![b.in_out(), m.in_out(), scale.input(), control.input()];
                launch("outer_momentum", middle, &[momentum, weight_decay]);
            }
        }
        [b, m, v].map(|buffer| device.get_f32s(buffer)).to_vec()
    }
}

fn optimizers() -> [Optimizer; 4] {
    let (lr, weight_decay) = (RATE, 0.01);
    [
        Optimizer::Sgd { lr, momentum: 0.0, weight_decay },
        Optimizer::Sgd { lr, momentum: 0.9, weight_decay },
        Optimizer::AdamW { lr, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay },
        Optimizer::Lars { lr, momentum: 0.9, weight_decay, trust: 0.02 },
    ]
}

#[test]
fn gradient_and_step_in_one() {
    for number in 0..40 {
        let mut case = Case::new(number);
        if number % 5 == 3 {
            let at = case.q.len() / 2;
            case.q[at] = if number % 2 == 0 { f32::NAN } else { f32::INFINITY };
        }
        let optimizer = optimizers()[(number % 4) as usize];
        let step = 1 + number % 3;
        let Some(found) = run(MapType::F32, |device| case.launch(device, &optimizer, step, 0)) else { return };
        // One after the other: the same bits, but for the scale of LARS, whose sums run in another order.
        let mut plain = case.parameter();
        apply(&optimizer, step, &mut plain.value, &mut plain.first, &mut plain.second, &case.gradient());
        let relative = if optimizer.is_elementwise() { 0.0 } else { 1e-6 };
        // The CPU's product sums in another order.
        let mut cpu = case.parameter();
        Cpu.update_projection(&case.q, &case.c, case.rows, &mut cpu, &optimizer, step);
        let what = format!("{optimizer:?}, {} rows, {}x{}", case.rows, case.dimension, case.source);
        for (expected, relative) in [(plain, relative), (cpu, 1e-5)] {
            assert_close(&what, &found[0], &expected.value, relative, relative);
            assert_close(&what, &found[1], &expected.first, relative, relative);
            assert_close(&what, &found[2], &expected.second, relative, relative);
        }
    }
}

#[test]
fn nothing_moves_once_training_has_stopped() {
    for (number, optimizer) in optimizers().iter().enumerate() {
        let case = Case::new(100 + number as u64);
        let Some(found) = run(MapType::F32, |device| case.launch(device, optimizer, 1, 1)) else { return };
        assert_close("b", &found[0], &case.b.value, 0.0, 0.0);
        assert_close("m", &found[1], &case.b.first, 0.0, 0.0);
        assert_close("v", &found[2], &case.b.second, 0.0, 0.0);
    }
}
