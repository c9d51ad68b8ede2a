//! Experiments and their pages: the paper's theory, figures and tables, streams, recommendations and reports.

#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod continual;
pub mod draw;
pub mod paper;
pub mod recommend;
pub mod report;
pub mod theory;
