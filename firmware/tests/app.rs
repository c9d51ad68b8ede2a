//! The whole program on a board made of two queues, as seen by a host.
#![allow(clippy::unwrap_used, reason = "a failure is the end of a test")]

mod queues;

use clapp_core::checkpoint::{Contents, ContentsMut, architecture};
use clapp_core::contrast::Phase;
use clapp_core::guard::Guard;
use clapp_core::init;
use clapp_core::learner::{Buffers, LayerState, Learner};
use clapp_core::link::{
    Answer, Command, Direction, Origin, Problem, Receiver, Reply, Request, Section, Update, VERSION, encode,
    pixels_to_frame,
};
use clapp_core::optimizer::Optimizer;
use clapp_core::readout::NearestMean;
use clapp_core::rng::{Rng, stream};
use clapp_core::storage::Store;
use clapp_firmware::app::App;
use clapp_firmware::model::{CLASSES, MOST_WORDS, NETWORK, SETTINGS, Statics};
use clapp_firmware::saving::Saving;
use embedded_storage::nor_flash::NorFlash;
use queues::{Queues, RamFlash};

/// A device and the host's side of the line.
struct Host {
    app: App<'static, Queues>,
    session: u32,
    id: u32,
}

impl Host {
    fn new() -> Self {
        Self::with_flash(None)
    }

    fn with_flash(flash: Option<RamFlash>) -> Self {
        let statics: &'static mut Statics = Box::leak(Box::new(Statics::new()));
        let (machine, line, words) = statics.parts().unwrap();
        let board = Queues { flash, ..Queues::default() };
        Self { app: App::new(board, machine, line, words), session: 77, id: 0 }
    }

