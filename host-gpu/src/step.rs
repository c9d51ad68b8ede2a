//! One training step over any backend: the layer-by-layer schedule of the local rules (spec 3.1), and
//! back-propagation of the top loss for the global baseline.

use crate::backend::{Activity, Backend, BlockGradient, Factors, Pairing, Parameter};
use crate::model::{LayerValues, Learning, NetworkSpec, TensorRole};
use crate::optimizer::Optimizer;
use clapp_core::network::Projection;
use clapp_core::plan::Layer;

/// One layer's tensors on a backend.
#[derive(Debug)]
pub struct LayerParameters<T> {
    /// Convolution weights.
    pub weight: Parameter<T>,
    /// Biases; empty without bias.
    pub bias: Parameter<T>,
    /// Projection of the same layer's context, where the rule has one.
    pub projection: Option<Parameter<T>>,
    /// Projection of the top layer's context, where the rule has one.
    pub feedback: Option<Parameter<T>>,
}

/// A network with its parameters on a backend.
#[derive(Debug)]
pub struct Model<T> {
    /// The description.
    pub spec: NetworkSpec,
    /// The parameters, from the input to the top.
    pub layers: Vec<LayerParameters<T>>,
}

impl<T> Model<T> {
    /// Uploads values; tensors that the description does not name are left out.
    pub fn upload<B: Backend<Tensor = T>>(backend: &B, spec: NetworkSpec, values: &[LayerValues]) -> Self {
        let parameter = |value: T| Parameter { value, first: backend.upload(&[]), second: backend.upload(&[]) };
        let layers = spec
            .layers()
            .iter()
            .zip(values)
            .map(|(layer, values)| {
                let roles: Vec<TensorRole> = spec.tensors(layer).into_iter().map(|(role, _)| role).collect();
                let optional =
                    |role: TensorRole| roles.contains(&role).then(|| parameter(backend.upload(values.get(role))));
                LayerParameters {
                    weight: parameter(backend.upload_weights(layer, &values.weight)),
                    bias: parameter(backend.upload(&values.bias)),
                    projection: optional(TensorRole::Projection),
                    feedback: optional(TensorRole::Feedback),
                }
            })
            .collect();
        Self { spec, layers }
    }

    /// Copies all parameters back.
    pub fn download<B: Backend<Tensor = T>>(&self, backend: &B) -> Vec<LayerValues> {
        let optional = |parameter: &Option<Parameter<T>>| {
            parameter.as_ref().map(|parameter| backend.download(&parameter.value)).unwrap_or_default()
        };
        self.spec
            .layers()
            .iter()
            .zip(&self.layers)
            .map(|(layer, parameters)| LayerValues {
                weight: backend.download_weights(layer, &parameters.weight.value),
                bias: backend.download(&parameters.bias.value),
                projection: optional(&parameters.projection),
                feedback: optional(&parameters.feedback),
            })
            .collect()
    }
}

/// What a step does with the gradients.
#[derive(Debug)]
pub enum Mode<'a> {
    /// Applies them; `step` counts from 1.
    Update {
        /// The optimiser of all tensors.
        optimizer: &'a Optimizer,
        /// The number of this step.
        step: u64,
    },
    /// Leaves the parameters alone and keeps the gradients, one entry a layer.
    Record(&'a mut Vec<LayerValues>),
}

/// Scores and loss of one layer under one context.
#[derive(Debug, Clone)]
pub struct Scores {
    /// Which projection: the same layer's context or the top layer's.
    pub role: TensorRole,
    /// Scores of the positives, `[rows]`.
    pub u_pos: Vec<f32>,
    /// Scores of the negatives, `[K][rows]` flattened.
    pub u_neg: Vec<f32>,
    /// Mean loss over the rows.
    pub loss: f64,
}

/// Scores of each layer; empty where a layer has no loss (below the top in global learning).
pub type StepReport = Vec<Vec<Scores>>;

