//! Classes without test or training images, balanced accuracy, confusion, and the quick protocol.

use super::cli_common::{CONFIG, refuses, succeeds};
use super::{both, photos, place, record};
use clapp_engine::probe::Kind;
use serde_json::Value;
use std::fs;

#[test]
fn a_class_without_test_images_has_no_accuracy_and_counts_in_no_mean() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    fs::write(folder.join("tiny.toml"), CONFIG).unwrap();
    photos(&folder.join("photos"), &[("cat", 6, 4), ("dog", 6, 2), ("owl", 6, 0)]);
    fs::write(folder.join("photos/val/owl/readme.txt"), "none").unwrap();
    let (_, notes) = both(folder, &["train", "--config", "tiny.toml", "--data", "photos", "--out", "run"]);
    assert!(notes.contains("1 class without test images (their accuracy cannot be measured): owl"), "{notes}");
    let (said, notes) = both(folder, &["eval", "run", "--data", "photos", "--epochs", "4"]);
    assert!(said.contains("owl         no test images") && !said.contains("owl           0.00 %"), "{said}");
    assert!(notes.contains("1 class without test images (their accuracy cannot be measured): owl"), "{notes}");
    let json: Value = serde_json::from_str(&fs::read_to_string(folder.join("run/probe.json")).unwrap()).unwrap();
    assert_eq!(json["all"]["classes"][2], Value::Null);
    assert_eq!(json["layers"][0]["classes"][2], Value::Null);
    let report = record(folder, "run/probe.json").report;
    let [cat, dog] = [report.all.classes[0].unwrap(), report.all.classes[1].unwrap()];
    assert_eq!(report.all.balanced, Some((cat + dog) / 2.0));
    assert!(said.contains(&format!("balanced    {:6.2} %", 100.0 * (cat + dog) / 2.0)), "{said}");
    // The confusion table adds up to the number of test images, and its diagonal to the number of correct predictions.
    assert_eq!(report.confusion.iter().map(|row| row.iter().sum()).collect::<Vec<usize>>(), [4, 2, 0]);
    let right: usize = (0..3).map(|class| report.confusion[class][class]).sum();
    assert_eq!(report.all.last, right as f64 / 6.0);
    assert_eq!(cat, report.confusion[0][0] as f64 / 4.0);
    succeeds(folder, &["report", "run", "--out", "page.html"]);
    let page = fs::read_to_string(folder.join("page.html")).unwrap();
    assert!(page.contains("data-table=\"confusion\"") && page.contains("no test images"), "{page}");
    assert!(page.contains("balanced accuracy"), "{page}");
}

#[test]
fn test_labels_that_never_occur_in_training_are_named() {
    let place = place();
    // Nine images, of classes 0 to 8; the tenth class is tested only.
    let (_, notes) = both(place.path(), &["eval", "run", "--data", "data", "--images", "9"]);
    assert!(
        notes.contains(
            "with test images, but without training images (a probe cannot learn them, and gets all of them wrong): truck"
        ),
        "{notes}"
    );
    let (_, notes) = both(place.path(), &["eval", "run", "--data", "data", "--images", "1"]);
    assert!(notes.contains("all training images belong to one class"), "{notes}");
}

#[test]
fn a_quick_probe_is_recorded_as_such_and_stands_beside_the_others() {
    let place = place();
    let folder = place.path();
    let (said, notes) = both(folder, &["eval", "run", "--data", "data", "--quick"]);
    assert!(said.contains("linear probe, 30 epochs on 20 images, quick: cached features"), "{said}");
    assert!(
        notes.contains("this quick probe takes ") && notes.contains("the paper's protocol (2 epochs on 20"),
        "{notes}"
    );
    assert!(
        said.contains("wrote run/probe-quick.json") && said.contains("wrote run/probe-quick.safetensors"),
        "{said}"
    );
    let quick = record(folder, "run/probe-quick.json").report;
    let protocol = quick.protocol.unwrap();
    assert_eq!((protocol.kind, protocol.planned_epochs, quick.epochs, quick.cached), (Kind::Quick, 30, 30, true));
    assert!(!folder.join("run/probe.json").exists());
    refuses(folder, &["eval", "run", "--data", "data", "--quick", "--cached"], &["--quick", "--cached"]);
    // A run that starts again takes its probes away.
    let train = ["train", "--config", "tiny.toml", "--data", "data", "--epochs", "0", "--out", "run", "--overwrite"];
    succeeds(folder, &train);
    assert!(!folder.join("run/probe-quick.json").exists() && !folder.join("run/probe-quick.safetensors").exists());
}

#[test]
fn estimates_and_progress_are_told_without_a_terminal() {
    let place = place();
    let (_, notes) = both(place.path(), &["eval", "run", "--data", "data", "--epochs", "3"]);
    for part in [
        "estimated from its first batches: this probe takes ",
        "the paper's protocol (2 epochs on 20 images, augmented)",
        "--cached",
        "--quick (30 epochs on 20 images, cached)",
        "1 of 3 epochs done",
        "3 of 3 epochs done",
        "% of the test images correct",
        "left",
    ] {
        assert!(notes.contains(part), "no `{part}` in {notes}");
    }
}

#[test]
fn weights_go_over_no_other_file() {
    let place = place();
    // Beside checkpoint.json the weights would be checkpoint.safetensors.
    let eval = ["eval", "run", "--data", "data", "--cached", "--json"];
    refuses(place.path(), &[&eval[..], &["run/checkpoint.json"]].concat(), &["--json", "run/checkpoint.safetensors"]);
    refuses(place.path(), &[&eval[..], &["one.safetensors"]].concat(), &["--json", "one.safetensors"]);
}
