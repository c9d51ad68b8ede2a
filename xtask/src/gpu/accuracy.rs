//! CIFAR-10: an encoder trained for as long as there is time, probed now and then, gone on with in the next run.

use super::Bench;
use super::programs::{Ended, watch};
use crate::{Failed, root};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// A run, and what the paper has for it after 300 epochs of training and 300 of the probe.
struct Plan {
    rule: &'static str,
    published: f64,
    /// Its share of the time.
    share: f64,
}

const PLANS: [Plan; 2] = [
    Plan { rule: "clapp++dfb", published: 80.65, share: 0.7 },
    Plan { rule: "clapp++pooled", published: 73.21, share: 0.3 },
];

/// Rounds of training, each ended by a probe.
const ROUNDS: u32 = 4;
/// Epochs of the probe on cached features between rounds, and of the paper's protocol at the end.
const PROBE_EPOCHS: [&str; 2] = ["20", "10"];
/// Part of a round's time that is trained; the rest is for its probe.
const TRAINING: f64 = 0.75;

/// An encoder that was trained and probed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trained {
    /// The rule.
    pub rule: String,
    /// The paper's accuracy after 300 epochs, in per cent.
    pub published: f64,
    /// The commands that trained and probed it.
    pub commands: Vec<String>,
    /// Accuracy over epochs.
    pub probes: Vec<Probe>,
    /// Loss over epochs: epoch, and the mean of all layers' losses in the rows of the metrics.
    pub losses: Vec<(f64, f64)>,
    /// Images a second in the last row of the metrics.
    pub images_per_second: Option<f64>,
    /// Steps that failed.
    pub failures: Vec<String>,
}

/// A probe of an encoder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// Epochs that the encoder was trained for.
    pub encoder_epochs: u64,
    /// Passes over the labelled images.
    pub probe_epochs: String,
    /// On cached features, or by the paper's protocol.
    pub cached: bool,
    /// On the test images, after the last epoch of the probe, in per cent.
    pub all_layers: f64,
    /// Of each layer alone.
    pub layers: Vec<f64>,
}

impl Trained {
    fn new(rule: &str, published: f64) -> Self {
        Self {
            rule: rule.into(),
            published,
            commands: Vec::new(),
            probes: Vec::new(),
            losses: Vec::new(),
            images_per_second: None,
            failures: Vec::new(),
        }
    }
}

/// Trains and probes; writes `gpu-accuracy.json` after each step.
pub fn run(bench: &Bench, deadline: Instant) -> Result<(), Failed> {
    if bench.arguments.data.is_none() && !bench.arguments.dry_run {
        return Err(Failed("not trained: --data names no CIFAR-10".into()));
    }
    let begin = Instant::now();
    let mut all: Vec<Trained> = Vec::new();
    let mut share = 0.0;
    for plan in &PLANS {
        share += plan.share;
        let until = begin + deadline.saturating_duration_since(begin).mul_f64(share);
        let mut trained = Trained::new(plan.rule, plan.published);
        let outcome = train(bench, plan.rule, until, &mut trained, |trained| {
            let so_far: Vec<&Trained> = all.iter().chain([trained]).collect();
            bench.keep("accuracy", &so_far)
        });
        if let Err(Failed(reason)) = outcome {
            trained.failures.push(reason);
        }
        all.push(trained);
        bench.keep("accuracy", &all)?;
    }
    let failures: Vec<&str> = all.iter().flat_map(|trained| &trained.failures).map(String::as_str).collect();
    if failures.is_empty() { Ok(()) } else { Err(Failed(failures.join("\n"))) }
}

fn train(
    bench: &Bench,
    rule: &str,
    until: Instant,
    trained: &mut Trained,
    keep: impl Fn(&Trained) -> Result<(), Failed>,
) -> Result<(), Failed> {
    let small = bench.arguments.dry_run;
    let out = folder(bench, rule);
    let rounds = if small { 1 } else { ROUNDS };
    for round in 0..rounds {
        let left = until.saturating_duration_since(Instant::now()) / (rounds - round);
        let stop = Instant::now() + left.mul_f64(TRAINING);
        let end = Instant::now() + left;
        let ended = train_until(bench, rule, &out, stop, trained)?;
        keep(trained)?;
        let last = round + 1 == rounds || ended.succeeded();
        probe(bench, &out, true, end, trained)?;
        if last {
            // What is left of the time bounds it, beyond the round's share.
            probe(bench, &out, false, until + Duration::from_secs(30), trained)?;
        }
        keep(trained)?;
        if last {
            break;
        }
    }
    Ok(())
}

