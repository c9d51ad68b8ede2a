//! The golden runner on the core: what it must notice, what it must compute, and the real files.

use crate::golden_case;

use clapp_engine::golden::case::Case;
use clapp_engine::golden::compare::{Comparison, compare, error, limit};
use clapp_engine::golden::{self, Computed, core};
use golden_case::{File, batch, stream};
use serde_json::json;
use std::path::{Path, PathBuf};

fn parse(file: &File) -> Case {
    Case::parse(Path::new("case.safetensors"), &file.bytes()).expect("a sound file")
}

/// A file that expects what the core computes of it.
fn expecting_itself(mut file: File) -> File {
    for (name, values) in core::compute(&parse(&file)).expect("computed").tensors {
        file.doubles(&format!("expect.{name}"), &[values.len()], &values);
    }
    file
}

fn run(file: &File) -> Comparison {
    let case = parse(file);
    compare(&case, &core::compute(&case).expect("computed"))
}

#[test]
fn the_error_is_relative_to_the_largest_expected_value() {
    assert_eq!(error(&[1.0, -3.0], &[1.0, -4.0]), 0.25);
    assert_eq!(error(&[0.0, 1e-4], &[0.0, 0.0]), 0.1);
    assert_eq!(error(&[2.0, 5.0], &[2.0, 5.0]), 0.0);
    for values in [[f64::NAN, 0.0], [0.0, f64::NAN]] {
        assert!(error(&values, &[0.0, 0.0]).is_nan() && error(&[0.0, 0.0], &values).is_nan());
    }
    assert!(error(&[f64::INFINITY], &[1.0]).is_infinite() && error(&[1.0], &[f64::INFINITY]).is_nan());
}

#[test]
fn limits_are_wider_after_learning_only() {
    let after = ["after.sgd.layer0.weight", "final.layer0.bias", "losses", "probe.weight"];
    let before = ["layer0.z", "layer0.projection.loss", "loss", "grad.layer0.weight", "features", "alignment"];
    assert!(after.iter().all(|name| limit(name) == 1e-4) && before.iter().all(|name| limit(name) == 1e-5));
}

#[test]
fn a_result_beyond_its_limit_fails_and_is_named() {
    for (tensor, wrong) in [("loss", 3e-5), ("grad.layer1.weight", 2e-5), ("after.adamw.layer0.bias", 3e-4)] {
        let mut file = expecting_itself(batch());
        assert!(run(&file).is_within());
        let case = parse(&file);
        let mut values = case.expected[tensor].clone();
        let scale = values.iter().fold(1e-3_f64, |scale, value| scale.max(value.abs()));
        values[0] += wrong * scale;
        file.doubles(&format!("expect.{tensor}"), &[values.len()], &values);
        let comparison = run(&file);
        assert!(!comparison.is_within());
        assert_eq!(comparison.worst().map(|worst| worst.tensor.as_str()), Some(tensor));
        values[0] = f64::NAN;
        file.doubles(&format!("expect.{tensor}"), &[values.len()], &values);
        assert!(!run(&file).is_within());
    }
}

#[test]
fn nothing_expected_is_skipped_in_silence() {
    let mut file = expecting_itself(batch());
    file.doubles("expect.layer2.z", &[1], &[0.0]);
    file.doubles("expect.layer1.pooled", &[1], &[0.0]);
    file.doubles("expect.alignment", &[2], &[1.0, 1.0]);
    let comparison = run(&file);
    assert!(!comparison.is_within());
    let failed: Vec<&str> = comparison.failed.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(failed, ["layer1.pooled", "layer2.z"]);
    let declined: Vec<_> = comparison.declined.iter().map(|(group, _, count)| (group.as_str(), *count)).collect();
    assert_eq!(declined, [("alignment", 1)]);
}

#[test]
fn a_report_has_a_line_for_each_case_and_a_code_for_all() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("b.safetensors"), expecting_itself(batch()).bytes()).expect("a file");
    std::fs::write(folder.path().join("a.safetensors"), expecting_itself(stream()).bytes()).expect("a file");
    std::fs::write(folder.path().join("notes.txt"), "no golden file").expect("a file");
    let paths = [folder.path().to_owned()];
    let report = golden::run(&paths, &core::compute);
    let files: Vec<_> = report.rows.iter().map(|row| row.file.file_name().expect("a name")).collect();
    assert_eq!(files, ["a.safetensors", "b.safetensors"]);
    assert_eq!(report.exit_code(), 0, "{report}");
    assert!(report.to_string().ends_with("2 of 2 cases within limits, 36 tensors compared"), "{report}");
    let idle = |_: &Case| Ok(Computed::default());
    let report = golden::run(&paths, &idle);
    assert_eq!(report.exit_code(), 1);
    assert!(report.to_string().contains("written_by_a_test: losses: not computed"), "{report}");
}