    /// Sends bytes as they are and returns the replies.
    fn send<T>(&mut self, bytes: &[u8], see: impl Fn(&Reply<'_>) -> T) -> Vec<T> {
        self.app.board().to_device.extend(bytes);
        self.app.poll();
        let sent = std::mem::take(&mut self.app.board().to_host);
        let mut buffer = vec![0; 4096];
        let mut receiver = Receiver::new(&mut buffer, Direction::ToHost);
        let mut seen = Vec::new();
        for byte in sent {
            if let Some(len) = receiver.push(byte) {
                seen.push(see(&receiver.packet::<Reply<'_>>(len).unwrap()));
            }
        }
        assert_eq!(receiver.dropped(), 0);
        seen
    }

    /// Bytes of a packet of any version.
    fn packet(&self, packet: &impl serde::Serialize) -> Vec<u8> {
        let mut buffer = vec![0; 4096];
        let len = encode(packet, Direction::ToDevice, &mut buffer).unwrap();
        buffer.truncate(len);
        buffer
    }

    fn encoded(&self, command: Command<'_>) -> Vec<u8> {
        self.packet(&Request { session: self.session, id: self.id, command })
    }

    /// Asks, and shows the answer to `see`.
    fn ask<T>(&mut self, command: Command<'_>, see: impl Fn(&Answer<'_>) -> T) -> T {
        self.id += 1;
        let (bytes, session, id) = (self.encoded(command), self.session, self.id);
        let mut seen = self.send(&bytes, |reply| {
            assert_eq!((reply.session, reply.id), (session, id));
            see(&reply.answer)
        });
        assert_eq!(seen.len(), 1);
        seen.remove(0)
    }

    /// Asks for a session, and goes on in it.
    fn hello(&mut self) {
        self.session = self.ask(Command::Hello { version: VERSION }, |answer| match answer {
            Answer::Hello(identity) => identity.session,
            other => unreachable!("{other:?}"),
        });
    }

    fn done(&mut self, command: Command<'_>) {
        self.ask(command, |answer| assert_eq!(*answer, Answer::Done));
    }

    fn problem(&mut self, command: Command<'_>) -> Problem {
        self.ask(command, |answer| match answer {
            Answer::Problem(problem) => *problem,
            other => unreachable!("{other:?}"),
        })
    }

    /// All words of a section.
    fn words(&mut self, section: Section) -> Vec<u32> {
        let mut all = Vec::new();
        loop {
            let offset = all.len() as u32;
            let command = Command::Read { section, offset, count: u16::MAX };
            let more = self.ask(command, |answer| match answer {
                Answer::Words { offset: at, words } => {
                    assert_eq!(*at, offset);
                    words.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect::<Vec<_>>()
                }
                other => unreachable!("{other:?}"),
            });
            if more.is_empty() {
                return all;
            }
            all.extend(more);
        }
    }
}

/// Noise of the mean and the contrast that the host gives to its pictures; the cast saturates.
fn pixels(rng: &mut Rng) -> Vec<u8> {
    (0..NETWORK.view().input().len()).map(|_| (128.0 + 50.0 * rng.normal()) as u8).collect()
}

/// A phase and a label by turns.
fn script(at: usize) -> (Phase, Option<u8>) {
    let phase = if at.is_multiple_of(2) { Phase::Saccade } else { Phase::Fixation };
    (phase, at.is_multiple_of(5).then_some((at % CLASSES) as u8))
}

/// The same frames through `clapp-core` alone.
fn replay(frames: &[Vec<u8>]) -> (Vec<u32>, Vec<u32>, Vec<Option<u8>>) {
    let view = NETWORK.view();
    let mut parameters = vec![0.0; view.parameter_len()];
    init::orthogonal(&view, SETTINGS.seed, &mut parameters).unwrap();
    let mut state = vec![0.0; SETTINGS.optimizer.state_len(&view)];
    let (mut contexts, mut layers) = (vec![0.0; view.context_len()], vec![LayerState::NEW; view.layer_count()]);
    let (mut workspace, mut argmax) = (vec![0.0; view.stream_len()], vec![0; view.argmax_len()]);
    let buffers = Buffers {
        parameters: &mut parameters,
        state: &mut state,
        contexts: &mut contexts,
        layers: &mut layers,
        workspace: &mut workspace,
        argmax: &mut argmax,
    };
    let guard = Guard { max_update_norm: SETTINGS.max_update_norm };
    let mut learner = Learner::new(view, SETTINGS.optimizer, guard, buffers).unwrap();
    let (mut means, mut counts) = (vec![0.0; CLASSES * view.feature_len()], [0; CLASSES]);
    let mut predictions = Vec::new();
    let mut frame = vec![0.0; view.input().len()];
    for (at, pixels) in frames.iter().enumerate() {
        let (phase, label) = script(at);
        pixels_to_frame(pixels, SETTINGS.scale, SETTINGS.offset, &mut frame);
        learner.observe(&frame, phase, 1.0, &mut ()).unwrap();
        let mut head = NearestMean::new(view.feature_len(), &mut means, &mut counts).unwrap();
        predictions.push(head.predict(learner.features().unwrap()).ok().map(|class| class as u8));
        if let Some(label) = label {
            head.learn(learner.features().unwrap(), usize::from(label)).unwrap();
        }
    }
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect();
    (bits(learner.parameters()), bits(&means), predictions)
}

#[test]
fn the_device_learns_what_the_rules_say_to_the_last_bit() {
    let (mut host, mut rng) = (Host::new(), stream(5, 0));
    host.hello();
    let frames: Vec<_> = (0..40).map(|_| pixels(&mut rng)).collect();
    let mut predictions = Vec::new();
    for (at, pixels) in frames.iter().enumerate() {
        let (phase, label) = script(at);
        let observed = host.ask(Command::Frame { phase, label, pixels }, |answer| match answer {
            Answer::Observed(observed) => observed.clone(),
            other => unreachable!("{other:?}"),
        });
        assert_eq!((observed.step, observed.layers.len()), (at as u64 + 1, NETWORK.view().layer_count()));
        let update = if at == 0 { Update::NoContext } else { Update::Applied };
        assert!(observed.layers.iter().all(|layer| layer.update == update && layer.loss.is_finite()));
        predictions.push(observed.prediction);
    }
    let (parameters, means, expected) = replay(&frames);
    assert_eq!(host.words(Section::Parameters), parameters);
    assert_eq!(host.words(Section::Readout), means);
    assert_eq!(predictions, expected);
    assert_eq!(host.app.board().shown, predictions);
    assert_eq!(host.words(Section::Counts).iter().sum::<u32>(), 8);
    assert_eq!(host.words(Section::Layers).chunks(3).map(|layer| layer[1]).collect::<Vec<_>>(), [39; 3]);
}

#[test]
fn a_request_that_comes_again_is_answered_again_and_not_met_again() {
    let (mut host, mut rng) = (Host::new(), stream(6, 0));
    host.hello();
    for turn in 1..20 {
        host.id += 1;
        let pixels = pixels(&mut rng);
        let bytes = host.encoded(Command::Frame { phase: Phase::Fixation, label: None, pixels: &pixels });
        let noise: Vec<u8> = (0..turn).map(|_| rng.below(256) as u8).collect();
        let torn = [&bytes[..bytes.len() / 2], &noise, &bytes, &bytes].concat();
        let replies = host.send(&torn, |reply| match &reply.answer {
            Answer::Observed(observed) => (reply.id, observed.clone()),
            other => unreachable!("{other:?}"),
        });
        assert_eq!(replies.len(), 2);
        assert_eq!(replies[0], replies[1]);
        assert_eq!(replies[0].1.step, turn as u64);
    }
    host.ask(Command::Status, |answer| match answer {
        Answer::Status(status) => assert_eq!((status.step, status.repeated), (19, 19)),
        other => unreachable!("{other:?}"),
    });
}

#[test]
fn a_restart_is_noticed_and_another_version_is_refused() {
    let mut host = Host::new();
    assert_eq!(host.problem(Command::Status), Problem::NoSession);
    assert_eq!(host.problem(Command::Hello { version: VERSION + 1 }), Problem::Version { device: VERSION });
    host.hello();
    host.done(Command::ClearContext);
    // Another host's requests do not spoil the reply that is kept, whatever their version.
    let again = host.encoded(Command::ClearContext);
    let stranger = |command| Host { session: 78, ..Host::new() }.encoded(command);
    let strangers = [Command::Hello { version: VERSION + 1 }, Command::Hello { version: VERSION }, Command::Status];
    let bytes = [strangers.map(stranger).concat(), again].concat();
    let replies = host.send(&bytes, |reply| match &reply.answer {
        Answer::Problem(problem) => Some(*problem),
        Answer::Hello(_) => None,
        answer => {
            assert_eq!(answer, &Answer::Done);
            Some(Problem::Empty)
        }
    });
    let version = Problem::Version { device: VERSION };
    assert_eq!(replies, [Some(version), None, Some(Problem::NoSession), Some(Problem::Empty)]);
    // And the session goes on.
    host.done(Command::ClearContext);
}

/// A message of a later version: only the common first part of a request can be read.
#[test]
fn what_the_device_does_not_know_is_answered() {
    let (mut host, mut rng) = (Host::new(), stream(10, 0));
    host.hello();
    host.done(Command::Modulator(1.0));
    let pixels = pixels(&mut rng);
    let problem = |reply: &Reply<'_>| match &reply.answer {
        Answer::Problem(problem) => (reply.session, reply.id, *problem),
        other => unreachable!("{other:?}"),
    };
    let before = host.words(Section::Parameters);
    for command in [u32::from(Command::COUNT), 200, u32::MAX] {
        host.id += 1;
        // A signal: a phase, 24-bit samples of two channels.
        let signal = host.packet(&(host.session, host.id, command, (1_u8, 2_u16, &pixels[..600])));
        for _ in 0..2 {
            assert_eq!(host.send(&signal, problem), [(host.session, host.id, Problem::Unknown { command })]);
        }
        host.done(Command::Modulator(1.0));
    }
    // A frame with something behind it, and one that ends early.
    for malformed in [
        host.packet(&(host.session, host.id, 2_u32, 0_u32, None::<u8>, &pixels[..], 7_u8)),
        host.packet(&(host.session, host.id, 2_u32, 0_u32)),
    ] {
        assert_eq!(host.send(&malformed, problem), [(host.session, host.id, Problem::Malformed)]);
    }
    assert_eq!(host.words(Section::Parameters), before);
    host.ask(Command::Frame { phase: Phase::Saccade, label: None, pixels: &pixels }, |answer| {
        assert!(matches!(answer, Answer::Observed(observed) if observed.step == 1), "{answer:?}");
    });
}

#[test]
fn what_is_refused_changes_nothing() {
    let (mut host, mut rng) = (Host::new(), stream(7, 0));
    host.hello();
    let pixels = pixels(&mut rng);
    host.ask(Command::Frame { phase: Phase::Saccade, label: Some(1), pixels: &pixels }, |_| ());
    let sections = [Section::Parameters, Section::State, Section::Layers, Section::Readout, Section::Counts];
    let before = sections.map(|section| host.words(section));
    let frame = |pixels, label| Command::Frame { phase: Phase::Fixation, label, pixels };
    let needed = NETWORK.view().input().len() as u32;
    assert_eq!(host.problem(frame(&pixels[1..], None)), Problem::Pixels { needed });
    assert_eq!(host.problem(frame(&pixels, Some(CLASSES as u8))), Problem::Label);
    assert_eq!(host.problem(Command::Modulator(f32::NAN)), Problem::NotFinite);
    assert_eq!(host.problem(Command::Freeze { layer: 3, frozen: true }), Problem::Layer);
    assert_eq!(host.problem(Command::Block { layer: 3 }), Problem::Layer);
    assert_eq!(host.problem(Command::Optimizer(Optimizer::Record)), Problem::Optimizer);
    assert_eq!(host.problem(Command::Optimizer(Optimizer::sgd(f32::INFINITY))), Problem::NotFinite);
    assert_eq!(host.problem(Command::Save), Problem::Missing);
    const fn write(section: Section, offset: u32, words: &[u8]) -> Command<'_> {
        Command::Write { section, offset, words }
    }
    let parameters = NETWORK.view().parameter_len() as u32;
    assert_eq!(host.problem(write(Section::Parameters, parameters, &[0; 4])), Problem::Range);
    assert_eq!(host.problem(write(Section::Parameters, u32::MAX, &[0; 8])), Problem::Range);
    assert_eq!(host.problem(write(Section::Parameters, 0, &[0; 5])), Problem::Range);
    assert_eq!(host.problem(write(Section::Parameters, 0, &f32::NAN.to_le_bytes())), Problem::Value);
    assert_eq!(host.problem(write(Section::Layers, 0, &[2, 0, 0, 0])), Problem::Value);
    assert_eq!(sections.map(|section| host.words(section)), before);
}

