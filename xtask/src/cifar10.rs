//! The table of rules on CIFAR-10: every rule trained and probed alike, through the program.

use crate::results::{provenance, write};
use crate::{Failed, cargo, root};
use std::fmt::Write;
use std::path::Path;

/// Name in the table, rule, epochs.
const ROWS: [(&str, &str, &str, &str); 6] = [
    ("untrained encoder", "untrained", "clapp++", "0"),
    ("CLAPP++ pooled (no spatial dependence)", "clapp++pooled", "clapp++pooled", EPOCHS),
    ("CLAPP++", "clapp++", "clapp++", EPOCHS),
    ("CLAPP++DFB", "clapp++dfb", "clapp++dfb", EPOCHS),
    ("CLAPP++both", "clapp++both", "clapp++both", EPOCHS),
    ("BP-CLAPP++ (back-propagation)", "bp-clapp++", "bp-clapp++", EPOCHS),
];

const EPOCHS: &str = "10";
const IMAGES: &str = "20000";
const WIDTH: &str = "0.25";
/// Epochs of the paper's probe, augmented anew in each, and of the cached one.
const PROBE_EPOCHS: &str = "8";
const CACHED_EPOCHS: &str = "30";
const FOLDER: &str = "out/cifar10";

/// Trains what is not trained yet, probes what is not probed yet, writes the table.
pub fn run(data: &str) -> Result<(), Failed> {
    let mut table = format!(
        "# CIFAR-10: local rules and back-propagation\n\n\
         VGG-6 at width {WIDTH}, the first {IMAGES} training images, {EPOCHS} epochs, batches of 32 pairs, AdamW 2e-4, \
         ring negatives, hinge, seed 2. Linear probe of block-pooled features on the 10,000 test images: by the paper's \
         protocol (images augmented anew each epoch) for {PROBE_EPOCHS} epochs instead of 300, and on cached features \
         without augmentation for {CACHED_EPOCHS} epochs.\n\n\
         | encoder | all layers, last epoch | best epoch (selected on the test images) | layers 0 to 5 alone | cached, \
         last epoch | cached, best epoch |\n\
         |---|---|---|---|---|---|\n"
    );
    for (name, folder, rule, epochs) in ROWS {
        let out = format!("{FOLDER}/{folder}");
        let checkpoint = format!("{out}/checkpoint.safetensors");
        let probe = format!("{out}/probe.json");
        if !root().join(&out).join("done").is_file() {
            let train = ["run", "--release", "--quiet", "--", "train", "--preset", "cifar10", "--data", data];
            let train = [&train[..], &["--out", &out, "--resume"]].concat();
            let settings = ["--rule", rule, "--epochs", epochs, "--images", IMAGES, "--width", WIDTH];
            cargo(&[&train[..], &settings[..]].concat())?;
            write(&root().join(&out).join("done"), "")?;
        }
        let cached = format!("{out}/probe-cached.json");
        for (json, settings) in
            [(&probe, &["--epochs", PROBE_EPOCHS][..]), (&cached, &["--cached", "--epochs", CACHED_EPOCHS][..])]
        {
            if !root().join(json).is_file() {
                let eval = ["run", "--release", "--quiet", "--", "eval", &checkpoint, "--data", data, "--json", json];
                cargo(&[&eval[..], settings].concat())?;
            }
        }
        row(&mut table, name, &root().join(&probe), &root().join(&cached))?;
    }
    let _ = write!(table, "\n{}\n\nWritten by `cargo xtask cifar10 DATA`.\n", provenance());
    write(&root().join("benches/results/cifar10.md"), &table)?;
    println!("\n{table}");
    Ok(())
}

/// One row of the table from the probes' results.
fn row(table: &mut String, name: &str, probe: &Path, cached: &Path) -> Result<(), Failed> {
    let (all, layers) = read(probe)?;
    let (all_cached, _) = read(cached)?;
    let layers: Vec<&str> = layers.iter().map(|[last, _]| last.as_str()).collect();
    let layers = layers.join(", ");
    let _ = writeln!(
        table,
        "| {name} | {} % | {} % | {layers} | {} % | {} % |",
        all[0], all[1], all_cached[0], all_cached[1]
    );
    Ok(())
}

/// Accuracies in per cent, after the last and after the best epoch: of all layers together, and of each alone.
fn read(probe: &Path) -> Result<([String; 2], Vec<[String; 2]>), Failed> {
    let wrong = |reason: String| Failed(format!("{}: {reason}", probe.display()));
    let text = std::fs::read_to_string(probe).map_err(|error| wrong(error.to_string()))?;
    let report: serde_json::Value = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    let percent = |accuracy: &serde_json::Value, field: &str| {
        let share = accuracy.get(field).and_then(serde_json::Value::as_f64);
        share.map(|share| format!("{:.2}", 100.0 * share)).ok_or_else(|| wrong(format!("no {field}")))
    };
    let both = |accuracy: &serde_json::Value| Ok([percent(accuracy, "last")?, percent(accuracy, "best")?]);
    let all = report.get("all").ok_or_else(|| wrong("no field all".into()))?;
    let layers = report.get("layers").and_then(serde_json::Value::as_array);
    let layers = layers.ok_or_else(|| wrong("no field layers".into()))?;
    Ok((both(all)?, layers.iter().map(both).collect::<Result<_, Failed>>()?))
}
