//! `clapp align`: agreement of an encoder's local gradients with back-propagation (docs/paper.md 7).

use super::data::CacheArguments;
use super::eval::checkpoint_file;
use super::output::{note, say};
use super::output_files::{Force, Guard, Mark, OutputFile};
use super::{check_channels, open_data};
use clap::Args;
use clapp_data::error::Error;
use clapp_data::files::write_atomically;
use clapp_data::words::counted;
use clapp_engine::alignment::{BATCHES, LayerAlignment, first_views, over_batches, refusal};
use clapp_engine::checkpoint::{Checkpoint, DataIdentity, Header};
use clapp_engine::memory::Needs;
use clapp_engine::progress::ShownAlignment;
use clapp_engine::rules::Signal;
use clapp_engine::run::{data_differences, loader_threads};
use clapp_gpu::choice::{BackendArguments, Computes};
use clapp_gpu::train::check_rule;
use serde::Serialize;
use std::path::PathBuf;
use std::sync::Arc;

/// Arguments of `clapp align`.
#[derive(Debug, Args)]
pub struct AlignArguments {
    /// Checkpoint that `clapp train` wrote, or the folder of the run.
    checkpoint: PathBuf,
    /// Data set as downloaded (folder or archive). Not needed if the configuration generates its images.
    #[arg(long)]
    data: Option<PathBuf>,
    #[command(flatten)]
    cache: CacheArguments,
    #[command(flatten)]
    backend: BackendArguments,
    /// Number of batches: the first ones of the training images, in file order, with augmentation.
    #[arg(long, value_name = "NUMBER", default_value_t = BATCHES)]
    batches: usize,
    /// Images per batch [default: the batch of the encoder's training].
    #[arg(long, value_name = "IMAGES")]
    batch: Option<usize>,
    /// File for the result as JSON, with the cosine of every batch.
    #[arg(long, value_name = "FILE")]
    json: Option<OutputFile>,
    #[command(flatten)]
    force: Force,
}

/// The JSON file.
#[derive(Debug, Serialize)]
struct Record<'a> {
    format: &'static str,
    rule: &'static str,
    encoder_epochs: u64,
    data: &'a str,
    /// Images of the largest batch.
    batch: usize,
    batches: usize,
    /// Images of each batch.
    images: &'a [usize],
    /// `true` if the top layer's loss sees the whole map, as in the paper's analysis.
    top_pooled: bool,
    layers: Vec<LayerRecord<'a>>,
}

/// One layer in the JSON file. `null` stands for a value that does not exist.
#[derive(Debug, Serialize)]
struct LayerRecord<'a> {
    mean: Option<f64>,
    std: Option<f64>,
    /// Batches in which one of the gradients is zero.
    without: usize,
    cosines: &'a [Option<f64>],
}

