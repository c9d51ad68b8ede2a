//! `clapp device` through the program, over a serial line (a pseudo-terminal) with the firmware's program at its other
//! end.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a failure is the end of a test")]

use crate::cli_common;
use crate::device_common;

use cli_common::{clapp, refuses, succeeds, write_cifar, write_idx};
use device_common::Device;
use serial2::SerialPort;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A device at the other end of a serial line.
struct Line {
    port: String,
    /// Kept open, so that the line is not cut between two programs; not as a port, which would keep the others out.
    _slave: File,
    end: Arc<AtomicBool>,
    step: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Line {
    /// A device that stops replying after `most` steps.
    fn silent_after(most: u64) -> Self {
        let (mut master, slave) = SerialPort::pair().unwrap();
        let name = std::fs::read_link(format!("/proc/self/fd/{}", slave.as_raw_fd())).unwrap();
        let port = name.to_str().unwrap().to_string();
        const NO_CONTROLLING_TERMINAL: i32 = 0o400;
        let mut options = File::options();
        let kept = options.read(true).write(true).custom_flags(NO_CONTROLLING_TERMINAL).open(&port).unwrap();
        drop(slave);
        master.set_read_timeout(Duration::from_millis(5)).unwrap();
        let (end, step) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (ended, steps) = (end.clone(), step.clone());
        let thread = std::thread::spawn(move || {
            let (mut device, mut bytes) = (Device::new(true), [0; 512]);
            while !ended.load(Ordering::Relaxed) {
                let Ok(count) = master.read(&mut bytes) else { continue };
                if device.step() < most {
                    let answer = device.talk(&bytes[..count]);
                    master.write_all(&answer).unwrap();
                }
                steps.store(device.step(), Ordering::Relaxed);
            }
        });
        Self { port, _slave: kept, end, step, thread: Some(thread) }
    }

    fn new() -> Self {
        Self::silent_after(u64::MAX)
    }

    fn step(&self) -> u64 {
        self.step.load(Ordering::Relaxed)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

fn device<'a>(port: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["device", "--port", port][..], more].concat()
}

fn says(text: &str, parts: &[&str]) {
    parts.iter().for_each(|part| assert!(text.contains(part), "no `{part}` in: {text}"));
}

/// A lesson on the small set of [`write_cifar`], in the folder `cifar`.
const SHORT: [&str; 8] = ["--data", "cifar", "--frames", "40", "--labels", "2", "--test", "10"];

#[test]
fn a_device_is_taught_saved_fetched_and_taken_on() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    write_cifar(&folder.join("cifar"));
    let line = Line::new();
    let more = [&SHORT[..], &["--save", "--fetch", "home/held.safetensors"]].concat();
    let output = clapp(folder, &device(&line.port, &more));
    let (text, log) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(0), "{log}");
    says(&text, &["queues, firmware 0.1.0: 1 x 32 x 32 -> 8 -> 16 -> 16 channels, 6896 parameters"]);
    says(&text, &["CLAPP++DFB, hinge, SGD, learning rate 0.01\nstep 0, weights drawn from seed 1\n"]);
    says(&text, &["before learning: ", "after learning: ", " % of 10 test images, from 2 labels a class"]);
    says(&text, &["learnt without labels from 40 frames in ", "saved in the device's flash at step 40"]);
    says(&text, &["sent again; packets that could not be read: 0 by the device, 0 by the host; "]);
    says(&text, &["replay on the host: the same to the last bit (100 frames, 6896 parameters, read-out)"]);
    says(&text, &["wrote home/held.safetensors: what the device holds at step 40\n"]);
    // Without a terminal, lines for a log.
    says(&log, &["learning: 20 of 40 frames, loss ", "labels: 20 of 20 frames\n", "testing: 10 of 10 frames, "]);

    // The fetched file is a normal checkpoint.
    succeeds(folder, &["export", "home/held.safetensors", "-o", "image.bin"]);
    let network = ["--network", "home/held.safetensors", "-o", "back.safetensors"];
    let text = succeeds(folder, &[&["import", "image.bin"][..], &network].concat());
    says(&text, &["step 40, 6896 parameters", "read-out of 10 classes with 20 examples"]);
    let bytes = |name: &str| std::fs::read(folder.join(name)).unwrap();
    assert_eq!(bytes("home/held.safetensors"), bytes("back.safetensors"));

    let more = ["--data", "cifar", "--cached", "--epochs", "1", "--json", "probe.json"];
    says(&succeeds(folder, &[&["eval", "home/held.safetensors"][..], &more].concat()), &["clapp++dfb, 0 epochs, on "]);

    // The device continues from where it is, with another data set and the read-out that it has.
    let more = ["--frames", "9", "--fixation", "3", "--labels", "0", "--test", "20"];
    let text = succeeds(folder, &device(&line.port, &more));
    says(
        &text,
        &["step 40, weights drawn from seed 1\n", "generated shapes, seed 1: 4000 training and 1000 test images"],
    );
    says(&text, &[" % of 20 test images, with the read-out that it has", "the same to the last bit (49 frames"]);
    assert_eq!(line.step(), 49);

