//! Every rule by its name, from end to end: trained, resumed, evaluated, described. Also invalid combinations, refused
//! by field.

use crate::cli_common;

use clap::ValueEnum;
use clapp_engine::checkpoint::Checkpoint;
use clapp_engine::config::{Config, RuleName};
use clapp_engine::trainer::initial_values;
use cli_common::{CONFIG, refuses, spoilt, succeeds, write_cifar};
use std::fs;
use std::path::Path;

/// [`CONFIG`] without the keys of its rule, and with additional `lines`.
fn config(lines: &str) -> String {
    spoilt("contrast = \"hinge\"\n", &format!("{lines}\n"))
}

fn place(lines: &str) -> tempfile::TempDir {
    let place = tempfile::tempdir().expect("a folder");
    fs::write(place.path().join("tiny.toml"), config(lines)).expect("a file");
    write_cifar(&place.path().join("data"));
    place
}

fn train(place: &Path, more: &[&str]) {
    let mut arguments = vec!["train", "--config", "tiny.toml", "--data", "data", "--out", "out"];
    arguments.extend(more);
    succeeds(place, &arguments);
}

fn checkpoint(place: &Path) -> Checkpoint {
    Checkpoint::read(&place.join("out/checkpoint.safetensors")).expect("a checkpoint")
}

#[test]
fn every_rule_learns_goes_on_and_is_evaluated() {
    for rule in RuleName::value_variants() {
        let place = place("head = { outputs = 8 }");
        let name = rule.name();
        train(place.path(), &["--rule", name, "--epochs", "1"]);
        train(place.path(), &["--rule", name, "--resume"]);
        let whole = fs::read(place.path().join("out/checkpoint.safetensors")).expect("a file");
        let trained = checkpoint(place.path());
        assert_eq!((trained.config.rule, trained.epoch), (*rule, 2));
        let first = initial_values(&trained.config).expect("values");
        for (layer, (trained, first)) in trained.layers.iter().zip(&first).enumerate() {
            assert_ne!(trained.weight, first.weight, "{name}: layer {layer} has learnt");
            assert!(first.head.is_empty() || trained.head != first.head, "{name}: the head has learnt");
        }
        assert_eq!(trained.layers[1].head.len(), if name == "bp-infonce" { 8 * 6 } else { 0 });
        // The same without a stop.
        train(place.path(), &["--rule", name, "--overwrite"]);
        assert!(whole == fs::read(place.path().join("out/checkpoint.safetensors")).expect("a file"), "{name}");
        let text = succeeds(place.path(), &["eval", "out/checkpoint.safetensors", "--data", "data"]);
        assert!(text.contains("selected on the test images") && text.contains(name), "{text}");
        let record = fs::read_to_string(place.path().join("out/probe.json")).expect("a file");
        let record: serde_json::Value = serde_json::from_str(&record).expect("JSON");
        assert_eq!(record["best_selected_on"], "test images");
        let text = succeeds(place.path(), &["info", "--config", "tiny.toml", "--rule", name]);
        assert!(text.contains(name) && text.contains("encoder"), "{text}");
        assert_eq!(text.contains("head 48 parameters"), name == "bp-infonce", "{text}");
        let keeps = name.starts_with("bp-") || ["weight-mirror", "predictive-coding"].contains(&name);
        assert_eq!(text.contains("keeps the latter"), keeps, "{text}");
    }
}

#[test]
fn feedback_below_the_top_is_trained_frozen_or_matched() {
    let place = place("");
    for feedback in ["trained", "frozen", "matched"] {
        train(place.path(), &["--rule", "clapp++dfb", "--feedback", feedback, "--overwrite"]);
        let trained = checkpoint(place.path());
        let first = initial_values(&trained.config).expect("values");
        let changed = |layer: usize| trained.layers[layer].feedback != first[layer].feedback;
        assert_eq!([changed(0), changed(1)], [feedback != "frozen", true], "{feedback}");
        let metrics = fs::read_to_string(place.path().join("out/metrics.csv")).expect("metrics");
        let last: Vec<&str> = metrics.lines().last().expect("a row").split(',').collect();
        let [below, top] = last[last.len() - 2..] else { panic!("two layers") };
        assert_eq!((below.is_empty(), top.is_empty()), (feedback != "matched", true), "{metrics}");
        if feedback == "matched" {
            assert!(below.parse::<f64>().expect("a number") > 0.0);
        }
    }
}

