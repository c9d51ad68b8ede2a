//! Disks that are full or cannot be written, and training that leaves the numbers: a clear error, and the checkpoint
//! from before is still there, whole.
#![cfg(unix)]

use crate::cli_common;

use clapp_engine::checkpoint::Checkpoint;
use cli_common::{CONFIG, clapp, spoilt, succeeds, write_cifar};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const CHECKPOINT: &str = "run/checkpoint.safetensors";

/// A folder with a configuration, whose checkpoints have some hundreds of KiB, and a data set.
fn place() -> tempfile::TempDir {
    let place = tempfile::tempdir().expect("a folder");
    fs::write(place.path().join("tiny.toml"), spoilt("width = 1.0", "width = 8.0")).expect("a file");
    write_cifar(&place.path().join("data"));
    place
}

/// Runs a shell script in `place`, with the program as `$0`.
fn shell(place: &Path, before: &[&str], script: &str) -> Output {
    let arguments = [before, &["sh", "-c", script, env!("CARGO_BIN_EXE_clapp")]].concat();
    Command::new(arguments[0]).args(&arguments[1..]).current_dir(place).output().expect("a shell")
}

fn fails(output: &Output, code: i32, parts: &[&str]) {
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{errors}");
    for part in parts {
        assert!(errors.contains(part), "no `{part}` in: {errors}");
    }
    assert!(!errors.contains("panicked"), "{errors}");
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("text")).collect()
}

const TRAIN: &str = "train --config tiny.toml --data data --out run";

#[test]
fn a_file_that_may_not_grow_leaves_the_checkpoint_before_it() {
    let place = place();
    // At most 16 or 32 KiB a file; the program does not die of the signal for more: writing gives an error, as on a
    // full disk.
    let limited = |arguments: &str| shell(place.path(), &[], &format!("ulimit -f 32; exec \"$0\" {arguments}"));
    fails(&limited(TRAIN), 2, &["cannot write", CHECKPOINT, "File too large"]);
    assert_eq!(names(&place.path().join("run")), ["metrics.csv"]);
    succeeds(place.path(), &TRAIN.split(' ').collect::<Vec<_>>());
    let before = fs::read(place.path().join(CHECKPOINT)).expect("a checkpoint");
    let files = names(&place.path().join("run")).len();
    fails(&limited(&format!("{TRAIN} --resume --epochs 4")), 2, &["cannot write", CHECKPOINT, "File too large"]);
    assert!(fs::read(place.path().join(CHECKPOINT)).expect("a checkpoint") == before);
    // The events of the session that failed are the only new file.
    assert_eq!(names(&place.path().join("run")).len(), files + 1);
    // With space on the disk again, the run continues as if undisturbed.
    succeeds(place.path(), &format!("{TRAIN} --resume --epochs 4").split(' ').collect::<Vec<_>>());
    succeeds(place.path(), &TRAIN.replace("run", "whole --epochs 4").split(' ').collect::<Vec<_>>());
    let whole = fs::read(place.path().join("whole/checkpoint.safetensors")).expect("a checkpoint");
    assert!(fs::read(place.path().join(CHECKPOINT)).expect("a checkpoint") == whole);
}

/// A shell with private mounts, if the system allows them for this user.
fn own_mounts(place: &Path) -> Option<[&'static str; 2]> {
    let unshare = ["unshare", "-rm"];
    let may = Command::new("unshare").args(["-rm", "mount", "-t", "tmpfs", "tmpfs", "."]).current_dir(place).output();
    let may = may.is_ok_and(|output| output.status.success());
    if !may {
        eprintln!("not tested: this system lets us mount nothing");
    }
    may.then_some(unshare)
}

#[test]
fn a_full_disk_leaves_the_checkpoint_before_it() {
    let place = place();
    let Some(unshare) = own_mounts(place.path()) else { return };
    succeeds(place.path(), &TRAIN.split(' ').collect::<Vec<_>>());
    let before = fs::read(place.path().join(CHECKPOINT)).expect("a checkpoint");
    // Room for the checkpoint and half of another.
    let room = before.len() * 3 / 2;
    let output = shell(
        place.path(),
        &unshare,
        &format!(
            "mkdir disk && mount -t tmpfs -o size={room} tmpfs disk && cp -r run disk && \
             \"$0\" {TRAIN} --resume --epochs 4 --out disk/run; code=$?; \
             cp disk/{CHECKPOINT} after; ls -A disk/run > names; exit $code"
        )
        .replace("--out run ", ""),
    );
    fails(&output, 2, &["cannot write", CHECKPOINT, "No space left on device"]);
    assert!(fs::read(place.path().join("after")).expect("a checkpoint") == before);
    let names = fs::read_to_string(place.path().join("names")).expect("names");
    assert!(!names.contains(".tmp"), "{names}");
}

#[test]
fn a_folder_that_cannot_be_written_is_refused_before_training() {
    let place = place();
    fails(
        &clapp(place.path(), &["train", "--config", "tiny.toml", "--data", "data", "--out", "/proc/run"]),
        2,
        &["/proc/run"],
    );
    let Some(unshare) = own_mounts(place.path()) else { return };
    succeeds(place.path(), &TRAIN.split(' ').collect::<Vec<_>>());
    let before = fs::read(place.path().join(CHECKPOINT)).expect("a checkpoint");
    let read_only = |arguments: &str| {
        let mounts = "mount --bind run run && mount -o remount,bind,ro run";
        shell(place.path(), &unshare, &format!("{mounts} && exec \"$0\" {TRAIN} {arguments}"))
    };
    for arguments in ["--resume --epochs 4", "--overwrite"] {
        fails(&read_only(arguments), 2, &["cannot", "run/", "Read-only file system"]);
        assert!(fs::read(place.path().join(CHECKPOINT)).expect("a checkpoint") == before);
    }
}

#[test]
fn training_that_diverges_leaves_a_checkpoint_that_is_finite() {
    let place = place();
    let wild = CONFIG.replace("kind = \"adamw\"\nlr = 0.001", "kind = \"sgd\"\nlr = 1e30");
    fs::write(place.path().join("tiny.toml"), wild).expect("a file");
    let output =
        clapp(place.path(), &[&TRAIN.split(' ').collect::<Vec<_>>()[..], &["--checkpoint-every", "1"]].concat());
    fails(&output, 1, &["diverged", "learning rate"]);
    let checkpoint = Checkpoint::read(&place.path().join(CHECKPOINT)).expect("a checkpoint");
    assert!(checkpoint.layers.iter().all(|layer| layer.weight.iter().all(|weight| weight.is_finite())));
    assert!(place.path().join("run/metrics.csv").exists());
}
