//! The same stream on a device at the other end of a line, beside a student on the host: both must come to the same, to the
//! last bit.

use super::Model;
use super::metrics::Matrix;
use super::stream::{Glance, Stage, Stream};
use super::student::{Method, Student, memory};
use clapp_core::contrast::Phase;
use clapp_core::link::{Answer, Command};
use clapp_data::error::Error;
use clapp_device::device::client::Client;
use clapp_device::device::description::Description;
use clapp_device::device::held;
use clapp_engine::checkpoint::device::DeviceState;

/// Results of one stream on a device and on the host.
#[derive(Debug, Clone, PartialEq)]
pub struct Compared {
    /// Accuracies of the device's read-out and of the host's, on the stages seen until then.
    pub matrices: [Matrix; 2],
    /// Frames that the device was shown, those of tests included.
    pub frames: u64,
    /// State of the device at the end.
    pub held: DeviceState,
    /// Predictions, weights and read-outs that are not the same, in words; empty where all are.
    pub differences: Vec<String>,
}

/// The device and the student, side by side.
struct Pair<'c, 'b, 'a> {
    client: &'c mut Client<'b>,
    student: Student<'a>,
    frames: u64,
    tested: u64,
    /// The first test, counted from 1, on which they did not agree.
    first_difference: Option<u64>,
}

/// Shows a stream to a device, frame by frame, with the labels for its read-out, and to a student who begins with what
/// the device holds. After each stage both are tested on all that was seen. The device's read-out is forgotten first; its
/// layers learn while a stage is shown and not while they are tested.
///
/// # Errors
/// Same as [`Client::ask`]; [`Error::Config`] if the device has too few classes.
pub fn compare(client: &mut Client<'_>, device: &Description, stream: &Stream) -> Result<Compared, Error> {
    let most = stream.stages.iter().flat_map(|stage| &stage.test).map(|example| example.class).max();
    if most.is_some_and(|most| usize::from(most) >= device.classes) {
        let message = format!("has more classes than the device's read-out, which has {}", device.classes);
        return Err(Error::Config { origin: "stream".into(), message });
    }
    let model = Model::of(device);
    let start = held::read(client, device)?;
    let mut memory = memory(&model, &start.parameters);
    let glance = stream.stages.iter().find_map(|stage| stage.glances.first());
    let fixation = glance.map_or(1, |glance| glance.frames.len());
    let mut student = Student::new(&model, &mut memory, Method::Stream, fixation, 0)?;
    student.restore(&start);
    let mut pair = Pair { client, student, frames: 0, tested: 0, first_difference: None };
    let matrices = pair.attend(stream);
    if !matches!(matrices, Err(Error::Device { .. })) {
        // Whatever else has gone wrong, the device is not left muted.
        pair.client.keep_on();
        pair.client.tell(Command::Modulator(1.0))?;
    }
    let matrices = matrices?;
    let Pair { student, frames, tested, first_difference, .. } = pair;
    let host = student.held(start.step);
    let held = held::read(client, device)?;
    let mut differences = held::differences(&host, &held);
    if let Some(first) = first_difference {
        differences.insert(0, format!("predictions differ from test image {first} of {tested} on"));
    }
    Ok(Compared { matrices, frames, held, differences })
}

impl Pair<'_, '_, '_> {
    fn attend(&mut self, stream: &Stream) -> Result<[Matrix; 2], Error> {
        self.client.tell(Command::ForgetLabels)?;
        let mut matrices = [(); 2].map(|()| Matrix::new(stream.stages.len()));
        for (after, stage) in stream.stages.iter().enumerate() {
            self.client.tell(Command::Modulator(1.0))?;
            self.client.tell(Command::ClearContext)?;
            self.student.begin();
            for glance in &stage.glances {
                self.see(glance)?;
            }
            self.client.tell(Command::Modulator(0.0))?;
            for (on, seen) in stream.stages[..=after].iter().enumerate() {
                let shares = self.test(seen)?;
                for (matrix, share) in matrices.iter_mut().zip(shares) {
                    matrix.set(after, on, share);
                }
            }
        }
        self.client.tell(Command::ClearContext)?;
        Ok(matrices)
    }

    fn see(&mut self, glance: &Glance) -> Result<(), Error> {
        for (at, pixels) in glance.frames.iter().enumerate() {
            let phase = if at == 0 { Phase::Saccade } else { Phase::Fixation };
            self.show(phase, glance.label, pixels)?;
        }
        self.student.see(glance)
    }

    /// The share of right predictions of the device, and of the host.
    fn test(&mut self, stage: &Stage) -> Result<[f64; 2], Error> {
        let mut right = [0_u32; 2];
        for example in &stage.test {
            let device = self.show(Phase::Saccade, None, &example.frame)?.map(usize::from);
            let [host, _] = self.student.predict(&example.frame)?;
            self.tested += 1;
            if device != host {
                self.first_difference.get_or_insert(self.tested);
            }
            for (right, prediction) in right.iter_mut().zip([device, host]) {
                *right += u32::from(prediction == Some(usize::from(example.class)));
            }
        }
        Ok(right.map(|right| f64::from(right) / stage.test.len().max(1) as f64))
    }

    /// Shows the device a frame; gives its prediction.
    fn show(&mut self, phase: Phase, label: Option<u8>, pixels: &[u8]) -> Result<Option<u8>, Error> {
        if self.client.stopping() {
            return Err(Error::Stopped);
        }
        self.frames += 1;
        self.client.ask(Command::Frame { phase, label, pixels }, |answer| match answer {
            Answer::Observed(observed) => Some(observed.prediction),
            _ => None,
        })
    }
}
