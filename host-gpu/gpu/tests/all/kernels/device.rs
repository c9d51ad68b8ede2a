//! The emulated device itself: its convolutions and products against the CPU's, and what it refuses.

use super::common::{Device, Draw, as_maps, assert_close, layer_of, run};
use clapp_core::network::Activation;
use clapp_core::network::Block;
use clapp_core::shape::Shape;
use clapp_engine::backend::cpu::Cpu;
use clapp_engine::backend::{ActivityOf, Backend};
use clapp_gpu::emulated::{Emulated, Settings, from_bf16, to_bf16};
use clapp_gpu::executor::{Executor, GpuError};
use clapp_gpu::op::{Arg, Collective, Convolution, MapType, Op, Pass, Product};

fn convolve(device: &Device, pass: Pass, shape: &Convolution, a: &[f32], b: &[f32], out: usize) -> Vec<f64> {
    let (a, b, out) = (device.maps(a), device.maps(b), device.empty_maps(out));
    let scratch = device.empty(device.gpu.convolution_scratch(pass, shape).expect("scratch"));
    let (a, b, at) = (a.address, b.address, out.address);
    let scratch = (scratch.address, scratch.bytes);
    device.gpu.run(&Op::Convolve { pass, shape: *shape, a, b, out: at, scratch }).expect("a convolution");
    device.get_maps(out)
}

/// `[kh, kw, in, out]` to `[out, kh, kw, in]`.
fn filters_first(weight: &[f32], out_channels: usize) -> Vec<f32> {
    (0..out_channels).flat_map(|out| weight.iter().copied().skip(out).step_by(out_channels)).collect()
}

#[test]
fn convolutions_are_those_of_the_cpu() {
    for case in 0..24 {
        let mut draw = Draw::new(100, case);
        let maps = draw.one_of(&[MapType::F32, MapType::Bf16]);
        let (height, width) = (draw.between(3, 8), draw.between(3, 8));
        let [kernel, stride, padding] = [3, 3, 2].map(|most| [draw.between(1, most), draw.between(1, most)]);
        let padding = [padding[0] - 1, padding[1] - 1];
        let block = Block::conv(draw.between(1, 6), kernel).stride(stride).padding(padding).without_bias();
        let block = block.activation(Activation::Identity);
        let layer = layer_of(Shape::new(draw.between(1, 5), height, width), block);
        let rows = draw.between(1, 4);
        let x = as_maps(maps, &draw.numbers(rows * layer.input.len()));
        let weight = as_maps(maps, &draw.numbers(layer.weight_len()));
        let da = as_maps(maps, &draw.numbers(rows * layer.conv.len()));
        let shape = Convolution {
            rows,
            input: [height, width],
            channels: layer.input.channels,
            output: [layer.conv.height, layer.conv.width],
            out_channels: layer.conv.channels,
            kernel,
            stride,
            padding,
        };
        let filters = filters_first(&weight, layer.conv.channels);
        let Some(found) = run(maps, |device| {
            vec![
                convolve(device, Pass::Forward, &shape, &x, &filters, da.len()),
                convolve(device, Pass::WeightGradient, &shape, &x, &da, weight.len()),
                convolve(device, Pass::InputGradient, &shape, &filters, &da, x.len()),
            ]
        }) else {
            return;
        };
        let activity: ActivityOf<Cpu> = Cpu.forward(&layer, &weight, &vec![], &x, rows);
        let gradient = Cpu.block_gradient(&layer, &x, &activity, &da).weight;
        let dx = Cpu.input_gradient(&layer, &weight, &activity, &da);
        let relative = if maps == MapType::F32 { 1e-5 } else { 1.0 / 256.0 };
        assert_close("outputs", &found[0], &activity.z, relative, 1e-5);
        assert_close("weights' gradient", &found[1], &filters_first(&gradient, layer.conv.channels), relative, 1e-5);
        assert_close("inputs' gradient", &found[2], &dx, relative, 1e-5);
    }
}

#[test]
fn products_are_sums_of_products() {
    for case in 0..16 {
        let mut draw = Draw::new(101, case);
        let [m, n, k] = [0; 3].map(|_| draw.between(1, 9));
        let product = Product { m, n, k, a_transposed: draw.0.chance(0.5), b_transposed: draw.0.chance(0.5) };
        let (a, b) = (draw.numbers(m * k), draw.numbers(k * n));
        let Some(found) = run(MapType::F32, |device| {
            let (a, b, out) = (device.f32s(&a), device.f32s(&b), device.empty(4 * m * n));
            let scratch = device.empty(device.gpu.product_scratch(&product).expect("scratch"));
            let scratch = (scratch.address, scratch.bytes);
            let op = Op::Multiply { product, a: a.address, b: b.address, out: out.address, scratch };
            device.gpu.run(&op).expect("a product");
            vec![device.get_f32s(out)]
        }) else {
            return;
        };
        let mut expected = Vec::new();
        for row in 0..m {
            for column in 0..n {
                let term = |t: usize| {
                    let a = a[if product.a_transposed { t * m + row } else { row * k + t }];
                    a * b[if product.b_transposed { column * k + t } else { t * n + column }]
                };
                expected.push((0..k).map(term).sum::<f32>());
            }
        }
        assert_close("product", &found[0], &expected, 1e-5, 1e-6);
    }
}

