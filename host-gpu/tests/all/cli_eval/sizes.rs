//! Images of another size than the network reads: known before training, made to fit, and recorded.

use super::cli_common::{CONFIG, clapp, grey_config, idx_file, refuses, succeeds};
use super::{both, photos, record};
use clapp_core::shape::Shape;
use clapp_data::augment::Sizes;
use clapp_data::data::idx;
use clapp_engine::config::{PRESETS, preset};
use clapp_engine::run_info::RunInfo;
use std::fs;

#[test]
fn images_of_another_size_are_made_to_fit_and_that_is_said_before_training() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    fs::write(folder.join("tiny.toml"), CONFIG).unwrap();
    photos(&folder.join("photos"), &[("cat", 6, 2), ("dog", 6, 3)]);
    let (_, notes) = both(folder, &["train", "--config", "tiny.toml", "--data", "photos", "--out", "run"]);
    assert!(notes.contains("test images are 40 x 48, the network reads 32 x 32"), "{notes}");
    assert!(notes.contains("probe.test = { resize = PIXELS, crop = 32 }") && notes.contains("--resize"), "{notes}");
    let fitted = Some(Sizes { resize: 32, crop: 32 });
    assert_eq!(RunInfo::read(&folder.join("run")).unwrap().test, fitted);
    let (said, _) = both(folder, &["eval", "run", "--data", "photos"]);
    assert!(said.contains("5 test images resized to 32, centre crop 32"), "{said}");
    let protocol = record(folder, "run/probe.json").report.protocol.unwrap();
    assert_eq!((protocol.test, protocol.stopped, protocol.seed), (fitted, false, 3));
    // Another size on demand, which the record keeps, and predict uses.
    succeeds(folder, &["eval", "run", "--data", "photos", "--cached", "--resize", "38"]);
    let protocol = record(folder, "run/probe-cached.json").report.protocol.unwrap();
    assert_eq!(protocol.test, Some(Sizes { resize: 38, crop: 32 }));
    for resize in ["31", "999999"] {
        refuses(folder, &["eval", "run", "--data", "photos", "--resize", resize], &["--resize", resize]);
    }
    for command in
        [&["align", "run", "--data", "photos", "--batches", "1"][..], &["predict", "run", "photos/val/cat/00.png"]]
    {
        succeeds(folder, command);
    }
}

#[test]
fn the_probe_of_images_that_fit_is_the_same_whether_they_are_resized_or_not() {
    let place = super::place();
    let folder = place.path();
    succeeds(folder, &["eval", "run", "--data", "data"]);
    let plain = record(folder, "run/probe.json").report;
    assert_eq!(plain.protocol.as_ref().unwrap().test, None);
    succeeds(folder, &["eval", "run", "--data", "data", "--resize", "32"]);
    let resized = record(folder, "run/probe.json").report;
    assert_eq!((plain.all, plain.layers, plain.confusion), (resized.all, resized.layers, resized.confusion));
}

#[test]
fn digits_of_28_pixels_are_evaluated_by_a_network_of_32() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    fs::write(folder.join("grey.toml"), grey_config()).unwrap();
    fs::create_dir(folder.join("digits")).unwrap();
    let pixels = |count: usize| (0..count * 784).map(|place| (place * 13 % 251) as u8).collect::<Vec<u8>>();
    let files = [
        idx_file(&[8, 28, 28], &pixels(8)),
        idx_file(&[8], &[0, 1, 0, 1, 0, 1, 0, 1]),
        idx_file(&[4, 28, 28], &pixels(4)),
        idx_file(&[4], &[0, 1, 0, 1]),
    ];
    for (name, bytes) in idx::FILES.iter().zip(files) {
        fs::write(folder.join("digits").join(name), bytes).unwrap();
    }
    let (_, notes) = both(folder, &["train", "--config", "grey.toml", "--data", "digits", "--out", "run"]);
    assert!(notes.contains("test images are 28 x 28, the network reads 32 x 32"), "{notes}");
    succeeds(folder, &["eval", "run", "--data", "digits", "--cached"]);
}

#[test]
fn a_set_that_could_never_be_evaluated_is_told_before_training() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    fs::write(folder.join("tiny.toml"), CONFIG).unwrap();
    // One class: nothing to tell apart.
    photos(&folder.join("one"), &[("cat", 6, 2)]);
    let (_, notes) = both(folder, &["train", "--config", "tiny.toml", "--data", "one", "--out", "run"]);
    assert!(notes.contains("only one class (cat), expected at least two") && notes.contains("clapp eval"), "{notes}");
    refuses(folder, &["eval", "run", "--data", "one"], &["only one class (cat)", "expected at least two"]);
    // Without test images there is nothing to train for.
    fs::write(folder.join("grey.toml"), grey_config()).unwrap();
    fs::create_dir(folder.join("digits")).unwrap();
    let files = [
        idx_file(&[4, 32, 32], &[9; 4096]),
        idx_file(&[4], &[0, 1, 0, 1]),
        idx_file(&[0, 32, 32], &[]),
        idx_file(&[0], &[]),
    ];
    for (name, bytes) in idx::FILES.iter().zip(files) {
        fs::write(folder.join("digits").join(name), bytes).unwrap();
    }
    let output = clapp(folder, &["train", "--config", "grey.toml", "--data", "digits", "--out", "none"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(!folder.join("none").exists(), "nothing is trained");
}

#[test]
fn every_preset_can_be_evaluated_on_images_of_any_size() {
    for name in PRESETS {
        let config = preset(name).unwrap();
        let input = config.input_shape();
        let of = |height, width| config.probe.test.fitted(Some(Shape::new(input.channels, height, width)), input);
        for (height, width) in [(40, 48), (1, 1), (300, 28), (input.height, input.width)] {
            let transform = of(height, width);
            assert!(transform.check(input).is_ok(), "{name}: {transform:?}");
            let mut pixels = vec![7; input.channels * height * width];
            let found = transform.apply(&mut pixels, Shape::new(input.channels, height, width)).unwrap();
            assert_eq!(found, input, "{name} on {height} x {width}");
        }
        // Sets of the input's size, as the paper's are, stay as they are.
        assert_eq!(of(input.height, input.width), config.probe.test, "{name}");
    }
}
