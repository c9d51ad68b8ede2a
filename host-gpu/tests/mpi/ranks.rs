//! Several processes train together as one process with the batch of all would (feature `mpi`).
//!
//! The tests start `mpirun`. What every rank does in the tests of gradients is itself a test of this file, ignored
//! unless a rank asks for it.

use crate::cli_common;
use crate::common as mpi_common;

use clapp_data::rng::{Purpose, stream};
use clapp_engine::backend::Backend;
use clapp_engine::backend::cpu::Cpu;
use clapp_engine::config::{Config, Negatives, RuleName};
use clapp_engine::distributed::{Ranks, Shared};
use clapp_engine::draws::draw_negatives;
use clapp_engine::model::{LayerValues, TensorRole};
use clapp_engine::optimizer::Optimizer;
use clapp_engine::rules::Feedback;
use clapp_engine::rules::Head;
use clapp_engine::rules::{AnyRule, bp_info_nce, clapp_pp_dfb};
use clapp_engine::step::backprop::Backward;
use clapp_engine::step::{Mode, Model, download_gradients};
use clapp_engine::trainer::initial_values;
use cli_common::CONFIG;
use mpi_common::{Batches, compare, learn, mpirun};
use std::hash::Hasher;
use std::path::Path;

const RULES: [RuleName; 5] =
    [RuleName::ClappPp, RuleName::ClappPpDfb, RuleName::ClappPpBoth, RuleName::ClappPpPooled, RuleName::BpClappPp];

/// Names the folder in which each rank leaves a file when it has come to the end of its test.
const DONE: &str = "CLAPP_TEST_DONE";

fn done(ranks: &Ranks) {
    let folder = std::env::var(DONE).expect("a folder from the test that has started mpirun");
    std::fs::write(Path::new(&folder).join(ranks.rank().to_string()), "").expect("a file");
}

/// Runs one of the ignored tests below on every rank.
fn on_ranks(ranks: usize, test: &str) {
    let program = std::env::current_exe().expect("this program");
    let program = program.to_str().expect("a path in UTF-8");
    let place = tempfile::tempdir().expect("a folder");
    let mut command = mpirun(ranks, &[program, "--exact", &format!("ranks::{test}"), "--ignored", "--nocapture"]);
    let output = command.env(DONE, place.path()).output().expect("mpirun");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    // The outputs of the ranks get mixed, so a count of printed results would not be reliable.
    let done = std::fs::read_dir(place.path()).expect("a folder").count();
    assert_eq!(done, ranks, "not all ranks have come to the end: {text}\n{errors}");
}

#[test]
fn two_ranks_give_the_gradients_of_one_with_the_batch_of_both() {
    on_ranks(2, "rank_compares_gradients");
}

#[test]
fn three_ranks_give_the_gradients_of_one_with_the_batch_of_all() {
    on_ranks(3, "rank_compares_gradients");
}

#[test]
fn three_ranks_average_info_nce() {
    on_ranks(3, "rank_compares_info_nce");
}

#[test]
fn two_ranks_take_the_steps_of_one_with_the_batch_of_both() {
    on_ranks(2, "rank_compares_steps");
}

#[test]
fn ranks_that_differ_are_found_out() {
    on_ranks(3, "rank_compares_hashes");
}

/// A random batch of each rank; what a rank of count 0 has to compute on is there, too.
fn draw(config: &Config, counts: &[usize], number: u64) -> Batches {
    let len = config.input_shape().len();
    let (mut frames, mut negatives) = (Vec::new(), Vec::new());
    for (rank, count) in counts.iter().enumerate() {
        let rows = 2 * if *count == 0 { 2 } else { *count };
        frames.push((0..rows).flat_map(|row| view(row % (rows / 2), row / (rows / 2), len, number, rank)).collect());
        negatives.push(draw_negatives(config.negatives, rows, 6 + number, rank as u64));
    }
    Batches { counts: counts.to_vec(), frames, negatives }
}

/// One of the two views of an image: every image has brightness and stripes of its own, every view its noise. (White
/// noise alone would give nearly the same pooled activity for all images, and gradients that are mostly rounding.)
fn view(image: usize, view: usize, len: usize, number: u64, rank: usize) -> Vec<f32> {
    let name = (rank * 100 + image) as u64;
    let mut rng = stream(5, Purpose::Other(1), number, name);
    let (light, depth, phase, width) = (rng.normal(), rng.normal(), rng.uniform(0.0, 6.0), rng.uniform(0.05, 1.0));
    let mut noise = stream(5, Purpose::Other(2 + view as u32), number, name);
    (0..len).map(|place| light + depth * (phase + width * place as f32).sin() + 0.3 * noise.normal()).collect()
}

