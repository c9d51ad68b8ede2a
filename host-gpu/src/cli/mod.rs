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
    /// What to do; without it, this help and exit code 2.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Networks learn on generated images in about a minute; a picture shows how (out/demo/demo.svg).
    Demo,
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
    /// All keys of a configuration: types, ranges, defaults.
    Config,
    /// A script that completes commands and options in a shell.
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
