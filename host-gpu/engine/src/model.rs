//! A network whose size is known at run time, and its parameters by tensor.

use clapp_core::network::{Block, NetworkView, Projection, Rule};
use clapp_core::plan::{Layer, NetworkError};
use clapp_core::shape::Shape;
use std::any::Any;
use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

/// Content of the rows of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Inputs {
    /// Two views of each image: each is the other's positive.
    #[default]
    Views,
    /// An image and a hybrid of two images, cut out by a mask: the negatives of Forward-Forward.
    Hybrids,
    /// An image with itself and with another one, halved: the pairs of SCFF.
    Sums,
}

/// The layers that have a loss, and projections for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LossLayers {
    /// Every layer.
    #[default]
    EveryLayer,
    /// Only the top layer.
    Top,
}

/// Requirements of the learning rule on the network: its tensors, and the normalisation between layers.
///
/// The default is that of a local rule: every layer has a loss, its projections learn, and activity goes up as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Form {
    /// The layers that have a loss.
    pub losses: LossLayers,
    /// Layers below the top have a matrix for the top layer's error, even without their own loss.
    pub error_matrices: bool,
    /// Only the top layer's projections learn; those below keep their first values.
    pub frozen_below_top: bool,
    /// Rows of the head of InfoNCE, a matrix `[outputs, D_top]` without bias on the top layer's pooled activity
    /// (docs/paper.md 2.8).
    pub head: Option<usize>,
    /// Layers above the first have separate kernels that send errors down.
    pub mirrors: bool,
    /// A layer sees the output of the one below with a mean square of 1 in each row.
    pub normalise: bool,
    /// Content of the rows of a batch.
    pub inputs: Inputs,
}

/// A learning rule, as a network carries it without knowing it.
pub(crate) trait LearntBy: Any + Debug + Send + Sync {
    /// Returns `true` if it is the same rule with the same settings.
    fn equals(&self, other: &dyn Any) -> bool;
}

impl<T: Any + Debug + PartialEq + Send + Sync> LearntBy for T {
    fn equals(&self, other: &dyn Any) -> bool {
        other.downcast_ref() == Some(self)
    }
}

#[derive(Debug, Clone)]
struct Carried(Arc<dyn LearntBy>);

impl PartialEq for Carried {
    fn eq(&self, other: &Self) -> bool {
        let other: &dyn Any = other.0.as_ref();
        self.0.as_ref().equals(other)
    }
}

/// A checked network description with a number of blocks known at run time.
#[derive(Debug, Clone, PartialEq)]
pub struct NetworkSpec {
    input: Shape,
    blocks: Vec<Block>,
    rule: Rule,
    form: Form,
    learnt_by: Carried,
    layers: Vec<Layer>,
}

impl NetworkSpec {
    /// Checks and keeps the description. `learnt_by` is the learning rule with its settings; the network only carries
    /// it to the training step.
    ///
    /// # Errors
    /// The first thing that does not fit together.
    pub(crate) fn new(
        input: Shape,
        blocks: Vec<Block>,
        rule: Rule,
        form: Form,
        learnt_by: Arc<dyn LearntBy>,
    ) -> Result<Self, NetworkError> {
        let view = NetworkView::try_new(input, &blocks, rule)?;
        let layers = (0..blocks.len()).filter_map(|index| view.layer(index)).collect();
        Ok(Self { input, blocks, rule, form, learnt_by: Carried(learnt_by), layers })
    }

    /// The same network under another learning rule.
    pub(crate) fn relearnt(self, form: Form, learnt_by: Arc<dyn LearntBy>) -> Self {
        Self { form, learnt_by: Carried(learnt_by), ..self }
    }

    /// Returns the learning rule with its settings, in the type of the rules.
    pub(crate) fn learnt_by(&self) -> &dyn Any {
        self.learnt_by.0.as_ref()
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

    /// Returns the requirements of the learning rule.
    pub fn form(&self) -> Form {
        self.form
    }

    fn is_top(&self, layer: &Layer) -> bool {
        layer.index + 1 == self.layers.len()
    }

    /// Returns `true` if a layer's projections change.
    pub fn projections_learn(&self, layer: &Layer) -> bool {
        let frozen = self.form.frozen_below_top && !self.is_top(layer);
        self.rule.projection == Projection::Trainable && !frozen
    }

    /// The names and shapes of a layer's tensors, in the order of [`clapp_core::plan`].
    ///
    /// A layer without a loss has no projections, but it has feedback where [`Form::error_matrices`] says so.
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
        let has_loss = self.form.losses == LossLayers::EveryLayer || self.is_top(layer);
        if has_loss && view.same_len(layer) > 0 {
            list.push((TensorRole::Projection, vec![own, own]));
        }
        if (has_loss || self.form.error_matrices) && view.feedback_len(layer) > 0 {
            list.push((TensorRole::Feedback, vec![own, view.top_len()]));
        }
        if let Some(outputs) = self.form.head.filter(|_| self.is_top(layer)) {
            list.push((TensorRole::Head, vec![outputs, own]));
        }
        // No rule needs the error of frames.
        if self.form.mirrors && layer.index > 0 {
            list.push((TensorRole::Mirror, list[0].1.clone()));
        }
        list
    }

    /// Returns `true` if the optimiser changes a tensor of a layer. Mirror kernels have a separate update.
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

    /// Returns the range of each tensor of each layer in `len` flat parameters.
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

/// The role of a tensor in a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TensorRole {
    /// Convolution weights `[out, in, kh, kw]`.
    Weight,
    /// Biases `[out]`.
    Bias,
    /// Projection of the same layer's context `[D, D]`.
    Projection,
    /// Projection of the top layer's context, or of its error ([`Form::error_matrices`]), `[D, D_top]`.
    Feedback,
    /// Head of InfoNCE `[outputs, D_top]`, at the top only.
    Head,
    /// Kernels that errors come down through, `[out, in, kh, kw]` as the weights.
    Mirror,
}

impl TensorRole {
    /// All of them, in the order of [`NetworkSpec::tensors`].
    pub const ALL: [Self; 6] = [Self::Weight, Self::Bias, Self::Projection, Self::Feedback, Self::Head, Self::Mirror];

    /// Returns `true` if it has the shape and the layout of convolution weights.
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

/// The values of one layer's tensors on the host, row-major as in [`NetworkSpec::tensors`]; empty if absent.
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
