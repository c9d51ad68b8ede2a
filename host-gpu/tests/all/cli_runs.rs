//! The commands of the program from end to end, on small sets that the tests write.

use crate::cli_common;
use crate::golden_case;

use clapp_engine::backend::cpu::Cpu;
use clapp_engine::checkpoint::Checkpoint;
use clapp_engine::config::Config;
use clapp_engine::golden::case::Case;
use clapp_engine::golden::on_backend;
use clapp_engine::probe::ProbeRecord;
use clapp_engine::run_info::RunInfo;
use cli_common::{CONFIG, clapp, grey_config, succeeds, write_cifar, write_idx};
use golden_case::batch;
use std::fs;
use std::path::Path;
use std::process::Command;

const COLUMNS: &str = "epoch,step,images_per_second,loss_layer0,loss_layer1,learning_rate,\
    u_pos_layer0,u_pos_layer1,u_neg_layer0,u_neg_layer1,mismatch_layer0,mismatch_layer1";

/// A folder with a configuration and a data set.
fn place() -> tempfile::TempDir {
    let place = tempfile::tempdir().expect("a folder");
    fs::write(place.path().join("tiny.toml"), CONFIG).expect("a file");
    write_cifar(&place.path().join("data"));
    place
}

fn train(place: &Path, more: &[&str]) -> String {
    let mut arguments = vec!["train", "--config", "tiny.toml", "--data", "data"];
    arguments.extend(more);
    succeeds(place, &arguments)
}

#[test]
fn train_writes_a_checkpoint_its_configuration_and_its_metrics() {
    let place = place();
    train(place.path(), &["--out", "runs/one"]);
    let folder = place.path().join("runs/one");
    let checkpoint = Checkpoint::read(&folder.join("checkpoint.safetensors")).expect("a checkpoint");
    assert_eq!(checkpoint.epoch, 2);
    let config = Config::parse(CONFIG, "tiny").expect("a configuration");
    assert_eq!(checkpoint.config, config);
    assert_eq!(Config::read(&folder.join("config.toml")).expect("a configuration"), config);
    let first = clapp_engine::trainer::initial_values(&config).expect("values");
    for (layer, first) in checkpoint.layers.iter().zip(&first) {
        assert_ne!(layer.weight, first.weight);
        assert_ne!(layer.projection, first.projection);
    }
    let metrics = fs::read_to_string(folder.join("metrics.csv")).expect("metrics");
    let lines: Vec<&str> = metrics.lines().collect();
    assert_eq!(lines[0], COLUMNS);
    // 20 images in batches of 4: an epoch is five steps and one row.
    assert_eq!(lines.len(), 3);
    assert!(lines[1].starts_with("0,5,") && lines[2].starts_with("1,10,"), "{metrics}");
    for line in &lines[1..] {
        let losses: Vec<f64> = line.split(',').skip(3).take(2).map(|loss| loss.parse().expect("a number")).collect();
        // The hinge loss is about 2 where scores are small, and never below 0.
        assert!(losses.len() == 2 && losses.iter().all(|loss| (0.1..10.0).contains(loss)), "{line}");
    }
    let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("an entry").file_name().into_string().expect("text");
    let mut names: Vec<String> = fs::read_dir(&folder).expect("a folder").map(name).collect();
    names.sort();
    let events = names.iter().position(|name| name.starts_with("events.out.tfevents.")).expect("events");
    names.remove(events);
    assert_eq!(names, ["checkpoint.safetensors", "config.toml", "metrics.csv", "run.json"], "and no temporary file");
    let info = RunInfo::read(&folder).expect("run.json");
    let head = Command::new("git").args(["rev-parse", "HEAD"]).output().ok().filter(|output| output.status.success());
    let commit = info.program.commit.trim_end_matches("-dirty");
    match head {
        Some(head) => assert!(String::from_utf8_lossy(&head.stdout).starts_with(commit), "{commit}"),
        None => assert_eq!(commit, "unknown"),
    }
}

#[test]
fn the_same_command_twice_gives_the_same_bytes_and_another_seed_gives_others() {
    let place = place();
    for rule in ["clapp++", "clapp++dfb", "clapp++both", "clapp++pooled", "bp-clapp++"] {
        let checkpoint = |out: &str, seed: &str| {
            let options = ["--out", out, "--rule", rule, "--seed", seed, "--epochs", "1", "--overwrite"];
            train(place.path(), &options);
            fs::read(place.path().join(out).join("checkpoint.safetensors")).expect("a checkpoint")
        };
        let one = checkpoint("one", "8");
        assert!(one == checkpoint("two", "8"), "{rule}: two runs differ");
        assert!(one != checkpoint("three", "9"), "{rule}: another seed changes nothing");
    }
}

#[test]
fn options_override_the_file_and_are_kept_in_the_checkpoint() {
    let place = place();
    let options = ["--width", "2", "--rule", "clapp++dfb", "--epochs", "1", "--images", "6", "--batch", "3"];
    train(place.path(), &options);
    let checkpoint = Checkpoint::read(&place.path().join("out/tiny/checkpoint.safetensors")).expect("a checkpoint");
    assert_eq!((checkpoint.config.width, checkpoint.config.epochs, checkpoint.config.batch), (2.0, 1, 3));
    assert_eq!(checkpoint.config.images, Some(6));
    assert_eq!(checkpoint.layers[0].bias.len(), 8);
    assert!(!checkpoint.layers[0].feedback.is_empty() && checkpoint.layers[0].projection.is_empty());
}

