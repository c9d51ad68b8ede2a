//! Small pieces of work whose results are known: whether a device computes what it is asked for. Each is compared with
//! plain sums in `f64` on the CPU, at a bound that follows from the precision.

use super::emulated::{from_bf16, to_bf16};
use super::executor::{Executor, GpuError};
use super::op::{Arg, Convolution, MapType, Op, Pass, Product};
use super::precision::Precision;

/// The reason why a piece of work was not done as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The device or a library has refused.
    Device(GpuError),
    /// The values are wrong; how.
    Values(String),
}

impl From<GpuError> for Fault {
    fn from(error: GpuError) -> Self {
        Self::Device(error)
    }
}

/// In words what was computed and how far it was off, or why not.
pub type Outcome = Result<String, Fault>;

/// Threads of a block.
const THREADS: u32 = 256;

/// Two layers: three channels, as the first layer of a network of colour images has, and many.
const LAYERS: [Convolution; 2] = [
    Convolution {
        rows: 4,
        input: [12, 10],
        channels: 3,
        output: [12, 10],
        out_channels: 32,
        kernel: [3, 3],
        stride: [1, 1],
        padding: [1, 1],
    },
    Convolution {
        rows: 4,
        input: [12, 10],
        channels: 32,
        output: [6, 5],
        out_channels: 16,
        kernel: [3, 3],
        stride: [2, 2],
        padding: [1, 1],
    },
];

/// The largest error that a sum of products may have: so many parts of the sum of the products' sizes, of the root of the sum
/// of their squares, and of the sum itself.
#[derive(Debug, Clone, Copy)]
struct Allowed {
    size: f64,
    root: f64,
    sum: f64,
}

/// Allowed error of `f32` sums. TF32 rounds off 13 bits of each factor, which is well above it.
const F32: Allowed = Allowed { size: 5e-6, root: 0.0, sum: 0.0 };

/// Errors of rounded factors add up as chance has it (the root), those of cut-off ones all to one side (the sum).
const TF32: Allowed = Allowed { size: 0.0, root: 6e-3, sum: 1.0 / 256.0 };

/// Factors are exact; the result is rounded to 8 bits.
const BF16: Allowed = Allowed { size: 0.0, root: 4e-3, sum: 1.0 / 128.0 };

/// Factors are rounded to 8 bits.
const BF16_FACTORS: Allowed = Allowed { size: 0.0, root: 2e-2, sum: 1.0 / 64.0 };

fn allowed(precision: Precision) -> Allowed {
    match precision {
        Precision::F32 => F32,
        Precision::Tf32 => TF32,
        Precision::Bf16 => BF16,
    }
}

/// Numbers between -1 and 1 with all bits of an `f32`, the same each time.
fn numbers(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

/// The nearest value of a map's type.
fn rounded(values: &[f32], maps: MapType) -> Vec<f32> {
    match maps {
        MapType::F32 => values.to_vec(),
        MapType::Bf16 => values.iter().map(|value| from_bf16(to_bf16(*value))).collect(),
    }
}

fn to_bytes(values: &[f32], maps: MapType) -> Vec<u8> {
    match maps {
        MapType::F32 => values.iter().flat_map(|value| value.to_ne_bytes()).collect(),
        MapType::Bf16 => values.iter().flat_map(|value| to_bf16(*value).to_ne_bytes()).collect(),
    }
}

fn from_bytes(bytes: &[u8], maps: MapType) -> Vec<f32> {
    match maps {
        MapType::F32 => bytes.as_chunks().0.iter().map(|bytes| f32::from_ne_bytes(*bytes)).collect(),
        MapType::Bf16 => bytes.as_chunks().0.iter().map(|bytes| from_bf16(u16::from_ne_bytes(*bytes))).collect(),
    }
}

/// Memory of the device, given back when it is no longer needed.
struct Held<'a, E: Executor> {
    executor: &'a E,
    address: u64,
    bytes: usize,
}

impl<'a, E: Executor> Held<'a, E> {
    /// Filled with NaN: what is not written shows.
    fn new(executor: &'a E, bytes: usize) -> Result<Self, GpuError> {
        let held = Self { executor, address: executor.allocate(bytes.max(1))?, bytes };
        executor.write(held.address, &vec![0xff; bytes])?;
        Ok(held)
    }

    fn with(executor: &'a E, values: &[f32], maps: MapType) -> Result<Self, GpuError> {
        let held = Self::new(executor, values.len() * maps.bytes())?;
        executor.write(held.address, &to_bytes(values, maps))?;
        Ok(held)
    }

    fn values(&self, maps: MapType) -> Result<Vec<f32>, GpuError> {
        let mut bytes = vec![0; self.bytes];
        self.executor.read(self.address, &mut bytes)?;
        Ok(from_bytes(&bytes, maps))
    }
}

