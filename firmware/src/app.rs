//! The program: requests of the host and frames of the sensor, one after the other.

use crate::board::Board;
use crate::line::{Line, Standing};
use crate::machine::Machine;
use crate::saving::Saving;
use crate::source::{Arrival, LinkFrame, SourceError};
use crate::telemetry;
use clapp_core::link::{Answer, Command, Identity, Observed, Problem, Request, Status, VERSION, Verdict};

/// A board with its machine and its line.
#[derive(Debug)]
pub struct App<'a, B> {
    board: B,
    device: Device<'a>,
    line: Line<'a>,
}

/// The program without board and line.
#[derive(Debug)]
struct Device<'a> {
    machine: Machine<'a>,
    saving: Saving,
    /// Room for the words of a section.
    words: &'a mut [u8],
    /// `true` if frames are taken from the sensor.
    sensing: bool,
    sensor_errors: u32,
    /// Verdict of the last frame on the layers.
    verdict: Option<Verdict>,
    /// `true` if an automatic save is due and has not been made, since a layer has collapsed.
    waiting: bool,
}

impl<'a, B: Board> App<'a, B> {
    /// The program over a board, with the weights that were saved there, if any. `words` is room for words of a section
    /// on their way to the host.
    pub fn new(mut board: B, mut machine: Machine<'a>, line: Line<'a>, words: &'a mut [u8]) -> Self {
        let mut saving = Saving::default();
        saving.start(&mut machine, &mut board);
        telemetry::start(&machine);
        Self {
            board,
            device: Device { machine, saving, words, sensing: false, sensor_errors: 0, verdict: None, waiting: false },
            line,
        }
    }

    /// The machine.
    pub fn machine(&self) -> &Machine<'a> {
        &self.device.machine
    }

    /// The board.
    pub fn board(&mut self) -> &mut B {
        &mut self.board
    }

    /// Answers the requests received, and takes a frame from the sensor if the sensor is in use. Returns at once if
    /// there is nothing to do.
    pub fn poll(&mut self) {
        let Self { board, device, line } = self;
        let mut idle = true;
        while let Some(byte) = board.receive() {
            idle = false;
            let outcome = line.push(byte, |request, standing| device.meet(board, request, standing));
            if let Some(outcome) = outcome {
                board.send(outcome.bytes);
            }
        }
        if device.sensing {
            idle &= !device.sense(board);
        }
        if idle {
            line.wait();
            board.idle();
        }
    }
}

/// `Done`, or the problem.
fn done<'w>(result: Result<(), Problem>) -> Answer<'w> {
    result.map_or_else(Answer::Problem, |()| Answer::Done)
}

