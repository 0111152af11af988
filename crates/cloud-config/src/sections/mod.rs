//! The sections of a document: one module each, with its keys, its values, its checks and its steps. `document.rs` lists
//! them.

pub(crate) mod hostname;
pub(crate) mod manage_etc_hosts;
pub(crate) mod oem;
pub(crate) mod services;
pub(crate) mod ssh_authorized_keys;
pub(crate) mod units;
pub(crate) mod users;
pub(crate) mod write_files;
