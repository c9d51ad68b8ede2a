//! Learning rates against the formula of docs/paper.md 5.1, worked out by another program, and LARS against the same
//! step in double precision.

use clap::ValueEnum;
use clapp_engine::config::{PRESETS, RuleName, preset};
use clapp_engine::optimizer::{Optimizer, apply};
use clapp_engine::schedule::Schedule;

/// One rate an epoch, from epoch 0.
fn table(text: &str) -> Vec<f64> {
    text.lines().map(|line| line.parse().expect("a rate")).collect()
}

#[test]
fn rates_are_those_of_the_paper_for_100_and_50_epochs() {
    for (text, lr) in
        [(include_str!("../fixtures/schedule_100.txt"), 0.3_f32), (include_str!("../fixtures/schedule_50.txt"), 0.6)]
    {
        let table = table(text);
        for (epoch, want) in table.iter().enumerate() {
            let got = f64::from(Schedule::imagenet().rate(lr, epoch as u64, table.len() as u64));
            assert!((got - want).abs() <= 2e-7 * want, "epoch {epoch} of {}: {got}, not {want}", table.len());
        }
        // By eye: up from 1e-5 to the rate after five epochs, then down.
        assert!((table[0] - 1e-5).abs() < 1e-12 && (table[5] - f64::from(lr)).abs() < 1e-6);
        assert!(table[5..].windows(2).all(|pair| pair[1] < pair[0]));
    }
}

#[test]
fn a_constant_rate_stays_and_short_runs_only_warm_up() {
    assert!((0..9).all(|epoch| Schedule::Constant.rate(0.02, epoch, 9) == 0.02));
    let rates: Vec<f32> = (0..4).map(|epoch| Schedule::imagenet().rate(0.3, epoch, 4)).collect();
    assert!(rates.windows(2).all(|pair| pair[0] < pair[1]) && rates[3] < 0.3, "{rates:?}");
    assert!(Schedule::imagenet().check(0.3).is_ok());
    assert!(Schedule::imagenet().check(1e-6).expect_err("above the rate").contains("least"));
}

#[test]
fn lars_takes_the_scaled_step_and_leaves_the_scale_alone_without_a_norm() {
    let optimizer = Optimizer::Lars { lr: 0.3, momentum: 0.9, weight_decay: 1e-4, trust: 0.001 };
    let gradients = [[0.5_f32, -1.0, 2.0], [0.25, 0.5, -0.5], [0.0, 0.0, 0.0]];
    // A tensor with a norm; one without, as biases that start at zero; and one without a gradient in the end.
    for start in [[1.0_f32, -2.0, 0.5], [0.0, 0.0, 0.0]] {
        let (mut value, mut first) = (start, [0.0_f32; 3]);
        let (mut p, mut v) = (start.map(f64::from), [0.0_f64; 3]);
        for (step, gradient) in (1..).zip(gradients) {
            apply(&optimizer, step, &mut value, &mut first, &mut [], &gradient);
            let mut g: Vec<f64> =
                gradient.iter().zip(p).map(|(g, p)| f64::from(*g) + f64::from(1e-4_f32) * p).collect();
            let norm = |values: &[f64]| values.iter().map(|value| value * value).sum::<f64>().sqrt();
            let (norm_p, norm_g) = (norm(&p), norm(&g));
            if norm_p > 0.0 && norm_g > 0.0 {
                g.iter_mut().for_each(|g| *g *= f64::from(0.001_f32) * norm_p / norm_g);
            }
            for ((p, v), g) in p.iter_mut().zip(&mut v).zip(&g) {
                *v = f64::from(0.9_f32) * *v + g;
                *p -= f64::from(0.3_f32) * *v;
            }
            for (got, want) in value.iter().zip(p) {
                assert!((f64::from(*got) - want).abs() <= 1e-6 * want.abs().max(1.0), "step {step}: {value:?}, {p:?}");
            }
        }
    }
    // Nothing but zeros: nothing moves, and nothing becomes NaN.
    let (mut value, mut first) = ([0.0_f32; 3], [0.0_f32; 3]);
    apply(&optimizer, 1, &mut value, &mut first, &mut [], &[0.0; 3]);
    assert_eq!((value, first), ([0.0; 3], [0.0; 3]));
}

#[test]
fn presets_have_the_schedule_and_the_decay_of_their_rule_and_fit_every_rule() {
    for name in PRESETS {
        let preset = preset(name).expect("a preset");
        let schedule = if name == "imagenet" { Schedule::imagenet() } else { Schedule::Constant };
        assert_eq!(preset.schedule, schedule, "{name}");
        for rule in RuleName::value_variants() {
            preset.clone().with_rule(*rule).check(name).unwrap_or_else(|error| panic!("{name}, {rule:?}: {error}"));
        }
    }
    // Weight decay on Tiny ImageNet is not for BP-InfoNCE (docs/paper.md 5.1).
    let decay = |rule| match preset("tiny-imagenet").expect("a preset").with_rule(rule).optimizer {
        Optimizer::AdamW { weight_decay, .. } => weight_decay,
        other => panic!("{other:?}"),
    };
    assert_eq!([decay(RuleName::ClappPp), decay(RuleName::BpClappPp), decay(RuleName::BpInfoNce)], [1e-5, 1e-5, 0.0]);
}
