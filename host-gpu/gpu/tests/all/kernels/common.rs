//! A device to run kernels on, and random cases.

use clapp_core::network::{Block, LossPool, Rule};
use clapp_core::plan::Layer;
use clapp_core::shape::Shape;
use clapp_data::rng::{Purpose, Rng, stream};
use clapp_engine::rules::local_network;
use clapp_gpu::emulated::{Emulated, Settings, from_bf16, to_bf16};
use clapp_gpu::executor::{Executor, GpuError};
use clapp_gpu::op::{Arg, MapType, Op};

/// Memory of a device.
#[derive(Clone, Copy)]
pub struct Buffer {
    pub address: u64,
    pub bytes: usize,
}

impl Buffer {
    pub fn input(self) -> Arg<u64> {
        Arg::In(self.address, self.bytes)
    }

    pub fn out(self) -> Arg<u64> {
        Arg::Out(self.address, self.bytes)
    }

    pub fn in_out(self) -> Arg<u64> {
        Arg::InOut(self.address, self.bytes)
    }
}

/// An emulated device, and how many threads its blocks have.
pub struct Device {
    pub gpu: Emulated,
    pub maps: MapType,
    pub block: u32,
}

/// `int` arguments.
pub fn ints<const N: usize>(values: [usize; N]) -> [Arg<u64>; N] {
    values.map(|value| Arg::I32(value as i32))
}

/// The state of a training run: steps done, learning rate, corrections, and whether it has stopped; 40 batches of the
/// epoch are done.
pub fn control(step: u64, rate: f32, corrections: [f32; 2], stopped: i32) -> Vec<u8> {
    let mut bytes = [step, 40].map(u64::to_ne_bytes).concat();
    bytes.extend([rate, corrections[0], corrections[1]].map(f32::to_ne_bytes).concat());
    bytes.extend(stopped.to_ne_bytes());
    bytes
}

