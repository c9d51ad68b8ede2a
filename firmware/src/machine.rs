//! The learner with its read-out and its health: it processes frames and the host's requests.

use crate::health::Health;
use crate::source::{Arrival, FrameSource, SourceError};
use clapp_core::checkpoint::{Contents, ContentsMut};
use clapp_core::guard::Guard;
use clapp_core::init;
use clapp_core::learner::{Buffers, Error, LayerState, Learner};
use clapp_core::link::{Observed, Origin, Problem, Section};
use clapp_core::network::NetworkView;
use clapp_core::optimizer::Optimizer;
use clapp_core::readout::NearestMean;
use clapp_core::storage::Loaded;

/// Settings of a device, without its network.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Seed of the weights if none are saved.
    pub seed: u64,
    /// The optimiser.
    pub optimizer: Optimizer,
    /// Largest norm of an update.
    pub max_update_norm: Option<f32>,
    /// Value of a pixel: `pixel * scale + offset`.
    pub scale: f32,
    /// See `scale`.
    pub offset: f32,
    /// Frames learnt from between two saves; 0 saves on request only.
    pub save_every: u64,
}

/// Memory of a [`Machine`]; all is overwritten.
#[derive(Debug)]
pub struct Memory<'a> {
    /// The learner's.
    pub buffers: Buffers<'a>,
    /// `[C, H, W]` of the input.
    pub frame: &'a mut [f32],
    /// Means of the classes, `[classes, features]`.
    pub means: &'a mut [f32],
    /// Examples of each class, `[classes]`.
    pub counts: &'a mut [u32],
}

/// A network that learns from frames and labels.
#[derive(Debug)]
pub struct Machine<'a> {
    learner: Learner<'a>,
    settings: Settings,
    frame: &'a mut [f32],
    means: &'a mut [f32],
    counts: &'a mut [u32],
    health: Health,
    step: u64,
    modulator: f32,
    origin: Origin,
}

impl<'a> Machine<'a> {
    /// A machine with weights drawn from the seed.
    ///
    /// # Errors
    /// A buffer of the wrong length.
    pub fn new(network: NetworkView<'a>, settings: Settings, memory: Memory<'a>) -> Result<Self, Error> {
        let Memory { buffers, frame, means, counts } = memory;
        let guard = Guard { max_update_norm: settings.max_update_norm };
        let origin = Origin::Seed(settings.seed);
        let learner = Learner::new(network, settings.optimizer, guard, buffers)?;
        let health = Health::new(network.rule());
        let mut machine = Self { learner, settings, frame, means, counts, health, step: 0, modulator: 1.0, origin };
        machine.reset(settings.seed);
        machine.origin = origin;
        Ok(machine)
    }

