//! `clapp device`: a device learns from a data set, live, and is compared with a replay on the host.

mod stream;

use super::data::CacheArguments;
use super::output::say;
use super::output_files::{Force, Guard, Mark, OutputFile};
use super::stop::stop_by_signal;
use super::{GENERATED_TEST, GENERATED_TRAIN};
use clap::Args;
use clapp_core::link::{Answer, Command, Origin};
use clapp_data::data::{Dataset, generated};
use clapp_data::error::Error;
use clapp_data::words::counted;
use clapp_device::device::client::{Client, REPLY_LEN, wrong_with};
use clapp_device::device::course::{Course, Learnt, Plan};
use clapp_device::device::description::{Description, unusable};
use clapp_device::device::faults::Faulty;
use clapp_device::device::held;
use clapp_device::device::home;
use clapp_device::device::port::Port;
use clapp_device::device::replay::Replay;
use clapp_device::device::transport::Transport;
use clapp_engine::checkpoint::device::DeviceState;
use clapp_lab::continual::stream::Kind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Arguments of `clapp device`.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("line").required(true).args(["port", "qemu"])))]
pub struct DeviceArguments {
    /// Serial port of the device, such as /dev/ttyACM0 or COM3.
    #[arg(long, value_name = "PORT")]
    port: Option<String>,
    /// Baud rate of the port.
    #[arg(long, default_value_t = 115_200, requires = "port", value_parser = clap::value_parser!(u32).range(1..))]
    baud: u32,
    /// Emulate the device with QEMU.
    #[arg(long)]
    qemu: bool,
    #[command(flatten)]
    emulation: EmulationArguments,
    /// Data set as downloaded (folder or archive), or `generated`.
    #[arg(long, value_name = "PATH", default_value = GENERATED)]
    data: PathBuf,
    #[command(flatten)]
    cache: CacheArguments,
    /// Number of unlabelled frames that the device learns from.
    #[arg(long, default_value_t = 2000)]
    frames: u64,
    /// Consecutive frames of each image.
    #[arg(long, value_name = "FRAMES", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..))]
    fixation: u64,
    /// Labelled images per class that train the read-out; 0 leaves it as it is.
    #[arg(long, value_name = "IMAGES", default_value_t = 10)]
    labels: usize,
    /// Number of test images, for the tests before and after learning.
    #[arg(long, value_name = "IMAGES", default_value_t = 1000)]
    test: usize,
    /// Show a stream of continual learning instead: no image repeats, and labels come in between. The device and a
    /// learner on the host see the same stream, and both are tested after each stage. --frames and --test count all
    /// classes together.
    #[arg(long, value_name = "KIND", conflicts_with = "no_replay")]
    stream: Option<Kind>,
    /// Seed of the image order and of the views.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// First draw new weights on the device, from this seed.
    #[arg(long, value_name = "SEED")]
    reset: Option<u64>,
    /// Save the learnt state in the device's flash.
    #[arg(long)]
    save: bool,
    /// Write the device's state to a file (safetensors).
    #[arg(long, value_name = "FILE")]
    fetch: Option<OutputFile>,
    /// Replace the file of --fetch if it exists.
    #[arg(long, requires = "fetch")]
    overwrite: bool,
    #[command(flatten)]
    force: Force,
    /// Do not replay the learning on the host. The replay compares all weights.
    #[arg(long)]
    no_replay: bool,
    /// Give up after this many seconds without a reply from the device.
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    timeout: f32,
    /// Inject faults: lose, change or duplicate this share of the bytes, in both directions. The protocol must correct
    /// them.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    faults: f32,
}

