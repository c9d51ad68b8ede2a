//! `clapp train` on several processes (feature `mpi`): outputs, resuming and failures.

use crate::cli_common;
use crate::common as mpi_common;
use crate::sets;

use clap::ValueEnum;
use clapp_data::data;
use clapp_data::loader::{Part, images_of_ranks};
use clapp_data::loader::{Start, pairs_from};
use clapp_engine::backend::cpu::Cpu;
use clapp_engine::checkpoint::{Checkpoint, Header};
use clapp_engine::config::{Config, RuleName};
use clapp_engine::draws::draw_negatives;
use clapp_engine::step::{Mode, Model};
use clapp_engine::trainer::initial_values;
use cli_common::{CONFIG, spoilt, write_cifar};
use mpi_common::{Batches, compare, launcher, learn, mpirun};
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

const CLAPP: &str = env!("CARGO_BIN_EXE_clapp");
const CHECKPOINT: &str = "checkpoint.safetensors";

/// A folder with a configuration and a data set of 20 images: five batches of 4.
fn place(config: &str) -> tempfile::TempDir {
    let place = tempfile::tempdir().expect("a folder");
    fs::write(place.path().join("tiny.toml"), config).expect("a file");
    write_cifar(&place.path().join("data"));
    place
}

fn sgd() -> String {
    spoilt("kind = \"adamw\"\nlr = 0.001", "kind = \"sgd\"\nlr = 0.01\nmomentum = 0.9")
}

const TRAIN: [&str; 6] = [CLAPP, "train", "--config", "tiny.toml", "--data", "data"];

fn train(place: &Path, ranks: usize, more: &[&str]) -> Output {
    mpirun(ranks, &[&TRAIN[..], more].concat()).current_dir(place).output().expect("mpirun")
}

fn succeeds(place: &Path, ranks: usize, more: &[&str]) -> String {
    let output = train(place, ranks, more);
    assert!(output.status.success(), "{more:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The run must end with `code` and one error, which has all of `parts`.
fn fails(output: &Output, code: i32, parts: &[&str]) {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{errors}");
    assert_eq!(errors.matches("error: rank").count(), 1, "{errors}");
    assert!(!errors.contains("panicked"), "{errors}");
    for part in parts {
        assert!(errors.contains(part), "no `{part}` in: {errors}");
    }
}

#[test]
fn two_ranks_write_the_checkpoint_of_one_process_with_the_batches_of_both() {
    for (rule, negatives) in [("clapp++", "\"ring\""), ("clapp++both", "{ uniform = 2 }")] {
        let text = sgd().replace("negatives = \"ring\"", &format!("negatives = {negatives}"));
        let text = text.replace("rule = \"clapp++\"", &format!("rule = \"{rule}\""));
        let place = place(&text);
        let said = succeeds(place.path(), 2, &["--out", "run"]);
        assert_eq!(said.matches("wrote run/checkpoint.safetensors").count(), 1, "{said}");
        let found = Checkpoint::read(&place.path().join("run").join(CHECKPOINT)).expect("a checkpoint");
        let config = Config::parse(&text, "test").expect("a configuration");
        let worst = compare(&found.layers, &reference(&config, &place.path().join("data"), 2), rule);
        println!("{rule}: largest relative difference {worst:e}");
        let metrics = fs::read_to_string(place.path().join("run/metrics.csv")).expect("metrics");
        // Five batches on two ranks are three steps an epoch.
        let steps: Vec<&str> = metrics.lines().skip(1).filter_map(|line| line.split(',').nth(1)).collect();
        assert_eq!(steps, ["3", "6"], "{metrics}");
    }
}

/// The ranks compare their networks after the epoch, so that a rule whose gradients are not those of all would fail.
#[test]
fn every_rule_keeps_the_ranks_together() {
    // Some rules have a contrast of their own.
    let place = place(&spoilt("contrast = \"hinge\"", ""));
    for rule in RuleName::value_variants() {
        let out = format!("run-{}", rule.name());
        succeeds(place.path(), 2, &["--rule", rule.name(), "--epochs", "1", "--out", &out]);
        let header = Header::read(&place.path().join(&out).join(CHECKPOINT)).expect("a checkpoint");
        let state = header.place.expect("a state");
        assert_eq!((header.epoch, state.step, state.ranks), (1, 3, 2), "{}", rule.name());
    }
}

/// All of training in this process: in each step one batch with the images of all ranks.
fn reference(config: &Config, folder: &Path, ranks: usize) -> Vec<clapp_engine::model::LayerValues> {
    let images = Arc::new(data::open(folder).expect("a data set").pretrain);
    let spec = config.network().expect("a network");
    let mut model = Model::upload(&Cpu, spec, &initial_values(config).expect("values"));
    let mut count = 0;
    for epoch in 0..config.epochs {
        let mut loaders: Vec<_> = (0..ranks)
            .map(|rank| {
                let start = Start { epoch, batch: 0, part: Part { rank, ranks } };
                pairs_from(images.clone(), &config.augment, config.batch, config.seed, start, 1).expect("a loader")
            })
            .collect();
        for step in 0..loaders[0].batches() {
            let counts = images_of_ranks(images.len(), config.batch, step, ranks);
            let frames: Vec<Vec<f32>> =
                loaders.iter_mut().map(|loader| loader.next().expect("a batch").expect("a batch").x).collect();
            let negatives = (0..ranks).map(|rank| {
                let draw = (count * ranks + rank + 1) as u64;
                let rows = frames[rank].len() / config.input_shape().len();
                draw_negatives(config.negatives, rows, config.seed, draw)
            });
            let (frames, negatives) = Batches { counts, negatives: negatives.collect(), frames }.merged();
            count += 1;
            let mode = Mode::Update { optimizer: &config.optimizer, step: count as u64 };
            learn(&Cpu, config, &mut model, &frames, &negatives, mode);
        }
    }
    assert_eq!(count, 6);
    model.download(&Cpu)
}

/// The processes that `mpirun` has started.
fn ranks_of(launcher: u32) -> Vec<String> {
    let parent = |pid: &str| -> Option<u32> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // Behind the name, which may hold anything: state, then parent.
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
    };
    let program = |pid: &str| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|path| path == Path::new(CLAPP));
    let processes =
        fs::read_dir("/proc").expect("processes").filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    processes.filter(|pid| parent(pid) == Some(launcher) && program(pid)).collect()
}

