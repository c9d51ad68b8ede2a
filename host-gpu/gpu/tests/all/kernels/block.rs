//! `block.cu` against the CPU's blocks.
//!
//! The CPU's references run channel by channel, with kernels of one number, so that a NaN stays in its channel.

use super::common::{Device, Draw, as_maps, assert_close, assert_close_f64, ints, layer_of, run};
use clapp_core::network::{Activation, Block, LossPool};
use clapp_core::plan::Layer;
use clapp_core::shape::Shape;
use clapp_engine::backend::cpu::Cpu;
use clapp_engine::backend::{Activity, ActivityOf, Backend};
use clapp_gpu::op::{Arg, MapType};

const MAPS: [MapType; 2] = [MapType::F32, MapType::Bf16];

/// The same layer with one channel.
fn single(layer: &Layer) -> Layer {
    layer_of(layer.input, Block { out_channels: 1, ..layer.block })
}

/// Channel `channel` of values `[.., channels]`.
fn channel<T: Copy>(values: &[T], channel: usize, channels: usize) -> Vec<T> {
    values.iter().copied().skip(channel).step_by(channels).collect()
}

/// Puts values of all channels back together.
fn interleave<T: Copy>(channels: &[Vec<T>]) -> Vec<T> {
    (0..channels[0].len()).flat_map(|at| channels.iter().map(move |values| values[at])).collect()
}

/// `GEOM` of the kernels.
fn geometry(layer: &Layer, rows: usize) -> Vec<Arg<u64>> {
    let [pool_h, pool_w] = layer.block.max_pool.unwrap_or([1, 1]);
    let (conv, out) = (layer.conv, layer.output);
    ints([rows, conv.height, conv.width, conv.channels, pool_h, pool_w, out.height, out.width]).to_vec()
}

/// `LP` of the kernels.
fn loss_pooling(layer: &Layer) -> Vec<Arg<u64>> {
    let (kind, [block_h, block_w]) = match layer.block.loss_pool {
        LossPool::Block(block) => (0, block),
        LossPool::Adaptive(_) => (1, [0, 0]),
        LossPool::Global => (2, [0, 0]),
    };
    ints([layer.pooled.height, layer.pooled.width, kind, block_h, block_w]).to_vec()
}

fn output_shape(layer: &Layer, rows: usize) -> Vec<Arg<u64>> {
    ints([rows, layer.output.height, layer.output.width, layer.output.channels]).to_vec()
}

fn relu(layer: &Layer) -> Arg<u64> {
    Arg::I32(i32::from(layer.block.activation == Activation::Relu))
}

struct Case {
    layer: Layer,
    rows: usize,
    channels: usize,
    maps: MapType,
    draw: Draw,
}

impl Case {
    fn new(purpose: u32, case: u64, with_max_pool: bool) -> Self {
        let mut draw = Draw::new(purpose, case);
        let channels = draw.one_of(&[1, 2, 3, 4, 5, 8, 12, 33, 40, 64]);
        let mut layer = draw.layer(channels, with_max_pool);
        if draw.0.chance(0.3) {
            layer = layer_of(layer.input, layer.block.activation(Activation::Identity));
        }
        Self { layer, rows: draw.between(1, 3), channels, maps: MAPS[(case % 2) as usize], draw }
    }

    /// The CPU's block on maps before the activation.
    fn activity(&self, a: &[f32], bias: &[f32]) -> ActivityOf<Cpu> {
        let layer = single(&self.layer);
        let of = |c: usize| Cpu.forward(&layer, &vec![1.0], &vec![bias[c]], &channel(a, c, self.channels), self.rows);
        let channels: Vec<_> = (0..self.channels).map(of).collect();
        let z: Vec<Vec<f32>> = channels.iter().map(|activity| activity.z.clone()).collect();
        let argmax: Vec<Vec<u8>> = channels.into_iter().map(|activity| activity.argmax).collect();
        Activity { rows: self.rows, z: interleave(&z), argmax: interleave(&argmax) }
    }

    /// The gradient before the activation.
    fn routed(&self, activity: &ActivityOf<Cpu>, dz: &[f32]) -> Vec<f32> {
        let layer = single(&self.layer);
        let of = |c: usize| {
            let z = channel(&activity.z, c, self.channels);
            let activity = Activity { rows: self.rows, z, argmax: channel(&activity.argmax, c, self.channels) };
            Cpu.input_gradient(&layer, &vec![1.0], &activity, &channel(dz, c, self.channels))
        };
        interleave(&(0..self.channels).map(of).collect::<Vec<_>>())
    }

