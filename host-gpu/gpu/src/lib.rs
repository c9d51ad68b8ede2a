//! The backend for GPUs, in three parts: what is to be computed, as operations on the device's memory ([`op`], and `lower`
//! which makes them of [`Backend`]'s); devices that run operations ([`executor`]); and programs ([`program`]), in which
//! the operations of a training step are recorded once, with memory planned by [`plan`], and run again and again.
//!
//! Maps are `[row, y, x, channel]`, weights `[out, kh, kw, in]`; pooled activity is `[row, channel, cell]` as everywhere.

mod cache;
pub mod choice;
pub mod cuda;
mod device;
pub mod dry_run;
mod elf;
pub mod emulated;
pub mod executor;
pub mod feed;
pub mod kernels;
mod lower;
pub mod memory;
pub mod needs;
pub mod op;
pub mod parity;
pub mod plan;
pub mod precision;
pub mod program;
pub mod proof;
pub mod together;
pub mod train;
pub mod trainer;
pub mod training;
pub mod verify;
pub mod views;

use clapp_core::network::Rule;
use clapp_core::plan::Layer;
use clapp_core::shape::Shape;
use clapp_data::error::Error;
use clapp_data::loader::Part;
use clapp_engine::backend::{
    ActivityOf, Backend, BlockGradient, Custom, CustomOf, FactorsOf, InfoNce, Matching, Mismatch, PairedLosses,
    Pairing, Parameter, Partner, RowsOf, Scores,
};
use clapp_engine::model::TensorRole;
use clapp_engine::optimizer::Optimizer;
use device::Device;
use executor::{Executor, GpuError};
use memory::Tensor;
use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;

/// Bytes of `control`, what all kernels of a step share: number of the step, its place in the epoch, learning rate,
/// corrections of the moments, and whether training has stopped.
pub const CONTROL_BYTES: usize = 32;

/// Scores, third factors and losses of all rows under one context, on the device.
#[derive(Debug)]
pub struct RowScores {
    u_pos: Tensor,
    u_neg: Tensor,
    g_pos: Tensor,
    g_neg: Tensor,
    /// Mean loss and mean scores of positives and negatives, in double precision.
    summary: Tensor,
    /// Indices of the negatives, `[K][rows]`.
    negatives: Tensor,
    /// The term of each row that counts; empty for both.
    keep: Tensor,
    partner: Partner,
}

/// Inputs of a recorded step that change from step to step.
#[derive(Debug, Clone)]
pub struct Inputs {
    /// Indices of the negatives, 32-bit integers, `[lists][K][rows]`.
    pub negatives: Tensor,
    /// The term of each row that counts, a byte each; empty for both.
    pub keep: Tensor,
}

/// The backend on a device. While a program is recorded, operations are kept instead of run, and what would have to
/// wait for the device ([`Backend::download`] and the like) gives nothing.
pub struct Gpu<E: Executor> {
    device: Rc<Device<E>>,
    control: Tensor,
    part: Part,
    /// Inputs of the step that is recorded.
    inputs: RefCell<Option<Inputs>>,
}

