//! Golden files that are not as they should be: every one is an error that says where, never a panic.

use crate::golden_case;

use clapp_engine::golden::case::Case;
use clapp_engine::golden::{self, core};
use golden_case::{File, batch, stream};
use proptest::prelude::*;
use serde_json::json;
use std::path::Path;

/// The error of a file, with the file's name taken off its front.
fn error(file: &File) -> String {
    match Case::parse(Path::new("case.safetensors"), &file.bytes()) {
        Ok(_) => panic!("the file was taken"),
        Err(error) => {
            let text = error.to_string();
            text.strip_prefix("case.safetensors: ").map(str::to_owned).unwrap_or_else(|| panic!("no file name: {text}"))
        }
    }
}

#[test]
fn the_files_under_test_are_sound_before_they_are_spoilt() {
    for file in [batch(), stream()] {
        Case::parse(Path::new("case.safetensors"), &file.bytes()).expect("sound");
    }
}

/// A change of the description and what the error must say.
#[test]
fn a_wrong_description_is_named() {
    let table = [
        ("/layers/1/kernel", json!([3, 3, 3]), "spec.layers[1].kernel: [3,3,3] is not"),
        ("/layers/0/kernel", json!(null), "spec.layers[0].kernel: missing"),
        ("/layers/0/out", json!(-4), "spec.layers[0].out: -4 is not"),
        ("/layers/0/out", json!(0), "spec: layer 0: a block has zero output channels"),
        ("/layers/0/stride", json!(0), "spec: layer 0: a kernel is empty"),
        ("/layers/0/padding", json!("same"), "spec.layers[0].padding: \"same\" is not"),
        ("/layers/0/padding", json!(1e30), "spec.layers[0].padding: 1e+30 is not"),
        ("/layers/0/padding", json!(u64::MAX / 2), "spec: layer 0: "),
        ("/layers/1/max_pool", json!("yes"), "spec.layers[1].max_pool: \"yes\" is not"),
        ("/layers/0/loss_pool", json!(9), "spec: layer 0: a loss-pooling cell is empty or larger than its map"),
        (
            "/layers/0/loss_pool_adaptive",
            json!(2),
            "spec.layers[0].loss_pool_adaptive: is given together with loss_pool",
        ),
        ("/layers/0/dilation", json!(2), "spec.layers[0].dilation: unknown field"),
        ("/layers/1", json!(7), "spec.layers[1]: 7 is not an object"),
        ("/layers", json!([]), "spec: the network has no block"),
        ("/layers", json!({}), "spec.layers: not a list"),
        ("/input", json!([2, 6]), "spec.input: not three whole numbers"),
        ("/input", json!([2, 6, 0]), "spec: a dimension of the input shape is zero"),
        ("/input", json!([2, 7, 6]), "x: shape [4, 2, 6, 6], but the description needs [4, 2, 7, 6]"),
        ("/contrast", json!("square"), "spec.contrast: \"square\" is not one of \"hinge\""),
        ("/context", json!("below"), "spec.context: \"below\" is not one of \"same\""),
        ("/learning", json!("both"), "spec.learning: \"both\" is not one of \"local\""),
        ("/theta", json!("2"), "spec.theta: \"2\" is not a finite number"),
        ("/pos_coeff", json!(1e300), "spec.pos_coeff: 1e+300 is not a finite number"),
        ("/pos_coeff", json!(-1), "spec: theta must be finite and above zero, pos_coeff finite and at least zero"),
        ("/identity_projection", json!(1), "spec.identity_projection: 1 is not true or false"),
        ("/either", json!(true), "keep_positive: missing"),
        ("/batch", json!(3), "spec.batch: 3, but there are 2 pairs in x"),
        ("/negatives", json!(2), "negatives: shape [1, 4], but the description needs [2, 4]"),
        ("/negatives", json!(0), "spec.negatives: 0 is not"),
        ("/negatives", json!("random"), "spec.negatives: \"random\" is not"),
        ("/negatives", json!(u64::MAX), "negatives: shape [1, 4], but the description needs"),
        ("/optimisers/rmsprop", json!({"lr": 1}), "spec.optimisers.rmsprop: unknown optimiser"),
        ("/optimisers/sgd/lr", json!(null), "spec.optimisers.sgd.lr: missing"),
        ("/optimisers/sgd/trust", json!(1), "spec.optimisers.sgd.trust: unknown field"),
        ("/optimisers/sgd/steps", json!(0), "spec.optimisers.sgd.steps: 0 is not"),
        ("/optimisers/sgd/steps", json!(u64::MAX), "spec.optimisers.sgd.steps: 18446744073709551615 is not"),
        ("/optimisers/adamw/betas", json!([0.9]), "spec.optimisers.adamw.betas: [0.9] is not"),
    ];
    for (place, value, expected) in table {
        let mut file = batch();
        file.set(place, value.clone());
        let error = error(&file);
        assert!(error.starts_with(expected), "{place} = {value}: {error}");
    }
}

