//! The needs of a network: shapes and offsets of each layer, parameters, buffers, multiply-accumulates
//! and bytes, all as `const fn`, so that a program can size its statics before it runs.
//!
//! **Parameters** are one slice: first the encoder, layer by layer (`weights [out, in, kh, kw]`, then
//! `bias [out]`), then the projections, layer by layer (`projection [D, D]` to the same layer's context,
//! then `feedback [D, D_top]` to the top layer's, as far as the rule has them; row-major). Inference reads
//! the first part only.

use crate::network::{Block, Contrast, LossPool, NetworkView, Projection};
use crate::shape::{Shape, window_positions};

/// Filters that the convolution computes at a time; before a max-pool, that many maps exist and no more.
pub const FILTERS_AT_A_TIME: usize = 2;

/// Largest number of elements that any part of a plan may have.
///
/// Keeps every later sum and product of sizes far from overflow, also on 32-bit targets, and leaves the
/// upper bits of a position in a map free.
const MOST_ELEMENTS: usize = 1 << 27;

/// The reason for which a network does not fit together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum NetworkError {
    /// There is no block.
    NoBlocks,
    /// A dimension of the input shape is zero.
    EmptyInput,
    /// The block has no output channels.
    NoChannels {
        /// Index of the layer.
        layer: usize,
    },
    /// The stride is zero, or the kernel is empty or larger than the padded input.
    Kernel {
        /// Index of the layer.
        layer: usize,
    },
    /// The max-pool window is empty, larger than the map, or has more than 255 elements.
    MaxPool {
        /// Index of the layer.
        layer: usize,
    },
    /// The loss-pooling cell is empty or larger than the map, or the adaptive output is empty.
    LossPool {
        /// Index of the layer.
        layer: usize,
    },
    /// An identity projection between vectors of different lengths.
    Identity {
        /// Index of the layer.
        layer: usize,
    },
    /// `theta` is not a finite number above zero, or `pos_coeff` not a finite number of at least zero.
    Rule,
    /// More than 2^27 elements are needed somewhere, or a stride reaches over more.
    TooLarge {
        /// Index of the layer.
        layer: usize,
    },
}

impl NetworkError {
    const fn text(self) -> &'static str {
        match self {
            Self::NoBlocks => "the network has no block",
            Self::EmptyInput => "a dimension of the input shape is zero",
            Self::NoChannels { .. } => "a block has zero output channels",
            Self::Kernel { .. } => "a kernel is empty or larger than its padded input, or a stride is zero",
            Self::MaxPool { .. } => "a max-pool window is empty, larger than its map, or has more than 255 elements",
            Self::LossPool { .. } => {
                "a loss-pooling cell is empty or larger than its map, or an adaptive output is empty"
            }
            Self::Identity { .. } => "an identity projection needs a context as long as the layer's pooled activity",
            Self::Rule => "theta must be finite and above zero, pos_coeff finite and at least zero",
            Self::TooLarge { .. } => "a layer needs more than 2^27 elements, or its stride reaches over more",
        }
    }

    /// The layer that the error concerns, where it concerns one.
    pub const fn layer(self) -> Option<usize> {
        match self {
            Self::NoBlocks | Self::EmptyInput | Self::Rule => None,
            Self::NoChannels { layer }
            | Self::Kernel { layer }
            | Self::MaxPool { layer }
            | Self::LossPool { layer }
            | Self::Identity { layer }
            | Self::TooLarge { layer } => Some(layer),
        }
    }

    #[expect(clippy::panic, reason = "a panic in const context is how a compile-time error is made")]
    pub(crate) const fn panic_in_const(self) -> ! {
        panic!("{}", self.text())
    }
}

impl core::fmt::Display for NetworkError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.layer() {
            Some(layer) => write!(f, "layer {layer}: {}", self.text()),
            None => f.write_str(self.text()),
        }
    }
}

impl core::error::Error for NetworkError {}

/// Shapes of one layer and where its parameters lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Layer {
    /// Index from the input, from 0.
    pub index: usize,
    /// The block's description.
    pub block: Block,
    /// Input map.
    pub input: Shape,
    /// Map after the convolution, before the max-pool.
    pub conv: Shape,
    /// Output map, after activation and max-pool.
    pub output: Shape,
    /// Output after loss pooling; its length is `D`.
    pub pooled: Shape,
    /// Offset of the weights in the parameters; the bias follows them.
    pub encoder_offset: usize,
    /// Offset of this layer's pooled activity in the concatenated features (and contexts).
    pub feature_offset: usize,
}

