//! `matching.cu` against the CPU's feedback matching.

use super::common::{Draw, as_maps, assert_close, assert_close_f64, ints, run};
use super::contrast::Case;
use clapp_core::network::LossPool;
use clapp_engine::backend::cpu::Cpu;
use clapp_engine::backend::{Backend, Matching};
use clapp_gpu::op::{Arg, MapType};

#[test]
fn distances_and_errors() {
    for number in 0..40 {
        let maps = [MapType::F32, MapType::Bf16][(number % 2) as usize];
        let mut draw = Draw::new(60, number);
        let channels = draw.between(1, 5);
        let layer = draw.layer(channels, false);
        let case = Case::new(61, number, layer.pooled.len(), false);
        let rows = case.rows;
        let factors = case.factors();
        let pooled: Vec<f64> = draw.numbers(case.p.len()).into_iter().map(f64::from).collect();
        let mut ideal = draw.numbers(rows * layer.output.len());
        if number % 8 == 7 {
            ideal[0] = f32::NAN;
        }
        let ideal = as_maps(maps, &ideal);
        let Some(found) = run(maps, |device| {
            let (dp, maps) = (device.f64s(&pooled), device.maps(&ideal));
            let (slope, partial, sums) = (device.empty(dp.bytes), device.empty(16 * rows), device.empty(16));
            let (kind, [block_h, block_w]) = match layer.block.loss_pool {
                LossPool::Block(block) => (0, block),
                LossPool::Adaptive(_) => (1, [0, 0]),
                LossPool::Global => (2, [0, 0]),
            };
            let mut args = vec![dp.input(), maps.input(), slope.out(), partial.out()];
            args.extend(ints([rows, layer.output.height, layer.output.width, layer.output.channels]));
            args.extend(ints([layer.pooled.height, layer.pooled.width, kind, block_h, block_w]));
            device.launch("match_distance", [rows, 1], args);
            device.launch("sum_pairs", [1, 1], vec![partial.input(), sums.out(), ints([rows])[0]]);
            let (p, errors) = (device.f32s(&case.p), device.empty(4 * case.p.len()));
            let mut args = vec![p.input(), device.f32s(&factors.prediction).input(), slope.input()];
            args.push(device.indices(&case.negatives).input());
            args.extend([&factors.scores.g_pos, &factors.scores.g_neg].map(|g| device.f64s(g).input()));
            args.push(errors.out());
            args.extend(case.sizes());
            args.push(case.partner_argument());
            args.extend(case.contrast_arguments());
            device.launch("match_errors", [rows, 1], args);
            vec![device.get_f64s(sums), device.get_f32s(errors)]
        }) else {
            return;
        };
        let losses = [(case.pairing(), &factors)];
        let Matching { distance, errors } = Cpu.matching(&case.rule, &layer, &case.p, &losses, &pooled, &ideal, rows);
        assert_close_f64("distance and ideal", &found[0], &[distance.distance, distance.ideal], 1e-12, 1e-12);
        assert_close("errors", &found[1], &errors[0], 2e-7, 1e-10);
    }
}

#[test]
fn many_negatives() {
    let mut case = Case::new(62, 1, 7, false);
    case.partner = clapp_engine::backend::Partner::OtherView;
    case.count = 64;
    case.negatives = (0..64 * case.rows).map(|_| case.draw.0.below(case.rows)).collect();
    let factors = case.factors();
    let slope: Vec<f64> = case.draw.numbers(case.p.len()).into_iter().map(f64::from).collect();
    // A map of one position, where the slope is `-2 (ideal - pooled)`.
    let layer =
        super::common::layer_of(clapp_core::shape::Shape::new(1, 1, 1), clapp_core::network::Block::conv(7, [1, 1]));
    let Some(found) = run(MapType::F32, |device| {
        let errors = device.empty(4 * case.p.len());
        let mut args = vec![device.f32s(&case.p).input(), device.f32s(&factors.prediction).input()];
        args.extend([device.f64s(&slope).input(), device.indices(&case.negatives).input()]);
        args.extend([&factors.scores.g_pos, &factors.scores.g_neg].map(|g| device.f64s(g).input()));
        args.push(errors.out());
        args.extend(case.sizes());
        args.push(Arg::I32(0));
        args.extend(case.contrast_arguments());
        device.launch("match_errors", [case.rows, 1], args);
        vec![device.get_f32s(errors)]
    }) else {
        return;
    };
    let pooled: Vec<f64> = slope.iter().map(|slope| slope / 2.0).collect();
    let ideal = vec![0.0; case.p.len()];
    let losses = [(case.pairing(), &factors)];
    let expected = Cpu.matching(&case.rule, &layer, &case.p, &losses, &pooled, &ideal, case.rows).errors;
    assert_close("errors", &found[0], &expected[0], 1e-6, 1e-10);
}