const OPTIONS: [&str; 4] = ["--epochs", "40", "--checkpoint-every", "1"];

/// Starts a run on two ranks, sends the second one a signal after a few steps, and gives what `mpirun` says.
fn stopped_by(signal: &str, place: &Path) -> Output {
    let path = place.join("torn").join(CHECKPOINT);
    let mut command = mpirun(2, &[&TRAIN[..], &OPTIONS, &["--out", "torn"]].concat());
    let mut run = command.current_dir(place).stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("mpirun");
    let begin = Instant::now();
    let step = || Header::read(&path).ok().and_then(|header| Some(header.place?.step));
    while step().is_none_or(|step| step < 5) {
        assert!(begin.elapsed() < Duration::from_secs(60), "the run does not get on");
        assert!(run.try_wait().expect("a status").is_none(), "the run has ended by itself");
    }
    let (launcher, ranks) = (run.id(), ranks_of(run.id()));
    assert_eq!(ranks.len(), 2);
    assert!(Command::new("kill").args([signal, &ranks[1]]).status().expect("kill").success());
    while run.try_wait().expect("a status").is_none() {
        assert!(begin.elapsed() < Duration::from_secs(90), "the other rank does not end");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(ranks_of(launcher).is_empty());
    let stopped = step().expect("a checkpoint");
    assert!((5..120).contains(&stopped), "stopped too late: {stopped}");
    run.wait_with_output().expect("what it said")
}

/// Goes on with the run, which must come to the end that it comes to undisturbed.
fn goes_on_to_the_same_bytes(place: &Path) {
    succeeds(place, 2, &[&OPTIONS[..], &["--out", "whole"]].concat());
    succeeds(place, 2, &["--epochs", "40", "--resume", "--out", "torn"]);
    let bytes = |run: &str| fs::read(place.join(run).join(CHECKPOINT)).expect("a checkpoint");
    assert!(bytes("whole") == bytes("torn"), "the run that was stopped has come to another end");
}

#[test]
fn when_a_rank_is_killed_all_end_and_the_run_goes_on_to_the_same_bytes() {
    let place = place(CONFIG);
    assert!(!stopped_by("-KILL", place.path()).status.success());
    let other = train(place.path(), 3, &["--epochs", "40", "--resume", "--out", "torn"]);
    fails(&other, 2, &["ranks: checkpoint has 2, this run has 3"]);
    let options = ["--epochs", "40", "--resume", "--out", "torn"];
    let alone = cli_common::clapp(place.path(), &[&TRAIN[1..], &options].concat());
    assert_eq!(alone.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&alone.stderr).contains("ranks: checkpoint has 2, this run has 1"));
    goes_on_to_the_same_bytes(place.path());
    let said = succeeds(place.path(), 2, &options);
    assert_eq!(said.matches("finished already").count(), 1, "{said}");
}

#[test]
fn when_a_rank_is_asked_to_end_all_stop_after_the_same_step() {
    let place = place(CONFIG);
    let output = stopped_by("-TERM", place.path());
    assert_eq!(output.status.code(), Some(130));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("go on with: mpirun -n 2 clapp train --resume --out torn"), "{said}");
    goes_on_to_the_same_bytes(place.path());
}

