//! Real etcd clusters on loopback.

mod ask;
mod backup;
mod cluster;
mod metrics;
mod options;
mod shared;
mod tls;

pub use cluster::Cluster;
pub use metrics::Requests;
pub use options::{Builder, Tls, Version};
pub use shared::{shared_cluster, unique_prefix};
pub use tls::{Certificates, expiring_client};

#[cfg(test)]
mod tests;