    fn maps_of(&self, values: &[f32]) -> Vec<f32> {
        as_maps(self.maps, values)
    }

    /// Maps before the activation, some of which are equal, so that a first maximum is one of several.
    fn pre_activations(&mut self) -> Vec<f32> {
        let len = self.rows * self.layer.conv.len();
        let mut values = self.draw.odd_numbers(len);
        for _ in 0..len / 3 {
            let (from, to) = (self.draw.0.below(len), self.draw.0.below(len));
            values[to] = values[from];
        }
        self.maps_of(&values)
    }
}

#[test]
fn bias_and_activation() {
    for number in 0..24 {
        let mut case = Case::new(1, number, false);
        let a = case.pre_activations();
        let bias = case.draw.numbers(case.channels);
        let with_bias = number % 3 != 0;
        let Some(found) = run(case.maps, |device| {
            let (a, z, bias) = (device.maps(&a), device.empty_maps(a.len()), device.f32s(&bias));
            let n = Arg::U64((case.rows * case.layer.conv.len()) as u64);
            let bias = if with_bias { bias.input() } else { Arg::Null };
            let tail = [ints([case.channels])[0], relu(&case.layer), n];
            device.launch("bias_activate", [2, 1], [vec![a.input(), bias, z.out()], tail.to_vec()].concat());
            // In place.
            device.launch("bias_activate", [2, 1], [vec![a.input(), bias, a.out()], tail.to_vec()].concat());
            vec![device.get_maps(z), device.get_maps(a)]
        }) else {
            return;
        };
        let zeros = vec![0.0; case.channels];
        let expected = case.activity(&a, if with_bias { &bias } else { &zeros });
        let expected = case.maps_of(&expected.z);
        assert_close("z", &found[0], &expected, 0.0, 0.0);
        assert_close("z in place", &found[1], &expected, 0.0, 0.0);
    }
}

#[test]
fn max_pool_with_the_places_of_maxima() {
    for number in 0..40 {
        let mut case = Case::new(2, number, true);
        let a = case.pre_activations();
        let bias = case.draw.numbers(case.channels);
        let outputs = case.rows * case.layer.output.len();
        let Some(found) = run(case.maps, |device| {
            let (a, bias) = (device.maps(&a), device.f32s(&bias));
            let (z, argmax) = (device.empty_maps(outputs), device.empty(outputs));
            let args = vec![a.input(), bias.input(), z.out(), argmax.out()];
            let args = [args, geometry(&case.layer, case.rows), vec![relu(&case.layer)]].concat();
            device.launch("bias_activate_max_pool", [3, 1], args);
            vec![device.get_maps(z), device.read(argmax).into_iter().map(f64::from).collect()]
        }) else {
            return;
        };
        let expected = case.activity(&a, &bias);
        let argmax: Vec<f32> = expected.argmax.iter().map(|at| f32::from(*at)).collect();
        assert_close("argmax", &found[1], &argmax, 0.0, 0.0);
        assert_close("z", &found[0], &case.maps_of(&expected.z), 0.0, 0.0);
    }
}

#[test]
fn loss_pooling_and_its_spreading() {
    for number in 0..40 {
        let mut case = Case::new(3, number, number % 3 == 0);
        let z = case.draw.odd_numbers(case.rows * case.layer.output.len());
        let z = case.maps_of(&z);
        let dimension = case.layer.pooled.len();
        let dp: Vec<f64> =
            case.draw.odd_numbers(case.rows * dimension).into_iter().map(|value| f64::from(value) / 3.0).collect();
        let Some(found) = run(case.maps, |device| {
            let (z, p) = (device.maps(&z), device.empty(4 * dp.len()));
            let shape = [output_shape(&case.layer, case.rows), loss_pooling(&case.layer)].concat();
            device.launch("loss_pool", [2, 1], [vec![z.input(), p.out()], shape.clone()].concat());
            let (dp, dz) = (device.f64s(&dp), device.empty(z.bytes));
            device.launch("spread", [2, 1], [vec![dp.input(), dz.out()], shape].concat());
            vec![device.get_f32s(p), device.get_maps(dz)]
        }) else {
            return;
        };
        let dz = Cpu.spread(&case.layer, &dp, case.rows);
        let activity = Activity { rows: case.rows, z, argmax: vec![] };
        assert_close("p", &found[0], &Cpu.pool(&case.layer, &activity), 0.0, 0.0);
        assert_close("dz", &found[1], &case.maps_of(&dz), 0.0, 0.0);
    }
}

