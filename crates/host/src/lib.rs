//! The machine a program of this project runs on: what it is, and what its own services say.
//!
//! - [`node`]: its files, its id, its boot; the root below which they lie
//! - [`bus`], [`systemd`], [`logind`], [`clock`], [`update_engine`], [`sentinel`]: what its services say
//! - [`hooks`], [`broadcast`], [`coordinator`]: its operator's scripts, its people, who else reboots it
//! - [`etcd`], [`http`], [`certificate`]: the way to other machines
//! - [`telemetry`], [`text`], [`duration`], [`time`], [`kept`], [`remedy`], [`blocking`]: the log, foreign text, time spans,
//!   times, errors as values, what to do about an error, work that waits for a disk

pub mod blocking;
pub mod broadcast;
pub mod bus;
pub mod certificate;
pub mod clock;
pub mod coordinator;
pub mod duration;
pub mod etcd;
pub mod fleet_lock;
pub mod hooks;
pub mod http;
pub mod kept;
pub mod logind;
pub mod node;
pub mod remedy;
pub mod sentinel;
pub mod systemd;
pub mod telemetry;
pub mod text;
pub mod time;
pub mod update_engine;
