//! A host, a Cortex-M4F and a Cortex-M7 learn the same bits, and stop at the same layers.

use clapp_core::network::{Activation, Block, Context, Contrast, LossPool, Rule};
use clapp_core::optimizer::Optimizer;
use clapp_core::shape::Shape;
use clapp_engine::golden::case::{self, Task};
use clapp_firmware::bits::{self, Case, Frames, Memory, Parameters};
use clapp_tests::qemu::Board;
use std::path::{Path, PathBuf};

/// Frames that are learnt from, after the one that only becomes the context.
const STEPS: u32 = 500;

/// The hash that the host comes to, and the parameters behind it.
fn host(case: &[u8]) -> (u64, Vec<f32>) {
    let mut floats = vec![f32::NAN; 40 * 1024];
    let mut argmax = vec![0; 4096];
    let hash = bits::run(case, &mut Memory { floats: &mut floats, argmax: &mut argmax }).expect("a sound case");
    (hash, floats)
}

/// Runs all cases on each board, and compares.
fn same_everywhere(cases: &[(String, Vec<u8>)]) {
    let folder = tempfile::tempdir().expect("a folder");
    let paths: Vec<PathBuf> = (0..cases.len()).map(|at| folder.path().join(format!("case{at}"))).collect();
    for (path, (_, case)) in paths.iter().zip(cases) {
        std::fs::write(path, case).expect("a file");
    }
    let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
    let wanted: Vec<u64> = cases.iter().map(|(_, case)| host(case).0).collect();
    // Different cases that come to the same weights would mean that nothing was learnt.
    assert!(wanted.iter().enumerate().all(|(at, hash)| !wanted[..at].contains(hash)), "{wanted:x?}");
    for board in Board::ALL {
        let output = board.run("bits", &paths);
        let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{board:?} ({}): {text}{errors}", output.status);
        let got: Vec<u64> = text.lines().map(|line| u64::from_str_radix(line, 16).expect("a hash")).collect();
        assert_eq!(got.len(), cases.len(), "{text}");
        for (((name, _), want), got) in cases.iter().zip(&wanted).zip(&got) {
            println!("{name}: {want:016x} on the host, {got:016x} on {}", board.machine());
            assert_eq!(got, want, "{name} on {board:?}");
        }
    }
}

fn rule(context: Context, contrast: Contrast) -> Rule {
    Rule { context, contrast, ..Rule::clapp_pp() }
}

/// Max-pools, a map that no tile divides, and kernels of 3x3 whose errors are dense and sparse.
fn pooled() -> (Shape, Vec<Block>) {
    let conv = |channels| Block::conv(channels, [3, 3]).padding([1, 1]);
    let blocks = vec![
        conv(6).max_pool([2, 2]).loss_pool(LossPool::Block([4, 4])),
        conv(7).loss_pool(LossPool::Adaptive([2, 2])),
        conv(8).activation(Activation::Identity).max_pool([2, 2]),
    ];
    (Shape::new(1, 16, 16), blocks)
}

/// Strides, kernels of all sizes, no bias, maps of odd sizes.
fn odd() -> (Shape, Vec<Block>) {
    let blocks = vec![
        Block::conv(5, [5, 5]).padding([2, 2]).stride([2, 1]).max_pool([1, 2]),
        Block::conv(6, [1, 3]).without_bias().loss_pool(LossPool::Adaptive([3, 2])),
        Block::conv(4, [2, 1]).activation(Activation::Identity),
    ];
    (Shape::new(2, 11, 13), blocks)
}

/// A one-dimensional signal.
fn signal() -> (Shape, Vec<Block>) {
    let blocks = vec![
        Block::conv(6, [1, 5]).padding([0, 2]).max_pool([1, 2]),
        Block::conv(6, [1, 3]).padding([0, 1]).max_pool([1, 2]).loss_pool(LossPool::Block([1, 4])),
        Block::conv(8, [1, 3]),
    ];
    (Shape::new(2, 1, 40), blocks)
}