/// The loss of a layer in a report: the sum over its contexts.
pub fn layer_loss(scores: &[Scores]) -> f64 {
    scores.iter().map(|scores| scores.loss).sum()
}

/// One step on the frames `x` (in the backend's layout, `rows` of them: first views, then second views).
pub fn step<B: Backend>(
    backend: &B,
    model: &mut Model<B::Tensor>,
    x: B::Tensor,
    rows: usize,
    pairing: Pairing<'_>,
    mode: Mode<'_>,
) -> StepReport {
    match model.spec.learning() {
        Learning::Local => local_step(backend, model, x, rows, pairing, mode),
        Learning::Global => global_step(backend, model, x, rows, pairing, mode),
    }
}

/// Output of layer `index` for the maps below it.
pub fn forward<B: Backend>(
    backend: &B,
    model: &Model<B::Tensor>,
    layer: &Layer,
    x: &B::Tensor,
    rows: usize,
) -> Activity<B::Tensor> {
    let parameters = &model.layers[layer.index];
    backend.forward(layer, &parameters.weight.value, &parameters.bias.value, x, rows)
}

/// The contexts of one layer, as far as the rule has them.
struct Contexts<'a, T> {
    same: &'a T,
    top: &'a T,
}

impl<T> Contexts<'_, T> {
    fn of(&self, role: TensorRole) -> &T {
        if role == TensorRole::Feedback { self.top } else { self.same }
    }
}

/// Scores of one layer under each of its contexts.
fn contrasts<B: Backend>(
    backend: &B,
    model: &Model<B::Tensor>,
    layer: &Layer,
    pairing: Pairing<'_>,
    p: &B::Tensor,
    contexts: &Contexts<'_, B::Tensor>,
    rows: usize,
) -> Vec<(TensorRole, Factors<B::Tensor>)> {
    let rule = model.spec.rule();
    let parameters = &model.layers[layer.index];
    let mut list = Vec::with_capacity(2);
    if rule.context.has_same() {
        let projection = parameters.projection.as_ref().map(|parameter| &parameter.value);
        list.push((TensorRole::Projection, backend.contrast(&rule, pairing, p, contexts.same, projection, rows)));
    }
    if rule.context.has_top() {
        let projection = parameters.feedback.as_ref().map(|parameter| &parameter.value);
        list.push((TensorRole::Feedback, backend.contrast(&rule, pairing, p, contexts.top, projection, rows)));
    }
    list
}

fn report<T>(factors: Vec<(TensorRole, Factors<T>)>) -> Vec<Scores> {
    let scores = |(role, Factors { u_pos, u_neg, loss, .. })| Scores { role, u_pos, u_neg, loss };
    factors.into_iter().map(scores).collect()
}

/// Every layer from its own loss; the contexts are the other views' activity in the same batch. A context from
/// the top needs a forward pass of its own first.
fn local_step<B: Backend>(
    backend: &B,
    model: &mut Model<B::Tensor>,
    x: B::Tensor,
    rows: usize,
    pairing: Pairing<'_>,
    mut mode: Mode<'_>,
) -> StepReport {
    let layers = model.spec.layers().to_vec();
    let top = model.spec.rule().context.has_top().then(|| top_activity(backend, model, &layers, &x, rows));
    let mut reports = Vec::with_capacity(layers.len());
    let mut x = x;
    for layer in &layers {
        let (scores, _, z) = learn_layer(backend, model, layer, &x, rows, pairing, None, top.as_ref(), &mut mode);
        reports.push(scores);
        x = z;
    }
    reports
}

