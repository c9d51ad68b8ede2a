//! The configuration of a training run, as in a TOML file and in a checkpoint.

mod compare;
mod explained;
pub mod keys;
mod over;
mod presets;
mod rule;

pub use crate::rules::{Negatives, RuleName};
pub use compare::{Difference, differences};
pub use over::{Setting, printed, set};
pub use presets::{PRESETS, preset};

use explained::explained;

use crate::model::NetworkSpec;
use crate::optimizer::Optimizer;
use crate::rules::{AnyRule, Feedback, Head, Settings, lpl::Lpl, soft_hebb::SoftHebb, weight_mirror::Mirror};
use crate::schedule::Schedule;
use crate::step::backprop::Backward;
use crate::step::relax::Relaxation;
use clapp_core::network::{Activation, Block, Contrast, LossPool, Projection};
use clapp_core::shape::Shape;
use clapp_data::augment::{TestTransform, ViewAugment};
use clapp_data::error::Error;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// A training run: network, rule, optimiser, views and probe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Name of the run, for tables.
    pub name: String,
    /// The learning rule.
    pub rule: RuleName,
    /// Seed of every random stream.
    pub seed: u64,
    /// Passes over the training images; 0 leaves the encoder untrained.
    pub epochs: u64,
    /// Images in a batch; each gives two views.
    pub batch: usize,
    /// Factor on the channels of every block.
    pub width: f32,
    /// Source of the images if the command line names no data set.
    #[serde(default)]
    pub data: DataSource,
    /// Use only that many of the training images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<usize>,
    /// For class folders without a test part: share of each class for training, above 0 and below 1. The rest is for
    /// testing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<f64>,
    /// Seed of the split [default: the run's seed].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split_seed: Option<u64>,
    /// `true` if training and evaluation skip images that cannot be used.
    #[serde(default, skip_serializing_if = "is_no")]
    pub skip_bad: bool,
    /// Sampling of the negatives. BP-InfoNCE ignores it: its negatives are all other images of the batch.
    pub negatives: Negatives,
    /// `true` if all losses share the drawn negatives; otherwise each layer, and each of its two losses under
    /// `clapp++both`, draws its own.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub negatives_shared: bool,
    /// `true` if of each row only its positive or only its negative term counts, drawn evenly.
    #[serde(default, skip_serializing_if = "is_no")]
    pub either: bool,
    /// The contrast function [default: the rule's own].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contrast: Option<Contrast>,
    /// Factor on the positive term of hinge, soft hinge and goodness.
    #[serde(default = "one")]
    pub pos_coeff: f32,
    /// Kind of the projections [default: the rule's own].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub projection: Option<Projection>,
    /// Error that trains the projections below the top layer.
    #[serde(default, skip_serializing_if = "is_default")]
    pub feedback: Feedback,
    /// Memory strategy of rules that back-propagate.
    #[serde(default, skip_serializing_if = "is_whole")]
    pub backward: Backward,
    /// The head of BP-InfoNCE.
    #[serde(default, skip_serializing_if = "is_default")]
    pub head: HeadConfig,
    /// The terms of LPL.
    #[serde(default, skip_serializing_if = "is_default")]
    pub lpl: Lpl,
    /// The competition of SoftHebb.
    #[serde(default, skip_serializing_if = "is_default")]
    pub soft_hebb: SoftHebb,
    /// Relaxation of activities, for predictive-coding and its hybrid.
    #[serde(default, skip_serializing_if = "is_default")]
    pub relaxation: Relaxation,
    /// Learning of the mirror kernels, for weight-mirror.
    #[serde(default, skip_serializing_if = "is_default")]
    pub mirror: Mirror,
    /// Schedule of the learning rate over the epochs.
    #[serde(default, skip_serializing_if = "is_default")]
    pub schedule: Schedule,
    /// Shape of the training views, `[C, H, W]`.
    pub input: [usize; 3],
    /// The optimiser of all tensors.
    pub optimizer: Optimizer,
    /// Augmentation that makes the two views of an image.
    pub augment: ViewAugment,
    /// The linear evaluation.
    pub probe: ProbeConfig,
    /// The blocks from the input to the top, with their channels at width 1.
    pub blocks: Vec<BlockConfig>,
}

