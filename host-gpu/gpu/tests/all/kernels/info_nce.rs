//! `info_nce.cu` against the CPU's InfoNCE.

use super::common::{Draw, assert_close, assert_close_f64, ints, run};
use clapp_engine::backend::cpu::Cpu;
use clapp_engine::backend::{Backend, InfoNce};
use clapp_gpu::op::{Arg, MapType};

#[test]
fn loss_cosines_and_gradients() {
    for number in 0..24 {
        let mut draw = Draw::new(50, number);
        let pairs = draw.one_of(&[1, 2, 3, 7, 12]);
        let (dimension, outputs) = (draw.one_of(&[1, 6, 64, 300]), draw.one_of(&[1, 2, 5, 40]));
        let rows = 2 * pairs;
        let mut p: Vec<f32> = draw.numbers(rows * dimension).iter().map(|value| value.abs()).collect();
        let head = draw.numbers(outputs * dimension);
        match number % 7 {
            // A silent row has no direction.
            3 => p[..dimension].fill(0.0),
            // Nor has one that is all but silent.
            6 => p[..dimension].fill(1e-11),
            4 => p[dimension - 1] = f32::NAN,
            5 => p[0] = f32::INFINITY,
            _ => {}
        }
        let temperature = draw.one_of(&[0.1, 0.5, 1.0]);
        let Some(found) = run(MapType::F32, |device| {
            let (p, head) = (device.f32s(&p), device.f32s(&head));
            let doubles = |len: usize| device.empty(8 * len);
            let (e, norm, g) = (doubles(rows * outputs), doubles(rows), doubles(rows * outputs));
            let sizes = ints([rows, dimension, outputs]).to_vec();
            device.launch(
                "nce_embed",
                [outputs, rows],
                [vec![p.input(), head.input(), e.out()], sizes.clone()].concat(),
            );
            let args = [vec![e.in_out(), norm.out()], ints([rows, outputs]).to_vec()].concat();
            device.launch("nce_normalise", [rows, 1], args);
            let (cosines, slopes, loss) = (doubles(pairs * pairs), doubles(pairs * pairs), doubles(pairs));
            let of_pairs = ints([pairs, outputs]).to_vec();
            device.launch("nce_cosines", [pairs, pairs], [vec![e.input(), cosines.out()], of_pairs.clone()].concat());
            let (pair, other) = (device.empty(4 * pairs), device.empty(4 * pairs));
            let mut args = vec![cosines.input(), slopes.out(), loss.out(), pair.out(), other.out()];
            args.extend([Arg::F32(temperature), ints([pairs])[0]]);
            device.launch("nce_slopes", [pairs, 1], args);
            let args = [vec![e.input(), norm.input(), slopes.input(), g.out()], of_pairs].concat();
            device.launch("nce_gradient", [rows, 1], args);
            let (pooled, by_head) = (doubles(rows * dimension), device.empty(head.bytes));
            let args = [vec![g.input(), head.input(), pooled.out()], sizes.clone()].concat();
            device.launch("nce_pooled", [2, 1], args);
            device.launch("nce_head", [2, 1], [vec![g.input(), p.input(), by_head.out()], sizes].concat());
            let loss: f64 = device.get_f64s(loss).iter().sum::<f64>() / pairs as f64;
            vec![
                vec![loss],
                device.get_f32s(pair),
                device.get_f32s(other),
                device.get_f64s(pooled),
                device.get_f32s(by_head),
            ]
        }) else {
            return;
        };
        let InfoNce { scores, pooled, head } = Cpu.info_nce(&p, &head, temperature, rows);
        assert_close_f64("loss", &found[0], &[scores.loss], 1e-10, 1e-10);
        assert_close("cosines of pairs", &found[1], &scores.u_pos, 2e-7, 1e-7);
        assert_close("other cosines", &found[2], &scores.u_neg, 2e-7, 1e-7);
        let largest = |values: &[f64]| values.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
        let absolute = 1e-11 * largest(&pooled).min(f64::MAX);
        assert_close_f64("by activity", &found[3], &pooled, 1e-9, absolute);
        let of_head: Vec<f64> = head.iter().map(|value| f64::from(*value)).collect();
        assert_close("by head", &found[4], &head, 1e-6, 1e-8 * largest(&of_head).min(f64::MAX));
    }
}
