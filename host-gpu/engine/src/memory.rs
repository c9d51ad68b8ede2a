//! Memory needed and memory available: a run that cannot fit is refused before it begins.

use crate::backend::cpu::scratch_len;
use crate::config::Config;
use crate::model::{NetworkSpec, TensorRole};
use crate::rules::{self, Cost};
use crate::step::backprop::{Backward, segment_len};
use clapp_core::plan::Layer;
use clapp_data::error::Error;
use clapp_data::loader::AHEAD;
use clapp_data::words::readable;
use std::fmt::Write;
use sysinfo::{MemoryRefreshKind, RefreshKind, System};

/// Bytes of a value.
const VALUE: usize = size_of::<f32>();

/// Smallest number of images whose features a probe computes at a time.
const PROBE_ROWS: usize = 64;

/// Heads' tensors: weights, two moments, the gradient of a step, and the weights after the last whole epoch.
const HEAD_TENSORS: usize = 5;

/// Memory of a run, in bytes, by purpose. Images of the data set that stay in memory come on top.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needs {
    parts: Vec<(&'static str, usize)>,
}

impl Needs {
    /// Returns the needs of training by `config` on the CPU, with `threads` threads that compute and as many that load.
    ///
    /// # Errors
    /// [`Error::Network`] if the configuration does not fit together.
    pub fn of_training(config: &Config, threads: usize) -> Result<Self, Error> {
        let spec = config.network()?;
        let rows = 2 * config.batch;
        let (mut parameters, mut learnt, mut largest) = (0, 0, 0);
        for layer in spec.layers() {
            for (role, shape) in spec.tensors(layer) {
                let len: usize = shape.iter().product();
                parameters += len;
                largest = largest.max(len);
                learnt += if spec.learns(layer, role) { len } else { 0 };
            }
        }
        let moments = usize::from(config.optimizer.has_first()) + usize::from(config.optimizer.has_second());
        // The initial values and their copy on the backend exist before any optimiser moment. A checkpoint copies one
        // tensor at a time.
        let state = if config.epochs == 0 { parameters } else { moments * learnt };
        let largest_of = |len: &dyn Fn(&Layer) -> usize| spec.layers().iter().map(len).max().unwrap_or(0);
        let scratch = largest_of(&|layer| scratch_len(layer, rows, threads));
        let rule = rules::of(&spec);
        let more = rule.extra_memory(&spec, rows, threads).scratch;
        // Each loader thread makes a batch while others wait. The step has one batch as loaded and one in the backend's
        // layout.
        let batches = (threads * (AHEAD + 1) + 2) * rows * spec.input().len();
        Ok(Self::new([
            ("parameters", parameters),
            ("state of the optimiser", state.max(parameters)),
            (
                "activity and gradients",
                activity_len(&spec, rows, threads, rule.cost().descent.is_some()) + gradient_len(&spec),
            ),
            // The threads keep this memory and use it for both.
            ("scratch of convolutions", scratch + more),
            ("batches", batches),
            ("the largest tensor in a checkpoint", largest),
        ]))
    }

    /// Returns the needs of a probe of `config`'s encoder on the given numbers of training images, test images and
    /// classes; `cached` as for [`crate::probe::probe`].
    ///
    /// # Errors
    /// [`Error::Network`] if the configuration does not fit together.
    pub fn of_probe(
        config: &Config,
        images: [usize; 2],
        classes: usize,
        cached: bool,
        threads: usize,
    ) -> Result<Self, Error> {
        let (spec, pooled) = (config.network()?, config.probe_network()?);
        let parameters: usize = spec
            .layers()
            .iter()
            .flat_map(|layer| spec.tensors(layer))
            .map(|(_, shape)| shape.iter().product::<usize>())
            .sum();
        let features: usize = pooled.layers().iter().map(|layer| layer.pooled.len()).sum();
        let rows = PROBE_ROWS.max(config.probe.batch);
        let scratch = pooled.layers().iter().map(|layer| scratch_len(layer, rows, threads)).max().unwrap_or(0);
        let [train, test] = images;
        let kept = if cached { train + test } else { test };
        let largest = pooled.layers().iter().map(|layer| layer.input.len() + layer.output.len()).max().unwrap_or(0);
        Ok(Self::new([
            // As read, and on the backend.
            ("parameters", 2 * parameters),
            ("features of the images", kept * features),
            // One head on all layers, and one on each.
            ("heads", 2 * HEAD_TENSORS * features * classes),
            ("activity", rows * (2 * largest + 2 * features)),
            ("scratch of convolutions", scratch),
            ("batches", (threads * (AHEAD + 1) + 2) * config.probe.batch * pooled.input().len()),
        ]))
    }

