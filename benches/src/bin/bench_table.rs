//! Prints the results of the last `cargo bench -p clapp-benches` as a Markdown table:
//!
//! ```text
//! cargo bench -p clapp-benches
//! cargo run -p clapp-benches --bin bench_table -- 2026-01-31 > benches/results/2026-01-31.md
//! ```
//!
//! Arguments: the date, then criterion's folder if it is not `target/criterion` (or the one of `CARGO_TARGET_DIR`).

use serde_json::Value;
use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Medians in nanoseconds by function, by group.
type Groups = BTreeMap<String, BTreeMap<String, f64>>;

fn main() -> ExitCode {
    match table() {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

fn table() -> Result<String, Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let date = arguments.next().ok_or("usage: bench_table DATE [FOLDER]")?;
    let folder = arguments.next().map_or_else(criterion_folder, PathBuf::from);
    let mut groups = Groups::new();
    collect(&folder, &mut groups).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut lines = vec![
        format!("{}, {date}, commit {}\n", processor(), commit()),
        "| group | ours | reference | ratio |".into(),
        "|---|---|---|---|".into(),
    ];
    for (group, functions) in &groups {
        let Some(ours) = functions.get("ours") else { continue };
        for (name, reference) in functions.iter().filter(|(name, _)| *name != "ours") {
            let ratio = reference / ours;
            lines.push(format!("| {group} | {} | {} ({name}) | {ratio:.2} |", time(*ours), time(*reference)));
        }
    }
    if lines.len() == 3 {
        return Err(format!("{}: no measurement of this workspace's; run cargo bench first", folder.display()).into());
    }
    lines.push("\nMedians; a ratio above 1 is how many times faster ours is than its reference.".into());
    Ok(lines.join("\n"))
}

fn criterion_folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from).join("criterion")
}

/// Takes in every measurement below `folder`: where there is a `new/estimates.json`, `new/benchmark.json` names it.
fn collect(folder: &Path, groups: &mut Groups) -> Result<(), Box<dyn Error>> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let measured = path.join("new/estimates.json");
        if measured.is_file() {
            let names = read(&path.join("new/benchmark.json"))?;
            let name = |field: &str| {
                names[field].as_str().map(String::from).ok_or_else(|| format!("{}: no {field}", path.display()))
            };
            let median = read(&measured)?["median"]["point_estimate"].as_f64();
            let median = median.ok_or_else(|| format!("{}: no median", measured.display()))?;
            groups.entry(name("group_id")?).or_default().insert(name("function_id")?, median);
        } else if path.is_dir() {
            collect(&path, groups)?;
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Value, Box<dyn Error>> {
    let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(serde_json::from_slice(&bytes).map_err(|error| format!("{}: {error}", path.display()))?)
}

/// A duration with three digits.
fn time(nanoseconds: f64) -> String {
    let (value, unit) = match nanoseconds {
        n if n < 1e3 => (n, "ns"),
        n if n < 1e6 => (n / 1e3, "µs"),
        n if n < 1e9 => (n / 1e6, "ms"),
        n => (n / 1e9, "s"),
    };
    let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.digits$} {unit}")
}

/// Model and number of the processors.
fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{}, {count} threads", model.map_or("unknown processor", |(_, name)| name))
}

/// Returns the commit of the working folder, and marks uncommitted changes.
fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success());
        output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_string())
    };
    match (git(&["rev-parse", "--short=12", "HEAD"]), git(&["status", "--porcelain"])) {
        (Some(commit), Some(changes)) if changes.is_empty() => commit,
        (Some(commit), _) => format!("{commit} with changes"),
        (None, _) => "unknown".into(),
    }
}