/// One frame of a stream: the contexts are `previous`, the activity of all layers in the frame before, which is
/// replaced by this frame's. A fixation pulls a layer towards its context, a saccade pushes it away. Without a
/// frame before (`previous` empty) nothing is learnt.
pub fn stream_step<B: Backend>(
    backend: &B,
    model: &mut Model<B::Tensor>,
    x: B::Tensor,
    previous: &mut Vec<B::Tensor>,
    fixation: bool,
    mut mode: Mode<'_>,
) -> StepReport {
    let layers = model.spec.layers().to_vec();
    let mut reports = Vec::with_capacity(layers.len());
    let mut pooled = Vec::with_capacity(layers.len());
    let mut x = x;
    // With one row, that row is its own partner: its positive and its negative, of which one counts.
    let pairing = Pairing { negatives: &[0], keep_positive: Some(&[fixation]) };
    for layer in &layers {
        let (scores, p, z) = match (previous.get(layer.index), previous.last()) {
            (Some(same), top) => learn_layer(backend, model, layer, &x, 1, pairing, Some(same), top, &mut mode),
            (None, _) => {
                let activity = forward(backend, model, layer, &x, 1);
                (Vec::new(), backend.pool(layer, &activity), activity.z)
            }
        };
        reports.push(scores);
        pooled.push(p);
        x = z;
    }
    *previous = pooled;
    reports
}

/// Forward pass, loss and update of one layer; gives its scores, pooled activity and output. The maps below are
/// not needed any more after it. Without `same` and `top` the context is the layer's own activity.
#[expect(clippy::too_many_arguments, reason = "the factors of one layer's update")]
fn learn_layer<B: Backend>(
    backend: &B,
    model: &mut Model<B::Tensor>,
    layer: &Layer,
    x: &B::Tensor,
    rows: usize,
    pairing: Pairing<'_>,
    same: Option<&B::Tensor>,
    top: Option<&B::Tensor>,
    mode: &mut Mode<'_>,
) -> (Vec<Scores>, B::Tensor, B::Tensor) {
    let activity = forward(backend, model, layer, x, rows);
    let p = backend.pool(layer, &activity);
    let contexts = Contexts { same: same.unwrap_or(&p), top: top.unwrap_or(&p) };
    let factors = contrasts(backend, model, layer, pairing, &p, &contexts, rows);
    let all: Vec<&Factors<B::Tensor>> = factors.iter().map(|(_, factors)| factors).collect();
    let dp = backend.pooled_gradient(pairing, &all, rows);
    let gradient = backend.local_gradient(layer, x, &activity, &dp);
    let kind = model.spec.rule().projection;
    let parameters = &mut model.layers[layer.index];
    let mut kept = LayerValues::default();
    learn_projections(backend, kind, parameters, pairing, &p, &contexts, &factors, rows, mode, &mut kept);
    learn_encoder(backend, layer, parameters, &gradient, mode, &mut kept);
    if let Mode::Record(gradients) = mode {
        gradients.push(kept);
    }
    (report(factors), p, activity.z)
}

fn learn_encoder<B: Backend>(
    backend: &B,
    layer: &Layer,
    parameters: &mut LayerParameters<B::Tensor>,
    gradient: &BlockGradient<B::Tensor>,
    mode: &mut Mode<'_>,
    kept: &mut LayerValues,
) {
    match mode {
        Mode::Update { optimizer, step } => {
            backend.update(&mut parameters.weight, &gradient.weight, optimizer, *step);
            backend.update(&mut parameters.bias, &gradient.bias, optimizer, *step);
        }
        Mode::Record(_) => {
            kept.weight = backend.download_weights(layer, &gradient.weight);
            kept.bias = backend.download(&gradient.bias);
        }
    }
}

/// Pooled activity of the top layer, by a forward pass that keeps nothing else.
fn top_activity<B: Backend>(
    backend: &B,
    model: &Model<B::Tensor>,
    layers: &[Layer],
    x: &B::Tensor,
    rows: usize,
) -> B::Tensor {
    let mut below: Option<B::Tensor> = None;
    let mut p = None;
    for layer in layers {
        let activity = forward(backend, model, layer, below.as_ref().unwrap_or(x), rows);
        if layer.index + 1 == layers.len() {
            p = Some(backend.pool(layer, &activity));
        }
        below = Some(activity.z);
    }
    p.unwrap_or_else(|| backend.upload(&[]))
}

