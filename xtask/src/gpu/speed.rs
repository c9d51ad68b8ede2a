//! Seconds and bytes of training steps, ours beside PyTorch's in the same run.

use super::Bench;
use super::bounds::{Bound, bounds};
use super::programs::watch;
use super::rows::{Ceilings, Ours, Speed, Theirs};
use crate::Failed;
use std::time::Instant;

/// The rules, as both sides' tables name them, and what ours is called with.
const RULES: [(&str, &[&str]); 6] = [
    ("clapp++", &["--rule", "clapp++"]),
    ("bp-clapp++", &["--rule", "bp-clapp++"]),
    ("clapp++dfb", &["--rule", "clapp++dfb"]),
    ("clapp++both", &["--rule", "clapp++both"]),
    ("bp-clapp++accumulate", &["--rule", "bp-clapp++", "--backward", "accumulated=4"]),
    ("bp-clapp++checkpoint", &["--rule", "bp-clapp++", "--backward", "checkpointed"]),
];

/// Of these, so many first ones are measured on a borrowed machine, at these sizes of frames.
const BRIEF_RULES: usize = 3;
const BRIEF_SIZES: [usize; 2] = [32, 96];
const BRIEF_BATCH: usize = 32;

/// Parts of a batch where gradients are accumulated, on both sides.
const PARTS: &str = "4";

/// Presets and the sizes of their frames.
const PRESETS: [(&str, usize); 3] = [("cifar10", 32), ("tiny-imagenet", 64), ("stl10", 96)];

/// Frames and batch, those first that bounds are about.
const ORDER: [(usize, usize); 6] = [(32, 32), (96, 32), (64, 32), (96, 256), (32, 256), (64, 256)];

/// Ours: the default, and that of PyTorch's best variant.
const PRECISIONS: [&str; 2] = ["tf32", "bf16"];

/// Begins a failure of `ceilings.py`.
const CEILINGS: &str = "highest rates of the device";

/// Steps that are timed, and steps before them.
const STEPS: [&str; 2] = ["20", "5"];

/// A measurement.
#[derive(Debug, Clone, PartialEq)]
enum Job {
    /// One row of ours.
    Ours { size: usize, batch: usize, rule: &'static str, precision: &'static str },
    /// Rows of PyTorch's: the first so many rules.
    Theirs { size: usize, batch: usize, variant: &'static str, mode: &'static str, rules: usize },
}

/// The measurements of a step of the plan for a borrowed machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Ours.
    Ours,
    /// PyTorch as the paper's code has it, and what the device can do at most.
    AsIs,
    /// PyTorch at its best.
    Best,
}

impl Job {
    fn name(&self) -> String {
        match self {
            Self::Ours { size, batch, rule, precision } => {
                format!("clapp, {rule}, {size}x{size}, batch {batch}, {precision}")
            }
            Self::Theirs { size, batch, variant, mode, .. } => {
                format!("PyTorch, {variant}, {mode}, {size}x{size}, batch {batch}")
            }
        }
    }
}

/// All that is to be measured, in order: as long as the time suffices.
fn jobs(dry_run: bool) -> Vec<Job> {
    let ours = |size, batch, precision| RULES.map(|(rule, _)| Job::Ours { size, batch, rule, precision });
    let theirs = |size, batch, variant, mode| Job::Theirs { size, batch, variant, mode, rules: RULES.len() };
    if dry_run {
        let mut jobs = ours(32, 32, "f32").to_vec();
        jobs.extend([theirs(32, 32, "as-is", "step"), theirs(32, 32, "as-is", "end-to-end")]);
        return jobs;
    }
    let mut jobs = Vec::new();
    for (size, batch) in ORDER {
        jobs.extend(PRECISIONS.iter().flat_map(|&precision| ours(size, batch, precision)));
        jobs.push(theirs(size, batch, "as-is", "step"));
        // The loader takes the most of it: the fastest step makes no difference, compiling it would.
        jobs.push(theirs(size, batch, "as-is", "end-to-end"));
        jobs.push(theirs(size, batch, "best", "step"));
    }
    jobs
}