/// Checks how a set is divided; `origin` names the configuration in errors.
///
/// # Errors
/// [`Error::Config`] with the field and the expected value.
pub fn check_division(split: Option<f64>, seed: Option<u64>, origin: &str) -> Result<(), Error> {
    let wrong = |message: String| Err(Error::Config { origin: origin.into(), message });
    match split {
        Some(share) if !(share > 0.0 && share < 1.0) => {
            wrong(format!("split is {share}, expected a share above 0 and below 1, such as 0.8"))
        }
        None if seed.is_some() => wrong("split-seed is given without split; it is the seed of split".into()),
        _ => Ok(()),
    }
}

fn one() -> f32 {
    1.0
}

fn is_yes(value: &bool) -> bool {
    *value
}

fn is_no(value: &bool) -> bool {
    !*value
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The head of BP-InfoNCE (docs/paper.md 2.8).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct HeadConfig {
    /// Its outputs at width 1.
    pub outputs: usize,
    /// Temperature of the softmax.
    pub temperature: f32,
}

impl Default for HeadConfig {
    fn default() -> Self {
        Self { outputs: 1024, temperature: 0.1 }
    }
}

/// Source of images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DataSource {
    /// A data set on disk, to be named on the command line.
    #[default]
    Files,
    /// The generated set.
    Generated,
}

/// One block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct BlockConfig {
    /// Output channels at width 1.
    pub channels: usize,
    /// Kernel `[height, width]`.
    pub kernel: [usize; 2],
    /// Stride `[vertical, horizontal]`.
    #[serde(default = "ones")]
    pub stride: [usize; 2],
    /// Zeros on each side `[vertical, horizontal]`.
    #[serde(default)]
    pub padding: [usize; 2],
    /// `true` if there is a bias.
    #[serde(default = "yes")]
    pub bias: bool,
    /// `true` if there is a ReLU.
    #[serde(default = "yes")]
    pub relu: bool,
    /// Max-pool window `[height, width]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_pool: Option<[usize; 2]>,
    /// Pooling for the loss of the rules with spatial dependence.
    pub loss_pool: LossPool,
    /// Pooling for the features of the linear probe.
    pub probe_pool: LossPool,
}

fn is_whole(backward: &Backward) -> bool {
    *backward == Backward::Whole
}

fn ones() -> [usize; 2] {
    [1, 1]
}

fn yes() -> bool {
    true
}

/// The linear evaluation (docs/paper.md 5.3).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ProbeConfig {
    /// Passes over the labelled training images.
    pub epochs: u64,
    /// Images in a batch.
    pub batch: usize,
    /// Learning rate of Adam.
    pub lr: f32,
    /// Preparation of the test images, and of training images without augmentation.
    #[serde(default)]
    pub test: TestTransform,
    /// Augmentation of the training images.
    pub augment: ViewAugment,
}

/// Largest batch, negatives per row, channels of a block at width 1, and epochs: far above useful values, far below an
/// overflow.
const MOST_IMAGES: usize = 1 << 14;
const MOST_NEGATIVES: usize = 1 << 10;
const MOST_CHANNELS: usize = 1 << 16;
const MOST_EPOCHS: u64 = 1_000_000;

/// Use of the pooling of a network's layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pooling {
    Loss,
    Probe,
}