fn configuration(rule: RuleName, negatives: Negatives) -> Config {
    let config = Config::parse(CONFIG, "test").expect("a configuration");
    Config { rule, negatives, ..config }
}

const HEAD: Head = Head { outputs: 5, temperature: 0.5 };

/// What is learnt.
struct Case {
    name: String,
    config: Config,
    by: AnyRule,
}

impl Case {
    /// All rules with their variants.
    fn all(negatives: Negatives) -> Vec<Self> {
        let case = |rule: RuleName, feedback: Feedback| {
            let config = configuration(rule, negatives);
            Self { name: format!("{}, {feedback:?}, {negatives:?}", rule.name()), by: config.learning_rule(), config }
        };
        let fed_back = |rule: RuleName, feedback: Feedback| Self {
            by: clapp_pp_dfb::Rule { feedback }.into(),
            ..case(rule, feedback)
        };
        let local = [RuleName::ClappPp, RuleName::ClappPpDfb, RuleName::ClappPpBoth];
        RULES
            .map(|rule| case(rule, Feedback::Trained))
            .into_iter()
            .chain(local.map(|rule| fed_back(rule, Feedback::Matched)))
            .chain(local.map(|rule| fed_back(rule, Feedback::Frozen)))
            .collect()
    }

    fn info_nce() -> Self {
        Self {
            name: "InfoNCE".into(),
            config: configuration(RuleName::BpClappPp, Negatives::Ring),
            by: bp_info_nce::Rule { head: HEAD, backward: Backward::Whole }.into(),
        }
    }

    fn upload(&self) -> Model<Vec<f32>> {
        let spec = self.by.teach(self.config.network().expect("a network"));
        let mut values = initial_values(&self.config).expect("values");
        if let (Some(outputs), Some(top)) = (spec.form().head, spec.layers().last()) {
            let mut rng = stream(5, Purpose::Other(9), 0, 0);
            let len = outputs * top.pooled.len();
            values.last_mut().expect("a layer").head = (0..len).map(|_| rng.uniform(-0.4, 0.4)).collect();
        }
        Model::upload(&Cpu, spec, &values)
    }
}

/// Gradients at the first values.
fn gradients(
    backend: &impl Backend<Tensor = Vec<f32>>,
    case: &Case,
    frames: &[f32],
    negatives: &[usize],
) -> Vec<LayerValues> {
    let (mut gradients, mut model) = (Vec::new(), case.upload());
    learn(backend, &case.config, &mut model, frames, negatives, Mode::Record(&mut gradients));
    download_gradients(backend, &model.spec, &gradients)
}

/// Numbers of images of the ranks: equal, unequal, and one rank with none.
fn all_counts(ranks: usize) -> [Vec<usize>; 3] {
    let unlike = (0..ranks).map(|rank| 5 - rank).collect();
    let idle = (0..ranks).map(|rank| if rank + 1 == ranks { 0 } else { 4 }).collect();
    [vec![4; ranks], unlike, idle]
}

#[test]
#[ignore = "a rank's part, which mpirun starts"]
fn rank_compares_gradients() {
    let ranks = Ranks::start(true).expect("MPI");
    let rank = ranks.rank();
    let mut worst = 0.0_f64;
    for case in [Negatives::Ring, Negatives::Uniform(3)].into_iter().flat_map(Case::all) {
        for counts in all_counts(ranks.size()) {
            let batches = draw(&case.config, &counts, 0);
            let shared = Shared { ranks: &ranks, counts: &counts };
            let found = gradients(&shared, &case, &batches.frames[rank], &batches.negatives[rank]);
            let (frames, negatives) = batches.merged();
            let expected = gradients(&Cpu, &case, &frames, &negatives);
            worst = worst.max(compare(&found, &expected, &format!("{} {counts:?}", case.name)));
            let own = gradients(&Cpu, &case, &batches.frames[rank], &batches.negatives[rank]);
            let alone = counts.iter().filter(|count| **count > 0).count() == 1 && counts[rank] > 0;
            assert_eq!(own[1].weight == found[1].weight, alone, "what the other ranks add");
            check_same(&ranks, &found);
        }
    }
    println!("largest relative difference of a gradient: {worst:e}");
    done(&ranks);
}