impl<E: Executor> Drop for Held<'_, E> {
    fn drop(&mut self) {
        self.executor.free(self.address, self.bytes.max(1));
    }
}

/// Sums of products, each with the sums of their sizes and of their squares.
struct Sums {
    sum: Vec<f64>,
    size: Vec<f64>,
    square: Vec<f64>,
}

impl Sums {
    fn new(len: usize) -> Self {
        Self { sum: vec![0.0; len], size: vec![0.0; len], square: vec![0.0; len] }
    }

    fn add(&mut self, at: usize, a: f32, b: f32) {
        let product = f64::from(a) * f64::from(b);
        self.sum[at] += product;
        self.size[at] += product.abs();
        self.square[at] += product * product;
    }

    /// The largest error of `found` in parts of what is allowed, or how it is beyond that.
    fn hold(&self, found: &[f32], allowed: Allowed) -> Result<f64, Fault> {
        let mut worst = 0.0_f64;
        for (at, found) in found.iter().enumerate() {
            let (sum, root) = (self.sum[at], self.square[at].sqrt());
            let most = allowed.size * self.size[at] + allowed.root * root + allowed.sum * sum.abs();
            let error = (f64::from(*found) - sum).abs();
            if error.is_nan() || error > most {
                let count = self.sum.len();
                return Err(Fault::Values(format!(
                    "value {at} of {count} is {found}, the CPU has {sum:.6}: off by {error:.1e}, {most:.1e} is allowed"
                )));
            }
            worst = worst.max(if error > 0.0 { error / most } else { 0.0 });
        }
        Ok(worst)
    }
}

/// An error in words.
fn told(worst: f64, precision: Precision) -> String {
    format!("values as on the CPU: largest error {:.0} % of what {precision} allows", 100.0 * worst)
}

/// The sums of a pass; maps are NHWC.
fn sums(pass: Pass, shape: &Convolution, a: &[f32], b: &[f32]) -> Sums {
    let Convolution { rows, input: [h, w], channels, output: [oh, ow], out_channels, kernel: [kh, kw], .. } = *shape;
    let mut sums = Sums::new(lengths(pass, shape)[2]);
    for place in 0..rows * oh * ow * kh * kw {
        let (s, rest) = (place % kw, place / kw);
        let (r, rest) = (rest % kh, rest / kh);
        let (j, rest) = (rest % ow, rest / ow);
        let (i, n) = (rest % oh, rest / oh);
        let y = (i * shape.stride[0] + r).wrapping_sub(shape.padding[0]);
        let x = (j * shape.stride[1] + s).wrapping_sub(shape.padding[1]);
        if y >= h || x >= w {
            continue;
        }
        let (from, to) = (((n * h + y) * w + x) * channels, ((n * oh + i) * ow + j) * out_channels);
        for o in 0..out_channels {
            let weights = ((o * kh + r) * kw + s) * channels;
            for c in 0..channels {
                match pass {
                    Pass::Forward => sums.add(to + o, a[from + c], b[weights + c]),
                    Pass::WeightGradient => sums.add(weights + c, a[from + c], b[to + o]),
                    Pass::InputGradient => sums.add(from + c, a[weights + c], b[to + o]),
                }
            }
        }
    }
    sums
}

/// Elements of the operands `a`, `b` and the result.
fn lengths(pass: Pass, shape: &Convolution) -> [usize; 3] {
    let (x, w, y) = (shape.input_len(), shape.weight_len(), shape.output_len());
    match pass {
        Pass::Forward => [x, w, y],
        Pass::WeightGradient => [x, y, w],
        Pass::InputGradient => [w, y, x],
    }
}

/// One pass of a convolution over two layers; with `deterministic` twice, to the same bits.
///
/// # Errors
/// If the device refuses, the values are beyond the bound, or the second time has other bits.
pub fn convolution<E: Executor>(on: &E, pass: Pass, precision: Precision, deterministic: bool) -> Outcome {
    let mut worst = 0.0_f64;
    // The gradient of the images themselves is never asked for.
    let layers = if pass == Pass::InputGradient { &LAYERS[1..] } else { &LAYERS[..] };
    for (shape, seed) in layers.iter().zip([3, 5]) {
        worst = worst.max(one_layer(on, pass, shape, precision, deterministic, seed)?);
    }
    let again = if deterministic { ", twice the same bits" } else { "" };
    Ok(told(worst, precision) + again)
}