    /// The network.
    pub fn network(&self) -> NetworkView<'a> {
        self.learner.network()
    }

    /// The settings, with the optimiser as it is now.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Classes of the read-out.
    pub fn classes(&self) -> usize {
        self.counts.len()
    }

    /// Frames learnt from.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// The factor on all updates.
    pub fn modulator(&self) -> f32 {
        self.modulator
    }

    /// Returns the origin of the weights.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// Sets the origin of weights that were written from outside.
    pub fn set_origin(&mut self, origin: Origin) {
        self.origin = origin;
    }

    /// The layers' health.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// Updates that the guard refused, of all layers.
    pub fn refused(&self) -> u32 {
        self.learner.layers().iter().fold(0, |sum, layer| sum.saturating_add(layer.refused))
    }

    /// Draws new weights and forgets all that was learnt.
    pub fn reset(&mut self, seed: u64) {
        // Orthogonal weights: with few frames to learn from, the first weights matter more than anything else. The
        // learner has checked the length.
        let network = self.learner.network();
        let (parameters, state, layers) = self.learner.learnt_mut();
        let _ = init::orthogonal(&network, seed, parameters);
        state.fill(0.0);
        layers.fill(LayerState::NEW);
        self.forget_labels();
        self.start_over(0, Origin::Reset(seed));
    }

    /// Other weights are in place.
    fn start_over(&mut self, step: u64, origin: Origin) {
        self.learner.clear_context();
        self.health.forget();
        self.step = step;
        self.origin = origin;
    }

    /// Returns the state to save.
    pub fn contents(&self) -> Contents<'_> {
        Contents {
            step: self.step,
            parameters: self.learner.parameters(),
            state: self.learner.state(),
            layers: self.learner.layers(),
            readout: self.means,
            counts: self.counts,
        }
    }

    /// Replaces all that was learnt by what `load` reads; returns its step. State of the optimiser and read-out start
    /// again where what was saved does not fit.
    ///
    /// # Errors
    /// The error of `load`. If the error says that the buffers are not usable, call [`Machine::reset`] next.
    pub fn restore<E>(&mut self, load: impl FnOnce(&mut ContentsMut<'_>) -> Result<Loaded, E>) -> Result<u64, E> {
        let (parameters, state, layers) = self.learner.learnt_mut();
        let mut into = ContentsMut { parameters, state, layers, readout: self.means, counts: self.counts };
        let Loaded { header, fell_back: older, state: fits, read_out, .. } = load(&mut into)?;
        let step = header.step;
        if fits.is_err() {
            into.state.fill(0.0);
        }
        if read_out.is_err() {
            self.forget_labels();
        }
        let (state, read_out) = (fits.is_ok(), read_out.is_ok());
        self.start_over(
            step,
            match state && read_out {
                true => Origin::Saved { step, older },
                false => Origin::SavedInPart { step, older, state, read_out },
            },
        );
        Ok(step)
    }

    /// Forgets the read-out's classes.
    pub fn forget_labels(&mut self) {
        self.means.fill(0.0);
        self.counts.fill(0);
    }

    /// Forgets the previous frame.
    pub fn clear_context(&mut self) {
        self.learner.clear_context();
    }

    /// Sets the factor on all updates.
    ///
    /// # Errors
    /// [`Problem::NotFinite`].
    pub fn set_modulator(&mut self, modulator: f32) -> Result<(), Problem> {
        if !modulator.is_finite() {
            return Err(Problem::NotFinite);
        }
        self.modulator = modulator;
        Ok(())
    }

    /// Freezes a layer, or lets it learn.
    ///
    /// # Errors
    /// [`Problem::Layer`].
    pub fn freeze(&mut self, layer: usize, frozen: bool) -> Result<(), Problem> {
        self.learner.layers_mut().get_mut(layer).ok_or(Problem::Layer)?.frozen = frozen;
        Ok(())
    }

    /// Sets the optimiser.
    ///
    /// # Errors
    /// [`Problem::Optimizer`] if it needs another length of state, [`Problem::NotFinite`] for its numbers.
    pub fn set_optimizer(&mut self, optimizer: Optimizer) -> Result<(), Problem> {
        let numbers = match optimizer {
            Optimizer::Sgd { lr, momentum, weight_decay } => [lr, momentum, weight_decay, 0.0, 0.0],
            Optimizer::AdamW { lr, betas: [first, second], eps, weight_decay } => {
                [lr, first, second, eps, weight_decay]
            }
            Optimizer::Lars { lr, momentum, weight_decay, trust } => [lr, momentum, weight_decay, trust, 0.0],
            Optimizer::Record => return Err(Problem::Optimizer),
        };
        if !numbers.iter().all(|number| number.is_finite()) {
            return Err(Problem::NotFinite);
        }
        self.learner.set_optimizer(optimizer).map_err(|_| Problem::Optimizer)?;
        self.settings.optimizer = optimizer;
        Ok(())
    }

    /// Takes a frame from `source`, if there is one, to be learnt from by [`Machine::learn`].
    ///
    /// # Errors
    /// If the source is of no use.
    pub fn fetch(&mut self, source: &mut impl FrameSource) -> Result<Option<Arrival>, SourceError> {
        source.poll(self.frame)
    }

    /// Processes the last fetched frame: infers, learns layer by layer, and trains the read-out if the frame has a
    /// label. Calls `between` after each layer, so that other work waits at most for the largest layer.
    ///
    /// If a layer's activity is not finite, the pass ends there: the result has no layer above it and no prediction,
    /// and the read-out does not learn.
    ///
    /// # Errors
    /// If the label is not valid, or the frame is not finite: nothing changes. If the read-out refuses to learn.
    pub fn learn(&mut self, arrival: Arrival, mut between: impl FnMut()) -> Result<Observed, Problem> {
        let Arrival { phase, label } = arrival;
        if label.is_some_and(|label| usize::from(label) >= self.counts.len()) {
            return Err(Problem::Label);
        }
        self.health.begin(self.frame, phase, self.modulator);
        let pass = self.learner.begin_frame(self.frame, phase, self.modulator);
        let mut pass = pass.map_err(|_| Problem::NotFinite)?;
        while pass.step_layer(&mut self.health).is_some() {
            between();
        }
        if self.modulator != 0.0 {
            self.step += 1;
        }
        let mut prediction = None;
        if let Ok(features) = self.learner.features()
            && let Ok(mut head) = NearestMean::new(features.len(), self.means, self.counts)
        {
            prediction = head.predict(features).ok().and_then(|class| u8::try_from(class).ok());
            if let Some(label) = label {
                head.learn(features, usize::from(label)).map_err(|_| Problem::NotFinite)?;
            }
        }
        let (layers, verdict) = (self.health.news().clone(), self.health.verdict());
        Ok(Observed { step: self.step, prediction, layers, verdict })
    }

    /// Number of words of a section.
    pub fn section_len(&self, section: Section) -> usize {
        match section {
            Section::Parameters => self.learner.parameters().len(),
            Section::State => self.learner.state().len(),
            Section::Layers => 3 * self.learner.layers().len(),
            Section::Readout => self.means.len(),
            Section::Counts => self.counts.len(),
        }
    }

    /// Word `at` of a section.
    fn word(&self, section: Section, at: usize) -> Option<u32> {
        match section {
            Section::Parameters => self.learner.parameters().get(at).map(|value| value.to_bits()),
            Section::State => self.learner.state().get(at).map(|value| value.to_bits()),
            Section::Layers => self.learner.layers().get(at / 3).map(|layer| match at % 3 {
                0 => u32::from(layer.frozen),
                1 => layer.steps,
                _ => layer.refused,
            }),
            Section::Readout => self.means.get(at).map(|value| value.to_bits()),
            Section::Counts => self.counts.get(at).copied(),
        }
    }

    /// Writes words of a section from `offset` on to `bytes`, little-endian, as many as there are and fit; returns the
    /// number of bytes.
    pub fn read(&self, section: Section, offset: usize, bytes: &mut [u8]) -> usize {
        let mut written = 0;
        for (place, at) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(offset..) {
            let Some(word) = self.word(section, at) else { break };
            *place = word.to_le_bytes();
            written += 4;
        }
        written
    }

    /// Replaces words of a section by little-endian `bytes`.
    ///
    /// # Errors
    /// If the section ends before them, or a value is none that the section may hold; nothing is changed then.
    pub fn write(&mut self, section: Section, offset: usize, bytes: &[u8]) -> Result<(), Problem> {
        let (words, rest) = bytes.as_chunks::<4>();
        let end = offset.checked_add(words.len()).ok_or(Problem::Range)?;
        if !rest.is_empty() || end > self.section_len(section) {
            return Err(Problem::Range);
        }
        let words = || words.iter().map(|word| u32::from_le_bytes(*word));
        let is_finite = |word: u32| f32::from_bits(word).is_finite();
        let sound = match section {
            Section::Parameters | Section::State | Section::Readout => words().all(is_finite),
            Section::Layers => words().zip(offset..).all(|(word, at)| at % 3 != 0 || word <= 1),
            Section::Counts => true,
        };
        if !sound {
            return Err(Problem::Value);
        }
        let floats = |to: &mut [f32]| {
            for (value, word) in to.iter_mut().skip(offset).zip(words()) {
                *value = f32::from_bits(word);
            }
        };
        match section {
            Section::Parameters => {
                floats(self.learner.parameters_mut());
                self.health.forget();
            }
            Section::State => floats(self.learner.learnt_mut().1),
            Section::Readout => floats(self.means),
            Section::Layers => {
                for (word, at) in words().zip(offset..) {
                    let Some(layer) = self.learner.layers_mut().get_mut(at / 3) else { break };
                    match at % 3 {
                        0 => layer.frozen = word == 1,
                        1 => layer.steps = word,
                        _ => layer.refused = word,
                    }
                }
            }
            Section::Counts => {
                for (count, word) in self.counts.iter_mut().skip(offset).zip(words()) {
                    *count = word;
                }
            }
        }
        // The contexts of the layers above come from the old weights.
        self.learner.clear_context();
        self.origin = Origin::Host;
        Ok(())
    }
}
