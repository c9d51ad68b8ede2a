//! Outputs that nobody reads, and signals: no panic, and a run is not lost.

use crate::cli_common::{CONFIG, write_cifar};
use clapp_engine::checkpoint::Header;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

fn place() -> tempfile::TempDir {
    let place = tempfile::tempdir().expect("a folder");
    fs::write(place.path().join("tiny.toml"), CONFIG).expect("a file");
    write_cifar(&place.path().join("data"));
    place
}

/// Runs a line of bash, in which `$0` is the program.
fn bash(folder: &Path, line: &str) -> Output {
    let bash = Command::new("bash").args(["-c", line, env!("CARGO_BIN_EXE_clapp")]).current_dir(folder).output();
    let output = bash.expect("bash");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("panicked"), "{line}: {said}");
    output
}

#[test]
fn a_run_goes_on_where_nobody_reads() {
    let place = place();
    for (number, (before, after)) in [
        ("", "2>/dev/full"),
        ("", "2>&-"),
        ("", ">&- 2>&-"),
        ("", "2>&1 | head -0; exit ${PIPESTATUS[0]}"),
        ("", "2>&1 | head -2; exit ${PIPESTATUS[0]}"),
        ("exec 0<&-;", ">/dev/null 2>&1"),
    ]
    .into_iter()
    .enumerate()
    {
        let line = format!("{before} \"$0\" train --config tiny.toml --data data --epochs 3 --out run{number} {after}");
        assert_eq!(bash(place.path(), &line).status.code(), Some(0), "{line}");
        let header = Header::read(&place.path().join(format!("run{number}/checkpoint.safetensors"))).expect("it");
        assert_eq!(header.epoch, 3, "{line}");
    }
}

#[test]
fn no_command_panics_where_its_output_cannot_be_written() {
    let place = place();
    let commands = [
        "info --config tiny.toml",
        "config",
        "completions bash",
        "train --config tiny.toml --print-config",
        "recommend --ram 128k --flash 512k --classes 6 --input 1x32x32",
        "paper",
        "doctor",
        "data check data",
        "--help",
        "--version",
        "train --help",
        "help data check",
    ];
    for command in commands {
        let closed = bash(place.path(), &format!("\"$0\" {command} | head -0; exit ${{PIPESTATUS[0]}}"));
        assert_eq!(closed.status.code(), Some(0), "{command}");
        assert!(closed.stderr.is_empty(), "{command}: {}", String::from_utf8_lossy(&closed.stderr));
        let full = bash(place.path(), &format!("\"$0\" {command} >/dev/full"));
        let errors = String::from_utf8_lossy(&full.stderr).into_owned();
        assert_eq!(full.status.code(), Some(2), "{command}: {errors}");
        assert!(errors.contains("cannot write to standard output"), "{command}: {errors}");
        let both = bash(place.path(), &format!("\"$0\" {command} >/dev/full 2>&1"));
        assert_eq!(both.status.code(), Some(2), "{command}");
        // A closed one is nobody's, as a pipe that nobody reads.
        let none = bash(place.path(), &format!("\"$0\" {command} >&-"));
        assert_eq!(none.status.code(), Some(0), "{command}: {}", String::from_utf8_lossy(&none.stderr));
    }
    // An error that cannot be said is one all the same.
    for wrong in ["info --config none.toml", "info --wrong", "", "report tiny.toml"] {
        for to in ["2>/dev/full", "2>&-", ">&- 2>&-", "2>&1 | head -0; exit ${PIPESTATUS[0]}"] {
            assert_eq!(bash(place.path(), &format!("\"$0\" {wrong} {to}")).status.code(), Some(2), "{wrong} {to}");
        }
    }
}

/// Starts a long run by a line of bash that ends in `exec` and its options, and waits until it trains.
fn begun(folder: &Path, exec: &str, epochs: u32) -> std::process::Child {
    let line = format!("{exec} \"$0\" train --config tiny.toml --data data --epochs {epochs} --out run");
    let mut bash = Command::new("bash");
    let bash = bash.args(["-c", &line, env!("CARGO_BIN_EXE_clapp")]).current_dir(folder);
    let child = bash.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("bash");
    let begin = Instant::now();
    while !folder.join("run/run.json").is_file() {
        assert!(begin.elapsed() < Duration::from_secs(60), "the run does not begin");
        std::thread::sleep(Duration::from_millis(5));
    }
    child
}

/// Returns the exit code of a run; kills a run that does not end.
fn end(mut child: std::process::Child) -> Option<i32> {
    let begin = Instant::now();
    while child.try_wait().expect("its state").is_none() {
        if begin.elapsed() > Duration::from_secs(60) {
            child.kill().expect("a signal");
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait().expect("its end").code()
}

#[test]
fn the_loss_of_the_terminal_ends_a_run_with_a_checkpoint() {
    let place = place();
    // Whoever runs the tests may ignore the signal.
    let child = begun(place.path(), "exec env --default-signal=HUP", 100_000);
    // From the terminal and from the shell.
    kill_process(Pid::from_child(&child), Signal::HUP).expect("a signal");
    let _ = kill_process(Pid::from_child(&child), Signal::HUP);
    assert_eq!(end(child), Some(130));
    let header = Header::read(&place.path().join("run/checkpoint.safetensors")).expect("a checkpoint");
    assert!(header.place.expect("a place").step > 0);
}

#[test]
fn a_run_under_nohup_outlives_its_terminal() {
    let place = place();
    let child = begun(place.path(), "trap '' HUP; exec", 20);
    kill_process(Pid::from_child(&child), Signal::HUP).expect("a signal");
    assert_eq!(end(child), Some(0));
    assert_eq!(Header::read(&place.path().join("run/checkpoint.safetensors")).expect("a checkpoint").epoch, 20);
}

#[test]
fn without_a_command_there_is_help() {
    let place = tempfile::tempdir().expect("a folder");
    let output = Command::new(env!("CARGO_BIN_EXE_clapp")).current_dir(place.path()).output().expect("the program");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("Usage: clapp <COMMAND>") && said.contains("  demo "), "{said}");
    assert_eq!(fs::read_dir(place.path()).expect("a folder").count(), 0);
}