/// A bias of the middle layer so large that its pooled activity overflows on every frame.
#[test]
fn a_frame_whose_activity_is_not_finite_is_seen_and_teaches_nothing_from_there_on() {
    let (mut host, mut rng) = (Host::new(), stream(11, 0));
    host.hello();
    learn(&mut host, &mut rng, 6);
    let layer = NETWORK.view().layer(1).unwrap();
    let offset = (layer.encoder_offset + layer.weight_len()) as u32;
    let kept = host.words(Section::Parameters)[offset as usize];
    let write = |host: &mut Host, word: u32| {
        host.done(Command::Write { section: Section::Parameters, offset, words: &word.to_le_bytes() });
    };
    let show = |host: &mut Host, rng: &mut Rng, label| {
        let command = Command::Frame { phase: Phase::Fixation, label, pixels: &pixels(rng) };
        host.ask(command, |answer| match answer {
            Answer::Observed(observed) => observed.clone(),
            other => unreachable!("{other:?}"),
        })
    };
    let refused =
        |host: &mut Host| host.ask(Command::Status, |answer| matches!(answer, Answer::Status(s) if s.refused == 2));
    write(&mut host, f32::MAX.to_bits());
    let counts = host.words(Section::Counts);
    for modulator in [1.0, 1.0, 0.0] {
        host.done(Command::Modulator(modulator));
        let observed = show(&mut host, &mut rng, Some(1));
        assert_eq!(
            observed.layers.iter().map(|layer| layer.update).collect::<Vec<_>>(),
            [Update::NoContext, Update::Refused]
        );
        assert!(observed.layers[1].loss.is_nan());
        assert_eq!(observed.prediction, None);
        assert_eq!(host.words(Section::Counts), counts);
    }
    assert!(refused(&mut host));
    write(&mut host, kept);
    host.done(Command::Modulator(1.0));
    let observed = show(&mut host, &mut rng, Some(1));
    assert!(observed.layers.iter().all(|layer| layer.update == Update::NoContext));
    assert!(observed.layers.len() == 3 && observed.prediction.is_some());
    assert_eq!(show(&mut host, &mut rng, None).layers[2].update, Update::Applied);
    assert!(refused(&mut host));
}

