//! `clapp predict`: the classes of image files, by the weights that `clapp eval` has kept.

use super::cli_common::{CONFIG, clapp, refuses, succeeds};
use super::{photos, record, test_images};
use serde_json::Value;
use std::fs;
use std::path::Path;

const CLASSES: [&str; 2] = ["cat", "dog"];

/// An encoder and its probe of photos of two classes.
fn place(probe: &[&str]) -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("tiny.toml"), CONFIG).unwrap();
    photos(&place.path().join("photos"), &[("cat", 6, 4), ("dog", 6, 3)]);
    succeeds(place.path(), &["train", "--config", "tiny.toml", "--data", "photos", "--epochs", "1", "--out", "run"]);
    succeeds(place.path(), &[&["eval", "run", "--data", "photos"], probe].concat());
    place
}

/// Output of `predict --json`.
fn predict(folder: &Path, more: &[&str]) -> Value {
    serde_json::from_str(&succeeds(folder, &[&["predict", "run", "--json"], more].concat())).unwrap()
}

#[test]
fn the_classes_are_those_that_the_evaluation_counted() {
    let place = place(&["--epochs", "5"]);
    let folder = place.path();
    let images = test_images(&folder.join("photos"), &CLASSES);
    let texts: Vec<&str> = images.iter().map(|path| path.to_str().unwrap()).collect();
    let report = record(folder, "run/probe.json").report;
    for (layer, last) in
        [(None, report.all.last), (Some("0"), report.layers[0].last), (Some("1"), report.layers[1].last)]
    {
        let option = layer.map_or(vec![], |layer| vec!["--layer", layer]);
        let json = predict(folder, &[&texts[..], &option].concat());
        let listed = json["images"].as_array().unwrap();
        assert_eq!(listed.len(), images.len());
        let mut right = 0;
        for (prediction, path) in listed.iter().zip(&texts) {
            assert_eq!(prediction["image"], *path);
            let classes = prediction["classes"].as_array().unwrap();
            let scores: Vec<f64> = classes.iter().map(|class| class["score"].as_f64().unwrap()).collect();
            assert!(scores[0] >= scores[1] && (scores.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{scores:?}");
            right += usize::from(path.contains(&format!("/{}/", classes[0]["class"].as_str().unwrap())));
        }
        assert_eq!(right as f64 / images.len() as f64, last, "{layer:?}");
    }
    let said = succeeds(folder, &["predict", "run", texts[0], "--top", "1"]);
    assert!(said.contains("by the probe, 5 epochs on 12 images") && said.contains(" %  "), "{said}");
    assert_eq!(said.lines().count(), 3, "{said}");
    refuses(folder, &["predict", "run", texts[0], "--layer", "2"], &["--layer", "is 2", "2 layers"]);
    // The same image, larger or smaller, grey or in colour, is an image.
    for (name, width, height) in [("wide.jpg", 90, 50), ("small.jpg", 20, 33)] {
        fs::write(folder.join(name), super::sets::grey_jpeg(width, height)).unwrap();
        succeeds(folder, &["predict", "run", name]);
    }
}

#[test]
fn without_weights_it_says_what_to_do() {
    let place = place(&["--quick"]);
    let folder = place.path();
    // A quick probe is used if there is no better one.
    let json = predict(folder, &["photos/val/cat/00.png"]);
    assert_eq!(json["protocol"]["kind"], "quick");
    fs::remove_file(folder.join("run/probe-quick.safetensors")).unwrap();
    let predict = ["predict", "run", "photos/val/cat/00.png"];
    refuses(folder, &predict, &["run/checkpoint.safetensors", "no probe weights", "clapp eval run --data"]);
    refuses(folder, &[&predict[..], &["--probe", "none.safetensors"]].concat(), &["none.safetensors", "No such file"]);
    refuses(folder, &[&predict[..], &["--probe", "run/checkpoint.safetensors"]].concat(), &["clapp-probe"]);
}

#[test]
fn weights_of_another_encoder_are_refused() {
    let place = place(&["--cached"]);
    let folder = place.path();
    succeeds(folder, &["train", "--resume", "--out", "run", "--data", "photos", "--epochs", "2"]);
    let parts = ["run/probe-cached.safetensors", "another encoder", "clapp eval"];
    refuses(folder, &["predict", "run", "photos/val/cat/00.png"], &parts);
    // A bit of the weights.
    succeeds(folder, &["eval", "run", "--data", "photos", "--cached"]);
    let path = folder.join("run/probe-cached.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 4;
    bytes[last] ^= 1;
    fs::write(&path, bytes).unwrap();
    refuses(folder, &["predict", "run", "photos/val/cat/00.png"], &["probe-cached.safetensors", "damaged"]);
}

#[test]
fn bad_images_are_all_named_and_nothing_is_printed() {
    let place = place(&["--cached"]);
    let folder = place.path();
    fs::write(folder.join("text.png"), "no image").unwrap();
    fs::write(folder.join("empty.jpg"), "").unwrap();
    for command in [&["predict", "run"][..], &["features", "run", "--out", "f.npy"]] {
        let images = ["photos/val/cat/00.png", "text.png", "missing.png", "empty.jpg", "photos"];
        let arguments = [command, &images].concat();
        let parts = ["4 of 5 images cannot be used", "text.png", "missing.png", "empty.jpg", "photos"];
        refuses(folder, &arguments, &parts);
        assert!(clapp(folder, &arguments).stdout.is_empty());
    }
    let many = vec!["text.png"; 13];
    refuses(folder, &[&["predict", "run"][..], &many].concat(), &["13 of 13 images", "and 3 more"]);
    // More images than are computed at a time.
    let (first, last) = (["text.png"], ["missing.png"]);
    let many = [&["predict", "run"][..], &first, &["photos/val/cat/00.png"; 130], &last].concat();
    refuses(folder, &many, &["2 of 132 images cannot be used", "text.png", "missing.png"]);
}

#[test]
fn a_probe_that_diverges_is_a_failure_and_leaves_nothing() {
    let place = place(&["--cached"]);
    let folder = place.path();
    let train = ["train", "--config", "tiny.toml", "--data", "photos", "--set", "probe.lr=1e38", "--out", "wild"];
    succeeds(folder, &train);
    let output = clapp(folder, &["eval", "wild", "--data", "photos", "--cached", "--epochs", "1"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("the probe has diverged: tensor all.weight") && errors.contains("probe.lr"), "{errors}");
    assert!(!folder.join("wild/probe-cached.json").exists() && !folder.join("wild/probe-cached.safetensors").exists());
}