#[expect(clippy::too_many_arguments, reason = "the factors of one layer's update")]
fn learn_projections<B: Backend>(
    backend: &B,
    kind: Projection,
    parameters: &mut LayerParameters<B::Tensor>,
    pairing: Pairing<'_>,
    p: &B::Tensor,
    contexts: &Contexts<'_, B::Tensor>,
    factors: &[(TensorRole, Factors<B::Tensor>)],
    rows: usize,
    mode: &mut Mode<'_>,
    kept: &mut LayerValues,
) {
    if kind != Projection::Trainable {
        return;
    }
    for (role, factors) in factors {
        let c = contexts.of(*role);
        let parameter = match role {
            TensorRole::Feedback => &mut parameters.feedback,
            _ => &mut parameters.projection,
        };
        let Some(parameter) = parameter else { continue };
        let errors = backend.projection_errors(pairing, p, factors, rows);
        match &mut *mode {
            Mode::Update { optimizer, step } => {
                backend.update_projection(&errors, c, rows, parameter, optimizer, *step);
            }
            Mode::Record(_) => {
                *kept.get_mut(*role) = backend.download(&backend.projection_gradient(&errors, c, rows));
            }
        }
    }
}

/// The top layer's loss, back-propagated through all blocks (BP-CLAPP++): every layer's maps are kept
/// until its gradient has been computed. On a network that learns locally it gives the gradients to compare with.
pub fn global_step<B: Backend>(
    backend: &B,
    model: &mut Model<B::Tensor>,
    x: B::Tensor,
    rows: usize,
    pairing: Pairing<'_>,
    mut mode: Mode<'_>,
) -> StepReport {
    let layers = model.spec.layers().to_vec();
    let mut activities: Vec<Activity<B::Tensor>> = Vec::with_capacity(layers.len());
    for layer in &layers {
        let below = activities.last().map_or(&x, |activity| &activity.z);
        let activity = forward(backend, model, layer, below, rows);
        activities.push(activity);
    }
    let mut reports: StepReport = layers.iter().map(|_| Vec::new()).collect();
    let (Some(top), Some(activity)) = (layers.last(), activities.last()) else { return reports };
    let p = backend.pool(top, activity);
    let contexts = Contexts { same: &p, top: &p };
    let factors = contrasts(backend, model, top, pairing, &p, &contexts, rows);
    let all: Vec<&Factors<B::Tensor>> = factors.iter().map(|(_, factors)| factors).collect();
    let dp = backend.pooled_gradient(pairing, &all, rows);
    let mut dz = backend.spread(top, &dp, rows);
    let mut kept: Vec<LayerValues> = layers.iter().map(|_| LayerValues::default()).collect();
    let kind = model.spec.rule().projection;
    learn_projections(
        backend,
        kind,
        &mut model.layers[top.index],
        pairing,
        &p,
        &contexts,
        &factors,
        rows,
        &mut mode,
        &mut kept[top.index],
    );
    reports[top.index] = report(factors);
    for layer in layers.iter().rev() {
        let Some(activity) = activities.pop() else { break };
        let below = activities.last().map_or(&x, |activity| &activity.z);
        let parameters = &mut model.layers[layer.index];
        let gradient = if layer.index == top.index {
            backend.local_gradient(layer, below, &activity, &dp)
        } else {
            backend.block_gradient(layer, below, &activity, &dz)
        };
        if layer.index > 0 {
            dz = backend.input_gradient(layer, &parameters.weight.value, &activity, &dz);
        }
        learn_encoder(backend, layer, parameters, &gradient, &mut mode, &mut kept[layer.index]);
    }
    if let Mode::Record(gradients) = mode {
        *gradients = kept;
    }
    reports
}
