//! The command line: one file a command.

pub(crate) mod align;
pub(crate) mod computes;
pub mod data;
pub mod demo;
pub mod device;
pub mod doctor;
mod encoder;
pub mod eval;
mod evaluable;
pub mod export;
pub mod features;
pub mod golden;
pub mod import;
pub mod info;
mod named;
mod output;
pub mod paper;
pub mod parity;
pub mod predict;
mod probe_progress;
pub(crate) mod progress;
pub mod recommend;
pub mod report;
pub mod speed;
pub mod sweep;
pub mod train;
mod warnings;

use crate::config::{Config, DataSource};
use crate::data::{Dataset, generated};
use crate::error::Error;
use clap::{Parser, Subcommand, ValueEnum};
use clapp_core::shape::Shape;
use data::CacheArguments;
use std::path::Path;

/// Trains convolutional networks without back-propagation through the network.
#[derive(Debug, Parser)]
#[command(
    name = "clapp",
    version,
    about = "Trains convolutional networks without back-propagation through the network",
    after_help = "Without a command: networks learn on generated images, and a picture shows how (out/demo/demo.svg)."
)]
pub struct Arguments {
    /// What to do; without it, the demonstration on generated images.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train an encoder with a local rule, or one that it is held against.
    Train(train::TrainArguments),
    /// Linear probe of a checkpoint.
    Eval(eval::EvalArguments),
    /// The likeliest classes of image files, by a checkpoint and its probe.
    Predict(predict::PredictArguments),
    /// A checkpoint's features of many images, as a file for other programs.
    Features(features::FeaturesArguments),
    /// How far the layers' gradients of a checkpoint agree with back-propagation.
    Align(align::AlignArguments),
    /// Many runs: every rule at every width with every seed.
    Sweep(Box<sweep::SweepArguments>),
    /// A page that compares runs.
    Report(report::ReportArguments),
    /// The paper's figures and tables, and this project's own: each an experiment with its verdicts.
    Paper(paper::PaperArguments),
    /// Data sets: whether one is whole, and what it looks like.
    Data(data::DataArguments),
    /// What a network needs: parameters, operations, memory.
    Info(info::InfoArguments),
    /// Networks that fit a microcontroller, from what `clapp paper micro` has measured.
    Recommend(recommend::RecommendArguments),
    /// What this machine has for training: processor, GPU, driver, libraries.
    Doctor(doctor::DoctorArguments),
    /// A device learns from a data set over a serial line, or emulated by QEMU.
    Device(Box<device::DeviceArguments>),
    /// A checkpoint to an image for a device's flash.
    Export(export::ExportArguments),
    /// An image of a device's flash back to a checkpoint.
    Import(import::ImportArguments),
    /// A backend against golden vectors.
    Golden(golden::GoldenArguments),
    /// The same training on two backends, compared tensor by tensor.
    Parity(parity::ParityArguments),
    /// Time and memory of training steps.
    Speed(speed::SpeedArguments),
}

/// A backend to check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BackendName {
    /// `clapp-core`, as on a microcontroller.
    Core,
    /// The CPU backend of this program.
    Cpu,
    /// The CUDA backend.
    Cuda,
    /// The CUDA backend's programs and kernels on the CPU, slowly.
    Emulated,
}

/// Runs the command and gives the exit code: 0, or 1 where a check has failed.
///
/// # Errors
/// Any [`Error`]; its exit code is [`Error::exit_code`].
pub fn run(arguments: &Arguments) -> Result<u8, Error> {
    sweep::end_with_sweep();
    match &arguments.command {
        None => demo::run(),
        Some(Command::Train(arguments)) => train::run(arguments),
        Some(Command::Eval(arguments)) => eval::run(arguments),
        Some(Command::Predict(arguments)) => predict::run(arguments),
        Some(Command::Features(arguments)) => features::run(arguments),
        Some(Command::Align(arguments)) => align::run(arguments),
        Some(Command::Sweep(arguments)) => sweep::run(arguments),
        Some(Command::Report(arguments)) => report::run(arguments),
        Some(Command::Paper(arguments)) => paper::run(arguments),
        Some(Command::Data(arguments)) => data::run(arguments),
        Some(Command::Info(arguments)) => info::run(arguments),
        Some(Command::Recommend(arguments)) => recommend::run(arguments),
        Some(Command::Doctor(arguments)) => doctor::run(arguments),
        Some(Command::Device(arguments)) => device::run(arguments),
        Some(Command::Export(arguments)) => export::run(arguments),
        Some(Command::Import(arguments)) => import::run(arguments),
        Some(Command::Golden(arguments)) => golden::run(arguments),
        Some(Command::Parity(arguments)) => parity::run(arguments),
        Some(Command::Speed(arguments)) => speed::run(arguments),
    }
}

/// The images of a run: the folder or archive given, or the generated set where the configuration says so; in grey for
/// a network of one channel. Where the configuration divides a set or skips its bad images, so is done here.
pub(crate) fn open_data(path: Option<&Path>, arguments: &CacheArguments, config: &Config) -> Result<Dataset, Error> {
    let arguments = arguments.of_run(config)?;
    let data = match (path, config.data) {
        (Some(path), _) => arguments.open(path)?,
        (None, DataSource::Files) => return Err(no_images(&config.name)),
        (None, DataSource::Generated) if arguments.split.is_some() => {
            let message = "is for class folders; name them with --data PATH".into();
            return Err(Error::Config { origin: "--split".into(), message });
        }
        (None, DataSource::Generated) => generated::shapes(config.seed, GENERATED_TRAIN, GENERATED_TEST),
    };
    Ok(if config.input_shape().channels == 1 && data.channels() == 3 { data.in_grey() } else { data })
}

/// A configuration called `name` needs a data set.
pub(crate) fn no_images(name: &str) -> Error {
    Error::Config {
        origin: name.into(),
        message: "no images; name the data set with --data PATH, as downloaded (folder or official archive)".into(),
    }
}

/// Images in the generated set.
pub(crate) const GENERATED_TRAIN: usize = 4000;
pub(crate) const GENERATED_TEST: usize = 1000;

/// The images must have the channels that the network reads; the views are cut to its size.
pub(crate) fn check_channels(data: &Dataset, input: Shape, origin: &str) -> Result<(), Error> {
    if data.channels() == input.channels { Ok(()) } else { Err(does_not_fit(data, input, origin)) }
}

fn does_not_fit(data: &Dataset, input: Shape, origin: &str) -> Error {
    let text = |shape: Shape| format!("[{}, {}, {}]", shape.channels, shape.height, shape.width);
    let found = data.shape().map_or_else(|| format!("[{}, H, W]", data.channels()), text);
    let message = format!("input is {}, but the images of {} are {found}", text(input), data.name);
    Error::Config { origin: origin.into(), message }
}
