//! `clapp sweep`: all runs, only unfinished runs, after failures and interruptions, and as a SLURM array.

use crate::cli_common;

use clapp_engine::checkpoint::Checkpoint;
use clapp_engine::probe::ProbeRecord;
use cli_common::{CONFIG, clapp, refuses, succeeds, write_cifar};
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const NAMES: [&str; 4] = ["clapp++-w1-s1", "clapp++-w1-s2", "bp-clapp++-w1-s1", "bp-clapp++-w1-s2"];
const AXES: [&str; 4] = ["--rules", "clapp++,bp-clapp++", "--seeds", "1,2"];

fn place() -> tempfile::TempDir {
    let place = tempfile::tempdir().expect("a folder");
    fs::write(place.path().join("tiny.toml"), CONFIG).expect("a file");
    write_cifar(&place.path().join("data"));
    place
}

fn arguments<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let fixed = ["sweep", "--config", "tiny.toml", "--data", "data", "--out", "all", "--cached"];
    [&fixed[..], &AXES[..], more].concat()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn checkpoint(place: &Path, name: &str) -> Vec<u8> {
    fs::read(place.join("all").join(name).join("checkpoint.safetensors")).expect("a checkpoint")
}

/// The checkpoint that `clapp train` makes of the same run.
fn trained_alone(place: &Path, rule: &str, seed: &str) -> Vec<u8> {
    let out = format!("alone-{rule}-{seed}");
    let train = ["train", "--config", "tiny.toml", "--data", "data", "--rule", rule, "--seed", seed, "--out", &out];
    succeeds(place, &train);
    fs::read(place.join(out).join("checkpoint.safetensors")).expect("a checkpoint")
}

#[test]
fn every_rule_is_trained_with_every_seed_and_probed_and_reported() {
    let place = place();
    let said = succeeds(place.path(), &arguments(&[]));
    for (index, name) in NAMES.iter().enumerate() {
        assert!(said.contains(&format!("[{}/4] {name}", index + 1)), "{said}");
        let (rule, seed) = name.split_once("-w1-s").expect("a name");
        assert!(checkpoint(place.path(), name) == trained_alone(place.path(), rule, seed), "{name}");
        let record =
            ProbeRecord::read(&place.path().join("all").join(name).join("probe-cached.json")).expect("a probe");
        let percent = |share: f64| format!("{:.2} %", 100.0 * share);
        let line = said.lines().rfind(|line| line.starts_with(name)).expect("a line of the table");
        assert!(
            line.contains(&percent(record.report.all.last)) && line.contains(&percent(record.report.all.best)),
            "{line}"
        );
    }
    assert!(said.contains("selected on the test images"));
    // One protocol for all, and which.
    let protocol = "cached probe on cifar10, all layers: 2 epochs on 20 images, cached features without augmentation";
    assert_eq!(said.matches(protocol).count(), 1, "{said}");
    let page = fs::read_to_string(place.path().join("all/report.html")).expect("a page");
    assert!(NAMES.iter().all(|name| page.contains(name)));
    // Again: nothing is left to do, and the page stays the same.
    let again = succeeds(place.path(), &arguments(&[]));
    assert_eq!(again.matches("finished already").count(), 4, "{again}");
    assert!(!again.contains("linear probe, 2 epochs"), "no probe was made again: {again}");
    assert_eq!(fs::read_to_string(place.path().join("all/report.html")).expect("a page"), page);
    // More epochs continue from the existing checkpoints. The probes are then made again.
    succeeds(place.path(), &arguments(&["--epochs", "3"]));
    let read = |name: &str| Checkpoint::read(&place.path().join("all").join(name).join("checkpoint.safetensors"));
    assert!(NAMES.iter().all(|name| read(name).expect("a checkpoint").epoch == 3));
    let probe = ProbeRecord::read(&place.path().join("all").join(NAMES[0]).join("probe-cached.json")).expect("a probe");
    assert_eq!(probe.encoder_epochs, 3);
}

