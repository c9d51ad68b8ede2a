//! Measures the 3x3 convolution and its weight gradient by themselves, at several sizes.
#![no_std]
#![no_main]

use clapp_core::conv::{self, FilterSink, PooledGradient};
use clapp_core::network::{Activation, Block, LossPool, NetworkView, Rule};
use clapp_core::rng;
use clapp_core::shape::Shape;
use clapp_firmware::cost;
use clapp_firmware::cost::measure::Counter;
use core::hint::black_box;
use cortex_m_rt::entry;
use semihosting::println;

/// Channels of input and output, height and width of both maps.
const SIZES: [(usize, usize); 6] = [(16, 32), (16, 16), (16, 8), (32, 16), (32, 8), (32, 4)];

/// The largest map, of 16 channels of 32x32.
const MAP: usize = 16 * 32 * 32;

struct Buffers {
    input: [f32; MAP],
    output: [f32; MAP],
    weights: [f32; 32 * 32 * 9],
    bias: [f32; 32],
    error: [f32; MAP / 4],
    argmax: [u8; MAP / 4],
    scratch: [f32; 4096],
}

/// Takes a gradient, and does nothing with it.
struct Sink;

impl FilterSink for Sink {
    fn filter(&mut self, _: usize, gradient: &[f32], bias: f32) {
        black_box((gradient, bias));
    }
}

#[entry]
fn main() -> ! {
    static mut BUFFERS: Buffers = Buffers {
        input: [0.0; MAP],
        output: [0.0; MAP],
        weights: [0.0; 32 * 32 * 9],
        bias: [0.0; 32],
        error: [0.0; MAP / 4],
        argmax: [0; MAP / 4],
        scratch: [0.0; 4096],
    };
    let Some(peripherals) = cortex_m::Peripherals::take() else { semihosting::process::exit(1) };
    let mut counter = Counter::new(peripherals.SYST);
    cost::calibrate(&mut counter);
    let mut random = rng::stream(1, 1);
    for values in [&mut BUFFERS.input[..], &mut BUFFERS.weights, &mut BUFFERS.bias, &mut BUFFERS.error] {
        values.iter_mut().for_each(|value| *value = random.uniform(-1.0, 1.0));
    }
    for (channels, side) in SIZES {
        measure(&mut counter, BUFFERS, channels, side);
    }
    semihosting::process::exit(0)
}

/// Forward without max-pool; gradient of an error that is zero nowhere, and of one behind ReLU and a 2x2 max-pool.
fn measure(counter: &mut Counter, buffers: &mut Buffers, channels: usize, side: usize) {
    let block = Block::conv(channels, [3, 3]).padding([1, 1]);
    let shape = Shape::new(channels, side, side);
    let dense = block.activation(Activation::Identity).loss_pool(LossPool::Block([2, 2]));
    let sparse = block.max_pool([2, 2]);
    for (name, block) in [("dense", dense), ("sparse", sparse)] {
        let blocks = [block];
        let Ok(network) = NetworkView::try_new(shape, &blocks, Rule::clapp_pp()) else { return };
        let Some(layer) = network.layer(0) else { return };
        let Buffers { input, output, weights, bias, error, argmax, scratch } = &mut *buffers;
        let (weights, bias) = (&weights[..layer.weight_len()], &bias[..layer.bias_len()]);
        let (input, output) = (&input[..layer.input.len()], &mut output[..layer.output.len()]);
        let argmax = &mut argmax[..network.argmax_len()];
        let (forward, finite) = counter.count(|| conv::forward(&layer, weights, bias, input, output, argmax, scratch));
        let pooled = PooledGradient { value: &error[..layer.pooled.len()], remainder: &[] };
        let (gradient, ()) =
            counter.count(|| conv::weight_gradient(&layer, input, output, argmax, pooled, scratch, &mut Sink));
        // Every error but those of silent neurons, each once per weight of its filter.
        let errors = if name == "dense" { output.len() } else { output.iter().filter(|value| **value > 0.0).count() };
        let case = |what: &str, value: Option<u64>| {
            if let Some(value) = value {
                println!("{name}_{channels}_{side}_{what}={value}");
            }
        };
        case("macs", Some(layer.macs()));
        case("errors_macs", Some((errors * layer.fan_in()) as u64));
        case("forward", forward.filter(|_| finite));
        case("gradient", gradient);
    }
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    cost::panicked(info)
}
