//! Inputs that `clapp train --resume` accepts and refuses. No run overwrites another.

use crate::cli_common;
use crate::sets;

use cli_common::parts::Parts;
use cli_common::{CONFIG, cifar_file, refuses, spoilt, succeeds, write_cifar, write_idx};
use sets::{folder_files, write_files};
use std::fs;
use std::path::Path;

type Change = fn(&mut Parts);

const TRAIN: [&str; 7] = ["train", "--config", "tiny.toml", "--data", "data", "--out", "run"];
const RESUME: [&str; 6] = ["train", "--resume", "--out", "run", "--data", "data"];
const CHECKPOINT: &str = "run/checkpoint.safetensors";

/// A folder with a configuration, a data set and a run of two epochs.
fn place() -> tempfile::TempDir {
    let place = tempfile::tempdir().expect("a folder");
    fs::write(place.path().join("tiny.toml"), CONFIG).expect("a file");
    write_cifar(&place.path().join("data"));
    succeeds(place.path(), &TRAIN);
    place
}

fn bytes(place: &Path) -> Vec<u8> {
    fs::read(place.join(CHECKPOINT)).expect("a checkpoint")
}

fn with<'a>(arguments: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [arguments, more].concat()
}

#[test]
fn a_run_is_not_written_over_unless_one_says_so() {
    let place = place();
    let first = bytes(place.path());
    refuses(place.path(), &TRAIN, &[CHECKPOINT, "--resume", "--overwrite"]);
    succeeds(place.path(), &with(&TRAIN, &["--overwrite", "--seed", "5"]));
    assert!(bytes(place.path()) != first);
    refuses(place.path(), &with(&TRAIN, &["--overwrite", "--resume"]), &["--overwrite", "--resume"]);
    // The files beside the old checkpoint belong to the old run.
    succeeds(place.path(), &["eval", CHECKPOINT, "--data", "data", "--cached", "--epochs", "1"]);
    assert!(place.path().join("run/probe-cached.json").exists());
    succeeds(place.path(), &with(&TRAIN, &["--overwrite"]));
    assert!(bytes(place.path()) == first);
    let names: Vec<String> = fs::read_dir(place.path().join("run"))
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
        .collect();
    assert!(!names.contains(&"probe-cached.json".to_string()), "{names:?}");
    assert_eq!(names.iter().filter(|name| name.contains("tfevents")).count(), 1, "{names:?}");
}

#[test]
fn a_finished_run_says_so_and_more_epochs_go_on() {
    let place = place();
    let first = bytes(place.path());
    // Not even the images are needed.
    for arguments in [&["train", "--resume", "--out", "run"][..], &with(&TRAIN, &["--resume"]), &RESUME] {
        let text = succeeds(place.path(), arguments);
        assert!(text.contains("finished already") && text.contains("2 epochs"), "{text}");
    }
    // Nor a folder that is free.
    let lock = clapp_data::files::lock_folder(&place.path().join("run")).expect("a lock");
    assert!(succeeds(place.path(), &RESUME).contains("finished already"));
    drop(lock);
    assert!(bytes(place.path()) == first);
    succeeds(place.path(), &["train", "--config", "tiny.toml", "--data", "data", "--out", "long", "--epochs", "4"]);
    succeeds(place.path(), &with(&RESUME, &["--epochs", "3"]));
    succeeds(place.path(), &with(&TRAIN, &["--resume", "--epochs", "4"]));
    assert!(bytes(place.path()) == fs::read(place.path().join("long/checkpoint.safetensors")).expect("a file"));
    refuses(place.path(), &with(&RESUME, &["--epochs", "3"]), &["epochs: checkpoint has 4", "has 3"]);
    // The configuration beside the checkpoint may be where more epochs are asked for.
    let file = place.path().join("run/config.toml");
    let config = fs::read_to_string(&file).expect("a file").replace("epochs = 4", "epochs = 5");
    fs::write(&file, config).expect("a file");
    succeeds(place.path(), &RESUME);
    let text = succeeds(place.path(), &RESUME);
    assert!(text.contains("5 epochs"), "{text}");
}

