//! The tests kill the program at any moment, also while it writes a checkpoint. The run must then continue and end with
//! the same bytes.
#![cfg(unix)]

use crate::cli_common;

use clapp_data::rng::{Purpose, Rng, stream};
use cli_common::{CONFIG, succeeds, write_cifar};
use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

/// Number of kills of each run, and smallest number of kills that must leave an unfinished file.
const KILLS: usize = 10;
const TORN: usize = 3;

/// Sessions after which a test gives up: the program always finished before it was killed, or never inside a write.
const MOST_SESSIONS: usize = 300;

fn place(changes: &[(&str, &str)]) -> tempfile::TempDir {
    let place = tempfile::tempdir().expect("a folder");
    let mut config = CONFIG.to_string();
    for (from, to) in changes {
        assert!(config.contains(from), "{from}");
        config = config.replacen(from, to, 1);
    }
    fs::write(place.path().join("tiny.toml"), config).expect("a file");
    write_cifar(&place.path().join("data"));
    place
}

/// Arguments of `clapp train` into `out`, with a checkpoint after each step, so that most kills hit a checkpoint.
fn arguments(out: &str) -> Vec<&str> {
    vec!["train", "--config", "tiny.toml", "--data", "data", "--resume", "--checkpoint-every", "1", "--out", out]
}

fn start(place: &Path, arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_clapp"));
    command.args(arguments).current_dir(place).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("the program")
}

/// Names of the files in a folder that were being written.
fn unfinished(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter(|name| name.ends_with(".tmp")).collect()
}

/// Waits for `time`, or until the given number of unfinished files was seen. Returns `false` if the program ended
/// before.
fn wait(child: &mut Child, folder: &Path, time: Duration, files: Option<usize>) -> bool {
    let begin = Instant::now();
    let mut seen = HashSet::new();
    while child.try_wait().expect("a state").is_none() {
        match files {
            Some(_) => seen.extend(unfinished(folder)),
            None => std::thread::sleep(Duration::from_micros(200)),
        }
        if files.map_or_else(|| begin.elapsed() >= time, |files| seen.len() > files) {
            return true;
        }
    }
    false
}

/// Kills a run [`KILLS`] times at random moments and continues it each time. At the end its bytes equal those of an
/// undisturbed run.
fn survives(changes: &[(&str, &str)]) {
    let place = place(changes);
    let begin = Instant::now();
    succeeds(place.path(), &arguments("whole"));
    let whole_time = begin.elapsed();
    let seed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a time").as_nanos() as u64;
    println!("seed {seed}");
    let mut rng: Rng = stream(seed, Purpose::Other(1), 0, 0);
    let folder = place.path().join("killed");
    let (mut kills, mut torn) = (0, 0);
    for session in 0.. {
        if kills >= KILLS && torn >= TORN {
            break;
        }
        assert!(session < MOST_SESSIONS, "{kills} kills, {torn} of them inside a write");
        let mut child = start(place.path(), &arguments("killed"));
        let time = whole_time.mul_f64(0.3 * rng.unit_f64());
        let files = (session % 2 == 1).then(|| rng.below(12));
        if wait(&mut child, &folder, time, files) {
            child.kill().expect("SIGKILL");
            child.wait().expect("its end");
            kills += 1;
            torn += usize::from(!unfinished(&folder).is_empty());
        } else {
            // It was done before: right all the same, and the next one starts again.
            check(place.path());
            fs::remove_dir_all(&folder).expect("a folder");
        }
    }
    succeeds(place.path(), &arguments("killed"));
    check(place.path());
    let text = succeeds(place.path(), &arguments("killed"));
    assert!(text.contains("finished already"), "{text}");
}

/// Checks that a finished run equals an undisturbed one: the same checkpoint to the last byte, the same metrics except
/// the speed, and no unfinished files.
fn check(place: &Path) {
    let read = |file: &str| fs::read(place.join(file)).expect(file);
    assert!(read("killed/checkpoint.safetensors") == read("whole/checkpoint.safetensors"), "checkpoints differ");
    let metrics = |file: &str| -> Vec<Vec<String>> {
        let text = String::from_utf8(read(file)).expect("text");
        let fields =
            |line: &str| line.split(',').enumerate().filter(|(at, _)| *at != 2).map(|(_, f)| f.into()).collect();
        text.lines().map(fields).collect()
    };
    assert_eq!(metrics("killed/metrics.csv"), metrics("whole/metrics.csv"));
    assert_eq!(unfinished(&place.join("killed")), Vec::<String>::new());
}

/// Wide enough that a checkpoint is written in several pieces.
const WIDE: (&str, &str) = ("width = 1.0", "width = 8.0");

#[test]
fn a_run_with_adamw_and_both_contexts_survives_ten_kills() {
    let uniform = ("negatives = \"ring\"", "negatives = { uniform = 2 }");
    survives(&[WIDE, ("rule = \"clapp++\"", "rule = \"clapp++both\""), uniform, ("epochs = 2", "epochs = 6")]);
}

#[test]
fn a_run_with_momentum_and_context_from_the_top_survives_ten_kills() {
    let sgd = ("kind = \"adamw\"\nlr = 0.001", "kind = \"sgd\"\nlr = 0.01\nmomentum = 0.9\nweight-decay = 0.0001");
    survives(&[WIDE, ("rule = \"clapp++\"", "rule = \"clapp++dfb\""), sgd, ("epochs = 2", "epochs = 6")]);
}

#[test]
fn a_run_with_lars_schedule_and_matched_feedback_survives_ten_kills() {
    let lars = ("kind = \"adamw\"\nlr = 0.001", "kind = \"lars\"\nlr = 0.3\nweight-decay = 0.0001");
    let rule = ("rule = \"clapp++\"", "rule = \"clapp++dfb\"\nfeedback = \"matched\"");
    let cosine = "epochs = 6\nschedule = { warmup-cosine = { warmup-epochs = 2, least = 0.001 } }";
    survives(&[WIDE, rule, lars, ("epochs = 2", cosine)]);
}

#[test]
fn a_signal_ends_the_step_and_writes_a_checkpoint_to_go_on_from() {
    let place = place(&[("epochs = 2", "epochs = 60")]);
    let train = ["train", "--config", "tiny.toml", "--data", "data", "--checkpoint-minutes", "0"];
    succeeds(place.path(), &[&train[..], &["--out", "whole"]].concat());
    for signal in ["INT", "TERM"] {
        let mut child = start(place.path(), &[&train[..], &["--out", signal]].concat());
        let folder = place.path().join(signal);
        // Its events are the last file that a run opens before its first step.
        let begun = |folder: &Path| {
            let names = fs::read_dir(folder)
                .into_iter()
                .flatten()
                .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
            names.into_iter().any(|name| name.contains("tfevents"))
        };
        while !begun(&folder) {
            assert!(child.try_wait().expect("a state").is_none());
        }
        let kill = format!("kill -{signal} {}", child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().expect("a shell").success());
        let output = child.wait_with_output().expect("its end");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(130), "{text}");
        // The printed command works as typed.
        let (_, command) = text.trim_end().split_once("clapp train ").expect("a command");
        assert!(command.contains("--resume"), "{text}");
        let arguments: Vec<&str> = ["train"].into_iter().chain(command.split(' ')).collect();
        succeeds(place.path(), &arguments);
        let read = |folder: &str| fs::read(place.path().join(folder).join("checkpoint.safetensors")).expect("a file");
        assert!(read(signal) == read("whole"), "{signal}");
    }
}
