//! One self-contained page that compares runs: tables, plots, and which fields of their configurations differ.
//!
//! The page asks for nothing from anywhere and runs no script; the same folders give the same bytes.

mod confusion;
mod course;
mod differences;
mod figures;
mod page;
mod protocols;
mod run;
mod seeds;
mod sets;
mod tables;

pub use course::Course;
pub use page::render;
pub use protocols::{Group, groups};
pub use run::{Found, Run, Skipped, find, tell_apart};
