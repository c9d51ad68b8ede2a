//! The CPU backend's convolutions against the defining sums in double precision, on random shapes: those that go by
//! tiles (3x3 kernels of stride 1 with many channels) and those that go by windows.

use clapp_core::network::{Block, LossPool, Rule};
use clapp_core::plan::Layer;
use clapp_core::shape::Shape;
use clapp_data::rng::{Purpose, stream};
use clapp_engine::backend::cpu::Cpu;
use clapp_engine::backend::{Activity, Backend};
use clapp_engine::rules::local_network;
use proptest::prelude::*;

/// A block, its parameters, some frames, and a gradient of its outputs.
struct Case {
    layer: Layer,
    rows: usize,
    x: Vec<f32>,
    weight: Vec<f32>,
    bias: Vec<f32>,
    dz: Vec<f32>,
}

/// What a block computes, by its definition.
struct Plain {
    z: Vec<f64>,
    dw: Vec<f64>,
    db: Vec<f64>,
    dx: Vec<f64>,
}

fn case(input: Shape, block: Block, rows: usize, seed: u64) -> Case {
    let spec = local_network(input, vec![block], Rule::clapp_pp()).expect("a network");
    let layer = spec.layers()[0];
    let mut rng = stream(seed, Purpose::Other(77), 0, 0);
    let mut numbers = |count: usize| (0..count).map(|_| rng.uniform(-1.0, 1.0)).collect::<Vec<f32>>();
    Case {
        layer,
        rows,
        x: numbers(rows * input.len()),
        weight: numbers(layer.weight_len()),
        bias: numbers(layer.bias_len()),
        dz: numbers(rows * layer.output.len()),
    }
}

/// Everything in `f64`, `[row, channel, y, x]` and `[out, in, ky, kx]`; the gradient goes to where `argmax` says,
/// and through the neurons that answer.
fn plain(case: &Case, argmax: &[u8], answers: &[bool]) -> Plain {
    let Case { layer, rows, x, weight, bias, dz } = case;
    let Layer { block, input, conv, output, .. } = layer;
    let [kernel_h, kernel_w] = block.kernel;
    let mut out = Plain {
        z: vec![f64::NEG_INFINITY; rows * output.len()],
        dw: vec![0.0; weight.len()],
        db: vec![0.0; block.out_channels],
        dx: vec![0.0; x.len()],
    };
    let [pool_h, pool_w] = block.max_pool.unwrap_or([1, 1]);
    for row in 0..*rows {
        for (o, (bias, db)) in bias.iter().zip(&mut out.db).enumerate() {
            for cy in 0..conv.height {
                for cx in 0..conv.width {
                    let (py, px) = (cy / pool_h, cx / pool_w);
                    if py >= output.height || px >= output.width {
                        continue;
                    }
                    let taps = || {
                        (0..input.channels).flat_map(move |c| {
                            (0..kernel_h * kernel_w).filter_map(move |k| {
                                let y = (cy * block.stride[0] + k / kernel_w).checked_sub(block.padding[0])?;
                                let x = (cx * block.stride[1] + k % kernel_w).checked_sub(block.padding[1])?;
                                let inside = y < input.height && x < input.width;
                                inside.then_some((
                                    ((o * input.channels + c) * kernel_h * kernel_w) + k,
                                    ((row * input.channels + c) * input.height + y) * input.width + x,
                                ))
                            })
                        })
                    };
                    let sum: f64 = taps().map(|(w, at)| f64::from(weight[w]) * f64::from(x[at])).sum();
                    let a = (sum + f64::from(*bias)).max(0.0);
                    let at = ((row * block.out_channels + o) * output.height + py) * output.width + px;
                    out.z[at] = out.z[at].max(a);
                    let within = (cy % pool_h) * pool_w + cx % pool_w;
                    let chosen = block.max_pool.is_none() || usize::from(argmax[at]) == within;
                    if chosen && answers[at] {
                        let da = f64::from(dz[at]);
                        *db += da;
                        for (w, at) in taps() {
                            out.dw[w] += da * f64::from(x[at]);
                            out.dx[at] += da * f64::from(weight[w]);
                        }
                    }
                }
            }
        }
    }
    out
}

