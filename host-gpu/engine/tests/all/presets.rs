//! The paper's networks by preset: sizes as in docs/paper.md 4 and 5.

use clapp_data::augment::TestTransform;
use clapp_engine::config::{Config, PRESETS, RuleName, preset};
use clapp_engine::model::TensorRole;
use clapp_engine::optimizer::Optimizer;

fn configuration(name: &str, rule: RuleName) -> Config {
    Config { rule, ..preset(name).expect("a preset") }
}

/// Parameters of the encoder, and of the projections.
fn counts(config: &Config) -> [usize; 2] {
    let spec = config.network().expect("a network");
    let mut counts = [0; 2];
    for layer in spec.layers() {
        for (role, shape) in spec.tensors(layer) {
            let projection = matches!(role, TensorRole::Projection | TensorRole::Feedback);
            counts[usize::from(projection)] += shape.iter().product::<usize>();
        }
    }
    counts
}

/// Pooled widths of the layers.
fn widths(config: &Config, probe: bool) -> Vec<usize> {
    let spec = if probe { config.probe_network() } else { config.network() };
    spec.expect("a network").layers().iter().map(|layer| layer.pooled.len()).collect()
}

#[test]
fn vgg6_has_the_papers_sizes_on_all_three_sets() {
    for (name, size) in [("cifar10", 32), ("tiny-imagenet", 64), ("stl10", 96)] {
        let config = configuration(name, RuleName::ClappPp);
        assert_eq!(config.input, [3, size, size]);
        assert_eq!(widths(&config, false), [8192, 4096, 4096, 8192, 4096, 4096], "{name}");
        assert_eq!(widths(&config, true).iter().sum::<usize>(), 32_768, "{name}");
        for (rule, projections) in [
            (RuleName::ClappPp, 201_326_592),
            (RuleName::ClappPpDfb, 134_217_728),
            (RuleName::ClappPpBoth, 335_544_320),
            (RuleName::ClappPpPooled, 2_506_752),
            (RuleName::BpClappPp, 1_048_576),
        ] {
            let config = configuration(name, rule);
            assert_eq!(counts(&config), [16_226_816, projections], "{name} {}", rule.name());
            // Whatever the rule sees, the probe sees the same features.
            assert_eq!(widths(&config, true).iter().sum::<usize>(), 32_768);
        }
    }
    let spec = configuration("stl10", RuleName::ClappPp).network().expect("a network");
    let maps: Vec<[usize; 2]> =
        spec.layers().iter().map(|layer| [layer.output.channels, layer.output.height]).collect();
    assert_eq!(maps, [[128, 96], [256, 48], [256, 48], [512, 24], [1024, 12], [1024, 6]]);
}

#[test]
fn a_direct_feedback_without_spatial_dependence_has_the_papers_size() {
    let mut config = configuration("stl10", RuleName::ClappPpDfb);
    config.blocks.iter_mut().for_each(|block| block.loss_pool = clapp_core::network::LossPool::Global);
    assert_eq!(counts(&config), [16_226_816, 3_276_800]);
}

#[test]
fn vgg8_has_the_papers_sizes() {
    let config = configuration("imagenet", RuleName::ClappPp);
    assert_eq!(widths(&config, false), [8192, 4096, 8192, 8192, 4096, 4096, 1024, 1024]);
    assert_eq!(widths(&config, true), [128, 256, 512, 512, 1024, 1024, 1024, 1024]);
    assert_eq!(counts(&config), [36_872_960, 253_755_392]);
    assert_eq!(counts(&configuration("imagenet", RuleName::ClappPpDfb)), [36_872_960, 39_845_888]);
    let spec = config.network().expect("a network");
    let sides: Vec<usize> = spec.layers().iter().map(|layer| layer.output.height).collect();
    assert_eq!(sides, [224, 112, 56, 56, 28, 14, 14, 7]);
}

#[test]
fn protocols_are_the_papers() {
    let adamw = |weight_decay| Optimizer::AdamW { lr: 2e-4, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay };
    let lars = Optimizer::Lars { lr: 0.3, momentum: 0.9, weight_decay: 1e-6, trust: 0.001 };
    let cut = |resize, crop| TestTransform::ResizeCrop { resize, crop };
    // Name, epochs, batch, optimiser; smallest crop, taps of the blur; probe's epochs, batch, test transform.
    for (name, epochs, batch, optimizer, area, kernel, probe_epochs, probe_batch, test) in [
        ("cifar10", 300, 32, adamw(0.0), 0.25, 3, 300, 32, TestTransform::AsIs),
        ("stl10", 300, 32, adamw(0.0), 0.08, 9, 300, 32, cut(105, 96)),
        ("tiny-imagenet", 300, 32, adamw(1e-5), 0.08, 7, 300, 32, TestTransform::AsIs),
        ("imagenet", 100, 64, lars, 0.08, 23, 100, 128, cut(246, 224)),
    ] {
        let config = configuration(name, RuleName::ClappPp);
        assert_eq!((config.epochs, config.batch, config.optimizer), (epochs, batch, optimizer), "{name}");
        assert_eq!((config.augment.crop.area, config.augment.blur.kernel), ([area, 1.0], kernel), "{name}");
        let probe = config.probe;
        assert_eq!(
            (probe.epochs, probe.batch, probe.lr, probe.test),
            (probe_epochs, probe_batch, 1e-3, test),
            "{name}"
        );
        assert_eq!((probe.augment.crop.area, probe.augment.flip), ([0.08, 1.0], 0.5), "{name}");
        assert_eq!(
            (probe.augment.blur.probability, probe.augment.jitter.probability, probe.augment.grey),
            (0.0, 0.0, 0.0)
        );
        assert_eq!((&probe.augment.mean, &probe.augment.std), (&config.augment.mean, &config.augment.std), "{name}");
        assert_eq!(config.seed, 2);
    }
}

#[test]
fn every_preset_holds_together_and_is_read_back() {
    for name in PRESETS {
        let config = preset(name).expect("a preset");
        config.check(name).expect("sense");
        assert_eq!(Config::parse(&config.to_toml().expect("text"), name).expect("a configuration"), config, "{name}");
    }
}
