//! Tests on real parts: etcd processes, a dbus-daemon, agents as processes of their own.

mod contention;
mod semaphore;
mod support;
