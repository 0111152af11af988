//! The commands.

pub mod common;
