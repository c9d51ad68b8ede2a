//! Tests that span the crates of the workspace; the tests themselves lie in `tests/`.
