//! The kernels of the core beside textbook loops over the same shapes.
//!
//! The weight gradient gains most, because the textbook loops ignore sparsity: after ReLU and max-pool only an eighth
//! of the errors are not zero.

use clapp_benches::{apart, naive, numbers};
use clapp_core::conv::{self, FilterSink, PooledGradient};
use clapp_core::dense;
use clapp_core::network::{Block, LossPool, NetworkView, Rule};
use clapp_core::plan::Layer;
use clapp_core::shape::Shape;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;

/// Layers as they come up in the networks for microcontrollers: two of images, one of a signal.
fn layers() -> [(&'static str, Shape, Block); 3] {
    let image = |channels| Block::conv(channels, [3, 3]).padding([1, 1]).max_pool([2, 2]);
    [
        ("8x16x16 to 16, 3x3", Shape::new(8, 16, 16), image(16).loss_pool(LossPool::Block([4, 4]))),
        ("16x8x8 to 32, 3x3", Shape::new(16, 8, 8), image(32).loss_pool(LossPool::Block([2, 2]))),
        (
            "8x1x64 to 16, 1x5",
            Shape::new(8, 1, 64),
            Block::conv(16, [1, 5]).padding([0, 2]).loss_pool(LossPool::Block([1, 8])),
        ),
    ]
}

/// A layer with all that its kernels read and write.
struct Work {
    layer: Layer,
    weight: Vec<f32>,
    bias: Vec<f32>,
    input: Vec<f32>,
    output: Vec<f32>,
    argmax: Vec<u8>,
    scratch: Vec<f32>,
    error: Vec<f32>,
}

impl Work {
    fn new(input: Shape, block: Block) -> Self {
        let blocks = [block];
        let network = NetworkView::try_new(input, &blocks, Rule::clapp_pp()).expect("a network");
        let layer = network.layer(0).expect("a layer");
        Self {
            weight: numbers(1, layer.weight_len(), 0.2),
            bias: numbers(2, layer.bias_len(), 0.2),
            input: numbers(3, input.len(), 1.0),
            output: vec![0.0; layer.output.len()],
            argmax: vec![0; network.argmax_len()],
            scratch: vec![0.0; network.gradient_scratch_len()],
            error: numbers(4, layer.pooled.len(), 1.0),
            layer,
        }
    }

    fn forward(&mut self) -> bool {
        let Self { layer, weight, bias, input, output, argmax, scratch, .. } = self;
        conv::forward(layer, weight, bias, input, output, argmax, scratch)
    }

    fn gradient(&mut self, sink: &mut Gradient) {
        let Self { layer, input, output, argmax, scratch, error, .. } = self;
        let error = PooledGradient { value: error, remainder: &[] };
        conv::weight_gradient(layer, input, output, argmax, error, scratch, sink);
    }
}

/// Keeps a gradient.
struct Gradient {
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl FilterSink for Gradient {
    fn filter(&mut self, index: usize, gradient: &[f32], bias: f32) {
        self.weight[index * gradient.len()..][..gradient.len()].copy_from_slice(gradient);
        self.bias[index] = bias;
    }
}

fn convolution(c: &mut Criterion) {
    for (name, input, block) in layers() {
        let mut work = Work::new(input, block);
        let mut places = Vec::new();
        assert!(work.forward());
        let plain = naive::forward(&work.layer, &work.weight, &work.bias, &work.input, &mut places);
        assert!(apart(&work.output, &plain) < 1e-5, "{name}: forward");
        let mut group = c.benchmark_group(format!("core forward {name}"));
        group.throughput(Throughput::Elements(work.layer.macs()));
        group.bench_function("ours", |b| b.iter(|| black_box(&mut work).forward()));
        group.bench_function("naive", |b| {
            b.iter(|| {
                let Work { layer, weight, bias, input, .. } = black_box(&work);
                naive::forward(layer, weight, bias, input, &mut places)
            });
        });
        group.finish();

        let lens = [work.layer.weight_len(), work.layer.bias_len()];
        let mut ours = Gradient { weight: vec![0.0; lens[0]], bias: vec![0.0; lens[1]] };
        work.gradient(&mut ours);
        let zeros = || (vec![0.0; lens[0]], vec![0.0; lens[1]]);
        let plain = |work: &Work| {
            let (mut weight, mut bias) = zeros();
            let Work { layer, input, output, error, .. } = work;
            naive::add_gradient(layer, input, output, &places, error, &mut weight, &mut bias);
            (weight, bias)
        };
        let (weight, bias) = plain(&work);
        assert!(apart(&ours.weight, &weight) < 1e-5 && apart(&ours.bias, &bias) < 1e-5, "{name}: gradient");
        let mut group = c.benchmark_group(format!("core weight gradient {name}"));
        group.throughput(Throughput::Elements(work.layer.macs()));
        group.bench_function("ours", |b| b.iter(|| black_box(&mut work).gradient(&mut ours)));
        group.bench_function("naive", |b| b.iter(|| plain(black_box(&work))));
        group.finish();
    }
}

/// Prediction and update of a projection from pooled activity of `D` values, half of them silent as after a ReLU.
fn projection(c: &mut Criterion) {
    const ROWS: usize = 8;
    for len in [64, 256] {
        let matrix = numbers(1, len * len, 0.1);
        let context: Vec<f32> = numbers(2, ROWS * len, 1.0).into_iter().map(|value| value.max(0.0)).collect();
        let error: Vec<f32> = numbers(3, ROWS * len, 1.0).into_iter().map(|value| value.max(0.0)).collect();
        let one = &context[..len];
        let mut out = vec![0.0; len];
        dense::matrix_vector(&matrix, one, &mut out);
        assert!(apart(&out, &naive::matrix_vector(&matrix, one)) < 1e-5, "prediction");
        let mut group = c.benchmark_group(format!("core prediction {len}x{len}"));
        group.throughput(Throughput::Elements((len * len) as u64));
        group.bench_function("ours", |b| b.iter(|| dense::matrix_vector(black_box(&matrix), black_box(one), &mut out)));
        group.bench_function("naive", |b| b.iter(|| naive::matrix_vector(black_box(&matrix), black_box(one))));
        group.finish();

        let lr = 1e-6;
        let ours = |matrix: &mut [f32]| {
            dense::outer_products(&error, len, &context, len, &mut |at, piece| {
                dense::add_scaled(&mut matrix[at..at + piece.len()], -lr, piece);
            });
        };
        let plain = |matrix: &mut [f32]| naive::outer_step(matrix, lr, &error, len, &context, len);
        let (mut one, mut other) = (vec![0.0; len * len], vec![0.0; len * len]);
        ours(&mut one);
        plain(&mut other);
        assert!(apart(&one, &other) < 1e-5, "projection update");
        let mut group = c.benchmark_group(format!("core projection update {len}x{len}, {ROWS} rows"));
        group.throughput(Throughput::Elements((ROWS * len * len) as u64));
        group.bench_function("ours", |b| b.iter(|| ours(black_box(&mut one))));
        group.bench_function("naive", |b| b.iter(|| plain(black_box(&mut other))));
        group.finish();
    }
}

criterion_group! {
    name = kernels;
    config = clapp_benches::short(Criterion::default());
    targets = convolution, projection
}
criterion_main!(kernels);
