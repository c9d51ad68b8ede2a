//! The tables of `gpu.md`, made from the files that the parts have written.

use super::accuracy::Trained;
use super::bounds::{Beside, Bound, beside, bounds};
use super::checks::Check;
use super::machine::Machine;
use super::rows::Speed;
use super::{Kept, Made};
use crate::Failed;
use serde::de::DeserializeOwned;
use std::fmt::Write;
use std::path::Path;

/// The whole document, of what there is.
pub fn document(results: &Path) -> Result<String, Failed> {
    let mut text = String::from("# On a GPU\n\n`cargo xtask gpu`\n");
    text += &section(results, "machine", of_machine)?;
    text += &section(results, "parity", |checks: &Vec<Check>| of_checks(checks))?;
    text += &section(results, "speed", |speed: &Speed| of_speed(speed) + &of_bounds(&bounds(speed)))?;
    text += &section(results, "accuracy", |trained: &Vec<Trained>| of_accuracy(trained))?;
    text += "\nWritten by `cargo xtask gpu`.\n";
    Ok(text)
}

/// A part's results as text, with their origin; nothing if the part has not run.
fn section<T: DeserializeOwned>(results: &Path, name: &str, show: impl Fn(&T) -> String) -> Result<String, Failed> {
    let path = results.join(format!("gpu-{name}.json"));
    if !path.is_file() {
        return Ok(String::new());
    }
    let wrong = |reason: String| Failed(format!("{}: {reason}", path.display()));
    let text = std::fs::read_to_string(&path).map_err(|error| wrong(error.to_string()))?;
    let Kept { made, results } = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    let Made { dry_run, backend, gpu, commit, date } = made;
    let gpu = gpu.unwrap_or_else(|| "no GPU".into());
    let dry = if dry_run { " **A dry run: no number is a measurement.**" } else { "" };
    Ok(format!("{}\nOn {gpu}, backend {backend}, {date}, commit {commit}.{dry}\n", show(&results)))
}

fn of_machine(machine: &Machine) -> String {
    let known = |value: &Option<String>| value.clone().unwrap_or_else(|| "unknown".into());
    format!(
        "\n## Machine\n\nDriver {}, memory {}. PyTorch {} (CUDA {}, cuDNN {}).\n\n```text\n{}\n```\n",
        known(&machine.driver),
        known(&machine.memory),
        known(&machine.torch),
        known(&machine.torch_cuda),
        known(&machine.torch_cudnn),
        machine.doctor.trim_end()
    )
}

fn of_checks(checks: &[Check]) -> String {
    let mut text = String::from(
        "\n## The same numbers\n\n| check | outcome | last line | seconds | command |\n|---|---|---|---|---|\n",
    );
    for check in checks {
        let outcome = match (check.passed, check.required) {
            (None, _) => "not run",
            (Some(true), true) => "passed",
            (Some(false), true) => "**FAILED**",
            (Some(true), false) => "within the limits of f32",
            (Some(false), false) => "told only",
        };
        let summary = check.summary.replace('|', "\\|");
        let _ =
            writeln!(text, "| {} | {outcome} | {summary} | {:.1} | `{}` |", check.name, check.seconds, check.command);
    }
    text
}

/// A number with so many decimals, or that it is missing.
fn number(value: Option<f64>, decimals: usize) -> String {
    value.map_or_else(|| "not measured".into(), |value| format!("{value:.decimals$}"))
}

fn milliseconds(seconds: Option<f64>) -> String {
    number(seconds.map(|seconds| 1e3 * seconds), 2)
}

fn mebibytes(bytes: Option<u64>) -> String {
    number(bytes.map(|bytes| bytes as f64 / f64::from(1 << 20)), 0)
}

