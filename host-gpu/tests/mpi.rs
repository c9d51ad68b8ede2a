//! Several processes train together as one process with the batch of all would (feature `mpi`).
//!
//! The tests start `mpirun`. What every rank does in the tests of gradients is itself a test of this file, ignored
//! unless a rank asks for it.

mod cli_common;
mod mpi_common;

use clapp_host_gpu::backend::cpu::Cpu;
use clapp_host_gpu::backend::{Backend, Pairing};
use clapp_host_gpu::config::{Config, Negatives, RuleName};
use clapp_host_gpu::distributed::{Ranks, Shared};
use clapp_host_gpu::model::{Feedback, Head, LayerValues, Options, TensorRole};
use clapp_host_gpu::optimizer::Optimizer;
use clapp_host_gpu::rng::{Purpose, stream};
use clapp_host_gpu::step::{Mode, Model, step};
use clapp_host_gpu::trainer::{draw_negatives, initial_values};
use cli_common::CONFIG;
use mpi_common::mpirun;

/// Largest difference allowed, absolute and relative.
const TOLERANCE: f64 = 1e-6;

const RULES: [RuleName; 5] =
    [RuleName::ClappPp, RuleName::ClappPpDfb, RuleName::ClappPpBoth, RuleName::ClappPpPooled, RuleName::BpClappPp];

/// Runs one of the ignored tests below on every rank.
fn on_ranks(ranks: usize, test: &str) {
    let program = std::env::current_exe().expect("this program");
    let program = program.to_str().expect("a path in UTF-8");
    let output = mpirun(ranks, &[program, "--exact", test, "--ignored", "--nocapture"]).output().expect("mpirun");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    assert_eq!(text.matches("test result: ok. 1 passed").count(), ranks, "{text}\n{errors}");
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

/// A batch of all ranks, cut into theirs.
struct Batches {
    /// Images of each rank that count.
    counts: Vec<usize>,
    /// Frames of each rank, `[2N, C, H, W]`.
    frames: Vec<Vec<f32>>,
    /// Negatives of each rank, `[K][2N]`.
    negatives: Vec<Vec<usize>>,
}

impl Batches {
    fn draw(config: &Config, counts: &[usize], number: u64) -> Self {
        let len = config.input_shape().len();
        let (mut frames, mut negatives) = (Vec::new(), Vec::new());
        for (rank, count) in counts.iter().enumerate() {
            // A rank that counts for nothing computes on something, too.
            let rows = 2 * if *count == 0 { 2 } else { *count };
            frames
                .push((0..rows).flat_map(|row| view(row % (rows / 2), row / (rows / 2), len, number, rank)).collect());
            negatives.push(draw_negatives(config.negatives, rows, 6 + number, rank as u64));
        }
        Self { counts: counts.to_vec(), frames, negatives }
    }

    /// The place of a rank's row in the batch of all: first views of all ranks come before second views of all.
    fn place(&self, rank: usize, row: usize) -> usize {
        let before: usize = self.counts[..rank].iter().sum();
        let total: usize = self.counts.iter().sum();
        let count = self.counts[rank];
        if row < count { before + row } else { total + before + row - count }
    }

    /// Frames and negatives of the one batch: every row keeps the negatives that it has in its rank.
    fn merged(&self) -> (Vec<f32>, Vec<usize>) {
        let rows = 2 * self.counts.iter().sum::<usize>();
        let len = self.frames[0].len() / self.negatives_rows(0);
        let rounds = self.negatives[0].len() / self.negatives_rows(0);
        let mut frames = vec![0.0; rows * len];
        let mut negatives = vec![usize::MAX; rounds * rows];
        for (rank, count) in self.counts.iter().enumerate() {
            for row in 0..2 * count {
                let place = self.place(rank, row);
                frames[place * len..][..len].copy_from_slice(&self.frames[rank][row * len..][..len]);
                for round in 0..rounds {
                    negatives[round * rows + place] = self.place(rank, self.negatives[rank][round * 2 * count + row]);
                }
            }
        }
        assert!(!negatives.contains(&usize::MAX));
        (frames, negatives)
    }

    fn negatives_rows(&self, rank: usize) -> usize {
        2 * if self.counts[rank] == 0 { 2 } else { self.counts[rank] }
    }
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

/// What is learnt.
struct Case {
    name: String,
    config: Config,
    options: Options,
}

impl Case {
    /// All rules with their variants.
    fn all(negatives: Negatives) -> Vec<Self> {
        let case = |rule: RuleName, feedback: Feedback| Self {
            name: format!("{}, {feedback:?}, {negatives:?}", rule.name()),
            config: configuration(rule, negatives),
            options: Options { feedback, ..Options::default() },
        };
        let local = [RuleName::ClappPp, RuleName::ClappPpDfb, RuleName::ClappPpBoth];
        RULES
            .map(|rule| case(rule, Feedback::Trained))
            .into_iter()
            .chain(local.map(|rule| case(rule, Feedback::Matched)))
            .chain(local.map(|rule| case(rule, Feedback::Frozen)))
            .collect()
    }

    fn info_nce() -> Self {
        Self {
            name: "InfoNCE".into(),
            config: configuration(RuleName::BpClappPp, Negatives::Ring),
            options: Options { head: Some(Head { outputs: 5, temperature: 0.5 }), ..Options::default() },
        }
    }

    fn upload(&self) -> Model<Vec<f32>> {
        let spec = self.config.network().expect("a network").with_options(self.options);
        let mut values = initial_values(&self.config).expect("values");
        if let (Some(head), Some(top)) = (self.options.head, spec.layers().last()) {
            let mut rng = stream(5, Purpose::Other(9), 0, 0);
            let len = head.outputs * top.pooled.len();
            values.last_mut().expect("a layer").head = (0..len).map(|_| rng.uniform(-0.4, 0.4)).collect();
        }
        Model::upload(&Cpu, spec, &values)
    }
}

/// One step on `frames`.
fn learn(
    backend: &impl Backend<Tensor = Vec<f32>>,
    config: &Config,
    model: &mut Model<Vec<f32>>,
    frames: &[f32],
    negatives: &[usize],
    mode: Mode<'_>,
) {
    let rows = frames.len() / config.input_shape().len();
    let x = backend.upload_frames(config.input_shape(), frames);
    step(backend, model, x, rows, Pairing::views(negatives, None), mode);
}

/// Gradients at the first values.
fn gradients(
    backend: &impl Backend<Tensor = Vec<f32>>,
    case: &Case,
    frames: &[f32],
    negatives: &[usize],
) -> Vec<LayerValues> {
    let mut gradients = Vec::new();
    learn(backend, &case.config, &mut case.upload(), frames, negatives, Mode::Record(&mut gradients));
    gradients
}

/// Compares all tensors: `|found - expected|` over `|expected|` (Euclidean norms), and each element in itself. Gives
/// the largest of the former.
fn compare(found: &[LayerValues], expected: &[LayerValues], what: &str) -> f64 {
    let mut worst = 0.0_f64;
    assert_eq!(found.len(), expected.len());
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        for role in TensorRole::ALL {
            let (found, expected) = (found.get(role), expected.get(role));
            let what = format!("{what}: layer {index}, {}", role.name());
            assert_eq!(found.len(), expected.len(), "{what}");
            if expected.is_empty() {
                continue;
            }
            let (mut difference, mut norm) = (0.0, 0.0);
            for (found, expected) in found.iter().zip(expected) {
                let (found, expected) = (f64::from(*found), f64::from(*expected));
                assert!((found - expected).abs() <= TOLERANCE, "{what}: {found} instead of {expected}");
                difference += (found - expected).powi(2);
                norm += expected.powi(2);
            }
            assert!(norm > 0.0, "{what} is all zero");
            let relative = (difference / norm).sqrt();
            assert!(relative <= TOLERANCE, "{what} differs by {relative:e}");
            worst = worst.max(relative);
        }
    }
    worst
}

/// How many images each rank has: as many each, unlike numbers, and one rank that counts for nothing.
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
            let batches = Batches::draw(&case.config, &counts, 0);
            let shared = Shared { backend: &Cpu, ranks: &ranks, counts: &counts };
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
}

