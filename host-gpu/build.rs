//! Names the commit of the build for the runs that the program records (`CLAPP_COMMIT`).

use std::path::Path;
use std::process::Command;

/// What the program is built from; an uncommitted change of it makes the build another than the commit.
const SOURCES: [&str; 11] = [
    "src",
    "build.rs",
    "Cargo.toml",
    "data",
    "engine",
    "gpu",
    "device",
    "lab",
    "../core",
    "../Cargo.toml",
    "../Cargo.lock",
];

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_string())
}

fn commit() -> Option<String> {
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changes = git(&[&["status", "--porcelain", "--"], &SOURCES[..]].concat())?;
    Some(if changes.is_empty() { commit } else { format!("{commit}-dirty") })
}

fn main() {
    // The log grows with each commit and checkout; without it (a source archive) there is nothing to look at.
    let log = git(&["rev-parse", "--git-path", "logs/HEAD"]);
    for path in SOURCES.into_iter().chain(log.as_deref()).filter(|path| Path::new(path).exists()) {
        println!("cargo::rerun-if-changed={path}");
    }
    println!("cargo::rustc-env=CLAPP_COMMIT={}", commit().unwrap_or_else(|| "unknown".into()));
}