#[test]
fn more_epochs_are_refused_where_the_learning_rate_hangs_on_their_number() {
    let place = place();
    let cosine = "seed = 3\nschedule = { warmup-cosine = { warmup-epochs = 1, least = 0.0001 } }";
    fs::write(place.path().join("tiny.toml"), spoilt("seed = 3", cosine)).expect("a file");
    succeeds(place.path(), &with(&TRAIN, &["--overwrite"]));
    refuses(place.path(), &with(&RESUME, &["--epochs", "3"]), &[CHECKPOINT, "epochs: checkpoint has 2"]);
    assert!(succeeds(place.path(), &RESUME).contains("finished already"));
    // The table says which rate each epoch had.
    let metrics = fs::read_to_string(place.path().join("run/metrics.csv")).expect("metrics");
    let at = metrics.lines().next().expect("names").split(',').position(|name| name == "learning_rate").expect("it");
    let rates: Vec<&str> = metrics.lines().skip(1).map(|line| line.split(',').nth(at).expect("a rate")).collect();
    assert_eq!(rates, ["0.0001", "0.001"]);
}

#[test]
fn a_folder_without_a_run_begins_one_where_its_configuration_is_named() {
    let place = place();
    let empty = ["train", "--resume", "--out", "empty", "--data", "data"];
    refuses(place.path(), &empty, &["empty: holds no run", "--preset"]);
    refuses(place.path(), &["train", "--resume", "--data", "data"], &["--resume", "--out"]);
    succeeds(place.path(), &with(&empty, &["--config", "tiny.toml"]));
    assert!(fs::read(place.path().join("empty/checkpoint.safetensors")).expect("a file") == bytes(place.path()));
}

#[test]
fn a_configuration_that_is_not_the_checkpoints_is_refused_by_field() {
    let place = place();
    let more = ["--epochs", "4"];
    let options: [(&[&str], &str); 5] = [
        (&["--seed", "4"], "seed: checkpoint has 3, the command line has 4"),
        (&["--width", "2"], "width: checkpoint has 1.0, the command line has 2.0"),
        (&["--rule", "clapp++dfb"], "rule: checkpoint has \"clapp++\", the command line has \"clapp++dfb\""),
        (&["--batch", "5"], "batch: checkpoint has 4, the command line has 5"),
        (&["--images", "12"], "images: checkpoint has nothing, the command line has 12"),
    ];
    for (options, part) in options {
        for arguments in [&RESUME[..], &with(&TRAIN, &["--resume"])] {
            refuses(place.path(), &with(&with(arguments, options), &more), &[CHECKPOINT, part]);
        }
    }
    for (from, to, part) in [
        ("lr = 0.001", "lr = 0.002", "optimizer.lr: checkpoint has 0.001, the command line has 0.002"),
        ("flip = 0.5", "flip = 0.25", "augment.flip: checkpoint has 0.5"),
        ("padding = [1, 1]", "padding = [2, 2]", "blocks[0].padding"),
        ("kind = \"adamw\"", "kind = \"sgd\"", "optimizer.kind"),
        ("seed = 3", "seed = 3\npos-coeff = 2.0", "pos-coeff"),
    ] {
        fs::write(place.path().join("other.toml"), spoilt(from, to)).expect("a file");
        let other = ["train", "--config", "other.toml", "--resume", "--out", "run", "--data", "data"];
        refuses(place.path(), &with(&other, &more), &[CHECKPOINT, part]);
    }
    // The configuration in the folder is compared with the checkpoint, too.
    let file = place.path().join("run/config.toml");
    let config = fs::read_to_string(&file).expect("a file");
    fs::write(&file, config.replace("seed = 3", "seed = 7")).expect("a file");
    let part = "seed: checkpoint has 3, run/config.toml has 7";
    refuses(place.path(), &with(&TRAIN, &["--resume", "--epochs", "4"]), &[CHECKPOINT, part]);
    refuses(place.path(), &with(&RESUME, &more), &[CHECKPOINT, "seed: checkpoint has 3"]);
}

#[test]
fn images_that_are_not_the_checkpoints_are_refused() {
    let place = place();
    let more = ["train", "--resume", "--out", "run", "--epochs", "4", "--data"];
    let other = place.path().join("other");
    write_cifar(&other);
    fs::write(other.join("data_batch_1.bin"), cifar_file(0, 6)).expect("a file");
    let part = "number of training images: checkpoint has 20, the data set has 22";
    refuses(place.path(), &with(&more, &["other"]), &[CHECKPOINT, part]);
    write_idx(&place.path().join("grey"), 20);
    refuses(place.path(), &with(&more, &["grey"]), &["[3, 32, 32]", "[1, 32, 32]"]);
    refuses(place.path(), &more[..6], &["--data"]);
    succeeds(place.path(), &with(&more, &["data"]));
}

