//! etcd behind certificates and passwords.

use std::{fs, path::Path};

use pointsman_testbed::{
    etcd::{Certificates, Cluster, Tls, Version, unique_prefix},
    process::Output,
};

use super::{on_both, pointsman_at};

on_both!(
    certificates_open_the_door_and_wrong_ones_are_named,
    a_certificate_for_another_name_or_time_is_named,
);

const CA: [&str; 2] = ["--etcd-cafile", "/ca.pem"];
const CLIENT: [&str; 4] = [
    "--etcd-certfile",
    "/client.pem",
    "--etcd-keyfile",
    "/client-key.pem",
];

async fn lock(cluster: &Cluster, root: &Path, flags: &[&str]) -> Output {
    let prefix = unique_prefix("secured");
    pointsman_at(
        root,
        &cluster.endpoints(),
        &prefix,
        &[&["lock", "n"], flags].concat(),
    )
    .await
}

/// Refused as out of reach: the endpoint is named, and why.
fn refused(cluster: &Cluster, done: &Output, words: &str) {
    assert_eq!(done.code, Some(4), "{done:?}");
    let line = format!("  {}: ", cluster.endpoint(0));
    let (_, reason) = done.stderr.split_once(&line).unwrap();
    assert!(reason.contains(words), "{done:?}");
}

async fn certificates_open_the_door_and_wrong_ones_are_named(version: Version) {
    let other = tempfile::tempdir().unwrap();
    Certificates::write(other.path());
    let both = [&CA[..], &CLIENT].concat();

    let open = Cluster::builder(1)
        .version(version)
        .tls(Tls::ServerOnly)
        .start()
        .await;
    assert_eq!(lock(&open, open.dir(), &CA).await.code, Some(0));
    assert_eq!(lock(&open, open.dir(), &both).await.code, Some(0));
    let unknown = "not signed by";
    refused(&open, &lock(&open, open.dir(), &[]).await, unknown);
    refused(&open, &lock(&open, other.path(), &CA).await, unknown);

    let closed = Cluster::builder(1)
        .version(version)
        .tls(Tls::ClientCert)
        .start()
        .await;
    assert_eq!(lock(&closed, closed.dir(), &both).await.code, Some(0));
    refused(
        &closed,
        &lock(&closed, closed.dir(), &CA).await,
        "asks for a client certificate",
    );
    // The right CA to trust, and a certificate of another to show.
    fs::copy(
        closed.certificates().ca.clone(),
        other.path().join("ca.pem"),
    )
    .unwrap();
    refused(
        &closed,
        &lock(&closed, other.path(), &both).await,
        "client certificate of an authority it trusts",
    );
}

async fn a_certificate_for_another_name_or_time_is_named(version: Version) {
    let cluster = Cluster::builder(1)
        .version(version)
        .tls(Tls::ServerOnly)
        .start()
        .await;
    cluster.certificates().let_expire();
    refused(
        &cluster,
        &lock(&cluster, cluster.dir(), &CA).await,
        "has expired",
    );
    cluster.certificates().rename();
    let done = lock(&cluster, cluster.dir(), &CA).await;
    refused(&cluster, &done, "elsewhere.example");
}
