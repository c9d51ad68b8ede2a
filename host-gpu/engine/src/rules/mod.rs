//! The learning rules, one file each. A rule's file holds its source, formula, settings, refused settings, initial
//! values and training step.
//!
//! A new rule is one file here that implements [`LearningRule`], its `pub mod`, and one line in the list below. The name in
//! configurations and on the command line, `--help`, the checks and the dispatch come from that list.
//!
//! The specification marks the paper's entries for Forward-Forward, SCFF and PhyLL as not confirmed: it is not known
//! whether the CLAPP++ paper ran them as they are here.

mod check;
mod cost;
mod settings;

pub mod bp_clapp_pp;
pub mod bp_info_nce;
pub mod clapp_pp;
pub mod clapp_pp_both;
pub mod clapp_pp_dfb;
pub mod clapp_pp_dfb_pc;
pub mod clapp_pp_pooled;
pub mod dfa;
pub mod forward_forward;
pub mod lpl;
pub mod phyll;
pub mod predictive_coding;
pub mod scff;
pub mod soft_hebb;
pub mod weight_mirror;

pub use cost::{Cost, Descent, ExtraMemory};
pub use settings::{Choices, Contrasts, Feedback, FeedbackChoices, Head, Negatives, Pooling, Settings, Signal};

use crate::backend::Backend;
use crate::model::{Form, LayerValues, NetworkSpec};
use crate::optimizer::Optimizer;
use crate::step::{BatchOf, ModeOf, ModelOf, OutcomeOf};
use clap::ValueEnum;
use clap::builder::PossibleValue;
use clapp_core::network::{Block, Context, Rule};
use clapp_core::plan::NetworkError;
use clapp_core::shape::Shape;
use serde::{Deserialize, Serialize};
use std::fmt::Debug;
use std::sync::Arc;

/// A learning rule with its settings.
pub trait LearningRule: Copy + Debug + PartialEq + Send + Sync + 'static {
    /// Components of the rule.
    const CHOICES: Choices;

    /// The rule with the settings of a configuration.
    fn with(settings: &Settings) -> Self;

    /// Refuses settings for a reason that applies only to this rule.
    ///
    /// # Errors
    /// A message with the field, its value and the expected values.
    fn check(_settings: &Settings) -> Result<(), String> {
        Ok(())
    }

    /// Returns the rule's optimiser by the paper's protocol. `optimizer` is the one of the other rules.
    fn optimizer(optimizer: Optimizer) -> Optimizer {
        optimizer
    }

    /// Returns the requirements on the network. The default follows from the choices.
    fn form(&self) -> Form {
        Self::CHOICES.form()
    }

    /// One training step: forward passes, losses, gradients and updates. With [`crate::step::Mode::Record`] it keeps
    /// the gradients and makes no updates.
    fn step<B: Backend>(
        &self,
        backend: &B,
        model: &mut ModelOf<B>,
        batch: BatchOf<'_, B>,
        mode: ModeOf<'_, B>,
    ) -> OutcomeOf<B>;

    /// Changes first values, which are uniform with bound `1 / sqrt(fan_in)` (docs/paper.md 4), to those that it begins
    /// with.
    fn first_values(&self, _network: &NetworkSpec, _seed: u64, _values: &mut [LayerValues]) {}

    /// Runs once before the first step.
    fn before_first_step<B: Backend>(&self, _backend: &B, _model: &mut ModelOf<B>, _seed: u64) {}

    /// Runs after each step, counted from 1.
    fn after_step<B: Backend>(&self, _backend: &B, _model: &mut ModelOf<B>, _seed: u64, _step: u64) {}

    /// The same rule with projections that do not learn below the top: for measurements that need the gradients of
    /// weights and biases only.
    fn with_frozen_feedback(self) -> Self {
        self
    }

    /// Returns the reason why `clapp-core` cannot learn by the rule, or `None` if it can.
    fn beyond_core(&self) -> Option<&'static str> {
        None
    }

    /// Returns the reason why a GPU cannot learn by the rule, or `None` if it can.
    fn beyond_gpu(&self) -> Option<&'static str> {
        None
    }

    /// Returns the reason why its gradients are not compared with those of back-propagation, or `None` if they are.
    fn beyond_alignment(&self) -> Option<&'static str> {
        None
    }

    /// Returns the cost of its step, for estimates of memory and time.
    fn cost(&self) -> Cost {
        Cost::default()
    }

    /// Returns the memory that its step takes on a network in addition to the usual, for `rows` rows and `threads`
    /// threads.
    fn extra_memory(&self, _network: &NetworkSpec, _rows: usize, _threads: usize) -> ExtraMemory {
        ExtraMemory::default()
    }
}

