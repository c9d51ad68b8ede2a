//! Host side of `clapp`: data, backends, training and evaluation of the local rules.

#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod cli;