impl Device<'_> {
    /// The answer to a request that has not been met before.
    fn meet<B: Board>(&mut self, board: &mut B, request: &Request<'_>, standing: Standing) -> Answer<'_> {
        let machine = &mut self.machine;
        if standing.opens {
            machine.clear_context();
        }
        match request.command {
            Command::Hello { .. } => Answer::Hello(self.identity(B::NAME, standing.session)),
            Command::Block { layer } => match machine.network().layer(usize::from(layer)) {
                Some(layer) => Answer::Block(layer.block),
                None => Answer::Problem(Problem::Layer),
            },
            Command::Frame { phase, label, pixels } => {
                let settings = machine.settings();
                let values = [settings.scale, settings.offset];
                let mut frame = LinkFrame::new(pixels, Arrival { phase, label }, values);
                let Ok(Some(arrival)) = machine.fetch(&mut frame) else {
                    let needed = u32::try_from(machine.network().input().len()).unwrap_or(u32::MAX);
                    return Answer::Problem(Problem::Pixels { needed });
                };
                match machine.learn(arrival, || board.between_layers()) {
                    Ok(observed) => {
                        self.look_at(board, &observed);
                        Answer::Observed(observed)
                    }
                    Err(problem) => Answer::Problem(problem),
                }
            }
            Command::Modulator(modulator) => done(machine.set_modulator(modulator)),
            Command::Freeze { layer, frozen } => done(machine.freeze(usize::from(layer), frozen)),
            Command::Optimizer(optimizer) => done(machine.set_optimizer(optimizer)),
            Command::Reset { seed } => {
                machine.reset(seed);
                self.waiting = false;
                Answer::Done
            }
            Command::ForgetLabels => {
                machine.forget_labels();
                Answer::Done
            }
            Command::ClearContext => {
                machine.clear_context();
                Answer::Done
            }
            Command::Save => match self.saving.save(machine, board) {
                Ok(step) => {
                    self.waiting = false;
                    Answer::Saved { step }
                }
                Err(problem) => Answer::Problem(problem),
            },
            Command::Rollback => {
                let loaded = self.saving.load(machine, board);
                // A due save stays due if the load failed.
                self.waiting &= loaded.is_err();
                done(loaded.map(|_| ()))
            }
            Command::Sensor(on) => {
                self.sensing = on;
                Answer::Done
            }
            Command::Status => Answer::Status(Status {
                step: machine.step(),
                saved_step: self.saving.saved_step,
                refused: machine.refused(),
                dropped: standing.dropped,
                repeated: standing.repeated,
                sensor_errors: self.sensor_errors,
                erases: self.saving.erases,
                verdict: machine.health().verdict(),
                waiting: self.waiting,
            }),
            Command::Read { section, offset, count } => {
                let len = (4 * usize::from(count)).min(self.words.len());
                let room = self.words.get_mut(..len).unwrap_or_default();
                let len = machine.read(section, usize::try_from(offset).unwrap_or(usize::MAX), room);
                Answer::Words { offset, words: self.words.get(..len).unwrap_or_default() }
            }
            Command::Write { section, offset, words } => {
                done(machine.write(section, usize::try_from(offset).unwrap_or(usize::MAX), words))
            }
        }
    }

    fn identity(&self, board: &'static str, session: u32) -> Identity<'static> {
        let (network, settings) = (self.machine.network(), self.machine.settings());
        Identity {
            version: VERSION,
            session,
            commands: Command::COUNT,
            board,
            firmware: env!("CARGO_PKG_VERSION"),
            input: network.input(),
            layers: u8::try_from(network.layer_count()).unwrap_or(u8::MAX),
            rule: network.rule(),
            optimizer: settings.optimizer,
            max_update_norm: settings.max_update_norm,
            classes: u8::try_from(self.machine.classes()).unwrap_or(u8::MAX),
            scale: settings.scale,
            offset: settings.offset,
            origin: self.machine.origin(),
            step: self.machine.step(),
            modulator: self.machine.modulator(),
            most_words: u16::try_from(self.words.len() / 4).unwrap_or(u16::MAX),
        }
    }

    /// Takes a frame from the sensor; returns whether there was one.
    fn sense<B: Board>(&mut self, board: &mut B) -> bool {
        let arrival = match self.machine.fetch(board.sensor()) {
            Ok(Some(arrival)) => arrival,
            Ok(None) => return false,
            Err(error) => {
                self.sensor_errors = self.sensor_errors.saturating_add(1);
                telemetry::sensor(error);
                // A sensor that is missing or does not fit will not come to fit.
                self.sensing &= error == SourceError::Bus;
                return false;
            }
        };
        match self.machine.learn(arrival, || board.between_layers()) {
            Ok(observed) => self.look_at(board, &observed),
            Err(problem) => telemetry::frame_refused(problem),
        }
        true
    }

    /// Actions after a frame: pins, log, and periodic saves.
    fn look_at<B: Board>(&mut self, board: &mut B, observed: &Observed) {
        board.show(observed.prediction);
        telemetry::frame(&self.machine, observed);
        if observed.verdict != self.verdict {
            telemetry::verdict(observed.step, observed.verdict);
        }
        self.verdict = observed.verdict;
        let every = self.machine.settings().save_every;
        let due = every != 0 && observed.step.is_multiple_of(every) && self.saving.saved_step != Some(observed.step);
        self.waiting |= due && self.machine.modulator() != 0.0;
        // Weights that have collapsed are not worth the ones before: the save is made when the verdict ends.
        let collapsed = observed.verdict.is_some_and(|verdict| verdict.condition.is_collapse());
        if self.waiting && !collapsed {
            self.waiting = false;
            match self.saving.save(&self.machine, board) {
                Ok(step) => telemetry::saved(step),
                Err(problem) => telemetry::not_saved(problem),
            }
        }
    }
}