/// Reason why a rule without GPU kernels runs on the CPU only.
pub const NOT_ON_A_GPU: &str = "this rule has no GPU kernels; expected --backend cpu";

macro_rules! rules {
    ($($name:ident = $file:ident),* $(,)?) => {
        /// A rule by its name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(into = "&'static str", try_from = "String")]
        pub enum RuleName {
            $(#[doc = concat!("[`", stringify!($file), "`].")] $name,)*
        }

        impl RuleName {
            /// All rules, in the order of the list.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Returns the components of the rule.
            pub fn choices(self) -> &'static Choices {
                match self {
                    $(Self::$name => &<$file::Rule as LearningRule>::CHOICES,)*
                }
            }

            /// The rule with the settings of a configuration.
            pub fn with(self, settings: &Settings) -> AnyRule {
                match self {
                    $(Self::$name => AnyRule::$name($file::Rule::with(settings)),)*
                }
            }

            /// [`LearningRule::optimizer`].
            pub fn optimizer(self, optimizer: Optimizer) -> Optimizer {
                match self {
                    $(Self::$name => $file::Rule::optimizer(optimizer),)*
                }
            }

            fn check_own(self, settings: &Settings) -> Result<(), String> {
                match self {
                    $(Self::$name => $file::Rule::check(settings),)*
                }
            }
        }

        /// One of the rules, with its settings.
        #[derive(Debug, Clone, Copy, PartialEq)]
        pub enum AnyRule {
            $(#[doc = concat!("[`", stringify!($file), "`].")] $name($file::Rule),)*
        }

        $(impl From<$file::Rule> for AnyRule {
            fn from(rule: $file::Rule) -> Self {
                Self::$name(rule)
            }
        })*

        /// Runs an expression with the rule that a value holds.
        macro_rules! with_rule {
            ($any:expr, $rule:ident => $work:expr) => {
                match $any {
                    $(AnyRule::$name($rule) => $work,)*
                }
            };
        }
    };
}

rules! {
    ClappPp = clapp_pp,
    ClappPpDfb = clapp_pp_dfb,
    ClappPpBoth = clapp_pp_both,
    ClappPpPooled = clapp_pp_pooled,
    Phyll = phyll,
    ForwardForward = forward_forward,
    Scff = scff,
    Lpl = lpl,
    SoftHebb = soft_hebb,
    BpClappPp = bp_clapp_pp,
    BpInfoNce = bp_info_nce,
    Dfa = dfa,
    WeightMirror = weight_mirror,
    PredictiveCoding = predictive_coding,
    ClappPpDfbPc = clapp_pp_dfb_pc,
}

impl AnyRule {
    /// [`LearningRule::form`].
    pub fn form(self) -> Form {
        with_rule!(self, rule => rule.form())
    }

    /// [`LearningRule::first_values`].
    pub fn first_values(self, network: &NetworkSpec, seed: u64, values: &mut [LayerValues]) {
        with_rule!(self, rule => rule.first_values(network, seed, values));
    }

    /// [`LearningRule::before_first_step`].
    pub fn before_first_step<B: Backend>(self, backend: &B, model: &mut ModelOf<B>, seed: u64) {
        with_rule!(self, rule => rule.before_first_step(backend, model, seed));
    }

    /// [`LearningRule::after_step`].
    pub fn after_step<B: Backend>(self, backend: &B, model: &mut ModelOf<B>, seed: u64, step: u64) {
        with_rule!(self, rule => rule.after_step(backend, model, seed, step));
    }

    /// The same network for measuring the gradients of weights and biases: no projection below the top learns, so that no
    /// gradient of a projection is made there.
    pub fn measured(network: NetworkSpec) -> NetworkSpec {
        let rule: Self = with_rule!(of(&network), rule => rule.with_frozen_feedback().into());
        network.relearnt(Form { frozen_below_top: true, ..rule.form() }, Arc::new(rule))
    }

    /// [`LearningRule::beyond_core`].
    pub fn beyond_core(self) -> Option<&'static str> {
        with_rule!(self, rule => rule.beyond_core())
    }

    /// [`LearningRule::beyond_gpu`].
    pub fn beyond_gpu(self) -> Option<&'static str> {
        with_rule!(self, rule => rule.beyond_gpu())
    }

    /// [`LearningRule::beyond_alignment`].
    pub fn beyond_alignment(self) -> Option<&'static str> {
        with_rule!(self, rule => rule.beyond_alignment())
    }

    /// [`LearningRule::cost`].
    pub fn cost(self) -> Cost {
        with_rule!(self, rule => rule.cost())
    }

    /// [`LearningRule::extra_memory`].
    pub fn extra_memory(self, network: &NetworkSpec, rows: usize, threads: usize) -> ExtraMemory {
        with_rule!(self, rule => rule.extra_memory(network, rows, threads))
    }

    /// A network that learns by this rule, with `core_rule` for its contrast, context and projections.
    ///
    /// # Errors
    /// The first thing that does not fit together.
    pub fn network(self, input: Shape, blocks: Vec<Block>, core_rule: Rule) -> Result<NetworkSpec, NetworkError> {
        NetworkSpec::new(input, blocks, core_rule, self.form(), Arc::new(self))
    }

    /// The same network, which then learns by this rule.
    pub fn teach(self, network: NetworkSpec) -> NetworkSpec {
        network.relearnt(self.form(), Arc::new(self))
    }
}

