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
    /// Its name.
    pub name: String,
    /// Its command.
    pub command: String,
    /// True if it must pass; else its errors are only reported.
    pub required: bool,
    /// True if it has passed; nothing if it did not run.
    pub passed: Option<bool>,
    /// The program's last line, or why it did not run.
    pub summary: String,
    /// Its duration.
    pub seconds: f64,
    /// The end of what it printed.
    pub output: String,
}

/// A check to run.
struct Plan {
    name: &'static str,
    arguments: Vec<String>,
    required: bool,
    /// Under a tool of compute-sanitizer.
    sanitizer: Option<&'static str>,
    /// The step of the plan for a borrowed machine that it belongs to.
    step: Option<&'static str>,
}

impl Plan {
    fn new(name: &'static str, arguments: &str, required: bool) -> Self {
        let arguments = arguments.split(' ').map(String::from).collect();
        Self { name, arguments, required, sanitizer: None, step: None }
    }

    fn of(mut self, step: &'static str) -> Self {
        self.step = Some(step);
        self
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
    if !bench.arguments.dry_run {
        large.arguments.extend(bench.data());
    }
    let small = format!("parity --backends core,cpu,{backend} --steps {steps} --preset demo {CALM} {exact}");
    let sanitized = |name, tool| Plan {
        sanitizer: Some(tool),
        ..Plan::new(name, &format!("parity --backends cpu,{backend} --steps 1 --preset demo --width 0.5 {exact}"), true)
    };
    let mut all = brief(bench);
    all.extend([
        golden_of("golden vectors, f32, deterministic", exact, true).of("golden"),
        golden_of("golden vectors, f32", "--precision f32", true).of("golden"),
        Plan::new("small network, core, cpu and the GPU", &small, true),
        large,
        golden_of("golden vectors, TF32 (errors told)", "--precision tf32", false),
        golden_of("golden vectors, bf16 (errors told)", "--precision bf16", false),
        sanitized("memory errors (compute-sanitizer)", "memcheck").of("memory"),
        sanitized("races (compute-sanitizer)", "racecheck"),
    ]);
    all
}

/// A step in each precision, and few steps beside the CPU's.
fn brief(bench: &Bench) -> Vec<Plan> {
    let (backend, small) = (&bench.backend, bench.arguments.dry_run);
    let one = |name, precision| {
        let network = if small { "--preset demo --width 0.25" } else { "--preset cifar10" };
        let command = format!("speed --backend {backend} --precision {precision} --steps 1 --warm-up 0 {network}");
        Plan::new(name, &command, true).of("one")
    };
    // VGG-6 needs images.
    let data = if small { Vec::new() } else { bench.data() };
    let network = match data.is_empty() {
        true if small => "--preset demo --width 0.5 --steps 2",
        true => "--preset demo --steps 5",
        false => "--preset cifar10 --steps 5",
    };
    let few = format!("parity --backends cpu,{backend} {CALM} --deterministic --precision f32 {network}");
    let mut few = Plan::new(FEW, &few, true).of("parity");
    few.arguments.extend(data);
    vec![one("one step in f32", "f32"), one("one step in TF32", "tf32"), one("one step in bf16", "bf16"), few]
}

/// The check of few steps.
const FEW: &str = "five steps, cpu and the GPU";

/// Options that limit the memory checker to the own kernels, one option a kernel: kernels of libraries take minutes. In one
/// option, all names would have to be the kernel's, and nothing would be checked.
fn own_kernels() -> Result<Vec<String>, Failed> {
    let folder = root().join("host-gpu/gpu/src/kernels");
    let failed = |error: std::io::Error| Failed(format!("{}: {error}", folder.display()));
    let mut source = String::new();
    for entry in folder.read_dir().map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "cu") {
            source += &std::fs::read_to_string(path).map_err(failed)?;
        }
    }
    let names = names_of(&source);
    if names.is_empty() {
        return Err(Failed(format!("{}: no kernels", folder.display())));
    }
    Ok(names.iter().flat_map(|name| ["--kernel-name".into(), format!("kne={name}")]).collect())
}

