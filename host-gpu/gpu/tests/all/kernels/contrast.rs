//! `contrast.cu` against the CPU's contrasts: all of them, one term or both, negatives that repeat or are the row itself.

use super::common::{Device, Draw, assert_close, assert_close_f64, control, ints, run};
use clapp_core::network::{Contrast, Rule};
use clapp_engine::backend::cpu::Cpu;
use clapp_engine::backend::{Backend, Factors, FactorsOf, Pairing, Partner};
use clapp_engine::model::TensorRole;
use clapp_gpu::op::{Arg, MapType};

/// One batch.
pub struct Case {
    pub rows: usize,
    pub dimension: usize,
    pub count: usize,
    pub rule: Rule,
    pub partner: Partner,
    pub negatives: Vec<usize>,
    pub keep: Option<Vec<bool>>,
    pub p: Vec<f32>,
    pub c: Vec<f32>,
    pub draw: Draw,
}

impl Case {
    /// With some numbers that are none, or without.
    pub fn new(purpose: u32, number: u64, dimension: usize, with_nan: bool) -> Self {
        let mut draw = Draw::new(purpose, number);
        let rows = 2 * draw.between(1, 6);
        let partner = draw.one_of(&[Partner::OtherView, Partner::OtherView, Partner::Itself]);
        let count = if partner == Partner::Itself { 1 } else { draw.one_of(&[1, 1, 2, 5]) };
        let theta = 0.5 + draw.0.unit();
        let contrasts = [
            Contrast::Hinge,
            Contrast::SoftHinge,
            Contrast::Goodness { theta },
            Contrast::Linear,
            Contrast::Phyll { theta },
        ];
        let rule = Rule {
            contrast: contrasts[(number % 5) as usize],
            pos_coeff: draw.one_of(&[1.0, 0.7, 0.0]),
            ..Rule::clapp_pp()
        };
        let keep = draw.0.chance(0.4).then(|| (0..rows).map(|_| draw.0.chance(0.5)).collect());
        let scale = 2.0 / (dimension as f32).sqrt();
        let mut numbers = || -> Vec<f32> { draw.numbers(rows * dimension).iter().map(|value| value * scale).collect() };
        let (mut p, mut c) = (numbers(), numbers());
        if with_nan {
            match draw.0.below(3) {
                0 => p[dimension / 2] = f32::NAN,
                1 => p[dimension] = f32::INFINITY,
                // A prediction that no factor lets through.
                _ => c[dimension / 2] = f32::NAN,
            }
        }
        // Itself and the same one twice are among them.
        let negatives = (0..count * rows).map(|_| draw.0.below(rows)).collect();
        Self { rows, dimension, count, rule, partner, negatives, keep, p, c, draw }
    }

    pub fn pairing(&self) -> Pairing<'_> {
        let mut pairing = Pairing::views(&self.negatives, self.keep.as_deref());
        pairing.partner = self.partner;
        pairing
    }

    pub fn factors(&self) -> FactorsOf<Cpu> {
        Cpu.contrast(&self.rule, self.pairing(), &self.p, &self.c, None, self.rows)
    }

    pub fn partner_argument(&self) -> Arg<u64> {
        Arg::I32(i32::from(self.partner == Partner::Itself))
    }

    /// `CONTRAST` of the kernels.
    pub fn contrast_arguments(&self) -> Vec<Arg<u64>> {
        let (kind, theta) = match self.rule.contrast {
            Contrast::Hinge => (0, f32::NAN),
            Contrast::SoftHinge => (1, f32::NAN),
            Contrast::Goodness { theta } => (2, theta),
            Contrast::Linear => (3, f32::NAN),
            Contrast::Phyll { theta } => (4, theta),
        };
        vec![Arg::I32(kind), Arg::F32(theta), Arg::F32(self.rule.pos_coeff)]
    }

    pub fn sizes(&self) -> Vec<Arg<u64>> {
        ints([self.rows, self.dimension, self.count]).to_vec()
    }

    fn keep_argument(&self, device: &Device) -> Arg<u64> {
        let bytes = |keep: &Vec<bool>| keep.iter().map(|keep| u8::from(*keep)).collect::<Vec<u8>>();
        self.keep.as_ref().map_or(Arg::Null, |keep| device.bytes(&bytes(keep)).input())
    }
}

const DIMENSIONS: [usize; 6] = [1, 3, 40, 64, 300, 513];

