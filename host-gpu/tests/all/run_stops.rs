//! Runs that stop after any step, in this process, and continue to the same bits as undisturbed runs.

use crate::cli_common;

use clapp_data::data::{Split, generated};
use clapp_engine::checkpoint::{DataIdentity, Header};
use clapp_engine::config::Config;
use clapp_engine::distributed::Ranks;
use clapp_engine::run::{Begin, CHECKPOINT, Interval, Outcome, Run};
use clapp_engine::run_info::{DataInfo, RunInfo};
use cli_common::CONFIG;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// 18 images in batches of 4: five steps an epoch, the last with two images.
const STEPS: u64 = 10;

fn images() -> Arc<Split> {
    Arc::new(generated::shapes(1, 18, 0).pretrain)
}

/// Runs in `folder`, and asks the run to stop during step `stop_at`. Calls `hear` after each step, before the
/// checkpoint after it.
fn run_heard(
    config: &Config,
    folder: &Path,
    begin: Begin,
    interval: Interval,
    stop_at: Option<u64>,
    mut hear: impl FnMut(u64),
) -> Outcome<Vec<f32>> {
    let (images, stop) = (images(), AtomicBool::new(false));
    let info = RunInfo::collect(
        config,
        DataInfo { name: "shapes".into(), train_images: 18, test_images: 0, ..DataInfo::default() },
    );
    let data = DataIdentity::of("shapes", &images);
    let run = Run {
        config,
        images: &images,
        data,
        info: &info,
        folder,
        begin,
        interval,
        align_every: None,
        stop: &stop,
        ranks: &Ranks::alone(),
    };
    run.train(|step| {
        stop.store(Some(step.step) == stop_at, Ordering::Relaxed);
        hear(step.step);
    })
    .expect("training")
}

/// Same as [`run_heard`], without a listener.
fn run(config: &Config, folder: &Path, begin: Begin, interval: Interval, stop_at: Option<u64>) -> Outcome<Vec<f32>> {
    run_heard(config, folder, begin, interval, stop_at, |_| {})
}

const EPOCHS_ONLY: Interval = Interval { epochs: Some(1), steps: None, time: None };

fn bytes(folder: &Path) -> Vec<u8> {
    fs::read(folder.join(CHECKPOINT)).expect("a checkpoint")
}

/// [`CONFIG`] with lines replaced.
fn config(changes: &[(&str, &str)]) -> Config {
    let mut text = CONFIG.to_string();
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        text = text.replacen(from, to, 1);
    }
    Config::parse(&text, "changed").expect("a configuration")
}

const ADAMW: &str = "kind = \"adamw\"\nlr = 0.001";
const MOMENTUM: (&str, &str) = (ADAMW, "kind = \"sgd\"\nlr = 0.01\nmomentum = 0.9\nweight-decay = 0.0001");
const PLAIN: (&str, &str) = (ADAMW, "kind = \"sgd\"\nlr = 0.01");
const LARS: (&str, &str) = (ADAMW, "kind = \"lars\"\nlr = 0.3\nweight-decay = 0.0001");
const COSINE: (&str, &str) =
    ("batch = 4", "batch = 4\nschedule = { warmup-cosine = { warmup-epochs = 1, least = 0.001 } }");
const UNIFORM: (&str, &str) = ("\"ring\"", "{ uniform = 2 }");

fn rule(name: &str) -> (&str, String) {
    ("rule = \"clapp++\"", format!("rule = \"{name}\""))
}

#[test]
fn a_run_stopped_after_any_step_goes_on_to_the_same_bytes() {
    let (both, dfb, pooled, global) =
        (rule("clapp++both"), rule("clapp++dfb"), rule("clapp++pooled"), rule("bp-clapp++"));
    let frozen = ("seed = 3", "seed = 3\nprojection = \"frozen\"");
    let matched = ("seed = 3", "seed = 3\nfeedback = \"matched\"");
    let (info_nce, own) = (rule("bp-infonce"), ("contrast = \"hinge\"", "head = { outputs = 8 }"));
    let each = ("seed = 3", "seed = 3\nnegatives-shared = false\neither = true");
    let configs = [
        config(&[(both.0, &both.1), UNIFORM]),
        config(&[(dfb.0, &dfb.1), MOMENTUM]),
        config(&[(pooled.0, &pooled.1), LARS, UNIFORM]),
        config(&[(global.0, &global.1), PLAIN]),
        config(&[frozen]),
        config(&[(dfb.0, &dfb.1), matched, LARS, COSINE]),
        config(&[(info_nce.0, &info_nce.1), own, MOMENTUM]),
        config(&[(both.0, &both.1), each, UNIFORM]),
    ];
    for (number, config) in configs.into_iter().enumerate() {
        let place = tempfile::tempdir().expect("a folder");
        let whole = place.path().join("whole");
        let outcome = run(&config, &whole, Begin::New, EPOCHS_ONLY, None);
        assert!(outcome.finished && outcome.step == STEPS);
        let expected = bytes(&whole);
        // The moments inside an epoch are the same for all; one configuration goes through them one by one.
        for stop_at in (1..STEPS).filter(|step| number == 0 || [1, 4, 5, 8].contains(step)) {
            let folder = place.path().join(format!("stopped-{stop_at}"));
            let stopped = run(&config, &folder, Begin::New, EPOCHS_ONLY, Some(stop_at));
            assert!(!stopped.finished && stopped.step == stop_at);
            assert!(bytes(&folder) != expected);
            let outcome = run(&config, &folder, Begin::Resume, EPOCHS_ONLY, None);
            assert!(outcome.finished);
            assert!(bytes(&folder) == expected, "{:?} stopped after step {stop_at}", config.rule);
            // A row ends with each epoch and with each checkpoint, and none is lost or seen twice.
            let mut ends = vec![stop_at, 5, 10];
            ends.sort_unstable();
            ends.dedup();
            assert_eq!(outcome.metrics.rows().iter().map(|row| row.step).collect::<Vec<_>>(), ends);
        }
    }
}