#[test]
fn a_run_that_fails_is_named_and_stops_no_other() {
    let place = place();
    fs::create_dir(place.path().join("all")).expect("a folder");
    // A file has the name of its folder.
    fs::write(place.path().join("all").join(NAMES[1]), "in the way").expect("a file");
    let output = clapp(place.path(), &arguments(&[]));
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("FAILED: {}: clapp train: exit status: 2", NAMES[1])), "{said}");
    assert_eq!(said.matches("FAILED").count(), 1, "{said}");
    for name in [NAMES[0], NAMES[2], NAMES[3]] {
        assert!(place.path().join("all").join(name).join("probe-cached.json").is_file(), "{name}");
    }
    // Without the cause of the failure, the same command does the remaining runs.
    fs::remove_file(place.path().join("all").join(NAMES[1])).expect("removed");
    let said = succeeds(place.path(), &arguments(&[]));
    assert_eq!(said.matches("finished already").count(), 3, "{said}");
}

#[test]
fn a_run_that_diverges_says_so_in_the_report() {
    let place = place();
    fs::write(place.path().join("tiny.toml"), CONFIG.replacen("lr = 0.001", "lr = 1e30", 1)).expect("a file");
    let output = clapp(place.path(), &arguments(&["--epochs", "3"]));
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("FAILED") && said.contains("clapp train: exit status: 1"), "{said}");
    let page = fs::read_to_string(place.path().join("all/report.html")).expect("a page");
    assert!(page.contains("failed: ") && page.contains("training has diverged"));
    // A run that starts again has not failed.
    let folder = format!("all/{}", NAMES[0]);
    assert!(place.path().join(&folder).join("failure.txt").is_file());
    fs::write(place.path().join("tiny.toml"), CONFIG).expect("a file");
    succeeds(place.path(), &["train", "--config", "tiny.toml", "--data", "data", "--out", &folder, "--overwrite"]);
    assert!(!place.path().join(&folder).join("failure.txt").exists());
}

/// The processes that a process has started and not waited for.
fn children(pid: u32) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("a list");
    text.split_whitespace().map(String::from).collect()
}

#[test]
fn a_sweep_that_is_stopped_or_killed_goes_on_to_the_same_bits() {
    let place = place();
    // Long enough to be stopped in the midst of it.
    let long = arguments(&["--epochs", "150"]);
    let alone =
        ["train", "--config", "tiny.toml", "--data", "data", "--epochs", "150", "--seed", "1", "--out", "alone"];
    succeeds(place.path(), &alone);
    let expected = fs::read(place.path().join("alone/checkpoint.safetensors")).expect("a checkpoint");
    for (signal, code) in [(rustix::process::Signal::TERM, Some(130)), (rustix::process::Signal::KILL, None)] {
        fs::remove_dir_all(place.path().join("all")).ok();
        let mut sweep = Command::new(env!("CARGO_BIN_EXE_clapp"));
        let mut sweep = sweep
            .args(&long)
            .current_dir(place.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program");
        let begin = Instant::now();
        let under_way = place.path().join("all").join(NAMES[0]).join("run.json");
        while !under_way.is_file() {
            assert!(begin.elapsed() < Duration::from_secs(60), "the first run does not begin");
            std::thread::sleep(Duration::from_millis(5));
        }
        let child = children(sweep.id());
        assert_eq!(child.len(), 1);
        let pid = rustix::process::Pid::from_child(&sweep);
        rustix::process::kill_process(pid, signal).expect("a signal");
        assert_eq!(sweep.wait().expect("its end").code(), code);
        // At once, while the run of the killed sweep may still write its checkpoint.
        let said = succeeds(place.path(), &[&long[..], &["--only", "0"]].concat());
        assert!(!said.contains("finished already") && !said.contains("FAILED"), "{said}");
        assert!(!Path::new("/proc").join(&child[0]).join("exe").exists(), "the run has outlived its sweep");
        assert!(!place.path().join("all").join(NAMES[1]).exists());
        assert!(checkpoint(place.path(), NAMES[0]) == expected);
    }
}

#[test]
fn a_sweep_waits_for_another_process_at_work_in_a_folder() {
    let place = place();
    let folder = place.path().join("all").join(NAMES[0]);
    fs::create_dir_all(&folder).expect("a folder");
    let lock = fs::File::open(&folder).expect("a folder");
    lock.lock().expect("a lock");
    let mut sweep = Command::new(env!("CARGO_BIN_EXE_clapp"));
    let sweep = sweep.args(arguments(&["--only", "0"])).current_dir(place.path());
    let sweep = sweep.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program");
    std::thread::sleep(Duration::from_millis(600));
    assert!(!folder.join("run.json").exists());
    drop(lock);
    let output = sweep.wait_with_output().expect("its end");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains("waiting for another process that uses"), "{}", text(&output));
    assert!(folder.join("probe-cached.json").is_file());
}