#[test]
fn eval_probes_a_checkpoint_with_cached_and_with_augmented_features() {
    let place = place();
    train(place.path(), &["--out", "run"]);
    for (cached, file) in [(true, "run/probe-cached.json"), (false, "run/probe.json")] {
        // The folder of the run stands for its checkpoint.
        let checkpoint = if cached { "run" } else { "run/checkpoint.safetensors" };
        let mut arguments = vec!["eval", checkpoint, "--data", "data", "--epochs", "3"];
        arguments.extend(cached.then_some("--cached"));
        let text = succeeds(place.path(), &arguments);
        let record = ProbeRecord::read(&place.path().join(file)).expect("a record");
        let report = &record.report;
        assert_eq!((record.encoder_epochs, record.data.as_str(), record.class_names.len()), (2, "cifar10", 10));
        assert_eq!((report.cached, report.epochs, report.train_images, report.test_images), (cached, 3, 20, 10));
        assert_eq!((report.layers.len(), report.all.classes.len()), (2, 10));
        for head in report.layers.iter().chain([&report.all]) {
            assert_eq!((head.epochs.len(), head.epochs.last()), (3, Some(&head.last)));
            assert_eq!(head.epochs.iter().copied().fold(0.0, f64::max), head.best);
        }
        assert!(text.contains(&format!("all layers  {:6.2} %", 100.0 * report.all.last)), "{text}");
        assert!(text.contains(&format!("wrote {file}")), "{text}");
        let bytes = fs::read(place.path().join(file)).expect("a file");
        arguments.extend(["--json", "elsewhere/again.json"]);
        let again = succeeds(place.path(), &arguments);
        let stem = file.trim_end_matches(".json");
        assert_eq!(again, text.replace(stem, "elsewhere/again"), "the same checkpoint, the same accuracies");
        assert_eq!(fs::read(place.path().join("elsewhere/again.json")).expect("a file"), bytes);
    }
}

#[test]
fn no_epochs_write_the_first_values() {
    let place = place();
    train(place.path(), &["--epochs", "0", "--out", "raw"]);
    let checkpoint = Checkpoint::read(&place.path().join("raw/checkpoint.safetensors")).expect("a checkpoint");
    let config = Config::parse(CONFIG, "tiny").expect("a configuration");
    assert_eq!(checkpoint.layers, clapp_engine::trainer::initial_values(&config).expect("values"));
    assert_eq!(checkpoint.epoch, 0);
}

#[test]
fn grey_images_in_mnists_files_are_trained_on_and_probed() {
    let place = tempfile::tempdir().expect("a folder");
    fs::write(place.path().join("tiny.toml"), grey_config()).expect("a file");
    write_idx(&place.path().join("data"), 8);
    train(place.path(), &["--out", "run"]);
    let text = succeeds(place.path(), &["eval", "run/checkpoint.safetensors", "--data", "data", "--cached"]);
    assert!(text.contains("2 epochs on 8 images"), "{text}");
}

#[test]
fn info_says_what_the_network_needs() {
    let place = place();
    let text = succeeds(place.path(), &["info", "--config", "tiny.toml"]);
    let spec = Config::parse(CONFIG, "tiny").expect("a configuration").network().expect("a network");
    let view = spec.view();
    assert!(text.contains(&format!("encoder {} parameters", view.encoder_len())), "{text}");
    assert!(text.contains(&view.forward_macs().to_string()), "{text}");
    assert!(text.contains("4x16x16") && text.contains("4x8x8") && text.contains("6x8x8"), "{text}");
}

#[test]
fn parity_passes_within_its_bound_and_fails_below_what_rounding_leaves() {
    let place = place();
    let arguments = ["parity", "--config", "tiny.toml", "--data", "data", "--steps", "2"];
    let text = succeeds(place.path(), &arguments);
    assert!(text.contains("passed") && text.contains("layer1.projection"), "{text}");
    let output = clapp(place.path(), &[&arguments[..], &["--bound", "1e-12"]].concat());
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("FAILED"));
}

#[test]
fn golden_passes_on_results_that_agree_and_fails_on_others() {
    let place = tempfile::tempdir().expect("a folder");
    let path = place.path().join("case.safetensors");
    let mut file = batch();
    let case = Case::parse(Path::new("case.safetensors"), &file.bytes()).expect("a case");
    for (name, values) in on_backend::compute(&Cpu, &case).expect("computed").tensors {
        file.doubles(&format!("expect.{name}"), &[values.len()], &values);
    }
    fs::write(&path, file.bytes()).expect("a file");
    // The results of one backend are the expected values for the other.
    for backend in ["core", "cpu"] {
        let text = succeeds(place.path(), &["golden", "case.safetensors", "--backend", backend]);
        assert!(text.contains("1 of 1 cases within limits"), "{text}");
    }
    file.doubles("expect.loss", &[1], &[123.0]);
    fs::write(&path, file.bytes()).expect("a file");
    let output = clapp(place.path(), &["golden", "case.safetensors"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("loss"));
    fs::write(&path, &file.bytes()[..40]).expect("a file");
    let output = clapp(place.path(), &["golden", "case.safetensors"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stdout).contains("case.safetensors"));
}
