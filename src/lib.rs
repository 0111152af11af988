//! pointsman: decides when a node may reboot into its new image, and takes the semaphore first.

pub mod agent;
pub mod bus;
pub mod config;
pub mod node;
pub mod semaphore;
pub mod sentinel;
pub mod update_engine;
pub mod window;