    /// Returns the needs of an alignment of `config`'s encoder on batches of `batch` images, with `threads` threads
    /// that compute and as many that load.
    ///
    /// # Errors
    /// [`Error::Network`] if the configuration does not fit together.
    pub fn of_alignment(config: &Config, batch: usize, threads: usize) -> Result<Self, Error> {
        let spec = config.network()?;
        let rows = 2 * batch;
        let tensors = spec.layers().iter().flat_map(|layer| spec.tensors(layer));
        let parameters: usize = tensors.map(|(_, shape)| shape.iter().product::<usize>()).sum();
        Ok(Self::new([
            // As read, and on the backend.
            ("parameters", 2 * parameters),
            ("activity and gradients", alignment_len(&spec, rows, threads)),
            (
                "scratch of convolutions",
                spec.layers().iter().map(|layer| scratch_len(layer, rows, threads)).max().unwrap_or(0),
            ),
            ("batches", (threads * (AHEAD + 1) + 2) * rows * spec.input().len()),
        ]))
    }

    /// Adds the needs of measuring alignment during training.
    ///
    /// # Errors
    /// [`Error::Network`] if the configuration does not fit together.
    pub fn and_alignment(mut self, config: &Config) -> Result<Self, Error> {
        let len = alignment_len(&config.network()?, 2 * config.batch, rayon::current_num_threads());
        self.parts.push(("activity and gradients for the alignment", VALUE * len));
        Ok(self)
    }

