//! An encoder ready to compute features, and images read from files.

use clapp_core::shape::Shape;
use clapp_data::augment::grey_scale;
use clapp_data::data::read_image;
use clapp_data::error::Error;
use clapp_engine::backend::{Backend, Job};
use clapp_engine::checkpoint::Checkpoint;
use clapp_engine::model::{LayerValues, NetworkSpec};
use clapp_engine::probe::{Features, Inputs, features};
use clapp_engine::step::Model;
use clapp_gpu::choice::BackendArguments;
use rayon::prelude::*;
use std::path::{Path, PathBuf};

/// Largest number of bad images that a message lists.
const NAMED: usize = 10;

/// Computes the features of `rows` frames `[rows, C, H, W]`.
pub(crate) type Encoder = Box<dyn FnMut(&[f32], usize) -> Features>;

/// Makes the encoder of a checkpoint on the chosen backend, with the probe's pooling.
///
/// # Errors
/// If there is no such device.
pub(crate) fn encoder(arguments: BackendArguments, checkpoint: &Checkpoint) -> Result<Encoder, Error> {
    let (spec, pooled) = (checkpoint.config.network()?, checkpoint.config.probe_network()?);
    arguments.run(Encodes { spec, pooled, layers: &checkpoint.layers })
}

/// Makes an encoder on a backend.
struct Encodes<'a> {
    spec: NetworkSpec,
    pooled: NetworkSpec,
    layers: &'a [LayerValues],
}

impl Job for Encodes<'_> {
    type Output = Encoder;

    fn run<B: Backend + 'static>(self, backend: B) -> Result<Encoder, Error> {
        let Self { spec, pooled, layers } = self;
        let model = Model::upload(&backend, spec, layers);
        Ok(Box::new(move |x, rows| {
            let x = backend.upload_frames(pooled.input(), x);
            features(&backend, &model, &pooled, x, rows)
        }))
    }
}

/// Returns the number of features of each layer.
///
/// # Errors
/// If the configuration does not fit together.
pub(crate) fn dimensions(checkpoint: &Checkpoint) -> Result<Vec<usize>, Error> {
    Ok(checkpoint.config.probe_network()?.layers().iter().map(|layer| layer.pooled.len()).collect())
}

/// Reads an image file for a network of one or three channels. Returns its shape.
///
/// # Errors
/// If it is no usable image.
pub(crate) fn read_file(path: &Path, channels: usize, pixels: &mut Vec<u8>) -> Result<Shape, Error> {
    let shape = read_image(path, pixels)?;
    if channels == 3 {
        return Ok(shape);
    }
    grey_scale(pixels, shape.channels);
    let grey = Shape { channels: 1, ..shape };
    pixels.truncate(grey.len());
    Ok(grey)
}

/// Reads image files as frames `[files, C, H, W]`.
///
/// # Errors
/// [`Error::Config`] with the number of unusable images and the names of the first ten.
pub(crate) fn frames(files: &[PathBuf], inputs: &Inputs) -> Result<Vec<f32>, Error> {
    frames_or_bad(files, inputs).map_err(|bad| unusable(&bad, files.len()))
}

/// Same as [`frames`].
///
/// # Errors
/// A line for each file that is no usable image.
pub(crate) fn frames_or_bad(files: &[PathBuf], inputs: &Inputs) -> Result<Vec<f32>, Vec<String>> {
    let len = inputs.shape.len();
    let mut x = vec![0.0; files.len() * len];
    let read = |(x, file): (&mut [f32], &PathBuf)| -> Result<(), String> {
        let mut pixels = Vec::new();
        let shape = read_file(file, inputs.shape.channels, &mut pixels).map_err(|error| error.to_string())?;
        inputs.prepare(&mut pixels, shape, x).map_err(|error| format!("{}: {error}", file.display()))
    };
    let bad: Vec<String> = x.par_chunks_exact_mut(len).zip(files).filter_map(|frame| read(frame).err()).collect();
    if bad.is_empty() { Ok(x) } else { Err(bad) }
}

/// Returns the error for `bad` of `files` images: the first ten, and the number of others.
pub(crate) fn unusable(bad: &[String], files: usize) -> Error {
    let more = bad.len().saturating_sub(NAMED);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    Error::Config {
        origin: format!("{} of {files} images cannot be used", bad.len()),
        message: bad[..bad.len().min(NAMED)].join("; ") + &more,
    }
}