impl Config {
    /// Reads a TOML file.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be read, [`Error::Config`] if it is not a configuration.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(Error::file("read", path))?;
        Self::parse(&text, &path.display().to_string())
    }

    /// Reads TOML text; `origin` names it in errors.
    ///
    /// # Errors
    /// [`Error::Config`] with the field and the expected value.
    pub fn parse(text: &str, origin: &str) -> Result<Self, Error> {
        match named_preset(text, origin)? {
            Some((base, keys)) => over::over(&base, keys, origin),
            None => {
                let config: Self = toml::from_str(text).map_err(|error| toml_error(text, origin, &error))?;
                config.check(origin)?;
                Ok(config)
            }
        }
    }

    /// Reads a TOML file whose keys replace those of the preset.
    ///
    /// # Errors
    /// Same as [`Config::read`]; [`Error::Config`] if the file names another preset.
    pub fn read_over(name: &str, path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(Error::file("read", path))?;
        let origin = path.display().to_string();
        let wrong = |message: String| Error::Config { origin: origin.clone(), message };
        let base = preset(name).ok_or_else(|| no_preset(name, "--preset"))?;
        match named_preset(&text, &origin)? {
            Some((other, _)) if other != base => {
                Err(wrong(format!("names preset {}, but --preset is {name}; leave one of them out", other.name)))
            }
            Some((_, keys)) => over::over(&base, keys, &origin),
            None => {
                let keys = toml::from_str(&text).map_err(|error| toml_error(&text, &origin, &error))?;
                over::over(&base, keys, &origin)
            }
        }
    }

    /// The configuration as TOML text, as [`Config::parse`] reads it.
    ///
    /// # Errors
    /// [`Error::Config`] if the library refuses a value.
    pub fn to_toml(&self) -> Result<String, Error> {
        toml::to_string(self).map_err(|error| Error::Config { origin: self.name.clone(), message: error.to_string() })
    }

    /// Checks the rules that the types do not enforce; `origin` names the configuration in errors.
    ///
    /// # Errors
    /// [`Error::Config`] with the field and the expected value.
    pub fn check(&self, origin: &str) -> Result<(), Error> {
        let wrong = |message: String| Err(Error::Config { origin: origin.into(), message });
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-+".contains(c);
        if self.name.is_empty() || self.name.starts_with('.') || !self.name.chars().all(plain) {
            return wrong(format!(
                "name is {:?}, expected letters, digits and ._-+, not beginning with a dot: it names a folder",
                self.name
            ));
        }
        if !(2..=MOST_IMAGES).contains(&self.batch) {
            return wrong(format!("batch is {}, expected 2 to {MOST_IMAGES}: the rule compares images", self.batch));
        }
        for (name, epochs) in [("epochs", self.epochs), ("probe.epochs", self.probe.epochs)] {
            if epochs > MOST_EPOCHS {
                return wrong(format!("{name} is {epochs}, expected at most {MOST_EPOCHS}"));
            }
        }
        if !(self.width.is_finite() && self.width > 0.0 && self.width <= 64.0) {
            return wrong(format!("width is {}, expected above 0 and at most 64", self.width));
        }
        if self.images.is_some_and(|images| images < 2) {
            return wrong("images is below 2, expected at least 2".into());
        }
        check_division(self.split, self.split_seed, origin)?;
        if let Negatives::Uniform(count) = self.negatives
            && !(1..=MOST_NEGATIVES).contains(&count)
        {
            return wrong(format!("negatives.uniform is {count}, expected 1 to {MOST_NEGATIVES}"));
        }
        if let Some(block) = self.blocks.iter().find(|block| !(1..=MOST_CHANNELS).contains(&block.channels)) {
            return wrong(format!("blocks.channels is {}, expected 1 to {MOST_CHANNELS}", block.channels));
        }
        if !(1..=MOST_IMAGES).contains(&self.probe.batch) {
            return wrong(format!("probe.batch is {}, expected 1 to {MOST_IMAGES}", self.probe.batch));
        }
        if !(self.probe.lr.is_finite() && self.probe.lr > 0.0) {
            return wrong(format!("probe.lr is {}, expected a finite number above 0", self.probe.lr));
        }
        if let Err(message) = self.optimizer.check() {
            return wrong(format!("optimizer: {message}"));
        }
        if let Err(message) = self.schedule.check(self.optimizer.learning_rate()) {
            return wrong(format!("schedule: {message}"));
        }
        if !(1..=MOST_CHANNELS).contains(&self.head.outputs) {
            return wrong(format!("head.outputs is {}, expected 1 to {MOST_CHANNELS}", self.head.outputs));
        }
        if !(self.head.temperature.is_finite() && self.head.temperature > 0.0) {
            return wrong(format!("head.temperature is {}, expected a finite number above 0", self.head.temperature));
        }
        self.rule.check(&self.settings()).or_else(wrong)?;
        let input = self.input_shape();
        for (name, augment) in [("augment", &self.augment), ("probe.augment", &self.probe.augment)] {
            augment.check(input).or_else(|error| wrong(format!("{name}: {error}")))?;
            if [augment.size; 2] != [input.height, input.width] {
                return wrong(format!(
                    "{name}.size is {}, but input is {} x {}",
                    augment.size, input.height, input.width
                ));
            }
        }
        self.probe.test.check(input).or_else(|error| wrong(format!("probe.test: {error}")))?;
        for network in [self.network(), self.probe_network()] {
            if let Err(error) = network {
                return wrong(format!("blocks: {error}"));
            }
        }
        Ok(())
    }

    /// Shape of a training view.
    pub fn input_shape(&self) -> Shape {
        let [channels, height, width] = self.input;
        Shape::new(channels, height, width)
    }

    /// Returns the settings for the rule.
    pub fn settings(&self) -> Settings {
        Settings {
            contrast: self.contrast,
            projection: self.projection,
            pos_coeff: self.pos_coeff,
            either: self.either,
            feedback: self.feedback,
            backward: self.backward,
            negatives: self.negatives,
            negatives_shared: self.negatives_shared,
            head: Head { outputs: self.scaled(self.head.outputs), temperature: self.head.temperature },
            lpl: self.lpl,
            soft_hebb: self.soft_hebb,
            relaxation: self.relaxation,
            mirror: self.mirror,
            batch: self.batch,
            optimizer: self.optimizer,
        }
    }

    /// The learning rule with its settings.
    pub fn learning_rule(&self) -> AnyRule {
        self.rule.with(&self.settings())
    }

    /// The contrast function that is in force.
    pub fn contrast(&self) -> Contrast {
        self.rule.choices().contrast(&self.settings())
    }

    /// The kind of projection that is in force.
    pub fn projection(&self) -> Projection {
        self.rule.choices().projection(&self.settings())
    }

    /// The same with a global mean at the top, as in the paper's analysis of gradients (docs/paper.md 7).
    pub fn with_top_pooled(mut self) -> Self {
        if let Some(top) = self.blocks.last_mut() {
            top.loss_pool = LossPool::Global;
        }
        self
    }

    /// A number of channels at the configured width, at least 1.
    fn scaled(&self, channels: usize) -> usize {
        ((channels as f32 * self.width).round() as usize).max(1)
    }

    fn spec(&self, pooling: Pooling) -> Result<NetworkSpec, Error> {
        let choices = self.rule.choices();
        let blocks = self.blocks.iter().enumerate().map(|(index, block)| Block {
            out_channels: self.scaled(block.channels),
            kernel: block.kernel,
            stride: block.stride,
            padding: block.padding,
            bias: block.bias,
            activation: if block.relu { Activation::Relu } else { Activation::Identity },
            max_pool: block.max_pool,
            loss_pool: match pooling {
                Pooling::Probe => block.probe_pool,
                Pooling::Loss => choices.pooling.of(block.loss_pool, index + 1 == self.blocks.len()),
            },
        });
        let core_rule = choices.core_rule(&self.settings());
        Ok(self.learning_rule().network(self.input_shape(), blocks.collect(), core_rule)?)
    }

    /// The network as it is trained.
    ///
    /// # Errors
    /// [`Error::Network`] if it does not fit together.
    pub fn network(&self) -> Result<NetworkSpec, Error> {
        self.spec(Pooling::Loss)
    }

    /// The same encoder, pooled as the linear probe sees it.
    ///
    /// # Errors
    /// [`Error::Network`] if it does not fit together.
    pub fn probe_network(&self) -> Result<NetworkSpec, Error> {
        self.spec(Pooling::Probe)
    }
}

