//! Training, evaluation and checks on a GPU, through the program, on its emulation; and what is said where there is none.

mod cli_common;

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

/// The program, which must fail with `code`; gives what it says.
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
        let eval = ["eval", "run", "--data", "data", "--json", "p.json", "--precision", "f32", "--backend", backend];
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
        // Where there is a driver, another test is needed.
        if clapp(place.path(), &["doctor"]).status.success() {
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
    assert!(fails(place.path(), &local, 2).contains("backward: is of the rules that back-propagate"));
    let parts = [&bp[..], &["--backward", "accumulated=5", "--out", "no"]].concat();
    assert!(fails(place.path(), &parts, 2).contains("backward.accumulated is 5, expected 1 to"));
}
