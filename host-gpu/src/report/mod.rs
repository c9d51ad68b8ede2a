//! One self-contained page that compares runs: tables, plots, and which fields of their configurations differ.
//!
//! The page asks for nothing from anywhere and runs no script; the same folders give the same bytes.

mod charts;
mod course;
mod differences;
mod figures;
mod page;
mod run;
mod seeds;
mod sets;
mod tables;

pub(crate) use charts::{run_colour, short};
pub use course::Course;
pub use page::render;
pub use run::{Run, Skipped, find};