fn of_speed(speed: &Speed) -> String {
    let mut text = String::from(
        "\n## Speed and peak memory\n\nVGG-6, ours beside PyTorch on the same GPU in the same run: our fastest precision \
         beside PyTorch's fastest variant; peak memory is the smallest of each side (PyTorch: what its allocator had handed \
         out).\n\n\
         | size | batch | rule | our step, ms | PyTorch's step, ms | times | our step with data, ms | PyTorch's, ms | times \
         | our peak, MiB | PyTorch's, MiB | part |\n|---|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for row in beside(speed) {
        let Beside { case, ours, theirs, .. } = &row;
        let step = ours.as_ref().map(|row| row.seconds_per_step);
        let their_step = theirs.as_ref().and_then(|row| row.seconds_per_step);
        let out_of_memory = speed.theirs.iter().any(|row| row.case() == *case && row.error.is_some());
        let their_step = match their_step {
            None if out_of_memory => "out of memory".into(),
            seconds => milliseconds(seconds),
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {}{} | {their_step}{} | {} | {} | {} | {} | {} | {} | {} |",
            case.size,
            case.batch,
            case.rule,
            milliseconds(step),
            ours.as_ref().map_or_else(String::new, |row| format!(" ({})", row.precision)),
            theirs.as_ref().map_or_else(String::new, |row| format!(" ({})", row.variant)),
            number(row.step_ratio(), 2),
            milliseconds(row.our_end_to_end),
            milliseconds(row.their_end_to_end),
            number(row.end_to_end_ratio(), 2),
            mebibytes(row.our_peak),
            mebibytes(row.their_peak),
            number(row.memory_ratio(), 3)
        );
    }
    text += &floors(speed);
    text += &theirs(speed);
    for (title, lines) in [("Failed", &speed.failures), ("Not measured", &speed.not_measured)] {
        if !lines.is_empty() {
            let _ = write!(text, "\n{title}:\n\n");
            lines.iter().for_each(|line| {
                let _ = writeln!(text, "- {}", line.lines().next().unwrap_or_default());
            });
        }
    }
    text
}

/// Each of our rows with its floor.
fn floors(speed: &Speed) -> String {
    let mut text = String::from(
        "\nAll rows of ours, with the floor: the larger of FLOPs at the rate of a large product or convolution, and bytes at the rate of a copy, both measured in the same run.\n\n",
    );
    match &speed.ceilings {
        None => text += "The ceilings of the device were not measured.\n\n",
        Some(ceilings) => {
            let tera = |precision| number(ceilings.flops(precision).map(|flops| flops / 1e12), 1);
            let _ = write!(
                text,
                "{}: {} TFLOP/s in f32, {} in TF32, {} in bf16; {:.0} GB/s read and written.\n\n",
                ceilings.device,
                tera("f32"),
                tera("tf32"),
                tera("bf16"),
                ceilings.copy_bytes_per_second / 1e9
            );
        }
    }
    text += "| size | batch | rule | precision | step, ms | images/s | floor, ms | share of the floor | peak, MiB | predicted, MiB |\n|---|---|---|---|---|---|---|---|---|---|\n";
    for row in &speed.ours {
        let floor = speed.ceilings.as_ref().and_then(|ceilings| ceilings.floor(row));
        let case = row.case();
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {:.0} | {} | {} | {} | {} |",
            case.size,
            case.batch,
            case.rule,
            row.precision,
            milliseconds(Some(row.seconds_per_step)),
            row.images_per_second,
            milliseconds(floor),
            number(floor.map(|floor| floor / row.seconds_per_step), 2),
            mebibytes(Some(row.peak_bytes)),
            mebibytes(Some(row.predicted_bytes))
        );
    }
    text
}

/// Each row of PyTorch's.
fn theirs(speed: &Speed) -> String {
    let mut text = String::from(
        "\nAll rows of PyTorch's:\n\n| size | batch | rule | variant | mode | step, ms | peak, MiB | reserved, MiB |\n|---|---|---|---|---|---|---|---|\n",
    );
    for row in &speed.theirs {
        let workers = row.workers.map_or_else(String::new, |workers| format!(", {workers} workers"));
        let seconds = row.error.clone().unwrap_or_else(|| milliseconds(row.seconds_per_step));
        let without = |what: &str, why: &Option<String>| {
            why.as_ref().map_or_else(String::new, |why| format!(" (no {what}: {})", why.replace('|', "\\|")))
        };
        let without = without("compiler", &row.without_compiler) + &without("graph", &row.without_graph);
        let [peak, reserved] = [row.peak_bytes, row.reserved_bytes].map(mebibytes);
        let _ = writeln!(
            text,
            "| {} | {} | {} | {}{without} | {}{workers} | {seconds} | {peak} | {reserved} |",
            row.size, row.batch, row.rule, row.variant, row.mode
        );
    }
    text
}

fn of_bounds(bounds: &[Bound]) -> String {
    let mut text = String::from("\n## Bounds\n\n| bound | value | must be | kept |\n|---|---|---|---|\n");
    for bound in bounds {
        let kept = match bound.kept {
            Some(true) => "yes",
            Some(false) => "**no**",
            None => "not measured",
        };
        let _ = writeln!(text, "| {} | {} | {} | {kept} |", bound.what, number(bound.value, 3), bound.bound);
    }
    text
}

