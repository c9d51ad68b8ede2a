//! `clapp features`: files that other programs read, and numbers that PyTorch computes from the same checkpoint.

use super::cli_common::{CONFIG, refuses, succeeds};
use super::{photos, place};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// An array of a `.npy` file of `f32`, and its shape as it is written.
fn npy(path: &Path, kind: &str) -> (String, Vec<u8>) {
    let bytes = fs::read(path).unwrap();
    assert_eq!(bytes[..8], *b"\x93NUMPY\x01\x00");
    let end = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    assert!(end.is_multiple_of(64));
    let header = String::from_utf8(bytes[10..end].to_vec()).unwrap();
    assert!(header.contains(&format!("'descr': '{kind}', 'fortran_order': False")), "{header}");
    let shape = header.split_once("'shape': (").unwrap().1.split_once(')').unwrap().0.to_string();
    (shape, bytes[end..].to_vec())
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|value| f32::from_le_bytes(*value)).collect()
}

fn whole(bytes: &[u8]) -> Vec<i64> {
    bytes.as_chunks::<8>().0.iter().map(|value| i64::from_le_bytes(*value)).collect()
}

/// The bytes of a tensor.
fn tensor(path: &Path, name: &str) -> (Vec<usize>, Vec<u8>) {
    let bytes = fs::read(path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let tensor = file.tensor(name).unwrap();
    (tensor.shape().to_vec(), tensor.data().to_vec())
}

#[test]
fn both_formats_hold_the_same_features_labels_and_indices() {
    let place = place();
    let folder = place.path();
    let said = succeeds(folder, &["features", "run", "--data", "data", "--out", "f.safetensors"]);
    assert!(said.contains("wrote f.safetensors (10 images, 88 features of 2 layers)"), "{said}");
    succeeds(folder, &["features", "run", "--data", "data", "--out", "f.npy"]);
    let (shape, features) = tensor(&folder.join("f.safetensors"), "features");
    assert_eq!(shape, [10, 88]);
    assert_eq!(npy(&folder.join("f.npy"), "<f4"), ("10, 88".into(), features.clone()));
    // Images of the set's own order, with their labels.
    let labels: Vec<i64> = (0..10).collect();
    assert_eq!(whole(&tensor(&folder.join("f.safetensors"), "labels").1), labels);
    assert_eq!(whole(&tensor(&folder.join("f.safetensors"), "indices").1), labels);
    let (shape, values) = npy(&folder.join("f.labels.npy"), "<i8");
    assert_eq!((shape.as_str(), whole(&values)), ("10,", labels));
    // One layer is its columns; the first images are the first rows.
    let all = floats(&features);
    let layer = ["--part", "train", "--images", "3", "--layer", "1", "--out", "g.npy"];
    succeeds(folder, &[&["features", "run", "--data", "data"][..], &layer].concat());
    assert_eq!(npy(&folder.join("g.npy"), "<f4").0, "3, 24");
    succeeds(folder, &["features", "run", "--data", "data", "--layer", "0", "--out", "h.npy"]);
    let first = floats(&npy(&folder.join("h.npy"), "<f4").1);
    assert!(first.chunks(64).zip(all.chunks(88)).all(|(one, all)| *one == all[..64]));
    // No file is replaced unasked, and an input is never replaced.
    refuses(folder, &["features", "run", "--data", "data", "--out", "f.npy"], &["f.npy", "--overwrite"]);
    succeeds(folder, &["features", "run", "--data", "data", "--out", "f.npy", "--overwrite"]);
    let onto = ["features", "run", "--data", "data", "--overwrite", "--out", "run/checkpoint.safetensors"];
    refuses(folder, &onto, &["run/checkpoint.safetensors", "is an input"]);
    refuses(folder, &["features", "run", "--data", "data", "--out", "f.csv"], &["--out", ".safetensors or .npy"]);
    refuses(folder, &["features", "run", "--data", "data", "--layer", "2", "--out", "k.npy"], &["--layer", "is 2"]);
}

#[test]
fn class_folders_and_image_files_have_names() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    fs::write(folder.join("tiny.toml"), CONFIG).unwrap();
    photos(&folder.join("photos"), &[("cat", 6, 2), ("dog", 6, 2)]);
    succeeds(folder, &["train", "--config", "tiny.toml", "--data", "photos", "--epochs", "0", "--out", "run"]);
    succeeds(folder, &["features", "run", "--data", "photos", "--out", "f.npy"]);
    let names: Vec<String> = serde_json::from_str(&fs::read_to_string(folder.join("f.names.json")).unwrap()).unwrap();
    let labels = whole(&npy(&folder.join("f.labels.npy"), "<i8").1);
    for (name, label) in names.iter().zip(&labels) {
        assert!(name.contains(["val/cat/", "val/dog/"][*label as usize]), "{name} {label}");
    }
    // Files that belong to the old images are removed with them.
    let alone = ["features", "run", "photos/val/cat/00.png", "--out", "f2.npy"];
    for name in ["labels", "indices"] {
        fs::copy(folder.join(format!("f.{name}.npy")), folder.join(format!("f2.{name}.npy"))).unwrap();
    }
    refuses(folder, &alone, &["f2.labels.npy", "--overwrite"]);
    succeeds(folder, &[&alone[..], &["--overwrite"]].concat());
    assert!(!folder.join("f2.labels.npy").exists());
    // The same files by name have the same features.
    let mut files: Vec<String> = vec!["features".into(), "run".into(), "--out".into(), "g.safetensors".into()];
    files.extend(names.iter().map(|name| format!("photos/{name}")));
    succeeds(folder, &files.iter().map(String::as_str).collect::<Vec<&str>>());
    let (_, features) = tensor(&folder.join("g.safetensors"), "features");
    assert_eq!(npy(&folder.join("f.npy"), "<f4").1, features);
    let bytes = fs::read(folder.join("g.safetensors")).unwrap();
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let entry: Value = serde_json::from_str(&header.metadata().as_ref().unwrap()["clapp-features"]).unwrap();
    assert_eq!(entry["names"][3], format!("photos/{}", names[3]));
    assert_eq!(entry["layers"][1], serde_json::json!({ "layer": 1, "from": 64, "to": 88 }));
    assert_eq!(entry["test"], serde_json::json!({ "resize": 32, "crop": 32 }));
}