#[test]
fn gradients_go_to_the_maxima_of_active_units() {
    for number in 0..40 {
        let mut case = Case::new(4, number, number % 4 != 0);
        let a = case.pre_activations();
        let zeros = vec![0.0; case.channels];
        let mut activity = case.activity(&a, &zeros);
        activity.z = case.maps_of(&activity.z);
        let dimension = case.layer.pooled.len();
        let dp: Vec<f64> = case.draw.odd_numbers(case.rows * dimension).into_iter().map(f64::from).collect();
        let dz = case.draw.odd_numbers(activity.z.len());
        let dz = case.maps_of(&dz);
        let Some(found) = run(case.maps, |device| {
            let (z, argmax) = (device.maps(&activity.z), device.bytes(&activity.argmax));
            let argmax = if activity.argmax.is_empty() { Arg::Null } else { argmax.input() };
            let geometry = geometry(&case.layer, case.rows);
            let (dp, dz) = (device.f64s(&dp), device.maps(&dz));
            let [pooled, maps] = [0; 2].map(|_| device.empty_maps(a.len()));
            let args = vec![dp.input(), z.input(), argmax, pooled.out()];
            let tail = [geometry.clone(), loss_pooling(&case.layer), vec![relu(&case.layer)]].concat();
            device.launch("route_pooled", [2, 1], [args, tail].concat());
            let args = vec![dz.input(), z.input(), argmax, maps.out()];
            device.launch("route_maps", [2, 1], [args, geometry, vec![relu(&case.layer)]].concat());
            vec![device.get_maps(pooled), device.get_maps(maps)]
        }) else {
            return;
        };
        let spread = Cpu.spread(&case.layer, &dp, case.rows);
        assert_close("from dp", &found[0], &case.maps_of(&case.routed(&activity, &spread)), 0.0, 0.0);
        assert_close("from dz", &found[1], &case.routed(&activity, &dz), 0.0, 0.0);
    }
}

/// A bias's gradient on the device: parts of each row, then their sum.
fn summed(device: &Device, case: &Case, kernel: &'static str, grid: usize, args: [Vec<Arg<u64>>; 2]) -> Vec<f64> {
    let partial = device.empty(8 * case.rows * case.channels);
    let out = device.empty(4 * case.channels);
    let [inputs, tail] = args;
    device.launch(kernel, [case.rows, grid], [inputs, vec![partial.out()], tail].concat());
    let sizes = ints([case.rows, case.channels]);
    device.launch("sum_rows", [1, 1], [vec![partial.input(), out.out()], sizes.to_vec()].concat());
    device.get_f32s(out)
}

#[test]
fn gradients_of_biases() {
    for number in 0..40 {
        let mut case = Case::new(5, number, number % 2 == 0);
        let a = case.pre_activations();
        let zeros = vec![0.0; case.channels];
        let mut activity = case.activity(&a, &zeros);
        activity.z = case.maps_of(&activity.z);
        let len = case.rows * case.layer.pooled.len();
        let dp = if number % 5 == 0 { case.draw.odd_numbers(len) } else { case.draw.numbers(len) };
        let dp: Vec<f64> = dp.into_iter().map(f64::from).collect();
        let dz = case.draw.numbers(activity.z.len());
        let dz = case.maps_of(&dz);
        let da = case.routed(&activity, &dz);
        let grid = case.draw.between(1, 3);
        let Some(found) = run(case.maps, |device| {
            let inputs = vec![device.f64s(&dp).input(), device.maps(&activity.z).input()];
            let shape = [output_shape(&case.layer, case.rows), loss_pooling(&case.layer), vec![relu(&case.layer)]];
            let pooled = summed(device, &case, "bias_gradient_pooled", grid, [inputs, shape.concat()]);
            let sizes = ints([case.rows, case.layer.conv.area(), case.channels]).to_vec();
            let maps = summed(device, &case, "bias_gradient_maps", grid, [vec![device.maps(&da).input()], sizes]);
            vec![pooled, maps]
        }) else {
            return;
        };
        let x = vec![0.0; case.rows * case.layer.input.len()];
        let pooled = Cpu.local_gradient(&case.layer, &x, &activity, &dp).bias;
        let maps = Cpu.block_gradient(&case.layer, &x, &activity, &dz).bias;
        assert_close("from dp", &found[0], &pooled, 1e-6, 1e-6);
        assert_close("from maps", &found[1], &maps, 1e-6, 1e-6);
    }
}