#[test]
fn a_field_that_is_not_known_is_named_in_the_report() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("case.safetensors");
    let mut file = batch();
    file.set("/seed", json!(7));
    std::fs::write(&path, file.bytes()).expect("a file");
    let report = golden::run(&[path], &|_| Ok(golden::Computed::default())).to_string();
    assert!(report.contains("field spec.seed is unknown and was ignored"), "{report}");
}

#[test]
fn wrong_metadata_is_named() {
    let spoilt = |change: fn(&mut File)| {
        let mut file = batch();
        change(&mut file);
        error(&file)
    };
    assert_eq!(spoilt(|file| drop(file.metadata.remove("format"))), "format: missing in the file's metadata");
    assert_eq!(spoilt(|file| drop(file.metadata.remove("kind"))), "kind: missing in the file's metadata");
    assert_eq!(spoilt(|file| drop(file.metadata.remove("spec"))), "spec: missing in the file's metadata");
    let other = spoilt(|file| drop(file.metadata.insert("format".into(), "other/2".into())));
    assert!(other.starts_with("format: \"other/2\", expected"), "{other}");
    let kind = spoilt(|file| drop(file.metadata.insert("kind".into(), "dream".into())));
    assert!(kind.starts_with("kind: unknown kind \"dream\""), "{kind}");
    let text = spoilt(|file| drop(file.metadata.insert("spec".into(), "{\"input\": [1".into())));
    assert!(text.starts_with("spec: not readable as JSON: EOF"), "{text}");
    let deep = spoilt(|file| drop(file.metadata.insert("spec".into(), "[".repeat(100_000))));
    assert!(deep.starts_with("spec: not readable as JSON: recursion limit"), "{deep}");
}

