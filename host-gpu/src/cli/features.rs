//! `clapp features`: writes an encoder's features of many images to a file for other programs.

use super::data::CacheArguments;
use super::encoder::{Encoder, dimensions, encoder, frames};
use super::eval::checkpoint_file;
use super::output::say;
use super::output_files::{Force, Guard, Mark, OutputFile};
use super::stop::stop_by_signal;
use super::{check_channels, open_data};
use clap::{Args, ValueEnum};
use clapp_data::augment::TestTransform;
use clapp_data::data::{Dataset, Split};
use clapp_data::error::Error;
use clapp_data::files::{write_atomically, write_with};
use clapp_data::npy;
use clapp_data::tensor_file::{Item, write_header_of};
use clapp_data::words::counted;
use clapp_engine::checkpoint::Checkpoint;
use clapp_engine::probe::{Inputs, ROWS, frames_of};
use clapp_gpu::choice::BackendArguments;
use indicatif::ProgressBar;
use serde::Serialize;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// A part of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// The labelled training images of the probe.
    Train,
    /// The test images.
    Test,
    /// The training images of the encoder, with or without labels.
    Pretrain,
}

/// Arguments of `clapp features`.
#[derive(Debug, Args)]
pub struct FeaturesArguments {
    /// Folder of the run, or its checkpoint.
    #[arg(value_name = "RUN")]
    checkpoint: PathBuf,
    /// Image files, instead of a data set.
    #[arg(value_name = "IMAGE", conflicts_with_all = ["data", "part", "images"])]
    files: Vec<PathBuf>,
    /// Data set as downloaded (folder or archive). Not needed if the configuration generates its images.
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    #[command(flatten)]
    cache: CacheArguments,
    /// Part of the data set.
    #[arg(long, value_enum, default_value = "test")]
    part: Part,
    /// Only the first NUMBER images.
    #[arg(long, value_name = "NUMBER")]
    images: Option<usize>,
    /// Only the features of this layer, counted from 0 [default: of all layers, side by side].
    #[arg(long, value_name = "NUMBER")]
    layer: Option<usize>,
    /// Resize the shorter side of each image to PIXELS, then crop the centre [default: as the configuration says].
    #[arg(long, value_name = "PIXELS")]
    resize: Option<usize>,
    /// Output file. FILE.safetensors holds `features`, `labels` and `indices`. FILE.npy holds the features;
    /// FILE.labels.npy, FILE.indices.npy and FILE.names.json go beside it.
    #[arg(long, value_name = "FILE")]
    out: OutputFile,
    /// Replace existing files.
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    force: Force,
    #[command(flatten)]
    backend: BackendArguments,
}

/// Metadata of the safetensors file, as JSON under `clapp-features`.
#[derive(Debug, Serialize)]
struct Entry<'a> {
    format: &'static str,
    encoder_epochs: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoder_crc32: Option<&'a str>,
    /// Short name of the data set; none of image files.
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    part: Option<&'static str>,
    class_names: &'a [String],
    layers: &'a [Columns],
    /// Preparation of the images: resizing and centre crop; none for images used as they are.
    test: Option<clapp_data::augment::Sizes>,
    /// File of each image, where each has its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    names: Option<&'a [String]>,
}

/// Columns `from..to` of the matrix are a layer's features.
#[derive(Debug, Clone, Copy, Serialize)]
struct Columns {
    layer: usize,
    from: usize,
    to: usize,
}

