//! Criterion benchmarks of the workspace; the benchmarks themselves lie in `benches/`.