impl Layer {
    /// Inputs of one output unit: `C_in x kh x kw`.
    pub const fn fan_in(&self) -> usize {
        self.input.channels * self.block.kernel[0] * self.block.kernel[1]
    }

    /// Number of weights `[out, in, kh, kw]`.
    pub const fn weight_len(&self) -> usize {
        self.block.out_channels * self.fan_in()
    }

    /// Number of biases: the output channels, or 0 without bias.
    pub const fn bias_len(&self) -> usize {
        if self.block.bias { self.block.out_channels } else { 0 }
    }

    /// Weights and biases together.
    pub const fn encoder_len(&self) -> usize {
        self.weight_len() + self.bias_len()
    }

    /// Width of the input between its padding.
    pub const fn padded_width(&self) -> usize {
        self.input.width + 2 * self.block.padding[1]
    }

    /// Elements of one input channel with its padding, which a weight gradient copies it into; 0 where there
    /// is no padding and no need to.
    pub const fn padded_len(&self) -> usize {
        if self.block.padding[0] == 0 && self.block.padding[1] == 0 {
            0
        } else {
            (self.input.height + 2 * self.block.padding[0]) * self.padded_width()
        }
    }

    /// True if a weight gradient may visit all errors of two filters at a time: where neither a stride nor a
    /// max-pool lies between the errors and the input.
    pub const fn may_be_dense(&self) -> bool {
        matches!((self.block.kernel, self.block.stride, self.block.max_pool), ([3, 3], [1, 1], None))
    }

    /// The division of a weight gradient's scratch: numbers of lists as long as an output map, and of filters that it works on
    /// at a time. Two filters share what is done for both, where errors are few (behind a max-pool) or take no positions.
    pub(crate) const fn gradient_parts(&self) -> (usize, usize) {
        if self.block.max_pool.is_some() {
            (4, 2)
        } else if self.may_be_dense() {
            (2, 2)
        } else {
            (2, 1)
        }
    }

    /// Multiply-accumulates of the convolution of one frame; the weight gradient costs as many.
    pub const fn macs(&self) -> u64 {
        self.conv.len() as u64 * self.fan_in() as u64
    }
}

const fn larger(a: usize, b: usize) -> usize {
    if a > b { a } else { b }
}

/// `a * b`, or `None` above [`MOST_ELEMENTS`].
const fn bounded(a: usize, b: usize) -> Option<usize> {
    match a.checked_mul(b) {
        Some(product) if product <= MOST_ELEMENTS => Some(product),
        _ => None,
    }
}

const fn bounded_shape(shape: Shape) -> bool {
    match bounded(shape.height, shape.width) {
        Some(area) => bounded(area, shape.channels).is_some(),
        None => false,
    }
}

/// True if the strides, in elements of a padded map `width` wide and from one max-pool window to the next, can be
/// counted: a stride may be longer than the map, which then has one position.
const fn bounded_steps(block: &Block, width: usize) -> bool {
    let [rows, columns] = match block.max_pool {
        Some(window) => window,
        None => [1, 1],
    };
    let down = match bounded(block.stride[0], width) {
        Some(row) => bounded(row, rows),
        None => None,
    };
    down.is_some() && bounded(block.stride[1], columns).is_some()
}

const fn pooled_shape(output: Shape, pool: LossPool) -> Option<Shape> {
    let [height, width] = match pool {
        LossPool::Global => [1, 1],
        LossPool::Adaptive(size) => size,
        LossPool::Block([h, w]) => match (output.height.checked_div(h), output.width.checked_div(w)) {
            (Some(height), Some(width)) => [height, width],
            _ => return None,
        },
    };
    let pooled = Shape::new(output.channels, height, width);
    if pooled.is_empty() { None } else { Some(pooled) }
}

