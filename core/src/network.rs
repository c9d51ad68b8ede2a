//! The description of a network and its learning rule: the one description that every backend reads.
//!
//! A [`Network`] is plain data, built in `const` context:
//!
//! ```
//! use clapp_core::network::{Block, Context, Contrast, LossPool, Network, Projection, Rule};
//! use clapp_core::shape::Shape;
//!
//! const NET: Network<2> = Network::new(
//!     Shape::new(1, 16, 16),
//!     [
//!         Block::conv(8, [3, 3]).padding([1, 1]).max_pool([2, 2]).loss_pool(LossPool::Block([4, 4])),
//!         Block::conv(16, [3, 3]).padding([1, 1]).max_pool([2, 2]).loss_pool(LossPool::Global),
//!     ],
//!     Rule::clapp_pp(),
//! );
//! // Known before the program runs, so that it can size a static.
//! const PARAMETERS: usize = NET.view().parameter_len();
//! assert_eq!(PARAMETERS, 8 * 9 + 8 + 16 * 8 * 9 + 16 + 32 * 32 + 16 * 16);
//! ```
//!
//! A network that does not fit together is a compile-time error there:
//!
//! ```compile_fail
//! use clapp_core::network::{Block, Network, Rule};
//! use clapp_core::shape::Shape;
//! const NET: Network<1> = Network::new(Shape::new(1, 4, 4), [Block::conv(8, [5, 5])], Rule::clapp_pp());
//! ```

use crate::plan::{Layer, NetworkError};
use crate::shape::Shape;

/// The function after the convolution of a block, before its optional max-pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "link", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "link", serde(rename_all = "kebab-case", deny_unknown_fields))]
pub enum Activation {
    /// `max(a, 0)`.
    Relu,
    /// `a`: linear networks, as in the paper's theory.
    Identity,
}

/// The way in which the output map of a block becomes the vector on which its loss acts (docs/paper.md 2.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "link", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "link", serde(rename_all = "kebab-case", deny_unknown_fields))]
pub enum LossPool {
    /// Mean over cells of `[height, width]`, without overlap; rows and columns left over are dropped.
    Block([usize; 2]),
    /// Mean over adaptive cells so that the result is `[height, width]`; cells may overlap.
    Adaptive([usize; 2]),
    /// Mean over the whole map: one number a channel ("no 2D spatial dependence").
    Global,
}

/// One locally trained layer: convolution -> activation -> optional max-pool, and its loss pooling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "link", derive(serde::Serialize, serde::Deserialize))]
pub struct Block {
    /// Channels of the output.
    pub out_channels: usize,
    /// Kernel `[height, width]`.
    pub kernel: [usize; 2],
    /// Stride `[vertical, horizontal]`.
    pub stride: [usize; 2],
    /// Zeros on each side, `[vertical, horizontal]`.
    pub padding: [usize; 2],
    /// True if a bias is added to each channel.
    pub bias: bool,
    /// The function after the convolution.
    pub activation: Activation,
    /// Window of the max-pool, `[height, width]`, stride equal to the window, rest dropped; at most 255 elements.
    pub max_pool: Option<[usize; 2]>,
    /// Pooling of the output for the loss.
    pub loss_pool: LossPool,
}

impl Block {
    /// A convolution to `out_channels` with a `[height, width]` kernel, stride 1, no padding, bias,
    /// ReLU, no max-pool and global loss pooling; the other methods change one of these each.
    pub const fn conv(out_channels: usize, kernel: [usize; 2]) -> Self {
        Self {
            out_channels,
            kernel,
            stride: [1, 1],
            padding: [0, 0],
            bias: true,
            activation: Activation::Relu,
            max_pool: None,
            loss_pool: LossPool::Global,
        }
    }

    /// Sets the stride `[vertical, horizontal]`.
    pub const fn stride(mut self, stride: [usize; 2]) -> Self {
        self.stride = stride;
        self
    }

    /// Sets the zero padding `[vertical, horizontal]` on each side.
    pub const fn padding(mut self, padding: [usize; 2]) -> Self {
        self.padding = padding;
        self
    }

    /// Leaves the bias out.
    pub const fn without_bias(mut self) -> Self {
        self.bias = false;
        self
    }

    /// Sets the activation function.
    pub const fn activation(mut self, activation: Activation) -> Self {
        self.activation = activation;
        self
    }

    /// Adds a max-pool with a `[height, width]` window.
    pub const fn max_pool(mut self, window: [usize; 2]) -> Self {
        self.max_pool = Some(window);
        self
    }

    /// Sets the pooling for the loss.
    pub const fn loss_pool(mut self, pool: LossPool) -> Self {
        self.loss_pool = pool;
        self
    }
}

/// The contrast function: the loss of the scores of the positive and the negatives (docs/paper.md 1.2).
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "link", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "link", serde(rename_all = "kebab-case", deny_unknown_fields))]
pub enum Contrast {
    /// `max(0, 1 - u+)` and `max(0, 1 + u-)`.
    Hinge,
    /// `log(1 + exp(1 - u+))` and `log(1 + exp(1 + u-))`.
    SoftHinge,
    /// `log(1 + exp(theta (mean u- - u+)))`.
    Phyll {
        /// Steepness, above zero.
        theta: f32,
    },
    /// `mean u- - u+`.
    Linear,
    /// `log(1 + exp(theta - u+))` and `log(1 + exp(u- - theta))`: scores as the goodness of Forward-Forward, above a
    /// threshold for positives and below it for negatives.
    Goodness {
        /// Threshold, above zero.
        theta: f32,
    },
}

