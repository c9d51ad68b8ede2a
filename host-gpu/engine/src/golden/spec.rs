//! The description of a case: the JSON text `spec` in a file's metadata.

use super::GoldenError;
use super::case::Trial;
use super::fields::{Fields, count, number};
use crate::model::NetworkSpec;
use crate::optimizer::Optimizer;
use crate::rules::{AnyRule, bp_clapp_pp, clapp_pp_dfb};
use clapp_core::network::{Block, Context, Contrast, LossPool, Projection, Rule};
use clapp_core::plan::NetworkError;
use clapp_core::shape::Shape;
use serde_json::Value;
use std::path::Path;

/// Limit on the layers, above any real case: the cost of sizes and offsets grows with the cube of their number.
const MOST_LAYERS: usize = 256;

/// A description whose parts are read, but not yet checked with each other and with the tensors.
pub(super) struct Spec {
    pub input: Shape,
    pub blocks: Vec<Block>,
    pub rule: Rule,
    pub learning: Learning,
    pub task: TaskSpec,
    /// Fields that are not known here.
    pub unknown: Vec<String>,
}

/// Local or global learning.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Learning {
    Local,
    Global,
}

impl Learning {
    /// A network that learns so.
    pub fn network(self, input: Shape, blocks: Vec<Block>, rule: Rule) -> Result<NetworkSpec, NetworkError> {
        match self {
            Self::Local => clapp_pp_dfb::network(input, blocks, rule),
            Self::Global => AnyRule::from(bp_clapp_pp::Rule::default()).network(input, blocks, rule),
        }
    }
}

/// The task on the network. A count is `None` if only the tensors define it.
pub(super) enum TaskSpec {
    Batch { pairs: Option<usize>, negatives: Negatives, either: bool, trials: Vec<Trial> },
    Stream { frames: Option<usize>, lr: f32 },
    InfoNce { pairs: Option<usize>, head: Option<usize>, temperature: f32 },
    Probe { rows: Option<usize>, classes: Option<usize>, lr: f32 },
}

/// Sampling of the negatives.
#[derive(Clone, Copy)]
pub(super) enum Negatives {
    Ring,
    Drawn(usize),
}

/// Reads the description of a case of kind `kind`.
pub(super) fn parse(path: &Path, kind: &str, text: &str) -> Result<Spec, GoldenError> {
    let value = serde_json::from_str(text)
        .map_err(|error| GoldenError::field(path, "spec", format!("not readable as JSON: {error}")))?;
    let mut fields = Fields::new(path, "spec", value)?;
    let input = fields.required("input")?;
    let input = match input.as_array().map(Vec::as_slice) {
        Some([channels, height, width]) => count(channels)
            .zip(count(height))
            .zip(count(width))
            .map(|((channels, height), width)| Shape::new(channels, height, width)),
        _ => None,
    }
    .ok_or_else(|| fields.error("input", "not three whole numbers [channels, height, width]"))?;
    let blocks = layers(path, &mut fields)?;
    let mut rule = rule(&mut fields)?;
    let learning = fields.word("learning", &[("local", Learning::Local), ("global", Learning::Global)])?;
    let lr = fields.number("lr")?;
    let task = match kind {
        "batch" => batch(path, &mut fields)?,
        "stream" => {
            TaskSpec::Stream { frames: fields.count("frames")?, lr: lr.ok_or_else(|| fields.error("lr", "missing"))? }
        }
        "infonce" => TaskSpec::InfoNce {
            pairs: fields.count("batch")?,
            head: fields.count("head")?,
            temperature: fields.number("temperature")?.unwrap_or(0.1),
        },
        "probe" => {
            TaskSpec::Probe { rows: fields.count("batch")?, classes: fields.count("classes")?, lr: lr.unwrap_or(1e-3) }
        }
        other => {
            let reason = format!("unknown kind \"{other}\"; known are batch, stream, infonce and probe");
            return Err(GoldenError::field(path, "kind", reason));
        }
    };
    let unknown = fields.rest();
    if matches!(task, TaskSpec::InfoNce { .. } | TaskSpec::Probe { .. }) {
        // Their losses are not those of the rule: the network has no projections.
        rule = Rule { projection: Projection::Identity, context: Context::Same, ..rule };
    }
    let learning = learning.unwrap_or(match task {
        TaskSpec::InfoNce { .. } => Learning::Global,
        _ => Learning::Local,
    });
    match (&task, learning) {
        (TaskSpec::Stream { .. } | TaskSpec::Probe { .. }, Learning::Global)
        | (TaskSpec::InfoNce { .. }, Learning::Local) => {
            Err(GoldenError::field(path, "spec.learning", format!("a case of kind \"{kind}\" does not have this rule")))
        }
        _ => Ok(Spec { input, blocks, rule, learning, task, unknown }),
    }
}

fn layers(path: &Path, fields: &mut Fields<'_>) -> Result<Vec<Block>, GoldenError> {
    let Value::Array(layers) = fields.required("layers")? else {
        return Err(fields.error("layers", "not a list"));
    };
    if layers.len() > MOST_LAYERS {
        return Err(fields.error("layers", format!("{} are more than {MOST_LAYERS}", layers.len())));
    }
    let one = |(index, value)| block(Fields::new(path, format!("spec.layers[{index}]"), value)?);
    layers.into_iter().enumerate().map(one).collect()
}

