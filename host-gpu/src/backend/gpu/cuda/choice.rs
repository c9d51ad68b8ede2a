//! Which of cuDNN's algorithms is taken for a convolution.

use super::super::precision::Precision;
use cudarc::cudnn::sys::{cudnnDeterminism_t, cudnnMathType_t, cudnnStatus_t};

/// Bytes that an algorithm may want beside the operands. Where none is content with it, the most modest is taken.
pub const WORKSPACE: usize = 256 << 20;

/// An algorithm with what cuDNN says of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate<A> {
    /// Which.
    pub algorithm: A,
    /// Whether it computes this convolution.
    pub status: cudnnStatus_t,
    /// Bytes that it wants.
    pub memory: usize,
    /// Whether it gives the same bits each time.
    pub determinism: cudnnDeterminism_t,
    /// How it multiplies.
    pub math: cudnnMathType_t,
}

/// How convolutions are asked to multiply.
pub fn math(precision: Precision) -> cudnnMathType_t {
    match precision {
        // No tensor core: on newer GPUs the default would round factors to TF32.
        Precision::F32 => cudnnMathType_t::CUDNN_FMA_MATH,
        Precision::Tf32 => cudnnMathType_t::CUDNN_DEFAULT_MATH,
        Precision::Bf16 => cudnnMathType_t::CUDNN_TENSOR_OP_MATH,
    }
}

/// The algorithms that may be taken, best first. `candidates` are in cuDNN's order, fastest first.
pub fn rank<A>(candidates: Vec<Candidate<A>>, precision: Precision, deterministic: bool) -> Vec<Candidate<A>> {
    let allowed = |math: cudnnMathType_t| match math {
        cudnnMathType_t::CUDNN_DEFAULT_MATH | cudnnMathType_t::CUDNN_FMA_MATH => true,
        cudnnMathType_t::CUDNN_TENSOR_OP_MATH => precision != Precision::F32,
        // It rounds to half precision.
        cudnnMathType_t::CUDNN_TENSOR_OP_MATH_ALLOW_CONVERSION => false,
    };
    let mut list: Vec<_> = candidates
        .into_iter()
        .filter(|candidate| candidate.status == cudnnStatus_t::CUDNN_STATUS_SUCCESS && allowed(candidate.math))
        .filter(|candidate| !deterministic || candidate.determinism == cudnnDeterminism_t::CUDNN_DETERMINISTIC)
        .collect();
    // Stable: among those within the limit the order stays.
    list.sort_by_key(|candidate| if candidate.memory <= WORKSPACE { 0 } else { candidate.memory });
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(algorithm: u32) -> Candidate<u32> {
        Candidate {
            algorithm,
            status: cudnnStatus_t::CUDNN_STATUS_SUCCESS,
            memory: 0,
            determinism: cudnnDeterminism_t::CUDNN_DETERMINISTIC,
            math: cudnnMathType_t::CUDNN_DEFAULT_MATH,
        }
    }

    fn ranked(list: &[Candidate<u32>], precision: Precision, deterministic: bool) -> Vec<u32> {
        rank(list.to_vec(), precision, deterministic).into_iter().map(|candidate| candidate.algorithm).collect()
    }

    #[test]
    fn what_is_not_supported_is_not_taken() {
        let other = Candidate { status: cudnnStatus_t::CUDNN_STATUS_NOT_SUPPORTED, ..candidate(0) };
        assert_eq!(ranked(&[other, candidate(1)], Precision::Tf32, false), [1]);
        assert!(ranked(&[other], Precision::Tf32, false).is_empty());
    }

    #[test]
    fn the_fastest_within_the_limit_goes_first_and_the_most_modest_beyond_it() {
        let large = |algorithm, memory| Candidate { memory, ..candidate(algorithm) };
        let list = [large(0, WORKSPACE + 2), large(1, WORKSPACE), large(2, 0), large(3, WORKSPACE + 1)];
        assert_eq!(ranked(&list, Precision::Tf32, false), [1, 2, 3, 0]);
    }

    #[test]
    fn deterministic_runs_take_deterministic_algorithms() {
        let other = Candidate { determinism: cudnnDeterminism_t::CUDNN_NON_DETERMINISTIC, ..candidate(0) };
        assert_eq!(ranked(&[other, candidate(1)], Precision::F32, true), [1]);
        assert_eq!(ranked(&[other, candidate(1)], Precision::F32, false), [0, 1]);
    }

    #[test]
    fn no_algorithm_rounds_more_than_the_precision_says() {
        let of = |algorithm, math| Candidate { math, ..candidate(algorithm) };
        let list = [
            of(0, cudnnMathType_t::CUDNN_TENSOR_OP_MATH_ALLOW_CONVERSION),
            of(1, cudnnMathType_t::CUDNN_TENSOR_OP_MATH),
            of(2, cudnnMathType_t::CUDNN_FMA_MATH),
        ];
        assert_eq!(ranked(&list, Precision::F32, false), [2]);
        assert_eq!(ranked(&list, Precision::Tf32, false), [1, 2]);
        assert_eq!(ranked(&list, Precision::Bf16, false), [1, 2]);
        assert_eq!(math(Precision::F32), cudnnMathType_t::CUDNN_FMA_MATH);
    }
}
