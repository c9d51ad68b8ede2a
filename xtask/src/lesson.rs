//! The worth of learning on the emulated device, through `clapp device`, over several seeds.

use crate::results::{provenance, write};
use crate::{Failed, firmware, root};
use std::fmt::Write;
use std::process::Command;

const SEEDS: std::ops::RangeInclusive<u32> = 1..=5;

/// The number before ` %` in the line that begins so.
fn percent(text: &str, begin: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(begin)?.trim().split(' ').next()?.parse().ok())
}

/// Accuracy before and after learning.
fn lesson(data: &str, seed: &str) -> Result<[f64; 2], Failed> {
    let settings = ["--data", data, "--seed", seed, "--reset", seed, "--test", "500"];
    println!("\n==> clapp device --qemu {}", settings.join(" "));
    let output = Command::new("cargo")
        .args(["run", "--release", "--quiet", "--", "device", "--qemu"])
        .args(settings)
        .current_dir(root())
        .output()
        .map_err(|error| Failed(format!("cargo: {error}")))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let numbers = [percent(&text, "before learning:"), percent(&text, "after learning:")];
    let same = text.contains("replay on the host: the same to the last bit");
    match numbers {
        [Some(before), Some(after)] if output.status.success() && same => {
            println!("{before} % -> {after} %");
            Ok([before, after])
        }
        _ => {
            Err(Failed(format!("clapp device ({})\n{text}{}", output.status, String::from_utf8_lossy(&output.stderr))))
        }
    }
}

/// Mean, and its standard error.
fn mean(values: &[f64]) -> [f64; 2] {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0);
    [mean, (variance / count).sqrt()]
}

/// Runs all lessons on the generated set and on `data`, and writes `benches/results/device.md`.
pub fn run(data: &str) -> Result<(), Failed> {
    firmware::build()?;
    let mut text = String::from(
        "# Learning on the emulated device\n\n`cargo xtask lesson DATA`\n\n\
         2,000 frames without labels (1,000 images, two views each) are streamed to the firmware in QEMU (Cortex-M4F); \
         before and after, a nearest-mean read-out learns from 10 labelled images a class and is tested on 500 held-back \
         images. Each seed has weights and images of its own. In each run the host's replay of the same log came to the \
         same weights, to the last bit.\n",
    );
    for (name, data) in [("generated shapes", "generated"), ("CIFAR-10 in grey", data)] {
        let _ = write!(text, "\n| {name}, seed | before | after |\n|---|---|---|\n");
        let mut gains = Vec::new();
        for seed in SEEDS {
            let [before, after] = lesson(data, &seed.to_string())?;
            let _ = writeln!(text, "| {seed} | {before:.1} % | {after:.1} % |");
            gains.push(after - before);
        }
        let [gain, error] = mean(&gains);
        let _ = writeln!(text, "\nGain: {gain:+.1} ± {error:.1} (standard error of the mean) percentage points.");
    }
    let _ = write!(text, "\n{}\n\nWritten by `cargo xtask lesson`.\n", provenance());
    print!("{text}");
    write(&root().join("benches/results/device.md"), &text)
}
