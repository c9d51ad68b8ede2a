//! The experiment from end to end, small.
#![allow(clippy::unwrap_used)]

use super::learners::{KEPT, PRETRAINED, RANDOM, STREAMING};
use super::*;
use crate::continual::heads::Head;
use crate::continual::stream::Size;
use crate::paper::Verdict;
use clap::Parser;
use clapp_data::data::generated;
use clapp_gpu::choice::BackendArguments;
use std::path::Path;
use std::sync::Arc;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    backend: BackendArguments,
}

fn setting(folder: &Path, sets: Vec<Dataset>) -> Setting {
    let backend = Line::parse_from(["clapp"]).backend;
    Setting { sets, full: false, seed: 3, backend, folder: folder.into(), stop: Arc::default() }
}

const EXTENT: Extent = Extent {
    size: Size { images: 12, fixation: 2, labels: 4, stages: 3, more_labels: 1, test: 4 },
    pretrain: (40, 1),
    seeds: 2,
};

#[test]
fn a_small_experiment_from_end_to_end() {
    let folder = tempfile::tempdir().unwrap();
    // A set that does not suffice is named.
    let few = Dataset { name: "few".into(), ..generated::shapes(1, 50, 50) };
    let setting = setting(folder.path(), vec![few, generated::shapes(2, 200, 60)]);
    let none = folder.path().join("firmware");
    let finding = run_with(&setting, EXTENT, &none).unwrap();
    finding.check(folder.path()).unwrap();
    let [figure] = &finding.figures[..] else { panic!("one figure") };
    let shapes: Vec<_> = figure.panels.iter().map(|panel| (panel.series.len(), panel.series[0].points.len())).collect();
    assert_eq!(shapes, [(LEARNERS.len(), 10), (LEARNERS.len(), 3)]);
    let [table] = &finding.tables[..] else { panic!("one table") };
    assert_eq!(table.rows.len(), 2 * LEARNERS.len());
    for (at, row) in table.rows.iter().enumerate() {
        let (average, transfer) = (row[4].value.unwrap(), row[6].value.unwrap());
        assert!((0.0..=100.0).contains(&average));
        // The reference of forward transfer is the frozen random encoder.
        assert!(at % LEARNERS.len() != RANDOM || transfer == 0.0);
    }
    // Twelve claims of learners, and the device's, which needs an emulator and firmware.
    assert_eq!(finding.claims.len(), 13);
    assert_eq!(finding.claims[12].verdict, Verdict::Open);
    assert!(finding.claims[12].evidence.contains("does not exist; build it with `cargo xtask firmware`"));
    assert!(
        finding.notes.iter().any(|note| note.starts_with("few is left out: --data: class ")),
        "{:?}",
        finding.notes
    );
    // The encoders are kept, and the same seed gives the same finding.
    assert_eq!(run_with(&setting, EXTENT, &none).unwrap(), finding);
}

#[test]
fn outcomes_do_not_depend_on_threads_and_seeds_differ() {
    let folder = tempfile::tempdir().unwrap();
    let set = generated::shapes(2, 200, 60);
    let setting = setting(folder.path(), vec![set.clone()]);
    let model = Model::built_in().unwrap();
    let encoders = || (0..3).map(|seed| pretrain(&setting, &set, EXTENT, 3 + seed).unwrap()).collect::<Vec<_>>();
    let pretrained = encoders();
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| learn(&setting, &model, &set, EXTENT, &pretrained).unwrap())
    };
    let (rates, outcomes) = on(1);
    assert_eq!((&rates, &outcomes), (&on(3).0, &on(3).1));
    for rates in &rates {
        for (rate, learner) in rates.iter().zip(&LEARNERS) {
            let tried = learner.method.rates();
            assert!(rate.map_or(tried.is_empty(), |rate| tried.contains(&rate)), "{}: {rate:?}", learner.name);
        }
    }
    assert_eq!(outcomes.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2]);
    for kind in &outcomes {
        assert_ne!(kind[0], kind[1]);
        let nearest = |learner: usize| kind[0][learner].of(Head::Nearest);
        assert_ne!(nearest(STREAMING), nearest(RANDOM));
        assert_ne!(nearest(PRETRAINED), nearest(RANDOM));
    }
    // Keeping labels is for the read-out: at the same rate the encoder learns the same, and with it what softmax sees.
    let softmax = |learner: usize| outcomes[0][0][learner].of(Head::Softmax);
    assert_eq!(softmax(KEPT) == softmax(STREAMING), rates[0][KEPT] == rates[0][STREAMING]);
    assert_ne!(outcomes[0][0][KEPT].of(Head::Nearest), outcomes[0][0][STREAMING].of(Head::Nearest));
    // A single class is always found.
    assert_eq!(outcomes[0][0][RANDOM].of(Head::Nearest).get(0, 0), Some(1.0));
}

#[test]
fn a_request_to_stop_is_met() {
    let folder = tempfile::tempdir().unwrap();
    let setting = setting(folder.path(), vec![generated::shapes(2, 200, 60)]);
    setting.stop.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(matches!(run_with(&setting, EXTENT, Path::new("none")), Err(Error::Stopped)));
}

#[test]
fn what_learning_takes_follows_from_the_method() {
    let model = Model::built_in().unwrap();
    let bytes = LEARNERS.map(|learner| learner.method.bytes(&model, 2));
    let of = |name: &str| bytes[LEARNERS.iter().position(|learner| learner.name == name).unwrap()];
    let view = model.spec.view();
    // Parameters, contexts, workspace and positions by the plan; a frame; ten classes of 208 features.
    assert_eq!(of("streaming CLAPP++DFB"), view.stream_bytes() + 4 * 1024 + 4 * 10 * 209);
    // Glances of two frames and a label: 103 in 208 KiB, 23 in each half of 96 KiB.
    assert_eq!(of("streaming CLAPP++DFB, labels kept") - of("streaming CLAPP++DFB"), 103 * 2049);
    assert_eq!(of("streaming CLAPP++DFB, ring") - of("streaming CLAPP++DFB"), 2 * 23 * 2049);
    assert_eq!(of("frozen random"), view.inference_bytes() + 4 * 208 + 4 * 1024 + 4 * 10 * 209);
    assert!(of("frozen random") < of("pretrained, BP biases"));
    assert!(of("pretrained, BP biases") < of("pretrained, BP last block"));
    // 40 biases and their gradient, the features' error, a byte for each output.
    assert_eq!(of("pretrained, BP biases") - of("frozen pretrained"), 4 * (80 + 208) + 2048 + 1024 + 256);
}
