//! Work that the memory cannot hold is refused before it begins, in one line.

#![cfg(target_os = "linux")]

use crate::cli_common;

use cli_common::{CONFIG, clapp, succeeds, write_cifar};
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn place() -> tempfile::TempDir {
    let place = tempfile::tempdir().expect("a folder");
    fs::write(place.path().join("tiny.toml"), CONFIG).expect("a file");
    write_cifar(&place.path().join("data"));
    place
}

/// Runs the program with `mib` MiB of address space.
fn within(folder: &Path, mib: u64, arguments: &[&str]) -> Output {
    let mut bash = Command::new("bash");
    bash.args(["-c", &format!("ulimit -v {} && exec \"$0\" \"$@\"", mib << 10), env!("CARGO_BIN_EXE_clapp")]);
    bash.args(arguments).current_dir(folder).env("RAYON_NUM_THREADS", "2").output().expect("bash")
}

fn is_refused(output: &Output, parts: &[&str]) {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert_eq!(errors.lines().count(), 1, "{errors}");
    parts.iter().for_each(|part| assert!(errors.contains(part), "no `{part}` in: {errors}"));
}

#[test]
fn training_that_cannot_fit_is_refused_and_what_fits_is_not() {
    let place = place();
    let text = CONFIG.replacen("channels = 4", "channels = 40", 1).replace("{ block = [2, 2] }", "\"global\"");
    fs::write(place.path().join("tiny.toml"), text).expect("a file");
    let wide = ["train", "--config", "tiny.toml", "--data", "data", "--out", "run", "--epochs", "1", "--width", "28"];
    let parts = ["training needs about", "MiB are available", "--batch", "--width"];
    is_refused(&within(place.path(), 500, &wide), &parts);
    assert!(!place.path().join("run").exists());
    let narrow = [&wide[..9], &["--width", "16"]].concat();
    let output = within(place.path(), 500, &narrow);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    // The files of a resumed run do not change.
    let config = fs::read(place.path().join("run/config.toml")).expect("a file");
    let more = ["train", "--resume", "--out", "run", "--data", "data", "--epochs", "2"];
    is_refused(&within(place.path(), 200, &more), &["training needs about"]);
    assert!(fs::read(place.path().join("run/config.toml")).expect("a file") == config);
}

#[test]
fn a_set_that_cannot_fit_is_refused() {
    let place = place();
    // Whole records, ten times the official number, behind a hole.
    let name = "data_batch_3.bin";
    let file = fs::File::options().write(true).open(place.path().join("data").join(name)).expect("a file");
    file.set_len(3073 * 100_000).expect("a length");
    for mib in [500, 800] {
        let output = within(place.path(), mib, &["data", "check", "data"]);
        is_refused(&output, &["cannot read data", "out of memory"]);
    }
}

#[test]
fn a_probe_that_cannot_fit_is_refused() {
    let place = place();
    let text = CONFIG.replacen("channels = 6", "channels = 2000", 1);
    fs::write(place.path().join("tiny.toml"), text).expect("a file");
    succeeds(place.path(), &["train", "--config", "tiny.toml", "--data", "data", "--out", "run", "--epochs", "0"]);
    let eval = ["eval", "run", "--data", "data", "--epochs", "1", "--cached"];
    is_refused(&within(place.path(), 281, &eval), &["the probe needs about", "--cached", "--images"]);
    assert!(!place.path().join("run/probe-cached.json").exists());
}