/// Every mixture of a rule's options is computed, and all that a file of it would expect has the right length.
#[test]
fn every_mixture_of_options_is_computed_in_full() {
    for contrast in ["hinge", "soft_hinge", "phyll", "linear"] {
        for context in ["same", "top", "both"] {
            for identity in [false, true] {
                for negatives in [1, 3] {
                    for either in [false, true] {
                        let mut file = mixture(contrast, context, identity, negatives);
                        // Only hinge and soft hinge have two terms to choose from.
                        if either && contrast.ends_with("hinge") {
                            file.set("/either", json!(true));
                            file.whole("keep_positive", &[4], &[1, 0, 0, 1]);
                        }
                        check_lengths(&file, context, identity, negatives);
                    }
                }
            }
        }
    }
}

fn mixture(contrast: &str, context: &str, identity: bool, negatives: i32) -> File {
    let mut file = batch();
    file.set("/contrast", json!(contrast));
    file.set("/context", json!(context));
    file.set("/theta", json!(1.5));
    file.set("/pos_coeff", json!(0.5));
    file.set("/layers/0/out", json!(4));
    file.set("/layers/0/loss_pool", json!(null));
    file.set("/layers/0/stride", json!(2));
    file.set("/layers/1/loss_pool_adaptive", json!([1, 1]));
    file.set("/identity_projection", json!(identity));
    file.set("/negatives", json!(negatives));
    let places: Vec<i32> = (0..4 * negatives).map(|at| (at * at + 1) % 4).collect();
    file.whole("negatives", &[negatives as usize, 4], &places);
    file.some("layer0.weight", &[4, 2, 3, 3]);
    file.some("layer0.bias", &[4]);
    file.some("layer1.weight", &[4, 4, 1, 2]);
    for layer in 0..2 {
        file.remove(&format!("layer{layer}.projection"));
        for (name, has) in [("projection", context != "top"), ("feedback", context != "same")] {
            if has && !identity {
                file.some(&format!("layer{layer}.{name}"), &[4, 4]);
            }
        }
    }
    file
}

fn check_lengths(file: &File, context: &str, identity: bool, negatives: i32) {
    let computed = core::compute(&parse(file)).expect("computed");
    let length = |name: &str| {
        let tensor = computed.tensors.iter().find(|(computed, _)| computed == name);
        tensor.map(|(_, values)| {
            assert!(values.iter().all(|value| value.is_finite()), "{name}");
            values.len()
        })
    };
    let outputs = [4 * 4 * 3 * 3, 4 * 4];
    let weights = [4 * 2 * 9, 4 * 4 * 2];
    for layer in 0..2 {
        let own = |name: &str| length(&format!("layer{layer}.{name}"));
        assert_eq!((own("z"), own("pooled")), (Some(outputs[layer]), Some(16)));
        for (name, has) in [("projection", context != "top"), ("feedback", context != "same")] {
            let expected = [4, 4 * negatives as usize, 1].map(|length| has.then_some(length));
            let scores = ["u_pos", "u_neg", "loss"].map(|score| own(&format!("{name}.{score}")));
            assert_eq!(scores, expected);
            for group in ["grad", "after.sgd", "after.adamw"] {
                let matrix = length(&format!("{group}.layer{layer}.{name}"));
                assert_eq!(matrix, (has && !identity).then_some(16));
            }
        }
        for group in ["grad", "after.sgd", "after.adamw"] {
            let tensor = |name: &str| length(&format!("{group}.layer{layer}.{name}"));
            assert_eq!((tensor("weight"), tensor("bias")), (Some(weights[layer]), Some(4)));
        }
    }
    assert_eq!(length("loss"), Some(1));
}

/// The golden files that were computed elsewhere in double precision, where they are at hand.
#[test]
fn the_core_meets_the_golden_files() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/golden");
    if !folder.is_dir() {
        println!("NOT RUN: there is no folder {} with golden files", folder.display());
        return;
    }
    let report = golden::run(&[folder], &core::compute);
    println!("{report}");
    assert_eq!(report.exit_code(), 0, "{report}");
    for row in &report.rows {
        let comparison = row.outcome.as_ref().expect("compared");
        for (group, reason, _) in &comparison.declined {
            let allowed = reason.contains("back-propagation");
            assert!(allowed, "{}: {group} was declined: {reason}", comparison.case);
        }
    }
}
