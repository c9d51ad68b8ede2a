//! The own kernels, in CUDA C++: what no library does. They are compiled at run time, all files as one.

mod signatures;

pub use signatures::{Kind, Parameter, check_arguments, kernels, scan};

use super::op::MapType;

/// The files, in the order in which they are compiled.
pub const FILES: &[(&str, &str)] = &[
    ("common.cu", include_str!("common.cu")),
    ("block.cu", include_str!("block.cu")),
    ("add.cu", include_str!("add.cu")),
    ("contrast.cu", include_str!("contrast.cu")),
    ("optimizer.cu", include_str!("optimizer.cu")),
    ("projection.cu", include_str!("projection.cu")),
    ("info_nce.cu", include_str!("info_nce.cu")),
    ("matching.cu", include_str!("matching.cu")),
    ("rng.cu", include_str!("rng.cu")),
    ("draw.cu", include_str!("draw.cu")),
    ("mixture.cu", include_str!("mixture.cu")),
    ("colour.cu", include_str!("colour.cu")),
    ("resample.cu", include_str!("resample.cu")),
    ("augment.cu", include_str!("augment.cu")),
    ("probe.cu", include_str!("probe.cu")),
];

/// All files as one source.
pub fn source() -> String {
    FILES.iter().map(|(name, text)| format!("#line 1 \"{name}\"\n{text}\n")).collect()
}

/// The macro to define for maps of this type.
pub fn definition(maps: MapType) -> Option<&'static str> {
    match maps {
        MapType::F32 => None,
        MapType::Bf16 => Some("MAP_BF16"),
    }
}

/// Options of the compiler, beside the machine: maps of this type; with `deterministic` no product is contracted with a
/// sum, so that roundings are those of the CPU.
pub fn options(maps: MapType, deterministic: bool) -> Vec<String> {
    let mut options = vec!["--std=c++17".to_string()];
    options.extend(definition(maps).map(|name| format!("-D{name}")));
    if deterministic {
        options.push("--fmad=false".into());
    }
    options
}
