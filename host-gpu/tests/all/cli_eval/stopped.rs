//! A probe that a signal ends keeps the last whole epoch; a second signal ends it at once.

use super::{place, record};
use clapp_engine::probe::ProbeRecord;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// More epochs than a test waits for.
const LONG: &str = "1000000";

/// Ends an evaluation after its first epoch; gives how it ended and what it said after that.
fn stop(folder: &Path, arguments: &[&str], signal: Signal) -> (ExitStatus, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_clapp"))
        .args(arguments)
        .current_dir(folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    for line in BufReader::new(child.stderr.take().unwrap()).lines() {
        if line.unwrap().contains("1 of 1000000 epochs done") {
            break;
        }
    }
    kill_process(Pid::from_child(&child), signal).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status, String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn what_is_there_is_kept_and_marked() {
    let place = place();
    let folder = place.path();
    for (more, signal, file) in [(&[][..], Signal::INT, "probe"), (&["--cached"][..], Signal::TERM, "probe-cached")] {
        let arguments = [&["eval", "run", "--data", "data", "--epochs", LONG], more].concat();
        let (status, said) = stop(folder, &arguments, signal);
        assert_eq!(status.code(), Some(130), "{said}");
        assert!(said.contains("linear probe, stopped after "), "{said}");
        let report = record(folder, &format!("run/{file}.json")).report;
        let protocol = report.protocol.clone().unwrap();
        assert!(report.is_stopped() && protocol.planned_epochs == 1_000_000, "{report:?}");
        assert!(report.epochs >= 1 && report.all.epochs.len() as u64 == report.epochs, "{report:?}");
        // They are the epochs of a probe that was to end there.
        let epochs = report.epochs.to_string();
        let again = [&["eval", "run", "--data", "data", "--json", "again.json", "--epochs", &epochs], more].concat();
        super::succeeds(folder, &again);
        let whole = record(folder, "again.json").report;
        assert_eq!((whole.all, whole.layers, whole.confusion), (report.all, report.layers, report.confusion));
        let weights = |path: &str| {
            let bytes = fs::read(folder.join(path)).unwrap();
            let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
            bytes[8 + header..].to_vec()
        };
        assert!(weights(&format!("run/{file}.safetensors")) == weights("again.safetensors"), "{file}");
    }
    // A stopped probe is shown as one, never ranked with whole ones.
    super::succeeds(folder, &["report", "run", "--out", "page.html"]);
    let page = fs::read_to_string(folder.join("page.html")).unwrap();
    assert!(page.contains("stopped after ") && page.contains(" of 1000000 on 20 images"), "{page}");
}

#[test]
fn a_finished_probe_is_not_replaced_by_a_stopped_one() {
    let place = place();
    let folder = place.path();
    super::succeeds(folder, &["eval", "run", "--data", "data", "--cached", "--epochs", "2"]);
    let files = ["run/probe-cached.json", "run/probe-cached.safetensors"].map(|file| folder.join(file));
    // It has more epochs than the other one will have.
    let of_epochs = |epochs: u32| {
        let text = fs::read_to_string(&files[0]).unwrap();
        let (at, rest) = text.split_once("\n  \"epochs\": ").unwrap();
        let rest = &rest[rest.find(',').unwrap()..];
        fs::write(&files[0], format!("{at}\n  \"epochs\": {epochs}{rest}")).unwrap();
    };
    of_epochs(999_999);
    let before = files.each_ref().map(|file| fs::read(file).unwrap());
    let (status, said) = stop(folder, &["eval", "run", "--data", "data", "--cached", "--epochs", LONG], Signal::INT);
    assert_eq!(status.code(), Some(130));
    assert!(said.contains("run/probe-cached.json holds a finished probe of this encoder and stays"), "{said}");
    assert_eq!(files.each_ref().map(|file| fs::read(file).unwrap()), before);
    // The stopped probe goes beside it, complete and marked.
    assert!(said.contains("wrote run/probe-cached.partial.json"), "{said}");
    let beside = record(folder, "run/probe-cached.partial.json").report;
    assert!(beside.is_stopped() && beside.epochs >= 1, "{beside:?}");
    let data = fs::read_dir(folder.join("run")).unwrap().count();
    let image = folder.join("image.png");
    fs::write(&image, super::sets::png(&super::sets::picture(0, 0, 32, 32).into())).unwrap();
    let probe = "run/probe-cached.partial.safetensors";
    super::succeeds(folder, &["predict", "run", "image.png", "--probe", probe]);
    assert_eq!(fs::read_dir(folder.join("run")).unwrap().count(), data);
    assert!(ProbeRecord::read(&files[0]).is_ok());
    // A result of another encoder with the same epochs is replaced.
    super::succeeds(folder, &["train", "--config", "tiny.toml", "--data", "data", "--seed", "9", "--out", "other"]);
    for file in &files {
        fs::copy(file, folder.join("other").join(file.file_name().unwrap())).unwrap();
    }
    stop(folder, &["eval", "other", "--data", "data", "--cached", "--epochs", LONG], Signal::INT);
    assert!(record(folder, "other/probe-cached.json").report.is_stopped());
    // A stopped probe of more epochs does not replace a finished one.
    of_epochs(0);
    let before = files.each_ref().map(|file| fs::read(file).unwrap());
    stop(folder, &["eval", "run", "--data", "data", "--cached", "--epochs", LONG], Signal::INT);
    assert_eq!(files.each_ref().map(|file| fs::read(file).unwrap()), before);
    // A finished probe of any length replaces it. The command prints a note before it begins.
    of_epochs(400);
    let (_, notes) = super::both(folder, &["eval", "run", "--data", "data", "--cached", "--epochs", "1"]);
    let parts = "run/probe-cached.json holds a finished probe of this encoder, 400 epochs on 20 images; this one, 1 epoch on 20";
    assert!(notes.contains(parts), "{notes}");
    assert_eq!(record(folder, "run/probe-cached.json").report.epochs, 1);
    let (_, notes) = super::both(folder, &["eval", "run", "--data", "data", "--cached", "--epochs", "1"]);
    assert!(!notes.contains("holds a finished probe"), "{notes}");
    // A new run removes them too.
    let train = ["train", "--config", "tiny.toml", "--data", "data", "--epochs", "1", "--overwrite", "--out", "run"];
    super::succeeds(folder, &train);
    assert!(!folder.join("run/probe-cached.partial.json").exists());
    assert!(!folder.join(probe).exists());
}

#[test]
fn the_second_signal_ends_it_at_once() {
    let place = place();
    let folder = place.path();
    let before = fs::read_dir(folder.join("run")).unwrap().count();
    // Nobody reads its standard output, and that is full: after the first signal it waits for ever.
    let (reader, mut writer) = std::io::pipe().unwrap();
    let output = writer.try_clone().unwrap();
    let full = std::thread::spawn(move || while writer.write_all(&[b'-'; 4096]).is_ok() {});
    let mut child = Command::new(env!("CARGO_BIN_EXE_clapp"))
        .args(["eval", "run", "--data", "data", "--epochs", LONG])
        .current_dir(folder)
        .stdout(output)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    for line in BufReader::new(child.stderr.take().unwrap()).lines() {
        if line.unwrap().contains("1 of 1000000 epochs done") {
            break;
        }
    }
    let begin = Instant::now();
    let mut signals = 0;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "it does not end after {signals} signals");
        if kill_process(Pid::from_child(&child), Signal::INT).is_ok() {
            signals += 1;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    assert!(signals >= 2, "{signals}");
    assert_eq!(status.code(), Some(130));
    drop(reader);
    full.join().unwrap();
    assert_eq!(fs::read_dir(folder.join("run")).unwrap().count(), before);
}
