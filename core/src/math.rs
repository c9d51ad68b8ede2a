//! The functions beyond the four operations, each under one name, with one switch between two libraries.
//!
//! By default they are `libm`'s: no more than an ulp or so off, and the same bits on every target. With the
//! feature `micromath` they are smaller and faster approximations (relative errors up to 0.003), also
//! the same bits on every target.

// Called by its path, since a method of the same name would be the standard library's where that is linked.
#[cfg(feature = "micromath")]
use micromath::F32Ext;

/// `e^x`. NaN stays NaN.
pub fn exp(x: f32) -> f32 {
    #[cfg(not(feature = "micromath"))]
    return libm::expf(x);
    // micromath makes a number of NaN; a guard further on must still see it.
    #[cfg(feature = "micromath")]
    return if x.is_nan() { x } else { F32Ext::exp(x) };
}

/// `ln(1 + x)` for `x > -1`, exact also near 0. NaN stays NaN.
pub fn ln_1p(x: f32) -> f32 {
    #[cfg(not(feature = "micromath"))]
    return libm::log1pf(x);
    // Near 0 the logarithm is much closer to the first terms of its series than to micromath's approximation.
    #[cfg(feature = "micromath")]
    return if x.is_nan() {
        x
    } else if x.abs() < 0.05 {
        x * (1.0 - x * (0.5 - x * (1.0 / 3.0)))
    } else {
        F32Ext::ln(1.0 + x)
    };
}

/// Square root; NaN for `x < 0`. NaN stays NaN.
pub fn sqrt(x: f32) -> f32 {
    #[cfg(not(feature = "micromath"))]
    return libm::sqrtf(x);
    // micromath is up to 5 % off; one step of Newton's method makes that 0.1 %.
    #[cfg(feature = "micromath")]
    return if x > 0.0 && x < f32::INFINITY {
        let guess = F32Ext::sqrt(x);
        0.5 * (guess + x / guess)
    } else if x < 0.0 {
        f32::NAN
    } else {
        x
    };
}

/// `x`, with one NaN for all: which sign and payload an operation's NaN has differs from platform to platform.
pub(crate) fn the_one_nan(x: f32) -> f32 {
    if x.is_nan() { f32::NAN } else { x }
}

/// `ln(1 + e^x)`, without overflow for any `x`.
pub fn softplus(x: f32) -> f32 {
    let positive = if x > 0.0 { x } else { 0.0 };
    positive + ln_1p(exp(-x.abs()))
}

/// `1 / (1 + e^-x)`, the derivative of [`softplus`], without overflow for any `x`.
pub fn sigmoid(x: f32) -> f32 {
    let small = exp(-x.abs());
    if x >= 0.0 { 1.0 / (1.0 + small) } else { small / (1.0 + small) }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;

    /// Largest relative error that the chosen library is allowed.
    const TOLERANCE: f64 = if cfg!(feature = "micromath") { 3e-3 } else { 3e-7 };

    fn check(name: &str, x: f32, got: f32, want: f64) {
        let error = (f64::from(got) - want).abs() / want.abs().max(1e-30);
        assert!(error <= TOLERANCE, "{name}({x}) = {got}, not {want} (relative error {error:e})");
    }

    #[test]
    fn functions_agree_with_std_in_double_precision() {
        for step in -300..=300 {
            let x = step as f32 * 0.1;
            let wide = f64::from(x);
            check("exp", x, exp(x), wide.exp());
            check("sigmoid", x, sigmoid(x), 1.0 / (1.0 + (-wide).exp()));
            check("softplus", x, softplus(x), wide.exp().ln_1p());
            if x > 0.0 {
                check("sqrt", x, sqrt(x), wide.sqrt());
            }
            let above_zero = exp(x);
            check("ln_1p", above_zero, ln_1p(above_zero), f64::from(above_zero).ln_1p());
        }
    }

    #[test]
    fn extremes_stay_in_range() {
        assert_eq!([sigmoid(f32::INFINITY), sigmoid(f32::NEG_INFINITY)], [1.0, 0.0]);
        assert_eq!([sigmoid(1e30), sigmoid(-1e30)], [1.0, 0.0]);
        assert_eq!([softplus(1e30), softplus(-1e30)], [1e30, 0.0]);
        assert_eq!([sqrt(0.0), sqrt(f32::INFINITY)], [0.0, f32::INFINITY]);
        assert!(sqrt(-1.0).is_nan());
        for function in [exp, ln_1p, sqrt, softplus, sigmoid] {
            assert!(function(f32::NAN).is_nan());
        }
    }
}
