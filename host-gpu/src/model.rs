//! A network whose size is known at run time, and its parameters by tensor.

use crate::rules::{lpl::Lpl, soft_hebb::SoftHebb};
use clapp_core::network::{Block, NetworkView, Projection, Rule};
use clapp_core::plan::{Layer, NetworkError};
use clapp_core::shape::Shape;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::str::FromStr;

/// How far a loss's gradient reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Learning {
    /// Every layer learns from its own loss; no gradient crosses a layer's border.
    Local,
    /// Back-propagation of the top layer's loss through the whole network: the BP-CLAPP++ baseline.
    Global,
    /// The error of the top layer's loss is sent to every layer below by a fixed random matrix, and goes no further
    /// than that layer: direct feedback alignment.
    Broadcast,
    /// As [`Learning::Global`], but errors come down through kernels of their own, which learn to mirror the weights.
    Mirrored,
    /// Activities relax on an energy of prediction errors and the top layer's loss: predictive coding.
    Relaxed,
    /// Every layer learns from its own loss, with the top's activity, relaxed first, for a context: the hybrid.
    TopRelaxed,
}

impl Learning {
    /// Whether the top layer alone has a loss.
    pub fn top_only(self) -> bool {
        !matches!(self, Self::Local | Self::TopRelaxed)
    }
}

/// How feedback kernels learn to mirror the weights ([`crate::step::mirror`]).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Mirror {
    /// Frames of noise that a layer sees in a step.
    pub rows: usize,
    /// Standard deviation of the noise.
    pub amplitude: f32,
    /// Learning rate of the kernels.
    pub rate: f32,
    /// Decay of the kernels in a step.
    pub decay: f32,
    /// Phases before the first step of learning: errors that come down through kernels which mirror nothing yet do harm
    /// that the weights do not recover from in a short training.
    pub ahead: usize,
}

impl Default for Mirror {
    fn default() -> Self {
        Self { rows: 64, amplitude: 1.0, rate: 0.2, decay: 0.2, ahead: 30 }
    }
}

/// By what inference descends on the energy of predictive coding ([`crate::step::relax`]); the energy and where it rests
/// are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Inference {
    /// By the prediction errors (Goemaere et al. 2025): rests after a few iterations.
    #[default]
    Errors,
    /// By the activities (Rao and Ballard 1999; Whittington and Bogacz 2017), where a layer hears of its neighbours alone:
    /// in trained networks the lower layers rest after very many iterations only.
    Activities,
}

/// How activities relax on the energy of predictive coding ([`crate::step::relax`]).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Relaxation {
    /// By what it descends.
    pub by: Inference,
    /// Steps of inference.
    pub iterations: usize,
    /// Length of a step, in gradients.
    pub rate: f32,
    /// Weight of a row's loss against half the squared prediction errors.
    pub weight: f32,
}

impl Relaxation {
    /// As [`Default`] has it.
    pub const DEFAULT: Self = Self { by: Inference::Errors, iterations: 4, rate: 0.8, weight: 1.0 };
}

impl Default for Relaxation {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// The linear head of InfoNCE on the top's pooled activity (docs/paper.md 2.8).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Head {
    /// Rows of its matrix `[outputs, D_top]`; there is no bias.
    pub outputs: usize,
    /// Temperature of the softmax over cosines.
    pub temperature: f32,
}

/// Source of the gradient of the projections below the top, in local rules with trainable projections
/// (docs/paper.md 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Feedback {
    /// Their own layer's loss.
    #[default]
    Trained,
    /// Nothing: they keep their first values, and only the top's learn. The control with random feedback.
    Frozen,
    /// The distance of the error that they send from the one that back-propagation of the top's loss brings.
    Matched,
}

/// What the rows of a batch are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Inputs {
    /// Two views of each image: each is the other's positive.
    #[default]
    Views,
    /// An image and a hybrid of two others' parts, cut out by a mask: the negatives of Forward-Forward.
    Hybrids,
    /// An image with itself and with another one, halved: the pairs of SCFF.
    Sums,
}