#[test]
fn errors_are_said_once_and_end_all_ranks() {
    let place = place(CONFIG);
    let refused = |ranks: usize, more: &[&str], parts: &[&str]| {
        fails(&train(place.path(), ranks, &[more, &["--out", "run"]].concat()), 2, parts);
        assert!(!place.path().join("run").exists(), "something was written");
    };
    // On all ranks, and on one of them.
    refused(2, &["--images", "6", "--batch", "4", "--seed", "1", "--width", "0"], &["rank 0 of 2", "width is 0"]);
    refused(3, &["--images", "8"], &["rank 0 of 3", "8 images in batches of 4 are 2 batches, too few for 3 ranks"]);
    let two = |first: &[&str], second: &[&str]| {
        let mut command = launcher();
        command.args(["-n", "1"]).args(TRAIN).args(["--out", "run"]).args(first);
        command.args([":", "-n", "1"]).args(TRAIN).args(["--out", "run"]).args(second);
        command.current_dir(place.path()).output().expect("mpirun")
    };
    fails(&two(&[], &["--seed", "4"]), 2, &["rank 1 of 2: the configuration differs from that of rank 0"]);
    fails(
        &two(&["--images", "16"], &["--images", "12"]),
        2,
        &["rank 1 of 2: the configuration differs from that of rank 0"],
    );
    assert!(!place.path().join("run").exists(), "something was written");
}

#[test]
fn a_data_set_that_one_rank_lacks_is_named_by_that_rank() {
    let place = place(CONFIG);
    let mut command = launcher();
    command.args(["-n", "1"]).args(TRAIN).args([":", "-n", "1"]).args(&TRAIN[..5]).arg("nowhere");
    let output = command.current_dir(place.path()).output().expect("mpirun");
    fails(&output, 2, &["rank 1 of 2", "nowhere"]);
    assert!(!place.path().join("out").exists(), "something was written");
}

#[test]
fn an_image_that_one_rank_cannot_read_ends_all() {
    let place = place(CONFIG);
    let mut files = sets::folder_files();
    sets::write_files(&place.path().join("one"), &files);
    for (name, bytes) in &mut files {
        if name.starts_with("train") {
            bytes.truncate(bytes.len() / 2);
        }
    }
    sets::write_files(&place.path().join("two"), &files);
    let mut command = launcher();
    command.args(["-n", "1"]).args(&TRAIN[..5]).args(["one", "--epochs", "1000"]);
    command.args([":", "-n", "1"]).args(&TRAIN[..5]).args(["two", "--epochs", "1000"]);
    let output = command.current_dir(place.path()).output().expect("mpirun");
    // The first rank waits for the second in the first layer of the first step.
    fails(&output, 2, &["rank 1 of 2", "two/train/"]);
}

#[test]
fn training_that_diverges_is_said_once() {
    let place = place(&sgd().replace("lr = 0.01", "lr = 1e30"));
    let output = train(place.path(), 2, &["--out", "run"]);
    fails(&output, 1, &["rank 0 of 2", "training has diverged"]);
    // How it came to that.
    assert!(place.path().join("run/metrics.csv").exists());
}

#[test]
fn a_folder_that_cannot_be_written_ends_all() {
    let place = place(CONFIG);
    fs::write(place.path().join("file"), "").expect("a file");
    fails(&train(place.path(), 2, &["--out", "file/run"]), 2, &["rank 0 of 2", "file/run"]);
}

#[test]
fn an_error_of_one_rank_between_two_steps_ends_all() {
    let place = place(CONFIG);
    let folder = place.path().join("run");
    let options = ["--epochs", "100000", "--checkpoint-every", "1", "--out", "run"];
    let mut command = mpirun(2, &[&TRAIN[..], &options].concat());
    let run = command.current_dir(place.path()).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().expect("mpirun");
    let begin = Instant::now();
    while !folder.join("run.json").exists() {
        assert!(begin.elapsed() < Duration::from_secs(60), "the run does not get on");
    }
    // Only the first rank writes; the second waits for it in the next step.
    fs::rename(&folder, place.path().join("moved")).expect("the folder");
    fs::write(&folder, "").expect("a file");
    fails(&run.wait_with_output().expect("mpirun"), 2, &["rank 0 of 2: cannot", "run"]);
}

#[test]
fn one_rank_is_a_process_of_its_own() {
    let place = place(CONFIG);
    succeeds(place.path(), 1, &["--mpi", "--out", "one"]);
    cli_common::succeeds(place.path(), &[&TRAIN[1..], &["--out", "alone"]].concat());
    let bytes = |run: &str| fs::read(place.path().join(run).join(CHECKPOINT)).expect("a checkpoint");
    assert!(bytes("one") == bytes("alone"));
}
