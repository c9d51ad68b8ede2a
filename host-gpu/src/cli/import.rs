//! `clapp import`: converts an image of a device's flash back to a checkpoint.

use super::named;
use super::output::{note, say};
use super::output_files::{Force, Guard, Mark, OutputFile};
use clap::Args;
use clapp_data::error::Error;
use clapp_device::flash_image::{Image, ImageError};
use clapp_engine::checkpoint::device::write;
use std::path::PathBuf;

/// Arguments of `clapp import`.
#[derive(Debug, Args)]
pub struct ImportArguments {
    /// Image of the device's store (one slot or both), or of the whole flash that contains the store.
    pub image: PathBuf,
    /// The device's network: a preset, a configuration file, or the checkpoint (or folder of the run) that the device
    /// started from.
    #[arg(long, value_name = "NETWORK")]
    pub network: String,
    /// The checkpoint to write.
    #[arg(short, long, value_name = "CHECKPOINT")]
    pub output: OutputFile,
    /// Size of a slot on the device, in bytes. Needed if the image is not exactly one slot or two.
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..))]
    pub slot_length: Option<u32>,
    /// Replace the checkpoint if it exists.
    #[arg(long)]
    pub overwrite: bool,
    #[command(flatten)]
    force: Force,
}

/// Runs `clapp import`.
///
/// # Errors
/// If the image cannot be read, is of another network, or the checkpoint cannot be written.
pub fn run(arguments: &ImportArguments) -> Result<u8, Error> {
    let ImportArguments { image: path, network, .. } = arguments;
    let wrong = |message: String| Error::Checkpoint { path: path.clone(), message };
    let (config, epoch) = named::network(network)?;
    let spec = config.network()?;
    let guard = Guard::new(arguments.force).keep([path.as_path()]);
    let guard = guard.keep(named::file(Some(network)).as_deref());
    let output = arguments.output.check_new("--output", Mark::CHECKPOINT, &guard, arguments.overwrite)?;
    let len = path.metadata().map_err(Error::file("read", path))?.len();
    if len > u32::MAX.into() {
        return Err(wrong(format!("{len} bytes: not an image of a device's store, which has less than 4 GiB")));
    }
    let bytes = std::fs::read(path).map_err(Error::file("read", path))?;
    let architecture = named::architecture_of(&config)?;
    let refused = |error: ImageError| wrong(format!("{error}; expected an image of a device's store"));
    let image = Image::open(bytes, architecture, arguments.slot_length).map_err(refused)?;
    let (found, front) = (image.found, image.front);
    if found.header.architecture != architecture {
        let (layers, parameters) = (found.header.lengths.layers, found.header.lengths.parameters);
        return Err(wrong(format!(
            "a checkpoint of another network: architecture {:016x}, {layers} layers, {parameters} parameters; {network} \
             is {architecture:016x}, {} layers, {} parameters; name the network that the device was built with",
            found.header.architecture,
            spec.layers().len(),
            spec.view().parameter_len()
        )));
    }
    if front > 0 {
        note(format!("note: {}: the store begins after {front} bytes of something else", path.display()));
    }
    let held = image.read().map_err(|error| wrong(error.to_string()))?;
    if found.fell_back {
        note(format!("note: {}: a newer checkpoint is damaged; this is the one before it", path.display()));
    }
    write(output, &config, epoch, &held)?;
    let examples: u64 = held.counts.iter().map(|&count| u64::from(count)).sum();
    say(format!(
        "wrote {}: step {}, {} parameters, {} elements of state, read-out of {} classes with {examples} examples",
        output.display(),
        held.step,
        held.parameters.len(),
        held.state.len(),
        held.counts.len(),
    ))?;
    Ok(0)
}