#[test]
fn the_host_can_mute_freeze_replace_and_reset() {
    let (mut host, mut rng) = (Host::new(), stream(8, 0));
    host.hello();
    let first = host.words(Section::Parameters);
    let learn = |host: &mut Host, rng: &mut Rng| {
        for at in 0..4 {
            let pixels = pixels(rng);
            host.ask(Command::Frame { phase: script(at).0, label: Some(0), pixels: &pixels }, |_| ());
        }
    };
    host.done(Command::Modulator(0.0));
    learn(&mut host, &mut rng);
    assert_eq!(host.words(Section::Parameters), first);
    host.done(Command::Modulator(1.0));
    for layer in [0, 2] {
        host.done(Command::Freeze { layer, frozen: true });
    }
    learn(&mut host, &mut rng);
    let learnt = host.words(Section::Parameters);
    let view = NETWORK.view();
    let layers: Vec<_> = (0..3).filter_map(|at| view.layer(at)).collect();
    let own = |words: &[u32], at: usize| words[layers[at].encoder_offset..][..layers[at].encoder_len()].to_vec();
    assert_eq!([0, 1, 2].map(|at| own(&learnt, at) == own(&first, at)), [true, false, true]);

    host.done(Command::Reset { seed: SETTINGS.seed });
    assert_eq!(host.words(Section::Parameters), first);
    assert!(host.words(Section::Counts).iter().all(|count| *count == 0));
    for (at, words) in learnt.chunks(MOST_WORDS).enumerate() {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let offset = (at * MOST_WORDS) as u32;
        host.done(Command::Write { section: Section::Parameters, offset, words: &bytes });
    }
    assert_eq!(host.words(Section::Parameters), learnt);
    host.hello();
    assert_eq!(host.app.machine().origin(), Origin::Host);
}

