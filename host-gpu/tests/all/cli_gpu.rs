//! Training, evaluation and checks on an emulated GPU, through the program; also the messages without a GPU.

use crate::cli_common;

use cli_common::{CONFIG, clapp, succeeds, write_cifar};
use std::fs;
use std::path::Path;
use std::process::Command;

fn place() -> tempfile::TempDir {
    let place = tempfile::tempdir().expect("a folder");
    fs::write(place.path().join("tiny.toml"), CONFIG).expect("a file");
    write_cifar(&place.path().join("data"));
    place
}

const TRAIN: [&str; 9] =
    ["train", "--config", "tiny.toml", "--data", "data", "--backend", "emulated", "--precision", "f32"];

fn train(place: &Path, more: &[&str]) -> String {
    succeeds(place, &[&TRAIN, more].concat())
}

/// The program, which must fail with `code`. Returns what it says.
fn fails(place: &Path, arguments: &[&str], code: i32) -> String {
    let output = clapp(place, arguments);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{text}");
    text
}

#[test]
fn a_run_on_a_device_goes_on_to_the_same_bytes_and_only_there() {
    let place = place();
    let bytes = |run: &str| fs::read(place.path().join(run).join("checkpoint.safetensors")).expect("a checkpoint");
    train(place.path(), &["--out", "whole"]);
    train(place.path(), &["--out", "parts", "--epochs", "1"]);
    train(place.path(), &["--out", "parts", "--resume"]);
    assert!(bytes("whole") == bytes("parts"));
    // Checkpoints inside an epoch change nothing.
    train(place.path(), &["--out", "often", "--checkpoint-every", "1"]);
    assert!(bytes("whole") == bytes("often"));
    let rows = |run: &str| fs::read_to_string(place.path().join(run).join("metrics.csv")).expect("metrics");
    assert_eq!(rows("whole").lines().count(), rows("parts").lines().count());
    let text = succeeds(place.path(), &["eval", "whole/checkpoint.safetensors", "--data", "data"]);
    assert!(text.contains("selected on the test images"), "{text}");
    let on_cpu = ["train", "--config", "tiny.toml", "--data", "data", "--out", "whole", "--epochs", "3", "--resume"];
    let text = fails(place.path(), &on_cpu, 2);
    assert!(text.contains("backend: checkpoint has emulated f32, this run has cpu"), "{text}");
    assert!(bytes("whole") == bytes("parts"), "nothing has changed");
}

#[test]
fn features_of_a_device_are_probed_to_the_accuracy_of_the_cpu_s() {
    let place = place();
    train(place.path(), &["--out", "run"]);
    let probe = |backend: &str, more: &[&str]| -> serde_json::Value {
        let eval = ["eval", "run", "--data", "data", "--json", "p.json", "--backend", backend];
        succeeds(place.path(), &[&eval, more].concat());
        serde_json::from_slice(&fs::read(place.path().join("p.json")).expect("a file")).expect("JSON")
    };
    for more in [&["--cached"][..], &[]] {
        let (cpu, device) = (probe("cpu", more), probe("emulated", more));
        assert!(cpu["all"]["last"].as_f64().is_some_and(|accuracy| accuracy > 0.0), "{cpu}");
        assert_eq!(cpu, device);
    }
}

#[test]
fn without_a_driver_the_program_says_so() {
    let place = place();
    for arguments in [
        &["train", "--config", "tiny.toml", "--data", "data", "--backend", "cuda"][..],
        &["parity", "--backends", "cpu,cuda"][..],
        &["speed", "--backend", "cuda"][..],
    ] {
        // A machine with a driver needs another test.
        if clapp(place.path(), &["doctor", "--require-gpu"]).status.success() {
            println!("NOT RUN: there is a GPU");
            return;
        }
        let text = fails(place.path(), arguments, 2);
        assert!(text.contains("was not found") && text.contains("driver"), "{text}");
        assert!(!place.path().join("out").exists(), "nothing was written");
    }
}

#[test]
fn several_processes_go_with_cuda_only_and_must_be_told_who_they_are() {
    let place = place();
    let said = |backend: &str, variables: &[(&str, &str)]| {
        let output = Command::new(env!("CARGO_BIN_EXE_clapp"))
            .args(["train", "--config", "tiny.toml", "--data", "data", "--out", "out", "--backend", backend])
            .envs(variables.iter().copied())
            .current_dir(place.path())
            .output()
            .expect("the program");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(!place.path().join("out").exists(), "nothing was written");
        text
    };
    let two = [("CLAPP_RANKS", "2"), ("CLAPP_RANK", "0"), ("CLAPP_MEETING", "meeting")];
    for backend in ["cpu", "emulated"] {
        let text = said(backend, &two);
        assert!(text.contains("CLAPP_RANKS: is 2") && text.contains("`--backend cuda` only"), "{text}");
    }
    for (variables, part) in [(&two[..1], "CLAPP_RANK"), (&two[..2], "CLAPP_MEETING")] {
        let text = said("cuda", variables);
        assert!(text.contains(&format!("a value of {part} was not found")), "{text}");
    }
}

#[test]
fn three_backends_learn_the_same() {
    let place = place();
    let text = succeeds(
        place.path(),
        &["parity", "--config", "tiny.toml", "--data", "data", "--backends", "core,cpu,emulated", "--steps", "3"],
    );
    assert!(text.contains("core against cpu and emulated") && text.contains("passed"), "{text}");
    let text = fails(place.path(), &["parity", "--backends", "cpu,cpu"], 2);
    assert!(text.contains("two or more different backends"), "{text}");
}