    // A new start, on digits, without a replay, with labels only.
    write_idx(&folder.join("digits"), 8);
    let more = ["--data", "digits", "--reset", "7", "--frames", "0", "--labels", "1", "--test", "4", "--no-replay"];
    let text = succeeds(folder, &device(&line.port, &more));
    says(&text, &["step 0, weights drawn from seed 7 on request\n", "without learning: "]);
    assert!(!text.contains("replay"), "{text}");
}

#[test]
fn a_bad_line_is_told_and_changes_nothing() {
    let place = tempfile::tempdir().unwrap();
    write_cifar(&place.path().join("cifar"));
    let lesson = |more: &[&str], name: &str| {
        let line = Line::new();
        let text = succeeds(place.path(), &device(&line.port, &[&SHORT[..], &["--fetch", name], more].concat()));
        says(&text, &["the same to the last bit"]);
        assert_eq!(line.step(), 40);
        (text, std::fs::read(place.path().join(name)).unwrap())
    };
    let (_, good) = lesson(&[], "good.safetensors");
    let (text, bad) = lesson(&["--faults", "1e-4"], "bad.safetensors");
    assert_eq!(good, bad);
    assert!(!text.contains(", 0 sent again"), "{text}");
}

#[test]
fn what_cannot_be_is_said_in_one_line_and_nothing_is_written() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    let refused = |arguments: &[&str], parts: &[&str]| refuses(folder, &[&["device"], arguments].concat(), parts);
    refused(&["--port", "nothing"], &["error: nothing: cannot be opened: "]);
    refused(&["--qemu", "--firmware", "nothing"], &["QEMU mps2-an386: firmware nothing does not exist; build it with"]);
    refused(&["--qemu", "--machine", "mps2-an500"], &["target/firmware/qemu-mps2-an500/clapp-firmware does not exist"]);
    refused(&["--port", "nothing", "--timeout", "0"], &["--timeout: is 0, expected 0.1 to 3600 seconds"]);
    refused(&["--port", "nothing", "--faults", "0.5"], &["--faults: is 0.5, expected 0 to 0.1"]);
    refused(&["--port", "nothing", "--fetch", "."], &["cannot write ."]);
    refused(&["--port", "nothing", "--fixation", "0"], &["--fixation"]);
    refused(&["--port", "nothing", "--qemu"], &["cannot be used with"]);
    refused(&[], &["--port", "--qemu"]);
    write_cifar(&folder.join("cifar"));
    let line = Line::new();
    let refused = |line: &Line, more: &[&str], parts: &[&str]| refuses(folder, &device(&line.port, more), parts);
    refused(&line, &["--data", "missing"], &["missing"]);
    refused(&line, &["--data", "cifar", "--test", "20"], &["--test: is 20, but cifar10 has 10 test images"]);
    let parts = ["--labels: is 3, but class airplane has 2 training images"];
    refused(&line, &["--data", "cifar", "--test", "10", "--labels", "3"], &parts);
    let line = Line::silent_after(0);
    refused(&line, &["--data", "cifar", "--timeout", "0.3"], &[": no reply within 0.3 s; check the port", "115200"]);
}

#[test]
fn a_device_that_falls_silent_ends_the_program() {
    let place = tempfile::tempdir().unwrap();
    write_cifar(&place.path().join("cifar"));
    let line = Line::silent_after(25);
    let more = [&SHORT[..], &["--timeout", "0.5", "--fetch", "held.safetensors"]].concat();
    let output = clapp(place.path(), &device(&line.port, &more));
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    says(&errors, &["error: ", ": the device stopped replying: no reply within 0.5 s, after "]);
    assert_eq!(errors.lines().filter(|line| line.contains("error")).count(), 1, "{errors}");
    assert!(!place.path().join("held.safetensors").exists());
}

#[test]
fn ctrl_c_ends_a_lesson_and_leaves_a_device_that_learns() {
    let place = tempfile::tempdir().unwrap();
    write_cifar(&place.path().join("cifar"));
    let line = Line::new();
    let few = ["--data", "cifar", "--labels", "1", "--test", "1"];
    let arguments = device(&line.port, &[&few[..], &["--frames", "1000000"]].concat());
    let mut program = start(place.path(), &arguments);
    let begin = Instant::now();
    while line.step() < 20 {
        assert!(begin.elapsed() < Duration::from_secs(60) && program.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(5));
    }
    let interrupted = Command::new("kill").args(["-INT", &program.id().to_string()]).status().unwrap();
    assert!(interrupted.success());
    let output = program.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    says(&String::from_utf8(output.stdout).unwrap(), &["stopped; the device keeps its learnt state"]);
    let step = line.step();
    let text = succeeds(place.path(), &device(&line.port, &[&few[..], &["--frames", "5"]].concat()));
    says(&text, &[&format!("step {step}, weights drawn from seed 1"), "the same to the last bit"]);
    assert_eq!(line.step(), step + 5);
}

fn start(folder: &Path, arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_clapp"));
    command.args(arguments).current_dir(folder).stdout(Stdio::piped()).stderr(Stdio::null());
    command.spawn().unwrap()
}