#[test]
fn a_run_that_cannot_go_on_leaves_its_folder_as_it_was() {
    let place = place();
    let photos = place.path().join("photos");
    write_files(&photos, &folder_files());
    let train = ["train", "--config", "tiny.toml", "--data", "photos", "--out", "run"];
    succeeds(place.path(), &with(&train, &["--overwrite"]));
    fs::write(place.path().join("run/failure.txt"), "why").expect("a file");
    let config = fs::read(place.path().join("run/config.toml")).expect("a file");
    // Every check passes, and then no image can be read.
    for file in folder_files().iter().filter(|(name, _)| name.starts_with("train/") && !name.ends_with(".txt")) {
        fs::write(photos.join(&file.0), "no image").expect("a file");
    }
    let more = ["train", "--resume", "--out", "run", "--data", "photos", "--epochs", "4"];
    refuses(place.path(), &more, &["not a usable image"]);
    assert!(fs::read(place.path().join("run/config.toml")).expect("a file") == config);
    write_files(&photos, &folder_files());
    succeeds(place.path(), &more);
    let config = fs::read_to_string(place.path().join("run/config.toml")).expect("a file");
    assert!(config.contains("\nepochs = 4\n") && !place.path().join("run/failure.txt").exists(), "{config}");
    // One that begins at the first checkpoint, too.
    let short = ["train", "--config", "tiny.toml", "--data", "photos", "--out", "zero", "--epochs", "0"];
    succeeds(place.path(), &short);
    succeeds(place.path(), &["train", "--resume", "--out", "zero", "--data", "photos", "--epochs", "1"]);
    succeeds(place.path(), &["train", "--resume", "--out", "zero", "--data", "photos", "--epochs", "2"]);
}

#[test]
fn files_of_the_user_are_not_written_over_where_no_checkpoint_lies() {
    let place = place();
    for name in ["config.toml", "metrics.csv", "run.json", "probe.json"] {
        let folder = place.path().join("mine");
        fs::create_dir(&folder).expect("a folder");
        fs::write(folder.join(name), "of the user\nhere\n").expect("a file");
        let train = ["train", "--config", "tiny.toml", "--data", "data", "--out", "mine"];
        for more in [&[][..], &["--resume"]] {
            refuses(place.path(), &with(&train, more), &[&format!("mine/{name}"), "--force", "--out"]);
        }
        refuses(place.path(), &with(&train, &["--overwrite"]), &[&format!("mine/{name}"), "--force"]);
        succeeds(place.path(), &with(&train, &["--overwrite", "--force"]));
        fs::remove_dir_all(&folder).expect("removed");
    }
    // The files of a run killed before its first checkpoint do not block a new run.
    let folder = place.path().join("begun");
    fs::create_dir(&folder).expect("a folder");
    fs::write(folder.join("metrics.csv"), "epoch,step,images_per_second,learning_rate\n").expect("a file");
    succeeds(place.path(), &["train", "--config", "tiny.toml", "--data", "data", "--out", "begun"]);
}

#[test]
fn a_checkpoint_that_is_not_whole_is_refused_and_left_alone() {
    let place = place();
    let whole = bytes(place.path());
    let path = place.path().join(CHECKPOINT);
    let more = ["train", "--resume", "--out", "run", "--data", "data", "--epochs", "4"];
    let refused = |bytes: &[u8], parts: &[&str]| {
        fs::write(&path, bytes).expect("a file");
        refuses(place.path(), &more, &with(&[CHECKPOINT], parts));
        assert!(fs::read(&path).expect("a file") == bytes);
    };
    refused(&[], &["not a complete safetensors file"]);
    refused(&whole[..whole.len() / 2], &["not a complete safetensors file"]);
    refused(&whole[..whole.len() - 1], &["not a complete safetensors file"]);
    refused(&[&whole[..], &[0; 4]].concat(), &["not a complete safetensors file"]);
    let changes: [(Change, &[&str]); 8] = [
        (|parts| parts.nan("layer0.weight"), &["layer0.weight", "not finite"]),
        (|parts| parts.nan("layer1.projection.second"), &["layer1.projection.second", "not finite"]),
        (|parts| drop(parts.tensors.remove("layer0.bias.first")), &["layer0.bias.first", "missing"]),
        (
            |parts| parts.header(|fields| drop(fields.insert("step".into(), 14.into()))),
            &["`step` is 14", "`epoch` is 2"],
        ),
        (|parts| parts.header(|fields| drop(fields.insert("step".into(), 4.into()))), &["`step` is 4", "`epoch` is 2"]),
        (|parts| parts.header(|fields| drop(fields.remove("step"))), &["step"]),
        (|parts| parts.header(|fields| drop(fields.remove("data"))), &["data"]),
        (|parts| parts.header(without_state), &["clapp-checkpoint/1", "no state of the optimiser"]),
    ];
    for (change, parts) in changes {
        let mut file = Parts::of(&whole);
        change(&mut file);
        refused(&file.bytes(), parts);
    }
    // A file of the first format has all that an evaluation needs.
    let mut old = Parts::of(&whole);
    old.header(without_state);
    old.tensors.retain(|name, _| !name.ends_with(".first") && !name.ends_with(".second"));
    fs::write(&path, old.bytes()).expect("a file");
    succeeds(place.path(), &["eval", CHECKPOINT, "--data", "data", "--cached", "--epochs", "1"]);
    refuses(place.path(), &more, &[CHECKPOINT, "no state of the optimiser"]);
    // The parts themselves are sound: unchanged, they are gone on from.
    fs::write(&path, Parts::of(&whole).bytes()).expect("a file");
    succeeds(place.path(), &more);
}

