//! The page `docs/embedded.md`: its code, put together, compiles, runs in QEMU, and does what the page says.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// Code blocks of a page by the file that they name in their first line; blocks of one file follow each other.
fn files(page: &str) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    let mut open: Option<&mut String> = None;
    for line in page.lines() {
        if line == "```" {
            open = None;
        } else if let Some((_, name)) = line.strip_prefix("```").and_then(|line| line.split_once(" file=")) {
            open = Some(files.entry(name.to_string()).or_default());
        } else if let Some(file) = &mut open {
            file.push_str(line);
            file.push('\n');
        }
    }
    files
}

/// The first number after `what`.
fn number(text: &str, what: &str) -> u32 {
    let rest = text.split_once(what).unwrap_or_else(|| panic!("no {what:?} in {text}")).1;
    rest.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("{what:?}: {rest}"))
}

#[test]
#[cfg_attr(not(feature = "qemu"), ignore = "needs QEMU: cargo test -p clapp-tests --features qemu")]
fn qemu_runs_what_the_page_on_embedded_learning_builds() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the workspace");
    let page = std::fs::read_to_string(root.join("docs/embedded.md")).expect("the page");
    let folder = tempfile::tempdir().expect("a folder");
    let files = files(&page);
    let names: Vec<&str> = files.keys().map(String::as_str).collect();
    assert_eq!(names, [".cargo/config.toml", "Cargo.toml", "build.rs", "memory.x", "src/main.rs"]);
    for (name, text) in &files {
        // The crate as it is here, not as it was published.
        let (before, after) = ("{ git = \"https://github.com/clapp-learning/clapp\" }", root.join("core"));
        assert_eq!(text.contains(before), name == "Cargo.toml", "{name}");
        let text = text.replace(before, &format!("{{ path = {:?} }}", after.display().to_string()));
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, text).expect("a file");
    }
    // The versions that the workspace is tested with.
    std::fs::copy(root.join("Cargo.lock"), folder.path().join("Cargo.lock")).expect("a lock file");
    let output = Command::new("timeout")
        .args(["600", "cargo", "run", "--release"])
        .current_dir(folder.path())
        .env("CARGO_TARGET_DIR", root.join("target/page"))
        .env("RUSTFLAGS", "-D warnings")
        .output()
        .expect("cargo");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}\n{text}{}", output.status, String::from_utf8_lossy(&output.stderr));
    let (untrained, trained) = (number(&text, "untrained: "), number(&text, "\ntrained: "));
    println!("{untrained} of 500 right untrained, {trained} trained");
    // The page quotes the numbers, which are the same everywhere.
    for line in [format!("untrained: {untrained} of 500 right"), format!("trained: {trained} of 500 right")] {
        assert!(page.contains(&line), "the page does not say {line:?}");
        assert!(text.contains(&line));
    }
    assert!(trained > untrained + 100);
}
