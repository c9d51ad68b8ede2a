//! `optimizer.cu` against the host's optimisers: several tensors at once, empty ones, odd places in memory.

use super::common::{Buffer, Device, Draw, assert_close, assert_close_f64, control, ints, run};
use clapp_engine::optimizer::{Optimizer, apply};
use clapp_gpu::op::{Arg, MapType};

const RATE: f32 = 0.05;

/// A tensor with its moments and its gradient.
#[derive(Clone)]
struct Tensor {
    value: Vec<f32>,
    first: Vec<f32>,
    second: Vec<f32>,
    gradient: Vec<f32>,
    /// Which of the four begins where no four elements can be read at once.
    askew: Option<usize>,
}

impl Tensor {
    fn new(draw: &mut Draw, len: usize, askew: Option<usize>) -> Self {
        let [value, first, second, gradient] = [0; 4].map(|_| draw.numbers(len));
        Self { value, first, second: second.iter().map(|v| v.abs()).collect(), gradient, askew }
    }

    fn stepped(mut self, optimizer: &Optimizer, step: u64) -> [Vec<f32>; 3] {
        apply(optimizer, step, &mut self.value, &mut self.first, &mut self.second, &self.gradient);
        [self.value, self.first, self.second]
    }
}

/// Four tensors on a device.
struct Placed<'a> {
    device: &'a Device,
    buffers: Vec<[Buffer; 4]>,
}

impl<'a> Placed<'a> {
    fn new(device: &'a Device, tensors: &[Tensor]) -> Self {
        let place = |values: &[f32], askew: bool| {
            if !askew {
                return device.f32s(values);
            }
            let whole = device.f32s(&[&[7.0], values].concat());
            Buffer { address: whole.address + 4, bytes: whole.bytes - 4 }
        };
        let buffers = tensors.iter().map(|Tensor { value, first, second, gradient, askew }| {
            let mut which = 0..4;
            [value, first, second, gradient].map(|values| place(values, which.next() == *askew))
        });
        Self { device, buffers: buffers.collect() }
    }

    /// `GROUP x4` of a kernel that keeps so many moments; `scales` where it takes some.
    fn groups(&self, moments: usize, scales: Option<&[Arg<u64>]>) -> Vec<Arg<u64>> {
        let mut args = Vec::new();
        for (index, [value, first, second, gradient]) in self.buffers.iter().enumerate() {
            let present = value.bytes > 0;
            let one = |arg: Arg<u64>| if present { arg } else { Arg::Null };
            args.push(one(value.in_out()));
            args.extend([first, second][..moments].iter().map(|moment| one(moment.in_out())));
            args.push(one(gradient.input()));
            args.extend(scales.map(|scales| scales[index]));
            args.push(Arg::U64((value.bytes / 4) as u64));
        }
        args
    }

    /// All values and moments.
    fn read(&self) -> Vec<Vec<f64>> {
        self.buffers
            .iter()
            .flat_map(|buffers| buffers[..3].iter().map(|buffer| self.device.get_f32s(*buffer)))
            .collect()
    }
}

fn control_of(device: &Device, optimizer: &Optimizer, step: u64, stopped: i32) -> Buffer {
    let [beta1, beta2] = match *optimizer {
        Optimizer::AdamW { beta1, beta2, .. } => [beta1, beta2],
        _ => [0.0, 0.0],
    };
    let buffer = device.bytes(&control(step - 1, RATE, [f32::NAN; 2], stopped));
    device.launch("tick", [1, 1], vec![buffer.in_out(), Arg::F32(beta1), Arg::F32(beta2)]);
    buffer
}

fn launch(device: &Device, placed: &Placed<'_>, optimizer: &Optimizer, step: u64, stopped: i32) {
    let control = control_of(device, optimizer, step, stopped);
    let (kernel, mut args, settings) = match *optimizer {
        Optimizer::Sgd { momentum: 0.0, weight_decay, .. } => ("sgd4", placed.groups(0, None), vec![weight_decay]),
        Optimizer::Sgd { momentum, weight_decay, .. } => {
            ("momentum4", placed.groups(1, Some(&[Arg::Null; 4])), vec![momentum, weight_decay])
        }
        Optimizer::AdamW { beta1, beta2, eps, weight_decay, .. } => {
            ("adamw4", placed.groups(2, None), vec![beta1, beta2, eps, weight_decay])
        }
        Optimizer::Lars { momentum, weight_decay, trust, .. } => {
            let scales = placed.buffers.iter().map(|[value, _, _, gradient]| {
                if value.bytes == 0 {
                    return Arg::Null;
                }
                let (partial, scale) = (device.empty(16 * 5), device.empty(4));
                let mut args = vec![value.input(), gradient.input(), partial.out(), Arg::F32(weight_decay)];
                args.push(Arg::U64((value.bytes / 4) as u64));
                device.launch("lars_partial", [5, 1], args);
                let args = vec![partial.input(), scale.out(), Arg::F32(trust), Arg::I32(5)];
                device.launch("lars_scale", [1, 1], args);
                scale.input()
            });
            ("momentum4", placed.groups(1, Some(&scales.collect::<Vec<_>>())), vec![momentum, weight_decay])
        }
    };
    args.push(control.input());
    args.extend(settings.into_iter().map(Arg::F32));
    device.launch(kernel, [2, 1], args);
}

