//! What commands print.

pub(crate) use clapp_data::console::{note, say};