/// InfoNCE contrasts an image with all others of its rank, so that one batch of all would be another loss: the mean is
/// held against the mean of the ranks' gradients, each computed by one process.
#[test]
#[ignore = "a rank's part, which mpirun starts"]
fn rank_compares_info_nce() {
    let ranks = Ranks::start(true).expect("MPI");
    let case = Case::info_nce();
    for counts in all_counts(ranks.size()) {
        let batches = Batches::draw(&case.config, &counts, 0);
        let shared = Shared { backend: &Cpu, ranks: &ranks, counts: &counts };
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
}

/// Bit by bit, on all ranks.
fn check_same(ranks: &Ranks, layers: &[LayerValues]) {
    let bytes: Vec<u8> = layers
        .iter()
        .flat_map(|layer| TensorRole::ALL.map(|role| layer.get(role)))
        .flat_map(|values| values.iter().flat_map(|value| value.to_le_bytes()))
        .collect();
    ranks.same("a tensor", [&bytes[..]]).expect("the same bits on all ranks");
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
                let batches = Batches::draw(config, counts, number);
                let shared = Shared { backend: &Cpu, ranks: &ranks, counts };
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
}

#[test]
#[ignore = "a rank's part, which mpirun starts"]
fn rank_compares_hashes() {
    let ranks = Ranks::start(true).expect("MPI");
    let of_rank = [7, ranks.rank() as u8 / 2];
    ranks.same("the same", [&of_rank[..1]]).expect("the same");
    let message = ranks.same("the second byte", [&of_rank[..]]).expect_err("rank 2 differs").to_string();
    let expected = if ranks.rank() == 2 { "the second byte is not that of rank 0" } else { "another rank has failed" };
    assert_eq!(message, expected);
}