/// The names after `__global__ void`, with or without bounds of the launch between.
fn names_of(source: &str) -> Vec<String> {
    let name = |rest: &str| {
        let rest = rest.trim_start().strip_prefix("void")?.trim_start();
        let rest = match rest.strip_prefix("__launch_bounds__") {
            Some(rest) => rest.split_once(')')?.1.trim_start(),
            None => rest,
        };
        let (name, _) = rest.split_once('(')?;
        Some(name.trim().to_string())
    };
    source.split("__global__").skip(1).filter_map(name).collect()
}

/// Runs the checks of one step and writes them into `gpu-parity.json` beside those of others. Fails where one fails or
/// cannot run.
pub fn some(bench: &Bench, deadline: Instant, step: &str) -> Result<(), Failed> {
    let mut checks: Vec<Check> = bench.kept("parity").unwrap_or_default();
    let mut wrong = Vec::new();
    for plan in plans(bench).iter().filter(|plan| plan.step == Some(step)) {
        let check = check(bench, plan, deadline)?;
        if check.passed != Some(true) {
            wrong.push(check.clone());
        }
        checks.retain(|other| other.name != check.name);
        checks.push(check);
        bench.keep("parity", &checks)?;
    }
    if wrong.is_empty() { Ok(()) } else { Err(Failed(reasons(&wrong))) }
}

/// The names of checks with their reasons, in one line; a reason that several share is given once.
fn reasons(wrong: &[Check]) -> String {
    let mut told: Vec<(String, &str)> = Vec::new();
    for Check { name, summary, .. } in wrong {
        match told.iter_mut().find(|(_, reason)| reason == summary) {
            Some((names, _)) => names.extend([", ", name]),
            None => told.push((name.clone(), summary)),
        }
    }
    told.iter().map(|(names, reason)| format!("{names}: {reason}")).collect::<Vec<_>>().join("; ")
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
    if arguments.first() == Some(&"parity") && arguments.contains(&"cifar10") && bench.arguments.data.is_none() {
        return Ok(not_run("--data names no CIFAR-10"));
    }
    let mut command = match plan.sanitizer {
        None => bench.clapp(&arguments),
        Some(_) if bench.backend != "cuda" => return Ok(not_run("needs a GPU")),
        Some(tool) => match in_path("compute-sanitizer") {
            None => return Ok(not_run("compute-sanitizer is not in the search path")),
            Some(sanitizer) => {
                let mut command = Command::new(sanitizer);
                // The program itself reports calls that fail; libraries make some on purpose.
                command.args(["--tool", tool, "--error-exitcode", "9", "--report-api-errors", "no"]);
                command.args(own_kernels()?).arg(&bench.clapp);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_that_checks_share_is_given_once() {
        let check = |name: &str, summary: &str| Check {
            name: name.into(),
            command: String::new(),
            required: true,
            passed: Some(false),
            summary: summary.into(),
            seconds: 0.0,
            output: String::new(),
        };
        let wrong = [check("f32", "no driver"), check("TF32", "too far"), check("bf16", "no driver")];
        assert_eq!(reasons(&wrong), "f32, bf16: no driver; TF32: too far");
        assert_eq!(reasons(&[]), "");
    }

    #[test]
    fn kernels_are_named_to_the_checker() {
        let source =
            "extern \"C\" __global__ void a(float* x) {}\n__global__ void __launch_bounds__(256) b_c(int n) {}";
        assert_eq!(names_of(source), ["a", "b_c"]);
        let options = own_kernels().unwrap_or_else(|Failed(why)| panic!("{why}"));
        assert!(options.chunks(2).all(|pair| pair[0] == "--kernel-name" && pair[1].starts_with("kne=")), "{options:?}");
        assert!(["kne=adamw4", "kne=scores"].iter().all(|name| options.iter().any(|o| o == name)), "{options:?}");
    }
}