/// The preset that a text names, and its other keys.
fn named_preset(text: &str, origin: &str) -> Result<Option<(Config, toml::Table)>, Error> {
    // A text that is not TOML gets the same error with its line as a configuration.
    let Ok(mut keys) = toml::from_str::<toml::Table>(text) else { return Ok(None) };
    let Some(named) = keys.remove("preset") else { return Ok(None) };
    let Some(name) = named.as_str() else { return Err(no_preset(&named.to_string(), origin)) };
    Ok(Some((preset(name).ok_or_else(|| no_preset(name, origin))?, keys)))
}

fn no_preset(name: &str, origin: &str) -> Error {
    let message = format!("preset `{name}` is unknown, expected one of {}", PRESETS.join(", "));
    Error::Config { origin: origin.into(), message }
}

/// One line that names the file, the line and its text.
fn toml_error(text: &str, origin: &str, error: &toml::de::Error) -> Error {
    let reason = explained(text, error);
    let start = error.span().map(|span| span.start).filter(|start| (1..text.len()).contains(start));
    let Some((before, at)) = start.and_then(|start| Some((text.get(..start)?, start))) else {
        return Error::Config { origin: origin.into(), message: reason };
    };
    let first = before.rfind('\n').map_or(0, |end| end + 1);
    let line = text[first..].lines().next().unwrap_or_default().trim();
    let number = 1 + text[..at].matches('\n').count();
    Error::Config { origin: format!("{origin}:{number}"), message: format!("{reason}, in `{line}`") }
}