/// Shapes of a block over `input`; offsets are filled in by the caller.
const fn block_layer(index: usize, block: Block, input: Shape) -> Result<Layer, NetworkError> {
    let layer = index;
    if block.out_channels == 0 {
        return Err(NetworkError::NoChannels { layer });
    }
    let height = window_positions(input.height, block.kernel[0], block.stride[0], block.padding[0]);
    let width = window_positions(input.width, block.kernel[1], block.stride[1], block.padding[1]);
    let (Some(height), Some(width)) = (height, width) else {
        return Err(NetworkError::Kernel { layer });
    };
    let conv = Shape::new(block.out_channels, height, width);
    let output = match block.max_pool {
        None => conv,
        Some([h, w]) => {
            let (Some(rows), Some(columns)) = (height.checked_div(h), width.checked_div(w)) else {
                return Err(NetworkError::MaxPool { layer });
            };
            if rows == 0 || columns == 0 || !matches!(h.checked_mul(w), Some(..=255)) {
                return Err(NetworkError::MaxPool { layer });
            }
            Shape::new(block.out_channels, rows, columns)
        }
    };
    let Some(pooled) = pooled_shape(output, block.loss_pool) else {
        return Err(NetworkError::LossPool { layer });
    };
    let kernel = match bounded(block.kernel[0], block.kernel[1]) {
        Some(area) => match bounded(area, input.channels) {
            Some(fan_in) => bounded(fan_in, block.out_channels),
            None => None,
        },
        None => None,
    };
    // Neither sum wraps: window_positions has added up the padding.
    let padded = Shape::new(1, input.height + 2 * block.padding[0], input.width + 2 * block.padding[1]);
    if kernel.is_none()
        || !bounded_shape(padded)
        || !bounded_shape(conv)
        || !bounded_shape(pooled)
        || !bounded_steps(&block, padded.width)
    {
        return Err(NetworkError::TooLarge { layer });
    }
    Ok(Layer { index, block, input, conv, output, pooled, encoder_offset: 0, feature_offset: 0 })
}

