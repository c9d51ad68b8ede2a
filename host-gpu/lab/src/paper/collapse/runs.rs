//! Healthy streams and streams with an injected fault: the signs of each layer, and the frame at which accuracy was lost.

use crate::paper::Setting;
use crate::paper::micro::point::{BASE, Point, Size};
use crate::paper::ridge::read_outs;
use clapp_core::collapse::{Limits, Signs, Watches};
use clapp_core::contrast::Phase;
use clapp_core::guard::Guard;
use clapp_core::learner::Learner;
use clapp_core::link::MOST_LAYERS;
use clapp_core::optimizer::Optimizer;
use clapp_data::data::Dataset;
use clapp_data::error::Error;
use clapp_data::loader;
use clapp_engine::config::{Config, RuleName};
use clapp_engine::core_memory::CoreMemory;
use clapp_engine::model::NetworkSpec;
use clapp_engine::trainer::initial_values;
use std::sync::Arc;

/// Frame after which the fault is injected.
pub const ONSET: u64 = 1000;
/// Frames in all.
pub const FRAMES: u64 = 3000;
/// Frames between two read-outs.
const READ: u64 = 200;
/// A loss of accuracy that counts, of 1.
pub const LOST: f64 = 0.05;
/// Learning rate of the streams.
const STREAM_RATE: f32 = 0.003;
/// The firmware has the same cap.
const MAX_UPDATE_NORM: f32 = 4.0;
/// A white pixel, as the views are normalised.
const WHITE: f32 = 2.0;
/// A bias so low that its ReLU never opens.
const SUNK: f32 = -100.0;

/// A fault of a stream.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    /// Nothing.
    None,
    /// The learning rate is multiplied.
    Rate(f32),
    /// The camera repeats one frame, while the phases say that the gaze moves.
    Frozen,
    /// All pixels are white.
    Saturated,
    /// Every frame is marked as a fixation: there are no negatives.
    NoNegatives,
    /// Pixels come as 0 to 255.
    Unscaled,
    /// The first layer's biases sink, so that no ReLU opens.
    Dead,
}

impl Fault {
    /// All that are tried.
    pub const ALL: [Self; 8] = [
        Self::None,
        Self::Rate(10.0),
        Self::Rate(100.0),
        Self::Frozen,
        Self::Saturated,
        Self::NoNegatives,
        Self::Unscaled,
        Self::Dead,
    ];

    /// In words.
    pub fn name(self) -> String {
        match self {
            Self::None => "healthy".into(),
            Self::Rate(factor) => format!("rate times {factor}"),
            Self::Frozen => "frozen camera".into(),
            Self::Saturated => "white frames".into(),
            Self::NoNegatives => "no negatives".into(),
            Self::Unscaled => "pixels from 0 to 255".into(),
            Self::Dead => "dead ReLU".into(),
        }
    }
}

/// One stream.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Case {
    /// Its fault.
    pub fault: Fault,
    /// Channels of every layer.
    pub channels: usize,
    /// Its rule.
    pub rule: RuleName,
    /// Its seed, counted from that of the experiment.
    pub seed: u64,
}

/// The record of a stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Course {
    /// The stream.
    pub case: Case,
    /// Frame and signs of each layer, every few frames.
    pub signs: Vec<(u64, Vec<Signs>)>,
    /// Frame and accuracy, at the onset first.
    pub accuracies: Vec<(u64, f64)>,
}

impl Course {
    /// The first read-out that is worse than at the onset by [`LOST`].
    pub fn lost(&self) -> Option<u64> {
        let (_, before) = self.accuracies.first()?;
        self.accuracies.iter().find(|(_, accuracy)| *accuracy < before - LOST).map(|(frame, _)| *frame)
    }
}