#[test]
fn a_damaged_checkpoint_stops_its_own_run_only() {
    let place = place();
    succeeds(place.path(), &arguments(&[]));
    let damaged = place.path().join("all").join(NAMES[2]).join("checkpoint.safetensors");
    let whole = fs::read(&damaged).expect("a checkpoint");
    fs::write(&damaged, &whole[..whole.len() / 2]).expect("a file");
    fs::remove_dir_all(place.path().join("all").join(NAMES[3])).expect("removed");
    let output = clapp(place.path(), &arguments(&[]));
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("skipped: ") && said.contains("not a complete safetensors file"), "{said}");
    assert_eq!(said.matches("FAILED").count(), 1, "{said}");
    assert!(said.contains(&format!("FAILED: {}: ", NAMES[2])), "{said}");
    assert!(place.path().join("all").join(NAMES[3]).join("probe-cached.json").is_file());
    assert!(fs::read(&damaged).expect("a file").len() == whole.len() / 2, "it is left alone");
    let page = fs::read_to_string(place.path().join("all/report.html")).expect("a page");
    assert!(page.contains("Left out: ") && NAMES.iter().all(|name| page.contains(name)));
    // A report of the folder skips it as well.
    let output = clapp(place.path(), &["report", "all", "--out", "page.html"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("wrote page.html (3 runs)"), "{}", text(&output));
    assert!(text(&output).contains("left out") && text(&output).contains(NAMES[2]), "{}", text(&output));
}

#[test]
fn wrong_input_is_refused_before_anything_runs() {
    let place = place();
    for (more, parts) in [
        (&["--seeds", "3,3"][..], &["--seeds", "twice"][..]),
        (&["--widths", "0.5,-1"], &["width is -1"]),
        (&["--widths", "half"], &["half"]),
        (&["--rules", "clapp+++"], &["clapp+++"]),
        (&["--rules", "clapp++", "--rule", "clapp++"], &["--rule"]),
        (&["--data", "nowhere"], &["nowhere"]),
        (&["--only", "1"], &["--only", "1 run,"]),
        (&["--slurm-time", "1:00"], &["--slurm"]),
        (&["--slurm", "job.sh", "--slurm-mem", "8G\n#SBATCH --exclusive"], &["--slurm-mem", "8G"]),
        (&["--slurm", "job.sh", "--slurm-partition", "a b"], &["--slurm-partition", "a b"]),
        (&["--slurm", "job.sh", "--slurm-time", "tomorrow"], &["--slurm-time", "tomorrow", "HH:MM:SS"]),
        (&["--slurm", "job.sh", "--slurm-time", "1:2:3:4"], &["--slurm-time", "1:2:3:4"]),
        (&["--slurm", "job.sh", "--slurm-time", "1-"], &["--slurm-time", "1-"]),
        (&["--slurm", "job.sh", "--slurm-time", "12h"], &["--slurm-time", "12h"]),
        (&["--slurm", "job.sh", "--slurm-mem", "8GB"], &["--slurm-mem", "8GB", "K, M, G or T"]),
        (&["--slurm", "job.sh", "--slurm-mem", "1.5G"], &["--slurm-mem", "1.5G"]),
        (&["--slurm", "job.sh", "--slurm-mem", "G"], &["--slurm-mem", "\"G\""]),
        (&["--slurm", "job.sh", "--slurm-cpus", "0"], &["--slurm-cpus", "above 0"]),
        (&["--slurm", "job.sh", "--slurm-cpus", "two"], &["--slurm-cpus", "two"]),
    ] {
        let data: &[&str] = if more.contains(&"--data") { &[] } else { &["--data", "data"] };
        let fixed = ["sweep", "--config", "tiny.toml", "--out", "all"];
        refuses(place.path(), &[&fixed[..], data, more].concat(), parts);
    }
    // A folder that holds another run.
    let other = format!("all/{}", NAMES[0]);
    succeeds(
        place.path(),
        &["train", "--config", "tiny.toml", "--data", "data", "--batch", "5", "--seed", "1", "--out", &other],
    );
    refuses(place.path(), &arguments(&[]), &[NAMES[0], "batch"]);
    refuses(place.path(), &arguments(&["--slurm", "job.sh"]), &[NAMES[0], "batch"]);
}