#[test]
fn matrices_that_carry_the_error_stay_as_they_are_and_mirrors_do_not() {
    let place = place("");
    train(place.path(), &["--rule", "dfa"]);
    let trained = checkpoint(place.path());
    let first = initial_values(&trained.config).expect("values");
    assert!(!trained.layers[0].feedback.is_empty() && trained.layers[0].feedback == first[0].feedback);
    assert_ne!(trained.layers[1].feedback, first[1].feedback, "the projection of the top's loss learns");
    train(place.path(), &["--rule", "weight-mirror", "--overwrite"]);
    let trained = checkpoint(place.path());
    let first = initial_values(&trained.config).expect("values");
    assert!(trained.layers[0].mirror.is_empty());
    assert_ne!(trained.layers[1].mirror, first[1].mirror);
    assert_eq!(trained.layers[1].mirror.len(), trained.layers[1].weight.len());
}

#[test]
fn rules_without_kernels_for_gpus_are_refused_there_by_name() {
    let place = place("");
    for rule in ["weight-mirror", "predictive-coding", "clapp++dfb-pc"] {
        let arguments = ["train", "--config", "tiny.toml", "--data", "data", "--rule", rule, "--backend", "emulated"];
        refuses(place.path(), &arguments, &[&format!("rule is {rule}"), "--backend cpu"]);
    }
}

#[test]
fn the_schedule_sets_the_rate_of_each_epoch_and_more_epochs_are_another_schedule() {
    let place = place("schedule = { warmup-cosine = { warmup-epochs = 1, least = 0.0001 } }");
    train(place.path(), &["--epochs", "3"]);
    let metrics = fs::read_to_string(place.path().join("out/metrics.csv")).expect("metrics");
    let rates: Vec<&str> = metrics.lines().skip(1).map(|row| row.split(',').nth(5).expect("a rate")).collect();
    // Warm-up from 0.0001, then 0.001, then halfway down the cosine.
    assert_eq!(rates, ["0.0001", "0.001", "0.00055"]);
    let more = ["train", "--config", "tiny.toml", "--data", "data", "--out", "out", "--epochs", "4", "--resume"];
    refuses(place.path(), &more, &["epochs"]);
}

#[test]
fn what_does_not_go_with_a_rule_is_refused_by_field() {
    let table: [(&str, &str, &[&str]); 42] = [
        ("phyll", "contrast = \"hinge\"", &["contrast", "phyll"]),
        ("scff", "contrast = \"linear\"", &["contrast", "scff"]),
        ("bp-infonce", "contrast = \"hinge\"", &["contrast", "bp-infonce"]),
        ("bp-infonce", "projection = \"frozen\"", &["projection", "bp-infonce"]),
        ("forward-forward", "projection = \"trainable\"", &["projection", "forward-forward"]),
        ("phyll", "pos-coeff = 0.5", &["pos-coeff", "phyll"]),
        ("clapp++", "contrast = \"linear\"\neither = true", &["either", "hinge"]),
        ("scff", "either = true", &["either", "scff"]),
        ("clapp++", "feedback = \"matched\"", &["feedback", "clapp++dfb"]),
        ("clapp++dfb", "feedback = \"frozen\"\nprojection = \"frozen\"", &["feedback", "trainable"]),
        ("clapp++dfb", "feedback = \"guessed\"", &["feedback", "guessed"]),
        ("clapp++both", "negatives-shared = false", &["negatives-shared", "ring"]),
        ("bp-clapp++", "negatives-shared = false", &["negatives-shared", "bp-clapp++"]),
        ("bp-infonce", "head = { outputs = 0 }", &["head.outputs is 0"]),
        ("bp-infonce", "head = { outputs = 8, temperature = 0.0 }", &["head.temperature is 0"]),
        ("clapp++", "schedule = { warmup-cosine = { least = 0.5 } }", &["schedule", "least is 0.5"]),
        ("forward-forward", "contrast = { goodness = { theta = -1.0 } }", &["theta"]),
        ("lpl", "contrast = \"hinge\"", &["contrast", "lpl"]),
        ("lpl", "projection = \"trainable\"", &["projection", "lpl"]),
        ("lpl", "either = true", &["either", "lpl"]),
        ("lpl", "lpl = { decorrelation = -1.0 }", &["lpl.decorrelation is -1"]),
        ("lpl", "lpl = { eps = 0.0 }", &["lpl.eps is 0"]),
        ("lpl", "lpl = { hebb = 1.0 }", &["hebb"]),
        ("soft-hebb", "", &["optimizer", "soft-hebb", "sgd"]),
        ("clapp++", "soft-hebb = { temperature = 0.0 }", &["soft-hebb.temperature is 0"]),
        ("clapp++", "soft-hebb = { start = 0.0 }", &["soft-hebb.start is 0"]),
        ("dfa", "feedback = \"frozen\"", &["feedback", "dfa"]),
        ("dfa", "projection = \"identity\"", &["projection", "dfa"]),
        ("dfa", "negatives-shared = false", &["negatives-shared", "dfa"]),
        ("dfa", "backward = \"checkpointed\"", &["backward", "dfa"]),
        ("clapp++dfb-pc", "feedback = \"matched\"", &["feedback", "clapp++dfb-pc"]),
        ("clapp++", "relaxation = { rate = 0.1 }", &["relaxation", "clapp++"]),
        ("clapp++", "mirror = { rate = 0.1 }", &["mirror", "clapp++"]),
        ("predictive-coding", "relaxation = { iterations = 0 }", &["relaxation.iterations is 0"]),
        ("predictive-coding", "relaxation = { rate = 1.5 }", &["relaxation.rate is 1.5", "at most 1"]),
        ("predictive-coding", "relaxation = { rate = 0.0 }", &["relaxation.rate is 0"]),
        ("predictive-coding", "relaxation = { weight = -1.0 }", &["relaxation.weight is -1"]),
        ("predictive-coding", "relaxation = { speed = 1.0 }", &["speed"]),
        ("weight-mirror", "mirror = { rows = 0 }", &["mirror.rows is 0"]),
        ("weight-mirror", "mirror = { ahead = 1000000000 }", &["mirror.ahead is 1000000000"]),
        ("weight-mirror", "mirror = { amplitude = 0.0 }", &["mirror.amplitude is 0"]),
        ("weight-mirror", "mirror = { decay = 1.5 }", &["mirror.decay is 1.5"]),
    ];
    for (rule, lines, parts) in table {
        let place = place(lines);
        let text = config(lines).replace("rule = \"clapp++\"", &format!("rule = \"{rule}\""));
        fs::write(place.path().join("tiny.toml"), text).expect("a file");
        let parts = [&["tiny.toml"], parts].concat();
        refuses(place.path(), &["train", "--config", "tiny.toml", "--data", "data", "--out", "out"], &parts);
    }
    let place = place("");
    let text = config("").replace("\"ring\"", "{ uniform = 2 }");
    fs::write(place.path().join("tiny.toml"), text).expect("a file");
    refuses(
        place.path(),
        &["train", "--config", "tiny.toml", "--rule", "scff", "--data", "data"],
        &["negatives.uniform"],
    );
}