/// Learns from `count` frames that `rng` draws.
fn learn(host: &mut Host, rng: &mut Rng, count: usize) {
    for at in 0..count {
        let (pixels, (phase, label)) = (pixels(rng), script(at));
        host.ask(Command::Frame { phase, label, pixels: &pixels }, |_| ());
    }
}

const SECTIONS: [Section; 5] =
    [Section::Parameters, Section::State, Section::Layers, Section::Readout, Section::Counts];

#[test]
fn what_was_saved_comes_back_after_a_rollback_and_after_a_restart() {
    let (mut host, mut rng) = (Host::with_flash(Some(RamFlash::new())), stream(9, 0));
    host.hello();
    assert_eq!(host.problem(Command::Rollback), Problem::Empty);
    learn(&mut host, &mut rng, 12);
    host.ask(Command::Save, |answer| assert_eq!(*answer, Answer::Saved { step: 12 }));
    let saved = SECTIONS.map(|section| host.words(section));
    learn(&mut host, &mut rng, 7);
    assert_ne!(SECTIONS.map(|section| host.words(section)), saved);
    host.done(Command::Rollback);
    assert_eq!(SECTIONS.map(|section| host.words(section)), saved);
    learn(&mut host, &mut rng, 3);
    host.ask(Command::Status, |answer| match answer {
        Answer::Status(status) => {
            assert_eq!((status.step, status.saved_step), (15, Some(12)));
            assert!(status.erases > 0);
        }
        other => unreachable!("{other:?}"),
    });

    let mut restarted = Host::with_flash(host.app.board().flash.take());
    assert_eq!(restarted.app.machine().origin(), Origin::Saved { step: 12, older: false });
    restarted.hello();
    assert_eq!(SECTIONS.map(|section| restarted.words(section)), saved);

    let mut flash = restarted.app.board().flash.take().unwrap();
    // One bit of the parameters in the only slot that was written.
    flash.0[1000] ^= 1;
    let damaged = Host::with_flash(Some(flash));
    assert_eq!(damaged.app.machine().origin(), Origin::Unusable { seed: SETTINGS.seed, problem: Problem::Corrupt });
    let blank = Host::with_flash(Some(RamFlash::new()));
    assert_eq!(blank.app.machine().origin(), Origin::Seed(SETTINGS.seed));
}

#[test]
fn weights_come_back_without_a_read_out_of_other_classes() {
    let (mut host, mut rng) = (Host::with_flash(Some(RamFlash::new())), stream(11, 0));
    host.hello();
    learn(&mut host, &mut rng, 6);
    let [parameters, _, layers, ..] = SECTIONS.map(|section| host.words(section));

    // The same network, with fewer classes or more in the flash than the device has, in slots of their own length.
    for (classes, saves) in [CLASSES - 1, CLASSES - 4, CLASSES + 1, CLASSES + 50]
        .into_iter()
        .flat_map(|classes| (1..=3).map(move |n| (classes, n)))
    {
        let mut flash = RamFlash::new();
        let contents = host.app.machine().contents();
        let readout = vec![0.5; NETWORK.view().feature_len() * classes];
        let other = Contents { readout: &readout, counts: &vec![3; classes], ..contents };
        let slot = other.lengths().slot_len(<RamFlash as NorFlash>::ERASE_SIZE) as u32;
        for save in 1..=saves {
            let mut store = Store::open(&mut flash, 0, slot, architecture(&NETWORK.view())).unwrap();
            store.save(&Contents { step: other.step + save - saves, ..other }).unwrap();
        }
        let mut restarted = Host::with_flash(Some(flash));
        let origin = Origin::SavedInPart { step: 6, older: false, state: true, read_out: false };
        assert_eq!(restarted.app.machine().origin(), origin);
        restarted.hello();
        assert_eq!(restarted.words(Section::Parameters), parameters);
        assert_eq!(restarted.words(Section::Layers), layers);
        assert!(restarted.words(Section::Counts).iter().all(|&count| count == 0));
        assert!(restarted.words(Section::Readout).iter().all(|&mean| mean == 0));
        // It learns and saves again, with its own read-out.
        learn(&mut restarted, &mut rng, 5);
        restarted.ask(Command::Save, |answer| assert_eq!(*answer, Answer::Saved { step: 11 }));
        restarted.done(Command::Rollback);
        assert_eq!(restarted.app.machine().origin(), Origin::Saved { step: 11, older: false });
    }
}