#[test]
fn what_training_takes_is_foretold() {
    let place = place();
    let said = succeeds(place.path(), &["info", "--config", "tiny.toml", "--width", "32", "--batch", "64"]);
    let of = |name: &str| {
        let line = said.lines().find(|line| line.trim_start().starts_with(name)).expect("a line");
        let mut words = line.split_whitespace().rev();
        let (unit, number) = (words.next().expect("a unit"), words.next().expect("a number"));
        number.parse::<f64>().expect("a number") * if unit == "KiB" { 1.0 } else { 1024.0 }
    };
    assert!(of("scratch of convolutions") > 0.0 && of("parameters") > 0.0);
    let foretold = of("in all, about");
    let train = ["train", "--config", "tiny.toml", "--data", "data", "--width", "32", "--epochs", "1", "--out", "run"];
    let mut time = Command::new(env!("CARGO_BIN_EXE_clapp"));
    time.args(train).args(["--batch", "64"]).current_dir(place.path()).stdout(Stdio::null()).stderr(Stdio::null());
    let peak = peak_kib(time);
    // The program itself takes some; not everything is alive at once, and the queues of the loader fill as the machine has time.
    assert!(peak < 1.2 * foretold + 20_000.0 && peak > 0.5 * foretold, "{peak} KiB, foretold {foretold} KiB");
    assert!(clapp(place.path(), &["info", "--preset", "imagenet"]).status.success());
}

#[test]
fn what_each_rule_takes_is_foretold() {
    let place = place();
    let text = CONFIG.replace("contrast = \"hinge\"\n", "");
    fs::write(place.path().join("tiny.toml"), text).expect("a file");
    let peak = |more: &[&str]| {
        let mut time = Command::new(env!("CARGO_BIN_EXE_clapp"));
        time.args(["train", "--config", "tiny.toml", "--data", "data", "--out", "run", "--overwrite"]).args(more);
        time.current_dir(place.path()).env("RAYON_NUM_THREADS", "2").stdout(Stdio::null()).stderr(Stdio::null());
        peak_kib(time)
    };
    let program = peak(&["--epochs", "0", "--batch", "2"]);
    let mut whole = 0.0;
    for (rule, backward) in [
        ("soft-hebb", "whole"),
        ("lpl", "whole"),
        ("dfa", "whole"),
        ("weight-mirror", "whole"),
        ("bp-clapp++", "whole"),
        ("bp-clapp++", "checkpointed"),
        ("bp-clapp++", "accumulated=10"),
    ] {
        let rule = ["--rule", rule, "--backward", backward, "--width", "48", "--batch", "20"];
        let said = clapp(place.path(), &[&["info", "--config", "tiny.toml"], &rule[..]].concat());
        let foretold = in_all(&String::from_utf8_lossy(&said.stdout));
        let peak = peak(&[&rule[..], &["--epochs", "1"]].concat()) - program;
        println!("{rule:?}: {peak:.0} KiB, foretold {foretold:.0} KiB");
        assert!(peak < 1.2 * foretold + 10_000.0 && peak > 0.4 * foretold, "{rule:?}: {peak}, foretold {foretold}");
        match backward {
            "whole" => whole = foretold,
            // Two layers are one segment.
            "checkpointed" => assert!(foretold == whole, "{rule:?}"),
            _ => assert!(foretold < whole, "{rule:?}"),
        }
    }
}

/// The last of the numbers that `clapp info` foretells of the CPU, in KiB.
fn in_all(said: &str) -> f64 {
    let line = said.lines().find(|line| line.trim_start().starts_with("in all, about")).expect("a line");
    let mut words = line.split_whitespace().rev();
    let (unit, number) = (words.next().expect("a unit"), words.next().expect("a number"));
    number.parse::<f64>().expect("a number") * if unit == "KiB" { 1.0 } else { 1024.0 }
}

/// The most memory that a command has had, in KiB.
fn peak_kib(mut command: Command) -> f64 {
    let mut child = command.spawn().expect("the program");
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0.0_f64;
    loop {
        // The system's own record of the peak; gone with the process.
        if let Ok(text) = fs::read_to_string(&status)
            && let Some(line) = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))
        {
            peak = line.trim().trim_end_matches(" kB").trim().parse().expect("a number");
        }
        if let Some(status) = child.try_wait().expect("its end") {
            assert!(status.success());
            return peak;
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}