/// Source of the images.
enum Source<'a> {
    Files(&'a [PathBuf]),
    Split(&'a Split),
}

/// Runs `clapp features`.
///
/// # Errors
/// If the input is wrong, an image is not usable, or an output cannot be written.
pub fn run(arguments: &FeaturesArguments) -> Result<u8, Error> {
    let refuse = |origin: &str, message: String| Err(Error::Config { origin: origin.into(), message });
    arguments.backend.check()?;
    if arguments.images == Some(0) {
        return refuse("--images", "is 0, expected at least 1".into());
    }
    let extension = arguments.out.extension();
    let outputs = match extension {
        "safetensors" => vec![arguments.out.clone()],
        "npy" => ["npy", "labels.npy", "indices.npy", "names.json"]
            .map(|extension| arguments.out.with_extension(extension))
            .into(),
        _ => return refuse("--out", format!("is {}, expected .safetensors or .npy", arguments.out)),
    };
    let file = checkpoint_file(&arguments.checkpoint)?;
    let inputs = [&file].into_iter().chain(&arguments.files);
    let guard = Guard::new(arguments.force).keep(inputs.map(PathBuf::as_path)).keep_data(arguments.data.as_deref());
    let outputs = checked(&outputs, &guard, arguments.overwrite)?;
    let out = outputs[0];
    let checkpoint = Checkpoint::read(&file)?;
    let dimensions = dimensions(&checkpoint)?;
    let layers = match arguments.layer {
        None => (0..dimensions.len()).collect(),
        Some(layer) if layer < dimensions.len() => vec![layer],
        Some(layer) => {
            let message =
                format!("is {layer}, but the network has {}, counted from 0", counted(dimensions.len(), "layer"));
            return refuse("--layer", message);
        }
    };
    let config = &checkpoint.config;
    let input = config.input_shape();
    let test = match arguments.resize {
        None => config.probe.test,
        Some(resize) => TestTransform::ResizeCrop { resize, crop: input.height },
    };
    test.check(input).map_err(|error| Error::Config { origin: "--resize".into(), message: error.to_string() })?;
    let inputs = Inputs::of_run(config, test);
    let data = match arguments.files.is_empty() {
        true => Some(open_data(arguments.data.as_deref(), &arguments.cache, config)?),
        false => None,
    };
    let split = match &data {
        None => None,
        Some(data) => {
            check_channels(data, input, &file.display().to_string())?;
            let split = part_of(data, arguments.part);
            Some(arguments.images.map_or_else(|| split.clone(), |images| split.take(images)))
        }
    };
    let source = split.as_ref().map_or(Source::Files(&arguments.files), Source::Split);
    if source.len() == 0 {
        return refuse("--part", "has no images in this data set".into());
    }
    let names = source.names();
    let columns = columns(&layers, &dimensions);
    let width = columns.last().map_or(0, |last| last.to);
    let stop = stop_by_signal()?;
    let mut table = Table { source: &source, inputs: &inputs, layers: &layers, stop: &stop };
    let mut encoder = encoder(arguments.backend, &checkpoint)?;
    let shape = [source.len(), width];
    if extension == "npy" {
        write_with(out, |file| {
            let failed = |error| Error::file("write", out)(error);
            npy::write_header(file, "<f4", &shape).map_err(failed)?;
            table.write(&mut encoder, file, out)
        })?;
        for (path, values) in [(outputs[1], source.labels()), (outputs[2], Some(source.indices()))] {
            let Some(values) = values else {
                remove(path)?;
                continue;
            };
            let mut bytes = Vec::new();
            npy::write_header(&mut bytes, "<i8", &[values.len()]).map_err(Error::file("write", path))?;
            bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
            write_atomically(path, &bytes)?;
        }
        match &names {
            None => remove(outputs[3])?,
            Some(names) => {
                let text = serde_json::to_string_pretty(names)
                    .map_err(|error| Error::Run { path: outputs[3].into(), message: error.to_string() })?;
                write_atomically(outputs[3], format!("{text}\n").as_bytes())?;
            }
        }
    } else {
        let entry = Entry {
            format: "clapp-features/1",
            encoder_epochs: checkpoint.epoch,
            encoder_crc32: checkpoint.checksum.as_deref(),
            data: data.as_ref().map(|data| data.name.as_str()),
            part: data.as_ref().map(|_| arguments.part.name()),
            class_names: data.as_ref().map_or(&[], |data| &data.classes),
            layers: &columns,
            test: inputs.test.sizes(),
            names: names.as_deref(),
        };
        write_tensors(out, &entry, &source, &shape, &mut table, &mut encoder)?;
    }
    let of = if let [layer] = layers[..] { format!("layer {layer}") } else { counted(layers.len(), "layer") };
    let images = counted(source.len(), "image");
    say(format!("wrote {} ({images}, {} of {of})", out.display(), counted(width, "feature")))?;
    Ok(0)
}

/// Checks the output paths. A NumPy array does not say who wrote it; the file of indices beside it does.
fn checked<'a>(outputs: &'a [OutputFile], guard: &Guard, overwrite: bool) -> Result<Vec<&'a Path>, Error> {
    let marks: &[Mark] = match outputs {
        [_] => &[Mark::FEATURES],
        [_, _, indices, ..] if indices.is_there() => &[Mark::ARRAY, Mark::ARRAY, Mark::ARRAY, Mark::NAMES],
        _ => &[Mark::NONE; 4],
    };
    outputs.iter().zip(marks).map(|(output, mark)| output.check_new("--out", *mark, guard, overwrite)).collect()
}

/// Removes a file of an earlier call that does not belong to these features.
fn remove(path: &Path) -> Result<(), Error> {
    if path.exists() { std::fs::remove_file(path).map_err(Error::file("remove", path)) } else { Ok(()) }
}

