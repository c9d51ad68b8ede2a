//! A learner of a stream: sees it frame by frame, and is tested in between.

use super::Model;
use super::backprop::{Backprop, Part};
use super::heads::{Head, Heads};
use super::ring::Ring;
use super::stream::Glance;
use clapp_core::contrast::Phase;
use clapp_core::learner::{Learner, infer};
use clapp_core::link::pixels_to_frame;
use clapp_core::optimizer::Optimizer;
use clapp_data::error::Error;
use clapp_data::rng::{Purpose, stream};
use clapp_engine::checkpoint::device::DeviceState;
use clapp_engine::core_memory::CoreMemory;

/// Learning method of a student. Every method teaches the few labels to both read-outs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// The local rule on every frame, without labels.
    Stream,
    /// The same, with labelled glances kept in so many bytes, from which the class means are learnt anew after each stage.
    Keep(usize),
    /// The same with half of the bytes, and a ring of glances without labels in the other half: after each glance an
    /// earlier one is seen again, from each half in turn.
    Replay(usize),
    /// The encoder stays as it is.
    Frozen,
    /// Back-propagation of the softmax read-out's error to a part of the encoder, where there is a label.
    Backprop(Part),
}

impl Method {
    /// The read-out that belongs to the method.
    pub fn head(self) -> Head {
        match self {
            Self::Backprop(_) => Head::Softmax,
            _ => Head::Nearest,
        }
    }

    /// Learning rates that are tried for a stream, from careful to fast; none where nothing is learnt by a rate.
    pub fn rates(self) -> &'static [f32] {
        match self {
            Self::Stream | Self::Keep(_) | Self::Replay(_) => &[1e-3, 3e-3, 1e-2],
            Self::Frozen => &[],
            Self::Backprop(_) => &[3e-3, 1e-2, 3e-2, 1e-1],
        }
    }

    /// The model that learns by this method at such a rate; the local rule by plain SGD, as the firmware does.
    pub fn at_rate(self, model: &Model, rate: f32) -> Model {
        match self {
            Self::Stream | Self::Keep(_) | Self::Replay(_) => {
                Model { optimizer: Optimizer::sgd(rate), ..model.clone() }
            }
            Self::Frozen => model.clone(),
            Self::Backprop(_) => Model { label_rate: rate, ..model.clone() },
        }
    }

    /// Bytes for labelled glances, and for others.
    fn rings(self) -> [usize; 2] {
        match self {
            Self::Keep(bytes) => [bytes, 0],
            Self::Replay(bytes) => [bytes / 2; 2],
            _ => [0; 2],
        }
    }

    /// Bytes of RAM that it takes on a device: what the core's plan says, one frame, one read-out, and what it keeps
    /// beside these. Weights that do not change are read from flash.
    pub fn bytes(self, model: &Model, fixation: usize) -> usize {
        let view = model.spec.view();
        let learning = view.stream_bytes() + 4 * model.optimizer.state_len(&view);
        let method = match self {
            Self::Stream => learning,
            Self::Keep(_) | Self::Replay(_) => {
                let glance = Ring::glance_bytes(fixation, view.input().len());
                learning + self.rings().map(|bytes| bytes / glance * glance).iter().sum::<usize>()
            }
            // The features are the contexts of the others.
            Self::Frozen => view.inference_bytes() + 4 * view.feature_len(),
            Self::Backprop(part) => view.inference_bytes() + 4 * view.feature_len() + Backprop::bytes(&view, part),
        };
        method + 4 * view.input().len() + Heads::bytes(model)
    }
}

/// A learner at work.
#[derive(Debug)]
pub struct Student<'a> {
    model: &'a Model,
    learner: Learner<'a>,
    method: Method,
    /// The read-outs.
    pub heads: Heads,
    /// Labelled glances, and others.
    rings: [Ring; 2],
    /// Number of the next ring.
    turn: usize,
    backprop: Option<Backprop>,
    frame: Vec<f32>,
    features: Vec<f32>,
    workspace: Vec<f32>,
    /// Frames that it has learnt from.
    step: u64,
}

/// The core has refused: a number is not finite.
pub(super) fn refused(error: impl std::fmt::Display) -> Error {
    Error::Config { origin: "stream".into(), message: error.to_string() }
}

/// The frames of a glance with its label; none where it has none.
fn labelled(glance: &Glance) -> impl Iterator<Item = (&Vec<u8>, usize)> {
    glance.label.into_iter().flat_map(|label| glance.frames.iter().map(move |pixels| (pixels, usize::from(label))))
}

/// Memory of a student's encoder, with its first parameters in the layout of [`clapp_core::plan`].
pub fn memory(model: &Model, parameters: &[f32]) -> CoreMemory {
    CoreMemory::new(&model.spec, &model.spec.values_from_flat(parameters), &model.optimizer, 0, 0)
}

impl<'a> Student<'a> {
    /// A student whose encoder is in `memory`. `fixation` is the number of frames of a glance, `seed` that of what it
    /// draws.
    ///
    /// # Errors
    /// If the memory is that of another network.
    pub fn new(
        model: &'a Model,
        memory: &'a mut CoreMemory,
        method: Method,
        fixation: usize,
        seed: u64,
    ) -> Result<Self, Error> {
        let view = model.spec.view();
        let mut learner = memory.learner(&model.spec, model.optimizer).map_err(refused)?;
        learner.set_guard(model.guard);
        let bytes = method.rings();
        let glance = Ring::glance_bytes(fixation, view.input().len());
        let ring = |at: usize| Ring::new(bytes[at], glance, stream(seed, Purpose::Replay, 0, at as u64));
        let backprop = match method {
            Method::Backprop(part) => Some(Backprop::new(&view, part, model.label_rate)),
            _ => None,
        };
        Ok(Self {
            model,
            learner,
            method,
            heads: Heads::new(model),
            rings: [ring(0), ring(1)],
            turn: 0,
            backprop,
            frame: vec![0.0; view.input().len()],
            features: vec![0.0; view.feature_len()],
            workspace: vec![0.0; view.inference_len()],
            step: 0,
        })
    }

