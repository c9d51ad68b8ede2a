//! Alignment with back-propagation through the program: `clapp align`, and `clapp train --align-every`.

use crate::cli_common;

use cli_common::parts::Parts;
use cli_common::{CONFIG, clapp, refuses, spoilt, succeeds, write_cifar, write_idx};
use serde_json::Value;
use std::fs;
use std::path::Path;

const TRAIN: [&str; 5] = ["train", "--config", "tiny.toml", "--data", "data"];
const CHECKPOINT: &str = "run/checkpoint.safetensors";

/// A folder with a configuration and a data set.
fn place() -> tempfile::TempDir {
    let place = tempfile::tempdir().expect("a folder");
    fs::write(place.path().join("tiny.toml"), CONFIG).expect("a file");
    write_cifar(&place.path().join("data"));
    place
}

fn train(place: &Path, more: &[&str]) -> String {
    succeeds(place, &[&TRAIN, more].concat())
}

fn json(place: &Path, file: &str) -> Value {
    serde_json::from_slice(&fs::read(place.join(file)).expect("a file")).expect("JSON")
}

fn bytes(place: &Path, file: &str) -> Vec<u8> {
    fs::read(place.join(file)).expect("a file")
}

fn text(place: &Path, file: &str) -> String {
    String::from_utf8(bytes(place, file)).expect("text")
}

#[test]
fn a_checkpoint_is_measured_layer_by_layer() {
    let place = place();
    let place = place.path();
    train(place, &["--rule", "clapp++dfb", "--epochs", "1", "--out", "run"]);
    let said = succeeds(place, &["align", "run", "--data", "data", "--json", "align.json"]);
    for part in ["clapp++dfb, 1 epoch,", "5 batches of 4 images", "layer 0", "layer 1    1.0000 ± 0.0000   (top)"] {
        assert!(said.contains(part), "no `{part}` in {said}");
    }
    assert!(said.contains("--batches asks for 10, 20 images give 5") && !said.contains("--pool-top"), "{said}");
    let record = json(place, "align.json");
    assert_eq!(record["format"], "clapp-alignment/1");
    assert_eq!((&record["rule"], &record["data"]), (&"clapp++dfb".into(), &"cifar10".into()));
    assert_eq!((&record["batch"], &record["batches"], &record["encoder_epochs"]), (&4.into(), &5.into(), &1.into()));
    let layers = record["layers"].as_array().expect("layers");
    assert_eq!((layers.len(), &layers[1]["mean"], &layers[1]["std"]), (2, &1.0.into(), &0.0.into()));
    let cosines: Vec<f64> =
        layers[0]["cosines"].as_array().expect("a list").iter().map(|cosine| cosine.as_f64().expect("it")).collect();
    let mean = cosines.iter().sum::<f64>() / 5.0;
    assert!(cosines.len() == 5 && cosines.iter().all(|cosine| cosine.abs() < 1.0), "{cosines:?}");
    assert!((layers[0]["mean"].as_f64().expect("a mean") - mean).abs() < 1e-12);
    // The same by the checkpoint's name, and the first batches of a longer measurement.
    let said = succeeds(place, &["align", CHECKPOINT, "--data", "data", "--batches", "2", "--json", "two.json"]);
    assert!(said.contains("2 batches of 4 images") && !said.contains("asks for"), "{said}");
    let two = json(place, "two.json");
    assert_eq!(
        two["layers"][0]["cosines"].as_array().expect("a list")[..],
        layers[0]["cosines"].as_array().expect("a list")[..2]
    );
    // On the kernels of a GPU, emulated.
    let emulated = ["align", "run", "--data", "data", "--backend", "emulated", "--batches", "2", "--json", "gpu.json"];
    succeeds(place, &emulated);
    let gpu = json(place, "gpu.json");
    for (cosine, other) in cosines.iter().zip(gpu["layers"][0]["cosines"].as_array().expect("a list")) {
        assert!((cosine - other.as_f64().expect("it")).abs() < 1e-5, "{cosine}, {other}");
    }
    let said = succeeds(place, &["align", "run", "--data", "data", "--batch", "10", "--batches", "1"]);
    assert!(said.contains("1 batch of 10 images") && said.contains("layer 1    1.0000   (top)"), "{said}");
}

