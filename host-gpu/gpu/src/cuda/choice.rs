//! The choice among cuDNN's algorithms for a convolution.

use super::super::op::Pass;
use super::super::precision::Precision;
use super::cudnn::Performance;
use std::ffi::c_int;

/// Bytes that an algorithm may want beside the operands. Where none is content with it, the most modest is taken.
pub const WORKSPACE: usize = 256 << 20;

/// Kinds of multiplication in convolutions: `cudnnMathType_t`.
pub const DEFAULT: c_int = 0;
/// On tensor cores, in the type of the operands.
pub const TENSOR: c_int = 1;
/// By fused multiply-add of `f32`: no tensor core.
pub const FMA: c_int = 3;

/// Said of an algorithm that gives the same bits each time.
const DETERMINISTIC: c_int = 1;

/// The kind of multiplication that a precision asks for.
pub fn math(precision: Precision) -> c_int {
    match precision {
        // On newer GPUs the default would round factors to TF32.
        Precision::F32 => FMA,
        Precision::Tf32 => DEFAULT,
        Precision::Bf16 => TENSOR,
    }
}

/// True if an algorithm goes by transforms (FFT, Winograd): its results are not those of plain sums of products.
fn transforms(pass: Pass, algorithm: c_int) -> bool {
    match pass {
        // FFT, FFT_TILING, WINOGRAD, WINOGRAD_NONFUSED.
        Pass::Forward => (4..=7).contains(&algorithm),
        // The same in another order; 3 is a plain sum.
        Pass::WeightGradient => [2, 4, 5, 6].contains(&algorithm),
        Pass::InputGradient => (2..=5).contains(&algorithm),
    }
}

/// The algorithms of a pass that may be taken, best first. `candidates` are in cuDNN's order, fastest first.
pub fn rank(candidates: Vec<Performance>, pass: Pass, precision: Precision, deterministic: bool) -> Vec<Performance> {
    let exact = precision == Precision::F32;
    let allowed = |one: &Performance| match one.math {
        DEFAULT | FMA => true,
        TENSOR => !exact,
        // It rounds to half precision, or is not known here.
        _ => false,
    };
    let mut list: Vec<_> = candidates
        .into_iter()
        .filter(|one| one.status == 0 && allowed(one))
        .filter(|one| !(exact && transforms(pass, one.algorithm)))
        .filter(|one| !deterministic || one.determinism == DETERMINISTIC)
        .collect();
    // Stable: among those within the limit the order stays.
    list.sort_by_key(|one| if one.memory <= WORKSPACE { 0 } else { one.memory });
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(algorithm: c_int) -> Performance {
        Performance { algorithm, determinism: DETERMINISTIC, ..Performance::default() }
    }

    fn ranked(list: &[Performance], precision: Precision, deterministic: bool) -> Vec<c_int> {
        let ranked = rank(list.to_vec(), Pass::Forward, precision, deterministic);
        ranked.into_iter().map(|candidate| candidate.algorithm).collect()
    }

    #[test]
    fn what_is_not_supported_is_not_taken() {
        let other = Performance { status: 3000, ..candidate(0) };
        assert_eq!(ranked(&[other, candidate(1)], Precision::Tf32, false), [1]);
        assert!(ranked(&[other], Precision::Tf32, false).is_empty());
    }

    #[test]
    fn the_fastest_within_the_limit_goes_first_and_the_most_modest_beyond_it() {
        let large = |algorithm, memory| Performance { memory, ..candidate(algorithm) };
        let list = [large(0, WORKSPACE + 2), large(1, WORKSPACE), large(2, 0), large(3, WORKSPACE + 1)];
        assert_eq!(ranked(&list, Precision::Tf32, false), [1, 2, 3, 0]);
    }

    #[test]
    fn deterministic_runs_take_deterministic_algorithms() {
        let other = Performance { determinism: 0, ..candidate(0) };
        assert_eq!(ranked(&[other, candidate(1)], Precision::F32, true), [1]);
        assert_eq!(ranked(&[other, candidate(1)], Precision::F32, false), [0, 1]);
    }

    #[test]
    fn no_algorithm_rounds_more_than_the_precision_says() {
        let of = |algorithm, math| Performance { math, ..candidate(algorithm) };
        // 2 rounds to half precision; 9 is of a library to come.
        let list = [of(0, 2), of(1, TENSOR), of(2, FMA), of(3, 9)];
        assert_eq!(ranked(&list, Precision::F32, false), [2]);
        assert_eq!(ranked(&list, Precision::Tf32, false), [1, 2]);
        assert_eq!(ranked(&list, Precision::Bf16, false), [1, 2]);
        assert_eq!([Precision::F32, Precision::Tf32, Precision::Bf16].map(math), [FMA, DEFAULT, TENSOR]);
    }

    /// cuDNN's numbers: FFT and Winograd are no plain sums.
    #[test]
    fn f32_takes_neither_winograd_nor_fft() {
        let all = |pass, precision| -> Vec<c_int> {
            let list = (0..8).map(candidate).collect();
            rank(list, pass, precision, false).into_iter().map(|candidate| candidate.algorithm).collect()
        };
        assert_eq!(all(Pass::Forward, Precision::F32), [0, 1, 2, 3]);
        assert_eq!(all(Pass::WeightGradient, Precision::F32), [0, 1, 3, 7]);
        assert_eq!(all(Pass::InputGradient, Precision::F32), [0, 1, 6, 7]);
        for precision in [Precision::Tf32, Precision::Bf16] {
            assert_eq!(all(Pass::Forward, precision).len(), 8);
        }
    }
}
