//! The machinery for pointsman's integration tests, benches and demo. It knows nothing of pointsman itself.
//!
//! - [`etcd`]: real etcd clusters, with TLS, passwords, hung and dead members, restored backups
//! - [`bus`]: a private system bus (a real dbus-daemon)
//! - [`fakes`]: update_engine, logind and systemd as the agent sees them on that bus
//! - [`node`]: one agent under test: its root directory, bus, fakes, notify socket, and its "reboots"
//! - [`disk`]: images of disks with two slots
//! - [`proxy`]: a TCP proxy that refuses, swallows, delays, or loses a reply
//! - [`airlock`]: a FleetLock server as airlock is one, and what networks make of its answers
//! - [`pages`]: the blocks of code in a Markdown page, and which test runs them
//! - [`process`]: children that die with the test process
//! - [`release_before`]: the program as the release before built it
//! - [`random`]: numbers from a seed
//! - [`scratch`]: directories that are removed even after a test process was killed
//! - [`web`]: an HTTP server that answers as it is told, and misbehaves
//!
//! What cannot be set up panics with a message that says what failed: a test has nothing better to do.

pub mod airlock;
pub mod bus;
pub mod disk;
pub mod etcd;
pub mod fakes;
pub mod node;
pub mod pages;
pub mod process;
pub mod proxy;
pub mod random;
pub mod release_before;
pub mod scratch;
pub mod web;
