//! Our training step beside PyTorch's, and its cost over depth and batch.

use crate::results::{provenance, write};
use crate::{Failed, root, run, venv};
use std::process::{Command, Stdio};

/// Runs both programs and writes `benches/results/pytorch.md`.
pub fn peers() -> Result<(), Failed> {
    let python = format!("{}/bin/python", venv::make("peers", "benches/peers/requirements.txt", &[])?);
    build()?;
    let arguments = ["--python", &python, "--script", "benches/peers/pytorch_step.py", "--folder", "target/peers"]
        .map(String::from);
    let table = printed("target/release/peers", &arguments)?;
    let text = format!(
        "# One CLAPP++ step beside PyTorch\n\nVGG-6 on frames of 32x32, 32 images (64 rows), spatial projections, hinge, \
         ring negatives, AdamW, two threads. PyTorch runs `benches/peers/pytorch_step.py`: the same step by autograd with \
         detached blocks, channels-last convolutions, fused AdamW. Both start from the same values on the same batch, take \
         turns in one run, and their losses agree.\n\n`cargo xtask peers`\n\n{table}\n\"By tiles\": with the sixteen \
         products of F(2x2, 3x3) in place of thirty-six. AdamW reads and writes each parameter and its two moments.\n\n{}\n",
        provenance()
    );
    write(&root().join("benches/results/pytorch.md"), &text)
}

/// Measures all points and writes `benches/results/cost.md` and `cost.svg`.
pub fn cost() -> Result<(), Failed> {
    build()?;
    let table = printed("target/release/cost", &["--svg", "benches/results/cost.svg"].map(String::from))?;
    let text = format!(
        "# Cost over depth and batch\n\nA plain stack of 64 channels on 16x16 maps, AdamW, two threads; `bp-clapp++` \
         back-propagates the top layer's loss. Picture: [cost.svg](cost.svg).\n\n`cargo xtask cost`\n\n{table}\n{}\n",
        provenance()
    );
    write(&root().join("benches/results/cost.md"), &text)
}

fn build() -> Result<(), Failed> {
    run("cargo", &["build", "--release", "--package", "clapp-benches", "--bins"], &[])
}

/// Runs a program in the root folder and gives what it printed.
fn printed(program: &str, arguments: &[String]) -> Result<String, Failed> {
    let step = format!("{program} {}", arguments.join(" "));
    println!("\n==> {step}");
    let command = Command::new(program).args(arguments).current_dir(root()).stderr(Stdio::inherit()).output();
    let output = command.map_err(|error| Failed(format!("{step}: {error}")))?;
    if !output.status.success() {
        return Err(Failed(format!("{step} ({})", output.status)));
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    print!("{text}");
    Ok(text)
}
