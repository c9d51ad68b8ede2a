//! Folders of runs as `clapp train` and `clapp eval` leave them, with numbers that a test knows.
#![allow(dead_code, reason = "every test file uses its own part")]

use clapp_engine::config::{Config, RuleName};
use clapp_engine::probe::ProbeRecord;
use clapp_engine::run_info::{DataInfo, RunInfo};
use serde_json::{Value, json};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// The layers of `cli_common::CONFIG`.
pub const LAYERS: usize = 2;

/// A place with the checkpoints that the runs are given.
pub struct Place {
    folder: tempfile::TempDir,
    base: Config,
}

/// Differences between runs.
#[derive(Clone)]
pub struct Made {
    pub rule: RuleName,
    pub seed: u64,
    pub epochs: u64,
    pub width: f32,
}

impl Default for Made {
    fn default() -> Self {
        Self { rule: RuleName::ClappPp, seed: 3, epochs: 1, width: 1.0 }
    }
}

impl Place {
    /// Trains one epoch of the tiny network through the program, for a checkpoint that is real.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("tiny.toml"), super::cli_common::CONFIG).expect("a file");
        super::cli_common::write_cifar(&folder.path().join("data"));
        let train = ["train", "--config", "tiny.toml", "--data", "data", "--epochs", "1", "--out", "trained"];
        super::cli_common::succeeds(folder.path(), &train);
        let base = Config::read(&folder.path().join("trained/config.toml")).expect("a configuration");
        Self { folder, base }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A run with `run.json`, `config.toml`, a checkpoint of one epoch, and `metrics.csv`.
    pub fn run(&self, name: &str, made: &Made) -> PathBuf {
        let folder = self.path().join(name);
        fs::create_dir_all(&folder).expect("a folder");
        let Made { rule, seed, epochs, width } = made.clone();
        let config = Config { rule, seed, epochs, width, ..self.base.clone() };
        fs::write(folder.join("config.toml"), config.to_toml().expect("text")).expect("a file");
        let data = DataInfo { name: "cifar10".into(), train_images: 20, test_images: 10, ..DataInfo::default() };
        RunInfo::collect(&config, data).write(&folder).expect("written");
        fs::copy(self.path().join("trained/checkpoint.safetensors"), folder.join("checkpoint.safetensors"))
            .expect("a copy");
        fs::write(folder.join("metrics.csv"), metrics(seed)).expect("a file");
        folder
    }

    pub fn clapp(&self, arguments: &[&str]) -> String {
        super::cli_common::succeeds(self.path(), arguments)
    }

    pub fn page(&self, arguments: &[&str]) -> String {
        self.clapp(&[&["report", "--out", "report.html"], arguments].concat());
        fs::read_to_string(self.path().join("report.html")).expect("a page")
    }
}

/// The last loss of a layer in [`metrics`], as the page writes it.
pub fn final_loss(seed: u64, layer: usize) -> String {
    format!("{:.4}", loss(seed, layer, 40))
}

fn loss(seed: u64, layer: usize, row: u64) -> f64 {
    1.0 + 1.0 / (1.0 + row as f64 / 9.0) + 0.01 * seed as f64 + 0.1 * layer as f64
}

/// Forty rows whose losses fall, at 100 images a second and the seed.
pub fn metrics(seed: u64) -> String {
    let mut text = String::from(
        "epoch,step,images_per_second,loss_layer0,loss_layer1,learning_rate,u_pos_layer0,u_pos_layer1,\
         u_neg_layer0,u_neg_layer1,mismatch_layer0,mismatch_layer1\n",
    );
    for row in 1..=40 {
        let (step, speed) = (row * 50, 100 + seed);
        let _ =
            writeln!(text, "0,{step},{speed}.0,{:.6},{:.6},0.001,0,0,0,0,,", loss(seed, 0, row), loss(seed, 1, row));
    }
    text
}

/// The accuracy of a head after the last epoch and after the best one; head 0 reads all layers.
pub fn accuracy(seed: u64, head: usize) -> (f64, f64) {
    let last = (2000 + 47 * seed + 311 * head as u64) as f64 / 10_000.0;
    (last, last + 0.0123)
}

/// Writes a probe of the encoder after one epoch.
pub fn write_probe(folder: &Path, cached: bool, seed: u64) {
    let head = |index: usize| -> Value {
        let (last, best) = accuracy(seed, index);
        json!({ "last": last, "best": best, "classes": [last, last], "epochs": [0.2, best, last] })
    };
    let layers: Vec<Value> = (1..=LAYERS).map(head).collect();
    let record = json!({
        "format": "clapp-probe/1", "encoder_epochs": 1, "data": "cifar10", "class_names": ["one", "two"],
        "cached": cached, "epochs": 3, "train_images": 20, "test_images": 10, "all": head(0), "layers": layers,
    });
    let file = folder.join(if cached { "probe-cached.json" } else { "probe.json" });
    let text = serde_json::to_string_pretty(&record).expect("JSON");
    fs::write(&file, text).expect("written");
    assert!(ProbeRecord::read(&file).is_ok(), "as the program writes it");
}

/// The parts of `text` between `from` and the next `to`.
pub fn between<'a>(text: &'a str, from: &str, to: &str) -> Vec<&'a str> {
    text.split(from).skip(1).filter_map(|rest| Some(rest.split_once(to)?.0)).collect()
}
