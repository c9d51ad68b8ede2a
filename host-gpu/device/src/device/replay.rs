//! Replay on the host: the same frames, rule and numbers. The result is the expected state of the device.

use super::description::Description;
use clapp_core::contrast::Phase;
use clapp_core::link::pixels_to_frame;
use clapp_core::readout::NearestMean;
use clapp_data::error::Error;
use clapp_engine::checkpoint::device::DeviceState;
use clapp_engine::core_memory::CoreMemory;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

/// Events that wait for the replay; a device that is faster than that waits.
const WAITING: usize = 256;

/// An action of the host that changes the device's state.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A frame, and the device's result for it.
    Frame {
        /// Relation to the previous frame.
        phase: Phase,
        /// The class that came along.
        label: Option<u8>,
        /// `[C, H, W]`.
        pixels: Vec<u8>,
        /// The device's prediction, and the loss of each layer.
        seen: Seen,
    },
    /// Another factor on all updates.
    Modulator(f32),
    /// The previous frame was forgotten.
    ClearContext,
    /// The read-out was forgotten.
    ForgetLabels,
}

/// The compared part of a device's result for a frame.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Seen {
    /// Predicted class.
    pub prediction: Option<u8>,
    /// Loss of each layer.
    pub losses: Vec<f32>,
}

/// Result of a replay.
#[derive(Debug, Clone, PartialEq)]
pub struct Replayed {
    /// Expected state of the device.
    pub held: DeviceState,
    /// Frames that were replayed.
    pub frames: u64,
    /// The first frame, counted from 1, of which the device made something else.
    pub first_difference: Option<u64>,
}

/// A replay that runs beside the device, in a separate thread.
#[derive(Debug)]
pub struct Replay {
    events: SyncSender<Event>,
    thread: JoinHandle<Result<Replayed, String>>,
}

impl Replay {
    /// Starts from the device's state at the start of a session.
    ///
    /// # Errors
    /// [`Error::File`] if the system has no thread to give.
    pub fn start(device: &Description, start: DeviceState) -> Result<Self, Error> {
        let (events, received) = sync_channel(WAITING);
        let device = device.clone();
        let thread = std::thread::Builder::new().name("replay".into());
        let thread = thread.spawn(move || replay(&device, start, received));
        let thread = thread.map_err(Error::file("start", std::path::Path::new("a thread for the replay")))?;
        Ok(Self { events, thread })
    }

    /// Adds an event to the log.
    pub fn log(&self, event: Event) {
        // If the replay has ended, `finish` reports the reason.
        let _ = self.events.send(event);
    }

    /// Waits for the last event.
    ///
    /// # Errors
    /// [`Error::Config`] if the replay could not continue.
    pub fn finish(self) -> Result<Replayed, Error> {
        drop(self.events);
        let failed = |message: String| Error::Config { origin: "replay".into(), message };
        match self.thread.join() {
            Ok(replayed) => replayed.map_err(failed),
            Err(_) => Err(failed("its thread ended early; this is a bug of the replay".into())),
        }
    }
}

/// Replays `events` from `start` on.
///
/// # Errors
/// If an event is none that a device with this description would have taken.
pub fn replay(
    device: &Description,
    start: DeviceState,
    events: impl IntoIterator<Item = Event>,
) -> Result<Replayed, String> {
    let DeviceState { mut step, parameters, state, layers, mut readout, mut counts } = start;
    let mut memory = CoreMemory::holding(&device.spec, parameters, state, layers);
    let mut frame = vec![0.0; device.spec.input().len()];
    let (mut frames, mut first_difference, mut modulator) = (0, None, device.modulator);
    let wrong = |error: &dyn std::fmt::Display| error.to_string();
    let mut learner = memory.learner(&device.spec, device.optimizer).map_err(|error| wrong(&error))?;
    learner.set_guard(device.guard);
    for event in events {
        match event {
            Event::Modulator(value) => modulator = value,
            Event::ClearContext => learner.clear_context(),
            Event::ForgetLabels => {
                readout.fill(0.0);
                counts.fill(0);
            }
            Event::Frame { phase, label, pixels, seen } => {
                pixels_to_frame(&pixels, device.scale, device.offset, &mut frame);
                let mut own = Seen::default();
                learner.observe(&frame, phase, modulator, &mut Losses(&mut own.losses)).map_err(|e| wrong(&e))?;
                if modulator != 0.0 {
                    step += 1;
                }
                // A device without classes has no read-out; a frame that was not sound has no features.
                if let Ok(features) = learner.features()
                    && let Ok(mut head) = NearestMean::new(features.len(), &mut readout, &mut counts)
                {
                    own.prediction = head.predict(features).ok().and_then(|class| u8::try_from(class).ok());
                    if let Some(label) = label {
                        head.learn(features, label.into()).map_err(|error| wrong(&error))?;
                    }
                }
                frames += 1;
                if first_difference.is_none() && !own.same(&seen) {
                    first_difference = Some(frames);
                }
            }
        }
    }
    let CoreMemory { parameters, state, layers, .. } = memory;
    Ok(Replayed { held: DeviceState { step, parameters, state, layers, readout, counts }, frames, first_difference })
}

impl Seen {
    /// Returns `true` if two devices made the same of a frame, to the bit.
    fn same(&self, other: &Self) -> bool {
        let bits = |seen: &Self| seen.losses.iter().map(|loss| loss.to_bits()).collect::<Vec<_>>();
        self.prediction == other.prediction && bits(self) == bits(other)
    }
}

/// Keeps the loss of each layer that a device reports on.
struct Losses<'a>(&'a mut Vec<f32>);

impl clapp_core::observer::Observer for Losses<'_> {
    fn report(&mut self, report: &clapp_core::observer::LayerReport) {
        if self.0.len() < clapp_core::link::MOST_LAYERS {
            self.0.push(report.loss);
        }
    }
}
