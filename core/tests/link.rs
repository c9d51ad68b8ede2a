//! Packets over a line that loses, repeats and changes bytes.

use clapp_core::collapse::Condition;
use clapp_core::contrast::Phase;
use clapp_core::link::{
    ASIDE_LEN, Admission, Answer, Command, Direction, Header, Identity, LayerNews, OVERHEAD, Observed, Origin, Problem,
    Receiver, Reply, Request, Section, Session, TooLong, Update, VERSION, Verdict, encode, encoded_len,
    pixels_to_frame,
};
use clapp_core::network::{Contrast, Rule};
use clapp_core::optimizer::Optimizer;
use clapp_core::shape::Shape;
use proptest::prelude::*;

const SPACE: usize = 2048;

fn encoded(packet: &impl serde::Serialize, direction: Direction) -> Vec<u8> {
    let mut buffer = vec![0xAA; encoded_len(SPACE)];
    let len = encode(packet, direction, &mut buffer).unwrap_or(0);
    buffer.truncate(len);
    buffer
}

/// All requests found in a stream, encoded anew so that they can be kept and compared; and the dropped.
fn received(bytes: &[u8], space: usize) -> (Vec<Vec<u8>>, u32) {
    let mut buffer = vec![0; space];
    let mut receiver = Receiver::new(&mut buffer, Direction::ToDevice);
    let mut found = Vec::new();
    for byte in bytes {
        if let Some(len) = receiver.push(*byte)
            && let Some(request) = receiver.packet::<Request<'_>>(len)
        {
            found.push(encoded(&request, Direction::ToDevice));
        }
    }
    (found, receiver.dropped())
}

fn frame(id: u32, pixels: &[u8]) -> Vec<u8> {
    let command = Command::Frame { phase: Phase::Saccade, label: Some(3), pixels };
    encoded(&Request { session: 9, id, command }, Direction::ToDevice)
}

fn any_command() -> impl Strategy<Value = (u8, u32, Vec<u8>, f32)> {
    (0..14_u8, any::<u32>(), proptest::collection::vec(any::<u8>(), 0..1200), any::<f32>())
}

fn command<'a>((kind, number, bytes, value): &'a (u8, u32, Vec<u8>, f32)) -> Command<'a> {
    let value = if value.is_nan() { 0.5 } else { *value };
    match kind {
        0 => Command::Hello { version: *number as u16 },
        1 => Command::Block { layer: *number as u8 },
        2 => Command::Frame { phase: Phase::Fixation, label: None, pixels: bytes },
        3 => Command::Modulator(value),
        4 => Command::Freeze { layer: *number as u8, frozen: true },
        5 => Command::Optimizer(Optimizer::adam_w(value)),
        6 => Command::Reset { seed: u64::from(*number) << 17 },
        7 => Command::ForgetLabels,
        8 => Command::ClearContext,
        9 => Command::Save,
        10 => Command::Sensor(number & 1 == 1),
        11 => Command::Status,
        12 => Command::Read { section: Section::Counts, offset: *number, count: *number as u16 },
        _ => Command::Write { section: Section::State, offset: *number, words: bytes },
    }
}

