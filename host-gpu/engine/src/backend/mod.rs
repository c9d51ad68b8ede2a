//! The operations that a device must offer for training: few, and each coarse enough to be worth a launch.
//!
//! The rules ([`crate::rules`]) are written once, over this trait. The backend chooses the layout of its tensors.
//! Uploads and downloads use the layouts of [`clapp_core::plan`] (`[C, H, W]` frames, `[out, in, kh, kw]` weights).

pub mod cpu;
mod job;
mod scores;

pub use job::Job;
pub use scores::{Mismatch, Scores};

use crate::model::TensorRole;
use crate::optimizer::Optimizer;
use clapp_core::network::Rule;
use clapp_core::plan::Layer;
use clapp_core::shape::Shape;
use clapp_data::error::Error;
use std::ops::Range;

/// The output of a block for all rows of a batch.
#[derive(Debug)]
pub struct Activity<T, A> {
    /// Number of rows (frames).
    pub rows: usize,
    /// Output map `z` after activation and max-pool, in the backend's layout.
    pub z: T,
    /// Position of each maximum in its window; empty without max-pool.
    pub argmax: A,
}

/// [`Activity`] on a backend.
pub type ActivityOf<B> = Activity<<B as Backend>::Tensor, <B as Backend>::Argmax>;

/// One trained tensor with the state of its optimiser.
#[derive(Debug)]
pub struct Parameter<T> {
    /// The values.
    pub value: T,
    /// First moments (momentum), as long as `value`; empty until the first step that needs them.
    pub first: T,
    /// Second moments, as long as `value`; empty until the first step that needs them.
    pub second: T,
}

/// Whose activity is a row's positive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Partner {
    /// The activity of the other view of the same image (docs/paper.md 1.3).
    OtherView,
    /// The row's own activity. Its score is then its goodness, the mean square of its activity: the projection is the
    /// identity over `D`. Activity and context are the same and both get a gradient, so the gradient is twice as large.
    Itself,
}

/// Pairs of rows that a batch compares: positives and negatives.
#[derive(Debug, Clone, Copy)]
pub struct Pairing<'a> {
    /// Whose activity is the positive of each row.
    pub partner: Partner,
    /// Index `n_k(j)` into the list of positives, `[lists][K][rows]` flattened (docs/paper.md 1.3).
    pub negatives: &'a [usize],
    /// Number of lists of negatives: 1, which all losses share, or two a layer, the first for the loss whose context is
    /// the same layer, the second for the one whose context is the top.
    pub lists: usize,
    /// Index of the list of negatives, if [`Pairing::of`] has chosen one.
    pub list: usize,
    /// For each row, whether only its positive (`true`) or only its negative term counts; `None` for both.
    pub keep_positive: Option<&'a [bool]>,
}

impl<'a> Pairing<'a> {
    /// Two views of each image, with one list of negatives for all losses.
    pub fn views(negatives: &'a [usize], keep_positive: Option<&'a [bool]>) -> Self {
        Self { partner: Partner::OtherView, negatives, lists: 1, list: 0, keep_positive }
    }

    /// The pairing of one loss, which has one list of negatives.
    pub fn of(self, layer: usize, role: TensorRole) -> Self {
        if self.lists <= 1 {
            return self;
        }
        let list = 2 * layer + usize::from(role == TensorRole::Feedback);
        let len = self.negatives.len() / self.lists;
        Self { negatives: &self.negatives[list * len..(list + 1) * len], lists: 1, list, ..self }
    }

    /// The row whose activity is the positive of `row` among `rows`: `pi(j)`. Its inverse is itself.
    pub fn partner(&self, row: usize, rows: usize) -> usize {
        match self.partner {
            Partner::OtherView => (row + rows / 2) % rows,
            Partner::Itself => row,
        }
    }
}

/// Results of a contrast for one layer, one context and all rows.
#[derive(Debug, Clone)]
pub struct Factors<T, S> {
    /// Scores, third factors and loss of each row.
    pub scores: S,
    /// Predictions `s = B c`, `[rows, D]`.
    pub prediction: T,
}

/// [`Factors`] on a backend.
pub type FactorsOf<B> = Factors<<B as Backend>::Tensor, <B as Backend>::Scores>;

/// The losses of a layer on a backend, each with who is compared with whom.
pub type PairedLosses<'a, B> = [(Pairing<'a>, &'a FactorsOf<B>)];