#[test]
fn scores_factors_losses_and_their_means() {
    for number in 0..60 {
        let case = Case::new(20, number, DIMENSIONS[(number % 6) as usize], number % 3 == 0);
        let Factors { scores, prediction } = case.factors();
        let (rows, each) = (case.rows, case.count * case.rows);
        let Some(found) = run(MapType::F32, |device| {
            let inputs = [device.f32s(&case.p), device.f32s(&prediction), device.indices(&case.negatives)];
            let outputs = [4 * rows, 4 * each, 8 * rows, 8 * each, 8 * rows].map(|bytes| device.empty(bytes));
            let [u_pos, u_neg, g_pos, g_neg, loss] = outputs;
            let keep = case.keep_argument(device);
            let mut args: Vec<_> = inputs.iter().map(|input| input.input()).collect();
            args.push(keep);
            args.extend(outputs.iter().map(|output| output.out()));
            args.extend(case.sizes());
            args.push(case.partner_argument());
            args.extend(case.contrast_arguments());
            device.launch("scores", [rows, 1], args);
            let (means, control) = (device.empty(24), device.bytes(&control(3, 0.1, [0.5, 0.5], 0)));
            let mut args = vec![loss.input(), u_pos.input(), u_neg.input(), keep, means.out(), control.in_out()];
            args.extend(ints([rows, case.count]));
            args.push(case.partner_argument());
            device.launch("summary", [1, 1], args);
            let stopped = f64::from(device.read(control)[28]);
            vec![
                device.get_f32s(u_pos),
                device.get_f32s(u_neg),
                device.get_f64s(g_pos),
                device.get_f64s(g_neg),
                device.get_f64s(means),
                vec![stopped],
            ]
        }) else {
            return;
        };
        assert_close("u_pos", &found[0], &scores.u_pos, 2e-7, 1e-12);
        assert_close("u_neg", &found[1], &scores.u_neg, 2e-7, 1e-12);
        assert_close_f64("g_pos", &found[2], &scores.g_pos, 1e-12, 1e-14);
        assert_close_f64("g_neg", &found[3], &scores.g_neg, 1e-12, 1e-14);
        let read = Cpu.read_scores(case.pairing(), TensorRole::Projection, &scores);
        let mean = |values: &[f32]| values.iter().map(|value| f64::from(*value)).sum::<f64>() / values.len() as f64;
        let means = [read.loss, mean(&read.u_pos), mean(&read.u_neg)];
        assert_close_f64("means", &found[4], &means, 1e-6, 1e-7);
        assert_eq!(found[5][0] != 0.0, !read.loss.is_finite(), "stopped by a loss of {}", read.loss);
    }
}

#[test]
fn gradients_by_activity_and_projection() {
    for number in 0..40 {
        let case = Case::new(21, number, DIMENSIONS[(number % 6) as usize], number % 3 == 0);
        let mut other = Case::new(21, number, case.dimension, false);
        other.c.reverse();
        let (first, second) = (case.factors(), other.factors());
        let grid = [case.rows, 1 + (number % 3) as usize];
        let Some(found) = run(MapType::F32, |device| {
            let (p, dp, q) = (device.f32s(&case.p), device.empty(8 * case.p.len()), device.empty(4 * case.p.len()));
            let negatives = device.indices(&case.negatives);
            let factors = |factors: &FactorsOf<Cpu>| {
                [device.f64s(&factors.scores.g_pos), device.f64s(&factors.scores.g_neg)].map(|buffer| buffer.input())
            };
            for (index, each) in [&first, &second].into_iter().enumerate() {
                let prediction = device.f32s(&each.prediction);
                let mut args = vec![prediction.input(), negatives.input()];
                args.extend(factors(each));
                args.push(if index == 0 { dp.out() } else { dp.in_out() });
                args.extend(case.sizes());
                args.extend([case.partner_argument(), Arg::I32(index as i32)]);
                device.launch("pooled_gradient", grid, args);
            }
            let mut args = vec![p.input(), negatives.input()];
            args.extend(factors(&first));
            args.push(q.out());
            args.extend(case.sizes());
            args.push(case.partner_argument());
            device.launch("projection_errors", grid, args);
            vec![device.get_f64s(dp), device.get_f32s(q)]
        }) else {
            return;
        };
        let losses = [(case.pairing(), &first), (case.pairing(), &second)];
        assert_close_f64("dp", &found[0], &Cpu.pooled_gradient(&losses, case.rows), 0.0, 0.0);
        let errors = Cpu.projection_errors(case.pairing(), &case.p, &first, case.rows);
        assert_close("q", &found[1], &errors, 0.0, 0.0);
    }
}

#[test]
fn what_attracts_and_repels_alike_leaves_no_rest() {
    // `g_pos + g_neg` is 0 but for rounding: no part of the positive may come through.
    let mut case = Case::new(22, 0, 5, false);
    case.partner = Partner::OtherView;
    case.keep = None;
    case.count = 3;
    case.negatives = vec![0; 3 * case.rows];
    let rows = case.rows;
    let mut factors = case.factors();
    factors.scores.g_pos = vec![-0.3; rows];
    factors.scores.g_neg = vec![0.1; 3 * rows];
    let Some(found) = run(MapType::F32, |device| {
        let (p, q) = (device.f32s(&case.p), device.empty(4 * case.p.len()));
        let mut args = vec![p.input(), device.indices(&case.negatives).input()];
        args.extend([&factors.scores.g_pos, &factors.scores.g_neg].map(|g| device.f64s(g).input()));
        args.push(q.out());
        args.extend(case.sizes());
        args.push(case.partner_argument());
        device.launch("projection_errors", [rows, 1], args);
        vec![device.get_f32s(q)]
    }) else {
        return;
    };
    assert_ne!(-0.3 + 0.1 + 0.1 + 0.1, 0.0, "it does leave a rest in double precision");
    let errors = Cpu.projection_errors(case.pairing(), &case.p, &factors, rows);
    assert_close("q", &found[0], &errors, 0.0, 0.0);
}

#[test]
fn values_times_a_factor() {
    let mut draw = Draw::new(23, 0);
    let x = draw.odd_numbers(700);
    let Some(found) = run(MapType::F32, |device| {
        let (x, out) = (device.f32s(&x), device.empty(4 * x.len()));
        device.launch("scale", [2, 1], vec![x.input(), out.out(), Arg::F32(0.3), Arg::U64(700)]);
        vec![device.get_f32s(out)]
    }) else {
        return;
    };
    assert_close("scaled", &found[0], &x.iter().map(|x| x * 0.3).collect::<Vec<_>>(), 0.0, 0.0);
}
