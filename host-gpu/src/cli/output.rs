//! What commands print.

pub(crate) use crate::console::{note, say};
