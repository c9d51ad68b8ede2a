//! Lists that many threads draw from one stream, where words are refused: with the sizes of batches that happens once in
//! 10^16 words, so the functions of the kernels are compiled here for sizes at which it is every second word.

use std::process::Command;

use clapp_data::rng::{Purpose, stream};
use clapp_gpu::kernels::FILES;

/// Threads of the system for those of a block.
const BEFORE: &str = r"
#include <barrier>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <thread>
#include <vector>
#define __device__
#define __global__
#define __shared__ static
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline double __dmul_rn(double a, double b) { return a * b; }
static inline unsigned __float_as_uint(float value) { unsigned bits; memcpy(&bits, &value, 4); return bits; }
static inline float __uint_as_float(unsigned bits) { float value; memcpy(&value, &bits, 4); return value; }
struct float4 { float x, y, z, w; };
static inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
static inline int min(int a, int b) { return b < a ? b : a; }
static inline int max(int a, int b) { return a < b ? b : a; }
static thread_local struct { unsigned x, y, z; } threadIdx, blockIdx;
static struct { unsigned x, y, z; } blockDim = {8, 1, 1}, gridDim = {1, 1, 1};
static std::barrier together(8);
static void __syncthreads() { together.arrive_and_wait(); }
";

/// A line for each n: 37 draws.
const AFTER: &str = r"
int main() {
    const u64 sizes[] = {1, 2, 1000, 1ull << 63, (1ull << 63) + 1, 3ull << 62, ~0ull};
    for (u64 n : sizes) {
        int out[37];
        std::vector<std::thread> threads;
        for (unsigned i = 0; i < blockDim.x; i++) {
            threads.emplace_back([&, i] { threadIdx.x = i; draw_list(make_stream(5, FOR_MASK, n, 6), out, 37, n, 3); });
        }
        for (std::thread& thread : threads) thread.join();
        for (int value : out) printf(`%d `, value);
        printf(`\n`);
    }
}
";

#[test]
fn refused_words_move_all_that_follow_up() {
    let folder = tempfile::tempdir().unwrap();
    let kernels = FILES.iter().filter(|(name, _)| ["common.cu", "rng.cu", "draw.cu"].contains(name));
    let kernels: String = kernels.map(|(_, text)| *text).collect();
    let source = folder.path().join("draws.cpp");
    let program = folder.path().join("draws");
    std::fs::write(&source, format!("{BEFORE}{kernels}{}", AFTER.replace('`', "\""))).unwrap();
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".into());
    let mut compile = Command::new(compiler);
    compile.args(["-std=c++20", "-fwrapv", "-O1", "-pthread", "-o"]).arg(&program).arg(&source);
    let output = compile.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let output = Command::new(program).output().unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    let mut refused = 0;
    let sizes = [1, 2, 1000, 1 << 63, (1 << 63) + 1, 3 << 62, u64::MAX];
    assert_eq!(lines.lines().count(), sizes.len());
    for (n, line) in sizes.into_iter().zip(lines.lines()) {
        let found: Vec<i32> = line.split_whitespace().map(|word| word.parse().unwrap()).collect();
        let mut rng = stream(5, Purpose::Mask, n, 6);
        let expected: Vec<i32> = (0..37).map(|_| 3_i32.wrapping_add(rng.below(n as usize) as i32)).collect();
        assert_eq!(found, expected, "below {n}");
        let mut words = stream(5, Purpose::Mask, n, 6);
        refused += (0..37).filter(|_| words.bits().wrapping_mul(n) < n.wrapping_neg() % n).count();
    }
    assert!(refused > 20, "{refused} words were refused");
}
