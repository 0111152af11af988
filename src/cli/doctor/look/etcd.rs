//! What other machines say: each endpoint of etcd, the group in it, the FleetLock server.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use host::{certificate::server, etcd};
use jiff::Timestamp;
use semaphore::keys::Keys;

use crate::cli::{
    Context,
    doctor::{
        facts::{Endpoint, Fleet},
        finding::Trouble,
    },
};

/// Every endpoint, asked on its own.
pub(super) async fn endpoints(context: &Context) -> Result<Vec<Endpoint>, Trouble> {
    let config = &context.config;
    let options = config.etcd_options().map_err(Trouble::from)?;
    let key = Keys::new(&config.prefix, config.group.clone()).semaphore();
    let all = etcd::Connection::new(options);
    let clusters: BTreeMap<String, u64> = all.clusters().await.into_iter().collect();
    let asked = all.options().endpoints.iter().map(|url| async {
        let (answers, valid_until) = (
            answers(&all, url, &key).await,
            server::valid_until(url, all.timeout()).await,
        );
        Endpoint {
            answers,
            cluster: clusters.get(url).copied(),
            valid_until,
            url: url.clone(),
        }
    });
    Ok(join_all(asked).await)
}

async fn answers(all: &etcd::Connection, url: &str, key: &str) -> Result<(), String> {
    match all.to(vec![url.to_owned()]).get(key).await {
        Ok(_) => Ok(()),
        Err(etcd::Error::Unreachable { reasons, .. }) => {
            let each: Vec<String> = reasons.into_iter().map(|(_, why)| why).collect();
            Err(each.join("; "))
        }
        Err(error) => Err(error.to_string()),
    }
}

/// The group; none where no endpoint answers, which is a fact of its own.
pub(super) async fn fleet(context: &Context) -> Option<Result<Fleet, Trouble>> {
    let semaphore = match context.semaphore() {
        Ok(semaphore) => semaphore,
        Err(failure) => return Some(Err(failure.into())),
    };
    let group = match semaphore.read().await {
        Ok(group) => group,
        Err(error) if error.is_unreachable() => return None,
        Err(error) => return Some(Err(error.into())),
    };
    let overdue = group.holders.iter().filter(|holder| holder.overdue);
    Some(Ok(Fleet {
        document: match &group.document {
            Some(Err(error)) => Some(error.to_string()),
            _ => None,
        },
        overdue: overdue.map(|holder| holder.id.clone()).collect(),
        nodes: group
            .nodes
            .iter()
            .map(|node| (node.agent.clone(), image(node)))
            .collect(),
    }))
}

/// What a node runs: its version, and the image where that tells more; on a machine without images the kernel.
fn image(node: &semaphore::records::NodeRecord) -> String {
    match (&node.runs.version, &node.runs.digest, &node.kernel) {
        (Some(version), Some(digest), _) => {
            format!("{version} ({})", digest.get(..19).unwrap_or(digest))
        }
        (None, None, Some(kernel)) => format!("kernel {kernel}"),
        _ => node.runs.to_string(),
    }
}

/// The FleetLock server and the dates of its certificates, where this node asks one by TLS.
pub(super) async fn lock_server(context: &Context) -> Option<(String, Vec<Timestamp>)> {
    let (_, server) = context.fleet_lock_client()?;
    let dates = server::valid_until(&server.url, server.timeout).await;
    Some((server.url.clone(), dates))
}