#[test]
fn a_top_on_cells_is_said_and_can_be_pooled() {
    let place = place();
    let place = place.path();
    let cells = CONFIG.replace("loss-pool = \"global\"", "loss-pool = { block = [4, 4] }");
    fs::write(place.join("tiny.toml"), cells).expect("a file");
    train(place, &["--epochs", "0", "--out", "cells"]);
    let said = succeeds(place, &["align", "cells", "--data", "data"]);
    assert!(
        said.contains("1.0000 ± 0.0000   (top)") && said.contains("on cells") && said.contains("--pool-top"),
        "{said}"
    );
    train(place, &["--epochs", "0", "--out", "whole", "--pool-top"]);
    let said = succeeds(place, &["align", "whole", "--data", "data", "--json", "whole.json"]);
    assert!(!said.contains("on cells"), "{said}");
    assert_eq!(json(place, "whole.json")["top_pooled"], true);
    assert!(text(place, "whole/config.toml").contains("loss-pool = \"global\""));
}

#[test]
fn a_gradient_of_zero_is_said() {
    let place = place();
    let place = place.path();
    train(place, &["--epochs", "0", "--out", "run"]);
    let mut parts = Parts::of(&bytes(place, CHECKPOINT));
    let mut fill = |name: &str, value: f32| {
        let (_, _, bytes) = parts.tensors.get_mut(name).expect("it");
        bytes.chunks_exact_mut(4).for_each(|bytes| bytes.copy_from_slice(&value.to_le_bytes()));
    };
    fill("layer0.weight", 0.0);
    fill("layer0.bias", -1.0);
    fs::write(place.join(CHECKPOINT), parts.bytes()).expect("a file");
    let said = succeeds(place, &["align", "run", "--data", "data", "--json", "align.json"]);
    assert!(said.contains("layer 0      none   (a gradient is zero in 5 of 5 batches)"), "{said}");
    assert!(!said.to_lowercase().contains("nan"), "{said}");
    let layer = &json(place, "align.json")["layers"][0];
    assert_eq!((&layer["mean"], &layer["std"], &layer["without"]), (&Value::Null, &Value::Null, &5.into()));
}

#[test]
fn a_top_is_pooled_only_where_that_means_something() {
    let place = place();
    let place = place.path();
    for (rule, reason) in [
        ("clapp++pooled", "as a whole anyway"),
        ("bp-clapp++", "as a whole anyway"),
        ("dfa", "as a whole anyway"),
        ("scff", "normalises activity"),
        ("forward-forward", "every pixel"),
    ] {
        refuses(
            place,
            &[&TRAIN[..], &["--out", "run", "--pool-top", "--rule", rule]].concat(),
            &["--pool-top: means nothing here", rule, reason],
        );
    }
    refuses(place, &["info", "--config", "tiny.toml", "--pool-top", "--rule", "dfa"], &["--pool-top"]);
}

#[test]
fn batches_are_counted_as_they_are() {
    let place = place();
    let place = place.path();
    train(place, &["--epochs", "0", "--out", "run"]);
    for (batch, said, sizes) in [
        ("8", "2 batches of 8 images and 1 of 4:", vec![8, 8, 4]),
        ("32", "1 batch of 20 images:", vec![20]),
        ("10", "2 batches of 10 images:", vec![10, 10]),
    ] {
        let output = succeeds(place, &["align", "run", "--data", "data", "--batch", batch, "--json", "align.json"]);
        assert!(output.contains(said), "no `{said}` in {output}");
        let record = json(place, "align.json");
        assert_eq!((&record["images"], &record["batch"]), (&serde_json::json!(sizes), &sizes[0].into()));
    }
}