proptest! {
    #[test]
    fn every_request_arrives_as_it_was(parts in any_command(), session in any::<u32>(), id in any::<u32>()) {
        let request = Request { session, id, command: command(&parts) };
        let bytes = encoded(&request, Direction::ToDevice);
        prop_assert!(bytes.len() <= encoded_len(parts.2.len()));
        prop_assert!(bytes[1..bytes.len() - 1].iter().all(|byte| *byte != 0));
        let mut buffer = vec![0; parts.2.len() + OVERHEAD];
        let mut receiver = Receiver::new(&mut buffer, Direction::ToDevice);
        let lens: Vec<_> = bytes.iter().filter_map(|byte| receiver.push(*byte)).collect();
        prop_assert_eq!(lens.len(), 1);
        prop_assert_eq!(receiver.packet::<Request<'_>>(lens[0]), Some(request));
        prop_assert_eq!(receiver.dropped(), 0);
    }

    /// Whatever happens to a packet, it arrives whole or not at all, and what follows arrives.
    #[test]
    fn a_damaged_packet_is_never_misread(
        pixels in proptest::collection::vec(any::<u8>(), 0..600),
        damage in proptest::collection::vec((0..3_u8, any::<prop::sample::Index>(), any::<u8>()), 1..5),
    ) {
        let (first, last) = (frame(1, &pixels), frame(2, &[1, 2, 3]));
        let mut stream = first.clone();
        for (kind, at, value) in damage {
            if stream.is_empty() {
                break;
            }
            let at = at.index(stream.len());
            match kind {
                0 => { stream.remove(at); }
                1 => stream.insert(at, value),
                _ => stream[at] = value,
            }
        }
        stream.extend_from_slice(&last);
        let (found, _) = received(&stream, 700);
        prop_assert_eq!(found.last(), Some(&last));
        prop_assert!(found.len() <= 2);
        prop_assert!(found.len() == 1 || found[0] == first);
    }

    #[test]
    fn noise_is_dropped_and_ends(noise in proptest::collection::vec(any::<u8>(), 0..3000)) {
        let mut stream = noise;
        stream.extend_from_slice(&frame(1, &[7; 100]));
        let (found, _) = received(&stream, 200);
        prop_assert_eq!(found, vec![frame(1, &[7; 100])]);
    }

    /// A device and a host over a line that loses, doubles, delays and repeats packets, those of earlier sessions among
    /// them: no request is met twice or out of order, every packet that arrives is answered, and once the line works, so does
    /// the host, within three packets.
    #[test]
    fn each_request_is_met_once_and_silence_ends(
        fates in proptest::collection::vec((0..8_u8, any::<prop::sample::Index>()), 1..200),
    ) {
        let mut device = Device::default();
        // All that the line has ever carried, to be repeated.
        let mut carried: Vec<(u32, u32, bool)> = (0..20).map(|old| (old, 3, true)).collect();
        let mut host = Host { session: None, tag: 100, id: 0 };
        for (fate, at) in fates {
            let packet = host.next();
            carried.push(packet);
            match fate {
                // It never arrives, or its answer does not, and the host gives it up.
                0 => host.give_up(),
                1 => {
                    device.hear(packet);
                    host.give_up();
                }
                // The line repeats something from before, first.
                2 | 3 => {
                    let old = carried[at.index(carried.len())];
                    if old != packet {
                        device.hear(old);
                    }
                    let answer = device.hear(packet);
                    host.answered(packet, answer);
                }
                // The host's patience is too short: it sends again.
                4 => {
                    device.hear(packet);
                    let answer = device.hear(packet);
                    host.answered(packet, answer);
                }
                // The device is switched off and on.
                5 if at.index(10) == 0 => {
                    device.session = Session::NEW;
                    device.session.stir(at.index(1000) as u32);
                    host.answered(packet, Admission::Refuse(Problem::NoSession));
                }
                _ => {
                    let answer = device.hear(packet);
                    host.answered(packet, answer);
                }
            }
        }
        let met = device.met.len();
        for _ in 0..3 {
            let packet = host.next();
            let answer = device.hear(packet);
            host.answered(packet, answer);
        }
        prop_assert!(device.met.len() > met, "{host:?}");
        // In each session in the order of their numbers, each once.
        for pair in device.met.windows(2) {
            prop_assert!(pair[0].0 != pair[1].0 || pair[0].1 < pair[1].1, "{pair:?}");
        }
        let mut all = device.met.clone();
        all.sort_unstable();
        all.dedup();
        prop_assert_eq!(all.len(), device.met.len());
    }
}

/// The device's side: what it has met.
#[derive(Default)]
struct Device {
    session: Session,
    met: Vec<(u32, u32)>,
}

impl Device {
    fn hear(&mut self, (session, id, hello): (u32, u32, bool)) -> Admission {
        let command = if hello { Command::Hello { version: VERSION } } else { Command::Save };
        let admission = self.session.admit(&Request { session, id, command });
        if matches!(admission, Admission::Open | Admission::New) {
            self.met.push((session, id));
        }
        admission
    }
}

/// The host's side, which asks one thing after the other.
#[derive(Debug)]
struct Host {
    session: Option<u32>,
    tag: u32,
    id: u32,
}

impl Host {
    fn next(&self) -> (u32, u32, bool) {
        (self.session.unwrap_or(self.tag), self.id + 1, self.session.is_none())
    }

    fn give_up(&mut self) {
        self.id += 1;
    }

    fn answered(&mut self, (_, id, _): (u32, u32, bool), answer: Admission) {
        self.id = id;
        match answer {
            Admission::Hello { session } => self.session = Some(session),
            Admission::Refuse(Problem::NoSession) => (self.session, self.tag) = (None, self.tag + 1),
            Admission::Open | Admission::New | Admission::Repeat => {}
            Admission::Refuse(problem) => unreachable!("{problem:?}"),
        }
    }
}

const HELLO: Command<'_> = Command::Hello { version: VERSION };

/// Opens a session whose host has drawn `tag`.
fn opened(device: &mut Session, tag: u32) -> u32 {
    let Admission::Hello { session } = device.admit(&Request { session: tag, id: 1, command: HELLO }) else {
        unreachable!("a hello is answered")
    };
    assert_eq!(device.admit(&Request { session, id: 2, command: Command::Status }), Admission::Open);
    session
}

#[test]
fn a_request_that_never_arrives_stops_nothing() {
    let mut device = Session::NEW;
    let session = opened(&mut device, 7);
    let request = |id| Request { session, id, command: Command::Save };
    // 3 to 9 are lost.
    assert_eq!(device.admit(&request(10)), Admission::New);
    assert_eq!(device.admit(&request(10)), Admission::Repeat);
    // One of them comes late: it is not met any more, and that is said.
    assert_eq!(device.admit(&request(5)), Admission::Refuse(Problem::Stale { last: 10 }));
    assert_eq!(device.admit(&request(11)), Admission::New);
    assert_eq!(device.repeated(), 2);
    // A hello within a session is a hello.
    let again = device.admit(&Request { session, id: 1, command: HELLO });
    assert!(matches!(again, Admission::Hello { session: other } if other != session), "{again:?}");
    assert_eq!(device.admit(&request(12)), Admission::New);
    // Numbers wrap.
    assert_eq!(device.admit(&request(12 + u32::MAX / 2)), Admission::New);
    assert_eq!(device.admit(&request(u32::MAX)), Admission::New);
    assert_eq!(device.admit(&request(0)), Admission::New);
    assert_eq!(device.admit(&request(u32::MAX)), Admission::Refuse(Problem::Stale { last: 0 }));
}

#[test]
fn a_hello_opens_nothing_by_itself() {
    let mut device = Session::NEW;
    let old = opened(&mut device, 7);
    let session = opened(&mut device, 8);
    let request = |session, id, command| Request { session, id, command };
    assert_eq!(device.admit(&request(old, 3, Command::Save)), Admission::Refuse(Problem::NoSession));
    // Another version's hello and old ones, again and again: the session stays.
    for id in 3..50 {
        let other = Command::Hello { version: VERSION + 1 };
        let refused = Admission::Refuse(Problem::Version { device: VERSION });
        assert_eq!(device.admit(&request(9, 1, other)), refused);
        let offered = device.admit(&request(7, 1, HELLO));
        assert!(matches!(offered, Admission::Hello { session: other } if other != session && other != old));
        // The conversation that followed it at that time has another number.
        assert_eq!(device.admit(&request(old, 2, Command::Status)), Admission::Refuse(Problem::NoSession));
        assert_eq!(device.admit(&request(session, id, Command::Save)), Admission::New);
    }
    // The same hello has the same answer, while up to three others come in between.
    let hello = |device: &mut Session, tag| device.admit(&request(tag, 1, HELLO));
    let offered = hello(&mut device, 20);
    for tag in 21..24 {
        hello(&mut device, tag);
        assert_eq!(hello(&mut device, 20), offered);
    }
    let Admission::Hello { session: next } = offered else { unreachable!("{offered:?}") };
    assert_eq!(device.admit(&request(next, 2, Command::Save)), Admission::Open);
    assert_eq!(device.admit(&request(session, 50, Command::Save)), Admission::Refuse(Problem::NoSession));
    assert_eq!(device.admit(&request(next, 2, Command::Save)), Admission::Repeat);
}

/// A device that has waited for another time draws other numbers, whatever the line repeats.
#[test]
fn sessions_of_a_device_that_was_restarted_are_others() {
    let mut seen = Vec::new();
    for wait in 0..100 {
        let mut device = Session::NEW;
        (0..wait).for_each(|_| device.stir(1));
        seen.push(opened(&mut device, 7));
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 100);
}

/// What a later version adds comes at the end: its beginning can be read, and tells it from what is known.
#[test]
fn the_beginning_of_a_message_of_a_later_version_can_be_read() {
    let signal = (9_u32, 1_000_000_u32, u32::from(Command::COUNT), 1_u8, [3_u8; 40].as_slice());
    let mut buffer = [0; 200];
    let mut receiver = Receiver::new(&mut buffer, Direction::ToDevice);
    let len = encoded(&signal, Direction::ToDevice).into_iter().find_map(|byte| receiver.push(byte)).unwrap();
    assert_eq!(receiver.packet::<Request<'_>>(len), None);
    let header = receiver.header(len);
    let message = u32::from(Command::COUNT);
    assert_eq!(header, Some(Header { session: 9, id: 1_000_000, message }));
    assert_eq!(header.map(|header| header.problem()), Some(Problem::Unknown { command: message }));
    assert_eq!(Header { message: message - 1, ..header.unwrap() }.problem(), Problem::Malformed);
    // The last command that is known has the number before.
    let last = Command::Write { section: Section::Counts, offset: 0, words: &[] };
    let bytes = encoded(&Request { session: 1, id: 1, command: last }, Direction::ToDevice);
    let mut receiver = Receiver::new(&mut buffer, Direction::ToDevice);
    let len = bytes.into_iter().find_map(|byte| receiver.push(byte)).unwrap();
    assert!(receiver.packet::<Request<'_>>(len).is_some());
    assert_eq!(receiver.header(len).map(|header| header.message), Some(message - 1));
}

#[test]
fn what_a_device_is_fits_its_buffer() {
    let rule = Rule { contrast: Contrast::Goodness { theta: f32::MIN }, ..Rule::clapp_pp() };
    let identity = Identity {
        version: u16::MAX,
        session: u32::MAX,
        commands: Command::COUNT,
        board: "a name of thirty-two characters.",
        firmware: "100.100.100-candidate",
        input: Shape::new(usize::MAX, usize::MAX, usize::MAX),
        layers: u8::MAX,
        rule,
        optimizer: Optimizer::adam_w(f32::MAX),
        max_update_norm: Some(f32::MAX),
        classes: u8::MAX,
        scale: f32::MAX,
        offset: f32::MIN,
        origin: Origin::Saved { step: u64::MAX, older: true },
        step: u64::MAX,
        modulator: 1.0,
        most_words: u16::MAX,
    };
    let reply = Reply { session: u32::MAX, id: u32::MAX, answer: Answer::Hello(identity) };
    assert!(encode(&reply, Direction::ToHost, &mut [0; ASIDE_LEN]).is_ok());
}

#[test]
fn hello_keeps_its_bytes_in_every_version() {
    let hello = Request { session: 1, id: 2, command: Command::Hello { version: 1 } };
    let bytes = encoded(&hello, Direction::ToDevice);
    // Worked out by another program.
    assert_eq!(bytes, [0, 3, 1, 2, 2, 1, 4, 93, 40, 74, 0]);
    let problem = Reply { session: 1, id: 2, answer: Answer::Problem(Problem::Version { device: 1 }) };
    assert_eq!(encoded(&problem, Direction::ToHost), [0, 4, 1, 2, 7, 6, 1, 137, 113, 211, 244, 0]);
}

#[test]
fn an_echo_is_not_an_answer() {
    let bytes = frame(1, &[1; 20]);
    let mut buffer = [0; 200];
    let mut receiver = Receiver::new(&mut buffer, Direction::ToHost);
    assert!(bytes.iter().all(|byte| receiver.push(*byte).is_none()));
    assert_eq!(receiver.dropped(), 1);
}

#[test]
fn what_is_too_long_is_dropped_and_counted() {
    let mut stream = frame(1, &[200; 500]);
    stream.extend_from_slice(&frame(2, &[9; 10]));
    let (found, dropped) = received(&stream, 100);
    assert_eq!((found, dropped), (vec![frame(2, &[9; 10])], 1));
    assert_eq!(encode(&0_u64, Direction::ToHost, &mut []), Err(TooLong));
    let whole = frame(1, &[200; 500]).len();
    for len in 0..whole {
        let command = Command::Frame { phase: Phase::Saccade, label: Some(3), pixels: &[200; 500] };
        let request = Request { session: 9, id: 1, command };
        assert_eq!(encode(&request, Direction::ToDevice, &mut vec![0; len]), Err(TooLong), "{len} of {whole}");
    }
}

#[test]
fn a_report_fits_its_buffer() {
    let news =
        LayerNews { update: Update::Refused, loss: f32::MIN, score: f32::MAX, update_norm: 1e-7, dead_percent: 100 };
    let layers = core::iter::repeat_n(news, clapp_core::link::MOST_LAYERS).collect();
    let observed = Observed {
        step: u64::MAX,
        prediction: Some(255),
        layers,
        verdict: Some(Verdict { layer: 255, condition: Condition::Still }),
    };
    let reply = Reply { session: u32::MAX, id: u32::MAX, answer: Answer::Observed(observed) };
    let mut buffer = [0; clapp_core::link::REPORT_LEN];
    let len = encode(&reply, Direction::ToHost, &mut buffer).unwrap();
    let mut decoded = [0; clapp_core::link::REPORT_LEN];
    let mut receiver = Receiver::new(&mut decoded, Direction::ToHost);
    let body = buffer[..len].iter().find_map(|byte| receiver.push(*byte)).unwrap();
    assert_eq!(receiver.packet::<Reply<'_>>(body), Some(reply));
}

#[test]
fn pixels_are_scaled_in_single_precision() {
    let mut frame = [0.0; 3];
    pixels_to_frame(&[0, 128, 255], 1.0 / 64.0, -2.0, &mut frame);
    assert_eq!(frame, [-2.0, 0.0, 255.0 / 64.0 - 2.0]);
}