/// InfoNCE contrasts an image with all others of its rank, so that one batch of all would be another loss: the mean is
/// compared with the mean of the ranks' gradients, each computed by one process.
#[test]
#[ignore = "a rank's part, which mpirun starts"]
fn rank_compares_info_nce() {
    let ranks = Ranks::start(true).expect("MPI");
    let case = Case::info_nce();
    for counts in all_counts(ranks.size()) {
        let batches = draw(&case.config, &counts, 0);
        let shared = Shared { ranks: &ranks, counts: &counts };
        let found = gradients(&shared, &case, &batches.frames[ranks.rank()], &[]);
        let mut expected: Vec<LayerValues> = Vec::new();
        for (frames, count) in batches.frames.iter().zip(&counts) {
            let share = *count as f32 / counts.iter().sum::<usize>() as f32;
            let own = gradients(&Cpu, &case, frames, &[]);
            expected.resize(own.len(), LayerValues::default());
            for (sum, own) in expected.iter_mut().zip(&own) {
                for role in TensorRole::ALL {
                    let (sum, own) = (sum.get_mut(role), own.get(role));
                    sum.resize(own.len(), 0.0);
                    sum.iter_mut().zip(own).for_each(|(sum, own)| *sum += share * own);
                }
            }
        }
        compare(&found, &expected, &format!("{} {counts:?}", case.name));
        assert!(!found[1].head.is_empty());
        check_same(&ranks, &found);
    }
    done(&ranks);
}

/// Bit by bit, on all ranks.
fn check_same(ranks: &Ranks, layers: &[LayerValues]) {
    let values = layers.iter().flat_map(|layer| TensorRole::ALL.map(|role| layer.get(role))).flatten();
    ranks
        .same("a tensor", |hasher| values.for_each(|value| hasher.write_u32(value.to_bits())))
        .expect("the same bits on all ranks");
}

#[test]
#[ignore = "a rank's part, which mpirun starts"]
fn rank_compares_steps() {
    let ranks = Ranks::start(true).expect("MPI");
    let optimizers = [
        Optimizer::Sgd { lr: 0.05, momentum: 0.0, weight_decay: 0.0 },
        Optimizer::Sgd { lr: 0.02, momentum: 0.9, weight_decay: 0.01 },
        Optimizer::adamw(0.001),
        Optimizer::Lars { lr: 0.5, momentum: 0.9, weight_decay: 0.0, trust: 0.001 },
    ];
    for case in Case::all(Negatives::Ring) {
        for optimizer in &optimizers {
            let Case { name, config, .. } = &case;
            let (mut several, mut one) = (case.upload(), case.upload());
            for number in 1..=3 {
                let counts = &all_counts(ranks.size())[number as usize % 3];
                let batches = draw(config, counts, number);
                let shared = Shared { ranks: &ranks, counts };
                let rank = ranks.rank();
                let mode = || Mode::Update { optimizer, step: number };
                learn(&shared, config, &mut several, &batches.frames[rank], &batches.negatives[rank], mode());
                let (frames, negatives) = batches.merged();
                learn(&Cpu, config, &mut one, &frames, &negatives, mode());
            }
            let (several, one) = (several.download(&Cpu), one.download(&Cpu));
            check_same(&ranks, &several);
            assert!(several[0].weight != initial_values(config).expect("values")[0].weight);
            // Where a gradient is near zero, AdamW makes its sign a whole step: no bound holds there.
            if !matches!(optimizer, Optimizer::AdamW { .. }) {
                let worst = compare(&several, &one, &format!("{name}, {optimizer:?}"));
                println!("{name}, {optimizer:?}: largest relative difference {worst:e}");
            }
        }
    }
    done(&ranks);
}

#[test]
#[ignore = "a rank's part, which mpirun starts"]
fn rank_compares_hashes() {
    let ranks = Ranks::start(true).expect("MPI");
    let of_rank = [7, ranks.rank() as u8 / 2];
    ranks.same("the same", |hasher| hasher.write_u8(of_rank[0])).expect("the same");
    let message = ranks.same("the second", |hasher| hasher.write(&of_rank)).expect_err("rank 2 differs").to_string();
    let expected = if ranks.rank() == 2 { "the second differs from that of rank 0" } else { "another rank has failed" };
    assert_eq!(message, expected);
    done(&ranks);
}