#[test]
fn infonce_takes_no_weight_decay_from_the_rules_it_is_compared_with() {
    let decayed =
        Config::parse(&CONFIG.replace("lr = 0.001", "lr = 0.001\nweight-decay = 1e-5"), "tiny").expect("fits");
    let optimizer = |rule| decayed.clone().with_rule(rule).optimizer;
    assert_eq!(optimizer(RuleName::ClappPpDfb), decayed.optimizer);
    let plain = Config::parse(CONFIG, "tiny").expect("fits");
    assert_eq!(optimizer(RuleName::BpInfoNce), plain.optimizer);
}

#[test]
fn rules_without_a_contrast_are_trained_on_the_cpu_only() {
    let place = place("");
    for rule in ["lpl", "soft-hebb"] {
        let arguments = ["train", "--config", "tiny.toml", "--data", "data", "--out", "out", "--rule", rule];
        refuses(place.path(), &[&arguments[..], &["--backend", "emulated"]].concat(), &[rule, "--backend cpu"]);
        assert!(!place.path().join("out/checkpoint.safetensors").exists());
        let text = succeeds(place.path(), &["info", "--config", "tiny.toml", "--rule", rule]);
        assert!(text.contains("not on a device (clapp-core)") && text.contains("not on a GPU"), "{text}");
    }
}

#[test]
fn soft_hebb_keeps_no_moments_and_its_weights_go_towards_the_sphere() {
    let place = place("");
    train(place.path(), &["--rule", "soft-hebb", "--epochs", "1"]);
    let metrics = fs::read_to_string(place.path().join("out/metrics.csv")).expect("metrics");
    let distances = |row: &str| -> Vec<f64> {
        row.split(',').skip(3).take(2).map(|text| text.parse().expect("a distance")).collect()
    };
    let rows: Vec<Vec<f64>> = metrics.lines().skip(1).map(distances).collect();
    assert!(rows.iter().flatten().all(|distance| (0.0..30.0).contains(distance)), "{metrics}");
    let bytes = fs::read(place.path().join("out/checkpoint.safetensors")).expect("a file");
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.contains("layer1.weight") && !text.contains("layer1.weight.first"));
    // The settings are kept, and those of a whole file are read back.
    let lines = "soft-hebb = { temperature = 0.5, power = 1.0, start = 2.0 }";
    let config = Config::parse(&config(lines), "tiny").expect("fits").with_rule(RuleName::SoftHebb);
    config.check("tiny").expect("fits");
    assert_eq!(Config::parse(&config.to_toml().expect("text"), "again").expect("fits"), config);
}