#[test]
fn rows_of_unit_length_and_pairs_made_anew() {
    for number in 0..24 {
        let mut draw = Draw::new(6, number);
        let maps = MAPS[(number % 2) as usize];
        let (rows, len) = (2 * draw.between(1, 4), draw.one_of(&[1, 5, 64, 257, 600]));
        let mut z = draw.numbers(rows * len);
        z[..len].fill(0.0);
        if number % 3 == 0 {
            z[len] = draw.one_of(&[f32::NAN, f32::INFINITY]);
        }
        let z = as_maps(maps, &z);
        let Some(found) = run(maps, |device| {
            let (z, normal, pairs) = (device.maps(&z), device.empty_maps(z.len()), device.empty_maps(z.len()));
            let sizes = ints([rows, len]).to_vec();
            device.launch("normalise_rows", [rows, 1], [vec![z.input(), normal.out()], sizes.clone()].concat());
            device.launch("pair_anew", [2, 1], [vec![z.input(), pairs.out()], sizes].concat());
            vec![device.get_maps(normal), device.get_maps(pairs)]
        }) else {
            return;
        };
        let relative = if maps == MapType::F32 { 2e-7 } else { 1.0 / 128.0 };
        assert_close("normal", &found[0], &as_maps(maps, &Cpu.normalise(&z, rows)), relative, 0.0);
        assert_close("pairs", &found[1], &as_maps(maps, &Cpu.pair_anew(&z, rows)), 0.0, 0.0);
    }
}

#[test]
fn maps_and_frames() {
    for number in 0..12 {
        let mut draw = Draw::new(7, number);
        let maps = MAPS[(number % 2) as usize];
        let shape = Shape::new(draw.between(1, 6), draw.between(1, 7), draw.between(1, 7));
        let rows = draw.between(1, 3);
        let x = draw.odd_numbers(rows * shape.len());
        let Some(found) = run(maps, |device| {
            let (x, map, same) = (device.f32s(&x), device.empty_maps(x.len()), device.empty_maps(x.len()));
            let (back, frames) = (device.empty(x.bytes), device.empty(x.bytes));
            let sizes = ints([rows, shape.channels, shape.area()]).to_vec();
            let n = Arg::U64((rows * shape.len()) as u64);
            device.launch("frames_to_map", [2, 1], [vec![x.input(), map.out()], sizes.clone()].concat());
            device.launch("map_to_frames", [2, 1], [vec![map.input(), frames.out()], sizes].concat());
            device.launch("to_map", [2, 1], vec![x.input(), same.out(), n]);
            device.launch("from_map", [2, 1], vec![same.input(), back.out(), n]);
            vec![device.get_maps(map), device.get_f32s(frames), device.get_f32s(back)]
        }) else {
            return;
        };
        let held = as_maps(maps, &x);
        assert_close("map", &found[0], &Cpu.upload_frames(shape, &held), 0.0, 0.0);
        assert_close("frames", &found[1], &held, 0.0, 0.0);
        assert_close("back", &found[2], &held, 0.0, 0.0);
    }
}

#[test]
fn four_channels_at_a_time_only_where_they_lie_so() {
    // The same maps one element further on, where no four may be read at once.
    let mut draw = Draw::new(8, 0);
    let a = draw.numbers(4 * 9 + 1);
    for maps in MAPS {
        let Some(found) = run(maps, |device| {
            let (a, z) = (device.maps(&a), device.empty_maps(a.len()));
            let size = device.maps.bytes();
            let at = |start: usize| Arg::In(a.address + (start * size) as u64, 36 * size);
            let mut results = Vec::new();
            for start in [0, 1] {
                let out = Arg::Out(z.address + (start * size) as u64, 36 * size);
                let args = vec![at(start), Arg::Null, out, Arg::I32(4), Arg::I32(1), Arg::U64(36)];
                device.launch("bias_activate", [1, 1], args);
                results.push(device.get_maps(z)[start..start + 36].to_vec());
            }
            results
        }) else {
            return;
        };
        for (found, start) in found.iter().zip([0, 1]) {
            let expected: Vec<f64> =
                as_maps(maps, &a[start..start + 36]).iter().map(|value| f64::from(value.max(0.0))).collect();
            assert_close_f64("z", found, &expected, 0.0, 0.0);
        }
    }
}
