//! Virtual environments of Python, made once in `target/` and kept until what they need changes.

use crate::{Failed, root, run};
use std::path::{Path, PathBuf};

/// Makes the environment `target/NAME/venv` with what a file of the repository lists, and returns its folder, relative to
/// the root. `options` are pip's.
pub fn make(name: &str, requirements: &str, options: &[&str]) -> Result<String, Failed> {
    let folder = format!("target/{name}/venv");
    let stamp = root().join(&folder).join("requirements.txt");
    let wanted = read(&root().join(requirements))?;
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(folder);
    }
    run("python3", &["-m", "venv", "--clear", &folder], &[])
        .map_err(|Failed(step)| Failed(format!("{step}; `cargo xtask tools` installs what it needs")))?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement", requirements];
    run(&format!("{folder}/bin/python"), &[&pip[..], options].concat(), &[])?;
    // Last, so that an environment that was interrupted is made again.
    std::fs::write(&stamp, wanted).map_err(|error| Failed(format!("{}: {error}", stamp.display())))?;
    Ok(folder)
}

/// The folder of the environment's packages.
pub fn packages(folder: &str) -> Result<PathBuf, Failed> {
    let library = root().join(folder).join("lib");
    let found = entries(&library).into_iter().map(|python| python.join("site-packages")).find(|path| path.is_dir());
    found.ok_or_else(|| Failed(format!("{} has no folder pythonX/site-packages", library.display())))
}

/// The entries of a folder, by name.
pub fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = folder.read_dir().into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn read(path: &Path) -> Result<String, Failed> {
    std::fs::read_to_string(path).map_err(|error| Failed(format!("{}: {error}", path.display())))
}