fn of_accuracy(all: &[Trained]) -> String {
    let mut text = String::from(
        "\n## CIFAR-10\n\nVGG-6, batch 32; linear probe on the 10,000 test images. Published: after 300 epochs of training and \
         300 of the probe.\n\n\
         | rule | epochs trained | probe | epochs of the probe | all layers | each layer | published |\n|---|---|---|---|---|---|---|\n",
    );
    for trained in all {
        for probe in &trained.probes {
            let layers: Vec<String> = probe.layers.iter().map(|layer| format!("{layer:.2}")).collect();
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {:.2} % | {} | {:.2} % |",
                trained.rule,
                probe.encoder_epochs,
                if probe.cached { "cached features" } else { "the paper's" },
                probe.probe_epochs,
                probe.all_layers,
                layers.join(", "),
                trained.published
            );
        }
    }
    for trained in all {
        let _ = write!(
            text,
            "\n{}: {} images/s while training; mean loss of the layers:\n\n| epoch | loss |\n|---|---|\n",
            trained.rule,
            number(trained.images_per_second, 0)
        );
        for (epoch, loss) in &trained.losses {
            let _ = writeln!(text, "| {epoch} | {loss:.4} |");
        }
        trained.commands.iter().for_each(|command| {
            let _ = write!(text, "\n`{command}`\n");
        });
        trained.failures.iter().for_each(|failure| {
            let _ = write!(text, "\n**{}**\n", failure.lines().next().unwrap_or_default());
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::accuracy::Probe;
    use super::super::bounds::tests::{speed, theirs};
    use super::*;
    use crate::results::write;

    fn keep(folder: &Path, name: &str, results: impl serde::Serialize) {
        let made = Made {
            dry_run: false,
            backend: "cuda".into(),
            gpu: Some("a GPU".into()),
            commit: "abc".into(),
            date: "2026-01-02".into(),
        };
        let text = serde_json::to_string(&Kept { made, results }).expect("text");
        write(&folder.join(format!("gpu-{name}.json")), &text).unwrap_or_else(|Failed(why)| panic!("{why}"));
    }

    fn text(folder: &Path) -> String {
        document(folder).unwrap_or_else(|Failed(why)| panic!("{why}"))
    }

    #[test]
    fn tables_are_made_of_what_there_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let nothing = text(folder.path());
        assert!(!nothing.contains("## "), "{nothing}");
        let mut speed = speed();
        speed.theirs.push(theirs("clapp++both", "as-is", "step", None, 0));
        speed.not_measured.push("the rest".into());
        keep(folder.path(), "speed", &speed);
        let measured = text(folder.path());
        let row = "| 96 | 32 | clapp++ | 7.81 (bf16) | 11.72 (best) | 1.50 | 9.77 | 29.30 | 3.00 | 0 | 0 | 0.600 |";
        assert!(measured.contains(row), "{measured}");
        assert!(measured.contains("| clapp++both | not measured | out of memory | not measured |"), "{measured}");
        assert!(measured.contains("500.0 in TF32, 800.0 in bf16; 1000 GB/s") && measured.contains("- the rest"));
        // 1e12 operations at 500 TFLOP/s take 2 ms of 12.
        assert!(measured.contains("| tf32 | 12.00 | 2667 | 2.00 | 0.17 |"), "{measured}");
        assert!(
            measured.contains("| step, times PyTorch's best: clapp++, 96x96, batch 32 | 1.500 | at least 1.5 | yes |")
        );
        assert!(measured.contains("On a GPU, backend cuda, 2026-01-02, commit abc.") && !measured.contains("CIFAR-10"));
    }

    #[test]
    fn a_trained_encoder_has_its_accuracy_and_its_curve() {
        let folder = tempfile::tempdir().expect("a folder");
        let probe = Probe {
            encoder_epochs: 12,
            probe_epochs: "10".into(),
            cached: false,
            all_layers: 61.234,
            layers: vec![50.0, 55.5],
        };
        let trained = Trained {
            rule: "clapp++dfb".into(),
            published: 80.65,
            commands: vec!["clapp train".into()],
            probes: vec![probe],
            losses: vec![(0.5, 1.75)],
            images_per_second: None,
            failures: vec!["clapp eval (exit status: 1)\nlines".into()],
        };
        keep(folder.path(), "accuracy", [trained]);
        let text = text(folder.path());
        let row = "| clapp++dfb | 12 | the paper's | 10 | 61.23 % | 50.00, 55.50 | 80.65 % |";
        assert!(text.contains(row) && text.contains("| 0.5 | 1.7500 |"), "{text}");
        assert!(text.contains("**clapp eval (exit status: 1)**") && text.contains("not measured images/s"), "{text}");
    }

    #[test]
    fn a_file_that_is_no_result_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        keep(folder.path(), "parity", [3]);
        assert!(matches!(document(folder.path()), Err(Failed(why)) if why.contains("gpu-parity.json")));
    }
}
