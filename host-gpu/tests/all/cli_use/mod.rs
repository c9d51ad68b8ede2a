//! The command line as a whole: outputs destroy nothing, messages that nobody reads stop nothing, a configuration is
//! given in parts.
#![cfg(unix)]

mod outputs;
mod pages;
mod settings;
mod streams;