fn block(mut fields: Fields<'_>) -> Result<Block, GoldenError> {
    let out = fields.count("out")?.ok_or_else(|| fields.error("out", "missing"))?;
    let kernel = fields.pair("kernel")?.ok_or_else(|| fields.error("kernel", "missing"))?;
    let mut block = Block::conv(out, kernel)
        .stride(fields.pair("stride")?.unwrap_or([1, 1]))
        .padding(fields.pair("padding")?.unwrap_or([0, 0]));
    let window = fields.optional("max_pool", "true, false or a window", |value| match value {
        Value::Bool(pools) => Some(pools.then_some([2, 2])),
        other => super::fields::pair(other).map(Some),
    })?;
    block.max_pool = window.flatten();
    block.loss_pool = match (fields.pair("loss_pool")?, fields.pair("loss_pool_adaptive")?) {
        (None, None) => LossPool::Global,
        (Some(cell), None) => LossPool::Block(cell),
        (None, Some(size)) => LossPool::Adaptive(size),
        (Some(_), Some(_)) => {
            return Err(fields.error("loss_pool_adaptive", "is given together with loss_pool; only one is allowed"));
        }
    };
    fields.finish()?;
    Ok(block)
}

fn rule(fields: &mut Fields<'_>) -> Result<Rule, GoldenError> {
    let theta = fields.number("theta")?.unwrap_or(1.0);
    let contrasts = [
        ("hinge", Contrast::Hinge),
        ("soft_hinge", Contrast::SoftHinge),
        ("phyll", Contrast::Phyll { theta }),
        ("linear", Contrast::Linear),
    ];
    let contexts = [("same", Context::Same), ("top", Context::Top), ("both", Context::Both)];
    Ok(Rule {
        contrast: fields.word("contrast", &contrasts)?.unwrap_or(Contrast::Hinge),
        context: fields.word("context", &contexts)?.unwrap_or(Context::Same),
        projection: if fields.flag("identity_projection")? { Projection::Identity } else { Projection::Trainable },
        pos_coeff: fields.number("pos_coeff")?.unwrap_or(1.0),
    })
}

fn batch(path: &Path, fields: &mut Fields<'_>) -> Result<TaskSpec, GoldenError> {
    let pairs = fields.count("batch")?;
    let negatives = fields.optional("negatives", "\"ring\" or a number above 0", |value| match value {
        Value::String(word) => (word == "ring").then_some(Negatives::Ring),
        other => count(other).filter(|&count| count > 0).map(Negatives::Drawn),
    })?;
    let either = fields.flag("either")?;
    // Notes on how the file was made. They do not change the expected tensors.
    for name in ["alignment", "matching", "collide"] {
        fields.flag(name)?;
    }
    let mut trials = Vec::new();
    if let Some(value) = fields.take("optimisers") {
        let all = Fields::new(path, "spec.optimisers", value)?;
        for (name, settings) in all.into_each() {
            let settings = Fields::new(path, format!("spec.optimisers.{name}"), settings)?;
            trials.push(trial(path, name, settings)?);
        }
    }
    Ok(TaskSpec::Batch { pairs, negatives: negatives.unwrap_or(Negatives::Ring), either, trials })
}

/// An optimiser's kind is how its name begins: `sgd_momentum` is SGD.
fn trial(path: &Path, name: String, mut fields: Fields<'_>) -> Result<Trial, GoldenError> {
    let lr = fields.number("lr")?.ok_or_else(|| fields.error("lr", "missing"))?;
    let steps = fields.optional("steps", "a number of steps from 1 to 10000", |value| {
        count(value).filter(|steps| (1..=10_000).contains(steps))
    })?;
    let weight_decay = fields.number("weight_decay")?.unwrap_or(0.0);
    let kind = ["sgd", "adam", "lars"].into_iter().find(|kind| name.starts_with(kind));
    let optimizer = match kind {
        Some("sgd") => Optimizer::Sgd { lr, momentum: fields.number("momentum")?.unwrap_or(0.0), weight_decay },
        Some("adam") => {
            let betas = fields.optional("betas", "a pair of numbers", |value| match value.as_array()?.as_slice() {
                [first, second] => Some([number(first)?, number(second)?]),
                _ => None,
            })?;
            let [beta1, beta2] = betas.unwrap_or([0.9, 0.999]);
            Optimizer::AdamW { lr, beta1, beta2, eps: fields.number("eps")?.unwrap_or(1e-8), weight_decay }
        }
        Some("lars") => Optimizer::Lars {
            lr,
            momentum: fields.number("momentum")?.unwrap_or(0.9),
            weight_decay,
            trust: fields.number("trust")?.unwrap_or(0.001),
        },
        _ => {
            let reason = "unknown optimiser; a name starts with sgd, adamw or lars";
            return Err(GoldenError::field(path, format!("spec.optimisers.{name}"), reason));
        }
    };
    fields.finish()?;
    Ok(Trial { name, optimizer, steps: steps.unwrap_or(1) })
}