#[test]
#[cfg_attr(not(feature = "qemu"), ignore = "needs QEMU: cargo test -p clapp-tests --features qemu")]
fn qemu_500_steps_on_generated_frames() {
    let phyll = Contrast::Phyll { theta: 2.0 };
    let goodness = Contrast::Goodness { theta: 0.5 };
    let momentum = Optimizer::Sgd { lr: 0.02, momentum: 0.9, weight_decay: 1e-4 };
    let lars = Optimizer::Lars { lr: 0.05, momentum: 0.9, weight_decay: 1e-4, trust: 0.05 };
    let runs = [
        ("same, hinge, SGD", pooled(), rule(Context::Same, Contrast::Hinge), Optimizer::sgd(0.02)),
        ("top, soft hinge, SGD", pooled(), rule(Context::Top, Contrast::SoftHinge), Optimizer::sgd(0.02)),
        ("both, hinge, AdamW", pooled(), rule(Context::Both, Contrast::Hinge), Optimizer::adam_w(1e-3)),
        ("both, soft hinge, momentum", odd(), rule(Context::Both, Contrast::SoftHinge), momentum),
        ("same, PhyLL, AdamW", odd(), rule(Context::Same, phyll), Optimizer::adam_w(1e-3)),
        ("top, hinge, LARS", odd(), rule(Context::Top, Contrast::Hinge), lars),
        ("same, soft hinge, AdamW", signal(), rule(Context::Same, Contrast::SoftHinge), Optimizer::adam_w(1e-3)),
        ("top, goodness, SGD", signal(), rule(Context::Top, goodness), Optimizer::sgd(0.02)),
    ];
    let cases = runs.into_iter().zip(1..).map(|((name, (input, blocks), rule, optimizer), seed)| {
        let case = Case {
            input,
            blocks: blocks.into_iter().collect(),
            rule,
            optimizer,
            parameters: Parameters::Drawn(seed),
            frames: Frames::Drawn { seed, count: STEPS + 1 },
        };
        (name.to_string(), postcard::to_stdvec(&case).expect("a case"))
    });
    same_everywhere(&cases.collect::<Vec<_>>());
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// A case with its parameters and frames in it; all frames are saccades.
fn given(
    (input, blocks): (Shape, Vec<Block>),
    optimizer: Optimizer,
    parameters: Parameters<'_>,
    frames: &[f32],
) -> Vec<u8> {
    let values = bytes(frames);
    let case = Case {
        input,
        blocks: blocks.into_iter().collect(),
        rule: rule(Context::Both, Contrast::SoftHinge),
        optimizer,
        parameters,
        frames: Frames::Given { values: &values, fixation: &vec![0; frames.len() / input.len()] },
    };
    postcard::to_stdvec(&case).expect("a case")
}

/// Frames that overflow, leave infinities of both signs and NaN, whose sign differs from platform to platform, between
/// ordinary ones.
#[test]
#[cfg_attr(not(feature = "qemu"), ignore = "needs QEMU: cargo test -p clapp-tests --features qemu")]
fn qemu_hostile_frames() {
    let (most, quarter) = (f32::MAX, f32::MAX / 4.0);
    let tiny = (Shape::new(1, 1, 2), vec![Block::conv(1, [1, 2]), Block::conv(1, [1, 1])]);
    // inf - inf; and -inf, which a ReLU would make 0. The layer above must not learn from either.
    let tiny_parameters = bytes(&[2.0, -2.0, 0.5, 1.0, 0.5, 1.0, 1.0, 1.0, 1.0]);
    let tiny_frames = [[most, most], [0.5, 0.25], [most, most], [0.25, 0.5], [0.5, 0.5], [quarter, most], [0.5, 0.25]];
    let parameters = Parameters::Given(&tiny_parameters);
    let mut cases =
        vec![("tiny".to_string(), given(tiny, Optimizer::sgd(0.1), parameters, tiny_frames.as_flattened()))];
    let values = [most, -most, quarter, -quarter, 1e38, -1e38, 1e30, f32::MIN_POSITIVE, 1e-45, -1e-45, 0.0, -0.0, 0.5];
    let networks = [("pooled", pooled(), 40), ("odd", odd(), 40), ("signal", signal(), 120)];
    for (seed, (name, network, count)) in (1..).zip(networks) {
        let mut numbers = clapp_core::rng::stream(seed, 0);
        let len = network.0.len();
        let mut frames: Vec<f32> = (0..count * len).map(|_| numbers.uniform(-1.0, 1.0)).collect();
        for (at, frame) in frames.chunks_mut(len).enumerate() {
            // All of the frame, a few places of it, or none.
            let share = [1, 8, u32::MAX, u32::MAX][at % 4];
            for value in frame {
                if numbers.below(share) == 0 {
                    *value = values[numbers.below(values.len() as u32) as usize];
                }
            }
        }
        let momentum = Optimizer::Sgd { lr: 0.02, momentum: 0.9, weight_decay: 1e-4 };
        for (which, optimizer) in
            [("SGD", Optimizer::sgd(0.02)), ("momentum", momentum), ("AdamW", Optimizer::adam_w(1e-3))]
        {
            let case = given(network.clone(), optimizer, Parameters::Drawn(seed), &frames);
            cases.push((format!("{name}, {which}"), case));
        }
    }
    same_everywhere(&cases);
}

#[test]
#[cfg_attr(not(feature = "qemu"), ignore = "needs QEMU: cargo test -p clapp-tests --features qemu")]
fn qemu_golden_streams() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/golden");
    let Ok(entries) = folder.read_dir() else {
        println!("no folder ../shared/golden beside the repository: the golden streams are not run");
        return;
    };
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    let mut cases = Vec::new();
    for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "safetensors")) {
        let golden = case::Case::read(file).expect("a golden file");
        let Task::Stream { fixation, lr } = &golden.task else { continue };
        let view = golden.network.view();
        let parameters = bytes(&golden.network.flat_from_values(&golden.values));
        let (frames, fixation) = (bytes(&golden.frames), fixation.iter().map(|&rests| u8::from(rests)));
        let case = postcard::to_stdvec(&Case {
            input: view.input(),
            blocks: view.blocks().iter().copied().collect(),
            rule: view.rule(),
            optimizer: Optimizer::sgd(*lr),
            parameters: Parameters::Given(&parameters),
            frames: Frames::Given { values: &frames, fixation: &fixation.collect::<Vec<_>>() },
        })
        .expect("a case");
        // The run is the one that the file expects something of.
        let learnt = host(&case).1;
        let layer = &golden.network.values_from_flat(&learnt[..view.parameter_len()])[0];
        let want = golden.expected.get("final.layer0.weight").expect("the weights after all frames");
        let most = want.iter().fold(1e-3_f64, |most, want| most.max(want.abs()));
        for (got, want) in layer.weight.iter().zip(want) {
            assert!((f64::from(*got) - want).abs() / most < 1e-4, "{}: {got}, but {want} is expected", golden.name);
        }
        cases.push((golden.name.clone(), case));
    }
    assert!(!cases.is_empty(), "no stream in {}", folder.display());
    same_everywhere(&cases);
}