/// Arguments for QEMU.
#[derive(Debug, Clone, Args)]
struct EmulationArguments {
    /// QEMU's name of the board.
    #[arg(long, default_value = "mps2-an386", requires = "qemu", value_parser = ["mps2-an386", "mps2-an500"])]
    machine: String,
    /// Firmware for that board [default: the output of `cargo xtask firmware`].
    #[arg(long, value_name = "ELF", requires = "qemu")]
    firmware: Option<PathBuf>,
    /// File that emulates the board's flash; created if missing. The firmware also saves there by itself after every
    /// 1000 frames of learning [default: a board without flash].
    #[arg(long, value_name = "FILE", requires = "qemu")]
    flash: Option<OutputFile>,
    /// File for the firmware's binary log: `defmt-print -e ELF < FILE` converts it to text.
    #[arg(long, value_name = "FILE", requires = "qemu")]
    log: Option<OutputFile>,
}

/// Name of the generated set.
const GENERATED: &str = "generated";
/// Largest value of --timeout, in seconds.
const MOST_TIMEOUT: f32 = 3600.0;

/// Runs `clapp device`. Exit code 0: success. 1: the device's state differs from the host's replay. 130: a signal
/// stopped it.
///
/// # Errors
/// If the device cannot be reached, stops in the middle, or does not fit the images; if an input is wrong or an
/// output cannot be written.
pub fn run(arguments: &DeviceArguments) -> Result<u8, Error> {
    let wrong = |origin: &str, message: String| Err(Error::Config { origin: origin.into(), message });
    if !(0.1..=MOST_TIMEOUT).contains(&arguments.timeout) {
        return wrong("--timeout", format!("is {}, expected 0.1 to {MOST_TIMEOUT} seconds", arguments.timeout));
    }
    if !(0.0..=0.1).contains(&arguments.faults) {
        return wrong("--faults", format!("is {}, expected 0 to 0.1", arguments.faults));
    }
    if arguments.save && arguments.qemu && arguments.emulation.flash.is_none() {
        return wrong("--save", "an emulated board has no flash; add --flash FILE".into());
    }
    let outputs = Outputs::check(arguments)?;
    let stop = stop_by_signal()?;
    let mut line = open(arguments, &outputs)?;
    if arguments.faults > 0.0 {
        line = Box::new(Faulty::new(line, arguments.faults, arguments.seed));
    }
    let data = match arguments.data.to_str() {
        Some(GENERATED) => generated::shapes(arguments.seed, GENERATED_TRAIN, GENERATED_TEST),
        _ => arguments.cache.open(&arguments.data)?,
    };
    let mut replies = vec![0; REPLY_LEN];
    let mut client = Client::new(line, &mut replies, Duration::from_secs_f32(arguments.timeout), stop);
    match work(arguments, outputs.fetch, &mut client, &data) {
        Err(Error::Stopped) => {
            say(format!("stopped; {}", kept(arguments)))?;
            Ok(Error::Stopped.exit_code())
        }
        outcome => outcome,
    }
}

/// Checks the output files.
struct Outputs<'a> {
    fetch: Option<&'a Path>,
    flash: Option<&'a Path>,
    log: Option<&'a Path>,
}

impl<'a> Outputs<'a> {
    fn check(arguments: &'a DeviceArguments) -> Result<Self, Error> {
        let DeviceArguments { fetch, overwrite, force, data, .. } = arguments;
        let EmulationArguments { firmware, flash, log, .. } = &arguments.emulation;
        let port = arguments.port.as_deref().map(Path::new);
        let inputs = || Guard::new(*force).keep_data([data.as_path()]).keep(firmware.as_deref()).keep(port);
        let fetch = fetch.as_ref().map(|path| {
            let guard = inputs().keep_outputs(flash.iter().chain(log));
            path.check_new("--fetch", Mark::CHECKPOINT, &guard, *overwrite)
        });
        let log = log.as_ref().map(|path| path.check("--log", Mark::NONE, &inputs().keep_outputs(flash)));
        // The board writes into this file. A file that is no flash image is refused when it is opened.
        let flash = flash.as_ref().map(|path| path.check_held("--flash", &inputs()));
        Ok(Self { fetch: fetch.transpose()?, flash: flash.transpose()?, log: log.transpose()? })
    }
}

