//! Developer chores of the workspace.
fn main() {}
