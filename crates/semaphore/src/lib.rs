//! The semaphore: who of a group may be out of service, and who waits.
//!
//! [`document`], [`records`], [`acts`], [`keys`], [`store`] and [`queue`] are values and decisions on them; [`etcd`] reads
//! and changes them in etcd's v3 store, each change one transaction. [`mod@file`] keeps places of clients that only poll ([`poller`]) on one
//! machine, without etcd; [`fleet_lock`] is such a client.

pub mod acts;
pub mod commit;
pub mod document;
pub mod etcd;
pub mod file;
pub mod fleet_lock;
pub mod gates;
pub mod keys;
pub mod lenient;
pub mod lost;
pub mod marks;
pub mod own_record;
pub mod policy;
pub mod poller;
pub mod queue;
pub mod records;
pub mod rollout;
pub mod store;
pub mod stored;
pub mod v2;
pub mod waves;