impl NetworkView<'_> {
    pub(crate) const fn check(&self) -> Result<(), NetworkError> {
        if self.blocks.is_empty() {
            return Err(NetworkError::NoBlocks);
        }
        if self.input.is_empty() {
            return Err(NetworkError::EmptyInput);
        }
        if !bounded_shape(self.input) {
            return Err(NetworkError::TooLarge { layer: 0 });
        }
        let theta = match self.rule.contrast {
            Contrast::Phyll { theta } | Contrast::Goodness { theta } => theta,
            Contrast::Hinge | Contrast::SoftHinge | Contrast::Linear => 1.0,
        };
        if !(theta.is_finite() && theta > 0.0 && self.rule.pos_coeff.is_finite() && self.rule.pos_coeff >= 0.0) {
            return Err(NetworkError::Rule);
        }
        let top = match self.try_layer(self.blocks.len() - 1) {
            Ok(top) => top.pooled.len(),
            Err(error) => return Err(error),
        };
        let (mut parameters, mut features) = (0_usize, 0_usize);
        let mut layer = 0;
        while layer < self.blocks.len() {
            let plan = match self.try_layer(layer) {
                Ok(plan) => plan,
                Err(error) => return Err(error),
            };
            let own = plan.pooled.len();
            let identity = matches!(self.rule.projection, Projection::Identity);
            if identity && self.rule.context.has_top() && own != top {
                return Err(NetworkError::Identity { layer });
            }
            parameters += plan.encoder_len();
            if !identity {
                let (Some(same), Some(feedback)) = (bounded(own, own), bounded(own, top)) else {
                    return Err(NetworkError::TooLarge { layer });
                };
                parameters += if self.rule.context.has_same() { same } else { 0 };
                parameters += if self.rule.context.has_top() { feedback } else { 0 };
            }
            features += own;
            if parameters > MOST_ELEMENTS * 4 || features > MOST_ELEMENTS {
                return Err(NetworkError::TooLarge { layer });
            }
            layer += 1;
        }
        Ok(())
    }

    /// Walks from the input to layer `index`, which must exist.
    // A copy of this at each of its many calls would fill the flash.
    #[inline(never)]
    pub(crate) const fn try_layer(&self, index: usize) -> Result<Layer, NetworkError> {
        let mut input = self.input;
        let mut encoder_offset = 0;
        let mut feature_offset = 0;
        let mut at = 0;
        let mut rest = self.blocks;
        while let [block, above @ ..] = rest {
            match block_layer(at, *block, input) {
                Err(error) => return Err(error),
                Ok(layer) if at == index => return Ok(Layer { encoder_offset, feature_offset, ..layer }),
                Ok(layer) => {
                    // Networks that have not been checked yet walk here, too.
                    encoder_offset = layer.encoder_len().saturating_add(encoder_offset);
                    feature_offset = layer.pooled.len().saturating_add(feature_offset);
                    input = layer.output;
                }
            }
            rest = above;
            at += 1;
        }
        Err(NetworkError::NoBlocks)
    }

    /// Weights and biases of all layers: what inference reads, and the first part of the parameters.
    pub const fn encoder_len(&self) -> usize {
        let mut sum = 0;
        let mut at = 0;
        while let Some(layer) = self.layer(at) {
            sum += layer.encoder_len();
            at += 1;
        }
        sum
    }

    /// Length of all layers' pooled activity together: the width of the read-out's input.
    pub const fn feature_len(&self) -> usize {
        let mut sum = 0;
        let mut at = 0;
        while let Some(layer) = self.layer(at) {
            sum += layer.pooled.len();
            at += 1;
        }
        sum
    }

    /// `D` of the top layer.
    pub const fn top_len(&self) -> usize {
        match self.top() {
            Some(top) => top.pooled.len(),
            None => 0,
        }
    }

    /// Elements of a layer's projection from its own context, 0 where the rule has none.
    pub const fn same_len(&self, layer: &Layer) -> usize {
        if self.has_matrices() && self.rule.context.has_same() { layer.pooled.len() * layer.pooled.len() } else { 0 }
    }

    /// Elements of a layer's projection from the top layer's context, 0 where the rule has none.
    pub const fn feedback_len(&self, layer: &Layer) -> usize {
        if self.has_matrices() && self.rule.context.has_top() { layer.pooled.len() * self.top_len() } else { 0 }
    }

    const fn has_matrices(&self) -> bool {
        !matches!(self.rule.projection, Projection::Identity)
    }

    /// Offset of a layer's projections in the parameters: first the same layer's, then the feedback.
    pub const fn projection_offset(&self, layer: &Layer) -> usize {
        let mut sum = self.encoder_len();
        let mut at = 0;
        while at < layer.index {
            if let Some(below) = self.layer(at) {
                sum += self.same_len(&below) + self.feedback_len(&below);
            }
            at += 1;
        }
        sum
    }

    /// Encoder and projections of all layers.
    pub const fn parameter_len(&self) -> usize {
        match self.top() {
            Some(top) => self.projection_offset(&top) + self.same_len(&top) + self.feedback_len(&top),
            None => 0,
        }
    }

    /// The largest of a size over all layers of even (`parity` 0) or odd (1) index, or all (2).
    const fn largest(&self, parity: usize, what: Size) -> usize {
        let mut most = 0;
        let mut at = 0;
        while let Some(layer) = self.layer(at) {
            if parity == 2 || at % 2 == parity {
                most = larger(most, what.of(&layer));
            }
            at += 1;
        }
        most
    }

    /// Lengths of the two activation buffers of one frame: outputs of even layers, outputs of odd layers.
    pub const fn activation_lens(&self) -> [usize; 2] {
        [self.largest(0, Size::Output), self.largest(1, Size::Output)]
    }

    /// Length of the longest pooled activity.
    pub const fn largest_pooled(&self) -> usize {
        self.largest(2, Size::Pooled)
    }

    /// Positions of maxima that learning keeps for one frame: the largest max-pooled output.
    pub const fn argmax_len(&self) -> usize {
        self.largest(2, Size::MaxPooled)
    }

    /// Scratch of inference: the maps before a max-pool of the filters that are computed at a time.
    pub const fn inference_scratch_len(&self) -> usize {
        self.largest(2, Size::BeforePool)
    }

    /// Scratch of a weight update: the errors of one filter or of two, with their positions, one input channel with
    /// its padding, and the gradients of these filters.
    pub const fn gradient_scratch_len(&self) -> usize {
        larger(self.largest(2, Size::Gradient), self.inference_scratch_len())
    }

    /// `f32` workspace of inference.
    pub const fn inference_len(&self) -> usize {
        let [even, odd] = self.activation_lens();
        even + odd + self.inference_scratch_len()
    }

    /// Length of the contexts that streaming learning keeps from one frame to the next: one vector a
    /// layer, the only buffer that grows with depth.
    pub const fn context_len(&self) -> usize {
        self.feature_len()
    }

    /// `f32` workspace of streaming learning: two activation buffers, pooled activity, prediction and
    /// pooled gradient of one layer, scratch of the update. The contexts are a buffer of their own.
    pub const fn stream_len(&self) -> usize {
        let [even, odd] = self.activation_lens();
        even + odd + 3 * self.largest_pooled() + self.gradient_scratch_len()
    }

    /// `f32` workspace of a batch of `pairs` pairs with `negatives` negatives a row: two activation buffers
    /// of `2 pairs` frames, pooled activities, predictions and pooled gradients (in two parts) of one layer, contexts from
    /// the top where the rule has them, scores and gating factors, scratch of the update.
    ///
    /// `usize::MAX` where so many elements cannot be counted.
    pub const fn batch_len(&self, pairs: usize, negatives: usize) -> usize {
        let [even, odd] = self.activation_lens();
        let top = if self.rule.context.has_top() { self.top_len() } else { 0 };
        let losses: usize = if matches!(self.rule.context, crate::network::Context::Both) { 2 } else { 1 };
        let scores = negatives.saturating_add(1).saturating_mul(2 * losses);
        let row = scores.saturating_add(even + odd + 4 * self.largest_pooled() + top);
        pairs.saturating_mul(2).saturating_mul(row).saturating_add(self.gradient_scratch_len())
    }

    /// `u8` workspace of a batch of `pairs` pairs: positions of maxima.
    pub const fn batch_argmax_len(&self, pairs: usize) -> usize {
        pairs.saturating_mul(2).saturating_mul(self.argmax_len())
    }

    /// Multiply-accumulates of inference for one frame.
    pub const fn forward_macs(&self) -> u64 {
        let mut sum = 0;
        let mut at = 0;
        while let Some(layer) = self.layer(at) {
            sum += layer.macs();
            at += 1;
        }
        sum
    }

    /// Multiply-accumulates of the projections for one frame: prediction, and its update where trainable.
    const fn projection_macs(&self) -> u64 {
        let times = match self.rule.projection {
            Projection::Trainable => 2,
            Projection::Frozen => 1,
            Projection::Identity => 0,
        };
        times * (self.parameter_len() - self.encoder_len()) as u64
    }

    /// Multiply-accumulates of one `observe`: forward, weight gradient, prediction and its update.
    pub const fn stream_macs(&self) -> u64 {
        2 * self.forward_macs() + self.projection_macs()
    }

    /// Multiply-accumulates of one `step` of `pairs` pairs; a context from the top needs a second forward pass.
    pub const fn batch_macs(&self, pairs: usize) -> u64 {
        let passes = if self.rule.context.has_top() { 3 } else { 2 };
        (passes * self.forward_macs() + self.projection_macs()).saturating_mul(2).saturating_mul(pairs as u64)
    }

    /// Bytes of RAM for inference with parameters in flash, without the frame itself.
    pub const fn inference_bytes(&self) -> usize {
        self.inference_len().saturating_mul(4)
    }

    /// Bytes of RAM for streaming learning with SGD: parameters, contexts, workspace, positions of maxima;
    /// without the frame.
    pub const fn stream_bytes(&self) -> usize {
        let elements = self.parameter_len() + self.context_len() + self.stream_len();
        elements.saturating_mul(4).saturating_add(self.argmax_len())
    }

    /// Bytes of RAM for learning from batches of `pairs` pairs with SGD: parameters, contexts (the learner holds them
    /// in any case), workspace, positions of maxima; without the frames.
    pub const fn batch_bytes(&self, pairs: usize, negatives: usize) -> usize {
        let elements = (self.parameter_len() + self.context_len()).saturating_add(self.batch_len(pairs, negatives));
        elements.saturating_mul(4).saturating_add(self.batch_argmax_len(pairs))
    }

    /// Elements that back-propagation through the network would have to keep for one frame:
    /// every layer's output, and the two largest neighbouring gradients.
    pub const fn backprop_activation_len(&self) -> usize {
        let mut sum = 0;
        let mut at = 0;
        while let Some(layer) = self.layer(at) {
            sum += layer.output.len();
            at += 1;
        }
        let [even, odd] = self.activation_lens();
        sum + even + odd
    }
}