#[test]
fn wrong_tensors_are_named() {
    let spoilt = |change: fn(&mut File)| {
        let mut file = batch();
        change(&mut file);
        error(&file)
    };
    assert_eq!(spoilt(|file| file.remove("x")), "x: missing");
    assert_eq!(spoilt(|file| file.remove("layer1.bias")), "layer1.bias: missing");
    assert_eq!(spoilt(|file| file.remove("layer0.projection")), "layer0.projection: missing");
    assert_eq!(spoilt(|file| file.floats("x", &[0, 2, 6, 6], &[])), "x: holds no frame");
    let odd = spoilt(|file| file.floats("x", &[3, 2, 6, 6], &[0.5; 3 * 72]));
    assert_eq!(odd, "x: 3 frames are not two views of at least two images");
    let lone = spoilt(|file| file.floats("x", &[2, 2, 6, 6], &[0.5; 2 * 72]));
    assert_eq!(lone, "x: 2 frames are not two views of at least two images");
    let nan = spoilt(|file| file.floats("layer1.bias", &[4], &[0.0, f32::NAN, 0.0, 0.0]));
    assert_eq!(nan, "layer1.bias: holds NaN");
    let wide = spoilt(|file| file.doubles("layer1.bias", &[4], &[0.0; 4]));
    assert_eq!(wide, "layer1.bias: type F64, not F32");
    let shape = spoilt(|file| file.floats("layer1.bias", &[2, 2], &[0.0; 4]));
    assert_eq!(shape, "layer1.bias: shape [2, 2], but the description needs [4]");
    let extra = spoilt(|file| file.floats("layer2.bias", &[4], &[0.0; 4]));
    assert!(extra.starts_with("layer2.bias: unknown tensor"), "{extra}");
    let index = spoilt(|file| file.whole("negatives", &[1, 4], &[1, 2, 3, 4]));
    assert_eq!(index, "negatives: holds 4, not in 0..4");
    let negative = spoilt(|file| file.whole("negatives", &[1, 4], &[1, 2, 3, -1]));
    assert_eq!(negative, "negatives: holds -1, not in 0..4");
    let ring = spoilt(|file| file.whole("negatives", &[1, 4], &[1, 2, 3, 3]));
    assert_eq!(ring, "negatives: are not the ring that spec.negatives names");
    let type_of = spoilt(|file| file.whole("expect.loss", &[1], &[2]));
    assert_eq!(type_of, "expect.loss: type I32, not F64 or F32");
    let nothing = spoilt(|file| file.doubles("expect.loss", &[0], &[]));
    assert_eq!(nothing, "expect.loss: has no elements");
    assert_eq!(spoilt(|file| file.remove("expect.loss")), "expect: the file has no expected tensors");
    let mut file = stream();
    file.whole("fixation", &[4], &[1, 0, 2, 1]);
    assert_eq!(error(&file), "fixation: holds 2, not in 0..2");
}

#[test]
fn what_cannot_be_read_is_a_row_with_exit_code_2() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    std::fs::create_dir(path("empty")).expect("a folder");
    std::fs::write(path("not.safetensors"), b"something else").expect("a file");
    std::fs::write(path("sound.safetensors"), batch().bytes()).expect("a file");
    for (name, reason) in [
        ("missing.safetensors", "No such file"),
        ("empty", "no .safetensors file in this folder"),
        ("not.safetensors", "not a readable safetensors file"),
    ] {
        let report = golden::run(&[path("sound.safetensors"), path(name)], &core::compute);
        assert_eq!((report.rows.len(), report.exit_code()), (2, 2));
        let text = report.to_string();
        assert!(text.contains(name) && text.contains(reason), "{text}");
    }
    assert_eq!(golden::run(&[], &core::compute).exit_code(), 2);
}

/// Reads a file that may be spoilt, and computes it where it still is a case; returns whether it was.
fn survives(bytes: &[u8]) -> bool {
    match Case::parse(Path::new("case.safetensors"), bytes) {
        Ok(case) => {
            let _ = core::compute(&case);
            true
        }
        Err(error) => {
            assert!(error.to_string().starts_with("case.safetensors: "));
            false
        }
    }
}

proptest! {
    #[test]
    fn a_truncated_file_is_refused(share in 0.0..1.0_f64, of_stream: bool) {
        let bytes = if of_stream { stream() } else { batch() }.bytes();
        let length = (share * bytes.len() as f64) as usize;
        prop_assert!(!survives(&bytes[..length]));
    }

    #[test]
    fn a_corrupted_file_does_not_panic(
        place in 0.0..1.0_f64, byte: u8, header_only: bool, of_stream: bool,
    ) {
        let mut bytes = if of_stream { stream() } else { batch() }.bytes();
        let header = 8 + u64::from_le_bytes(bytes[..8].try_into().expect("8 bytes")) as usize;
        let length = if header_only { header } else { bytes.len() };
        bytes[(place * length as f64) as usize] = byte;
        survives(&bytes);
    }

    #[test]
    fn any_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(!survives(&bytes));
    }
}
