//! Long streams of pictures: a device reports a collapse if a layer has collapsed, and at no other time. Also tests its
//! saves during a collapse.
#![allow(clippy::unwrap_used, reason = "a failure is the end of a test")]

mod queues;

use clapp_core::contrast::Phase;
use clapp_core::link::{
    Answer, Command, Direction, Observed, Receiver, Reply, Request, Status, VERSION, Verdict, encode,
};
use clapp_core::network::{Block, LossPool, Network, Rule};
use clapp_core::optimizer::Optimizer;
use clapp_core::rng::{Rng, stream};
use clapp_core::shape::Shape;
use clapp_firmware::app::App;
use clapp_firmware::health::Condition;
use clapp_firmware::line::Line;
use clapp_firmware::machine::{Machine, Memory, Settings};
use clapp_firmware::memory_of;
use clapp_firmware::source::{Arrival, LinkFrame};
use queues::{Queues, RamFlash};
use std::f32::consts::TAU;

const SIZE: usize = 16;
const PIXELS: usize = SIZE * SIZE;

/// The firmware's network and rule for frames of a quarter of the size, so that many streams take seconds.
const NETWORK: Network<3> = Network::new(
    Shape::new(1, SIZE, SIZE),
    [
        Block::conv(8, [3, 3]).padding([1, 1]).max_pool([2, 2]).loss_pool(LossPool::Block([2, 2])),
        Block::conv(16, [3, 3]).padding([1, 1]).max_pool([2, 2]).loss_pool(LossPool::Block([2, 2])),
        Block::conv(16, [3, 3]).padding([1, 1]).max_pool([2, 2]).loss_pool(LossPool::Block([2, 2])),
    ],
    Rule::clapp_pp_dfb(),
);
static VIEW: Network<3> = NETWORK;
const RATE: f32 = 0.01;
const OPTIMIZER: Optimizer = Optimizer::sgd(RATE);
const CLASSES: usize = 10;
const SETTINGS: Settings =
    Settings { seed: 1, optimizer: OPTIMIZER, max_update_norm: Some(4.0), scale: 0.03, offset: -3.84, save_every: 50 };

fn machine(settings: Settings) -> Machine<'static> {
    let learner: &'static mut memory_of!(NETWORK, OPTIMIZER) = Box::leak(Box::new(clapp_firmware::memory::Memory::NEW));
    let (frame, buffers) = learner.buffers();
    let means = vec![0.0; CLASSES * NETWORK.view().feature_len()].leak();
    let counts = vec![0; CLASSES].leak();
    Machine::new(VIEW.view(), settings, Memory { buffers, frame, means, counts }).unwrap()
}

/// A picture with the statistics of natural ones: waves in all directions whose amplitude falls with their frequency, and an
/// edge; of the mean and the contrast (in deviations) of the host's frames.
fn picture(rng: &mut Rng, contrast: f32) -> Vec<u8> {
    let mut values = [0.0_f32; PIXELS];
    for _ in 0..10 {
        let frequency = rng.uniform(0.3, 4.0);
        let [x, y] = [rng.uniform(-1.0, 1.0), rng.uniform(-1.0, 1.0)].map(|part| part * frequency * TAU / SIZE as f32);
        let (phase, amplitude) = (rng.uniform(0.0, TAU), 1.0 / frequency);
        for (at, value) in values.iter_mut().enumerate() {
            *value += amplitude * (x * (at % SIZE) as f32 + y * (at / SIZE) as f32 + phase).cos();
        }
    }
    let (edge, step) = (rng.below(SIZE as u32) as usize, rng.uniform(-1.0, 1.0));
    values.iter_mut().enumerate().filter(|(at, _)| at % SIZE > edge).for_each(|(_, value)| *value += step);
    let mean = values.iter().sum::<f32>() / PIXELS as f32;
    let deviation = (values.iter().map(|value| (value - mean).powi(2)).sum::<f32>() / PIXELS as f32).sqrt();
    // The cast keeps to bytes.
    values.iter().map(|value| (128.0 + 50.0 * contrast * (value - mean) / deviation).round() as u8).collect()
}

/// Another view of a picture: moved by up to two pixels, perhaps mirrored.
fn view(picture: &[u8], rng: &mut Rng) -> Vec<u8> {
    let ([x, y], mirrored) = ([0; 2].map(|_: i32| rng.below(5) as i32 - 2), rng.below(2) == 1);
    let last = SIZE as i32 - 1;
    let from = |at: usize| {
        let (column, row) = ((at % SIZE) as i32, (at / SIZE) as i32);
        let column = if mirrored { last - column } else { column };
        picture[((row + y).clamp(0, last) * SIZE as i32 + (column + x).clamp(0, last)) as usize]
    };
    (0..PIXELS).map(from).collect()
}

