//! Descriptions of networks, and the sizes that depend on them.

use crate::opaque::{unknown, use_up};
use clapp_core::network::{Activation, Block, Context, Contrast, LossPool, Network, NetworkView, Projection, Rule};
use clapp_core::shape::Shape;

const INPUT: Shape = Shape::new(2, 9, 9);

const BLOCKS: [Block; 3] = [
    Block::conv(4, [3, 3]).padding([1, 1]).max_pool([2, 2]).loss_pool(LossPool::Block([2, 2])),
    Block::conv(6, [1, 2]).stride([2, 1]).activation(Activation::Identity).loss_pool(LossPool::Adaptive([2, 2])),
    Block::conv(8, [1, 1]).without_bias(),
];

const RULE: Rule = Rule {
    contrast: Contrast::Phyll { theta: 2.0 },
    context: Context::Both,
    projection: Projection::Trainable,
    pos_coeff: 1.0,
};

/// A network as a firmware has it: known in full when it is compiled.
const KNOWN: Network<3> = Network::new(INPUT, BLOCKS, RULE);

/// Calls `with` with a network that is known, and with one of which nothing is known, not even its depth.
pub fn with_networks(with: impl Fn(&NetworkView<'_>)) {
    with(&KNOWN.view());
    let blocks = BLOCKS;
    match NetworkView::try_new(unknown(INPUT), unknown(blocks.as_slice()), unknown(RULE)) {
        Ok(network) => with(&network),
        Err(error) => use_up(error.layer()),
    }
    use_up(Network::try_new(unknown(INPUT), unknown(BLOCKS), unknown(RULE)).is_ok());
}

pub fn all(net: &NetworkView<'_>) {
    let count = unknown(2);
    if let Some(layer) = net.layer(count) {
        use_up((layer.fan_in(), layer.weight_len(), layer.bias_len(), layer.encoder_len(), layer.macs()));
        use_up((net.same_len(&layer), net.feedback_len(&layer), net.projection_offset(&layer)));
    }
    use_up((net.input(), net.blocks().len(), net.rule(), net.layer_count(), net.top().is_some()));
    use_up((net.encoder_len(), net.feature_len(), net.top_len(), net.parameter_len(), net.context_len()));
    use_up((net.activation_lens(), net.largest_pooled(), net.argmax_len(), net.inference_scratch_len()));
    use_up((net.gradient_scratch_len(), net.inference_len(), net.stream_len(), net.batch_len(count, count)));
    use_up((net.batch_argmax_len(count), net.forward_macs(), net.stream_macs(), net.batch_macs(count)));
    use_up((net.inference_bytes(), net.stream_bytes(), net.batch_bytes(count, count), net.backprop_activation_len()));
}
