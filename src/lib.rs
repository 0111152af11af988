//! pointsman: decides when a node may reboot into its new image, and takes the group's semaphore first.
//!
//! - [`cli`]: one file a command
//! - [`config`]: flags > environment > files > locksmith's environment > update.conf > defaults
//! - [`agent`]: the node's agent: a pure machine of states, its journal, its driver, its interface on the bus
//! - [`semaphore`]: who may be out of service; document and queue (pure), etcd
//! - [`slots`]: the two system partitions, which one boots next, and changing that
//! - [`cloud_config`]: the document that configures a node: what is in it, where it comes from, what is wrong with it, what it does
//! - [`window`], [`duration`]: when, and how long (pure); [`text`]: foreign text as it may be shown (pure)
//! - [`update_engine`], [`sentinel`], [`logind`], [`systemd`], [`bus`]: what the node's own services say
//! - [`http`], [`hooks`], [`broadcast`], [`coordinator`], [`telemetry`], [`node`]: the rest of the machine
//! - [`blocking`]: work that waits for a disk

pub mod agent;
pub mod blocking;
pub mod broadcast;
pub mod bus;
pub mod cli;
pub mod cloud_config;
pub mod config;
pub mod coordinator;
pub mod duration;
pub mod hooks;
pub mod http;
pub mod logind;
pub mod node;
pub mod semaphore;
pub mod sentinel;
pub mod slots;
pub mod systemd;
pub mod telemetry;
pub mod text;
pub mod update_engine;
pub mod window;
mod yaml;