fn optimizers() -> Vec<Optimizer> {
    let (lr, weight_decay) = (RATE, 0.01);
    vec![
        Optimizer::Sgd { lr, momentum: 0.0, weight_decay },
        Optimizer::Sgd { lr, momentum: 0.9, weight_decay },
        Optimizer::AdamW { lr, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay },
        Optimizer::AdamW { lr, beta1: 0.0, beta2: 0.5, eps: 1e-3, weight_decay: 0.0 },
        Optimizer::Lars { lr, momentum: 0.9, weight_decay, trust: 0.02 },
    ]
}

fn tensors(draw: &mut Draw) -> Vec<Tensor> {
    let lens = [draw.one_of(&[1, 3, 64]), 0, draw.between(1, 3000), draw.between(1, 9)];
    lens.map(|len| {
        let askew = draw.0.chance(0.5).then(|| draw.0.below(4));
        Tensor::new(draw, len, askew)
    })
    .to_vec()
}

#[test]
fn steps_of_four_tensors() {
    for (number, optimizer) in optimizers().into_iter().cycle().take(20).enumerate() {
        let mut draw = Draw::new(30, number as u64);
        let mut tensors = tensors(&mut draw);
        if number % 3 == 0 {
            let at = draw.0.below(tensors[2].gradient.len());
            tensors[2].gradient[at] = f32::NAN;
        }
        if number % 4 == 0 {
            // Nothing for LARS to scale by.
            tensors[0].value.fill(0.0);
        }
        let step = draw.one_of(&[1, 2, 17, 2000]);
        let Some(found) = run(MapType::F32, |device| {
            let placed = Placed::new(device, &tensors);
            launch(device, &placed, &optimizer, step, 0);
            placed.read()
        }) else {
            return;
        };
        // A scale of LARS may differ in its last bit: the sums behind it run in another order.
        let relative = if optimizer.is_elementwise() { 0.0 } else { 1e-6 };
        let expected = tensors.into_iter().flat_map(|tensor| tensor.stepped(&optimizer, step));
        for (found, expected) in found.iter().zip(expected) {
            assert_close(&format!("{optimizer:?}, step {step}"), found, &expected, relative, relative);
        }
    }
}

#[test]
fn nothing_moves_once_training_has_stopped() {
    for (number, optimizer) in optimizers().into_iter().enumerate() {
        let tensors = tensors(&mut Draw::new(31, number as u64));
        let Some(found) = run(MapType::F32, |device| {
            let placed = Placed::new(device, &tensors);
            launch(device, &placed, &optimizer, 3, 1);
            placed.read()
        }) else {
            return;
        };
        let before = tensors.into_iter().flat_map(|tensor| [tensor.value, tensor.first, tensor.second]);
        for (found, before) in found.iter().zip(before) {
            assert_close("as before", found, &before, 0.0, 0.0);
        }
    }
}

#[test]
fn a_step_begins_with_its_number_and_corrections() {
    let Some(found) = run(MapType::F32, |device| {
        let control = device.bytes(&control(0, 0.25, [f32::NAN; 2], 0));
        let mut results = Vec::new();
        for _ in 0..3 {
            device.launch("tick", [1, 1], vec![control.in_out(), Arg::F32(0.9), Arg::F32(0.999)]);
            let bytes = device.read(control);
            let words: Vec<u64> = bytes[..16].as_chunks().0.iter().map(|eight| u64::from_ne_bytes(*eight)).collect();
            let floats = bytes[16..28].as_chunks().0.iter().map(|four| f64::from(f32::from_ne_bytes(*four)));
            results.push(words.iter().map(|word| *word as f64).chain(floats).collect());
        }
        results
    }) else {
        return;
    };
    for (index, found) in found.iter().enumerate() {
        let step = index as i32 + 1;
        let first = (1.0 - f64::from(0.9_f32).powi(step)) as f32;
        let second = (1.0 - f64::from(0.999_f32).powi(step)).sqrt() as f32;
        let expected = [f64::from(step), f64::from(step + 40), 0.25, f64::from(first), f64::from(second)];
        assert_close_f64("control", found, &expected, 0.0, 0.0);
    }
}

#[test]
fn reports_go_round_in_their_ring() {
    let Some(found) = run(MapType::F32, |device| {
        let ring = device.f64s(&[0.0; 6]);
        for step in 1..=4 {
            let report = device.f64s(&[f64::from(step), f64::NAN]);
            let control = device.bytes(&control(step as u64, 0.1, [1.0; 2], 0));
            let mut args = vec![report.input(), ring.in_out(), control.input()];
            args.extend(ints([2, 3]));
            device.launch("append_report", [1, 1], args);
        }
        vec![device.get_f64s(ring)]
    }) else {
        return;
    };
    assert_close_f64("ring", &found[0], &[4.0, f64::NAN, 2.0, f64::NAN, 3.0, f64::NAN], 0.0, 0.0);
}