/// Gradients of a block's weights and biases.
#[derive(Debug)]
pub struct BlockGradient<T> {
    /// Same shape as the weights.
    pub weight: T,
    /// Same shape as the biases; empty without bias.
    pub bias: T,
}

/// Result of InfoNCE on the top layer's pooled activity (docs/paper.md 2.8).
#[derive(Debug)]
pub struct InfoNce<T, G, S> {
    /// As scores: the cosine of each image's two views, `[N]`, for positives, and the mean cosine of each first view
    /// with the second views of the other images, `[N]`, for negatives; mean loss over the N first views.
    pub scores: S,
    /// Gradient with respect to the pooled activity of both views, `[rows, D]`.
    pub pooled: G,
    /// Gradient with respect to the head, `[outputs, D]`.
    pub head: T,
}

/// An operation that only one rule needs. The rule's file contains its body for the CPU. No such operation has a GPU
/// body so far, and its rule is refused on a GPU.
pub trait Custom {
    /// The rule's name.
    fn rule(&self) -> &'static str;

    /// Runs on the host. `inputs` are tensors in the layouts of [`cpu`].
    fn cpu(&self, inputs: &[&[f32]]) -> CustomOf<cpu::Cpu>;
}

/// Results of a [`Custom`] operation.
#[derive(Debug, Default)]
pub struct CustomOutput<T, G, S> {
    /// Tensors.
    pub tensors: Vec<T>,
    /// A gradient with respect to pooled activity.
    pub pooled: Option<G>,
    /// Scores.
    pub scores: Option<S>,
}

/// [`CustomOutput`] on a backend.
pub type CustomOf<B> = CustomOutput<<B as Backend>::Tensor, <B as Backend>::PooledGradient, <B as Backend>::Scores>;

/// Distance of a layer's error from the ideal one, and the gradient of that distance for its projections
/// (docs/paper.md 3).
#[derive(Debug)]
pub struct Matching<T, D> {
    /// `F = ||G_ideal - G||^2`, and `||G_ideal||^2`.
    pub distance: D,
    /// `dF/ds`, `[rows, D]`, one a loss: the rows of the gradient by its projection, as of
    /// [`Backend::projection_errors`].
    pub errors: Vec<T>,
}

/// Some rows of a tensor: the tensor, its number of rows, and the range of rows.
pub type RowsOf<'a, T> = (&'a T, usize, Range<usize>);

/// A device that can train.
pub trait Backend: Sized {
    /// An array of `f32` on the device.
    type Tensor;
    /// A gradient of pooled activity, which a device may keep in another precision.
    type PooledGradient;
    /// Positions of maxima.
    type Argmax;
    /// Scores `u`, third factors `d loss / d u` (docs/paper.md 2.1) and losses of all rows under one context.
    type Scores;
    /// `F` and `||G_ideal||^2` of one layer.
    type Distance;

