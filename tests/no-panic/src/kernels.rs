//! The kernels on slices, called directly.

use crate::opaque::{Memory, unknown, use_up};
use clapp_core::conv::{self, FilterSink, PooledGradient};
use clapp_core::network::NetworkView;
use clapp_core::plan::Layer;
use clapp_core::{dense, pool};

pub fn all(network: &NetworkView<'_>) {
    if let Some(layer) = network.layer(unknown(1)) {
        convolution(&layer);
        pooling(&layer);
    }
    products();
}

/// Takes pieces of a gradient without looking at them.
struct Sink;

impl FilterSink for Sink {
    fn filter(&mut self, index: usize, gradient: &[f32], bias: f32) {
        use_up((index, gradient, bias));
    }
}

fn convolution(layer: &Layer) {
    let [mut weights, mut bias, mut input, mut output, mut scratch] = [0.0; 5].map(Memory::new);
    let (mut error, mut remainder, mut argmax) = (Memory::new(0.0), Memory::new(0.0), Memory::new(0_u8));
    let (input, output, argmax, scratch) = (input.slice(), output.slice(), argmax.slice(), scratch.slice());
    use_up(conv::forward(layer, weights.slice(), bias.slice(), input, output, argmax, scratch));
    let error = PooledGradient { value: error.slice(), remainder: remainder.slice() };
    conv::weight_gradient(layer, input, output, argmax, error, scratch, &mut Sink);
}

fn pooling(layer: &Layer) {
    let (mut map, mut pooled, mut argmax) = (Memory::new(0.0), Memory::new(0.0), Memory::new(0_u8));
    let (map, pooled, argmax) = (map.slice(), pooled.slice(), argmax.slice());
    pool::max_pool(map, unknown(4), unknown([2, 2]), pooled, unknown(2), argmax);
    pool::loss_pool(map, layer.output, layer.block.loss_pool, layer.pooled, pooled);
    pool::spread(pooled, layer.pooled, layer.block.loss_pool, layer.output, map);
    use_up(pool::spread_bound(layer.block.loss_pool, layer.pooled, layer.output));
}

fn products() {
    let (mut a, mut b, mut c) = (Memory::new(0.0), Memory::new(0.0), Memory::new(0.0));
    let (a, b, c) = (a.slice(), b.slice(), c.slice());
    use_up((dense::dot(a, b), dense::squares(a)));
    dense::add_scaled(a, unknown(0.5), b);
    dense::matrix_vector(a, b, c);
    dense::outer_products(a, unknown(2), b, unknown(3), &mut |at, piece| use_up((at, piece)));
}