/// A device, or `None`, loudly, where there is no C++ compiler.
fn device(maps: MapType, block: u32, descending: bool) -> Option<Device> {
    match Emulated::new(maps, Settings { descending, strict: true, ..Settings::default() }) {
        Ok(gpu) => Some(Device { gpu, maps, block }),
        Err(error @ GpuError::Missing { .. }) => {
            eprintln!("NOT TESTED: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Runs `work` on several devices, which must all give the same bits, and returns them; `None` without a C++ compiler.
pub fn run(maps: MapType, work: impl Fn(&Device) -> Vec<Vec<f64>>) -> Option<Vec<Vec<f64>>> {
    let bits = |results: &[Vec<f64>]| -> Vec<Vec<u64>> {
        // Which NaN it is, is the processor's affair.
        let one = |value: &f64| if value.is_nan() { u64::MAX } else { value.to_bits() };
        results.iter().map(|values| values.iter().map(one).collect()).collect()
    };
    let mut first: Option<Vec<Vec<f64>>> = None;
    for (block, descending) in [(256, false), (64, true), (1024, false)] {
        let device = device(maps, block, descending)?;
        let results = work(&device);
        device.gpu.check().expect("nothing written beyond its memory");
        match &first {
            Some(first) => assert!(bits(first) == bits(&results), "blocks of {block} give other bits"),
            None => first = Some(results),
        }
    }
    first
}

impl Device {
    pub fn bytes(&self, values: &[u8]) -> Buffer {
        let address = self.gpu.allocate(values.len().max(1)).expect("memory");
        self.gpu.write(address, values).expect("written");
        Buffer { address, bytes: values.len() }
    }

    pub fn empty(&self, bytes: usize) -> Buffer {
        Buffer { address: self.gpu.allocate(bytes.max(1)).expect("memory"), bytes }
    }

    pub fn f32s(&self, values: &[f32]) -> Buffer {
        self.bytes(&values.iter().flat_map(|value| value.to_ne_bytes()).collect::<Vec<u8>>())
    }

    pub fn f64s(&self, values: &[f64]) -> Buffer {
        self.bytes(&values.iter().flat_map(|value| value.to_ne_bytes()).collect::<Vec<u8>>())
    }

    pub fn indices(&self, values: &[usize]) -> Buffer {
        self.bytes(&values.iter().flat_map(|value| (*value as i32).to_ne_bytes()).collect::<Vec<u8>>())
    }

    pub fn maps(&self, values: &[f32]) -> Buffer {
        match self.maps {
            MapType::F32 => self.f32s(values),
            MapType::Bf16 => {
                self.bytes(&values.iter().flat_map(|value| to_bf16(*value).to_ne_bytes()).collect::<Vec<u8>>())
            }
        }
    }

    pub fn empty_maps(&self, len: usize) -> Buffer {
        self.empty(len * self.maps.bytes())
    }

    pub fn read(&self, buffer: Buffer) -> Vec<u8> {
        let mut bytes = vec![0; buffer.bytes];
        self.gpu.read(buffer.address, &mut bytes).expect("read");
        bytes
    }

    pub fn read_f32s(&self, buffer: Buffer) -> Vec<f32> {
        self.read(buffer).as_chunks().0.iter().map(|four| f32::from_ne_bytes(*four)).collect()
    }

    pub fn get_f32s(&self, buffer: Buffer) -> Vec<f64> {
        self.read_f32s(buffer).into_iter().map(f64::from).collect()
    }

    pub fn get_f64s(&self, buffer: Buffer) -> Vec<f64> {
        self.read(buffer).as_chunks().0.iter().map(|eight| f64::from_ne_bytes(*eight)).collect()
    }

    pub fn get_maps(&self, buffer: Buffer) -> Vec<f64> {
        match self.maps {
            MapType::F32 => self.get_f32s(buffer),
            MapType::Bf16 => {
                let bits = |two: &[u8; 2]| f64::from(from_bf16(u16::from_ne_bytes(*two)));
                self.read(buffer).as_chunks().0.iter().map(bits).collect()
            }
        }
    }

    /// A kernel that makes tiles, whose blocks have 256 threads.
    pub fn launch_tiled(&self, kernel: &'static str, grid: [usize; 2], args: Vec<Arg<u64>>) {
        let grid = [grid[0] as u32, grid[1] as u32, 1];
        self.gpu.run(&Op::Launch { kernel, grid, block: 256, args }).expect(kernel);
    }

    pub fn try_launch(&self, kernel: &'static str, grid: [usize; 2], args: Vec<Arg<u64>>) -> Result<(), GpuError> {
        let grid = [grid[0] as u32, grid[1] as u32, 1];
        self.gpu.run(&Op::Launch { kernel, grid, block: self.block, args })
    }

    pub fn launch(&self, kernel: &'static str, grid: [usize; 2], args: Vec<Arg<u64>>) {
        self.try_launch(kernel, grid, args).expect(kernel);
    }
}

/// Random numbers of one case.
pub struct Draw(pub Rng);

impl Draw {
    pub fn new(purpose: u32, case: u64) -> Self {
        Self(stream(7, Purpose::Other(purpose), 0, case))
    }

    pub fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.0.below(high - low + 1)
    }

    pub fn one_of<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.0.below(values.len())]
    }

    pub fn numbers(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.0.uniform(-1.0, 1.0)).collect()
    }

    /// Numbers of which a few are NaN, infinite or zero.
    pub fn odd_numbers(&mut self, len: usize) -> Vec<f32> {
        let mut values = self.numbers(len);
        for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0] {
            let at = self.0.below(len);
            values[at] = odd;
        }
        values
    }

    /// A loss pooling that fits a map.
    pub fn loss_pool(&mut self, height: usize, width: usize) -> LossPool {
        match self.0.below(4) {
            0 => LossPool::Global,
            1 => LossPool::Block([self.between(1, height), self.between(1, width)]),
            // Also more cells than positions.
            _ => LossPool::Adaptive([self.between(1, height + 2), self.between(1, width + 2)]),
        }
    }

    /// A layer that convolves with one number a channel, with random pooling.
    pub fn layer(&mut self, channels: usize, with_max_pool: bool) -> Layer {
        let (height, width) = (self.between(2, 9), self.between(2, 9));
        let mut block = Block::conv(channels, [1, 1]);
        let (mut out_h, mut out_w) = (height, width);
        if with_max_pool {
            let window = [self.between(1, height.min(3)), self.between(1, width.min(3))];
            block = block.max_pool(window);
            (out_h, out_w) = (height / window[0], width / window[1]);
        }
        layer_of(Shape::new(1, height, width), block.loss_pool(self.loss_pool(out_h, out_w)))
    }
}

/// The one layer of a network.
pub fn layer_of(input: Shape, block: Block) -> Layer {
    local_network(input, vec![block], Rule::clapp_pp()).expect("a network").layers()[0]
}

/// Values as the device's maps hold them.
pub fn as_maps(maps: MapType, values: &[f32]) -> Vec<f32> {
    match maps {
        MapType::F32 => values.to_vec(),
        MapType::Bf16 => values.iter().map(|value| from_bf16(to_bf16(*value))).collect(),
    }
}

/// Compares value by value: both NaN, equal, or closer than `relative` of their size plus `absolute`.
#[track_caller]
pub fn assert_close(what: &str, found: &[f64], expected: &[f32], relative: f64, absolute: f64) {
    let expected: Vec<f64> = expected.iter().map(|value| f64::from(*value)).collect();
    assert_close_f64(what, found, &expected, relative, absolute);
}

/// As [`assert_close`], in double precision.
#[track_caller]
pub fn assert_close_f64(what: &str, found: &[f64], expected: &[f64], relative: f64, absolute: f64) {
    assert_eq!(found.len(), expected.len(), "{what}: number of values");
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        let same = found == expected || found.is_nan() && expected.is_nan();
        let limit = relative * expected.abs() + absolute;
        assert!(same || (found - expected).abs() <= limit, "{what}[{index}] is {found}, expected {expected}");
    }
}
