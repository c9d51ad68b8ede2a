//! `clapp predict`: predicts the classes of image files with an encoder and its probe from `clapp eval`.

use super::encoder::{dimensions, encoder, frames_or_bad, unusable};
use super::eval::checkpoint_file;
use super::output::say;
use clap::Args;
use clapp_data::error::Error;
use clapp_data::words::counted;
use clapp_engine::checkpoint::Checkpoint;
use clapp_engine::probe::{Inputs, Kind, ProbeWeights, Protocol, ROWS, beside, beside_record};
use clapp_gpu::choice::BackendArguments;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Arguments of `clapp predict`.
#[derive(Debug, Args)]
pub struct PredictArguments {
    /// Folder of the run, or its checkpoint. Run `clapp eval` on it first.
    #[arg(value_name = "RUN")]
    checkpoint: PathBuf,
    /// Image files of any size. They are resized and cropped like the probe's test images.
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    /// Weights of the probe [default: probe.safetensors beside the checkpoint, else probe-cached.safetensors, else
    /// probe-quick.safetensors].
    #[arg(long, value_name = "FILE")]
    probe: Option<PathBuf>,
    /// Number of classes to print for each image.
    #[arg(long, value_name = "NUMBER", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    top: u16,
    /// Use the head of this layer only, counted from 0 [default: the head of all layers].
    #[arg(long, value_name = "NUMBER")]
    layer: Option<usize>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    backend: BackendArguments,
}

/// The output of `--json`.
#[derive(Debug, Serialize)]
struct Record<'a> {
    format: &'static str,
    /// File of the probe's weights.
    probe: String,
    protocol: &'a Protocol,
    images: Vec<Prediction<'a>>,
}

#[derive(Debug, Serialize)]
struct Prediction<'a> {
    image: String,
    classes: Vec<Scored<'a>>,
}

/// A class with its share of the softmax, 0 to 1.
#[derive(Debug, Serialize)]
struct Scored<'a> {
    class: &'a str,
    index: usize,
    score: f64,
}

/// Runs `clapp predict`.
///
/// # Errors
/// If there is no probe, an image is not usable, or the output cannot be written.
pub fn run(arguments: &PredictArguments) -> Result<u8, Error> {
    arguments.backend.check()?;
    let file = checkpoint_file(&arguments.checkpoint)?;
    let checkpoint = Checkpoint::read(&file)?;
    let dimensions = dimensions(&checkpoint)?;
    let path = weights_file(arguments, &file)?;
    let weights = ProbeWeights::read(&path, &dimensions)?;
    check_encoder(&weights, &checkpoint, &path, &file)?;
    let head = arguments.layer.map_or(0, |layer| layer + 1);
    let Some(head) = weights.heads.get(head) else {
        let message =
            format!("is {}, but the network has {}, counted from 0", head - 1, counted(dimensions.len(), "layer"));
        return Err(Error::Config { origin: "--layer".into(), message });
    };
    let inputs = Inputs::of_run(&checkpoint.config, weights.protocol.transform());
    let mut encoder = encoder(arguments.backend, &checkpoint)?;
    let (mut images, mut bad) = (Vec::new(), Vec::new());
    for files in arguments.images.chunks(ROWS) {
        let x = match frames_or_bad(files, &inputs) {
            // Read the other files too, for the error message.
            Ok(_) if !bad.is_empty() => continue,
            Ok(x) => x,
            Err(more) => {
                bad.extend(more);
                continue;
            }
        };
        let rows: Vec<usize> = (0..files.len()).collect();
        let features = encoder(&x, rows.len()).rows(head.layers(), &rows);
        let logits = head.logits(&features, rows.len());
        for (file, logits) in files.iter().zip(logits.chunks_exact(weights.class_names.len())) {
            let classes = likeliest(logits, &weights.class_names, usize::from(arguments.top));
            images.push(Prediction { image: file.to_string_lossy().into_owned(), classes });
        }
    }
    if !bad.is_empty() {
        return Err(unusable(&bad, arguments.images.len()));
    }
    if arguments.json {
        let probe = path.display().to_string();
        let record = Record { format: "clapp-predictions/1", probe, protocol: &weights.protocol, images };
        let text =
            serde_json::to_string_pretty(&record).map_err(|error| Error::Run { path, message: error.to_string() })?;
        say(text)?;
        return Ok(0);
    }
    say(format!("by the {}", weights.words()))?;
    for Prediction { image, classes } in images {
        say(image)?;
        for Scored { class, score, .. } in classes {
            say(format!("  {:6.2} %  {class}", 100.0 * score))?;
        }
    }
    Ok(0)
}

/// Returns the weights named, or the best weights beside the checkpoint.
fn weights_file(arguments: &PredictArguments, checkpoint: &Path) -> Result<PathBuf, Error> {
    if let Some(path) = &arguments.probe {
        return Ok(path.clone());
    }
    let paths = Kind::ALL.map(|kind| beside_record(&beside(checkpoint, kind)));
    let found = paths.iter().find(|path| path.is_file());
    found.cloned().ok_or_else(|| {
        let run = arguments.checkpoint.display();
        let message = format!(
            "no probe weights beside it ({}): run `clapp eval {run} --data \
             SET` first (--quick is enough for a first estimate)",
            paths.each_ref().map(|path| path.file_name().unwrap_or_default().to_string_lossy()).join(", ")
        );
        Error::Checkpoint { path: checkpoint.into(), message }
    })
}

/// Refuses weights that were trained on features of another encoder.
fn check_encoder(weights: &ProbeWeights, checkpoint: &Checkpoint, path: &Path, file: &Path) -> Result<(), Error> {
    let same = match (&weights.encoder_checksum, &checkpoint.checksum) {
        (Some(one), Some(other)) => one == other,
        _ => weights.encoder_epochs == checkpoint.epoch,
    };
    if same {
        return Ok(());
    }
    let message = format!(
        "the probe belongs to another encoder (after {}) than the one in {} (after {}); run `clapp eval` again",
        counted(weights.encoder_epochs, "epoch"),
        file.display(),
        checkpoint.epoch
    );
    Err(Error::Checkpoint { path: path.into(), message })
}

/// Returns the `top` classes of the largest softmax share, largest first.
fn likeliest<'a>(logits: &[f32], names: &'a [String], top: usize) -> Vec<Scored<'a>> {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let shares: Vec<f64> = logits.iter().map(|logit| f64::from(logit - most).exp()).collect();
    let sum: f64 = shares.iter().sum();
    let mut order: Vec<usize> = (0..names.len()).collect();
    // A stable sort: among equals, the first class stays first.
    order.sort_by(|one, other| shares[*other].total_cmp(&shares[*one]));
    let scored = |index: usize| Scored { class: &names[index], index, score: shares[index] / sum };
    order.into_iter().take(top).map(scored).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_the_softmax_and_the_likeliest_comes_first() {
        let names = ["a", "b", "c"].map(String::from);
        let found = likeliest(&[1000.0, 1000.0 + std::f32::consts::LN_2, 900.0], &names, 2);
        assert_eq!(found.iter().map(|scored| scored.class).collect::<Vec<_>>(), ["b", "a"]);
        assert!((found[0].score - 2.0 / 3.0).abs() < 1e-4 && (found[1].score - 1.0 / 3.0).abs() < 1e-4, "{found:?}");
    }
}