impl<E: Executor + 'static> Gpu<E> {
    /// The backend on `executor`, without other processes.
    ///
    /// # Errors
    /// If the device has no memory at all.
    pub fn new(executor: E) -> Result<Self, Error> {
        let device = Rc::new(Device::new(executor));
        let control = device.fixed(CONTROL_BYTES, 1);
        let gpu = Self { device, control, part: Part::WHOLE, inputs: RefCell::new(None) };
        gpu.device.write(&gpu.control, &[0; CONTROL_BYTES]);
        gpu.check()?;
        Ok(gpu)
    }

    /// The device.
    pub fn executor(&self) -> &E {
        &self.device.executor
    }

    /// From now on fresh memory is filled with NaN: what is read before it is written cannot go unnoticed.
    pub fn poison(&self) {
        self.device.poison();
    }

    /// Bytes of the device's memory that were taken at once, at most, by tensors.
    pub fn most_memory(&self) -> usize {
        self.device.most()
    }

    /// Bytes of the device's memory that tensors take now.
    pub fn memory_now(&self) -> usize {
        self.device.now()
    }

    /// From now on operations are recorded; negatives come from `inputs` then, and the learning rate from `control`.
    pub(crate) fn record(&self, inputs: Inputs) {
        *self.inputs.borrow_mut() = Some(inputs);
        self.device.record();
    }

    /// Ends the recording.
    pub(crate) fn recorded(&self) -> program::Recording {
        *self.inputs.borrow_mut() = None;
        self.device.recorded()
    }

    fn map_bytes(&self) -> usize {
        self.device.executor.map_type().bytes()
    }

    fn map(&self, len: usize) -> Tensor {
        self.device.temporary(len, self.map_bytes())
    }

    fn floats(&self, len: usize) -> Tensor {
        self.device.temporary(len, size_of::<f32>())
    }

    fn doubles(&self, len: usize) -> Tensor {
        self.device.temporary(len, size_of::<f64>())
    }

    /// Copies a batch and its pairing to where a recorded step looks for them.
    fn write_inputs(&self, memory: &training::StepMemory, frames: &[f32], pairing: Pairing<'_>) {
        self.stage(&memory.frames, &lower::bytes_of(frames));
        let negatives: Vec<i32> = pairing.negatives.iter().map(|index| i32::try_from(*index).unwrap_or(0)).collect();
        let negatives: Vec<u8> = negatives.iter().flat_map(|index| index.to_ne_bytes()).collect();
        self.stage(&memory.inputs.negatives, &negatives);
        let keep: Vec<u8> = pairing.keep_positive.unwrap_or_default().iter().map(|keep| u8::from(*keep)).collect();
        self.stage(&memory.inputs.keep, &keep);
    }

    /// Copies bytes to fixed memory after all that is queued, without waiting for it.
    fn stage(&self, tensor: &Tensor, bytes: &[u8]) {
        self.device.stage(tensor, bytes);
    }

    /// The doubles of a tensor.
    pub(crate) fn read_doubles(&self, tensor: &Tensor) -> Vec<f64> {
        lower::doubles_of(&self.device.read(tensor))
    }
}