/// The measurements of one step on a borrowed machine.
fn brief(side: Side, dry_run: bool) -> Vec<Job> {
    let batch = BRIEF_BATCH;
    let sizes = if dry_run { &BRIEF_SIZES[..1] } else { &BRIEF_SIZES[..] };
    let precisions = if dry_run { &["f32"][..] } else { &PRECISIONS[..] };
    let of_size = |&size: &usize| -> Vec<Job> {
        let theirs = |variant| vec![Job::Theirs { size, batch, variant, mode: "step", rules: BRIEF_RULES }];
        match side {
            Side::Ours => {
                let of = |(rule, _): &(&'static str, _)| {
                    let rule = *rule;
                    precisions.iter().map(move |&precision| Job::Ours { size, batch, rule, precision })
                };
                RULES[..BRIEF_RULES].iter().flat_map(of).collect()
            }
            Side::AsIs => theirs("as-is"),
            Side::Best => theirs("best"),
        }
    };
    sizes.iter().flat_map(of_size).collect()
}

/// Measures for one step of the plan for a borrowed machine what is not in `gpu-speed.json` yet, and adds it there. Fails
/// where a program failed or the time did not suffice; a bound that is missed is a result.
pub fn some(bench: &Bench, deadline: Instant, side: Side) -> Result<(), Failed> {
    let mut speed: Speed = bench.kept("speed").unwrap_or_default();
    if side == Side::AsIs && speed.ceilings.is_none() {
        ceilings(bench, deadline, &mut speed)?;
    }
    let jobs = brief(side, bench.arguments.dry_run);
    // Told of these in an earlier try.
    for told in [&mut speed.failures, &mut speed.not_measured] {
        told.retain(|line| !jobs.iter().any(|job| line.starts_with(&job.name())));
    }
    for job in jobs.iter().filter(|job| !is_measured(job, &speed)).cloned().collect::<Vec<_>>() {
        measure_or_tell(bench, deadline, &job, &mut speed)?;
    }
    bench.keep("bounds", &bounds(&speed))?;
    let of_these = |line: &&String| {
        jobs.iter().any(|job| line.starts_with(&job.name())) || (side == Side::AsIs && line.starts_with(CEILINGS))
    };
    let told: Vec<String> = speed.failures.iter().chain(&speed.not_measured).filter(of_these).cloned().collect();
    if told.is_empty() { Ok(()) } else { Err(Failed(told.join("\n"))) }
}

/// True if all rows of a job are there.
fn is_measured(job: &Job, speed: &Speed) -> bool {
    match job {
        Job::Ours { size, batch, rule, precision } => speed
            .ours
            .iter()
            .any(|row| (row.input[1], row.batch, &*row.rule, &*row.precision) == (*size, *batch, rule, precision)),
        Job::Theirs { .. } => missing_rules(job, speed).is_empty(),
    }
}

/// The rules of a job of PyTorch's that have no row yet.
fn missing_rules(job: &Job, speed: &Speed) -> Vec<&'static str> {
    let Job::Theirs { size, batch, variant, mode, rules } = job else { return Vec::new() };
    let is_there = |rule: &str| {
        let same = |row: &Theirs| {
            (row.size, row.batch, &*row.variant, &*row.mode, &*row.rule) == (*size, *batch, variant, mode, rule)
        };
        speed.theirs.iter().any(same)
    };
    RULES[..*rules].iter().map(|(rule, _)| *rule).filter(|rule| !is_there(rule)).collect()
}

/// Measures, or keeps why not.
fn measure_or_tell(bench: &Bench, deadline: Instant, job: &Job, speed: &mut Speed) -> Result<(), Failed> {
    if matches!(job, Job::Theirs { .. }) && bench.python.is_none() {
        speed.not_measured.push(format!("{}: no Python with PyTorch", job.name()));
    } else if Instant::now() >= deadline {
        speed.not_measured.push(job.name());
    } else if let Err(Failed(reason)) = measure(bench, deadline, job, speed) {
        speed.failures.push(format!("{}: {reason}", job.name()));
    }
    bench.keep("speed", speed)
}

