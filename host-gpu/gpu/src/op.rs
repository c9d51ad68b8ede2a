//! Operations of a device: launches of own kernels, convolutions, matrix products, and copies.
//!
//! An operation names the memory that it reads and writes, so that a list of operations can be checked, planned and
//! replayed without a device. `P` is how memory is named: a [`super::memory::Place`] while a program is recorded, an
//! address once it is laid out.

/// Element type of a map on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MapType {
    /// 32 bits.
    F32,
    /// The upper 16 bits of an `f32`.
    Bf16,
}

impl MapType {
    /// Bytes of an element.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
        }
    }
}

/// An argument of a kernel. The first three say what the kernel does with the memory, and how many bytes it touches.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Arg<P> {
    /// Read.
    In(P, usize),
    /// Written, all of it.
    Out(P, usize),
    /// Read and written.
    InOut(P, usize),
    /// A pointer to nothing: the kernel leaves that part out.
    Null,
    /// An `int`.
    I32(i32),
    /// A `float`.
    F32(f32),
    /// An `unsigned long long`.
    U64(u64),
}

/// The geometry of a convolution: maps are `[rows, height, width, channels]`, weights `[out, kh, kw, in]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Convolution {
    /// Frames.
    pub rows: usize,
    /// Height and width of the input.
    pub input: [usize; 2],
    /// Channels of the input.
    pub channels: usize,
    /// Height and width of the output.
    pub output: [usize; 2],
    /// Channels of the output.
    pub out_channels: usize,
    /// Height and width of the kernel.
    pub kernel: [usize; 2],
    /// Step in each direction.
    pub stride: [usize; 2],
    /// Zeros around the input in each direction.
    pub padding: [usize; 2],
}

impl Convolution {
    /// Elements of the input of all rows.
    pub fn input_len(&self) -> usize {
        self.rows * self.input[0] * self.input[1] * self.channels
    }

    /// Elements of the output of all rows.
    pub fn output_len(&self) -> usize {
        self.rows * self.output[0] * self.output[1] * self.out_channels
    }

    /// Elements of the weights.
    pub fn weight_len(&self) -> usize {
        self.out_channels * self.kernel[0] * self.kernel[1] * self.channels
    }
}

/// One of a convolution's three products.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pass {
    /// Output from `a` = input and `b` = weights.
    Forward,
    /// Gradient of the weights from `a` = input and `b` = gradient of the output.
    WeightGradient,
    /// Gradient of the input from `a` = weights and `b` = gradient of the output; the local rules never ask for it.
    InputGradient,
}

/// A matrix product `out = A B`, or `out += A B`, of row-major `f32` matrices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Product {
    /// Rows of the result.
    pub m: usize,
    /// Columns of the result.
    pub n: usize,
    /// Terms of each sum.
    pub k: usize,
    /// True if `a` is stored `[k, m]` instead of `[m, k]`.
    pub a_transposed: bool,
    /// True if `b` is stored `[n, k]` instead of `[k, n]`.
    pub b_transposed: bool,
}

/// A sum or a collection over the processes that train together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Collective {
    /// The sum of `f32` values over all ranks, everywhere.
    Sum,
    /// All ranks' values one after the other, everywhere: `out` is as many times `input` as there are ranks.
    Gather {
        /// Number of processes.
        ranks: usize,
    },
}

/// One operation.
#[derive(Debug, Clone, PartialEq)]
pub enum Op<P> {
    /// An own kernel of `kernels/`.
    Launch {
        /// Its name.
        kernel: &'static str,
        /// Blocks.
        grid: [u32; 3],
        /// Threads of a block.
        block: u32,
        /// Its arguments, in order.
        args: Vec<Arg<P>>,
    },
    /// A convolution; maps, weights and the weights' gradient are of the executor's [`MapType`].
    Convolve {
        /// The product.
        pass: Pass,
        /// The geometry.
        shape: Convolution,
        /// First operand.
        a: P,
        /// Second operand.
        b: P,
        /// The result, overwritten.
        out: P,
        /// Memory for the library, and how many bytes of it.
        scratch: (P, usize),
    },
    /// A matrix product.
    Multiply {
        /// Its sizes.
        product: Product,
        /// First operand.
        a: P,
        /// Second operand.
        b: P,
        /// The result, overwritten.
        out: P,
        /// Memory for the library, and how many bytes of it.
        scratch: (P, usize),
    },
    /// Copies bytes.
    Copy {
        /// From where.
        from: P,
        /// To where.
        to: P,
        /// Number of bytes.
        bytes: usize,
    },
    /// Fills bytes with zeros.
    Zero {
        /// Address.
        at: P,
        /// Number of bytes.
        bytes: usize,
    },
    /// A collective of the ranks, on `f32` values.
    Collect {
        /// The collective.
        what: Collective,
        /// Read.
        input: P,
        /// Written; the same as `input` for a sum in place.
        out: P,
        /// Values of `input`.
        len: usize,
    },
}

