//! Description of a device, from the device itself.

use super::client::Client;
use clapp_core::guard::Guard;
use clapp_core::link::{Answer, Command, Identity, Origin, Problem};
use clapp_core::network::{Context, Contrast, Rule};
use clapp_core::optimizer::Optimizer;
use clapp_data::error::Error;
use clapp_engine::model::NetworkSpec;
use clapp_engine::rules::clapp_pp_dfb;

/// A device, its network, and how it learns.
#[derive(Debug, Clone, PartialEq)]
pub struct Description {
    /// Name of the board.
    pub board: String,
    /// Version of the firmware.
    pub firmware: String,
    /// The network with its rule.
    pub spec: NetworkSpec,
    /// The optimiser.
    pub optimizer: Optimizer,
    /// The guard.
    pub guard: Guard,
    /// Classes of the read-out.
    pub classes: usize,
    /// Value of a pixel: `pixel * scale + offset`.
    pub scale: f32,
    /// See `scale`.
    pub offset: f32,
    /// Origin of the weights.
    pub origin: Origin,
    /// Frames learnt from.
    pub step: u64,
    /// The factor on all updates.
    pub modulator: f32,
    /// Words of memory that go in one packet.
    pub most_words: u16,
}

impl Description {
    /// Opens the session and reads the device's description.
    ///
    /// # Errors
    /// Same as [`Client::ask`]; [`Error::NoDevice`] if the network that it describes does not fit together.
    pub fn ask(client: &mut Client<'_>) -> Result<Self, Error> {
        let (input, layers, rule, describe) = client.hello(|identity| {
            let Identity { optimizer, max_update_norm, classes, scale, offset, .. } = *identity;
            let Identity { origin, step, modulator, most_words, .. } = *identity;
            let (board, firmware) = (identity.board.to_string(), identity.firmware.to_string());
            let describe = move |spec| Self {
                board,
                firmware,
                spec,
                optimizer,
                guard: Guard { max_update_norm },
                classes: classes.into(),
                scale,
                offset,
                origin,
                step,
                modulator,
                most_words,
            };
            (identity.input, identity.layers, identity.rule, describe)
        })?;
        let mut blocks = Vec::new();
        for layer in 0..layers {
            blocks.push(client.ask(Command::Block { layer }, |answer| match answer {
                Answer::Block(block) => Some(*block),
                _ => None,
            })?);
        }
        let spec = clapp_pp_dfb::network(input, blocks, rule).map_err(|error| Error::NoDevice {
            place: client.place(),
            message: format!("the network that the device describes does not fit together: {error}"),
        })?;
        Ok(describe(spec))
    }

    /// Number of features of the read-out.
    pub fn features(&self) -> usize {
        self.spec.view().feature_len()
    }

    /// Memory that learning and read-out take on the device, in bytes.
    pub fn memory(&self) -> usize {
        let view = self.spec.view();
        let words = self.optimizer.state_len(&view) + view.input().len() + self.classes * (self.features() + 1);
        view.stream_bytes() + 4 * words
    }
}

impl std::fmt::Display for Description {
    /// Three lines: the device, its network, and how it learns.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let view = self.spec.view();
        let input = view.input();
        let channels: Vec<String> = view.blocks().iter().map(|block| block.out_channels.to_string()).collect();
        writeln!(
            f,
            "{}, firmware {}: {} x {} x {} -> {} channels, {} parameters, {:.1} KB for learning and read-out of {} classes",
            self.board,
            self.firmware,
            input.channels,
            input.height,
            input.width,
            channels.join(" -> "),
            view.parameter_len(),
            self.memory() as f64 / 1e3,
            self.classes
        )?;
        writeln!(f, "{}, {}", rule(&view.rule()), optimizer(&self.optimizer))?;
        let origin = match self.origin {
            Origin::Seed(seed) => format!("drawn from seed {seed}"),
            Origin::Saved { step, older: false } => format!("saved at step {step}"),
            Origin::Saved { step, older: true } => {
                format!("saved at step {step}: later saves are damaged")
            }
            Origin::Unusable { seed, problem } => format!("drawn from seed {seed}, since {}", unusable(problem)),
            Origin::Reset(seed) => format!("drawn from seed {seed} on request"),
            Origin::Host => "written by a host".into(),
            Origin::SavedInPart { step, older, state, read_out } => {
                let parts = match (state, read_out) {
                    (true, _) => "without the read-out",
                    (false, true) => "without the optimiser's state",
                    (false, false) => "without the read-out and the optimiser's state",
                };
                let newer = if older { "; later saves are damaged" } else { "" };
                format!("saved at step {step}, {parts}: the saved parts have another length and start again{newer}")
            }
        };
        write!(f, "step {}, weights {origin}", self.step)
    }
}

/// Returns the reason why saved weights cannot be used.
pub fn unusable(problem: Problem) -> &'static str {
    match problem {
        Problem::Corrupt => "its saved state is damaged",
        Problem::Unproven => "its flash holds complete contents, but nothing proves that the save was complete",
        Problem::Other => "its saved state belongs to another network, optimiser, read-out, or format version",
        Problem::Small { .. } => "its flash is too small for two checkpoints of this network and read-out",
        _ => "its flash reports an error",
    }
}

fn rule(rule: &Rule) -> String {
    let name = match rule.context {
        Context::Same => "CLAPP++",
        Context::Top => "CLAPP++DFB",
        Context::Both => "CLAPP++both",
    };
    let contrast = match rule.contrast {
        Contrast::Hinge => "hinge".into(),
        Contrast::SoftHinge => "soft hinge".into(),
        Contrast::Linear => "linear".into(),
        Contrast::Phyll { theta } => format!("PhyLL, theta {theta}"),
        Contrast::Goodness { theta } => format!("goodness, theta {theta}"),
    };
    format!("{name}, {contrast}")
}

fn optimizer(optimizer: &Optimizer) -> String {
    match optimizer {
        Optimizer::Sgd { lr, momentum: 0.0, .. } => format!("SGD, learning rate {lr}"),
        Optimizer::Sgd { lr, momentum, .. } => format!("SGD, learning rate {lr}, momentum {momentum}"),
        Optimizer::AdamW { lr, .. } => format!("AdamW, learning rate {lr}"),
        Optimizer::Lars { lr, .. } => format!("LARS, learning rate {lr}"),
        Optimizer::Record => "records gradients".into(),
    }
}