    fn new<const N: usize>(values: [(&'static str, usize); N]) -> Self {
        Self { parts: values.into_iter().filter(|part| part.1 > 0).map(|(name, len)| (name, VALUE * len)).collect() }
    }

    /// Purposes with their bytes.
    pub fn parts(&self) -> &[(&'static str, usize)] {
        &self.parts
    }

    /// All bytes.
    pub fn total(&self) -> usize {
        self.parts.iter().map(|part| part.1).sum()
    }

    /// Refuses needs that cannot fit. `lower` tells the user how to reduce them.
    ///
    /// # Errors
    /// [`Error::Memory`] where less is available, as far as the system tells.
    pub fn check(&self, what: &'static str, lower: &'static str) -> Result<(), Error> {
        match available() {
            Some(available) if available < self.total() as u64 => {
                let mut parts = self.parts.clone();
                parts.sort_by_key(|part| std::cmp::Reverse(part.1));
                let mut most = String::new();
                for (name, bytes) in parts.iter().take(3) {
                    let _ = write!(most, "{}{name} {}", if most.is_empty() { "" } else { ", " }, readable(*bytes));
                }
                let (needed, available) = (readable(self.total()), readable(available as usize));
                Err(Error::Memory { what, needed, most, available, lower })
            }
            _ => Ok(()),
        }
    }
}

/// Maps of a layer that relaxes: activity, prediction and error, and the former two before the step.
const RELAXED_COPIES: usize = 5;

/// Values of a layer's output map with the place of each maximum, a byte each.
fn output_len(layer: &Layer) -> usize {
    layer.output.len() + layer.output.len() / VALUE
}

/// Values of maps and pooled activity that are alive at once, at most.
fn activity_len(spec: &NetworkSpec, rows: usize, threads: usize, keeps_all: bool) -> usize {
    let layers = spec.layers();
    let rule = rules::of(spec);
    let Cost { first_pass, top_relaxes, .. } = rule.cost();
    let maps = if keeps_all {
        back_propagated_len(spec, rows)
    } else {
        // A context from the top layer, or its error, is computed before, and the frames are kept for that.
        let frames = if first_pass { spec.input().len() + spec.view().top_len() } else { 0 };
        let relaxed = match layers.last().filter(|_| top_relaxes) {
            Some(top) => top.input.len() + RELAXED_COPIES * top.output.len(),
            None => 0,
        };
        let widest = layers.iter().map(|layer| layer.input.len() + output_len(layer)).max().unwrap_or(0);
        rows * (frames + relaxed + widest)
    };
    // Pooled activity, predictions and their transformed copies, errors, and the gradient in double precision.
    let pooled = layers.iter().map(|layer| 7 * layer.pooled.len()).max().unwrap_or(0);
    let extra = rule.extra_memory(spec, rows, threads);
    (maps + rows * pooled + extra.step).max(extra.after_step)
}

/// Values of maps that are alive at once where errors come down through the network ([`crate::step::backprop`]).
fn back_propagated_len(spec: &NetworkSpec, rows: usize) -> usize {
    let (layers, frame) = (spec.layers(), spec.input().len());
    let kept = |layers: &[Layer]| -> usize { layers.iter().map(output_len).sum() };
    let widest = |layers: &[Layer]| {
        layers.iter().map(|layer| layer.output.len() + layer.conv.len() + layer.input.len()).max().unwrap_or(0)
    };
    let Cost { iterations, descent, .. } = rules::of(spec).cost();
    let copies = if iterations > 0 { RELAXED_COPIES } else { 1 };
    match descent.map_or(Backward::Whole, |descent| descent.backward) {
        Backward::Whole => rows * (frame + copies * kept(layers) + widest(layers)),
        Backward::Checkpointed => {
            let (mut borders, mut most) = (0, 0);
            for segment in layers.chunks(segment_len(layers.len())) {
                most = most.max(borders + kept(segment) + widest(segment));
                borders += segment.last().map_or(0, |layer| layer.output.len());
            }
            rows * (frame + most)
        }
        Backward::Accumulated(parts) => {
            let rows_each = 2 * (rows / 2).div_ceil(parts.max(1));
            rows * frame + rows_each * (frame + kept(layers) + widest(layers))
        }
    }
}

/// Values that measuring alignment keeps at once: all maps, and two sets of gradients, on the backend and as they are
/// compared; the top layer's projections among them.
fn alignment_len(spec: &NetworkSpec, rows: usize, threads: usize) -> usize {
    let of_layer = |layer: &Layer| {
        let is_top = layer.index + 1 == spec.layers().len();
        let encoder = |role: TensorRole| matches!(role, TensorRole::Weight | TensorRole::Bias);
        let tensors = spec.tensors(layer).into_iter().filter(|(role, _)| is_top || encoder(*role));
        tensors.map(|(_, shape)| shape.iter().product::<usize>()).sum::<usize>()
    };
    activity_len(spec, rows, threads, true) + 4 * spec.layers().iter().map(of_layer).sum::<usize>()
}

/// Values of the gradients that are written out at once: the largest one, or all of the encoder's where they come down
/// through the network, and their sums where a batch comes in parts; those of projections are not.
fn gradient_len(spec: &NetworkSpec) -> usize {
    let tensors = spec.layers().iter().flat_map(|layer| spec.tensors(layer));
    let written = tensors.filter(|(role, _)| matches!(role, TensorRole::Weight | TensorRole::Head));
    let largest: usize = written.map(|(_, shape)| shape.iter().product()).max().unwrap_or(0);
    let Some(descent) = rules::of(spec).cost().descent.filter(|descent| descent.all_gradients) else { return largest };
    let sums = if matches!(descent.backward, Backward::Accumulated(_)) { 2 } else { 1 };
    largest.max(sums * spec.view().encoder_len())
}

/// Returns the bytes that this process can still allocate: free memory and swap, within the limits of its control group
/// and address space. `None` if the system does not report them.
pub fn available() -> Option<u64> {
    let system =
        System::new_with_specifics(RefreshKind::nothing().with_memory(MemoryRefreshKind::everything())).ok()?;
    let machine = (system.total_memory() > 0).then(|| system.available_memory() + system.free_swap());
    let group = system.cgroup_limits().map(|limits| limits.total_memory.saturating_sub(limits.rss));
    [machine, group, address_space()].into_iter().flatten().min()
}

/// Address space of a thread's stack and allocation arena, used or not.
#[cfg(target_os = "linux")]
const THREAD_SPACE: u64 = 66 << 20;

/// Returns the bytes left below the limit on the address space (`ulimit -v`), without the reservation of the threads
/// that compute and as many that load.
#[cfg(target_os = "linux")]
fn address_space() -> Option<u64> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::As).current?;
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let used: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    // Threads that cannot reserve an arena share the arenas of others.
    let threads = (2 * THREAD_SPACE * rayon::current_num_threads() as u64).min(limit / 2);
    Some(limit.saturating_sub(1024 * used + threads))
}

/// No other system keeps a process to it.
#[cfg(not(target_os = "linux"))]
fn address_space() -> Option<u64> {
    None
}
