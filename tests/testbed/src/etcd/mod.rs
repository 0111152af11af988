//! Real etcd clusters on loopback.

mod backup;
mod cluster;
mod metrics;
mod options;
mod tls;

pub use cluster::{Cluster, shared_cluster, unique_prefix};
pub use metrics::Requests;
pub use options::{Builder, Tls, Version};
pub use tls::Certificates;

#[cfg(test)]
mod tests;
