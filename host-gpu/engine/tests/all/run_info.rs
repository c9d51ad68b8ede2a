//! `run.json`: contents, round trip, and refused files.

use clapp_engine::config::preset;
use clapp_engine::run_info::{DataInfo, RunInfo};
use std::fs;

fn info() -> RunInfo {
    let config = preset("cifar10").expect("a preset");
    RunInfo::collect(
        &config,
        DataInfo { name: "cifar10".into(), train_images: 50_000, test_images: 10_000, ..DataInfo::default() },
    )
}

#[test]
fn a_run_is_written_and_read_back() {
    let place = tempfile::tempdir().expect("a folder");
    let folder = place.path().join("runs/one");
    let info = info();
    info.write(&folder).expect("written");
    assert_eq!(RunInfo::read(&folder).expect("read"), info);
    assert_eq!((info.name.as_str(), info.rule.as_str(), info.seed, info.width), ("cifar10", "clapp++", 2, 1.0));
}

#[test]
fn machine_and_program_are_those_of_this_test() {
    let info = info();
    let cores = std::thread::available_parallelism().expect("a count").get();
    assert!(info.machine.logical_cores >= cores && info.machine.threads >= 1, "{info:?}");
    assert!(info.machine.memory > 64 << 20, "{info:?}");
    assert!(!info.machine.cpu.is_empty() && !info.machine.os.is_empty(), "{info:?}");
    assert!(humantime::parse_rfc3339(&info.started).is_ok(), "{info:?}");
    assert_eq!(info.program.version, env!("CARGO_PKG_VERSION"));
    assert_eq!(info.program.commit, "unknown", "only the program knows its commit");
}

#[test]
fn another_format_a_missing_field_and_a_cut_file_are_refused() {
    let place = tempfile::tempdir().expect("a folder");
    info().write(place.path()).expect("written");
    let path = place.path().join("run.json");
    let text = fs::read_to_string(&path).expect("text");
    for (from, to, part) in [
        ("clapp-run/1", "clapp-run/9", "format is `clapp-run/9`, expected `clapp-run/1`"),
        ("\"seed\": 2,", "", "missing field `seed`"),
        ("\"seed\": 2", "\"seed\": -2", "expected u64"),
        ("\"seed\"", "\"sead\"", "unknown field `sead`"),
    ] {
        assert!(text.contains(from), "{from}");
        fs::write(&path, text.replacen(from, to, 1)).expect("a file");
        let error = RunInfo::read(place.path()).expect_err("refused").to_string();
        assert!(error.contains("run.json") && error.contains(part), "{error}");
    }
    fs::write(&path, &text[..text.len() / 2]).expect("a file");
    assert!(RunInfo::read(place.path()).expect_err("refused").to_string().contains("EOF"));
    fs::remove_file(&path).expect("removed");
    assert!(RunInfo::read(place.path()).expect_err("refused").to_string().contains("cannot read"));
}
