//! Trains and probes the points.

use super::course::{Storage, batches, stream};
use super::point::{BASE, Point, Size};
use crate::paper::Setting;
use crate::paper::encoder;
use crate::paper::ridge::{ReadOuts, read_outs};
use clapp_data::data::{Dataset, generated};
use clapp_data::error::Error;
use clapp_data::files::{make_folder, write_atomically};
use clapp_engine::checkpoint::DataIdentity;
use clapp_engine::config::Config;
use clapp_engine::model::LayerValues;
use clapp_engine::run_info::ProgramInfo;
use clapp_engine::trainer::initial_values;
use clapp_gpu::choice::Computes;
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex};

/// Frames between two looks at whether to stop.
const LOOK: u64 = 256;

/// A point with its accuracies on the test images.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// The point.
    pub point: Point,
    /// Read-outs of the untrained encoder of the same seed.
    pub untrained: ReadOuts,
    /// After training; `None` where training diverged.
    pub trained: Option<ReadOuts>,
}

/// The first set given, else the generated one, cut to size and in grey: that is what the sensors of such devices give,
/// and a third of the first layer's weights and of every frame.
pub fn images(setting: &Setting, size: &Size) -> Dataset {
    let data = setting.sets.first().cloned();
    let data = data.unwrap_or_else(|| generated::shapes(setting.seed, size.images.max(size.labelled), size.test));
    let mut data = if data.channels() == 3 { data.in_grey() } else { data };
    data.train = data.train.take(size.labelled);
    data.test = data.test.take(size.test);
    data
}

/// Measures all points, side by side; where a GPU trains those that learn from batches, these one after another.
///
/// # Errors
/// Same as training and probe; [`Error::Stopped`] if the user has stopped it.
pub fn measure(setting: &Setting, data: &Dataset, size: &Size, points: &[Point]) -> Result<Vec<Measured>, Error> {
    // One whatever the batch and the storage: nothing is learnt.
    let network = |point: &Point| Point { batch: BASE.batch, storage: BASE.storage, ..*point };
    let networks: BTreeSet<Point> = points.iter().map(network).collect();
    let bar = setting.bar("micro: networks", (networks.len() + points.len()) as u64);
    let before = |point: &Point| {
        let config = Config { epochs: 0, ..point.config(setting.seed, data, size)? };
        let found = kept(setting, data, "untrained", &config, || initial_values(&config))?;
        bar.inc(1);
        Ok((*point, found))
    };
    let untrained: BTreeMap<Point, ReadOuts> =
        networks.into_par_iter().map(|point| before(&point)).collect::<Result<_, Error>>()?;
    let after = |point: &Point| {
        let config = point.config(setting.seed, data, size)?;
        let found = kept(setting, data, &point.name(), &config, || learn(setting, data, point, &config));
        bar.inc(1);
        let trained = match found {
            Ok(trained) => Some(trained),
            Err(Error::Diverged { .. } | Error::NotFinite { .. }) => None,
            Err(error) => return Err(error),
        };
        Ok(untrained.get(&network(point)).map(|untrained| Measured {
            point: *point,
            untrained: untrained.clone(),
            trained,
        }))
    };
    // The largest first, so that no core is idle at the end.
    let mut order: Vec<&Point> = points.iter().collect();
    order.sort_by_key(|point| std::cmp::Reverse((point.channels, point.input, point.depth)));
    let (alone, shared): (Vec<&Point>, Vec<&Point>) = order.iter().partition(|point| side_by_side(setting, point));
    let queue = Mutex::new(alone.into_iter());
    let next = || queue.lock().ok().and_then(|mut queue| queue.next());
    let course = |_| std::iter::from_fn(next).map(after).collect::<Result<Vec<_>, Error>>();
    let found: Vec<Vec<_>> =
        (0..rayon::current_num_threads()).into_par_iter().map(course).collect::<Result<_, Error>>()?;
    let mut measured: Vec<Measured> = found.into_iter().flatten().flatten().collect();
    for point in shared {
        measured.extend(after(point)?);
    }
    bar.finish_and_clear();
    measured.sort_by_key(|measured| points.iter().position(|point| *point == measured.point));
    Ok(measured)
}

/// `true` if a point is trained on one core beside others. `false` on a GPU, and for long trainings, which must resume
/// after a stop.
fn side_by_side(setting: &Setting, point: &Point) -> bool {
    point.batch == 1 || point.storage == Storage::Bf16 || (!setting.full && setting.backend.backend == Computes::Cpu)
}

fn learn(setting: &Setting, data: &Dataset, point: &Point, config: &Config) -> Result<Vec<LayerValues>, Error> {
    let images = Arc::new(data.pretrain.take(config.images.unwrap_or(data.pretrain.len())));
    match (point.batch, side_by_side(setting, point)) {
        (1, _) => stream(config, &images, point.storage, &mut (), |frame, _, _| {
            if frame.is_multiple_of(LOOK) { setting.check_stop() } else { Ok(()) }
        }),
        (_, true) => batches(config, &images, point.storage, |_| setting.check_stop()),
        (_, false) => Ok(encoder::train(setting, &point.name(), config, data)?.layers),
    }
}

/// Read-outs of an encoder, computed or kept from an earlier call.
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
    // A file that cannot be read is measured again.
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
