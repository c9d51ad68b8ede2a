//! Output of commands.

pub(crate) use clapp_data::console::{note, say};