/// A device and its stream.
struct Stream {
    machine: Machine<'static>,
    rng: Rng,
    pictures: Vec<Vec<u8>>,
    picture: Vec<u8>,
    /// Frames shown, and those since the last saccade.
    frames: u64,
    since: u64,
    found: Vec<(u64, Verdict)>,
}

impl Stream {
    fn new(seed: u64) -> Self {
        let machine = machine(Settings { seed, ..SETTINGS });
        let mut rng = stream(seed, 1);
        let pictures = (0..300).map(|_| picture(&mut rng, 1.0)).collect();
        Self { machine, rng, pictures, picture: Vec::new(), frames: 0, since: 0, found: Vec::new() }
    }

    fn show(&mut self, phase: Phase, pixels: &[u8]) -> Observed {
        let mut frame = LinkFrame::new(pixels, Arrival { phase, label: None }, [SETTINGS.scale, SETTINGS.offset]);
        let arrival = self.machine.fetch(&mut frame).unwrap().unwrap();
        let observed = self.machine.learn(arrival, || ()).unwrap();
        self.frames += 1;
        if let Some(verdict) = observed.verdict {
            self.found.push((self.frames, verdict));
        }
        observed
    }

    /// Frames of new pictures, so many of each.
    fn pictures(&mut self, count: u64, fixation: u64) {
        self.since = 0;
        for _ in 0..count {
            let phase = if self.since.is_multiple_of(fixation) { Phase::Saccade } else { Phase::Fixation };
            if phase == Phase::Saccade {
                self.picture = self.pictures[self.rng.below(300) as usize].clone();
            }
            self.since += 1;
            let pixels = view(&self.picture.clone(), &mut self.rng);
            self.show(phase, &pixels);
        }
    }

    /// The same frame again and again.
    fn same(&mut self, count: u64, pixels: &[u8], phases: [Phase; 2]) {
        (0..count).for_each(|at| drop(self.show(phases[at as usize % 2], pixels)));
    }

    fn rate(&mut self, rate: f32) {
        self.machine.set_optimizer(Optimizer::sgd(rate)).unwrap();
    }

    fn mute(&mut self, muted: bool) {
        self.machine.set_modulator(if muted { 0.0 } else { 1.0 }).unwrap();
    }

    /// Returns the verdicts on layers, without those about still frames.
    fn collapses(&self) -> Vec<(u64, Verdict)> {
        self.found.iter().copied().filter(|(_, verdict)| verdict.condition != Condition::Still).collect()
    }
}

const SEEDS: u64 = 10;
const BOTH: [Phase; 2] = [Phase::Saccade, Phase::Fixation];

/// 4,000 frames each, none of which is learnt from: muted, at a rate of 0, and with all layers frozen.
#[test]
fn what_does_not_learn_never_collapses() {
    for seed in 0..SEEDS {
        let mut stream = Stream::new(seed);
        stream.mute(true);
        stream.pictures(4000, 1);
        assert_eq!(stream.found, [], "seed {seed}");
        stream.mute(false);
        stream.rate(0.0);
        stream.pictures(500, 2);
        stream.rate(RATE);
        (0..3).for_each(|layer| stream.machine.freeze(layer, true).unwrap());
        stream.pictures(500, 1);
        for pixels in [[0; PIXELS], [128; PIXELS], [255; PIXELS]] {
            stream.mute(true);
            stream.same(200, &pixels, [Phase::Saccade; 2]);
            stream.mute(false);
        }
        assert_eq!(stream.found, [], "seed {seed}");
    }
}

/// 4,000 frames each, learnt from, at rates from next to nothing to fast, and with glances from one frame to many.
#[test]
fn streams_of_all_kinds_raise_no_alarm() {
    for seed in 0..SEEDS {
        let (rate, fixation) = [(RATE, 1), (RATE, 2), (1e-9, 1), (1e-9, 10), (3.0 * RATE, 2)][seed as usize % 5];
        let mut stream = Stream::new(seed);
        stream.rate(rate);
        stream.pictures(4000, fixation);
        assert_eq!(stream.found, [], "seed {seed}, rate {rate}, {fixation} frames of a picture");
    }
}

/// Modes by turns: lessons and tests, glances of other lengths, a frozen layer, a sensor that is off or stuck.
#[test]
fn changes_of_mode_raise_no_alarm() {
    for seed in 0..3 {
        let mut stream = Stream::new(seed);
        stream.mute(true);
        stream.pictures(200, 1);
        for turn in 0..3 {
            stream.mute(false);
            stream.pictures(400, 2);
            stream.mute(true);
            stream.pictures(200, 1);
            stream.same(100, &[128; PIXELS], [Phase::Saccade; 2]);
            stream.mute(false);
            stream.pictures(200, 10);
            stream.machine.freeze(turn, true).unwrap();
            stream.pictures(200, 1);
            stream.machine.freeze(turn, false).unwrap();
        }
        assert_eq!(stream.found, [], "seed {seed}");
        let stuck = stream.picture.clone();
        for pixels in [vec![0; PIXELS], vec![255; PIXELS], stuck] {
            stream.same(350, &pixels, BOTH);
            stream.pictures(150, 2);
        }
        assert_eq!(stream.collapses(), [], "seed {seed}");
        assert!(!stream.found.is_empty(), "a stuck sensor is not named");
        stream.pictures(100, 2);
        assert_eq!(stream.machine.health().verdict(), None, "seed {seed}");
    }
}