/// The folder of a rule's run. On a borrowed machine it is in memory where there is room: a checkpoint has gigabytes.
fn folder(bench: &Bench, rule: &str) -> String {
    let disk = match &bench.arguments.runs {
        Some(folder) => folder.clone(),
        None if bench.arguments.dry_run => root().join("target/gpu-dry-run/runs"),
        None => root().join("out/gpu"),
    };
    let memory = Path::new("/dev/shm");
    let begun = |folder: &Path| folder.join(rule).join("checkpoint.safetensors").exists();
    let in_memory = memory.join("clapp-runs");
    // A run is gone on with where it lies.
    let borrowed = bench.arguments.step.is_some() && !bench.arguments.dry_run;
    let roomy = borrowed && (begun(&in_memory) || room(memory) >= ROOM);
    let chosen = if roomy && !begun(&disk) { in_memory } else { disk };
    chosen.join(rule).display().to_string()
}

/// Bytes that a run needs: a checkpoint of VGG-6 with its moments, and the one that replaces it.
const ROOM: u64 = 8 << 30;

/// Bytes that are free in a folder; 0 where there is no telling.
fn room(folder: &Path) -> u64 {
    let output = Command::new("df").arg("-Pk").arg(folder).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let kib =
        text.lines().nth(1).and_then(|line| line.split_whitespace().nth(3)).and_then(|kib| kib.parse::<u64>().ok());
    kib.map_or(0, |kib| 1024 * kib)
}

/// Trains, or goes on, until `stop`; then it is interrupted and ends with a checkpoint.
fn train_until(bench: &Bench, rule: &str, out: &str, stop: Instant, trained: &mut Trained) -> Result<Ended, Failed> {
    let small = bench.arguments.dry_run;
    let epochs = if small { "2".to_string() } else { bench.arguments.epochs.to_string() };
    let data = bench.data();
    let mut arguments = vec!["train", "--rule", rule, "--backend", &bench.backend, "--epochs", &epochs, "--out", out];
    match (small, data.is_empty()) {
        (true, true) => arguments.extend(["--preset", "demo", "--images", "64", "--width", "0.25"]),
        (true, false) => arguments.extend(["--preset", "cifar10", "--images", "64", "--width", "0.03125"]),
        (false, _) => arguments.extend(["--preset", "cifar10"]),
    }
    arguments.extend(data.iter().map(String::as_str));
    // A dry run begins anew; one of its steps goes on.
    let anew = small && bench.arguments.step.is_none();
    arguments.push(if anew { "--overwrite" } else { "--resume" });
    // Each takes seconds.
    arguments.extend(["--checkpoint-minutes", MINUTES, "--checkpoint-epochs", "0"]);
    let ended = watch(&mut bench.clapp(&arguments), stop, |_| {})?;
    // Interrupted by us, it ends with a checkpoint.
    if !ended.succeeded() && !ended.stopped {
        return Err(Failed(ended.failure()));
    }
    if !trained.commands.contains(&ended.command) {
        trained.commands.push(ended.command.clone());
    }
    let metrics = read_metrics(&root().join(out).join("metrics.csv"))?;
    trained.losses = thinned(&metrics.losses, 60);
    trained.images_per_second = metrics.images_per_second;
    Ok(ended)
}

/// Minutes between checkpoints.
const MINUTES: &str = "3";

/// The results of the first rule so far, and the folder of its run.
fn first(bench: &Bench) -> (Trained, String) {
    let Plan { rule, published, .. } = &PLANS[0];
    let kept: Vec<Trained> = bench.kept("accuracy").unwrap_or_default();
    let trained = kept.into_iter().next().unwrap_or_else(|| Trained::new(rule, *published));
    (trained, folder(bench, rule))
}

/// Trains the first rule until the deadline, as a step of the plan for a borrowed machine.
pub fn train_once(bench: &Bench, deadline: Instant) -> Result<(), Failed> {
    let (mut trained, out) = first(bench);
    let outcome = train_until(bench, PLANS[0].rule, &out, deadline, &mut trained);
    bench.keep("accuracy", &[&trained])?;
    outcome.map(drop)
}

/// Probes what [`train_once`] has trained, on cached features.
pub fn probe_once(bench: &Bench, deadline: Instant) -> Result<(), Failed> {
    let (mut trained, out) = first(bench);
    if !root().join(&out).join("checkpoint.safetensors").exists() {
        return Err(Failed(format!("nothing to probe: there is no checkpoint in {out}")));
    }
    let before = trained.probes.len();
    let outcome = probe(bench, &out, true, deadline, &mut trained);
    bench.keep("accuracy", &[&trained])?;
    outcome?;
    if trained.probes.len() > before { Ok(()) } else { Err(Failed(trained.failures.join("; "))) }
}

