//! The parts of the firmware that know no board: they run, and are tested, on the host as well.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