/// Opens the line to the device.
fn open(arguments: &DeviceArguments, outputs: &Outputs<'_>) -> Result<Box<dyn Transport>, Error> {
    match &arguments.port {
        Some(port) => Ok(Box::new(Port::open(port, arguments.baud)?)),
        None => emulate(&arguments.emulation, outputs),
    }
}

#[cfg(unix)]
fn emulate(arguments: &EmulationArguments, outputs: &Outputs<'_>) -> Result<Box<dyn Transport>, Error> {
    use clapp_device::device::qemu::{Emulation, Qemu};
    let EmulationArguments { machine, firmware, .. } = arguments.clone();
    let [flash, log] = [outputs.flash, outputs.log].map(|path| path.map(Path::to_path_buf));
    let built = || PathBuf::from(format!("target/firmware/qemu-{machine}/clapp-firmware"));
    let firmware = firmware.unwrap_or_else(built);
    Ok(Box::new(Qemu::start(&Emulation { machine, firmware, flash, log })?))
}

#[cfg(not(unix))]
fn emulate(_: &EmulationArguments, _: &Outputs<'_>) -> Result<Box<dyn Transport>, Error> {
    let message = "the emulated line needs a Unix system; name a device with --port".into();
    Err(Error::Config { origin: "--qemu".into(), message })
}

/// Returns a note on the learnt state if the program ends before the device has saved.
fn kept(arguments: &DeviceArguments) -> &'static str {
    if arguments.qemu {
        "the emulated device lost everything that it learnt since its last save"
    } else {
        "the device keeps its learnt state while it has power"
    }
}

fn work(
    arguments: &DeviceArguments,
    fetch_into: Option<&Path>,
    client: &mut Client<'_>,
    data: &Dataset,
) -> Result<u8, Error> {
    if let Some(seed) = arguments.reset {
        client.hello(|_| ())?;
        client.tell(Command::Reset { seed })?;
    }
    let device = Description::ask(client)?;
    if let (Origin::Unusable { problem, .. }, None) = (device.origin, arguments.reset) {
        let message = format!("{}; --reset SEED begins anew, and the next save replaces it", unusable(problem));
        return Err(Error::NoDevice { place: client.place(), message });
    }
    say(&device)?;
    say(&data.source)?;
    if let Some(kind) = arguments.stream {
        let compared = stream::run(arguments, kind, client, &device, data)?;
        close(arguments, client)?;
        fetch(fetch_into, arguments.seed, &device, &compared.held)?;
        return Ok(u8::from(!compared.differences.is_empty()));
    }
    let replay = match arguments.no_replay {
        true => None,
        false => Some(Replay::start(&device, held::read(client, &device)?)?),
    };
    let DeviceArguments { frames, fixation, labels, test, seed, .. } = *arguments;
    let plan = Plan { frames, fixation, labels, test, seed };
    let mut course = Course::new(client, &device, data, plan, replay)?;
    let lesson = lesson(&mut course, &plan);
    if matches!(lesson, Err(Error::Device { .. })) {
        return lesson.map(|()| 0);
    }
    // Unmute the device even after an error.
    let replay = course.end()?;
    lesson?;
    close(arguments, client)?;
    let held = match replay.is_some() || fetch_into.is_some() {
        true => held::read(client, &device)?,
        false => return Ok(0),
    };
    let code = replay.map_or(Ok(0), |replay| compare(replay, &held))?;
    fetch(fetch_into, arguments.seed, &device, &held)?;
    Ok(code)
}

/// Prints the report of the line, and saves if asked.
fn close(arguments: &DeviceArguments, client: &mut Client<'_>) -> Result<(), Error> {
    line_report(client)?;
    if arguments.save {
        let step = client.ask(Command::Save, |answer| match answer {
            Answer::Saved { step } => Some(*step),
            _ => None,
        })?;
        say(format!("saved in the device's flash at step {step}"))?;
    }
    Ok(())
}

