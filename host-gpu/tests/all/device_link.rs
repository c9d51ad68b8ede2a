//! The host's side of the line with the firmware's program: complete lessons over good and faulty lines, and a device
//! that stops replying.
#![allow(clippy::unwrap_used, reason = "a failure is the end of a test")]

use crate::device_common;

use clapp_core::link::{Answer, Command, Section};
use clapp_data::data::generated;
use clapp_data::error::Error;
use clapp_device::device::client::{Client, Counts, REPLY_LEN};
use clapp_device::device::course::{Course, Learnt, Plan, Score};
use clapp_device::device::description::Description;
use clapp_device::device::faults::Faulty;
use clapp_device::device::held;
use clapp_device::device::replay::{Replay, Replayed};
use clapp_device::device::transport::Transport;
use clapp_engine::checkpoint::device::DeviceState;
use device_common::{Device, Fate, Memory, Unruly, memory};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const PLAN: Plan = Plan { frames: 60, fixation: 3, labels: 2, test: 30, seed: 5 };
const TIMEOUT: Duration = Duration::from_secs(60);

struct Outcome {
    before: Score,
    learnt: Learnt,
    after: Score,
    held: DeviceState,
    replayed: Replayed,
    counts: Counts,
    /// Dropped by the device, repeated to the device.
    device: [u32; 2],
}

