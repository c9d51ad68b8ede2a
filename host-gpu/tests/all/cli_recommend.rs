//! `clapp recommend`: the networks fit, less memory never gives a larger network, and the printed code and
//! configuration work.

use crate::cli_common;

use clapp_core::checkpoint::Lengths;
use clapp_device::device_plan::Firmware;
use clapp_engine::config::Config;
use clapp_engine::optimizer::Optimizer;
use clapp_lab::recommend::{MEASURED, rows};
use cli_common::{clapp, refuses, succeeds};
use std::path::Path;

fn arguments<'a>(ram: &'a str, flash: &'a str, classes: &'a str, input: &'a str) -> Vec<&'a str> {
    vec!["recommend", "--ram", ram, "--flash", flash, "--classes", classes, "--input", input]
}

/// Returns the text between code fences of a kind.
fn fenced<'a>(text: &'a str, kind: &str) -> &'a str {
    let (_, rest) = text.split_once(&format!("```{kind}\n")).unwrap_or_else(|| panic!("no {kind} in:\n{text}"));
    rest.split_once("```").unwrap_or_else(|| panic!("no end of {kind} in:\n{text}")).0
}

/// The configuration that is recommended, as its file is read.
fn recommended(text: &str) -> Config {
    Config::parse(fenced(text, "toml"), "recommended").expect("a configuration")
}

#[test]
fn what_is_recommended_fits_by_the_plan() {
    let place = tempfile::tempdir().expect("a folder");
    for (ram, flash, classes, input) in
        [("128k", "512k", 6, "1x32x32"), ("64KiB", "1M", 2, "1x16x16"), ("1M", "2M", 10, "3x32x32")]
    {
        let (ram_bytes, flash_bytes) = (bytes(ram), bytes(flash));
        for learns in ["device", "host"] {
            let class_text = classes.to_string();
            let mut list = arguments(ram, flash, &class_text, input);
            list.extend(["--learns", learns]);
            let text = succeeds(place.path(), &list);
            let config = recommended(&text);
            let spec = config.network().expect("a network");
            let view = spec.view();
            let shape = view.input();
            assert_eq!(format!("{}x{}x{}", shape.channels, shape.height, shape.width), input);
            // By hand, from the plan and what the firmware was measured at.
            let firmware = Firmware::measured().expect("measured");
            let learner = match learns {
                "device" => view.stream_bytes() + 12 * view.layer_count(),
                // Weights are in flash, and nothing learns.
                _ => view.inference_bytes(),
            };
            let beside = 4 * shape.len() + 4 * classes * (view.feature_len() + 1) + shape.len().max(512);
            assert!(learner + beside + firmware.statics + firmware.stack <= ram_bytes, "{text}");
            let lengths =
                Lengths::of(&view, &clapp_core::optimizer::Optimizer::sgd(0.1), classes * view.feature_len(), classes);
            assert!(firmware.code + 2 * lengths.slot_len(4096) <= flash_bytes, "{text}");
            // The code says the same network.
            let code = fenced(&text, "rust");
            assert!(code.contains(&format!("Network<{}>", view.layer_count())), "{code}");
            assert_eq!(code.matches("Block::conv(").count(), view.layer_count());
            // Only the measured configuration is printed: a stream with SGD, or batches of 32 with AdamW.
            let batch = if learns == "device" { 1 } else { 32 };
            let measured = rows(MEASURED).expect("the kept table");
            let same = measured.iter().find(|row| row.batch == batch).expect("a row");
            assert_eq!(config.optimizer.learning_rate(), same.rate);
            if learns == "device" {
                assert!(code.contains(&format!("stream_bytes() <= {})", view.stream_bytes())), "{code}");
                assert!(code.contains(&format!("Optimizer::sgd({:?})", same.rate)), "{code}");
                assert!(matches!(config.optimizer, Optimizer::Sgd { momentum: 0.0, .. }), "{:?}", config.optimizer);
                assert_eq!(config.epochs, 0);
                assert!(text.contains("on batches, was not measured"), "{text}");
            } else {
                assert!(code.contains(&format!("inference_bytes() <= {})", view.inference_bytes())), "{code}");
                assert!(!code.contains("Optimizer"), "{code}");
                assert!(matches!(config.optimizer, Optimizer::AdamW { .. }), "{:?}", config.optimizer);
                assert_eq!((config.batch, config.epochs), (32, same.epochs));
            }
            // Each line has the seeds, the test images and both RAM sizes.
            for part in ["seeds", "test images", "RAM learning", "RAM inference", "gain"] {
                assert!(text.contains(part), "no {part} in:\n{text}");
            }
        }
    }
}

fn bytes(text: &str) -> usize {
    let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
    let unit = if text.ends_with('M') { 1 << 20 } else { 1 << 10 };
    digits.parse::<usize>().expect("digits") * unit
}

#[test]
fn less_ram_never_recommends_a_larger_network() {
    let place = tempfile::tempdir().expect("a folder");
    let mut before = usize::MAX;
    let mut sizes = Vec::new();
    for ram in ["2M", "512k", "256k", "128k", "96k", "72k", "56k", "40k", "24k"] {
        let mut list = arguments(ram, "4M", "6", "1x32x32");
        list.extend(["--learns", "device"]);
        let output = clapp(place.path(), &list);
        if output.status.code() == Some(2) {
            let errors = String::from_utf8(output.stderr).expect("text");
            assert!(errors.contains("no network fits"), "{errors}");
            continue;
        }
        assert_eq!(output.status.code(), Some(0));
        let text = String::from_utf8(output.stdout).expect("text");
        let bytes = recommended(&text).network().expect("a network").view().stream_bytes();
        assert!(bytes <= before, "{ram}: {bytes} after {before}");
        before = bytes;
        sizes.push(bytes);
    }
    // No network fits into the last size, and at least one into the first.
    assert!((1..9).contains(&sizes.len()), "{sizes:?}");
}