/// Sizes of a layer that the plan takes maxima of.
#[derive(Clone, Copy)]
enum Size {
    Output,
    Pooled,
    MaxPooled,
    BeforePool,
    Gradient,
}

impl Size {
    const fn of(self, layer: &Layer) -> usize {
        let pools = layer.block.max_pool.is_some();
        match self {
            Self::Output => layer.output.len(),
            Self::Pooled => layer.pooled.len(),
            Self::MaxPooled => {
                if pools {
                    layer.output.len()
                } else {
                    0
                }
            }
            Self::BeforePool => {
                if pools {
                    FILTERS_AT_A_TIME * layer.conv.area()
                } else {
                    0
                }
            }
            Self::Gradient => {
                let (lists, filters) = layer.gradient_parts();
                lists * layer.output.area() + layer.padded_len() + filters * layer.fan_in()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{Network, Rule};

    const FRAME: Shape = Shape::new(1, 8, 8);

    fn refused(input: Shape, block: Block) -> NetworkError {
        Network::try_new(input, [block], Rule::clapp_pp()).unwrap_err()
    }

    #[test]
    fn sizes_that_cannot_be_counted_are_errors() {
        let block = Block::conv(4, [3, 3]);
        let (wide, too_large) = (1_usize << (usize::BITS / 2 + 8), NetworkError::TooLarge { layer: 0 });
        let window = 1_usize << (usize::BITS / 2 + 1);
        assert_eq!(refused(FRAME, block.padding([wide; 2]).max_pool([window; 2])), NetworkError::MaxPool { layer: 0 });
        assert_eq!(refused(FRAME, block.padding([usize::MAX; 2])), NetworkError::Kernel { layer: 0 });
        for at in 0..2 {
            let mut stride = [1, 1];
            stride[at] = 1 << (usize::BITS - 2);
            assert_eq!(refused(FRAME, block.stride(stride)), too_large);
            stride[at] = usize::MAX;
            assert_eq!(refused(FRAME, block.stride(stride).max_pool([1, 1])), too_large);
        }
        assert_eq!(refused(FRAME, block.loss_pool(LossPool::Adaptive([usize::MAX; 2]))), too_large);
        assert_eq!(
            refused(FRAME, block.loss_pool(LossPool::Block([usize::MAX; 2]))),
            NetworkError::LossPool { layer: 0 }
        );
        assert_eq!(refused(FRAME, Block::conv(usize::MAX, [3, 3])), too_large);
        assert_eq!(refused(Shape::new(usize::MAX, usize::MAX, usize::MAX), block), too_large);
        // A stride longer than the map has one position, and is fine.
        assert!(Network::try_new(FRAME, [block.stride([100, 100])], Rule::clapp_pp()).is_ok());
    }

    #[test]
    fn many_large_layers_are_an_error_too() {
        let blocks = [Block::conv(1 << 13, [1, 1]).loss_pool(LossPool::Global); 40];
        let view = NetworkView::try_new(Shape::new(1 << 13, 1, 1), &blocks, Rule::clapp_pp());
        assert!(matches!(view, Err(NetworkError::TooLarge { .. })));
    }

    #[test]
    fn buffers_that_cannot_be_counted_are_as_long_as_can_be() {
        let network = Network::new(FRAME, [Block::conv(4, [3, 3]).max_pool([2, 2])], Rule::clapp_pp());
        let view = network.view();
        for pairs in [usize::MAX, usize::MAX / 2, usize::MAX / 64] {
            assert_eq!(view.batch_len(pairs, 1), usize::MAX);
            assert_eq!(view.batch_bytes(pairs, 1), usize::MAX);
        }
        assert_eq!(view.batch_len(1, usize::MAX), usize::MAX);
        assert_eq!(view.batch_argmax_len(usize::MAX), usize::MAX);
        assert_eq!(view.batch_macs(usize::MAX), u64::MAX);
    }

    #[test]
    fn bytes_of_batches_count_all_that_a_learner_holds() {
        let network = Network::new(FRAME, [Block::conv(4, [3, 3]).max_pool([2, 2])], Rule::clapp_pp());
        let view = network.view();
        let elements = view.parameter_len() + view.context_len() + view.batch_len(5, 2);
        assert_eq!(view.batch_bytes(5, 2), 4 * elements + view.batch_argmax_len(5));
    }
}