impl<E: Executor + 'static> Backend for Gpu<E> {
    type Tensor = Tensor;
    type PooledGradient = Tensor;
    type Argmax = Tensor;
    type Scores = RowScores;
    type Distance = Tensor;

    fn upload(&self, values: &[f32]) -> Tensor {
        self.device.upload(&lower::bytes_of(values), size_of::<f32>())
    }

    fn download(&self, tensor: &Tensor) -> Vec<f32> {
        lower::floats_of(&self.device.read(tensor))
    }

    fn upload_frames(&self, shape: Shape, values: &[f32]) -> Tensor {
        let rows = values.len() / shape.len().max(1);
        self.frames_to_map(shape, &self.upload(values), rows)
    }

    fn download_frames(&self, shape: Shape, maps: &Tensor) -> Vec<f32> {
        self.download(&self.map_to_frames(shape, maps))
    }

    fn upload_weights(&self, layer: &Layer, values: &[f32]) -> Tensor {
        self.upload(&lower::weights_to_device(layer, values))
    }

    fn download_weights(&self, layer: &Layer, weights: &Tensor) -> Vec<f32> {
        lower::weights_from_device(layer, &self.download(weights))
    }

    fn read_scores(&self, pairing: Pairing<'_>, role: TensorRole, scores: &RowScores) -> Scores {
        let loss = self.read_doubles(&scores.summary).first().copied().unwrap_or(0.0);
        Scores::new(pairing, role, self.download(&scores.u_pos), self.download(&scores.u_neg), loss)
    }

    fn read_distance(&self, distance: &Tensor) -> Mismatch {
        match self.read_doubles(distance)[..] {
            [distance, ideal] => Mismatch { distance, ideal },
            _ => Mismatch { distance: 0.0, ideal: 0.0 },
        }
    }

    fn check(&self) -> Result<(), Error> {
        if let Some(error) = self.device.take_failure() {
            return Err(error.into());
        }
        if self.device.is_recording() {
            return Ok(());
        }
        Ok(self.device.executor.synchronise()?)
    }

    fn forward(&self, layer: &Layer, weight: &Tensor, bias: &Tensor, x: &Tensor, rows: usize) -> ActivityOf<Self> {
        self.lower_forward(layer, weight, bias, x, rows)
    }

    fn pool(&self, layer: &Layer, activity: &ActivityOf<Self>) -> Tensor {
        self.lower_pool(layer, &activity.z, activity.rows)
    }

    fn contrast(
        &self,
        rule: &Rule,
        pairing: Pairing<'_>,
        p: &Tensor,
        c: &Tensor,
        projection: Option<&Tensor>,
        rows: usize,
    ) -> FactorsOf<Self> {
        self.lower_contrast(rule, pairing, p, c, projection, rows)
    }

    fn project(&self, matrix: &Tensor, c: &Tensor, rows: usize) -> Tensor {
        self.lower_project(matrix, c, rows)
    }

    fn pooled_gradient(&self, losses: &PairedLosses<'_, Self>, rows: usize) -> Tensor {
        self.lower_pooled_gradient(losses, rows)
    }

    fn normalise(&self, z: &Tensor, rows: usize) -> Tensor {
        self.row_wise("normalise_rows", z, rows)
    }

    fn pair_anew(&self, z: &Tensor, rows: usize) -> Tensor {
        self.row_wise("pair_anew", z, rows)
    }

    fn projection_errors(&self, _: Pairing<'_>, p: &Tensor, factors: &FactorsOf<Self>, rows: usize) -> Tensor {
        self.lower_projection_errors(p, &factors.scores, rows)
    }

    fn projection_gradient(&self, errors: &Tensor, c: &Tensor, rows: usize) -> Tensor {
        self.lower_projection_gradient(errors, c, rows)
    }

    fn update_projection(
        &self,
        errors: &Tensor,
        c: &Tensor,
        rows: usize,
        projection: &mut Parameter<Tensor>,
        optimizer: &Optimizer,
        step: u64,
    ) {
        self.lower_update_projection(errors, c, rows, projection, optimizer, step);
    }

    fn info_nce(&self, p: &Tensor, head: &Tensor, temperature: f32, rows: usize) -> InfoNce<Tensor, Tensor, RowScores> {
        self.lower_info_nce(p, head, temperature, rows)
    }

    /// Fails: no rule has a body for GPUs. `record_programs` refuses such a rule before.
    fn custom(&self, operation: &dyn Custom, _: &[&Tensor]) -> Option<CustomOf<Self>> {
        let what = format!("rule {}", operation.rule());
        self.device.note::<()>(Err(GpuError::Failed { what, reason: "there are no kernels of it for GPUs".into() }));
        None
    }

    fn matching(
        &self,
        rule: &Rule,
        layer: &Layer,
        p: &Tensor,
        losses: &PairedLosses<'_, Self>,
        pooled: &Tensor,
        ideal: &Tensor,
        rows: usize,
    ) -> Matching<Tensor, Tensor> {
        self.lower_matching(rule, layer, p, losses, pooled, ideal, rows)
    }

    fn spread(&self, layer: &Layer, pooled: &Tensor, rows: usize) -> Tensor {
        self.lower_spread(layer, pooled, rows)
    }

    fn local_gradient(
        &self,
        layer: &Layer,
        x: &Tensor,
        activity: &ActivityOf<Self>,
        pooled: &Tensor,
    ) -> BlockGradient<Tensor> {
        self.lower_local_gradient(layer, x, activity, pooled)
    }

    fn block_gradient(
        &self,
        layer: &Layer,
        x: &Tensor,
        activity: &ActivityOf<Self>,
        dz: &Tensor,
    ) -> BlockGradient<Tensor> {
        self.lower_block_gradient(layer, x, activity, dz)
    }

    fn input_gradient(&self, layer: &Layer, weight: &Tensor, activity: &ActivityOf<Self>, dz: &Tensor) -> Tensor {
        self.lower_input_gradient(layer, weight, activity, dz)
    }

    fn gather_rows(&self, pieces: &[RowsOf<'_, Tensor>]) -> Tensor {
        self.lower_gather(pieces)
    }

    fn gather_pooled(&self, pooled: &Tensor, rows: usize, ranges: &[Range<usize>]) -> Tensor {
        let pieces: Vec<RowsOf<'_, Tensor>> = ranges.iter().map(|range| (pooled, rows, range.clone())).collect();
        self.lower_gather(&pieces)
    }

    fn teaches_heads(&self, values: usize) -> bool {
        self.has_room(values)
    }

    fn rows_at(&self, matrices: &[(&Tensor, usize)], rows: &[usize]) -> Vec<Tensor> {
        self.lower_rows_at(matrices, rows)
    }

    fn softmax(&self, logits: &Tensor, bias: &Tensor, labels: &[usize]) -> [Tensor; 2] {
        self.lower_softmax(logits, bias, labels)
    }

    fn add(&self, sum: &mut Tensor, more: &Tensor) {
        self.lower_add(sum, more);
    }

    fn update(&self, tensors: &mut [(&mut Parameter<Tensor>, &Tensor)], optimizer: &Optimizer, step: u64) {
        self.lower_update(tensors, optimizer, step);
    }
}