/// The other way round: a rate that is far too high is seen, soon, whether the guard takes part or not.
#[test]
fn a_layer_that_learns_too_fast_is_named() {
    for (cap, rate) in [(Some(4.0), 1e4), (None, 3.0), (None, 100.0)] {
        let mut stream = Stream::new(7);
        stream.machine = machine(Settings { max_update_norm: cap, ..SETTINGS });
        stream.pictures(400, 2);
        assert_eq!(stream.found, [], "{rate}");
        stream.rate(rate);
        stream.pictures(300, 2);
        let found = stream.found.first().copied();
        println!("rate {rate} with a cap of {cap:?}: {found:?}");
        assert!(found.is_some_and(|(frame, verdict)| {
            frame < 600
                && (verdict.condition.is_collapse() || (cap.is_some() && verdict.condition == Condition::Refused))
        }));
    }
}

/// The whole program, over a line that works.
struct Host {
    app: App<'static, Queues>,
    session: u32,
    id: u32,
}

impl Host {
    /// A device whose first weights score saccades high.
    fn new() -> Self {
        let line = Line::new(vec![0; 2048].leak(), vec![0; 4096].leak());
        let board = Queues { flash: Some(RamFlash::new()), ..Queues::default() };
        let app = App::new(board, machine(Settings { seed: 6, ..SETTINGS }), line, vec![0; 512].leak());
        let mut host = Self { app, session: 5, id: 0 };
        host.session = host.ask(Command::Hello { version: VERSION }, |answer| match answer {
            Answer::Hello(identity) => identity.session,
            other => unreachable!("{other:?}"),
        });
        host
    }

    fn ask<T>(&mut self, command: Command<'_>, see: impl Fn(&Answer<'_>) -> T) -> T {
        self.id += 1;
        let mut buffer = vec![0; 4096];
        let request = Request { session: self.session, id: self.id, command };
        let len = encode(&request, Direction::ToDevice, &mut buffer).unwrap();
        self.app.board().to_device.extend(&buffer[..len]);
        self.app.poll();
        let sent = std::mem::take(&mut self.app.board().to_host);
        let mut receiver = Receiver::new(&mut buffer, Direction::ToHost);
        let len = sent.into_iter().find_map(|byte| receiver.push(byte)).unwrap();
        see(&receiver.packet::<Reply<'_>>(len).unwrap().answer)
    }

    /// Shows saccades of a contrast.
    fn show(&mut self, rng: &mut Rng, count: usize, contrast: f32) {
        for _ in 0..count {
            let pixels = picture(rng, contrast);
            let command = Command::Frame { phase: Phase::Saccade, label: None, pixels: &pixels };
            self.ask(command, |answer| assert!(matches!(answer, Answer::Observed(_)), "{answer:?}"));
        }
    }

    fn status(&mut self) -> Status {
        self.ask(Command::Status, |answer| match answer {
            Answer::Status(status) => *status,
            other => unreachable!("{other:?}"),
        })
    }
}

/// While a layer has collapsed, the earlier save stays. A due save happens when the verdict ends. A host can save at
/// any time.
#[test]
fn a_collapse_holds_saves_back_for_as_long_as_it_lasts() {
    let (mut host, mut rng) = (Host::new(), stream(8, 0));
    // Pictures of almost no contrast and a learning rate near zero; then normal light again.
    host.ask(Command::Optimizer(Optimizer::sgd(1e-7)), |answer| assert_eq!(*answer, Answer::Done));
    host.show(&mut rng, 140, 0.2);
    assert_eq!((host.status().saved_step, host.status().waiting), (Some(100), false));
    host.show(&mut rng, 130, 1.0);
    let status = host.status();
    assert!(status.verdict.is_some_and(|verdict| verdict.condition == Condition::Diverging), "{status:?}");
    // Saves at 150, perhaps, and not at 200 and 250.
    assert!(status.saved_step.is_some_and(|step| step <= 150) && status.waiting, "{status:?}");
    host.ask(Command::Save, |answer| assert_eq!(*answer, Answer::Saved { step: 270 }));
    assert!(!host.status().waiting);
    host.show(&mut rng, 35, 1.0);
    assert_eq!((host.status().saved_step, host.status().waiting), (Some(270), true));
    // The light goes off again.
    let until = (306..600).find(|_| {
        host.show(&mut rng, 1, 0.2);
        host.status().verdict.is_none()
    });
    assert!(until.is_some_and(|until| until < 500), "{until:?}");
    let status = host.status();
    assert_eq!((status.saved_step, status.waiting), (until, false));
}