/// How gradients come down to the layers in global learning; the gradients are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Backward {
    /// All maps are kept until then.
    #[default]
    Whole,
    /// Maps are kept at a few layers, and computed again between them.
    Checkpointed,
    /// The images of a batch go through the network in so many parts, twice.
    Accumulated(usize),
}

impl FromStr for Backward {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.strip_prefix("accumulated=").map(str::parse)) {
            ("whole", _) => Ok(Self::Whole),
            ("checkpointed", _) => Ok(Self::Checkpointed),
            (_, Some(Ok(parts))) => Ok(Self::Accumulated(parts)),
            _ => Err("expected whole, checkpointed or accumulated=PARTS".into()),
        }
    }
}

/// A local rule without a contrast, and so without positives, negatives and projections.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Uncontrasted {
    /// Distances of views, variances and covariances ([`crate::rules::lpl`]).
    Lpl(Lpl),
    /// Channels that compete ([`crate::rules::soft_hebb`]).
    SoftHebb(SoftHebb),
}

/// What a network's rule is beyond the part that `clapp-core` knows.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Options {
    /// InfoNCE with this head instead of the contrast; with [`Learning::Global`] only.
    pub head: Option<Head>,
    /// A rule instead of the contrast; with [`Learning::Local`] only.
    pub uncontrasted: Option<Uncontrasted>,
    /// What the projections below the top learn from.
    pub feedback: Feedback,
    /// How gradients come down in global learning.
    pub backward: Backward,
    /// What the rows of a batch are.
    pub inputs: Inputs,
    /// Whether a layer sees the output of the one below with a mean square of 1 in each row.
    pub normalise: bool,
    /// Of [`Learning::Relaxed`] and [`Learning::TopRelaxed`].
    pub relaxation: Relaxation,
    /// Of [`Learning::Mirrored`].
    pub mirror: Mirror,
}

/// A checked network description with a number of blocks known at run time.
#[derive(Debug, Clone, PartialEq)]
pub struct NetworkSpec {
    input: Shape,
    blocks: Vec<Block>,
    rule: Rule,
    learning: Learning,
    options: Options,
    layers: Vec<Layer>,
}

impl NetworkSpec {
    /// Checks and keeps the description.
    ///
    /// # Errors
    /// The first thing that does not fit together.
    pub fn new(input: Shape, blocks: Vec<Block>, rule: Rule, learning: Learning) -> Result<Self, NetworkError> {
        let view = NetworkView::try_new(input, &blocks, rule)?;
        let layers = (0..blocks.len()).filter_map(|index| view.layer(index)).collect();
        Ok(Self { input, blocks, rule, learning, options: Options::default(), layers })
    }

    /// The same network with options.
    pub fn with_options(self, options: Options) -> Self {
        Self { options, ..self }
    }