/// Runs `clapp align`.
///
/// # Errors
/// If the input is wrong or an output cannot be written.
pub fn run(arguments: &AlignArguments) -> Result<u8, Error> {
    let refuse = |origin: &str, message: String| Err(Error::Config { origin: origin.into(), message });
    if arguments.batches == 0 {
        return refuse("--batches", "is 0, expected at least 1".into());
    }
    if let Some(batch) = arguments.batch.filter(|batch| *batch < 2) {
        return refuse("--batch", format!("is {batch}, expected at least 2: the rules contrast images"));
    }
    arguments.backend.check()?;
    let file = checkpoint_file(&arguments.checkpoint)?;
    let checkpoint = Checkpoint::read(&file)?;
    let (config, origin) = (checkpoint.config, file.display().to_string());
    let spec = config.network()?;
    if let Some(reason) = refusal(&spec) {
        return refuse(&origin, format!("rule {} {reason}", config.rule.name()));
    }
    if arguments.backend.backend != Computes::Cpu {
        check_rule(&config)?;
    }
    // Check now, not after all the work.
    let guard = Guard::new(arguments.force).keep([file.as_path()]).keep_data(arguments.data.as_deref());
    let json = arguments.json.as_ref();
    let json = json.map(|path| path.check("--json", Mark::ALIGNMENT, &guard)).transpose()?;
    let data = open_data(arguments.data.as_deref(), &arguments.cache, &config)?;
    check_channels(&data, config.input_shape(), &origin)?;
    let images = Arc::new(config.images.map_or_else(|| data.pretrain.clone(), |count| data.pretrain.take(count)));
    if let Some(place) = Header::read(&file)?.place {
        let differences = data_differences(&place.data, &DataIdentity::of(&data.name, &images));
        if !differences.is_empty() {
            note(format!("note: the encoder was trained on other images: {}", differences.join("; ")));
        }
    }
    let batch = arguments.batch.unwrap_or(config.batch);
    Needs::of_alignment(&config, batch, loader_threads())?.check("the alignment", "lower --batch")?;
    let top_pooled = spec.layers().last().is_some_and(|top| top.pooled.area() == 1);
    let relaxes = matches!(config.rule.choices().signal, Signal::Relaxed | Signal::TopRelaxed);
    let mut sizes = Vec::new();
    let views = first_views(&config, &images, arguments.batches, batch, loader_threads())?
        .inspect(|views| sizes.extend(views.as_ref().map(|views| views.rows / 2)));
    let (layers, batches) = (&checkpoint.layers, arguments.batches);
    let found = arguments.backend.run(ShownAlignment { spec, layers, views, batches })?;
    let layers = over_batches(&found);
    say(format!("{}, {}, on {}", config.rule.name(), counted(checkpoint.epoch, "epoch"), data.source))?;
    if found.len() < arguments.batches {
        let asked = arguments.batches;
        say(format!("note: --batches asks for {asked}, {} give {}", counted(images.len(), "image"), found.len()))?;
    }
    say(table(&layers, &sizes))?;
    if relaxes {
        say(
            "note: the top layer relaxes on its loss before it learns. Its own gradient is therefore not the gradient of the \
             loss at its first activity, and its cosine is below 1 by construction",
        )?;
    }
    if !top_pooled {
        say(
            "note: the top layer's loss is on cells here; the paper's analysis has it on the whole map (clapp train --pool-top)",
        )?;
    }
    let Some(path) = json else { return Ok(0) };
    let layers = layers.iter().map(|layer| LayerRecord {
        mean: layer.mean(),
        std: layer.std(),
        without: layer.without(),
        cosines: &layer.cosines,
    });
    let record = Record {
        format: "clapp-alignment/1",
        rule: config.rule.name(),
        encoder_epochs: checkpoint.epoch,
        data: &data.name,
        batch: sizes.iter().copied().max().unwrap_or(batch),
        batches: found.len(),
        images: &sizes,
        top_pooled,
        layers: layers.collect(),
    };
    let text = serde_json::to_string_pretty(&record)
        .map_err(|error| Error::Run { path: path.into(), message: error.to_string() })?;
    write_atomically(path, format!("{text}\n").as_bytes())?;
    say(format!("wrote {}", path.display()))?;
    Ok(0)
}

/// Returns the number of batches and their images. All batches but the last have the same size.
fn batches_of(sizes: &[usize]) -> String {
    let of = |count: usize, images: usize| format!("{} of {}", counted(count, "batch"), counted(images, "image"));
    match sizes {
        [first, .., last] if first != last => {
            format!("{} and 1 of {last}", of(sizes.len() - 1, *first))
        }
        [first, ..] => of(sizes.len(), *first),
        [] => "no batch".into(),
    }
}

fn table(layers: &[LayerAlignment], sizes: &[usize]) -> String {
    let batches = sizes.len();
    let mut lines = vec![format!(
        "cosine between each layer's weight gradient and that of back-propagation from the top layer's loss, {}: mean and standard \
         deviation",
        batches_of(sizes)
    )];
    for (index, layer) in layers.iter().enumerate() {
        let number = match (layer.mean(), layer.std()) {
            (Some(mean), Some(std)) => format!("{mean:7.4} ± {std:.4}"),
            (Some(mean), None) => format!("{mean:7.4}"),
            (None, _) => "   none".into(),
        };
        let without = match layer.without() {
            0 => String::new(),
            count => format!("   (a gradient is zero in {count} of {})", counted(batches, "batch")),
        };
        let top = if index + 1 == layers.len() { "   (top)" } else { "" };
        lines.push(format!("  layer {index}   {number}{top}{without}"));
    }
    lines.join("\n")
}