#[test]
fn a_slurm_script_trains_in_each_task_the_run_of_its_index() {
    let place = place();
    // Paths that a careless script would take apart.
    let (data, out) = ("da'ta \"x\" $HOME", "o`id`ut; 'a' \"b\" \\");
    fs::rename(place.path().join("data"), place.path().join(data)).expect("renamed");
    let fixed = ["sweep", "--config", "tiny.toml", "--data", data, "--out", out, "--cached", "--probe-epochs", "1"];
    let slurm = ["--slurm", "my job.sh", "--slurm-time", "1-12:00:00", "--slurm-cpus", "2", "--slurm-mem", "8G"];
    let rest = ["--slurm-gres", "gpu:a100:1", "--slurm-partition", "long"];
    for (option, values) in [
        ("--slurm-time", &["90", "90:00", "12:00:00", "2-12", "2-12:30", "1-12:00:00"][..]),
        ("--slurm-mem", &["0", "4096", "8192K", "500M", "2T"]),
    ] {
        for value in values {
            let more = ["--slurm", "other.sh", option, value];
            succeeds(place.path(), &[&fixed[..], &more].concat());
            let script = fs::read_to_string(place.path().join("other.sh")).expect("a script");
            assert!(script.contains(&format!("#SBATCH {}={value}\n", option.replace("slurm-", ""))), "{script}");
        }
    }
    // All runs are tested on the same images.
    succeeds(place.path(), &[&fixed[..], &["--slurm", "other.sh", "--split", "0.8", "--seeds", "1-3"]].concat());
    let config = fs::read_to_string(place.path().join(out).join("sweep.toml")).expect("a file");
    assert!(config.contains("\nsplit-seed = 3\n"), "{config}");
    let said = succeeds(place.path(), &[&fixed[..], &AXES, &slurm, &rest].concat());
    assert!(said.contains("my job.sh (4 tasks)"), "{said}");
    let script = fs::read_to_string(place.path().join("my job.sh")).expect("a script");
    let directives: Vec<&str> = script.lines().filter_map(|line| line.strip_prefix("#SBATCH ")).collect();
    assert_eq!(
        directives,
        [
            "--job-name=clapp-tiny",
            "--array=0-3",
            "--ntasks=1",
            "--signal=B:TERM@120",
            "--time=1-12:00:00",
            "--cpus-per-task=2",
            "--mem=8G",
            "--gres=gpu:a100:1",
            "--partition=long",
        ]
    );
    // Directives end where the first command stands.
    let first_command = script.lines().position(|line| !line.starts_with('#')).expect("a command");
    assert!(script.lines().skip(first_command).all(|line| !line.starts_with("#SBATCH")));
    // Another configuration under the old name changes nothing: the script has its own.
    fs::write(place.path().join("tiny.toml"), "").expect("a file");
    let elsewhere = tempfile::tempdir().expect("a folder");
    let bash = |before: &[&str], task: Option<&str>| {
        let mut bash = Command::new("bash");
        bash.args(before)
            .arg(place.path().join("my job.sh"))
            .current_dir(elsewhere.path())
            .env_remove("SLURM_ARRAY_TASK_ID");
        bash.envs(task.map(|task| ("SLURM_ARRAY_TASK_ID", task))).output().expect("bash")
    };
    let checked = bash(&["-n"], None);
    assert!(checked.status.success() && checked.stderr.is_empty(), "{}", text(&checked));
    for (task, name) in [(2, NAMES[2]), (1, NAMES[1])] {
        let output = bash(&[], Some(&task.to_string()));
        assert!(output.status.success(), "{}", text(&output));
        let made =
            Checkpoint::read(&place.path().join(out).join(name).join("checkpoint.safetensors")).expect("a checkpoint");
        let expected = name.split_once("-w1-s").expect("a name");
        assert_eq!((made.config.rule.name(), made.config.seed.to_string().as_str()), expected);
        assert!(place.path().join(out).join(name).join("probe-cached.json").is_file());
    }
    assert!(
        [NAMES[0], NAMES[3]].iter().all(|name| !place.path().join(out).join(name).exists()),
        "only what was asked for"
    );
    assert!(text(&bash(&[], Some("2"))).contains("finished already"));
    let beyond = bash(&[], Some("4"));
    assert!(beyond.status.code() == Some(2) && text(&beyond).contains("4 runs"), "{}", text(&beyond));
    let outside = bash(&[], None);
    assert!(!outside.status.success() && text(&outside).contains("sbatch"), "{}", text(&outside));
    assert_eq!(fs::read_dir(elsewhere.path()).expect("a folder").count(), 0, "nothing is written where a task starts");
}