#[test]
fn checkpoints_inside_an_epoch_change_no_bit_and_metrics_agree_to_the_last_digit() {
    let config = config(&[]);
    let place = tempfile::tempdir().expect("a folder");
    let folder = |name: &str| place.path().join(name);
    let expected = run(&config, &folder("whole"), Begin::New, EPOCHS_ONLY, None);
    let each = Interval { epochs: Some(1), steps: Some(1), time: None };
    let whole = run(&config, &folder("each"), Begin::New, each, None);
    let always = Interval { epochs: Some(1), steps: None, time: Some(Duration::ZERO) };
    run(&config, &folder("always"), Begin::New, always, None);
    for name in ["each", "always"] {
        assert!(bytes(&folder(name)) == bytes(&folder("whole")), "{name}");
    }
    assert_eq!((expected.metrics.rows().len(), whole.metrics.rows().len()), (2, 10));
    // The same run, stopped again and again.
    run(&config, &folder("often"), Begin::New, each, Some(2));
    for stop_at in [3, 4, 5, 9] {
        assert_eq!(run(&config, &folder("often"), Begin::Resume, each, Some(stop_at)).step, stop_at);
    }
    let often = run(&config, &folder("often"), Begin::Resume, each, None);
    assert!(bytes(&folder("often")) == bytes(&folder("whole")));
    assert_eq!(often.metrics.rows().len(), 10);
    for (row, same) in often.metrics.rows().iter().zip(whole.metrics.rows()) {
        let text =
            |values: &[Option<f64>]| values.iter().flatten().map(|value| format!("{value:.6}")).collect::<Vec<_>>();
        assert_eq!((row.epoch, row.step, row.learning_rate), (same.epoch, same.step, same.learning_rate));
        assert_eq!(text(&row.losses), text(&same.losses));
        assert_eq!((text(&row.u_pos), text(&row.u_neg)), (text(&same.u_pos), text(&same.u_neg)));
        assert!(row.u_pos.iter().chain(&row.u_neg).all(Option::is_some), "{row:?}");
    }
}

#[test]
fn checkpoints_are_written_after_the_epochs_asked_for_and_after_the_last() {
    let config = config(&[("epochs = 2", "epochs = 4")]);
    let place = tempfile::tempdir().expect("a folder");
    let mut all = Vec::new();
    for (name, epochs, expected) in
        [("each", Some(1), [0, 1, 2, 3]), ("second", Some(2), [0, 0, 2, 2]), ("none", None, [0; 4])]
    {
        let folder = place.path().join(name);
        // Of the checkpoint that is there during the first step of each epoch.
        let mut found = Vec::new();
        let outcome = run_heard(&config, &folder, Begin::New, Interval { epochs, ..EPOCHS_ONLY }, None, |step| {
            if step % 5 == 1 {
                found.push(Header::read(&folder.join(CHECKPOINT)).expect("a checkpoint").epoch);
            }
        });
        assert_eq!(found, expected, "{name}");
        assert_eq!(outcome.metrics.rows().len(), 4, "{name}");
        all.push(bytes(&folder));
    }
    assert!(all.iter().all(|bytes| *bytes == all[0]));
}

#[test]
fn more_epochs_give_the_bytes_of_a_run_that_was_longer_from_the_start() {
    let place = tempfile::tempdir().expect("a folder");
    let (short, long) = (config(&[]), config(&[("epochs = 2", "epochs = 3")]));
    run(&long, &place.path().join("long"), Begin::New, EPOCHS_ONLY, None);
    let folder = place.path().join("short");
    run(&short, &folder, Begin::New, EPOCHS_ONLY, None);
    assert!(bytes(&folder) != bytes(&place.path().join("long")));
    assert!(run(&long, &folder, Begin::Resume, EPOCHS_ONLY, None).finished);
    assert!(bytes(&folder) == bytes(&place.path().join("long")));
}