/// Measures and writes `gpu-speed.json` after each row, then `gpu-bounds.json`. Fails where a program failed or a bound is
/// missed; in a dry run bounds are worked out, but mean nothing.
pub fn run(bench: &Bench, deadline: Instant) -> Result<(), Failed> {
    let mut speed = Speed::default();
    ceilings(bench, deadline, &mut speed)?;
    for job in jobs(bench.arguments.dry_run) {
        measure_or_tell(bench, deadline, &job, &mut speed)?;
    }
    let bounds = bounds(&speed);
    bench.keep("bounds", &bounds)?;
    let missed = bounds.iter().filter(|bound| bound.kept == Some(false) && !bench.arguments.dry_run).map(missed);
    let wrong: Vec<String> = speed.failures.iter().cloned().chain(missed).collect();
    if wrong.is_empty() { Ok(()) } else { Err(Failed(wrong.join("\n"))) }
}

fn missed(bound: &Bound) -> String {
    format!("{}: {:.3}, {}", bound.what, bound.value.unwrap_or(f64::NAN), bound.bound)
}

fn ceilings(bench: &Bench, deadline: Instant, speed: &mut Speed) -> Result<(), Failed> {
    let small = ["--device", "cpu", "--side", "128", "--rows", "2", "--channels", "16", "--copy", "100000"];
    speed.failures.retain(|line| !line.starts_with(CEILINGS));
    let Some(mut command) = bench.script("ceilings.py", if bench.arguments.dry_run { &small } else { &[] }) else {
        return Ok(());
    };
    let ended = watch(&mut command, deadline, |_| {})?;
    match serde_json::from_str::<Ceilings>(&ended.output) {
        Ok(ceilings) if ended.succeeded() => speed.ceilings = Some(ceilings),
        _ => speed.failures.push(format!("{CEILINGS}: {}", ended.failure())),
    }
    bench.keep("speed", speed)
}

fn measure(bench: &Bench, deadline: Instant, job: &Job, speed: &mut Speed) -> Result<(), Failed> {
    match job {
        Job::Ours { size, batch, rule, precision } => {
            let ours = ours(bench, deadline, [*size, *batch], rule, precision)?;
            speed.ours.push(ours);
            Ok(())
        }
        Job::Theirs { size, batch, variant, mode, .. } => {
            let wanted = missing_rules(job, speed);
            let rules = wanted.join(",");
            let seconds = deadline.saturating_duration_since(Instant::now()).as_secs_f64().to_string();
            let [size, batch] = [size, batch].map(ToString::to_string);
            let mut arguments = vec!["--rules", &rules, "--sizes", &size, "--batches", &batch];
            arguments.extend(["--variants", variant, "--modes", mode, "--parts", PARTS]);
            if bench.arguments.dry_run {
                let small = "--device cpu --width 0.03125 --steps 2 --warm-up 1 --workers 1 --images 32";
                arguments.extend(small.split(' '));
            } else {
                arguments.extend(["--steps", STEPS[0], "--warm-up", STEPS[1], "--deadline", &seconds]);
            }
            let Some(mut command) = bench.script("speed.py", &arguments) else { return Ok(()) };
            let (mut wrong, mut kept) = (Vec::new(), Ok(()));
            let before = speed.theirs.len();
            let ended = watch(&mut command, deadline, |line| match serde_json::from_str::<Theirs>(line) {
                Ok(row) if row.is_sound() => {
                    speed.theirs.push(row);
                    kept = bench.keep("speed", speed);
                }
                Ok(Theirs { rule, error: Some(error), .. }) => wrong.push(format!("{rule}: {error}")),
                _ => wrong.push(format!("speed.py printed \"{line}\"")),
            })?;
            kept?;
            let measured = speed.theirs.len() - before;
            if !wrong.is_empty() {
                return Err(Failed(wrong.join("; ")));
            }
            if measured < wanted.len() && (ended.stopped || ended.succeeded()) {
                speed.not_measured.push(format!("{}: {measured} of {} rules measured", job.name(), wanted.len()));
                return Ok(());
            }
            if ended.succeeded() { Ok(()) } else { Err(Failed(ended.failure())) }
        }
    }
}

