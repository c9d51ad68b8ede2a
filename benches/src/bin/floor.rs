//! Upper limits of this machine: the rate of the matrix library, and the memory bandwidth with the access pattern of an
//! optimiser step (three arrays read and written). `cargo xtask peers` compares the training step with them.

use clap::Parser;
use clapp_engine::matmul::{Matrix, matmul};
use rayon::prelude::*;
use serde_json::json;
use std::error::Error;
use std::time::Instant;

/// Rate of matrix products and bandwidth of memory.
#[derive(Parser)]
struct Arguments {
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

/// Size of the square matrices: large enough for the library's best rate, small enough for the cache.
const SIZE: usize = 768;
/// Elements of each of the three arrays (256 MiB): far more than any cache.
const ELEMENTS: usize = 1 << 26;
/// Repetitions; the fastest counts, as a bound should.
const REPETITIONS: usize = 7;

fn fastest(mut work: impl FnMut()) -> f64 {
    let once = |_| {
        let begin = Instant::now();
        work();
        begin.elapsed().as_secs_f64()
    };
    (0..REPETITIONS).map(once).fold(f64::INFINITY, f64::min)
}

fn main() -> Result<(), Box<dyn Error>> {
    let Arguments { threads } = Arguments::parse();
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;
    let matrices: Vec<Vec<f32>> = (0..2).map(|seed| clapp_benches::numbers(seed, SIZE * SIZE, 1.0)).collect();
    let mut outputs = vec![vec![0.0; SIZE * SIZE]; threads];
    let product = fastest(|| {
        outputs.par_iter_mut().for_each(|out| {
            for _ in 0..4 {
                matmul(out, Matrix::new(&matrices[0], SIZE, SIZE), Matrix::new(&matrices[1], SIZE, SIZE), false);
            }
        });
    });
    let flops = (threads * 4 * 2 * SIZE * SIZE * SIZE) as f64;
    let mut arrays = [0.0_f32, 1.0, 2.0].map(|value| vec![value; ELEMENTS]);
    let sweep = fastest(|| {
        let [a, b, c] = &mut arrays;
        (a.par_chunks_mut(1 << 16), b.par_chunks_mut(1 << 16), c.par_chunks_mut(1 << 16)).into_par_iter().for_each(
            |(a, b, c)| {
                for ((a, b), c) in a.iter_mut().zip(b).zip(c) {
                    (*a, *b, *c) = (*a + *b, *b + *c, *c + *a);
                }
            },
        );
    });
    let bytes = (arrays.len() * ELEMENTS * 2 * size_of::<f32>()) as f64;
    println!("{}", json!({ "threads": threads, "gflops": flops / product / 1e9, "gbytes": bytes / sweep / 1e9 }));
    Ok(())
}