    /// The description as `clapp-core` reads it.
    pub fn view(&self) -> NetworkView<'_> {
        // The parts are private and were checked by `new`; a failure here would be a bug in this file.
        match NetworkView::try_new(self.input, &self.blocks, self.rule) {
            Ok(view) => view,
            Err(error) => unreachable!("a checked network: {error}"),
        }
    }

    /// Shape of a frame.
    pub fn input(&self) -> Shape {
        self.input
    }

    /// Shapes of all layers, from the input to the top.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// The learning rule of every layer.
    pub fn rule(&self) -> Rule {
        self.rule
    }

    /// How far gradients reach.
    pub fn learning(&self) -> Learning {
        self.learning
    }

    /// What the rule is beyond [`NetworkSpec::rule`].
    pub fn options(&self) -> Options {
        self.options
    }

    /// Why `clapp-core` cannot learn by this network's rule, where it cannot.
    pub fn beyond_core(&self) -> Option<&'static str> {
        let Options { head, uncontrasted, feedback, inputs, normalise, .. } = self.options;
        if matches!(self.learning, Learning::Relaxed | Learning::TopRelaxed) {
            Some("relaxes activity on an energy")
        } else if self.keeps_all_activity() || head.is_some() {
            Some("needs back-propagation through the network")
        } else if self.learning == Learning::Broadcast {
            Some("sends the error of the top to all layers")
        } else if let Some(rule) = uncontrasted {
            Some(match rule {
                Uncontrasted::Lpl(_) => "learns from variances and covariances over a batch",
                Uncontrasted::SoftHebb(_) => "learns by a competition of channels, from no gradient",
            })
        } else if feedback == Feedback::Frozen {
            Some("has projections of which only the top's learn")
        } else if inputs != Inputs::Views || normalise {
            Some("takes mixtures of images for negatives, and activity of unit length between layers")
        } else {
            None
        }
    }

    /// Why no GPU can learn by this network's rule, where it cannot.
    pub fn beyond_gpu(&self) -> Option<&'static str> {
        let lacks = "there are no kernels of this rule for GPUs; expected --backend cpu";
        let learning = matches!(self.learning, Learning::Mirrored | Learning::Relaxed | Learning::TopRelaxed);
        (learning || self.options.uncontrasted.is_some()).then_some(lacks)
    }

    /// Whether a training step keeps every layer's maps until the gradients have come down to it.
    pub fn keeps_all_activity(&self) -> bool {
        matches!(self.learning, Learning::Global | Learning::Mirrored | Learning::Relaxed)
            || self.options.feedback == Feedback::Matched
    }

    fn is_top(&self, layer: &Layer) -> bool {
        layer.index + 1 == self.layers.len()
    }

    /// Whether a layer's projections change.
    pub fn projections_learn(&self, layer: &Layer) -> bool {
        let fixed = self.options.feedback == Feedback::Frozen || self.learning == Learning::Broadcast;
        let frozen = fixed && !self.is_top(layer);
        self.rule.projection == Projection::Trainable && !frozen
    }

    /// The names and shapes of a layer's tensors, in the order of [`clapp_core::plan`].
    ///
    /// Where only the top layer has a loss, only it has projections; under [`Learning::Broadcast`] the feedback of those
    /// below is the matrix that the top's error comes by.
    pub fn tensors(&self, layer: &Layer) -> Vec<(TensorRole, Vec<usize>)> {
        let block = &layer.block;
        let mut list = vec![(
            TensorRole::Weight,
            vec![block.out_channels, layer.input.channels, block.kernel[0], block.kernel[1]],
        )];
        if block.bias {
            list.push((TensorRole::Bias, vec![block.out_channels]));
        }
        let view = self.view();
        let own = layer.pooled.len();
        let has_loss = !self.learning.top_only() || self.is_top(layer);
        if has_loss && view.same_len(layer) > 0 {
            list.push((TensorRole::Projection, vec![own, own]));
        }
        if (has_loss || self.learning == Learning::Broadcast) && view.feedback_len(layer) > 0 {
            list.push((TensorRole::Feedback, vec![own, view.top_len()]));
        }
        if let Some(head) = self.options.head.filter(|_| self.is_top(layer)) {
            list.push((TensorRole::Head, vec![head.outputs, own]));
        }
        // Nothing asks for the error of frames.
        if self.learning == Learning::Mirrored && layer.index > 0 {
            list.push((TensorRole::Mirror, list[0].1.clone()));
        }
        list
    }

    /// Whether the optimiser changes a tensor of a layer. What mirrors the weights has a rule of its own.
    pub fn learns(&self, layer: &Layer, role: TensorRole) -> bool {
        match role {
            TensorRole::Weight | TensorRole::Bias | TensorRole::Head => true,
            TensorRole::Projection | TensorRole::Feedback => self.projections_learn(layer),
            TensorRole::Mirror => false,
        }
    }

    /// Cuts parameters in the flat order of [`clapp_core::plan`] into tensors.
    pub fn values_from_flat(&self, flat: &[f32]) -> Vec<LayerValues> {
        self.pieces(flat.len())
            .into_iter()
            .map(|ranges| {
                let mut values = LayerValues::default();
                for (role, range) in ranges {
                    *values.get_mut(role) = flat[range].to_vec();
                }
                values
            })
            .collect()
    }

    /// The flat order of [`clapp_core::plan`]; tensors that `values` lack (below the top in global learning) are 0.
    pub fn flat_from_values(&self, values: &[LayerValues]) -> Vec<f32> {
        let mut flat = vec![0.0; self.view().parameter_len()];
        for (ranges, values) in self.pieces(flat.len()).into_iter().zip(values) {
            for (role, range) in ranges {
                let tensor = values.get(role);
                if tensor.len() == range.len() {
                    flat[range].copy_from_slice(tensor);
                }
            }
        }
        flat
    }

    /// Where each tensor of each layer lies in `len` flat parameters.
    fn pieces(&self, len: usize) -> Vec<Vec<(TensorRole, Range<usize>)>> {
        let view = self.view();
        let piece = |start: usize, count: usize| start.min(len)..(start + count).min(len);
        let of_layer = |layer: &Layer| {
            let (weights, projections) = (layer.encoder_offset, view.projection_offset(layer));
            let same = view.same_len(layer);
            vec![
                (TensorRole::Weight, piece(weights, layer.weight_len())),
                (TensorRole::Bias, piece(weights + layer.weight_len(), layer.bias_len())),
                (TensorRole::Projection, piece(projections, same)),
                (TensorRole::Feedback, piece(projections + same, view.feedback_len(layer))),
            ]
        };
        self.layers.iter().map(of_layer).collect()
    }
}

