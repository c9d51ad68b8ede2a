//! The same numbers as elsewhere: golden vectors, parity with the CPU and the core, no memory errors, no races.

use super::Bench;
use super::programs::{Ended, in_path, watch};
use crate::{Failed, root};
use serde::{Deserialize, Serialize};
use std::process::Command;
use std::time::Instant;

/// A check that has run, or could not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// What is checked.
    pub name: String,
    /// How.
    pub command: String,
    /// Whether it must pass; else its errors are only told.
    pub required: bool,
    /// Whether it has passed; nothing where it did not run.
    pub passed: Option<bool>,
    /// The program's last line, or why it did not run.
    pub summary: String,
    /// How long it took.
    pub seconds: f64,
    /// The end of what it printed.
    pub output: String,
}

/// What is to be checked.
struct Plan {
    name: &'static str,
    arguments: Vec<String>,
    required: bool,
    /// Under a tool of compute-sanitizer.
    sanitizer: Option<&'static str>,
}

impl Plan {
    fn new(name: &'static str, arguments: &str, required: bool) -> Self {
        Self { name, arguments: arguments.split(' ').map(String::from).collect(), required, sanitizer: None }
    }
}

/// A learning rate at which many steps can be compared: at larger ones, differences of rounding grow from step to step
/// until core and CPU differ as well.
const CALM: &str = "--rate 0.0003";

fn plans(bench: &Bench) -> Vec<Plan> {
    let (backend, golden) = (&bench.backend, bench.arguments.golden.display().to_string());
    let golden_of = |name, options: &str, required| {
        let mut plan = Plan::new(name, &format!("golden --backend {backend} --poison {options}"), required);
        plan.arguments.insert(1, golden.clone());
        plan
    };
    let exact = "--deterministic --precision f32";
    let (steps, name, large) = if bench.arguments.dry_run {
        (
            2,
            "small network by CLAPP++DFB, cpu and the GPU",
            format!("parity --backends cpu,{backend} --steps 1 --preset demo --rule clapp++dfb {exact}"),
        )
    } else {
        let large = format!("parity --backends cpu,{backend} --steps 20 --preset cifar10 {CALM} {exact}");
        (200, "VGG-6, cpu and the GPU", large)
    };
    let mut large = Plan::new(name, &large, true);
    if let Some(data) = bench.arguments.data.as_ref().filter(|_| !bench.arguments.dry_run) {
        large.arguments.extend(["--data".into(), data.display().to_string()]);
    }
    let small = format!("parity --backends core,cpu,{backend} --steps {steps} --preset demo {CALM} {exact}");
    let sanitized = |name, tool| Plan {
        sanitizer: Some(tool),
        ..Plan::new(name, &format!("parity --backends cpu,{backend} --steps 1 --preset demo --width 0.5 {exact}"), true)
    };
    vec![
        golden_of("golden vectors, f32, deterministic", exact, true),
        golden_of("golden vectors, f32", "--precision f32", true),
        Plan::new("small network, core, cpu and the GPU", &small, true),
        large,
        golden_of("golden vectors, TF32 (errors told)", "--precision tf32", false),
        golden_of("golden vectors, bf16 (errors told)", "--precision bf16", false),
        sanitized("memory errors (compute-sanitizer)", "memcheck"),
        sanitized("races (compute-sanitizer)", "racecheck"),
    ]
}

/// Runs all checks and writes `gpu-parity.json` after each. Fails where one that must pass does not.
pub fn run(bench: &Bench, deadline: Instant) -> Result<(), Failed> {
    let mut checks: Vec<Check> = Vec::new();
    for plan in plans(bench) {
        checks.push(check(bench, &plan, deadline)?);
        bench.keep("parity", &checks)?;
    }
    let failed: Vec<String> = checks
        .iter()
        .filter(|check| check.required && check.passed == Some(false))
        .map(|check| format!("{}: {}", check.name, check.summary))
        .collect();
    if failed.is_empty() { Ok(()) } else { Err(Failed(failed.join("\n"))) }
}

fn check(bench: &Bench, plan: &Plan, deadline: Instant) -> Result<Check, Failed> {
    let arguments: Vec<&str> = plan.arguments.iter().map(String::as_str).collect();
    let not_run = |summary: &str| Check {
        name: plan.name.into(),
        command: format!("clapp {}", arguments.join(" ")),
        required: plan.required,
        passed: None,
        summary: format!("not run: {summary}"),
        seconds: 0.0,
        output: String::new(),
    };
    if arguments.first() == Some(&"golden") && !root().join(&bench.arguments.golden).is_dir() {
        return Ok(not_run(&format!("no folder {}", bench.arguments.golden.display())));
    }
    if arguments.contains(&"cifar10") && bench.arguments.data.is_none() {
        return Ok(not_run("--data names no CIFAR-10"));
    }
    let mut command = match plan.sanitizer {
        None => bench.clapp(&arguments),
        Some(_) if bench.backend != "cuda" => return Ok(not_run("needs a GPU")),
        Some(tool) => match in_path("compute-sanitizer") {
            None => return Ok(not_run("compute-sanitizer is not in the search path")),
            Some(sanitizer) => {
                let mut command = Command::new(sanitizer);
                command.args(["--tool", tool, "--error-exitcode", "9"]).arg(&bench.clapp);
                bench.libraries(command, &arguments)
            }
        },
    };
    if Instant::now() >= deadline {
        return Ok(not_run("the time was over"));
    }
    let ended = watch(&mut command, deadline, |_| {})?;
    Ok(outcome(plan, &ended))
}

fn outcome(plan: &Plan, ended: &Ended) -> Check {
    let summary = match ended.text.lines().rev().find(|line| !line.trim().is_empty()) {
        _ if ended.stopped => "stopped: the time was over".into(),
        Some(line) => line.trim().to_string(),
        None => ended.status.to_string(),
    };
    Check {
        name: plan.name.into(),
        command: ended.command.clone(),
        required: plan.required,
        passed: (!ended.stopped).then_some(ended.succeeded()),
        summary,
        seconds: ended.seconds,
        output: ended.tail(60),
    }
}