fn apart(got: &[f32], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len());
    let size = want.iter().fold(1e-3_f64, |most, want| most.max(want.abs()));
    got.iter().zip(want).fold(0.0, |worst, (got, want)| f64::max(worst, (f64::from(*got) - want).abs())) / size
}

fn check(case: &Case) {
    let Case { layer, rows, .. } = case;
    let weight = Cpu.upload_weights(layer, &case.weight);
    let bias = Cpu.upload(&case.bias);
    let x = Cpu.upload_frames(layer.input, &case.x);
    let Activity { rows, z, argmax } = Cpu.forward(layer, &weight, &bias, &x, *rows);
    // Places as the definition above counts them: channel-major.
    let by_channel = |values: &[u8]| {
        let wide: Vec<f32> = values.iter().map(|value| f32::from(*value)).collect();
        let wide = Cpu.download_frames(layer.output, &wide);
        wide.iter().map(|value| *value as u8).collect::<Vec<u8>>()
    };
    // Close to the kink of the ReLU both sides are right; a neuron answers if the backend says so.
    let outputs = Cpu.download_frames(layer.output, &z);
    let answers: Vec<bool> = outputs.iter().map(|z| *z > 0.0).collect();
    let want = plain(case, &by_channel(&argmax), &answers);
    assert!(apart(&outputs, &want.z) < 2e-6, "outputs");
    let activity = Activity { rows, z, argmax };
    let dz = Cpu.upload_frames(layer.output, &case.dz);
    let gradient = Cpu.block_gradient(layer, &x, &activity, &dz);
    assert!(apart(&Cpu.download_weights(layer, &gradient.weight), &want.dw) < 2e-6, "gradient of the weights");
    assert!(apart(&gradient.bias, &want.db) < 2e-6, "gradient of the biases");
    let dx = Cpu.input_gradient(layer, &weight, &activity, &dz);
    assert!(apart(&Cpu.download_frames(layer.input, &dx), &want.dx) < 2e-6, "gradient of the input");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn by_tiles(
        (channels, out) in (16_usize..40, 16_usize..40),
        (height, width) in (2_usize..11, 2_usize..11),
        padding in [0_usize..3, 0_usize..3],
        pool in any::<bool>(),
        rows in 1_usize..5,
        seed in any::<u64>(),
    ) {
        let (conv_h, conv_w) = (height + 2 * padding[0], width + 2 * padding[1]);
        prop_assume!(conv_h >= 4 && conv_w >= 4);
        let mut block = Block::conv(out, [3, 3]).padding(padding).loss_pool(LossPool::Global);
        if pool {
            block = block.max_pool([2, 2]);
        }
        check(&case(Shape::new(channels, height, width), block, rows, seed));
    }

    #[test]
    fn by_windows(
        (channels, out) in (1_usize..20, 1_usize..20),
        (height, width) in (2_usize..9, 2_usize..9),
        kernel in [1_usize..4, 1_usize..4],
        stride in [1_usize..3, 1_usize..3],
        rows in 1_usize..5,
        seed in any::<u64>(),
    ) {
        prop_assume!(kernel[0] <= height && kernel[1] <= width);
        let block = Block::conv(out, kernel).stride(stride).loss_pool(LossPool::Global);
        check(&case(Shape::new(channels, height, width), block, rows, seed));
    }
}

/// The groups of frames that share threads, and weights enough for it.
#[test]
fn many_channels_and_frames() {
    for (channels, out, size, rows) in [(144, 240, 4, 70), (40, 64, 10, 11)] {
        let block = Block::conv(out, [3, 3]).padding([1, 1]).max_pool([2, 2]).loss_pool(LossPool::Global);
        check(&case(Shape::new(channels, size, size), block, rows, 3));
    }
}
