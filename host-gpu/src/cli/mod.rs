//! The command line: one file a command.

pub(crate) mod align;
pub mod completions;
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
mod keys;
mod named;
mod output;
pub mod output_files;
pub mod paper;
pub mod parity;
pub mod predict;
pub mod recommend;
pub mod report;
pub mod speed;
pub(crate) mod stop;
pub mod sweep;
pub mod train;
mod warnings;

use clap::{Parser, Subcommand, ValueEnum};
use clapp_core::shape::Shape;
use clapp_data::data::{Dataset, generated};
use clapp_data::error::Error;
use clapp_engine::config::{Config, DataSource};
use data::CacheArguments;
use std::path::Path;

/// Trains convolutional networks without back-propagation through the network.
#[derive(Debug, Parser)]
#[command(
    name = "clapp",
    version,
    about = "Trains convolutional networks without back-propagation through the network",
    after_help = "Begin with `clapp demo`. Exit codes: 0 done, 1 a run or a check failed, 2 wrong input, 130 stopped."
)]
pub struct Arguments {
    /// The command. Without one, `clapp` prints this help and returns exit code 2.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train networks on generated images in about a minute, and draw the result (out/demo/demo.svg).
    Demo,
    /// Train an encoder with a local rule, or with a rule to compare it with.
    Train(train::TrainArguments),
    /// Evaluate a checkpoint with a linear probe.
    Eval(eval::EvalArguments),
    /// Predict the classes of image files with a checkpoint and its probe.
    Predict(predict::PredictArguments),
    /// Write the features of many images to a file for other programs.
    Features(features::FeaturesArguments),
    /// Compare the layers' gradients of a checkpoint with those of back-propagation.
    Align(align::AlignArguments),
    /// Run every rule at every width with every seed.
    Sweep(Box<sweep::SweepArguments>),
    /// Write a page that compares runs.
    Report(report::ReportArguments),
    /// Run experiments: the paper's figures and tables, and this project's own, each with verdicts on its claims.
    Paper(paper::PaperArguments),
    /// Check a data set: count and decode its images, verify checksums, draw samples.
    Data(data::DataArguments),
    /// Print the parameters, operations and memory of a network.
    Info(info::InfoArguments),
    /// List networks that fit a microcontroller, from the measurements of `clapp paper micro`.
    Recommend(recommend::RecommendArguments),
    /// Show what this machine offers for training: processor, GPU, driver, libraries.
    Doctor(doctor::DoctorArguments),
    /// Let a device learn from a data set, over a serial line or emulated by QEMU.
    Device(Box<device::DeviceArguments>),
    /// Convert a checkpoint to an image for a device's flash.
    Export(export::ExportArguments),
    /// Convert an image of a device's flash back to a checkpoint.
    Import(import::ImportArguments),
    /// Check a backend against golden vectors.
    Golden(golden::GoldenArguments),
    /// Train the same on two or more backends, and compare tensor by tensor.
    Parity(parity::ParityArguments),
    /// Measure the time and memory of training steps.
    Speed(speed::SpeedArguments),
    /// List all keys of a configuration: types, ranges, defaults.
    Config,
    /// Print a script that completes commands and options in a shell.
    Completions(completions::CompletionsArguments),
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
    /// The programs and kernels of the CUDA backend, emulated on the CPU (slow).
    Emulated,
}

/// Runs the command. Returns the exit code: 0, or 1 if a check failed.
///
/// # Errors
/// Any [`Error`]; its exit code is [`Error::exit_code`].
pub fn run(arguments: &Arguments) -> Result<u8, Error> {
    sweep::end_with_sweep();
    match &arguments.command {
        Command::Demo => demo::run(),
        Command::Train(arguments) => train::run(arguments),
        Command::Eval(arguments) => eval::run(arguments),
        Command::Predict(arguments) => predict::run(arguments),
        Command::Features(arguments) => features::run(arguments),
        Command::Align(arguments) => align::run(arguments),
        Command::Sweep(arguments) => sweep::run(arguments),
        Command::Report(arguments) => report::run(arguments),
        Command::Paper(arguments) => paper::run(arguments),
        Command::Data(arguments) => data::run(arguments),
        Command::Info(arguments) => info::run(arguments),
        Command::Recommend(arguments) => recommend::run(arguments),
        Command::Doctor(arguments) => doctor::run(arguments),
        Command::Device(arguments) => device::run(arguments),
        Command::Export(arguments) => export::run(arguments),
        Command::Import(arguments) => import::run(arguments),
        Command::Golden(arguments) => golden::run(arguments),
        Command::Parity(arguments) => parity::run(arguments),
        Command::Speed(arguments) => speed::run(arguments),
        Command::Config => keys::run(),
        Command::Completions(arguments) => completions::run(arguments),
    }
}

/// Opens the images of a run: the folder or archive given, or the generated set if the configuration asks for it.
/// Converts them to grey for a network of one channel. Splits the set and skips its bad images as the configuration
/// says.
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

/// Number of images in the generated set.
pub(crate) const GENERATED_TRAIN: usize = 4000;
pub(crate) const GENERATED_TEST: usize = 1000;

/// Checks that the images have the channels that the network reads. The views are cropped to the network's size.
pub(crate) fn check_channels(data: &Dataset, input: Shape, origin: &str) -> Result<(), Error> {
    if data.channels() == input.channels { Ok(()) } else { Err(does_not_fit(data, input, origin)) }
}

fn does_not_fit(data: &Dataset, input: Shape, origin: &str) -> Error {
    let text = |shape: Shape| format!("[{}, {}, {}]", shape.channels, shape.height, shape.width);
    let found = data.shape().map_or_else(|| format!("[{}, H, W]", data.channels()), text);
    let message = format!("input is {}, but the images of {} are {found}", text(input), data.name);
    Error::Config { origin: origin.into(), message }
}
