//! Streams of continual learning through the link to the firmware's program, beside the learner of `clapp paper continual`.
#![allow(clippy::unwrap_used, reason = "a failure is the end of a test")]

use crate::device_common;

use clapp_core::link::Command;
use clapp_data::data::generated;
use clapp_data::error::Error;
use clapp_device::device::client::{Client, REPLY_LEN};
use clapp_device::device::description::Description;
use clapp_device::device::faults::Faulty;
use clapp_device::device::transport::Transport;
use clapp_firmware::model::{CLASSES, NETWORK, OPTIMIZER, SETTINGS};
use clapp_lab::continual::Model;
use clapp_lab::continual::device::{Compared, compare};
use clapp_lab::continual::stream::{Kind, Size, Stream};
use device_common::{Device, Fate, Memory, memory};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

const SIZE: Size = Size { images: 6, fixation: 2, labels: 2, stages: 3, more_labels: 1, test: 2 };
const TIMEOUT: Duration = Duration::from_secs(60);

/// A stream on a device whose host believes what `believe` makes of its description.
fn shown(
    line: Box<dyn Transport>,
    kind: Kind,
    believe: impl FnOnce(Description) -> Description,
) -> Result<Compared, Error> {
    let mut replies = vec![0; REPLY_LEN];
    let mut client = Client::new(line, &mut replies, TIMEOUT, Arc::default());
    let device = believe(Description::ask(&mut client)?);
    let stream = Stream::new(kind, &generated::shapes(4, 100, 40), device.spec.input(), SIZE, 5)?;
    compare(&mut client, &device, &stream)
}

#[test]
fn the_experiment_s_network_is_the_one_that_is_built_in() {
    let model = Model::built_in().unwrap();
    assert_eq!(model.spec.view(), NETWORK.view());
    assert_eq!((model.optimizer, model.classes), (OPTIMIZER, CLASSES));
    assert_eq!((model.optimizer, model.guard.max_update_norm), (SETTINGS.optimizer, SETTINGS.max_update_norm));
    assert_eq!((model.scale, model.offset), (SETTINGS.scale, SETTINGS.offset));
    let mut replies = vec![0; REPLY_LEN];
    let mut client = Client::new(memory(Fate::Works).0, &mut replies, TIMEOUT, Arc::default());
    assert_eq!(Model::of(&Description::ask(&mut client).unwrap()), model);
}

#[test]
fn a_stream_gives_the_same_on_the_device_and_on_the_host() {
    for (kind, tests) in [(Kind::ClassIncremental, 2 * 55), (Kind::Drift, 20 * 6)] {
        let (line, device) = memory(Fate::Works);
        let compared = shown(line, kind, |device| device).unwrap();
        assert_eq!(compared.differences, Vec::<String>::new());
        assert_eq!(compared.matrices[0], compared.matrices[1]);
        assert_eq!(compared.frames, 10 * 6 * 2 + tests);
        // It has learnt from what it was shown, not from what it was tested on, and was told the labels.
        assert_eq!((device.borrow().step(), compared.held.step), (120, 120));
        let labels = if kind == Kind::Drift { 2 + 1 + 1 } else { 2 };
        assert_eq!(compared.held.counts, [2 * labels; 10]);
        // The first frame of each stage has nothing to be compared with.
        let stages = if kind == Kind::Drift { 3 } else { 10 };
        assert!(compared.held.layers.iter().all(|layer| layer.steps + layer.refused == 120 - stages));
        // The next host finds it unmuted.
        let mut replies = vec![0; REPLY_LEN];
        let line = Box::new(Memory::to(device, Fate::Works));
        let mut client = Client::new(line, &mut replies, TIMEOUT, Arc::default());
        assert_eq!(Description::ask(&mut client).unwrap().modulator, 1.0);
    }
}

#[test]
fn a_bad_line_changes_nothing() {
    let good = shown(memory(Fate::Works).0, Kind::ClassIncremental, |device| device).unwrap();
    let line = Box::new(Faulty::new(memory(Fate::Works).0, 3e-4, 1));
    assert_eq!(shown(line, Kind::ClassIncremental, |device| device).unwrap(), good);
}

#[test]
fn one_bit_in_what_the_host_computes_is_found_out() {
    let next = |value: f32| f32::from_bits(value.to_bits() + 1);
    let off = |device: Description| Description { offset: next(device.offset), ..device };
    let compared = shown(memory(Fate::Works).0, Kind::ClassIncremental, off).unwrap();
    assert!(compared.differences.iter().any(|text| text.contains(" of 6896 parameters differ")), "{compared:?}");
    assert!(compared.differences.iter().any(|text| text.contains("numbers of the read-out differ")));
}

/// A line on which another host shows the device a frame in the middle.
#[derive(Debug)]
struct Intruder {
    line: Memory,
    device: Rc<RefCell<Device>>,
    left: usize,
}

impl Transport for Intruder {
    fn place(&self) -> String {
        self.line.place()
    }
    fn advice(&self) -> String {
        self.line.advice()
    }
    fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.left = self.left.wrapping_sub(1);
        if self.left == 0 {
            let mut replies = vec![0; REPLY_LEN];
            let line = Box::new(Memory::to(self.device.clone(), Fate::Works));
            Client::new(line, &mut replies, TIMEOUT, Arc::default()).hello(|_| ()).unwrap();
        }
        self.line.send(bytes)
    }
    fn receive(&mut self, bytes: &mut [u8], wait: Duration) -> std::io::Result<usize> {
        self.line.receive(bytes, wait)
    }
}

#[test]
fn another_host_or_a_restart_in_the_middle_is_an_error() {
    let (_, device) = memory(Fate::Works);
    let line = Intruder { line: Memory::to(device.clone(), Fate::Works), device, left: 200 };
    let line: [Box<dyn Transport>; 2] = [Box::new(line), memory(Fate::RestartedBefore(200)).0];
    for line in line {
        let error = shown(line, Kind::Drift, |device| device).unwrap_err();
        assert!(error.to_string().starts_with("memory: the device was restarted, or another host"), "{error}");
    }
}

#[test]
fn a_muted_device_learns_and_one_with_few_classes_is_refused() {
    let (line, device) = memory(Fate::Works);
    let mut replies = vec![0; REPLY_LEN];
    let mut client = Client::new(line, &mut replies, TIMEOUT, Arc::default());
    client.hello(|_| ()).unwrap();
    client.tell(Command::Modulator(0.0)).unwrap();
    let line = Box::new(Memory::to(device.clone(), Fate::Works));
    assert_eq!(shown(line, Kind::Drift, |device| device).unwrap().differences, Vec::<String>::new());
    assert_eq!(device.borrow().step(), 120);
    let few = |device: Description| Description { classes: 9, ..device };
    let error = shown(memory(Fate::Works).0, Kind::Drift, few).unwrap_err();
    assert_eq!((error.exit_code(), error.to_string().contains("which has 9")), (2, true), "{error}");
}
