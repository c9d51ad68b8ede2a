//! A training step as a program, and the programs of an epoch: recorded once, run for every batch.

use super::executor::Executor;
use super::lower::{betas, int};
use super::memory::Tensor;
use super::op::{Arg, Op};
use super::plan::{Plan, plan};
use super::program::Recording;
use super::{CONTROL_BYTES, Gpu, Inputs};
use clapp_core::plan::Layer;
use clapp_core::shape::Shape;
use clapp_data::error::Error;
use clapp_engine::backend::{Backend, Pairing, Parameter};
use clapp_engine::model::{NetworkSpec, TensorRole};
use clapp_engine::optimizer::Optimizer;
use clapp_engine::rules::step;
use clapp_engine::step::{LayerParameters, Mode, Model, OutcomeOf, StepBatch};

/// Steps whose reports wait on the device, at most.
pub const REPORTS: usize = 64;

/// A layer's part of a step's report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerEntry {
    /// Its losses: three values each, the mean loss and the mean scores of positives and negatives.
    pub roles: Vec<TensorRole>,
    /// True if two values follow: its error's distance from back-propagation's.
    pub matched: bool,
}

/// The places of each layer's values in a report.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReportShape {
    /// From the input to the top.
    pub layers: Vec<LayerEntry>,
}

impl ReportShape {
    /// Values of a report.
    pub fn len(&self) -> usize {
        self.layers.iter().map(|layer| 3 * layer.roles.len() + 2 * usize::from(layer.matched)).sum()
    }

    /// True if nothing is reported.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Loss, mean scores and mismatch of each layer.
    pub fn read(&self, report: &[f64]) -> Vec<LayerMeans> {
        let mut values = report.iter().copied();
        let mut next = || values.next().unwrap_or(f64::NAN);
        let mut layers = Vec::with_capacity(self.layers.len());
        for layer in &self.layers {
            let mut means = LayerMeans::default();
            let count = layer.roles.len() as f64;
            for _ in &layer.roles {
                let [loss, u_pos, u_neg] = [next(), next(), next()];
                *means.loss.get_or_insert(0.0) += loss;
                *means.u_pos.get_or_insert(0.0) += u_pos / count;
                *means.u_neg.get_or_insert(0.0) += u_neg / count;
            }
            if layer.matched {
                let [distance, ideal] = [next(), next()];
                means.mismatch = Some(if ideal > 0.0 { distance / ideal } else { 0.0 });
            }
            layers.push(means);
        }
        layers
    }
}

/// The values that a layer's step reports.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct LayerMeans {
    /// Sum of its losses; `None` without a loss.
    pub loss: Option<f64>,
    /// Mean score of its positives.
    pub u_pos: Option<f64>,
    /// Mean score of its negatives.
    pub u_neg: Option<f64>,
    /// Distance of its error from back-propagation's, if feedback is matched.
    pub mismatch: Option<f64>,
}

/// Memory that all steps share with the host.
#[derive(Debug)]
pub struct StepMemory {
    /// Frames as the host makes them, `[rows, C, H, W]`; empty where the device makes them.
    pub frames: Tensor,
    /// Negatives and terms that count.
    pub inputs: Inputs,
    /// Reports of the last steps, `[REPORTS][len]` doubles.
    pub ring: Tensor,
}

impl StepMemory {
    /// Bytes of all of it.
    pub fn bytes(&self) -> usize {
        [&self.frames, &self.inputs.negatives, &self.inputs.keep, &self.ring].map(Tensor::bytes).iter().sum()
    }
}

/// A recorded step on batches of one size.
#[derive(Debug)]
pub struct StepProgram {
    /// The operations and their buffers.
    pub recording: Recording,
    /// Layout of the buffers.
    pub plan: Plan,
    /// Shape of its reports.
    pub report: ReportShape,
    /// Rows of its batch.
    pub rows: usize,
}