/// The layer whose activity is a layer's context (docs/paper.md 1.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "link", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "link", serde(rename_all = "kebab-case", deny_unknown_fields))]
pub enum Context {
    /// The layer itself: CLAPP++.
    Same,
    /// The top layer: CLAPP++DFB (direct feedback).
    Top,
    /// The sum of both losses, with a projection each: CLAPP++both.
    Both,
}

impl Context {
    /// True if a layer has a loss with its own activity as the context.
    pub const fn has_same(self) -> bool {
        matches!(self, Self::Same | Self::Both)
    }

    /// True if a layer has a loss with the top layer's activity as the context.
    pub const fn has_top(self) -> bool {
        matches!(self, Self::Top | Self::Both)
    }
}

/// The kind of the projection `B` between activity and context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "link", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "link", serde(rename_all = "kebab-case", deny_unknown_fields))]
pub enum Projection {
    /// A matrix that learns together with the weights.
    Trainable,
    /// A matrix that keeps its first values.
    Frozen,
    /// The identity: no parameters; the context must be as long as the activity.
    Identity,
}

/// The learning rule that all layers of a network follow.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "link", derive(serde::Serialize, serde::Deserialize))]
pub struct Rule {
    /// The contrast function.
    pub contrast: Contrast,
    /// The source of the context.
    pub context: Context,
    /// The kind of projection.
    pub projection: Projection,
    /// Factor on the positive term of [`Contrast::Hinge`], [`Contrast::SoftHinge`] and [`Contrast::Goodness`]; 1 in
    /// the paper.
    pub pos_coeff: f32,
}

impl Rule {
    /// CLAPP++: hinge, same-layer context, trainable projection.
    pub const fn clapp_pp() -> Self {
        Self { contrast: Contrast::Hinge, context: Context::Same, projection: Projection::Trainable, pos_coeff: 1.0 }
    }

    /// CLAPP++DFB: as CLAPP++, with the top layer as the context of every layer.
    pub const fn clapp_pp_dfb() -> Self {
        Self { context: Context::Top, ..Self::clapp_pp() }
    }

    /// CLAPP++both: the losses of CLAPP++ and CLAPP++DFB added up.
    pub const fn clapp_pp_both() -> Self {
        Self { context: Context::Both, ..Self::clapp_pp() }
    }
}

/// A network of `L` blocks over frames of one shape, with its learning rule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Network<const L: usize> {
    input: Shape,
    blocks: [Block; L],
    rule: Rule,
}

impl<const L: usize> Network<L> {
    /// Checks and keeps the description.
    ///
    /// # Panics
    /// If it does not fit together. Meant for `const` items, where that is a compile-time error
    /// with the reason as its message; use [`Network::try_new`] for descriptions read at run time.
    pub const fn new(input: Shape, blocks: [Block; L], rule: Rule) -> Self {
        match (NetworkView { input, blocks: &blocks, rule }).check() {
            Ok(()) => Self { input, blocks, rule },
            Err(error) => error.panic_in_const(),
        }
    }

    /// Checks and keeps the description.
    ///
    /// # Errors
    /// The first thing that does not fit together, with the layer it concerns.
    pub const fn try_new(input: Shape, blocks: [Block; L], rule: Rule) -> Result<Self, NetworkError> {
        match (NetworkView { input, blocks: &blocks, rule }).check() {
            Ok(()) => Ok(Self { input, blocks, rule }),
            Err(error) => Err(error),
        }
    }

    /// The description as a reference of one type for any number of blocks; all sizes hang on it.
    pub const fn view(&self) -> NetworkView<'_> {
        NetworkView { input: self.input, blocks: &self.blocks, rule: self.rule }
    }
}

/// A checked network description by reference, of one type for any number of blocks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NetworkView<'a> {
    pub(crate) input: Shape,
    pub(crate) blocks: &'a [Block],
    pub(crate) rule: Rule,
}

impl<'a> NetworkView<'a> {
    /// Checks a description whose number of blocks is known at run time only.
    ///
    /// # Errors
    /// The first thing that does not fit together, with the layer it concerns.
    pub const fn try_new(input: Shape, blocks: &'a [Block], rule: Rule) -> Result<Self, NetworkError> {
        let view = Self { input, blocks, rule };
        match view.check() {
            Ok(()) => Ok(view),
            Err(error) => Err(error),
        }
    }

    /// Shape of a frame.
    pub const fn input(&self) -> Shape {
        self.input
    }

    /// The blocks from the input to the top.
    pub const fn blocks(&self) -> &'a [Block] {
        self.blocks
    }

    /// The learning rule.
    pub const fn rule(&self) -> Rule {
        self.rule
    }

    /// Number of layers (a layer is one block).
    pub const fn layer_count(&self) -> usize {
        self.blocks.len()
    }

    /// Shapes and offsets of layer `index` (0 is nearest the input); `None` past the top.
    pub const fn layer(&self, index: usize) -> Option<Layer> {
        if index >= self.blocks.len() {
            return None;
        }
        match self.try_layer(index) {
            Ok(layer) => Some(layer),
            Err(_) => None,
        }
    }

    /// Shapes and offsets of the top layer.
    pub const fn top(&self) -> Option<Layer> {
        match self.blocks.len().checked_sub(1) {
            Some(top) => self.layer(top),
            None => None,
        }
    }
}