#[test]
fn speed_is_measured_and_memory_foretold() {
    let place = place();
    for backend in ["cpu", "emulated"] {
        let arguments = ["speed", "--config", "tiny.toml", "--json", "--backend", backend, "--steps", "3"];
        let text = succeeds(place.path(), &arguments);
        let row: serde_json::Value = serde_json::from_str(&text).expect("a line of JSON");
        let number = |name: &str| row[name].as_f64().unwrap_or_else(|| panic!("{name} in {text}"));
        for name in ["seconds_per_step", "end_to_end_seconds_per_step", "images_per_second", "flops", "bytes_moved"] {
            assert!(number(name) > 0.0, "{name} in {text}");
        }
        assert_eq!((row["backend"].as_str(), number("batch")), (Some(backend), 4.0));
        if backend == "emulated" {
            let of_it = number("peak_bytes") / number("predicted_bytes");
            assert!((0.9..1.1).contains(&of_it), "{of_it}: {text}");
        }
    }
}

#[test]
fn back_propagation_in_parts_is_chosen_by_name_and_only_where_it_is() {
    let place = place();
    let bp = ["train", "--config", "tiny.toml", "--data", "data", "--rule", "bp-clapp++", "--epochs", "1"];
    let losses = |run: &str| fs::read_to_string(place.path().join(run).join("metrics.csv")).expect("metrics");
    let mut all = Vec::new();
    for how in ["whole", "checkpointed", "accumulated=2"] {
        succeeds(place.path(), &[&bp[..], &["--backward", how, "--out", how]].concat());
        let row = losses(how).lines().last().expect("a row").to_owned();
        let loss: f64 = row.split(',').nth(4).and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{row}"));
        all.push(loss);
    }
    assert_eq!(all[0], all[1]);
    assert!((all[0] - all[2]).abs() < 1e-5 * all[0], "{all:?}");
    let local = [&bp[..5], &["--backward", "checkpointed", "--out", "no"]].concat();
    assert!(fails(place.path(), &local, 2).contains("backward: applies only to the rules that back-propagate"));
    let parts = [&bp[..], &["--backward", "accumulated=5", "--out", "no"]].concat();
    assert!(fails(place.path(), &parts, 2).contains("backward.accumulated is 5, expected 1 to"));
}

#[test]
fn options_that_nobody_would_heed_are_refused() {
    let place = place();
    let train = ["train", "--config", "tiny.toml", "--data", "data", "--out", "no"];
    for (more, option) in [
        (&["--precision", "bf16"][..], "--precision"),
        (&["--deterministic"][..], "--deterministic"),
        (&["--device", "1"][..], "--device"),
        (&["--backend", "emulated", "--device", "1"][..], "--device"),
    ] {
        let text = fails(place.path(), &[&train, more].concat(), 2);
        assert!(text.contains(&format!("{option}: is of another backend")), "{text}");
    }
    let text = fails(place.path(), &["parity", "--precision", "f32"], 2);
    assert!(text.contains("--precision: is of another backend"), "{text}");
    assert!(!place.path().join("no").exists(), "nothing was written");
}

#[test]
fn a_finished_run_is_not_gone_on_with_elsewhere_and_says_where_it_was() {
    let place = place();
    train(place.path(), &["--out", "run", "--epochs", "1"]);
    let info = fs::read_to_string(place.path().join("run/run.json")).expect("a file");
    let info: serde_json::Value = serde_json::from_str(&info).expect("JSON");
    assert_eq!(info["backend"], "emulated f32");
    let again = ["train", "--config", "tiny.toml", "--data", "data", "--out", "run", "--epochs", "1", "--resume"];
    let text = fails(place.path(), &again, 2);
    assert!(text.contains("backend: checkpoint has emulated f32, this run has cpu"), "{text}");
    // The emulation computes TF32 as f32, and says so.
    let text = succeeds(place.path(), &[&again[..], &["--backend", "emulated", "--precision", "tf32"]].concat());
    assert!(text.contains("finished already"), "{text}");
}

#[test]
fn what_does_not_fit_is_refused_before_it_starts() {
    let place = place();
    let large = ["speed", "--preset", "imagenet", "--batch", "8000", "--backend", "emulated", "--steps", "1"];
    let text = fails(place.path(), &large, 2);
    assert!(text.contains("training on the device needs about") && text.contains("lower --batch"), "{text}");
}

#[test]
fn damaged_kernels_on_disk_are_made_anew() {
    let place = place();
    let cache = place.path().join("cache");
    let run = |out: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_clapp"));
        command.args(TRAIN).args(["--epochs", "1", "--out", out]).current_dir(place.path());
        let output = command.env("CLAPP_CACHE", &cache).output().expect("the program");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        fs::read(place.path().join(out).join("checkpoint.safetensors")).expect("a checkpoint")
    };
    let first = run("first");
    let files: Vec<_> = fs::read_dir(&cache).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    let [file] = &files[..] else { panic!("one file of kernels, not {files:?}") };
    let whole = fs::read(file).expect("a file");
    fs::write(file, &whole[..whole.len() / 2]).expect("cut off");
    assert!(run("second") == first);
    assert!(fs::read(file).expect("a file") == whole, "made anew");
    // A folder that cannot be used is no reason to stop.
    fs::remove_file(file).expect("removed");
    fs::remove_dir(&cache).expect("removed");
    fs::write(&cache, "a file").expect("a file in the place of the folder");
    assert!(run("third") == first);
}