    /// Returns the rows' scores and losses. Waits for the device.
    fn read_scores(&self, pairing: Pairing<'_>, role: TensorRole, scores: &Self::Scores) -> Scores;
    /// Returns a distance. Waits for the device.
    fn read_distance(&self, distance: &Self::Distance) -> Mismatch;
    /// Returns the first failure on the device since the last call. Operations after a failure do nothing.
    ///
    /// # Errors
    /// The first failure.
    fn check(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Copies values to the device as they are.
    fn upload(&self, values: &[f32]) -> Self::Tensor;
    /// Copies values back as they are.
    fn download(&self, tensor: &Self::Tensor) -> Vec<f32>;
    /// Copies frames `[rows, C, H, W]` into the device's layout of maps.
    fn upload_frames(&self, shape: Shape, values: &[f32]) -> Self::Tensor;
    /// Copies maps back as `[rows, C, H, W]`.
    fn download_frames(&self, shape: Shape, maps: &Self::Tensor) -> Vec<f32>;
    /// Copies weights `[out, in, kh, kw]` into the device's layout.
    fn upload_weights(&self, layer: &Layer, values: &[f32]) -> Self::Tensor;
    /// Copies weights back as `[out, in, kh, kw]`.
    fn download_weights(&self, layer: &Layer, weights: &Self::Tensor) -> Vec<f32>;

    /// Convolution, activation and max-pool of `rows` frames (docs/paper.md 2.5).
    fn forward(
        &self,
        layer: &Layer,
        weight: &Self::Tensor,
        bias: &Self::Tensor,
        x: &Self::Tensor,
        rows: usize,
    ) -> ActivityOf<Self>;

    /// Loss pooling: `p`, `[rows, D]`, channel-major (docs/paper.md 2.4).
    fn pool(&self, layer: &Layer, activity: &ActivityOf<Self>) -> Self::Tensor;

    /// Scores, third factors and loss of pooled activity `p` `[rows, D]` under context `c` `[rows, D_src]`
    /// (docs/paper.md 1.2 and 2.1). Without a projection it is the identity.
    fn contrast(
        &self,
        rule: &Rule,
        pairing: Pairing<'_>,
        p: &Self::Tensor,
        c: &Self::Tensor,
        projection: Option<&Self::Tensor>,
        rows: usize,
    ) -> FactorsOf<Self>;

    /// Rows `c` `[rows, D_src]` through a matrix `[D, D_src]`: `B c`, `[rows, D]`.
    fn project(&self, matrix: &Self::Tensor, c: &Self::Tensor, rows: usize) -> Self::Tensor;

    /// Gradient of `losses` with respect to `p`, summed over them (docs/paper.md 2.3), `[rows, D]`.
    fn pooled_gradient(&self, losses: &PairedLosses<'_, Self>, rows: usize) -> Self::PooledGradient;

    /// Normalises maps to a mean square of 1 in each of `rows` rows, so that the next layer cannot read this layer's
    /// goodness from the length. A row of zeros stays zero.
    fn normalise(&self, z: &Self::Tensor, rows: usize) -> Self::Tensor;

    /// The rows `Q` of the projection's gradient `Q^T C` (docs/paper.md 2.2), `[rows, D]`: that gradient is a sum of
    /// outer products, one a row, and its rows are much smaller than it.
    fn projection_errors(
        &self,
        pairing: Pairing<'_>,
        p: &Self::Tensor,
        factors: &FactorsOf<Self>,
        rows: usize,
    ) -> Self::Tensor;

    /// Makes the pairs of SCFF from a layer's output: row `N + i` becomes the mean of the rows `i` and `i + 1` (the
    /// first after the last) of the first half. The first half stays.
    fn pair_anew(&self, z: &Self::Tensor, rows: usize) -> Self::Tensor;

    /// Gradient of the loss with respect to the projection, from [`Backend::projection_errors`] and the contexts
    /// `c` `[rows, D_src]`: `[D, D_src]`.
    fn projection_gradient(&self, errors: &Self::Tensor, c: &Self::Tensor, rows: usize) -> Self::Tensor;

    /// The gradient of [`Backend::projection_gradient`] and its optimiser step in one; a backend need not
    /// write the gradient out. `step` counts from 1.
    fn update_projection(
        &self,
        errors: &Self::Tensor,
        c: &Self::Tensor,
        rows: usize,
        projection: &mut Parameter<Self::Tensor>,
        optimizer: &Optimizer,
        step: u64,
    );

    /// InfoNCE of pooled activity `p` `[rows, D]` through a head `[outputs, D]`: cosines of each first view with all
    /// second views over `temperature`, cross-entropy with its own (docs/paper.md 2.8). Both views are live.
    fn info_nce(
        &self,
        p: &Self::Tensor,
        head: &Self::Tensor,
        temperature: f32,
        rows: usize,
    ) -> InfoNce<Self::Tensor, Self::PooledGradient, Self::Scores>;

    /// An operation of one rule; `None` if the backend has no body for it, as [`Backend::check`] then says.
    fn custom(&self, operation: &dyn Custom, inputs: &[&Self::Tensor]) -> Option<CustomOf<Self>>;

    /// Averages a gradient over the batches of all processes, weighted by their images. With one process, returns it
    /// unchanged.
    fn over_processes(&self, gradient: Self::Tensor) -> Self::Tensor {
        gradient
    }

    /// The distance of the error `pooled`, spread over the output maps, from the error `ideal` of those maps, and its
    /// gradient with respect to the predictions of each of the `losses` (docs/paper.md 3).
    #[expect(clippy::too_many_arguments, reason = "one layer's losses and both of its errors")]
    fn matching(
        &self,
        rule: &Rule,
        layer: &Layer,
        p: &Self::Tensor,
        losses: &PairedLosses<'_, Self>,
        pooled: &Self::PooledGradient,
        ideal: &Self::Tensor,
        rows: usize,
    ) -> Matching<Self::Tensor, Self::Distance>;

    /// Spreads a pooled gradient `[rows, D]` over the output maps (docs/paper.md 2.4).
    fn spread(&self, layer: &Layer, pooled: &Self::PooledGradient, rows: usize) -> Self::Tensor;

    /// Gradients of a block from the gradient of its pooled activity (docs/paper.md 2.4 and 2.5).
    fn local_gradient(
        &self,
        layer: &Layer,
        x: &Self::Tensor,
        activity: &ActivityOf<Self>,
        pooled: &Self::PooledGradient,
    ) -> BlockGradient<Self::Tensor>;

    /// Gradients of a block from the gradient of its output maps.
    fn block_gradient(
        &self,
        layer: &Layer,
        x: &Self::Tensor,
        activity: &ActivityOf<Self>,
        dz: &Self::Tensor,
    ) -> BlockGradient<Self::Tensor>;

    /// Gradient of a block's input from the gradient of its output maps; the local rules never ask for it.
    fn input_gradient(
        &self,
        layer: &Layer,
        weight: &Self::Tensor,
        activity: &ActivityOf<Self>,
        dz: &Self::Tensor,
    ) -> Self::Tensor;

    /// Concatenates some rows of each of several tensors.
    fn gather_rows(&self, pieces: &[RowsOf<'_, Self::Tensor>]) -> Self::Tensor;

    /// Rows of a pooled gradient of `rows` rows, one range after the other.
    fn gather_pooled(
        &self,
        pooled: &Self::PooledGradient,
        rows: usize,
        ranges: &[Range<usize>],
    ) -> Self::PooledGradient;

    /// Returns `true` if the heads of a probe should learn on the device, which then keeps `values` feature values.
    fn teaches_heads(&self, _values: usize) -> bool {
        false
    }

    /// The rows with these indices, in that order, of each matrix `[_, dimension]`.
    fn rows_at(&self, matrices: &[(&Self::Tensor, usize)], rows: &[usize]) -> Vec<Self::Tensor> {
        let of = |(matrix, dimension): &(&Self::Tensor, usize)| {
            let values = self.download(matrix);
            let row = |row: &usize| values[row * dimension..(row + 1) * dimension].iter().copied();
            self.upload(&rows.iter().flat_map(row).collect::<Vec<f32>>())
        };
        matrices.iter().map(of).collect()
    }

    /// Gradient of the mean cross-entropy over all rows, after a softmax: with respect to the scores, `[rows,
    /// classes]`, of `logits` with `bias` `[classes]` added to each row; and with respect to the bias. One label a row.
    fn softmax(&self, logits: &Self::Tensor, bias: &Self::Tensor, labels: &[usize]) -> [Self::Tensor; 2] {
        let (mut errors, bias) = (self.download(logits), self.download(bias));
        let mut sums = vec![0.0; bias.len()];
        for (row, label) in errors.chunks_exact_mut(bias.len().max(1)).zip(labels) {
            row.iter_mut().zip(&bias).for_each(|(score, bias)| *score += bias);
            let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f32 = row.iter().map(|score| (score - most).exp()).sum();
            for (class, (error, total)) in row.iter_mut().zip(&mut sums).enumerate() {
                let target = if class == *label { 1.0 } else { 0.0 };
                *error = ((*error - most).exp() / sum - target) / labels.len() as f32;
                *total += *error;
            }
        }
        [self.upload(&errors), self.upload(&sums)]
    }

    /// The sum of some tensors of one length, each times its factor.
    fn scaled_sum(&self, terms: &[(f32, &Self::Tensor)]) -> Self::Tensor {
        let mut sum = Vec::new();
        for (factor, tensor) in terms {
            let values = self.download(tensor);
            sum.resize(values.len(), 0.0);
            sum.iter_mut().zip(&values).for_each(|(sum, value)| *sum += factor * value);
        }
        self.upload(&sum)
    }

    /// The sum of a tensor's squares; waits for the device.
    fn square_sum(&self, tensor: &Self::Tensor) -> f64 {
        self.download(tensor).iter().map(|value| f64::from(*value) * f64::from(*value)).sum()
    }

    /// Adds a tensor to another one.
    fn add(&self, sum: &mut Self::Tensor, more: &Self::Tensor);

    /// One optimiser step of some tensors, each with its gradient; `step` counts from 1.
    fn update(&self, tensors: &mut [(&mut Parameter<Self::Tensor>, &Self::Tensor)], optimizer: &Optimizer, step: u64);
}
