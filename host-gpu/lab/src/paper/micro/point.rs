//! The configurations that are measured: one factor at a time around a base point, and width with depth.

use super::course::Storage;
use crate::paper::Setting;
use clapp_core::network::LossPool;
use clapp_data::augment::{TestTransform, ViewAugment};
use clapp_data::data::Dataset;
use clapp_data::error::Error;
use clapp_engine::config::{BlockConfig, Config, preset};
use clapp_engine::optimizer::Optimizer;

/// Layers that halve their map; those above keep it.
const HALVING: usize = 3;

/// A network and how it learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    /// Channels of every layer.
    pub channels: usize,
    /// Layers.
    pub depth: usize,
    /// Height and width of a frame.
    pub input: usize,
    /// Images in a batch; 1 is a stream of single frames.
    pub batch: usize,
    /// Storage of the projections.
    pub storage: Storage,
    /// Seed of weights, order, views and probe, counted from that of the experiment.
    pub seed: u64,
}

/// The point around which one factor at a time is changed.
pub const BASE: Point = Point { channels: 16, depth: 3, input: 32, batch: 32, storage: Storage::F32, seed: 0 };
/// Channels of every layer.
pub const WIDTHS: [usize; 5] = [4, 8, 16, 32, 64];
/// Widths that also learn from a stream.
pub const STREAM_WIDTHS: [usize; 4] = [4, 8, 16, 32];
/// Layers.
pub const DEPTHS: [usize; 4] = [2, 3, 4, 6];
/// Height and width of a frame.
pub const INPUTS: [usize; 3] = [16, 24, 32];
/// Images in a batch.
pub const BATCHES: [usize; 3] = [1, 4, 32];
/// Batches with which storage in bf16 is tried.
pub const STORED: [usize; 2] = [1, 32];

/// All points with all their seeds, each once, the base point first.
pub fn all() -> Vec<Point> {
    let batches = BATCHES.map(|batch| Point { batch, ..BASE });
    let inputs = INPUTS.map(|input| Point { input, ..BASE });
    let depths = DEPTHS.map(|depth| Point { depth, ..BASE });
    let narrow = DEPTHS.map(|depth| Point { depth, channels: 4, ..BASE });
    let widths = WIDTHS.map(|channels| Point { channels, ..BASE });
    let streams = STREAM_WIDTHS.map(|channels| Point { channels, batch: 1, ..BASE });
    let stored = STORED.map(|batch| Point { batch, storage: Storage::Bf16, ..BASE });
    let mut points = vec![BASE];
    for point in
        batches.into_iter().chain(inputs).chain(depths).chain(narrow).chain(widths).chain(streams).chain(stored)
    {
        if !points.contains(&point) {
            points.push(point);
        }
    }
    points.iter().flat_map(|point| (0..point.seeds()).map(|seed| point.of_seed(seed))).collect()
}

/// Amount of data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Images without labels.
    pub images: usize,
    /// Images with labels for the read-outs.
    pub labelled: usize,
    /// Images that the read-outs are tested on.
    pub test: usize,
    /// Passes over the images.
    pub epochs: u64,
}

impl Size {
    /// The size for a setting. It is smaller on generated images, whose classes are easier to separate.
    pub fn of(setting: &Setting) -> Self {
        match (setting.full, setting.sets.is_empty()) {
            (false, true) => Self { images: 5000, labelled: 2500, test: 5000, epochs: 1 },
            (false, false) => Self { images: 20_000, labelled: 10_000, test: 10_000, epochs: 1 },
            (true, _) => Self { images: 50_000, labelled: 50_000, test: 10_000, epochs: 30 },
        }
    }
}

/// Learning rate of plain SGD on a stream of 20,000 images: the best of a scan by factors of three at the base point, on
/// a seed of its own. At three times the rate the gain is there after 5,000 images, and lost in part after 20,000.
const STREAM_RATE: f32 = 0.001;

/// Optimiser of a batch size: a stream by plain SGD, which has no state, as in the firmware; batches by AdamW at the rate
/// of the preset `device`, as `clapp train` prepares a network for a device, and at a third of it for batches of four.
fn optimizer(batch: usize) -> Optimizer {
    match batch {
        1 => Optimizer::Sgd { lr: STREAM_RATE, momentum: 0.0, weight_decay: 0.0 },
        2..16 => Optimizer::adamw(3e-4),
        _ => Optimizer::adamw(1e-3),
    }
}

impl Point {
    /// Its name in progress and files.
    pub fn name(&self) -> String {
        let Self { channels, depth, input, batch, storage, .. } = self;
        format!("{channels} channels depth {depth} input {input} batch {batch} {}", storage.name())
    }

    /// Seeds that are measured: more of narrow networks, which lie farther apart and take less time.
    pub fn seeds(&self) -> u64 {
        match self.channels {
            0..16 => 5,
            16..64 => 3,
            _ => 2,
        }
    }

    /// The same with another seed.
    pub fn of_seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// The configuration: grey frames, as from most sensors of such devices; `clapp++dfb`, whose projections are the
    /// smallest of all rules with cells.
    ///
    /// # Errors
    /// If there is no preset to begin with.
    pub fn config(&self, seed: u64, data: &Dataset, size: &Size) -> Result<Config, Error> {
        let missing = || Error::Config { origin: "preset device".into(), message: "is missing".into() };
        let base = preset("device").ok_or_else(missing)?;
        let (mean, std) = ([0.5], [0.25]);
        let mut augment = ViewAugment { flip: 0.5, ..ViewAugment::grey_images(self.input, &mean, &std) };
        if data.name == "shapes" {
            // Milder, and without blur, as everywhere with the generated set.
            let views = ViewAugment::generated(self.input, &mean, &std);
            augment = ViewAugment { crop: views.crop, blur: views.blur, ..augment };
            (augment.jitter.brightness, augment.jitter.contrast) = (views.jitter.brightness, views.jitter.contrast);
        }
        let mut probe = base.probe.clone();
        probe.test = TestTransform::ResizeCrop { resize: self.input, crop: self.input };
        probe.augment = ViewAugment { flip: 0.5, ..ViewAugment::probe(self.input, &mean, &std) };
        Ok(Config {
            name: "micro".into(),
            seed: seed + self.seed,
            epochs: size.epochs,
            images: Some(size.images),
            // A stream is no batch: it is learnt from by `course::stream`.
            batch: self.batch.max(2),
            input: [1, self.input, self.input],
            optimizer: optimizer(self.batch),
            augment,
            probe,
            blocks: blocks(self.channels, self.depth, [self.input; 2]),
            ..base
        })
    }
}

/// Layers of 3x3 windows, of which the first three halve their map; the loss and the read-out see 4x4 cells of the first
/// layer, 2x2 of the second, and one of the others, as on the device. `input` is a frame's `[height, width]`.
pub fn blocks(channels: usize, depth: usize, input: [usize; 2]) -> Vec<BlockConfig> {
    let cells = LossPool::Block(input.map(|side| (side / 8).max(1)));
    let block = |layer: usize| BlockConfig {
        channels,
        kernel: [3, 3],
        stride: [1, 1],
        padding: [1, 1],
        bias: true,
        relu: true,
        max_pool: (layer < HALVING).then_some([2, 2]),
        loss_pool: cells,
        probe_pool: cells,
    };
    (0..depth).map(block).collect()
}