/// Which tensor of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TensorRole {
    /// Convolution weights `[out, in, kh, kw]`.
    Weight,
    /// Biases `[out]`.
    Bias,
    /// Projection of the same layer's context `[D, D]`.
    Projection,
    /// Projection of the top layer's context, or of its error under [`Learning::Broadcast`], `[D, D_top]`.
    Feedback,
    /// Head of InfoNCE `[outputs, D_top]`, at the top only.
    Head,
    /// Kernels that errors come down through, `[out, in, kh, kw]` as the weights.
    Mirror,
}

impl TensorRole {
    /// All of them, in the order of [`NetworkSpec::tensors`].
    pub const ALL: [Self; 6] = [Self::Weight, Self::Bias, Self::Projection, Self::Feedback, Self::Head, Self::Mirror];

    /// Whether it has the shape and the layout of convolution weights.
    pub fn is_kernel(self) -> bool {
        matches!(self, Self::Weight | Self::Mirror)
    }

    /// The name in files: `layer{l}.{name}`, or `head`, of which there is one.
    pub fn path(self, layer: usize) -> String {
        match self {
            Self::Head => self.name().to_owned(),
            role => format!("layer{layer}.{}", role.name()),
        }
    }

    /// The name among a layer's tensors.
    pub fn name(self) -> &'static str {
        match self {
            Self::Weight => "weight",
            Self::Bias => "bias",
            Self::Projection => "projection",
            Self::Feedback => "feedback",
            Self::Head => "head",
            Self::Mirror => "mirror",
        }
    }
}

/// The values of one layer's tensors on the host, row-major as in [`NetworkSpec::tensors`]; empty where absent.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LayerValues {
    /// Convolution weights `[out, in, kh, kw]`.
    pub weight: Vec<f32>,
    /// Biases `[out]`.
    pub bias: Vec<f32>,
    /// Projection of the same layer's context `[D, D]`.
    pub projection: Vec<f32>,
    /// Projection of the top layer's context `[D, D_top]`.
    pub feedback: Vec<f32>,
    /// Head of InfoNCE `[outputs, D_top]`.
    pub head: Vec<f32>,
    /// Kernels of the way back `[out, in, kh, kw]`.
    pub mirror: Vec<f32>,
}

impl LayerValues {
    /// A tensor by its role.
    pub fn get(&self, role: TensorRole) -> &Vec<f32> {
        match role {
            TensorRole::Weight => &self.weight,
            TensorRole::Bias => &self.bias,
            TensorRole::Projection => &self.projection,
            TensorRole::Feedback => &self.feedback,
            TensorRole::Head => &self.head,
            TensorRole::Mirror => &self.mirror,
        }
    }

    /// A tensor by its role, to change it.
    pub fn get_mut(&mut self, role: TensorRole) -> &mut Vec<f32> {
        match role {
            TensorRole::Weight => &mut self.weight,
            TensorRole::Bias => &mut self.bias,
            TensorRole::Projection => &mut self.projection,
            TensorRole::Feedback => &mut self.feedback,
            TensorRole::Head => &mut self.head,
            TensorRole::Mirror => &mut self.mirror,
        }
    }
}
