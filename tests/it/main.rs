//! Tests on real parts: etcd processes, a dbus-daemon, agents as processes of their own.

mod agent;
mod agents;
mod contention;
mod etcd_trouble;
mod semaphore;
mod support;