/// A whole lesson; `between` may do something to the device before the last part.
fn lesson(
    line: Box<dyn Transport>,
    stop: Arc<AtomicBool>,
    between: impl FnOnce(&mut Client<'_>),
) -> Result<Outcome, Error> {
    let data = generated::shapes(4, 200, 40);
    let mut replies = vec![0; REPLY_LEN];
    let mut client = Client::new(line, &mut replies, TIMEOUT, stop);
    let device = Description::ask(&mut client)?;
    let replay = Replay::start(&device, held::read(&mut client, &device)?)?;
    let mut course = Course::new(&mut client, &device, &data, PLAN, Some(replay))?;
    let before = course.measure()?;
    let learnt = course.learn()?;
    between(course.client());
    let after = course.measure()?;
    let replayed = course.end()?.unwrap().finish()?;
    let held = held::read(&mut client, &device)?;
    let status = client.status()?;
    let counts = client.counts();
    Ok(Outcome { before, learnt, after, held, replayed, counts, device: [status.dropped, status.repeated] })
}

fn whole(line: Box<dyn Transport>) -> Outcome {
    lesson(line, Arc::default(), |_| ()).unwrap()
}

#[test]
fn a_lesson_is_learnt_the_same_on_the_device_and_on_the_host() {
    let (line, device) = memory(Fate::Works);
    let outcome = whole(line);
    assert_eq!(held::differences(&outcome.replayed.held, &outcome.held), Vec::<String>::new());
    assert_eq!(outcome.replayed.first_difference, None);
    assert_eq!((outcome.learnt.frames, outcome.learnt.refused, outcome.held.step), (60, 0, 60));
    assert_eq!(device.borrow().step(), 60);
    assert_eq!(outcome.replayed.frames, 60 + 2 * (20 + 30));
    assert_eq!(outcome.held.counts, [2; 10]);
    assert_eq!((outcome.before.of, outcome.after.of), (30, 30));
    assert_eq!(outcome.learnt.losses.len(), 3);
    assert!(outcome.learnt.losses.iter().flatten().all(|loss| loss.is_finite() && *loss > 0.0));
    assert_eq!((outcome.counts.resent, outcome.counts.stray, outcome.device), (0, 0, [0, 0]));
    // The layers have learnt: each at every frame but the first.
    assert!(outcome.held.layers.iter().all(|layer| layer.steps == 59), "{:?}", outcome.held.layers);
}

#[test]
fn a_bad_line_costs_time_and_nothing_else() {
    let good = whole(memory(Fate::Works).0);
    let mut resent = 0;
    for seed in 0..3 {
        let (line, device) = memory(Fate::Works);
        let outcome = whole(Box::new(Faulty::new(line, 3e-4, seed)));
        assert_eq!(held::differences(&good.held, &outcome.held), Vec::<String>::new());
        assert_eq!(held::differences(&outcome.replayed.held, &outcome.held), Vec::<String>::new());
        assert_eq!((outcome.before, outcome.after), (good.before, good.after));
        assert_eq!(outcome.learnt, good.learnt);
        assert_eq!(device.borrow().step(), 60);
        // Both ways were hit: requests that never arrived, and answers that had to be given twice.
        assert!(outcome.device.iter().all(|count| *count > 0), "{:?}", outcome.device);
        resent += outcome.counts.resent;
    }
    assert!(resent > 100, "{resent}");
}

#[test]
fn another_seed_is_another_lesson() {
    let (data, mut replies) = (generated::shapes(4, 200, 40), vec![0; REPLY_LEN]);
    let mut held_after = |plan: Plan| {
        let mut client = Client::new(memory(Fate::Works).0, &mut replies, TIMEOUT, Arc::default());
        let device = Description::ask(&mut client).unwrap();
        let mut course = Course::new(&mut client, &device, &data, plan, None).unwrap();
        course.learn().unwrap();
        assert!(course.end().unwrap().is_none());
        held::read(&mut client, &device).unwrap()
    };
    let one = held_after(PLAN);
    assert_eq!(one, held_after(PLAN));
    assert_ne!(one.parameters, held_after(Plan { seed: 6, ..PLAN }).parameters);
    assert_ne!(one.parameters, held_after(Plan { fixation: 2, ..PLAN }).parameters);
}

#[test]
fn a_device_that_holds_something_else_is_found_out() {
    // One weight of the first layer changed by a hair, as a bad bit of memory would.
    let spoil = |client: &mut Client<'_>| {
        let read = Command::Read { section: Section::Parameters, offset: 7, count: 1 };
        let bits = client.ask(read, |answer| match answer {
            Answer::Words { words, .. } => Some(u32::from_le_bytes((*words).try_into().unwrap())),
            _ => None,
        });
        let words = (bits.unwrap() ^ (1 << 10)).to_le_bytes();
        client.tell(Command::Write { section: Section::Parameters, offset: 7, words: &words }).unwrap();
    };
    let outcome = lesson(memory(Fate::Works).0, Arc::default(), spoil).unwrap();
    let differences = held::differences(&outcome.replayed.held, &outcome.held);
    assert!(differences[0].starts_with("1 of 6896 parameters differ, the first is number 7"), "{differences:?}");
    assert!(differences[1].contains("numbers of the read-out"), "{differences:?}");
    assert!(
        outcome.replayed.first_difference.is_some_and(|frame| frame > 110),
        "{:?}",
        outcome.replayed.first_difference
    );
}

/// A second layer so large that it overflows on some frames and not on others.
#[test]
fn frames_that_overflow_come_to_the_same_on_the_device_and_on_the_host() {
    let (line, device) = memory(Fate::Works);
    let mut replies = vec![0; REPLY_LEN];
    let mut client = Client::new(line, &mut replies, TIMEOUT, Arc::default());
    Description::ask(&mut client).unwrap();
    let view = clapp_firmware::model::NETWORK.view();
    let layer = view.layer(1).unwrap();
    let words: Vec<u8> = [1e36_f32; 24].iter().flat_map(|value| value.to_le_bytes()).collect();
    let offset = layer.encoder_offset as u32;
    client.tell(Command::Write { section: Section::Parameters, offset, words: &words }).unwrap();
    let outcome = whole(Box::new(Memory::to(device, Fate::Works)));
    assert_eq!(held::differences(&outcome.replayed.held, &outcome.held), Vec::<String>::new());
    assert_eq!(outcome.replayed.first_difference, None);
    let [below, overflows, above] = outcome.held.layers[..] else { unreachable!("three layers") };
    // Many passes stopped at the second layer, and some reached the third.
    assert!(below.steps > 0 && overflows.refused > 10 && above.refused > 0, "{:?}", outcome.held.layers);
    assert!(overflows.refused < 60 && above.refused < overflows.refused);
    assert_eq!(outcome.learnt.losses.len(), 3);
    assert!(outcome.learnt.losses.iter().flatten().all(|loss| loss.is_finite()));
}