/// A network that learns locally with trained projections. The context of `core_rule` selects CLAPP++, CLAPP++DFB or
/// CLAPP++both.
///
/// # Errors
/// The first thing that does not fit together.
pub fn local_network(input: Shape, blocks: Vec<Block>, core_rule: Rule) -> Result<NetworkSpec, NetworkError> {
    const TRAINED: clapp_pp_dfb::Rule = clapp_pp_dfb::Rule { feedback: Feedback::Trained };
    let rule: AnyRule = match core_rule.context {
        Context::Same => clapp_pp::Rule.into(),
        Context::Top => TRAINED.into(),
        Context::Both => clapp_pp_both::Rule(TRAINED).into(),
    };
    rule.network(input, blocks, core_rule)
}

/// The rule that a network learns by.
pub fn of(network: &NetworkSpec) -> AnyRule {
    match network.learnt_by().downcast_ref() {
        Some(rule) => *rule,
        None => unreachable!("networks are made by `AnyRule::network`"),
    }
}

/// One training step by the model's rule.
pub fn step<B: Backend>(
    backend: &B,
    model: &mut ModelOf<B>,
    batch: BatchOf<'_, B>,
    mode: ModeOf<'_, B>,
) -> OutcomeOf<B> {
    with_rule!(of(&model.spec), rule => rule.step(backend, model, batch, mode))
}

impl RuleName {
    /// The name in files and on the command line.
    pub fn name(self) -> &'static str {
        self.choices().name
    }

    /// Refuses settings that do not go with the rule, or with each other.
    ///
    /// # Errors
    /// A message with the field, its value and the expected values.
    pub fn check(self, settings: &Settings) -> Result<(), String> {
        check::check(self.choices(), settings)?;
        self.check_own(settings)?;
        check::check_last(self.choices(), settings)
    }
}

impl ValueEnum for RuleName {
    fn value_variants<'a>() -> &'a [Self] {
        Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()).help(self.choices().summary))
    }
}

impl From<RuleName> for &'static str {
    fn from(rule: RuleName) -> Self {
        rule.name()
    }
}

impl TryFrom<String> for RuleName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let rules = Self::value_variants();
        rules.iter().find(|rule| rule.name() == name).copied().ok_or_else(|| {
            let names: Vec<String> = rules.iter().map(|rule| format!("`{}`", rule.name())).collect();
            format!("unknown rule `{name}`, expected one of {}", names.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_has_one_name_on_the_command_line_and_in_files() {
        let names: Vec<&str> = RuleName::value_variants().iter().map(|rule| rule.name()).collect();
        let old = ["clapp++", "clapp++dfb", "clapp++both", "clapp++pooled", "phyll", "forward-forward", "scff"];
        assert_eq!(names[..7], old, "names that files have");
        for (index, rule) in RuleName::value_variants().iter().enumerate() {
            assert!(!names[..index].contains(&rule.name()), "{} twice", rule.name());
            assert_eq!(RuleName::from_str(rule.name(), false), Ok(*rule));
            let text = serde_json::to_string(rule).unwrap();
            assert_eq!(text, format!("\"{}\"", rule.name()));
            assert_eq!(serde_json::from_str::<RuleName>(&text).unwrap(), *rule);
        }
        let error = serde_json::from_str::<RuleName>("\"clap\"").unwrap_err().to_string();
        assert!(error.contains("unknown rule `clap`, expected one of `clapp++`, `clapp++dfb`"), "{error}");
    }
}