impl<E: Executor + 'static> Gpu<E> {
    /// A model of which the values are whatever the memory holds: to see what training it would take.
    pub fn blank_model(&self, spec: NetworkSpec) -> Model<Tensor> {
        let parameter = |len: usize| Parameter {
            value: self.device.fixed(len, size_of::<f32>()),
            first: Tensor::empty(),
            second: Tensor::empty(),
        };
        let layer = |layer: &Layer| {
            let lens: Vec<_> =
                spec.tensors(layer).into_iter().map(|(role, shape)| (role, shape.iter().product())).collect();
            let len = |role: TensorRole| lens.iter().find(|(other, _)| *other == role).map(|(_, len)| *len);
            LayerParameters {
                weight: parameter(len(TensorRole::Weight).unwrap_or(0)),
                bias: parameter(len(TensorRole::Bias).unwrap_or(0)),
                projection: len(TensorRole::Projection).map(parameter),
                feedback: len(TensorRole::Feedback).map(parameter),
                head: len(TensorRole::Head).map(parameter),
                mirror: len(TensorRole::Mirror).map(parameter),
            }
        };
        let layers = spec.layers().iter().map(layer).collect();
        Model { layers, spec }
    }

    /// Memory for steps of at most `rows` rows like `pairing`, which must have as many negatives. `frame` is the shape of
    /// a frame where the host makes them.
    pub fn step_memory(&self, frame: Option<Shape>, rows: usize, pairing: Pairing<'_>, report: usize) -> StepMemory {
        let device = &self.device;
        let keep = if pairing.keep_positive.is_some() { rows } else { 0 };
        let memory = StepMemory {
            frames: device.fixed(frame.map_or(0, |frame| rows * frame.len()), size_of::<f32>()),
            inputs: Inputs {
                negatives: device.fixed(pairing.negatives.len(), size_of::<i32>()),
                keep: device.fixed(keep, 1),
            },
            ring: device.fixed(REPORTS * report, size_of::<f64>()),
        };
        for tensor in [&memory.frames, &memory.inputs.negatives, &memory.inputs.keep, &memory.ring] {
            device.zero_now(tensor);
        }
        memory
    }

    /// Records one training step; `feed` records what makes the batch (a map) first.
    ///
    /// # Errors
    /// If the device has failed.
    pub fn record_step(
        &self,
        model: &mut Model<Tensor>,
        optimizer: &Optimizer,
        pairing: Pairing<'_>,
        rows: usize,
        memory: &StepMemory,
        feed: impl FnOnce(&Self) -> Tensor,
    ) -> Result<StepProgram, Error> {
        for layer in &mut model.layers {
            for role in TensorRole::ALL {
                if let Some(parameter) = layer.get_mut(role) {
                    self.ensure_state(parameter, optimizer);
                }
            }
        }
        // The batch may be smaller than the largest.
        let inputs = Inputs {
            negatives: memory.inputs.negatives.part(0, pairing.negatives.len()),
            keep: memory.inputs.keep.part(0, pairing.keep_positive.map_or(0, <[bool]>::len)),
        };
        self.record(inputs);
        let [beta1, beta2] = betas(optimizer);
        let args = vec![self.device.both(&self.control), Arg::F32(beta1), Arg::F32(beta2)];
        self.device.run(Op::Launch { kernel: "tick", grid: [1, 1, 1], block: 1, args });
        let x = feed(self);
        let outcome = step(self, model, StepBatch { x, rows, pairing }, Mode::Update { optimizer, step: 1 });
        let report = self.record_report(&outcome, &memory.ring);
        drop(outcome);
        let recording = self.recorded();
        self.check()?;
        Ok(StepProgram { plan: plan(&recording), recording, report, rows })
    }

    /// Puts what the step has found at its place in the ring.
    fn record_report(&self, outcome: &OutcomeOf<Self>, ring: &Tensor) -> ReportShape {
        let entries = outcome.iter().map(|layer| LayerEntry {
            roles: layer.scores.iter().map(|(role, _)| *role).collect(),
            matched: layer.distance.is_some(),
        });
        let shape = ReportShape { layers: entries.collect() };
        let report = self.doubles(shape.len());
        let parts = outcome.iter().flat_map(|layer| {
            layer.scores.iter().map(|(_, scores)| &scores.summary).chain(layer.distance.iter()).collect::<Vec<_>>()
        });
        let mut first = 0;
        for part in parts {
            let to = report.part(first, part.len());
            self.device.run(Op::Copy {
                from: self.device.place(part),
                to: self.device.place(&to),
                bytes: part.bytes(),
            });
            first += part.len();
        }
        let args = vec![
            self.device.input(&report),
            self.device.both(ring),
            self.device.input(&self.control),
            int(shape.len()),
            int(REPORTS),
        ];
        self.device.launch("append_report", [1, 1, 1], args);
        shape
    }

    /// Sets the number of steps done, the place in the epoch, and the learning rate.
    pub fn set_place(&self, step: u64, place: u64, rate: f32) {
        let mut bytes = Vec::with_capacity(CONTROL_BYTES);
        bytes.extend_from_slice(&step.to_ne_bytes());
        bytes.extend_from_slice(&place.to_ne_bytes());
        for value in [rate, 1.0, 1.0] {
            bytes.extend_from_slice(&value.to_ne_bytes());
        }
        bytes.extend_from_slice(&0_i32.to_ne_bytes());
        self.device.write(&self.control, &bytes);
    }

    /// Memory in which programs run, one after the other.
    pub fn arena(&self, programs: &[&StepProgram]) -> Tensor {
        self.device.fixed(programs.iter().map(|program| program.plan.bytes).max().unwrap_or(0), 1)
    }

    /// Makes a program ready to run in `arena`.
    ///
    /// # Errors
    /// If the device refuses.
    pub fn compile(&self, program: &StepProgram, arena: &Tensor) -> Result<E::Graph, Error> {
        self.check()?;
        let address = match arena.place() {
            super::memory::Place::Fixed(address) => address,
            super::memory::Place::Planned { .. } => 0,
        };
        Ok(self.device.executor.compile(program.recording.resolved(address, &program.plan))?)
    }
}