fn ours(
    bench: &Bench,
    deadline: Instant,
    [size, batch]: [usize; 2],
    rule: &str,
    precision: &str,
) -> Result<Ours, Failed> {
    let known = PRESETS.iter().find(|(_, side)| *side == size).zip(RULES.iter().find(|(name, _)| *name == rule));
    let Some(((preset, _), (_, options))) = known else {
        return Err(Failed(format!("no preset of {size}, or no {rule}")));
    };
    let batch_option = batch.to_string();
    let mut arguments = vec!["speed", "--json", "--backend", &bench.backend, "--precision", precision];
    arguments.extend(["--preset", preset, "--batch", &batch_option]);
    arguments.extend(options.iter());
    if bench.arguments.dry_run {
        arguments.extend(["--width", "0.03125", "--steps", "2", "--warm-up", "1"]);
    } else {
        arguments.extend(["--steps", STEPS[0], "--warm-up", STEPS[1]]);
    }
    let ended = watch(&mut bench.clapp(&arguments), deadline, |_| {})?;
    if !ended.succeeded() {
        return Err(Failed(ended.failure()));
    }
    let wrong = |reason: &str| Failed(format!("{}: {reason}: {}", ended.command, ended.output.trim()));
    let row: Ours = serde_json::from_str(&ended.output).map_err(|error| wrong(&error.to_string()))?;
    // How gradients are accumulated is no part of the rule's own name.
    let row = Ours { rule: rule.into(), ..row };
    let asked =
        row.input[1] == size && row.batch == batch && row.precision == precision && row.backend == bench.backend;
    if !asked {
        return Err(wrong("is not what was asked for"));
    }
    if row.is_sound() { Ok(row) } else { Err(wrong("has numbers that cannot be")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_is_measured_once_and_those_with_bounds_first() {
        let jobs = jobs(false);
        let ours = jobs.iter().filter(|job| matches!(job, Job::Ours { .. })).count();
        assert_eq!(ours, RULES.len() * PRECISIONS.len() * 6);
        for (index, job) in jobs.iter().enumerate() {
            assert!(!jobs[..index].contains(job), "{}", job.name());
        }
        let first = jobs.iter().position(|job| matches!(job, Job::Theirs { size: 96, batch: 256, .. }));
        let other = jobs.iter().position(|job| matches!(job, Job::Theirs { size: 32, batch: 256, .. }));
        assert!(first < other);
    }

    #[test]
    fn a_borrowed_machine_measures_three_rules_at_two_sizes_and_goes_on_where_it_was() {
        let ours = brief(Side::Ours, false);
        assert_eq!(ours.len(), 3 * 2 * 2);
        let mut speed = Speed::default();
        assert!(!is_measured(&ours[0], &speed));
        let row = super::super::bounds::tests::ours("clapp++", "tf32", 1.0, 1);
        speed.ours.push(Ours { input: [3, 32, 32], ..row });
        assert!(is_measured(&ours[0], &speed) && !is_measured(&ours[1], &speed));
        let best = brief(Side::Best, false);
        assert_eq!(best.len(), 2);
        let row = super::super::bounds::tests::theirs("bp-clapp++", "best", "step", Some(0.1), 1);
        speed.theirs.push(Theirs { size: 96, ..row });
        assert_eq!(missing_rules(&best[0], &speed), ["clapp++", "bp-clapp++", "clapp++dfb"]);
        assert_eq!(missing_rules(&best[1], &speed), ["clapp++", "clapp++dfb"]);
        assert!(!is_measured(&best[1], &speed));
    }
}