/// Writes a safetensors file. Labels and indices come first, so that the features, written image by image, are at the
/// end.
fn write_tensors(
    path: &Path,
    entry: &Entry<'_>,
    source: &Source<'_>,
    shape: &[usize; 2],
    table: &mut Table<'_>,
    encoder: &mut Encoder,
) -> Result<(), Error> {
    let failed = |error| Error::file("write", path)(error);
    let text =
        serde_json::to_string(entry).map_err(|error| Error::Run { path: path.into(), message: error.to_string() })?;
    let (labels, indices) = (source.labels(), source.indices());
    let whole = |values: &[i64]| -> Vec<u8> { values.iter().flat_map(|value| value.to_le_bytes()).collect() };
    let mut items = Vec::new();
    if let Some(labels) = &labels {
        items.push(Item::whole_numbers("labels", vec![labels.len()]));
    }
    items.push(Item::whole_numbers("indices", vec![indices.len()]));
    items.push(Item::floats("features", shape.to_vec()));
    write_with(path, |file| {
        write_header_of(file, ("clapp-features", text), items).map_err(failed)?;
        file.write_all(&whole(&labels.unwrap_or_default())).map_err(failed)?;
        file.write_all(&whole(&indices)).map_err(failed)?;
        table.write(encoder, file, path)
    })
}

/// Inputs of the feature matrix.
struct Table<'a> {
    source: &'a Source<'a>,
    inputs: &'a Inputs,
    layers: &'a [usize],
    stop: &'a AtomicBool,
}

impl Table<'_> {
    /// Writes the features of all images, one row per image.
    fn write(&mut self, encoder: &mut Encoder, out: &mut impl Write, path: &Path) -> Result<(), Error> {
        let images: Vec<usize> = (0..self.source.len()).collect();
        let bar = ProgressBar::new(images.len() as u64);
        for images in images.chunks(ROWS) {
            if self.stop.load(Ordering::Relaxed) {
                return Err(Error::Stopped);
            }
            let x = self.source.frames(images, self.inputs)?;
            let features = encoder(&x, images.len());
            let rows: Vec<usize> = (0..images.len()).collect();
            let parts = features.rows(self.layers, &rows);
            let mut bytes = Vec::new();
            for row in rows {
                for part in &parts {
                    let len = part.len() / images.len();
                    bytes.extend(part[row * len..][..len].iter().flat_map(|value| value.to_le_bytes()));
                }
            }
            out.write_all(&bytes).map_err(Error::file("write", path))?;
            bar.inc(images.len() as u64);
        }
        bar.finish_and_clear();
        Ok(())
    }
}

impl Source<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Files(files) => files.len(),
            Self::Split(split) => split.len(),
        }
    }

    /// Returns the file of each image, if each image has one.
    fn names(&self) -> Option<Vec<String>> {
        match self {
            Self::Files(files) => Some(files.iter().map(|file| file.to_string_lossy().into_owned()).collect()),
            Self::Split(split) => (0..split.len()).map(|image| split.file_name(image).map(String::from)).collect(),
        }
    }

    fn labels(&self) -> Option<Vec<i64>> {
        match self {
            Self::Split(split) if split.is_labelled() => {
                Some(split.labels().iter().map(|label| (*label).into()).collect())
            }
            _ => None,
        }
    }

    /// Returns the number of each image in its part of the set.
    fn indices(&self) -> Vec<i64> {
        (0..self.len() as i64).collect()
    }

    fn frames(&self, images: &[usize], inputs: &Inputs) -> Result<Vec<f32>, Error> {
        match (self, images) {
            (Self::Files(files), [first, ..]) => frames(&files[*first..first + images.len()], inputs),
            (Self::Files(_), []) => Ok(Vec::new()),
            (Self::Split(split), _) => frames_of(split, inputs, images),
        }
    }
}

fn part_of(data: &Dataset, part: Part) -> &Split {
    match part {
        Part::Train => &data.train,
        Part::Test => &data.test,
        Part::Pretrain => &data.pretrain,
    }
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Test => "test",
            Self::Pretrain => "pretrain",
        }
    }
}

/// Returns the columns of each layer.
fn columns(layers: &[usize], dimensions: &[usize]) -> Vec<Columns> {
    let mut from = 0;
    let column = |layer: &usize| {
        let columns = Columns { layer: *layer, from, to: from + dimensions[*layer] };
        from = columns.to;
        columns
    };
    layers.iter().map(column).collect()
}