/// The same for flash of every kind: programs with other numbers of classes follow each other.
fn other_classes_find_the_weights<const WRITE: usize, const ERASE: usize>() {
    let network = architecture(&NETWORK.view());
    for (others, saves) in
        [1, CLASSES - 1, CLASSES + 1, 100].into_iter().flat_map(|others| [1, 2, 3].map(|n| (others, n)))
    {
        let mut board = Queues::<WRITE, ERASE> { flash: Some(RamFlash(vec![0xFF; 256 * 1024])), ..Default::default() };
        let mut statics = Box::new(Statics::new());
        let (mut machine, ..) = statics.parts().unwrap();
        machine.reset(77);
        let learnt = machine.contents().parameters.to_vec();
        let (readout, counts) = (vec![0.5; NETWORK.view().feature_len() * others], vec![3; others]);
        // Another program saves, then this one, then the other one again.
        for step in 1..=saves {
            let contents = Contents { step, readout: &readout, counts: &counts, ..machine.contents() };
            let slot = contents.lengths().slot_len(ERASE) as u32;
            Store::open(board.flash.as_mut().unwrap(), 0, slot, network).unwrap().save(&contents).unwrap();
        }
        for round in 0..saves {
            machine.reset(1);
            let mut saving = Saving::default();
            assert_eq!(saving.load(&mut machine, &mut board), Ok(saves), "{others} classes, erased by {ERASE}");
            let origin = Origin::SavedInPart { step: saves, older: false, state: true, read_out: false };
            assert_eq!(machine.origin(), if round == 0 { origin } else { Origin::Saved { step: saves, older: false } });
            assert_eq!(machine.contents().parameters, learnt);
            assert_eq!(saving.save(&machine, &mut board), Ok(saves), "{others} classes, erased by {ERASE}");
        }
        let (mut parameters, mut layers) = (vec![0.0; learnt.len()], machine.contents().layers.to_vec());
        let (mut readout, mut counts) = (readout, counts);
        let mut into = ContentsMut {
            parameters: &mut parameters,
            state: &mut [],
            layers: &mut layers,
            readout: &mut readout,
            counts: &mut counts,
        };
        let slot = into.lengths().slot_len(ERASE) as u32;
        let mut store = Store::open(board.flash.as_mut().unwrap(), 0, slot, network).unwrap();
        let loaded = store.load(&mut into).unwrap();
        assert_eq!((loaded.header.step, loaded.fell_back, loaded.read_out.is_ok()), (saves, false, false));
        assert_eq!(loaded.header.lengths.counts, CLASSES);
        assert_eq!(parameters, learnt);
    }
}

#[test]
fn another_number_of_classes_loses_nothing_on_any_flash() {
    other_classes_find_the_weights::<4, 4096>();
    other_classes_find_the_weights::<8, 2048>();
    other_classes_find_the_weights::<4, 1024>();
    other_classes_find_the_weights::<16, 128>();
    other_classes_find_the_weights::<32, 32>();
}

#[test]
fn a_flash_that_is_too_small_is_named() {
    let mut statics = Box::new(Statics::new());
    let (machine, ..) = statics.parts().unwrap();
    let needed = machine.contents().lengths().slot_len(4096) as u32;
    let mut board =
        Queues::<4, 4096> { flash: Some(RamFlash(vec![0xFF; 2 * needed as usize - 4096])), ..Default::default() };
    assert_eq!(Saving::default().save(&machine, &mut board), Err(Problem::Small { needed }));
}
