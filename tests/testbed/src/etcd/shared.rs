//! One cluster for all tests of a process.

use std::sync::OnceLock;

use super::Cluster;

/// One cluster of three for all tests of the process that do not break etcd; started by the first that asks.
/// Keep apart by [`unique_prefix`].
pub fn shared_cluster() -> &'static Cluster {
    static SHARED: OnceLock<Cluster> = OnceLock::new();
    SHARED.get_or_init(|| {
        // On a thread of its own: the caller may be inside a runtime, where another cannot be entered.
        let start = || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime
                .expect("a runtime can be made")
                .block_on(Cluster::start(3))
        };
        std::thread::spawn(start)
            .join()
            .expect("the shared etcd cluster starts")
    })
}

/// A key prefix no other test uses, without a slash at either end.
pub fn unique_prefix(name: &str) -> String {
    format!("test/{name}/{}", crate::scratch::random_hex())
}
