//! Whole systems for pointsman's tests: booted containers (systemd-nspawn) with systemd as their first process, on a
//! network of their own, with the package as users have it.
//!
//! - [`bed`]: what the machine has to have, the system all nodes are laid over, what an earlier run left
//! - [`network`]: a bridge in a network namespace, and one namespace a node
//! - [`container`]: one booted system: its boot loader, reboots, power cuts, commands inside
//! - [`cluster`]: three of them with etcd, and what an operator sees
//!
//! What cannot be set up panics with a message that says what failed: a test has nothing better to do.

pub mod bed;
pub mod cluster;
pub mod container;
pub mod network;
