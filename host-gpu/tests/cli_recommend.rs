//! `clapp recommend`: what it picks fits, less room never means more network, and what it prints is of use.

mod cli_common;

use clapp_core::checkpoint::Lengths;
use clapp_core::optimizer::Optimizer;
use clapp_host_gpu::config::Config;
use clapp_host_gpu::device_plan::Firmware;
use cli_common::{clapp, refuses, succeeds};
use std::path::Path;

fn arguments<'a>(ram: &'a str, flash: &'a str, classes: &'a str, input: &'a str) -> Vec<&'a str> {
    vec!["recommend", "--ram", ram, "--flash", flash, "--classes", classes, "--input", input]
}

/// What stands between fences of a kind.
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
            let learner = view.stream_bytes() + 12 * view.layer_count();
            let beside = 4 * shape.len() + 4 * classes * (view.feature_len() + 1) + shape.len().max(512);
            assert!(learner + beside + firmware.statics + firmware.stack <= ram_bytes, "{text}");
            let lengths = Lengths::of(&view, &Optimizer::sgd(0.1), classes * view.feature_len(), classes);
            assert!(firmware.code + 2 * lengths.slot_len(4096) <= flash_bytes, "{text}");
            // The code says the same network.
            let code = fenced(&text, "rust");
            assert!(code.contains(&format!("Network<{}>", view.layer_count())), "{code}");
            assert!(code.contains(&format!("stream_bytes() <= {})", view.stream_bytes())), "{code}");
            assert_eq!(code.matches("Block::conv(").count(), view.layer_count());
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
    for ram in ["2M", "512k", "256k", "128k", "96k", "72k", "56k"] {
        let mut list = arguments(ram, "4M", "6", "1x32x32");
        list.extend(["--learns", "host"]);
        let output = clapp(place.path(), &list);
        let text = String::from_utf8(output.stdout).expect("text");
        if output.status.code() == Some(1) {
            assert!(text.contains("nothing fits"), "{text}");
            continue;
        }
        assert_eq!(output.status.code(), Some(0));
        let bytes = recommended(&text).network().expect("a network").view().stream_bytes();
        assert!(bytes <= before, "{ram}: {bytes} after {before}");
        before = bytes;
        sizes.push(bytes);
    }
    sizes.dedup();
    assert!(sizes.len() >= 2, "the amount of RAM makes no difference: {sizes:?}");
}

#[test]
fn the_configuration_trains() {
    let place = tempfile::tempdir().expect("a folder");
    let text = succeeds(place.path(), &arguments("128k", "512k", "6", "1x32x32"));
    std::fs::write(place.path().join("micro.toml"), fenced(&text, "toml")).expect("a file");
    cli_common::write_cifar(&place.path().join("data"));
    let train = [
        "train",
        "--config",
        "micro.toml",
        "--data",
        "data",
        "--epochs",
        "1",
        "--images",
        "8",
        "--batch",
        "4",
        "--out",
        "run",
    ];
    succeeds(place.path(), &train);
    assert!(place.path().join("run/checkpoint.safetensors").exists());
}

#[test]
fn where_nothing_fits_it_says_what_would() {
    let place = tempfile::tempdir().expect("a folder");
    let says = |list: &[&str], parts: &[&str]| {
        let output = clapp(place.path(), list);
        let text = String::from_utf8(output.stdout).expect("text");
        assert_eq!(output.status.code(), Some(1), "{text}");
        for part in parts {
            assert!(text.contains(part), "no `{part}` in:\n{text}");
        }
        assert!(!text.contains("```"), "{text}");
    };
    says(&arguments("16k", "512k", "6", "1x32x32"), &["nothing fits", "what would", "more of RAM"]);
    says(&arguments("1M", "64k", "6", "1x32x32"), &["nothing fits", "more of flash"]);
    says(&arguments("16k", "64k", "6", "1x32x32"), &["more of RAM and", "more of flash"]);
    says(&arguments("1M", "1M", "6", "1x4x4"), &["too small"]);
}

#[test]
fn frames_that_are_not_square_get_code_but_no_configuration() {
    let place = tempfile::tempdir().expect("a folder");
    let text = succeeds(place.path(), &arguments("256k", "1M", "4", "1x24x32"));
    assert!(text.contains("Shape::new(1, 24, 32)") && text.contains("square frames only"), "{text}");
    assert!(!text.contains("```toml"), "{text}");
}

#[test]
fn wrong_input_is_refused_by_field_and_expectation() {
    let place = tempfile::tempdir().expect("a folder");
    let refused = |ram, flash, classes, input, parts: &[&str]| {
        refuses(Path::new(place.path()), &arguments(ram, flash, classes, input), parts);
    };
    refused("lots", "512k", "6", "1x32x32", &["--ram", "expected bytes"]);
    refused("0", "512k", "6", "1x32x32", &["--ram", "expected bytes"]);
    refused("128k", "512q", "6", "1x32x32", &["--flash", "expected bytes"]);
    refused("128k", "512k", "1", "1x32x32", &["--classes", "2..=256"]);
    refused("128k", "512k", "many", "1x32x32", &["--classes"]);
    refused("128k", "512k", "6", "32x32", &["--input", "expected CHANNELSxHEIGHTxWIDTH"]);
    refused("128k", "512k", "6", "2x32x32", &["--input", "1 or 3 channels"]);
    refuses(place.path(), &["recommend", "--ram", "128k"], &["--flash", "--classes", "--input"]);
}
