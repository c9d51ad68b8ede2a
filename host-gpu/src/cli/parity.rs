//! `clapp parity`: runs the same training on several backends and compares them.

use super::data::CacheArguments;
use super::output::say;
use super::train::ConfigArguments;
use super::{BackendName, check_channels, open_data};
use clap::{Args, ValueEnum};
use clapp_data::error::Error;
use clapp_engine::optimizer::Optimizer;
use clapp_engine::parity::{Difference, OnCore, OnCpu, Side, compare, core_memory};
use clapp_gpu::choice::GpuArguments;
use clapp_gpu::parity::OnGpu;
use std::path::PathBuf;

/// Arguments of `clapp parity`.
#[derive(Debug, Args)]
pub struct ParityArguments {
    #[command(flatten)]
    configuration: ConfigArguments,
    /// Training steps.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    steps: u64,
    /// Backends; all others are compared with the first one.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [BackendName::Core, BackendName::Cpu])]
    backends: Vec<BackendName>,
    /// Data set as downloaded (folder or archive). Not needed if the configuration generates its images.
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    #[command(flatten)]
    cache: CacheArguments,
    /// Optimiser: plain SGD, or the configuration's.
    #[arg(long, value_enum, default_value_t = OptimizerName::Sgd)]
    optimizer: OptimizerName,
    /// Learning rate of plain SGD. Differences grow with it over many steps: rounding can decide a score near the
    /// hinge's kink, or the larger of two nearly equal pixels, differently on each backend.
    #[arg(long, default_value_t = SGD_RATE)]
    rate: f32,
    /// Largest allowed difference of any tensor, relative to its largest value.
    #[arg(long, default_value_t = 1e-4)]
    bound: f64,
    /// Largest allowed relative difference of any layer's loss.
    #[arg(long, default_value_t = 1e-5)]
    loss_bound: f64,
    #[command(flatten)]
    gpu: GpuArguments,
}

/// Optimiser of the parity training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OptimizerName {
    /// Plain SGD. A difference of gradients shows unchanged.
    Sgd,
    /// The configuration's. AdamW takes full steps even for gradients that are only rounding errors, so differences
    /// grow: set a wider bound.
    Config,
}

/// Learning rate of plain SGD.
const SGD_RATE: f32 = 0.05;

/// Runs `clapp parity`. Exit code 1: a difference is above a bound.
///
/// # Errors
/// If the input is wrong, or a backend is not to be had.
pub fn run(arguments: &ParityArguments) -> Result<u8, Error> {
    let wrong = |message: &str| Err(Error::Config { origin: "parity".into(), message: message.into() });
    let names = &arguments.backends;
    let twice = names.iter().enumerate().any(|(index, name)| names[..index].contains(name));
    if names.len() < 2 || twice {
        return wrong("--backends takes two or more different backends, such as core,cpu");
    }
    for (name, bound) in [("bound", arguments.bound), ("loss-bound", arguments.loss_bound)] {
        if !(bound.is_finite() && bound > 0.0) {
            return wrong(&format!("--{name} is not a finite number above 0"));
        }
    }
    let asked = arguments.configuration.clone().or_demo();
    let mut config = asked.configuration()?;
    if arguments.optimizer == OptimizerName::Sgd {
        config.optimizer = Optimizer::Sgd { lr: arguments.rate, momentum: 0.0, weight_decay: 0.0 };
        config.check("--rate")?;
    }
    let has = |name: BackendName| names.contains(&name);
    arguments.gpu.check(has(BackendName::Cuda), has(BackendName::Emulated))?;
    let cuda = has(BackendName::Cuda).then(|| arguments.gpu.cuda()).transpose()?;
    let emulated = has(BackendName::Emulated).then(|| arguments.gpu.emulated()).transpose()?;
    let data = open_data(arguments.data.as_deref(), &arguments.cache, &config)?;
    check_channels(&data, config.input_shape(), &asked.origin())?;
    let (spec, images) = (config.network()?, data.train.len());
    let mut memory = has(BackendName::Core).then(|| core_memory(&config)).transpose()?;
    let mut core = memory.as_mut().map(|memory| OnCore::new(&config, &spec, memory)).transpose()?;
    let mut cpu = has(BackendName::Cpu).then(|| OnCpu::new(&config)).transpose()?;
    let mut cuda = cuda.as_ref().map(|gpu| OnGpu::new(gpu, &config, images)).transpose()?;
    let mut emulated = emulated.as_ref().map(|gpu| OnGpu::new(gpu, &config, images)).transpose()?;
    let mut of_name: Vec<(BackendName, &mut dyn Side)> = Vec::new();
    of_name.extend(core.as_mut().map(|side| (BackendName::Core, side as &mut dyn Side)));
    of_name.extend(cpu.as_mut().map(|side| (BackendName::Cpu, side as &mut dyn Side)));
    of_name.extend(cuda.as_mut().map(|side| (BackendName::Cuda, side as &mut dyn Side)));
    of_name.extend(emulated.as_mut().map(|side| (BackendName::Emulated, side as &mut dyn Side)));
    of_name.sort_by_key(|(name, _)| names.iter().position(|other| other == name));
    let mut sides: Vec<&mut dyn Side> = of_name.into_iter().map(|(_, side)| side).collect();
    let (differences, losses) = compare(&config, &data, arguments.steps, &mut sides)?;
    let name = |side: usize| names[side].to_possible_value().map_or(String::new(), |value| value.get_name().into());
    let against: Vec<String> = (1..names.len()).map(name).collect();
    let mut lines = Vec::new();
    lines.push(format!(
        "{}, {}, width {}: {} against {}\n",
        config.name,
        config.rule.name(),
        config.width,
        name(0),
        against.join(" and ")
    ));
    lines.push(format!(
        "{:>5}  {:<10} {:<20} {:>16} {:>16}",
        "step", "backend", "tensor", "largest error", "mean error"
    ));
    for Difference { step, side, tensor, largest, mean } in &differences {
        lines.push(format!("{step:>5}  {:<10} {tensor:<20} {largest:>16.2e} {mean:>16.2e}", name(*side)));
    }
    let worst = worst(differences.iter().map(|difference| difference.largest));
    let worst_loss = self::worst(losses.iter().map(|loss| loss.relative));
    let passes = worst <= arguments.bound && worst_loss <= arguments.loss_bound;
    lines.push(format!(
        "\nlargest error {worst:.2e}, bound {:.0e}; of a loss {worst_loss:.2e}, bound {:.0e}: {}",
        arguments.bound,
        arguments.loss_bound,
        if passes { "passed" } else { "FAILED" }
    ));
    say(lines.join("\n"))?;
    Ok(u8::from(!passes))
}

/// Returns the largest value, or NaN if there is one: a NaN must not look like agreement.
fn worst(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(0.0, |worst: f64, value| if value > worst || value.is_nan() { value } else { worst })
}
