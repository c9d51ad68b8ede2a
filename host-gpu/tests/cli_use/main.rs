//! The command line as a whole: outputs destroy nothing, messages that nobody reads stop nothing, a configuration is
//! given in parts.
#![cfg(unix)]

#[path = "../cli_common/mod.rs"]
mod cli_common;
mod outputs;
mod settings;
mod streams;
