//! The program `clapp`.
fn main() {}
