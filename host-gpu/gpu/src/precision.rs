//! The precision of convolutions and products on a GPU.

use super::op::MapType;
use clap::ValueEnum;
use std::fmt;

/// Number format of convolutions and products. Sums are in `f32` in all three.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, ValueEnum)]
pub enum Precision {
    /// Products of `f32`.
    F32,
    /// Convolutions round the factors to 10 bits behind the point (TF32); products of matrices are of `f32`. What
    /// PyTorch does unless it is told otherwise.
    #[default]
    Tf32,
    /// Maps and weights of convolutions are kept in the upper 16 bits of an `f32`; products of matrices round their
    /// factors so.
    Bf16,
}

impl Precision {
    /// Element type of the maps.
    pub fn maps(self) -> MapType {
        match self {
            Self::F32 | Self::Tf32 => MapType::F32,
            Self::Bf16 => MapType::Bf16,
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Tf32 => "tf32",
            Self::Bf16 => "bf16",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_on_the_command_line_are_those_that_are_shown() {
        for precision in Precision::value_variants() {
            let shown = precision.to_string();
            assert_eq!(Precision::from_str(&shown, false), Ok(*precision));
        }
        assert_eq!(Precision::default(), Precision::Tf32);
        assert_eq!(Precision::Bf16.maps().bytes(), 2);
    }
}
