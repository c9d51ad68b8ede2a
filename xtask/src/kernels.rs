//! The own kernels compiled and assembled without a GPU: the compiler comes from PyPI.

use crate::results::{provenance, write};
use crate::{Failed, root, run, venv};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const REQUIREMENTS: &str = "benches/kernels/requirements.txt";
const FOLDER: &str = "target/kernels";
const TABLE: &str = "benches/results/kernels.md";

/// Compiles all kernels and prints what each takes; fails where one spills. `keep` writes the table to
/// `benches/results/kernels.md`; `features` are those of the workspace's other builds, so that little is built anew.
pub fn kernels(keep: bool, features: &[&str]) -> Result<(), Failed> {
    // The packages that these name as needed are headers: the kernels include none.
    let environment = venv::make("kernels", REQUIREMENTS, &["--no-deps"])?;
    let nvidia = venv::packages(&environment)?.join("nvidia");
    let ptxas = find(&nvidia, "bin", "ptxas")?;
    run("cargo", &[&["build", "--workspace", "--bin", "kernels"], features].concat(), &[])?;
    let step = format!("target/debug/kernels --ptxas {} --folder {FOLDER}", ptxas.display());
    println!("\n==> {step}");
    let command = Command::new(root().join("target/debug/kernels"))
        .arg("--ptxas")
        .arg(&ptxas)
        .args(["--folder", FOLDER])
        .env("CLAPP_CUDA_LIBRARIES", &nvidia)
        .current_dir(root())
        .stderr(Stdio::inherit())
        .output();
    let output = command.map_err(|error| Failed(format!("{step}: {error}")))?;
    let table = String::from_utf8_lossy(&output.stdout);
    print!("{table}");
    if !output.status.success() {
        return Err(Failed(format!("{step} ({})", output.status)));
    }
    if keep {
        write(&root().join(TABLE), &document(&table)?)?;
    }
    Ok(())
}

/// The compiler that PyTorch 2.11 brings: what it makes runs under the driver of CUDA 13.0, too.
const OF_PYTORCH: &str = "benches/kernels/requirements-13.0.txt";

/// Compiles all kernels for Hopper GPUs (sm_90) as the program would do it there, for a machine on which there may be no
/// compiler; gives their folder. `program` is the program `kernels`.
pub fn cubins(program: &str) -> Result<PathBuf, Failed> {
    let environment = venv::make("kernels-13.0", OF_PYTORCH, &["--no-deps"])?;
    let nvidia = venv::packages(&environment)?.join("nvidia");
    let libraries = find(&nvidia, "lib", "libnvrtc.so.13")?;
    let folder = root().join(FOLDER).join("cubins");
    if folder.exists() {
        std::fs::remove_dir_all(&folder).map_err(|error| Failed(format!("{}: {error}", folder.display())))?;
    }
    let shown = folder.display().to_string();
    let libraries = libraries.parent().unwrap_or(&nvidia).display().to_string();
    let found = [("CLAPP_CUDA_LIBRARIES", &*libraries), ("LD_LIBRARY_PATH", &*libraries)];
    run(program, &["--cubins", &shown], &found)?;
    Ok(folder)
}

fn document(table: &str) -> Result<String, Failed> {
    let requirements = std::fs::read_to_string(root().join(REQUIREMENTS))
        .map_err(|error| Failed(format!("{REQUIREMENTS}: {error}")))?;
    let versions = requirements.lines().collect::<Vec<_>>().join(", ");
    Ok(format!(
        "# What the own kernels take\n\n`cargo xtask kernels --keep`\n\nCompiled by NVRTC and assembled by ptxas ({versions}), \
         no GPU needed. Registers are a thread's; shared memory is a block's, stack frame and spills a thread's, in bytes, \
         the most of the four variants. Deterministic: compiled with `--fmad=false`. The command fails where a kernel \
         spills, has a stack frame, or has an atomic operation; it tries that first on kernels that do so on purpose.\n\n\
         {table}\n{}\n\nWritten by `cargo xtask kernels --keep`.\n",
        provenance()
    ))
}

/// A file in `nvidia/PACKAGE/FOLDER`.
fn find(nvidia: &Path, folder: &str, name: &str) -> Result<PathBuf, Failed> {
    let places = venv::entries(nvidia).into_iter().map(|package| package.join(folder).join(name));
    let found = places.into_iter().find(|path| path.is_file());
    found.ok_or_else(|| {
        Failed(format!("{REQUIREMENTS}: what it names has no {name} in {}/*/{folder}", nvidia.display()))
    })
}
