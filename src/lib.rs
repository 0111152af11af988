//! pointsman: decides when a node may reboot into its new image, and takes the group's reboot lock first. ARCHITECTURE.md
//! says what is where.
//!
//! - [`cli`]: one file a command
//! - [`notify`]: tells programs and webhooks what happens on the node
//! - [`agent`]: the node's agent: a pure machine of states, its journal, its driver, its interface on the bus
//! - [`serve`]: the HTTP server: FleetLock, and what the cluster does

pub mod agent;
pub mod cli;
pub mod metrics;
pub mod notify;
pub mod serve;

#[cfg(test)]
mod documents;