/// Writes the device's state to the file of --fetch, if given.
fn fetch(path: Option<&Path>, seed: u64, device: &Description, held: &DeviceState) -> Result<(), Error> {
    if let Some(path) = path {
        home::write(path, device, seed, held)?;
        say(format!("wrote {}: what the device holds at step {}", path.display(), held.step))?;
    }
    Ok(())
}

/// Tests, learns, tests again. The read-out is trained again for each test. While the layers learn, the read-out still
/// fits the earlier layers, so its predictions are not reported.
fn lesson(course: &mut Course<'_, '_>, plan: &Plan) -> Result<(), Error> {
    let taught = match plan.labels {
        0 => "with the read-out that it has".into(),
        labels => format!("from {labels} labels a class"),
    };
    let mut before = None;
    if plan.frames > 0 {
        if plan.test > 0 {
            let score = course.measure()?;
            say(format!("before learning: {score}, {taught}"))?;
            before = Some(score);
        }
        let begin = Instant::now();
        say(learnt(&course.learn()?, begin.elapsed()))?;
        match plan.labels {
            0 if plan.test > 0 => say(
                "the read-out was trained before the layers changed, so a lower accuracy does not mean damage; --labels N trains it again",
            )?,
            0 => {}
            _ => say(format!("training the read-out again, {taught}: the layers have changed since it was trained"))?,
        }
    }
    if plan.test > 0 || plan.labels > 0 {
        let after = course.measure()?;
        let gain = before.map_or_else(String::new, |before| {
            let points = 100.0 * (after.share() - before.share());
            format!(" ({points:+.1} points)")
        });
        if plan.test > 0 {
            let when = if plan.frames > 0 { "after" } else { "without" };
            say(format!("{when} learning: {after}{gain}, {taught}"))?;
        }
    }
    Ok(())
}

fn learnt(learnt: &Learnt, took: Duration) -> String {
    let losses: Vec<String> = learnt.losses.iter().map(|[first, last]| format!("{first:.2} -> {last:.2}")).collect();
    let refused =
        if learnt.refused > 0 { format!("; {} refused", counted(learnt.refused, "update")) } else { String::new() };
    format!(
        "learnt without labels from {} in {:.1} s, loss of each layer {}{refused}",
        counted(learnt.frames, "frame"),
        took.as_secs_f32(),
        losses.join(", ")
    )
}

/// Prints the line statistics of both sides.
fn line_report(client: &mut Client<'_>) -> Result<(), Error> {
    let status = client.status()?;
    let counts = client.counts();
    say(format!(
        "line: {} requests, {} sent again; packets that could not be read: {} by the device, {} by the host; requests that \
         the device had met before: {}",
        counts.answered,
        counts.resent,
        status.dropped,
        client.dropped(),
        status.repeated
    ))?;
    if let Some(verdict) = status.verdict {
        say(format!("the device reports: {}", wrong_with(verdict)))?;
    }
    if status.waiting {
        say("an automatic save is due and waits; --save saves all the same")?;
    }
    Ok(())
}

/// Compares the device's state with the replay.
fn compare(replay: Replay, held: &DeviceState) -> Result<u8, Error> {
    let replayed = replay.finish()?;
    let mut differences = held::differences(&replayed.held, held);
    if let Some(frame) = replayed.first_difference {
        differences.insert(0, format!("losses or predictions differ from frame {frame} of {} on", replayed.frames));
    }
    if differences.is_empty() {
        let (parameters, frames) = (held.parameters.len(), replayed.frames);
        say(format!(
            "replay on the host: the same to the last bit ({frames} frames, {parameters} parameters, read-out)"
        ))?;
        return Ok(0);
    }
    say(format!("replay on the host: NOT the same: {}", differences.join("; ")))?;
    Ok(1)
}