#[test]
fn other_images_and_a_top_that_relaxes_are_noted() {
    let place = place();
    let place = place.path();
    train(place, &["--epochs", "0", "--out", "run"]);
    let align = ["align", "run", "--data", "data", "--batches", "1"];
    assert!(String::from_utf8_lossy(&clapp(place, &align).stderr).lines().all(|line| !line.contains("note")));
    let mut parts = Parts::of(&bytes(place, CHECKPOINT));
    parts.header(|fields| fields["data"]["name"] = "stl10".into());
    fs::write(place.join(CHECKPOINT), parts.bytes()).expect("a file");
    let output = clapp(place, &align);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    assert!(errors.contains("note: the encoder was trained on other images: name: checkpoint has stl10"), "{errors}");
    for rule in ["predictive-coding", "clapp++dfb-pc"] {
        train(place, &["--rule", rule, "--epochs", "0", "--out", rule]);
        let said = succeeds(place, &["align", rule, "--data", "data", "--batches", "1"]);
        assert!(said.contains("the top layer relaxes") && said.contains("below 1 by construction"), "{said}");
        // As training is.
        for command in [&["align", rule][..], &["train", "--config", "tiny.toml", "--rule", rule, "--out", "gpu"]] {
            let emulated = [command, &["--data", "data", "--backend", "emulated"]].concat();
            refuses(place, &emulated, &[rule, "this rule has no GPU kernels"]);
        }
    }
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let place = place();
    let place = place.path();
    train(place, &["--epochs", "0", "--out", "run"]);
    for rule in ["bp-clapp++", "bp-infonce", "scff"] {
        let own = spoilt("contrast = \"hinge\"\n", "").replace("rule = \"clapp++\"", &format!("rule = \"{rule}\""));
        fs::write(place.join("own.toml"), own).expect("a file");
        succeeds(place, &["train", "--config", "own.toml", "--data", "data", "--epochs", "0", "--out", rule]);
    }
    write_idx(&place.join("grey"), 6);
    fs::create_dir(place.join("empty")).expect("a folder");
    let mut parts = Parts::of(&bytes(place, CHECKPOINT));
    parts.nan("layer0.weight");
    fs::write(place.join("nan.safetensors"), parts.bytes()).expect("a file");
    let with = |more: &[&'static str]| [&["align", "run", "--data", "data"], more].concat();
    refuses(place, &with(&["--batches", "0"]), &["--batches: is 0, expected at least 1"]);
    refuses(place, &with(&["--batch", "1"]), &["--batch: is 1, expected at least 2"]);
    refuses(place, &with(&["--batches", "many"]), &["--batches"]);
    refuses(place, &with(&["--json", "data"]), &["data"]);
    refuses(place, &with(&["--precision", "bf16"]), &["--precision", "another backend"]);
    refuses(place, &["align", "run"], &["tiny", "--data PATH"]);
    refuses(place, &["align", "run", "--data", "gone"], &["gone"]);
    refuses(place, &["align", "run", "--data", "grey"], &[CHECKPOINT, "[3, 32, 32]", "[1, 32, 32]"]);
    refuses(place, &["align", "gone", "--data", "data"], &["gone"]);
    refuses(place, &["align", "empty", "--data", "data"], &["empty", "without checkpoint.safetensors"]);
    refuses(place, &["align", "tiny.toml", "--data", "data"], &["tiny.toml"]);
    refuses(place, &["align", "nan.safetensors", "--data", "data"], &["nan.safetensors", "layer0.weight"]);
    for rule in ["bp-clapp++", "bp-infonce"] {
        refuses(place, &["align", rule, "--data", "data"], &[rule, "checkpoint.safetensors", "1 by definition"]);
    }
    refuses(place, &["align", "scff", "--data", "data"], &["scff", "normalises activity"]);
}

#[test]
fn measuring_while_training_changes_no_bit_and_goes_on_with_the_run() {
    let place = place();
    let place = place.path();
    for rule in ["clapp++", "clapp++dfb"] {
        train(place, &["--rule", rule, "--out", "plain", "--overwrite"]);
        train(place, &["--rule", rule, "--out", "run", "--overwrite", "--align-every", "3"]);
        assert!(bytes(place, CHECKPOINT) == bytes(place, "plain/checkpoint.safetensors"), "{rule}");
    }
    assert!(!place.join("plain/alignment.csv").exists());
    let rows = text(place, "run/alignment.csv");
    let steps: Vec<&str> = rows.lines().map(|line| line.split(',').next().expect("a field")).collect();
    assert_eq!(steps, ["step", "0", "3", "6", "9"]);
    assert!(rows.lines().skip(1).all(|line| line.ends_with(",5,5")), "{rows}");
    // The first row equals the result of `clapp align` before the first step.
    train(place, &["--rule", "clapp++dfb", "--epochs", "0", "--out", "first"]);
    succeeds(place, &["align", "first", "--data", "data", "--json", "first.json"]);
    let mean = json(place, "first.json")["layers"][0]["mean"].as_f64().expect("a mean");
    assert_eq!(rows.lines().nth(1).expect("a row").split(',').nth(1), Some(format!("{mean:.6}").as_str()));
    // In parts, with checkpoints between, and with a row that a killed run has written after its checkpoint.
    let parts = ["--rule", "clapp++dfb", "--out", "parts", "--align-every", "3"];
    train(place, &[&parts[..], &["--epochs", "1", "--checkpoint-every", "2"]].concat());
    let file = place.join("parts/alignment.csv");
    let begun = text(place, "parts/alignment.csv");
    fs::write(&file, format!("{begun}6,0.5,1.0,0.1,0.0,5,5\n")).expect("a file");
    train(place, &[&parts[..], &["--resume"]].concat());
    assert_eq!(text(place, "parts/alignment.csv"), rows);
    assert!(bytes(place, "parts/checkpoint.safetensors") == bytes(place, CHECKPOINT));
    // A resumed run keeps its interval, or takes a new one from the option; a new run does not.
    let steps = |place: &Path| {
        let rows = text(place, "parts/alignment.csv");
        rows.lines().skip(1).map(|line| line.split(',').next().expect("a field").to_owned()).collect::<Vec<_>>()
    };
    let parts = ["--rule", "clapp++dfb", "--out", "parts", "--resume"];
    train(place, &[&parts[..], &["--epochs", "3"]].concat());
    assert!(text(place, "parts/alignment.csv").starts_with(&rows));
    assert_eq!(steps(place), ["0", "3", "6", "9", "12", "15"]);
    train(place, &[&parts[..], &["--epochs", "4", "--align-every", "5"]].concat());
    assert_eq!(steps(place)[6..], ["20"]);
    train(place, &[&parts[..], &["--epochs", "5"]].concat());
    assert_eq!(steps(place)[7..], ["25"]);
    train(place, &["--out", "parts", "--overwrite"]);
    assert!(!file.exists());
    // The page has a chart of it.
    succeeds(place, &["report", "run", "--out", "page.html"]);
    assert!(text(place, "page.html").contains("run-1-alignment"));
}

#[test]
fn measuring_while_training_is_refused_where_there_is_nothing_to_measure() {
    let place = place();
    let place = place.path();
    let with = |more: &[&'static str]| [&TRAIN[..], &["--out", "run"], more].concat();
    refuses(place, &with(&["--align-every", "0"]), &["invalid value '0' for '--align-every <STEPS>'", "not in 1.."]);
    refuses(
        place,
        &with(&["--align-every", "2", "--backend", "emulated"]),
        &["--align-every", "one process on the CPU"],
    );
    refuses(place, &with(&["--align-every", "2", "--rule", "bp-clapp++"]), &["--align-every", "1 by definition"]);
    // The program does not overwrite another file of that name, and does not continue a damaged one.
    fs::create_dir(place.join("run")).expect("a folder");
    fs::write(place.join("run/alignment.csv"), "mine").expect("a file");
    refuses(place, &with(&["--align-every", "2"]), &["alignment.csv", "exists already"]);
    fs::remove_file(place.join("run/alignment.csv")).expect("a file");
    train(place, &["--out", "run", "--epochs", "1", "--align-every", "2"]);
    let rows = text(place, "run/alignment.csv");
    for (from, to, part) in [("step", "stop", "columns are"), ("\n2,", "\nx,", "line 3, field step")] {
        fs::write(place.join("run/alignment.csv"), rows.replacen(from, to, 1)).expect("a file");
        refuses(place, &with(&["--align-every", "2", "--resume"]), &["alignment.csv", part]);
    }
    let output = clapp(place, &["report", "run", "--out", "page.html"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("alignment.csv"));
}

#[test]
fn a_result_is_not_written_over_a_checkpoint_or_what_describes_a_run() {
    let place = tempfile::tempdir().expect("a folder");
    let folder = place.path();
    succeeds(folder, &["train", "--preset", "demo", "--images", "16", "--batch", "8", "--epochs", "0", "--out", "run"]);
    for file in ["checkpoint.safetensors", "config.toml", "metrics.csv", "run.json"] {
        let target = format!("run/{file}");
        for command in [&["align", "run", "--batches", "1"][..], &["eval", "run", "--cached", "--epochs", "1"]] {
            refuses(folder, &[command, &["--json", &target]].concat(), &["--json", file]);
        }
    }
}