/// Makes the fields of a checkpoint those of the first format.
fn without_state(fields: &mut serde_json::Map<String, serde_json::Value>) {
    fields.insert("format".into(), "clapp-checkpoint/1".into());
    fields.remove("step");
    fields.remove("data");
}

#[test]
fn metrics_that_are_damaged_are_refused_and_those_that_are_gone_begin_anew() {
    let place = place();
    let path = place.path().join("run/metrics.csv");
    let text = fs::read_to_string(&path).expect("metrics");
    let more = ["train", "--resume", "--out", "run", "--data", "data", "--epochs", "4"];
    for (damaged, part) in [
        (text.replace("loss_layer0", "loss"), "loss_layer0"),
        (text.replace("0,5,", "0,five,"), "line 2, field step is \"five\""),
        (format!("{text}1,2\n"), "record 3"),
    ] {
        fs::write(&path, damaged).expect("a file");
        refuses(place.path(), &more, &["run/metrics.csv", part]);
    }
    fs::remove_file(&path).expect("a file");
    succeeds(place.path(), &more);
    let steps: Vec<String> = fs::read_to_string(&path)
        .expect("metrics")
        .lines()
        .skip(1)
        .map(|line| line.split(',').nth(1).expect("a step").to_string())
        .collect();
    assert_eq!(steps, ["15", "20"]);
}

#[test]
fn a_folder_at_which_another_run_is_at_work_is_refused_and_what_killed_ones_left_is_cleared() {
    let place = place();
    let folder = place.path().join("run");
    let more = ["train", "--resume", "--out", "run", "--data", "data", "--epochs", "3"];
    fs::write(folder.join(".clapp-abc123.tmp"), "half a checkpoint").expect("a file");
    fs::write(folder.join("notes.tmp"), "of the user").expect("a file");
    let lock = fs::File::open(&folder).expect("a folder");
    lock.lock().expect("a lock");
    refuses(place.path(), &more, &["run", "another run uses this folder"]);
    drop(lock);
    succeeds(place.path(), &more);
    assert!(!folder.join(".clapp-abc123.tmp").exists() && folder.join("notes.tmp").exists());
}

/// Runs of three rules that the program of commit bc394c50 began and stopped, and their last checkpoints as it made them
/// when nothing disturbed it.
#[test]
fn runs_of_an_older_program_go_on_to_the_same_bytes() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/older_runs");
    for rule in ["clapp++dfb", "soft-hebb", "weight-mirror"] {
        let place = tempfile::tempdir().expect("a folder");
        let run = place.path().join("run");
        fs::create_dir(&run).expect("a folder");
        for name in ["checkpoint.safetensors", "config.toml", "metrics.csv", "run.json"] {
            fs::copy(fixtures.join(rule).join(name), run.join(name)).expect("a copy");
        }
        succeeds(place.path(), &["train", "--resume", "--out", "run"]);
        let expected = fs::read(fixtures.join(rule).join("whole.safetensors")).expect("a checkpoint");
        // The matrix library takes other instructions on other processors; their sums may differ in the last bits.
        if has_the_instructions_of_the_fixtures() {
            assert!(bytes(place.path()) == expected, "{rule}: other bytes");
        } else {
            assert_eq!(bytes(place.path()).len(), expected.len(), "{rule}");
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn has_the_instructions_of_the_fixtures() -> bool {
    is_x86_feature_detected!("avx512f")
}

#[cfg(not(target_arch = "x86_64"))]
fn has_the_instructions_of_the_fixtures() -> bool {
    false
}
