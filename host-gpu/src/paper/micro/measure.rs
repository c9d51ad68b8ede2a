//! Trains and probes the points.

use super::course::{Storage, batches, stream};
use super::point::{Point, Size};
use crate::checkpoint::DataIdentity;
use crate::config::Config;
use crate::data::{Dataset, generated};
use crate::error::Error;
use crate::files::{make_folder, write_atomically};
use crate::model::LayerValues;
use crate::paper::Setting;
use crate::paper::encoder;
use crate::paper::ridge::{ReadOuts, read_outs};
use crate::run_info::ProgramInfo;
use crate::trainer::initial_values;
use indicatif::ProgressBar;
use rayon::prelude::*;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// Frames between two looks at whether to stop.
const LOOK: u64 = 256;

/// A point with its accuracies on the test images.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// What was measured.
    pub point: Point,
    /// Of the untrained encoder of the same seed.
    pub untrained: ReadOuts,
    /// After training; `None` where training diverged.
    pub trained: Option<ReadOuts>,
}

/// The first set given, else the generated one, cut to size and in grey: that is what the sensors of such devices give,
/// and a third of the first layer's weights and of every frame.
pub fn images(setting: &Setting, size: &Size) -> Dataset {
    let data = setting.sets.first().cloned();
    let data = data.unwrap_or_else(|| generated::shapes(setting.seed, size.images, size.test));
    let mut data = if data.channels() == 3 { data.in_grey() } else { data };
    data.train = data.train.take(size.images);
    data.test = data.test.take(size.test);
    data
}

/// Measures all points, the streams side by side.
///
/// # Errors
/// As training and probe; [`Error::Stopped`] where the user has stopped it.
pub fn measure(setting: &Setting, data: &Dataset, size: &Size, points: &[Point]) -> Result<Vec<Measured>, Error> {
    let bar = setting.bar("micro: networks", points.len() as u64);
    let (alone, shared): (Vec<&Point>, Vec<&Point>) = points.iter().partition(|point| point.batch == 1);
    let mut measured: Vec<Measured> =
        alone.par_iter().map(|point| one(setting, data, size, point, &bar)).collect::<Result<_, _>>()?;
    for point in shared {
        measured.push(one(setting, data, size, point, &bar)?);
    }
    bar.finish_and_clear();
    measured.sort_by_key(|measured| points.iter().position(|point| *point == measured.point));
    Ok(measured)
}

fn one(setting: &Setting, data: &Dataset, size: &Size, point: &Point, bar: &ProgressBar) -> Result<Measured, Error> {
    let config = point.config(setting.seed, data, size)?;
    // One run whatever the batch and the storage: nothing is learnt.
    let untouched = Config { epochs: 0, ..Point { batch: 32, ..*point }.config(setting.seed, data, size)? };
    let untrained = kept(setting, data, "untrained", &untouched, || initial_values(&untouched))?;
    let trained = kept(setting, data, &point.name(), &config, || learn(setting, data, point, &config));
    bar.inc(1);
    match trained {
        Ok(trained) => Ok(Measured { point: *point, untrained, trained: Some(trained) }),
        Err(Error::Diverged { .. } | Error::NotFinite { .. }) => {
            Ok(Measured { point: *point, untrained, trained: None })
        }
        Err(error) => Err(error),
    }
}

fn learn(setting: &Setting, data: &Dataset, point: &Point, config: &Config) -> Result<Vec<LayerValues>, Error> {
    let images = Arc::new(data.pretrain.take(config.images.unwrap_or(data.pretrain.len())));
    match (point.batch, point.storage) {
        (1, storage) => stream(config, &images, storage, &mut (), |frame, _, _| {
            if frame.is_multiple_of(LOOK) { setting.check_stop() } else { Ok(()) }
        }),
        (_, Storage::F32) => Ok(encoder::train(setting, &point.name(), config, data)?.layers),
        (_, storage) => batches(config, &images, storage, |_| setting.check_stop()),
    }
}

/// What can be read from an encoder, or what an earlier call has found.
fn kept(
    setting: &Setting,
    data: &Dataset,
    name: &str,
    config: &Config,
    values: impl FnOnce() -> Result<Vec<LayerValues>, Error>,
) -> Result<ReadOuts, Error> {
    setting.check_stop()?;
    let folder = setting.folder_of("micro").join("courses");
    make_folder(&folder)?;
    let mut hasher = DefaultHasher::new();
    let identity = DataIdentity::of(&data.name, &data.pretrain);
    (config.to_toml()?, identity, name, ProgramInfo::build(), setting.backend.name()).hash(&mut hasher);
    (data.train.len(), data.test.len()).hash(&mut hasher);
    let path = folder.join(format!("{}-{:016x}.json", name.replace(' ', "-"), hasher.finish()));
    // What cannot be read is measured again.
    let known = std::fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    if let Some(known) = known {
        return Ok(known);
    }
    let found = read_outs(config, &values()?, data)?;
    let text =
        serde_json::to_vec(&found).map_err(|error| Error::Run { path: path.clone(), message: error.to_string() })?;
    write_atomically(&path, &text)?;
    Ok(found)
}
