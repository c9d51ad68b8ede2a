//! `clapp export`: converts a checkpoint to an image for a device's flash.

use super::named;
use super::output::say;
use super::output_files::{Force, Guard, Mark, OutputFile};
use clap::{Args, ValueEnum};
use clapp_data::error::Error;
use clapp_data::files::write_atomically;
use clapp_device::flash_image::{ERASED, encode};
use clapp_engine::checkpoint::device::{Moments, read};
use std::path::PathBuf;

/// Arguments of `clapp export`.
#[derive(Debug, Args)]
pub struct ExportArguments {
    /// Checkpoint that `clapp train` or `clapp import` wrote, or the folder of the run.
    pub checkpoint: PathBuf,
    /// The device's network: a preset, a configuration file, a checkpoint or the folder of a run. The checkpoint must
    /// have the same network [default: the checkpoint's own].
    #[arg(long, value_name = "NETWORK")]
    pub network: Option<String>,
    /// File for the image [default: beside the checkpoint, with the ending .bin].
    #[arg(short, long, value_name = "IMAGE")]
    pub output: Option<OutputFile>,
    /// Replace the image if it exists.
    #[arg(long)]
    pub overwrite: bool,
    #[command(flatten)]
    force: Force,
    /// Size of the device's store in flash, in bytes. The image then fills and replaces the whole store. Without this
    /// and the next two options the image is one slot; write it to the start of an erased store.
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..), conflicts_with_all = ["slot_length", "erase_size"])]
    pub store_length: Option<u32>,
    /// Erase unit of the device's flash, in bytes. The image then has two slots of the smallest possible size. It
    /// replaces the checkpoints of a firmware with the same number of classes or fewer.
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "slot_length")]
    pub erase_size: Option<u32>,
    /// Size of a slot on the device, in bytes, if it is larger than the smallest possible size. Otherwise like
    /// --erase-size.
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..))]
    pub slot_length: Option<u32>,
    /// Number of classes of the device's nearest-mean read-out; the read-out starts empty [default: the checkpoint's
    /// read-out, or none].
    #[arg(long, value_name = "NUMBER")]
    pub classes: Option<usize>,
    /// The device's optimiser. `sgd` has no state. The configuration's optimiser continues with the state of the
    /// checkpoint [default: sgd for the checkpoint of a run; for a device's checkpoint, the one it holds].
    #[arg(long, value_enum)]
    pub optimizer: Option<OptimizerName>,
}

/// A device's optimiser.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OptimizerName {
    /// Plain SGD.
    Sgd,
    /// The configuration's.
    Config,
}

/// Largest number of classes of a read-out, because a label is one byte on the line to the device.
const MOST_CLASSES: usize = 256;

/// Runs `clapp export`.
///
/// # Errors
/// If the checkpoint cannot be read, is of another network, or does not fit into a slot.
pub fn run(arguments: &ExportArguments) -> Result<u8, Error> {
    let path = named::checkpoint_of(&arguments.checkpoint);
    let guard =
        Guard::new(arguments.force).keep([path.as_path()]).keep(named::file(arguments.network.as_deref()).as_deref());
    let beside = path.with_extension("bin");
    let output = match &arguments.output {
        Some(output) => output.check_new("--output", Mark::FLASH, &guard, arguments.overwrite)?,
        None => guard.check_new("--output", &beside, Mark::FLASH, arguments.overwrite).map(|()| beside.as_path())?,
    };
    let moments = match arguments.optimizer {
        None => Moments::AsHeld,
        Some(OptimizerName::Sgd) => Moments::None,
        Some(OptimizerName::Config) => Moments::Config,
    };
    let (header, mut held) = read(&path, moments)?;
    if let Some(name) = &arguments.network {
        named::check_same(&header.config, &path, &named::network(name)?.0, name)?;
    }
    if let Some(classes) = arguments.classes {
        if classes > MOST_CLASSES {
            let message = format!("--classes is {classes}, expected at most {MOST_CLASSES}");
            return Err(Error::Config { origin: "export".into(), message });
        }
        held.readout = vec![0.0; classes * header.config.network()?.view().feature_len()];
        held.counts = vec![0; classes];
    }
    let architecture = named::architecture_of(&header.config)?;
    let slot_length = arguments.slot_length.map_or_else(
        || arguments.erase_size.map(|erase_size| held.contents().lengths().slot_len(erase_size as usize)),
        |length| Some(length as usize),
    );
    let refused = |message: String| Error::Checkpoint { path: path.clone(), message };
    let mut image = encode(&held, architecture, slot_length).map_err(|error| refused(error.to_string()))?;
    if let Some(length) = arguments.store_length {
        if 2 * image.len() > length as usize {
            return Err(refused(format!(
                "two checkpoints of {} bytes do not fit into a store of {length} (--store-length)",
                image.len()
            )));
        }
        image.resize(length as usize, ERASED);
    }
    write_atomically(output, &image)?;
    let what = match slot_length {
        Some(length) => format!("two slots of {length} bytes; write it to the start of the device's store"),
        None if arguments.store_length.is_some() => "all of the device's store".into(),
        None => "one slot; write it to the start of an erased store".into(),
    };
    say(format!(
        "wrote {}: {} bytes, {what}\nstep {}, {} parameters, {} elements of state, {} classes, architecture {architecture:016x}",
        output.display(),
        image.len(),
        held.step,
        held.parameters.len(),
        held.state.len(),
        held.counts.len(),
    ))?;
    Ok(0)
}