/// The example of `docs/host-checkpoint.md`, run by PyTorch on the checkpoint of this test, has given the numbers of
/// the fixture (`fixtures/features.py` writes it).
#[test]
fn features_are_those_of_the_documented_example_in_pytorch() {
    let documented = include_str!("../../../../docs/host-checkpoint.md");
    let script = include_str!("../../fixtures/features.py");
    let example = script.split_once("# Example.\n").unwrap().1.split_once("# End.\n").unwrap().0;
    assert!(documented.contains(example), "the page shows what the script runs");
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    fs::write(folder.join("tiny.toml"), CONFIG).unwrap();
    super::write_cifar(&folder.join("data"));
    succeeds(folder, &["train", "--config", "tiny.toml", "--data", "data", "--epochs", "0", "--out", "run"]);
    succeeds(folder, &["features", "run", "--data", "data", "--images", "2", "--out", "f.npy"]);
    let found = floats(&npy(&folder.join("f.npy"), "<f4").1);
    let expected: Vec<f32> = serde_json::from_str(include_str!("../../fixtures/features.json")).unwrap();
    assert_eq!((found.len(), expected.len()), (176, 176));
    assert!(expected.iter().filter(|value| **value > 0.05).count() > 50, "they are no zeros");
    for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
        assert!((found - expected).abs() <= 1e-5 * expected.abs().max(1.0), "{index}: {found}, PyTorch has {expected}");
    }
}