/// The use that an operation makes of a piece of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It reads.
    Read,
    /// It writes.
    Write,
    /// It reads what was there, and writes.
    Both,
}

impl<P: Copy> Op<P> {
    /// Every piece of memory that the operation touches, in bytes.
    pub fn accesses(&self, maps: MapType) -> Vec<(P, usize, Access)> {
        let size = maps.bytes();
        match self {
            Self::Launch { args, .. } => args
                .iter()
                .filter_map(|arg| match *arg {
                    Arg::In(place, bytes) => Some((place, bytes, Access::Read)),
                    Arg::Out(place, bytes) => Some((place, bytes, Access::Write)),
                    Arg::InOut(place, bytes) => Some((place, bytes, Access::Both)),
                    Arg::Null | Arg::I32(_) | Arg::F32(_) | Arg::U64(_) => None,
                })
                .collect(),
            Self::Convolve { pass, shape, a, b, out, scratch } => {
                let (input, output, weight) = (shape.input_len(), shape.output_len(), shape.weight_len());
                let [a_len, b_len, out_len] = match pass {
                    Pass::Forward => [input, weight, output],
                    Pass::WeightGradient => [input, output, weight],
                    Pass::InputGradient => [weight, output, input],
                };
                vec![
                    (*a, a_len * size, Access::Read),
                    (*b, b_len * size, Access::Read),
                    (*out, out_len * size, Access::Write),
                    (scratch.0, scratch.1, Access::Write),
                ]
            }
            Self::Multiply { product: Product { m, n, k, .. }, a, b, out, scratch } => vec![
                (*a, 4 * m * k, Access::Read),
                (*b, 4 * k * n, Access::Read),
                (*out, 4 * m * n, Access::Write),
                (scratch.0, scratch.1, Access::Write),
            ],
            Self::Copy { from, to, bytes } => vec![(*from, *bytes, Access::Read), (*to, *bytes, Access::Write)],
            Self::Zero { at, bytes } => vec![(*at, *bytes, Access::Write)],
            Self::Collect { what, input, out, len } => {
                let times = match what {
                    Collective::Sum => 1,
                    Collective::Gather { ranks } => *ranks,
                };
                vec![(*input, 4 * len, Access::Read), (*out, 4 * len * times, Access::Write)]
            }
        }
    }

    /// The same operation on memory named otherwise.
    pub fn map<Q>(&self, name: impl Fn(P) -> Q) -> Op<Q> {
        let arg = |arg: &Arg<P>| match *arg {
            Arg::In(place, bytes) => Arg::In(name(place), bytes),
            Arg::Out(place, bytes) => Arg::Out(name(place), bytes),
            Arg::InOut(place, bytes) => Arg::InOut(name(place), bytes),
            Arg::Null => Arg::Null,
            Arg::I32(value) => Arg::I32(value),
            Arg::F32(value) => Arg::F32(value),
            Arg::U64(value) => Arg::U64(value),
        };
        match self {
            Self::Launch { kernel, grid, block, args } => {
                Op::Launch { kernel, grid: *grid, block: *block, args: args.iter().map(arg).collect() }
            }
            Self::Convolve { pass, shape, a, b, out, scratch } => Op::Convolve {
                pass: *pass,
                shape: *shape,
                a: name(*a),
                b: name(*b),
                out: name(*out),
                scratch: (name(scratch.0), scratch.1),
            },
            Self::Multiply { product, a, b, out, scratch } => Op::Multiply {
                product: *product,
                a: name(*a),
                b: name(*b),
                out: name(*out),
                scratch: (name(scratch.0), scratch.1),
            },
            Self::Copy { from, to, bytes } => Op::Copy { from: name(*from), to: name(*to), bytes: *bytes },
            Self::Zero { at, bytes } => Op::Zero { at: name(*at), bytes: *bytes },
            Self::Collect { what, input, out, len } => {
                Op::Collect { what: *what, input: name(*input), out: name(*out), len: *len }
            }
        }
    }
}