#[test]
fn the_configuration_trains() {
    let place = tempfile::tempdir().expect("a folder");
    cli_common::write_cifar(&place.path().join("data"));
    for (learns, out) in [("device", "untrained"), ("host", "trained")] {
        let mut list = arguments("128k", "512k", "6", "1x32x32");
        list.extend(["--learns", learns]);
        let text = succeeds(place.path(), &list);
        std::fs::write(place.path().join("micro.toml"), fenced(&text, "toml")).expect("a file");
        let mut train = vec!["train", "--config", "micro.toml", "--data", "data", "--images", "8", "--out", out];
        if learns == "host" {
            train.extend(["--epochs", "1", "--batch", "4"]);
        }
        let of = |arguments: &[&str]| {
            let output = clapp(place.path(), arguments);
            assert_eq!(output.status.code(), Some(0), "{arguments:?}");
            String::from_utf8(output.stderr).expect("text")
        };
        let said = of(&train);
        assert!(place.path().join(out).join("checkpoint.safetensors").exists());
        // The output marks an untrained encoder.
        assert_eq!(said.contains("epochs is 0: the run writes the untrained encoder"), learns == "device", "{said}");
        let said = of(&["eval", out, "--data", "data", "--cached", "--epochs", "1"]);
        assert_eq!(said.contains("the encoder has not learnt"), learns == "device", "{said}");
        list.extend(["--out", "kept.toml"]);
        succeeds(place.path(), &list);
        let kept = std::fs::read_to_string(place.path().join("kept.toml")).expect("a file");
        assert_eq!(kept.contains("# epochs = 0: this network learns on its device"), learns == "device", "{kept}");
        assert_eq!(text.contains("# epochs = 0: this network learns on its device"), learns == "device", "{text}");
    }
}

#[test]
fn where_nothing_fits_it_says_what_would() {
    let place = tempfile::tempdir().expect("a folder");
    let says = |list: &[&str], parts: &[&str]| {
        refuses(place.path(), list, parts);
        let output = clapp(place.path(), list).stdout;
        assert!(output.is_empty(), "{}", String::from_utf8_lossy(&output));
    };
    says(&arguments("16k", "512k", "6", "1x32x32"), &["no network fits into 16.0 KiB", "the closest", "more of RAM"]);
    says(&arguments("1M", "64k", "6", "1x32x32"), &["no network fits", "the closest", "more of flash"]);
    says(&arguments("16k", "64k", "6", "1x32x32"), &["more of RAM and", "more of flash", "all measured networks"]);
    says(&arguments("1M", "1M", "6", "1x4x4"), &["too small", "at least 1x8x8"]);
}

#[test]
fn a_shape_that_was_measured_of_the_first_is_not_called_unmeasured() {
    let place = tempfile::tempdir().expect("a folder");
    let says = |input: &str| {
        succeeds(place.path(), &[&arguments("64k", "256k", "2", input)[..], &["--learns", "host"]].concat())
    };
    let (measured, other) = (says("1x24x24"), says("1x20x20"));
    assert!(measured.contains("With frames of 24x24 the first reached"), "{measured}");
    assert!(!measured.contains("No frames of the shape asked for"), "{measured}");
    assert!(other.contains("No frames of the shape asked for"), "{other}");
}

#[test]
fn frames_that_are_not_square_get_code_but_no_configuration() {
    let place = tempfile::tempdir().expect("a folder");
    let text = succeeds(place.path(), &arguments("256k", "1M", "4", "1x24x32"));
    assert!(text.contains("Shape::new(1, 24, 32)") && text.contains("square frames only"), "{text}");
    assert!(!text.contains("```toml"), "{text}");
}

#[test]
fn sizes_may_have_a_fraction_and_be_large() {
    let place = tempfile::tempdir().expect("a folder");
    let text = succeeds(place.path(), &arguments("0.5M", "4G", "6", "1x32x32"));
    assert_eq!(text, succeeds(place.path(), &arguments("512k", "4096M", "6", "1x32x32")));
    assert!(text.contains("512.0 KiB of RAM, 4096.0 MiB of flash"), "{text}");
}

#[test]
fn wrong_input_is_refused_by_field_and_expectation() {
    let place = tempfile::tempdir().expect("a folder");
    let refused = |ram, flash, classes, input, parts: &[&str]| {
        refuses(Path::new(place.path()), &arguments(ram, flash, classes, input), parts);
    };
    refused("lots", "512k", "6", "1x32x32", &["--ram", "expected bytes"]);
    refused("0", "512k", "6", "1x32x32", &["--ram", "expected bytes"]);
    refused("5G", "512k", "6", "1x32x32", &["--ram", "from 1 to 4G"]);
    refused("1.3k", "512k", "6", "1x32x32", &["--ram", "whole number"]);
    refused("128k", "512q", "6", "1x32x32", &["--flash", "expected bytes"]);
    refused("128k", "512k", "1", "1x32x32", &["--classes", "2..=256"]);
    refused("128k", "512k", "many", "1x32x32", &["--classes"]);
    refused("128k", "512k", "6", "32x32", &["--input", "expected CHANNELSxHEIGHTxWIDTH"]);
    refused("128k", "512k", "6", "2x32x32", &["--input", "1 or 3 channels"]);
    refuses(place.path(), &["recommend", "--ram", "128k"], &["--flash", "--classes", "--input"]);
}