/// The error of a lesson, with its exit code.
fn fails(line: Box<dyn Transport>) -> (String, u8) {
    let error = lesson(line, Arc::default(), |_| ()).err().unwrap();
    (error.to_string(), error.exit_code())
}

#[test]
fn a_line_without_a_device_is_an_error_of_the_user_s() {
    let (message, code) = fails(memory(Fate::SilentAfter(0)).0);
    assert_eq!((message.as_str(), code), ("memory: no reply within 60 s; look at the test", 2));
    let (message, code) = fails(memory(Fate::Noise).0);
    assert!(message.starts_with("memory: no reply within 60 s (") && code == 2, "{message}");
    assert!(message.contains(" damaged packets arrived); look at the test"), "{message}");
}

#[test]
fn a_device_that_falls_silent_or_is_restarted_is_an_error_of_its_own() {
    let (message, code) = fails(memory(Fate::SilentAfter(150)).0);
    assert_eq!(code, 1);
    assert!(message.starts_with("memory: the device stopped replying: no reply within 60 s, after 150"), "{message}");
    let (message, code) = fails(memory(Fate::RestartedBefore(150)).0);
    assert_eq!(code, 1);
    assert!(message.starts_with("memory: the device was restarted, or another host is connected to it"), "{message}");
}

#[test]
fn a_request_to_stop_is_met_and_leaves_a_device_that_learns() {
    let (line, device) = memory(Fate::Works);
    let stop = Arc::new(AtomicBool::new(false));
    let data = generated::shapes(4, 200, 40);
    let mut replies = vec![0; REPLY_LEN];
    let mut client = Client::new(line, &mut replies, TIMEOUT, stop.clone());
    let description = Description::ask(&mut client).unwrap();
    let mut course = Course::new(&mut client, &description, &data, PLAN, None).unwrap();
    course.measure().unwrap();
    stop.store(true, Ordering::Relaxed);
    let error = course.learn().unwrap_err();
    assert!(matches!(error, Error::Stopped) && error.exit_code() == 130);
    course.end().unwrap();
    assert_eq!(device.borrow().step(), 0);
    // The next host finds it unmuted.
    let mut replies = vec![0; REPLY_LEN];
    let line = Memory::to(device, Fate::Works);
    let mut client = Client::new(Box::new(line), &mut replies, TIMEOUT, Arc::default());
    assert_eq!(Description::ask(&mut client).unwrap().modulator, 1.0);
}

#[test]
fn images_that_do_not_suffice_are_refused() {
    let data = generated::shapes(4, 30, 10);
    let mut replies = vec![0; REPLY_LEN];
    let mut client = Client::new(memory(Fate::Works).0, &mut replies, TIMEOUT, Arc::default());
    let device = Description::ask(&mut client).unwrap();
    let mut refused = |plan: Plan, part: &str| {
        let error = Course::new(&mut client, &device, &data, plan, None).err().unwrap();
        assert!(error.to_string().contains(part) && error.exit_code() == 2, "{error}");
    };
    refused(Plan { labels: 4, test: 10, ..PLAN }, "--labels: is 4, but class disc has 3 training images");
    refused(Plan { test: 11, ..PLAN }, "--test: is 11, but shapes has 10 test images");
    let few = Description { classes: 9, ..device.clone() };
    let plan = Plan { test: 0, ..PLAN };
    let error = Course::new(&mut client, &few, &data, plan, None).err().unwrap().to_string();
    assert!(error.contains("has 10 classes, but the device's read-out has 9"), "{error}");
}

