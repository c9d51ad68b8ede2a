//! Tables of rules on a data set: every rule trained and probed alike, through the program.

use crate::results::{provenance, write};
use crate::{Failed, cargo, root};
use std::fmt::Write;
use std::path::Path;

/// A table: what is trained, and for how long.
struct Table {
    /// Name on the command line and of the file in `benches/results/`.
    name: &'static str,
    title: &'static str,
    preset: &'static str,
    width: &'static str,
    /// The first so many training images.
    images: &'static str,
    epochs: &'static str,
    /// Epochs of the paper's probe, augmented anew in each, and of the cached one.
    probe_epochs: &'static str,
    cached_epochs: &'static str,
    /// Rules, beside the untrained encoder.
    rules: &'static [&'static str],
}

const SHORT: &[&str] = &["clapp++", "clapp++dfb", "bp-infonce"];

const TABLES: [Table; 4] = [
    Table {
        name: "cifar10",
        title: "CIFAR-10: local rules and back-propagation",
        preset: "cifar10",
        width: "0.25",
        images: "20000",
        epochs: "10",
        probe_epochs: "8",
        cached_epochs: "30",
        rules: &["clapp++pooled", "clapp++", "clapp++dfb", "clapp++both", "bp-clapp++", "bp-infonce"],
    },
    Table {
        name: "cifar10-short",
        title: "CIFAR-10, ten minutes",
        preset: "cifar10",
        width: "0.25",
        images: "4000",
        epochs: "5",
        probe_epochs: "5",
        cached_epochs: "10",
        rules: SHORT,
    },
    Table {
        name: "tiny-imagenet-short",
        title: "Tiny ImageNet, short",
        preset: "tiny-imagenet",
        width: "0.25",
        images: "10000",
        epochs: "3",
        probe_epochs: "3",
        cached_epochs: "10",
        rules: SHORT,
    },
    Table {
        name: "stl10-short",
        title: "STL-10, short",
        preset: "stl10",
        width: "0.125",
        images: "5000",
        epochs: "3",
        probe_epochs: "3",
        cached_epochs: "10",
        rules: SHORT,
    },
];

/// The names of all tables.
pub fn names() -> String {
    TABLES.map(|table| table.name).join(", ")
}

/// Trains what is not trained yet, probes what is not probed yet, writes the table.
pub fn run(name: &str, data: &str) -> Result<(), Failed> {
    let Some(table) = TABLES.iter().find(|table| table.name == name) else {
        return Err(Failed(format!("no table {name}, expected one of {}", names())));
    };
    let Table { title, preset, width, images, epochs, probe_epochs, cached_epochs, .. } = table;
    let mut text = format!(
        "# {title}\n\nPreset `{preset}` at width {width}, the first {images} training images, {epochs} epochs, seed of \
         the preset. Linear probe of block-pooled features on the test images: by the paper's protocol (images augmented \
         anew each epoch) for {probe_epochs} epochs instead of the paper's, and on cached features without augmentation \
         for {cached_epochs} epochs.\n\n\
         | encoder | all layers, last epoch | best epoch (selected on the test images) | each layer alone | cached, \
         last epoch | cached, best epoch |\n\
         |---|---|---|---|---|---|\n"
    );
    for (row_name, rule, epochs) in std::iter::once(("untrained encoder", "clapp++", &"0"))
        .chain(table.rules.iter().map(|rule| (*rule, *rule, epochs)))
    {
        let folder = if *epochs == "0" { "untrained" } else { rule };
        let out = format!("out/tables/{name}/{folder}");
        let checkpoint = format!("{out}/checkpoint.safetensors");
        if !root().join(&out).join("done").is_file() {
            let train = ["run", "--release", "--quiet", "--", "train", "--preset", preset, "--data", data];
            let train = [&train[..], &["--out", &out, "--resume"]].concat();
            let settings = ["--rule", rule, "--epochs", epochs, "--images", images, "--width", width];
            cargo(&[&train[..], &settings[..]].concat())?;
            write(&root().join(&out).join("done"), "")?;
        }
        let [probe, cached] = ["probe.json", "probe-cached.json"].map(|file| format!("{out}/{file}"));
        for (json, settings) in
            [(&probe, &["--epochs", probe_epochs][..]), (&cached, &["--cached", "--epochs", cached_epochs][..])]
        {
            if !root().join(json).is_file() {
                let eval = ["run", "--release", "--quiet", "--", "eval", &checkpoint, "--data", data];
                cargo(&[&eval[..], settings].concat())?;
            }
        }
        row(&mut text, row_name, &root().join(&probe), &root().join(&cached))?;
    }
    let _ = write!(text, "\n{}\n\nWritten by `cargo xtask table {name} DATA`.\n", provenance());
    write(&root().join(format!("benches/results/{name}.md")), &text)?;
    println!("\n{text}");
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
