//! Several processes over MPI: gradients and states of the ranks, and whole runs.

#[path = "../all/cli_common/mod.rs"]
mod cli_common;
mod common;
mod ranks;
mod runs;
#[path = "../../data/tests/all/sets/mod.rs"]
mod sets;