/// Packets are lost, doubled, held back and repeated, hellos of earlier programs among them, and the device learns from each
/// frame once: it holds what it holds after a good line.
#[test]
fn an_unruly_line_costs_packets_and_nothing_else() {
    let good = whole(memory(Fate::Works).0);
    let carried = Rc::new(RefCell::new(Vec::new()));
    // Packets of an earlier program to an earlier device.
    let mut replies = vec![0; REPLY_LEN];
    let before = Unruly::to(Rc::new(RefCell::new(Device::new(true))), carried.clone(), 9);
    let mut client = Client::new(Box::new(before), &mut replies, TIMEOUT, Arc::default());
    Description::ask(&mut client).unwrap();
    client.tell(Command::Reset { seed: 5 }).unwrap();
    for seed in 0..3 {
        let device = Rc::new(RefCell::new(Device::new(true)));
        let line = Unruly::to(device.clone(), carried.clone(), seed);
        let sent = line.sent.clone();
        let outcome = whole(Box::new(line));
        assert_eq!(held::differences(&good.held, &outcome.held), Vec::<String>::new(), "{seed}");
        assert_eq!(held::differences(&outcome.replayed.held, &outcome.held), Vec::<String>::new(), "{seed}");
        assert_eq!((outcome.before, outcome.after, device.borrow().step()), (good.before, good.after, 60));
        // A request is lost one time in four, or its answer one in eight: twice the requests are enough, and many more than
        // that would be a conversation that goes in circles.
        let (sent, answered) = (*sent.borrow(), outcome.counts.answered);
        assert!(sent > answered && sent < 2 * answered, "{sent} packets for {answered} answers");
        assert!(outcome.counts.stray > 20, "{:?}", outcome.counts);
    }
}

/// A request that was given up is not the last word: the next one is heard, and so is a hello.
#[test]
fn a_client_that_has_given_up_is_heard_again() {
    for deaf in [(10, 60), (10, 11), (1, 40)] {
        let (line, device) = memory(Fate::DeafBetween(deaf.0, deaf.1));
        let mut replies = vec![0; REPLY_LEN];
        let mut client = Client::new(line, &mut replies, Duration::from_secs(1), Arc::default());
        let mut failures = 0;
        let mut answered_after = None;
        for turn in 0..60 {
            let done = match client.counts().answered {
                0 => client.hello(|_| ()),
                _ => client.tell(Command::ForgetLabels),
            };
            match done {
                Ok(()) if failures > 0 && answered_after.is_none() => answered_after = Some(turn),
                Ok(()) => {}
                Err(error) => {
                    assert!(error.to_string().contains("within 1 s"), "{error}");
                    failures += 1;
                }
            }
        }
        // One that is sent again soon is not given up.
        assert_eq!(failures > 0, deaf != (10, 11), "{deaf:?}");
        assert_eq!(answered_after.is_some(), failures > 0, "{deaf:?} {failures}");
        assert!(failures < 20, "{deaf:?}: {failures}");
        client.hello(|_| ()).unwrap();
        client.tell(Command::ForgetLabels).unwrap();
        assert_eq!(device.borrow().step(), 0);
    }
}

/// The host must refuse a packet that the device cannot hold, because the device could not report it.
#[test]
fn a_packet_that_is_too_long_for_the_device_is_an_error_at_once() {
    let mut replies = vec![0; REPLY_LEN];
    let mut client = Client::new(memory(Fate::Works).0, &mut replies, TIMEOUT, Arc::default());
    client.hello(|_| ()).unwrap();
    let answered = client.counts().answered;
    let frame = |pixels| Command::Frame { phase: clapp_core::contrast::Phase::Saccade, label: None, pixels };
    let error = client.tell(frame(&[0; 4000])).unwrap_err().to_string();
    assert!(error.contains("the device accepts packets of at most 1024 bytes, not 4000"), "{error}");
    assert_eq!(client.counts().answered, answered);
    let error = client.tell(frame(&[0; 1000])).unwrap_err().to_string();
    assert!(error.contains("the device takes frames of 1024 pixels"), "{error}");
    client.tell(Command::ClearContext).unwrap();
}