fn one_layer<E: Executor>(
    on: &E,
    pass: Pass,
    shape: &Convolution,
    precision: Precision,
    deterministic: bool,
    seed: u64,
) -> Result<f64, Fault> {
    let maps = precision.maps();
    let [left, right, len] = lengths(pass, shape);
    let [first, second] = [numbers(left, seed), numbers(right, seed + 1)].map(|values| rounded(&values, maps));
    let (a, b) = (Held::with(on, &first, maps)?, Held::with(on, &second, maps)?);
    let bytes = on.convolution_scratch(pass, shape)?;
    let scratch = Held::new(on, bytes)?;
    let run = || -> Result<Vec<f32>, Fault> {
        let out = Held::new(on, len * maps.bytes())?;
        let scratch = (scratch.address, bytes);
        on.run(&Op::Convolve { pass, shape: *shape, a: a.address, b: b.address, out: out.address, scratch })?;
        Ok(out.values(maps)?)
    };
    let found = run()?;
    let worst = sums(pass, shape, &first, &second).hold(&found, allowed(precision))?;
    if deterministic && bits(&run()?) != bits(&found) {
        return Err(Fault::Values("the second time gives other bits".into()));
    }
    Ok(worst)
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// A product of matrices.
///
/// # Errors
/// If the device refuses, or the values are beyond the bound.
pub fn product<E: Executor>(on: &E, precision: Precision) -> Outcome {
    let shape = Product { m: 24, n: 40, k: 96, a_transposed: false, b_transposed: true };
    let (first, second) = (numbers(shape.m * shape.k, 7), numbers(shape.n * shape.k, 8));
    let (a, b) = (Held::with(on, &first, MapType::F32)?, Held::with(on, &second, MapType::F32)?);
    let bytes = on.product_scratch(&shape)?;
    let (scratch, out) = (Held::new(on, bytes)?, Held::new(on, 4 * shape.m * shape.n)?);
    let scratch = (scratch.address, bytes);
    on.run(&Op::Multiply { product: shape, a: a.address, b: b.address, out: out.address, scratch })?;
    let worst = of_rows(&shape, &first, &second).hold(&out.values(MapType::F32)?, product_allowed(precision))?;
    Ok(told(worst, precision))
}

/// Products of matrices have no TF32.
fn product_allowed(precision: Precision) -> Allowed {
    match precision {
        Precision::F32 | Precision::Tf32 => F32,
        Precision::Bf16 => BF16_FACTORS,
    }
}

/// The sums of a product whose second factor is stored transposed.
fn of_rows(shape: &Product, first: &[f32], second: &[f32]) -> Sums {
    let mut sums = Sums::new(shape.m * shape.n);
    for at in 0..shape.m * shape.n {
        let (row, column) = (at / shape.n * shape.k, at % shape.n * shape.k);
        (0..shape.k).for_each(|i| sums.add(at, first[row + i], second[column + i]));
    }
    sums
}

/// The blocks of a launch: fewer threads than values, so that each thread has several.
const BLOCKS: u32 = 3;

fn to_map(from: &Held<'_, impl Executor>, to: &Held<'_, impl Executor>, len: usize, maps: MapType) -> Op<u64> {
    let (read, written) = (Arg::In(from.address, 4 * len), Arg::Out(to.address, maps.bytes() * len));
    let args = vec![read, written, Arg::U64(len as u64)];
    Op::Launch { kernel: "to_map", grid: [BLOCKS, 1, 1], block: THREADS, args }
}

/// A launch of an own kernel: values to those of a map.
///
/// # Errors
/// If the device refuses, or a value is not the nearest of its type.
pub fn launch<E: Executor>(on: &E, precision: Precision) -> Outcome {
    let (maps, len) = (precision.maps(), 3001);
    let values = numbers(len, 9);
    let (from, to) = (Held::with(on, &values, MapType::F32)?, Held::new(on, len * maps.bytes())?);
    on.run(&to_map(&from, &to, len, maps))?;
    same(&to.values(maps)?, &rounded(&values, maps))?;
    Ok(format!("{len} values, all as on the CPU"))
}

fn same(found: &[f32], wanted: &[f32]) -> Result<(), Fault> {
    match bits(found).iter().zip(bits(wanted)).position(|(found, wanted)| *found != wanted) {
        None => Ok(()),
        Some(at) => Err(Fault::Values(format!("value {at} is {}, the CPU has {}", found[at], wanted[at]))),
    }
}

/// A launch, a convolution and a product recorded once and run twice, on values that change in between.
///
/// # Errors
/// If the device refuses, recording runs something already, or the values are beyond the bound.
pub fn capture<E: Executor>(on: &E, precision: Precision) -> Outcome {
    let (maps, pass, shape) = (precision.maps(), Pass::Forward, &LAYERS[1]);
    let multiply = Product { m: 16, n: 8, k: 32, a_transposed: false, b_transposed: true };
    let [left, right, len] = lengths(pass, shape);
    let weights = rounded(&numbers(right, 10), maps);
    let (rows, columns) = (numbers(multiply.m * multiply.k, 11), numbers(multiply.n * multiply.k, 12));
    let (frames, map) = (Held::new(on, 4 * left)?, Held::new(on, left * maps.bytes())?);
    let (kernel, out) = (Held::with(on, &weights, maps)?, Held::new(on, len * maps.bytes())?);
    let (a, b) = (Held::with(on, &rows, MapType::F32)?, Held::with(on, &columns, MapType::F32)?);
    let result = Held::new(on, 4 * multiply.m * multiply.n)?;
    let wanted = [on.convolution_scratch(pass, shape)?, on.product_scratch(&multiply)?];
    let scratch = [Held::new(on, wanted[0])?, Held::new(on, wanted[1])?];
    let graph = on.compile(vec![
        to_map(&frames, &map, left, maps),
        Op::Convolve {
            pass,
            shape: *shape,
            a: map.address,
            b: kernel.address,
            out: out.address,
            scratch: (scratch[0].address, wanted[0]),
        },
        Op::Multiply {
            product: multiply,
            a: a.address,
            b: b.address,
            out: result.address,
            scratch: (scratch[1].address, wanted[1]),
        },
    ])?;
    if out.values(maps)?.iter().chain(&result.values(MapType::F32)?).any(|value| !value.is_nan()) {
        return Err(Fault::Values("something has run while it was recorded".into()));
    }
    let mut worst = 0.0_f64;
    for seed in [13, 14] {
        let images = numbers(left, seed);
        on.write(frames.address, &to_bytes(&images, MapType::F32))?;
        on.launch(&graph)?;
        let images = rounded(&images, maps);
        worst = worst.max(sums(pass, shape, &images, &weights).hold(&out.values(maps)?, allowed(precision))?);
        let products = of_rows(&multiply, &rows, &columns);
        worst = worst.max(products.hold(&result.values(MapType::F32)?, product_allowed(precision))?);
    }
    Ok(format!("three operations, run twice; {}", told(worst, precision)))
}

#[cfg(test)]
mod tests {
    use super::super::emulated::{Emulated, Settings};
    use super::*;

    #[test]
    fn the_emulated_device_does_all_of_it() {
        for precision in [Precision::F32, Precision::Bf16] {
            let device = Emulated::new(precision.maps(), Settings::default()).unwrap();
            for pass in [Pass::Forward, Pass::WeightGradient, Pass::InputGradient] {
                let said = convolution(&device, pass, precision, true).unwrap();
                assert!(said.contains("twice the same bits"), "{said}");
            }
            launch(&device, precision).unwrap();
            product(&device, precision).unwrap();
            capture(&device, precision).unwrap();
            device.check().unwrap();
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let mut sums = Sums::new(2);
        sums.add(0, 0.5, 0.5);
        sums.add(1, 1.0, -1.0);
        assert_eq!(sums.hold(&[0.25, -1.0], F32), Ok(0.0));
        for wrong in [-0.999, f32::NAN, f32::INFINITY] {
            let Err(Fault::Values(said)) = sums.hold(&[0.25, wrong], F32) else { panic!("{wrong} passes") };
            assert!(said.starts_with("value 1 of 2 is ") && said.contains("the CPU has -1.0"), "{said}");
        }
        assert!(same(&[1.0, 2.0], &[1.0, 2.0]).is_ok() && same(&[1.0, 0.0], &[1.0, -0.0]).is_err());
    }

    /// Factors cut to TF32's 10 bits behind the point must not pass as `f32`.
    #[test]
    fn the_bound_of_f32_sees_tf32() {
        let cut = |values: Vec<f32>| -> Vec<f32> {
            values.iter().map(|value| f32::from_bits((value.to_bits() + 0x1000) & !0x1fff)).collect()
        };
        for (pass, shape) in [Pass::Forward, Pass::WeightGradient, Pass::InputGradient].map(|pass| (pass, &LAYERS[1])) {
            let [left, right, _] = lengths(pass, shape);
            let (a, b) = (numbers(left, 5), numbers(right, 6));
            let exact = sums(pass, shape, &a, &b);
            let coarse = sums(pass, shape, &cut(a.clone()), &cut(b.clone())).sum;
            let coarse: Vec<f32> = coarse.iter().map(|sum| *sum as f32).collect();
            assert!(exact.hold(&coarse, F32).is_err(), "{pass:?}");
            assert!(exact.hold(&coarse, TF32).is_ok(), "{pass:?}");
            // And f32 sums in plain order pass.
            let fine: Vec<f32> = exact.sum.iter().map(|sum| *sum as f32).collect();
            assert!(exact.hold(&fine, F32).is_ok(), "{pass:?}");
        }
    }
}
