//! Packets over a line that loses, repeats and changes bytes.

use clapp_core::contrast::Phase;
use clapp_core::link::{
    Admission, Answer, Command, Direction, LayerNews, OVERHEAD, Observed, Problem, Receiver, Reply, Request, Section,
    Session, TooLong, Update, VERSION, encode, encoded_len, pixels_to_frame,
};
use clapp_core::optimizer::Optimizer;
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

    /// The device learns from each frame once, however often the line repeats, loses and delays requests.
    #[test]
    fn each_request_is_met_once(lost in proptest::collection::vec(0..4_u8, 1..60)) {
        let mut session = Session::NEW;
        let hello = Request { session: 5, id: 0, command: Command::Hello { version: VERSION } };
        prop_assert_eq!(session.admit(&hello), Admission::New);
        let mut met = Vec::new();
        for (id, fate) in (1_u32..).zip(&lost) {
            let request = Request { session: 5, id, command: Command::Save };
            let mut deliver = |request: &Request<'_>| {
                let admission = session.admit(request);
                if admission == Admission::New {
                    met.push(request.id);
                }
                admission
            };
            // The host goes on only once it has an answer to this request.
            match fate {
                0 => prop_assert_eq!(deliver(&request), Admission::New),
                // The answer is lost, the request comes again.
                1 => {
                    prop_assert_eq!(deliver(&request), Admission::New);
                    prop_assert_eq!(deliver(&request), Admission::Repeat);
                }
                // The line repeats an old request.
                2 => {
                    prop_assert_eq!(deliver(&request), Admission::New);
                    let old = Request { id: id.wrapping_sub(1), ..request };
                    prop_assert_eq!(deliver(&old), Admission::Late);
                }
                // Another host, or one before a restart.
                _ => {
                    let other = Request { session: 6, ..request };
                    prop_assert_eq!(deliver(&other), Admission::NoSession);
                    prop_assert_eq!(deliver(&request), Admission::New);
                }
            }
        }
        prop_assert_eq!(met, (1..=lost.len() as u32).collect::<Vec<_>>());
    }
}

#[test]
fn hello_keeps_its_bytes_in_every_version() {
    let hello = Request { session: 1, id: 2, command: Command::Hello { version: VERSION } };
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
    let observed = Observed { step: u64::MAX, prediction: Some(255), layers, collapsed: true };
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
