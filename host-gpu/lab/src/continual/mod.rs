//! Continual learning: a network on a device learns from a stream that never comes back.
//!
//! [`stream`] makes streams of a data set: one class after another, or all classes under conditions that change slowly
//! ([`drift`]). A [`student`] sees a stream frame by frame, as firmware does, and learns by one of several methods: the
//! local rule on every frame, the same with a [`ring`] of frames to replay, [`backprop`] on the last layers from the few
//! labels, or not at all but in its read-outs ([`heads`]). [`course`] shows a student a stream and fills a matrix of
//! accuracies, of which [`metrics`] makes the measures. [`device`] sends the same stream to a device.

pub mod backprop;
pub mod course;
pub mod device;
pub mod drift;
pub mod heads;
pub mod metrics;
pub mod ring;
pub mod stream;
pub mod student;

use clapp_core::guard::Guard;
use clapp_core::optimizer::Optimizer;
use clapp_data::error::Error;
use clapp_device::device::description::Description;
use clapp_engine::config::preset;
use clapp_engine::model::NetworkSpec;

/// Learning rate from labels where none is chosen, as TinyOL has it.
const LABEL_RATE: f32 = 0.01;

/// A network as it is built into a device, and how it learns there.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// The network with its rule.
    pub spec: NetworkSpec,
    /// The optimiser of the local rule.
    pub optimizer: Optimizer,
    /// Learning rate of the softmax read-out, and of back-propagation from it.
    pub label_rate: f32,
    /// The guard of the local rule.
    pub guard: Guard,
    /// Classes of the read-out.
    pub classes: usize,
    /// Value of a pixel: `pixel * scale + offset`.
    pub scale: f32,
    /// See `scale`.
    pub offset: f32,
}

impl Model {
    /// The network that is built into the firmware.
    ///
    /// # Errors
    /// None as long as the preset `device` is there.
    pub fn built_in() -> Result<Self, Error> {
        let missing = || Error::Config { origin: "preset device".into(), message: "is missing".into() };
        let spec = preset("device").ok_or_else(missing)?.network()?;
        let (optimizer, guard) = (Optimizer::sgd(0.01), Guard { max_update_norm: Some(4.0) });
        Ok(Self { spec, optimizer, label_rate: LABEL_RATE, guard, classes: 10, scale: 0.03, offset: -3.84 })
    }

    /// The network of a device.
    pub fn of(device: &Description) -> Self {
        let Description { spec, optimizer, guard, classes, scale, offset, .. } = device.clone();
        Self { spec, optimizer, label_rate: LABEL_RATE, guard, classes, scale, offset }
    }
}
