//! `clapp parity`: the same training on two backends.

use super::output::say;
use super::train::ConfigArguments;
use super::{BackendName, check_channels, open_data};
use crate::error::Error;
use crate::optimizer::Optimizer;
use crate::parity::parity;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// Arguments of `clapp parity`.
#[derive(Debug, Args)]
pub struct ParityArguments {
    #[command(flatten)]
    configuration: ConfigArguments,
    /// Training steps.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    steps: u64,
    /// The two backends to compare.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [BackendName::Core, BackendName::Cpu])]
    backends: Vec<BackendName>,
    /// Data set as downloaded (folder or archive); not needed where the configuration generates its images.
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// The optimiser: plain SGD, or the configuration's.
    #[arg(long, value_enum, default_value_t = OptimizerName::Sgd)]
    optimizer: OptimizerName,
    /// Largest difference of any tensor, relative to its largest value, that passes.
    #[arg(long, default_value_t = 1e-4)]
    bound: f64,
}

/// Which optimiser parity trains with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OptimizerName {
    /// Plain SGD, in which a difference of gradients shows as it is.
    Sgd,
    /// The configuration's. AdamW makes whole steps of gradients that are mere rounding, and so do its
    /// differences: give a wider bound.
    Config,
}

/// Learning rate of plain SGD.
const SGD_RATE: f32 = 0.05;

/// Runs `clapp parity`: exit code 1 above the bound.
///
/// # Errors
/// Where the input is wrong.
pub fn run(arguments: &ParityArguments) -> Result<u8, Error> {
    let wrong = |message: &str| Err(Error::Config { origin: "parity".into(), message: message.into() });
    match arguments.backends.as_slice() {
        [a, b] if a != b => {}
        _ => return wrong("--backends takes two different backends, such as core,cpu"),
    }
    if !(arguments.bound.is_finite() && arguments.bound > 0.0) {
        return wrong("--bound is not a finite number above 0");
    }
    let asked = arguments.configuration.clone().or_demo();
    let mut config = asked.configuration()?;
    if arguments.optimizer == OptimizerName::Sgd {
        config.optimizer = Optimizer::Sgd { lr: SGD_RATE, momentum: 0.0, weight_decay: 0.0 };
    }
    let data = open_data(arguments.data.as_deref(), None, &config)?;
    check_channels(&data, config.input_shape(), &asked.origin())?;
    let differences = parity(&config, &data, arguments.steps)?;
    let mut lines = Vec::new();
    lines.push(format!("{}, {}, width {}: core against cpu\n", config.name, config.rule.name(), config.width));
    lines.push(format!("{:>5}  {:<20} {:>16} {:>16}", "step", "tensor", "largest error", "mean error"));
    let mut worst = 0.0_f64;
    for difference in &differences {
        lines.push(format!(
            "{:>5}  {:<20} {:>16.2e} {:>16.2e}",
            difference.step, difference.tensor, difference.largest, difference.mean
        ));
        worst = if difference.largest > worst || difference.largest.is_nan() { difference.largest } else { worst };
    }
    let passes = worst <= arguments.bound;
    lines.push(format!(
        "\nlargest error {worst:.2e}, bound {:.0e}: {}",
        arguments.bound,
        if passes { "passed" } else { "FAILED" }
    ));
    say(lines.join("\n"))?;
    Ok(u8::from(!passes))
}