#[test]
fn copies_zeros_and_collections_of_one_rank() {
    let found = run(MapType::F32, |device| {
        let (a, b) = (device.f32s(&[1.0, 2.0, 3.0, 4.0]), device.empty(16));
        let gather = Op::Collect { what: Collective::Gather { ranks: 1 }, input: a.address, out: b.address, len: 4 };
        let graph = vec![
            gather,
            Op::Collect { what: Collective::Sum, input: b.address, out: b.address, len: 4 },
            Op::Copy { from: a.address, to: b.address + 8, bytes: 8 },
            Op::Zero { at: a.address + 4, bytes: 8 },
        ];
        let graph = device.gpu.compile(graph).expect("a graph");
        device.gpu.launch(&graph).expect("a launch");
        vec![device.get_f32s(a), device.get_f32s(b)]
    });
    let Some(found) = found else { return };
    assert_eq!(found, [[1.0, 0.0, 0.0, 4.0], [1.0, 2.0, 1.0, 2.0]]);
}

#[test]
fn writes_where_nothing_was_named_are_errors() {
    let found = run(MapType::F32, |device| {
        let x = device.f32s(&[1.0; 9]);
        let (out, other) = (device.empty(32), device.f32s(&[1.0; 4]));
        let launch = |out: Arg<u64>, n: u64| {
            device.try_launch("to_map", [1, 1], vec![x.input(), out, Arg::U64(n)]).map_err(|error| error.to_string())
        };
        let error = launch(Arg::Out(out.address, 20), 8).expect_err("writes 32 bytes of 20");
        assert!(error.contains("byte 20 of the 32"), "{error}");
        launch(out.out(), 8).expect("as named");
        let error = launch(out.out(), 9).expect_err("writes 36 bytes of 32");
        assert!(error.contains("beyond the 32 bytes"), "{error}");
        assert!(launch(Arg::Out(other.address + 8, 16), 1).expect_err("beyond").contains("not all in one piece"));
        assert!(launch(Arg::I32(1), 1).expect_err("no pointer").contains("argument 1 is of kind I32"));
        let graph = vec![Op::Launch { kernel: "to_map", grid: [1; 3], block: 1, args: vec![] }];
        assert!(device.gpu.compile(graph).is_err(), "no arguments");
        // Mends the red zone, which `run` looks at in the end.
        device.gpu.free(out.address, out.bytes);
        assert!(device.gpu.check().expect_err("freed with a spoilt zone").to_string().contains("beyond"));
        vec![]
    });
    assert!(found.is_none_or(|found| found.is_empty()));
}

#[test]
fn what_is_not_written_is_nan() {
    let found = run(MapType::F32, |device| {
        let (x, out) = (device.f32s(&[1.0; 4]), device.f32s(&[2.0; 4]));
        device.launch("to_map", [1, 1], vec![x.input(), out.out(), Arg::U64(3)]);
        vec![device.get_f32s(out)]
    });
    let Some(found) = found else { return };
    assert_eq!(found[0][..3], [1.0; 3]);
    assert!(found[0][3].is_nan(), "was to be written, all of it");
}

#[test]
fn memory_has_an_end() {
    let device = match Emulated::new(MapType::F32, Settings { memory: 1000, ..Settings::default() }) {
        Err(GpuError::Missing { .. }) => return,
        device => device.expect("a device"),
    };
    let address = device.allocate(600).expect("memory");
    assert!(matches!(device.allocate(500), Err(GpuError::Memory { needed: 500, free: 400, total: 1000, .. })));
    device.free(address, 600);
    device.allocate(500).expect("memory");
    device.synchronise().expect("nothing wrong");
}

#[test]
fn bf16_is_rounded_to_the_nearest() {
    let cases = [
        (1.0, 0x3F80),
        (1.0 + 1.0 / 256.0, 0x3F80),
        (1.0 + 3.0 / 256.0, 0x3F82),
        (1.0 + 1.1 / 256.0, 0x3F81),
        (f32::MAX, 0x7F80),
        (f32::NEG_INFINITY, 0xFF80),
        (-0.0, 0x8000),
    ];
    for (value, bits) in cases {
        assert_eq!(to_bf16(value), bits, "{value}");
    }
    assert!(from_bf16(to_bf16(f32::from_bits(0x7F80_0001))).is_nan());
}