/// Runs a stream.
///
/// # Errors
/// If views cannot be made, or the user stops it.
pub fn run(setting: &Setting, data: &Dataset, case: Case) -> Result<Course, Error> {
    let point = Point { channels: case.channels, input: 16, batch: 1, seed: case.seed, ..BASE };
    let size = Size { images: 1000, labelled: 1000, test: 1000, epochs: FRAMES.div_ceil(2000) };
    let config = point.config(setting.seed, data, &size)?.with_rule(case.rule);
    let spec = config.network()?;
    let refused =
        |error: clapp_core::learner::Error| Error::Config { origin: "collapse".into(), message: error.to_string() };
    let optimizer = Optimizer::sgd(STREAM_RATE);
    let mut memory = CoreMemory::new(&spec, &initial_values(&config)?, &optimizer, 0, 0);
    let mut learner = memory.learner(&spec, optimizer).map_err(refused)?;
    learner.set_guard(Guard { max_update_norm: Some(MAX_UPDATE_NORM) });
    let layers = spec.layers().len();
    let mut watches = Watches::<MOST_LAYERS>::new(spec.rule(), Limits::DEFAULT);
    let mut course = Course { case, signs: Vec::new(), accuracies: Vec::new() };
    let images = Arc::new(data.pretrain.take(size.images));
    let (len, mut frame_before, mut count) = (spec.input().len(), Vec::new(), 0);
    for epoch in 0..size.epochs {
        for batch in loader::pairs(images.clone(), &config.augment, 32, config.seed, epoch, 1)? {
            let batch = batch?;
            let rows = batch.images.len();
            for row in (0..rows).flat_map(|image| [image, rows + image]) {
                if count == FRAMES {
                    return Ok(course);
                }
                setting.check_stop()?;
                if count == ONSET {
                    read(&mut course, count, &config, &spec, learner.parameters(), data)?;
                    inject(case.fault, &mut learner, &spec).map_err(refused)?;
                }
                let mut frame = batch.x[row * len..(row + 1) * len].to_vec();
                let mut phase = if row < rows { Phase::Saccade } else { Phase::Fixation };
                if count >= ONSET {
                    spoil(case.fault, &mut frame, &frame_before, &mut phase);
                }
                watches.frame(&frame, phase, 1.0);
                learner.observe(&frame, phase, 1.0, &mut watches).map_err(refused)?;
                frame_before = frame;
                count += 1;
                course.signs.push((count, (0..layers).filter_map(|layer| watches.signs(layer)).collect()));
                let healthy = case.fault == Fault::None;
                if count == FRAMES || (!healthy && count > ONSET && count.is_multiple_of(READ)) {
                    read(&mut course, count, &config, &spec, learner.parameters(), data)?;
                }
            }
        }
    }
    Ok(course)
}

/// Changes the learner once, at the onset.
fn inject(fault: Fault, learner: &mut Learner<'_>, spec: &NetworkSpec) -> Result<(), clapp_core::learner::Error> {
    match fault {
        Fault::Rate(factor) => learner.set_optimizer(Optimizer::sgd(factor * STREAM_RATE))?,
        Fault::Dead => {
            for layer in spec.layers().iter().take(1) {
                let biases = layer.encoder_offset + layer.weight_len();
                let biases = biases..biases + layer.bias_len();
                learner.adjust_parameters(|parameters| parameters.get_mut(biases).unwrap_or_default().fill(SUNK));
            }
        }
        _ => {}
    }
    Ok(())
}

/// Changes every frame from the onset on.
fn spoil(fault: Fault, frame: &mut [f32], before: &[f32], phase: &mut Phase) {
    match fault {
        Fault::Frozen if before.len() == frame.len() => frame.copy_from_slice(before),
        Fault::Saturated => frame.fill(WHITE),
        Fault::NoNegatives => *phase = Phase::Fixation,
        // Undoes the normalisation (mean 0.5, deviation 0.25).
        Fault::Unscaled => frame.iter_mut().for_each(|value| *value = 255.0 * (0.25 * *value + 0.5)),
        _ => {}
    }
}

fn read(
    course: &mut Course,
    frame: u64,
    config: &Config,
    spec: &NetworkSpec,
    parameters: &[f32],
    data: &Dataset,
) -> Result<(), Error> {
    let found = read_outs(config, &spec.values_from_flat(parameters), data)?;
    course.accuracies.push((frame, found.all.share()));
    Ok(())
}