    /// Begins a part of the stream: what comes next does not follow upon what was seen last.
    pub fn begin(&mut self) {
        self.learner.clear_context();
    }

    /// Learns from a glance by the method.
    ///
    /// # Errors
    /// If a number is not finite.
    pub fn see(&mut self, glance: &Glance) -> Result<(), Error> {
        match self.method {
            Method::Stream => self.observe(glance),
            Method::Keep(_) | Method::Replay(_) => {
                self.observe(glance)?;
                self.turn = 1 - self.turn;
                let replays = matches!(self.method, Method::Replay(_));
                // Not what was seen this moment, which is offered afterwards.
                if let Some(earlier) = self.rings[self.turn].draw().filter(|_| replays) {
                    self.observe(&earlier)?;
                }
                self.rings[usize::from(glance.label.is_none())].offer(glance);
                Ok(())
            }
            Method::Frozen | Method::Backprop(_) => {
                labelled(glance).try_for_each(|(pixels, label)| self.correct(pixels, label))
            }
        }
    }

    /// Ends a part of the stream: class means are learnt anew from the labelled glances that are kept, if any are.
    ///
    /// # Errors
    /// Same as [`Student::see`].
    pub fn end(&mut self) -> Result<(), Error> {
        let kept = self.rings[0].held().to_vec();
        if !kept.is_empty() {
            self.heads.forget_means();
        }
        for (pixels, label) in kept.iter().flat_map(labelled) {
            self.look(pixels).map_err(refused)?;
            self.heads.learn_mean(&self.features, label).map_err(refused)?;
        }
        Ok(())
    }

    /// The local rule, and the label where there is one.
    fn observe(&mut self, glance: &Glance) -> Result<(), Error> {
        for (at, pixels) in glance.frames.iter().enumerate() {
            let phase = if at == 0 { Phase::Saccade } else { Phase::Fixation };
            pixels_to_frame(pixels, self.model.scale, self.model.offset, &mut self.frame);
            self.learner.observe(&self.frame, phase, 1.0, &mut ()).map_err(refused)?;
            self.step += 1;
            // A frame on which activity was not finite teaches the read-outs nothing, as on a device.
            if let (Some(label), Ok(features)) = (glance.label, self.learner.features()) {
                self.heads.learn(features, label.into()).map_err(refused)?;
            }
        }
        Ok(())
    }

    /// A frame with its label, for the read-outs and the part of the encoder that back-propagation reaches.
    fn correct(&mut self, pixels: &[u8], label: usize) -> Result<(), Error> {
        let Some(mut backprop) = self.backprop.take() else {
            self.look(pixels).map_err(refused)?;
            return self.heads.learn(&self.features, label).map_err(refused);
        };
        pixels_to_frame(pixels, self.model.scale, self.model.offset, &mut self.frame);
        let network = self.learner.network();
        let learnt = backprop.learn(
            &network,
            self.learner.parameters_mut(),
            &self.frame,
            label,
            &mut self.heads,
            &mut self.features,
        );
        self.backprop = Some(backprop);
        learnt.map_err(refused)
    }

    /// The features of a frame, from which nothing is learnt.
    fn look(&mut self, pixels: &[u8]) -> Result<(), clapp_core::learner::Error> {
        pixels_to_frame(pixels, self.model.scale, self.model.offset, &mut self.frame);
        let (network, parameters) = (self.learner.network(), self.learner.parameters());
        infer(&network, parameters, &self.frame, &mut self.workspace, &mut self.features)
    }

    /// Prediction of each read-out for a frame ([`Heads::predict`]). None if the activity is not finite, as on a device.
    ///
    /// # Errors
    /// If a pixel's value or a logit is not finite.
    pub fn predict(&mut self, pixels: &[u8]) -> Result<[Option<usize>; 2], Error> {
        match self.look(pixels) {
            Err(clapp_core::learner::Error::Unsound { .. }) => Ok([None; 2]),
            Err(error) => Err(refused(error)),
            Ok(()) => self.heads.predict(&self.features).map_err(refused),
        }
    }

    /// Tells the read-outs the labels of glances, and leaves the encoder as it is.
    ///
    /// # Errors
    /// Same as [`Student::see`].
    pub fn tell(&mut self, glances: &[Glance]) -> Result<(), Error> {
        for (pixels, label) in glances.iter().flat_map(labelled) {
            self.look(pixels).map_err(refused)?;
            self.heads.learn(&self.features, label).map_err(refused)?;
        }
        Ok(())
    }

    /// Takes over weights, the optimiser's state and the layers' state from a device of the same network.
    pub fn restore(&mut self, held: &DeviceState) {
        let (parameters, state, layers) = self.learner.learnt_mut();
        parameters.copy_from_slice(&held.parameters);
        state.copy_from_slice(&held.state);
        layers.copy_from_slice(&held.layers);
    }

    /// All that it holds, as a device that has begun at `step` would.
    pub fn held(&self, step: u64) -> DeviceState {
        DeviceState {
            step: step + self.step,
            parameters: self.learner.parameters().to_vec(),
            state: self.learner.state().to_vec(),
            layers: self.learner.layers().to_vec(),
            readout: self.heads.means.clone(),
            counts: self.heads.counts.clone(),
        }
    }
}
