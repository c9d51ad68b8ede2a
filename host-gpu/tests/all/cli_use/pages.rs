//! The commands of README.md and docs/: those of docs/cli.md run, all others have options that exist.

use crate::cli_common::succeeds;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// README.md and the pages of docs/ and docs/results/.
fn pages() -> Vec<PathBuf> {
    let mut pages = vec![root().join("README.md"), root().join("firmware/README.md")];
    for folder in ["docs", "docs/results"] {
        let docs = fs::read_dir(root().join(folder)).expect("the folder").map(|entry| entry.expect("an entry").path());
        pages.extend(docs.filter(|path| path.extension().is_some_and(|ending| ending == "md")));
    }
    pages
}

/// Blocks of shell commands of a page: the text after the fence's `sh`, and the commands.
fn blocks(page: &str) -> Vec<(String, String)> {
    let mut blocks: Vec<(String, String)> = Vec::new();
    let mut is_open = false;
    for line in page.lines() {
        match line.strip_prefix("```") {
            Some(info) => {
                is_open = !is_open && info.split(' ').next() == Some("sh");
                if is_open {
                    blocks.push((info.trim_start_matches("sh").trim().to_owned(), String::new()));
                }
            }
            None if is_open => {
                let (_, commands) = blocks.last_mut().expect("a block");
                commands.push_str(line);
                commands.push('\n');
            }
            None => {}
        }
    }
    blocks
}

/// Runs shell commands that know `clapp`.
fn shell(folder: &Path, commands: &str) -> Output {
    let program = Path::new(env!("CARGO_BIN_EXE_clapp")).parent().expect("a folder");
    let rest = std::env::var_os("PATH").unwrap_or_default();
    let path = [program.as_os_str(), &rest].join(OsStr::new(":"));
    let mut command = Command::new("sh");
    // Some examples name a process's number.
    command.args(["-e", "-c", commands]).current_dir(folder).env("PATH", path).env("rank", "0");
    command.output().expect("a shell")
}

fn must_succeed(folder: &Path, commands: &str, page: &str) {
    let output = shell(folder, commands);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{page}:\n{commands}\n{}: {errors}", output.status);
}

/// Returns the call of `clapp` in a line.
fn call(line: &str) -> Option<String> {
    let line = line.split(" #").next().unwrap_or_default().trim().trim_end_matches('&');
    let arguments = if let Some((_, arguments)) = line.split_once("cargo run --release -- ") {
        arguments
    } else {
        let at = if line.starts_with("clapp ") { 0 } else { line.find(" clapp ")? + 1 };
        &line[at + "clapp ".len()..]
    };
    Some(format!("clapp {arguments}"))
}

#[test]
fn the_examples_of_the_page_on_commands_run() {
    let page = fs::read_to_string(root().join("docs/cli.md")).expect("the page");
    let place = tempfile::tempdir().expect("a folder");
    let blocks = blocks(&page);
    for (kind, commands) in &blocks {
        assert!(["", "options-only"].contains(&kind.as_str()), "{kind}");
        if kind.is_empty() {
            must_succeed(place.path(), commands, "docs/cli.md");
        }
    }
    // Every command has a section with an example.
    let help = succeeds(place.path(), &["--help"]);
    let list = help.split_once("Commands:\n").and_then(|(_, rest)| rest.split_once("\n\n")).expect("commands").0;
    let names: Vec<&str> = list.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(names.len() > 15, "{names:?}");
    for name in names.into_iter().filter(|name| *name != "help") {
        let headed = |line: &str| line.starts_with("## ") && line.contains(&format!("`clapp {name}`"));
        assert!(page.lines().any(headed), "docs/cli.md has no section on {name}");
        let shown = |line: &str| line == format!("clapp {name}") || line.starts_with(&format!("clapp {name} "));
        assert!(blocks.iter().any(|(_, commands)| commands.lines().any(shown)), "no example of {name}");
    }
}

#[test]
fn the_commands_of_all_pages_have_options_that_exist() {
    let root = root();
    let place = tempfile::tempdir().expect("a folder");
    let chores = fs::read_to_string(root.join("xtask/src/main.rs")).expect("the chores");
    let mut found = 0;
    for path in pages() {
        let page = fs::read_to_string(&path).expect("a page");
        for (_, commands) in blocks(&page) {
            for line in commands.replace("\\\n", " ").lines() {
                if let Some(call) = call(line) {
                    // --help ends the program after it has parsed all arguments before it.
                    let call = call.split(" > ").next().unwrap_or_default();
                    must_succeed(place.path(), &format!("{call} --help"), &path.display().to_string());
                    found += 1;
                } else if let Some(chore) = line.trim().strip_prefix("cargo xtask ") {
                    let name = chore.split_whitespace().next().unwrap_or_default();
                    assert!(chores.contains(&format!("Some(\"{name}\") =>")), "{}: {line}", path.display());
                    found += 1;
                }
            }
        }
    }
    assert!(found > 50, "{found} commands found");
}

#[test]
fn links_of_all_pages_lead_to_files() {
    let mut found = 0;
    for path in pages() {
        let page = fs::read_to_string(&path).expect("a page");
        let folder = path.parent().expect("a folder");
        for link in page.split("](").skip(1) {
            let target = link.split(')').next().unwrap_or_default().split('#').next().unwrap_or_default();
            if !target.is_empty() && !target.contains("://") {
                assert!(folder.join(target).exists(), "{}: there is no {target}", path.display());
                found += 1;
            }
        }
        // Source files that a page names.
        for name in page.split('`').filter(|name| name.ends_with(".rs") && !name.contains([' ', '*', '\n'])) {
            let is_there = folder.join(name).exists() || root().join(name).exists();
            assert!(!name.contains('/') || is_there, "{}: there is no {name}", path.display());
        }
    }
    assert!(found > 50, "{found} links found");
}
