//! Output of the program, kept in `benches/results/` with the machine, the date and the commit.

use crate::{Failed, root};
use std::path::Path;
use std::process::Command;

/// File, title, arguments of `clapp`.
const RECORDS: [(&str, &str, &[&str]); 7] = [
    ("demo.md", "The demonstration", &["demo"]),
    ("golden-core.md", "Golden vectors on clapp-core", &["golden", "../shared/golden", "--backend", "core"]),
    ("golden-cpu.md", "Golden vectors on the CPU backend", &["golden", "../shared/golden", "--backend", "cpu"]),
    (
        "golden-emulated.md",
        "Golden vectors on the emulated GPU",
        &["golden", "../shared/golden", "--backend", "emulated", "--precision", "f32"],
    ),
    ("info-cifar10.md", "VGG-6 at width 0.25", &["info", "--preset", "cifar10", "--width", "0.25"]),
    ("info-demo.md", "The demonstration's network", &["info", "--preset", "demo"]),
    ("parity.md", "clapp-core and the CPU backend, step by step", &["parity", "--preset", "demo", "--steps", "5"]),
];

/// Runs each of them in the release build and writes its file.
pub fn run() -> Result<(), Failed> {
    for (file, title, arguments) in RECORDS {
        let shown = format!("cargo run --release -- {}", arguments.join(" "));
        println!("\n==> {shown}");
        let output = Command::new("cargo")
            .args(["run", "--release", "--quiet", "--"])
            .args(arguments)
            .current_dir(root())
            .output()
            .map_err(|error| Failed(format!("{shown}: {error}")))?;
        if !output.status.success() {
            return Err(Failed(format!("{shown} ({})\n{}", output.status, String::from_utf8_lossy(&output.stderr))));
        }
        let printed = String::from_utf8_lossy(&output.stdout);
        print!("{printed}");
        let text = format!(
            "# {title}\n\n`{shown}`\n\n```text\n{printed}```\n\n{}\n\nWritten by `cargo xtask results`.\n",
            provenance()
        );
        write(&root().join("benches/results").join(file), &text)?;
    }
    Ok(())
}

/// Writes a file whole: under another name, then renamed.
pub fn write(path: &Path, text: &str) -> Result<(), Failed> {
    let folder = path.parent().unwrap_or(path);
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(&name, text))
        .and_then(|()| std::fs::rename(&name, path))
        .map_err(|error| Failed(format!("write {}: {error}", path.display())))
}

/// The output of a program, or that it is unknown.
fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(root()).output();
    let text = output.ok().filter(|output| output.status.success());
    text.map_or_else(|| "unknown".into(), |output| String::from_utf8_lossy(&output.stdout).trim().to_string())
}

/// Today.
pub fn date() -> String {
    output("date", &["-u", "+%Y-%m-%d"])
}

/// The commit of the repository; where it was packed and carried elsewhere, as `CLAPP_COMMIT` says.
pub fn commit() -> String {
    std::env::var("CLAPP_COMMIT").unwrap_or_else(|_| output("git", &["rev-parse", "--short", "HEAD"]))
}

/// Machine, date and commit.
pub fn provenance() -> String {
    let processors = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processors.lines().find(|line| line.starts_with("model name"));
    let model = model.and_then(|line| line.split(": ").nth(1)).unwrap_or("unknown processor");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("Machine: {model}, {cores} cores. Date: {}. Commit: {}.", date(), commit())
}