fn probe(bench: &Bench, out: &str, cached: bool, deadline: Instant, trained: &mut Trained) -> Result<(), Failed> {
    let epochs = match (bench.arguments.dry_run, cached) {
        (true, _) => "1",
        (false, true) => PROBE_EPOCHS[0],
        (false, false) => PROBE_EPOCHS[1],
    };
    let mut arguments = vec!["eval", out, "--backend", &bench.backend, "--epochs", epochs];
    if cached {
        arguments.push("--cached");
    }
    let data = bench.data();
    arguments.extend(data.iter().map(String::as_str));
    let ended = watch(&mut bench.clapp(&arguments), deadline, |_| {})?;
    if ended.stopped {
        trained.failures.push(format!("{}: the time was over", ended.command));
        return Ok(());
    }
    if !ended.succeeded() {
        return Err(Failed(ended.failure()));
    }
    let file = root().join(out).join(if cached { "probe-cached.json" } else { "probe.json" });
    trained.probes.push(read_probe(&file, epochs, cached)?);
    trained.commands.push(ended.command);
    Ok(())
}

fn read_probe(path: &Path, epochs: &str, cached: bool) -> Result<Probe, Failed> {
    let wrong = |reason: String| Failed(format!("{}: {reason}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let json: serde_json::Value = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    let percent = |value: &serde_json::Value| value["last"].as_f64().map(|share| 100.0 * share);
    let layers = json["layers"].as_array().map(|layers| layers.iter().map(percent).collect::<Option<Vec<f64>>>());
    Ok(Probe {
        encoder_epochs: json["encoder_epochs"].as_u64().ok_or_else(|| wrong("no encoder_epochs".into()))?,
        probe_epochs: epochs.into(),
        cached,
        all_layers: percent(&json["all"]).ok_or_else(|| wrong("no all.last".into()))?,
        layers: layers.flatten().ok_or_else(|| wrong("no layers with last".into()))?,
    })
}

/// Values of the metrics.
#[derive(Debug, Default, PartialEq)]
struct Metrics {
    losses: Vec<(f64, f64)>,
    images_per_second: Option<f64>,
}

/// The mean of all columns `loss_layer*` beside the epoch.
fn read_metrics(path: &Path) -> Result<Metrics, Failed> {
    let wrong = |reason: &str| Failed(format!("{}: {reason}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| wrong(&error.to_string()))?;
    metrics(&text).ok_or_else(|| wrong("is not understood as metrics"))
}

fn metrics(text: &str) -> Option<Metrics> {
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next()?.split(',').collect();
    let column = |name: &str| names.iter().position(|other| *other == name);
    let (epoch, rate) = (column("epoch")?, column("images_per_second")?);
    let losses: Vec<usize> = (0..names.len()).filter(|&at| names[at].starts_with("loss_layer")).collect();
    let mut metrics = Metrics::default();
    for line in lines {
        let cells: Vec<&str> = line.split(',').collect();
        // Layers without a loss of their own have an empty cell.
        let values: Vec<f64> = losses.iter().filter_map(|&at| cells.get(at)?.parse().ok()).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        metrics.losses.push((cells.get(epoch)?.parse().ok()?, mean));
        metrics.images_per_second = cells.get(rate)?.parse().ok();
    }
    Some(metrics)
}

/// About so many of the points, the last among them.
fn thinned(points: &[(f64, f64)], most: usize) -> Vec<(f64, f64)> {
    let every = points.len().div_ceil(most).max(1);
    points.iter().rev().step_by(every).rev().copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_means_over_the_layers_that_have_one() {
        let text = "epoch,step,images_per_second,loss_layer0,loss_layer1,learning_rate\n0,50,100.5,1.0,2.0,0.1\n1,100,200,,3,0.1\n";
        let metrics = metrics(text).expect("sound");
        assert_eq!(metrics.losses, [(0.0, 1.5), (1.0, 3.0)]);
        assert_eq!(metrics.images_per_second, Some(200.0));
        assert_eq!(super::metrics("a,b\n1,2\n"), None);
    }

    #[test]
    fn thinned_points_end_with_the_last() {
        let points: Vec<(f64, f64)> = (0..1000).map(|at| (f64::from(at), 0.0)).collect();
        let thin = thinned(&points, 60);
        assert!(thin.len() <= 60 && thin.len() > 50 && thin.last() == points.last());
        assert_eq!(thinned(&points[..3], 60), points[..3]);
        assert!(thinned(&[], 60).is_empty());
    }
}
