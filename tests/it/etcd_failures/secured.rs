//! etcd behind certificates and passwords.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use etcd_client::{AlarmAction, AlarmType, Permission};
use pointsman_testbed::{
    etcd::{Certificates, Cluster, Tls, Version, unique_prefix},
    process::Output,
};
use semaphore::etcd::{Options, Owner};

use super::{Waiter, acquire, local, on_both, pointsman_at, release};
use crate::support::{claim, eventually, options, with};

on_both!(
    client_certificates_are_accepted_and_wrong_ones_named,
    a_certificate_for_another_name_or_time_is_named,
    password_is_accepted_and_a_wrong_one_named,
    a_token_that_ends_is_renewed_silently,
    full_store_is_reported_with_its_remedy,
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
        &[&["lock", "--as", "n"], flags].concat(),
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

async fn client_certificates_are_accepted_and_wrong_ones_named(version: Version) {
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
    let unknown = "the server's certificate is not signed by a trusted authority";
    let other_key =
        "the server's certificate names a trusted authority, but was signed with another key";
    refused(&open, &lock(&open, open.dir(), &[]).await, unknown);
    refused(&open, &lock(&open, other.path(), &CA).await, other_key);

    let closed = Cluster::builder(1)
        .version(version)
        .tls(Tls::ClientCert)
        .start()
        .await;
    assert_eq!(lock(&closed, closed.dir(), &both).await.code, Some(0));
    refused(
        &closed,
        &lock(&closed, closed.dir(), &CA).await,
        "perhaps it requires a client certificate",
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
        "perhaps it requires a client certificate",
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
        "the server's certificate was valid until 2020-01-01 00:00:00 UTC",
    );
    cluster.certificates().rename();
    let done = lock(&cluster, cluster.dir(), &CA).await;
    refused(&cluster, &done, "elsewhere.example");
}

/// A machine with this password in /password.
fn machine(password: &str) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("password");
    fs::write(&file, password).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    root
}

const USER: [&str; 4] = [
    "--etcd-username",
    "root",
    "--etcd-password-file",
    "/password",
];

/// etcd has answered: it is not out of reach, and nothing is tried until the time is over.
fn denied(done: &Output, words: &str) {
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(
        done.stderr.contains("etcd refuses") && done.stderr.contains(words),
        "{done:?}"
    );
}

async fn password_is_accepted_and_a_wrong_one_named(version: Version) {
    let cluster = Cluster::builder(1)
        .version(version)
        .password("s3cret")
        .start()
        .await;
    let (right, wrong) = (machine("s3cret"), machine("guess"));
    assert_eq!(lock(&cluster, right.path(), &USER).await.code, Some(0));
    let done = lock(&cluster, wrong.path(), &USER).await;
    denied(&done, "authentication failed");
    assert!(!done.stderr.contains("guess"), "{done:?}");
    denied(&lock(&cluster, right.path(), &[]).await, "--etcd-username");

    let mut root = cluster.client().await;
    root.role_add("reader").await.unwrap();
    let all = Permission::read("test/").with_prefix();
    root.role_grant_permission("reader", all).await.unwrap();
    root.user_add("ann", "s3cret", None).await.unwrap();
    root.user_grant_role("ann", "reader").await.unwrap();
    let ann = [
        "--etcd-username",
        "ann",
        "--etcd-password-file",
        "/password",
    ];
    denied(
        &lock(&cluster, right.path(), &ann).await,
        "permission denied; the user needs a role",
    );
    let prefix = unique_prefix("secured");
    let args = [&["status"][..], &ann].concat();
    let done = pointsman_at(right.path(), &cluster.endpoints(), &prefix, &args).await;
    assert_eq!(done.code, Some(0), "what the role allows: {done:?}");
}

async fn a_token_that_ends_is_renewed_silently(version: Version) {
    local!({
        let cluster = Cluster::builder(1)
            .version(version)
            .password("s3cret")
            .start()
            .await;
        let prefix = unique_prefix("token");
        let user = Some(("root".to_owned(), "s3cret".to_owned()));
        let options = Options {
            user,
            ..options(cluster.endpoints())
        };
        let s = with(options.clone(), &prefix);
        let out = claim("out");
        acquire(&s, &out).await;
        let mut waiter = Waiter::start_with(options, &prefix, "n");
        waiter.says(0, "taken by out").await;
        // Every token of the user ends, and no connection.
        let end_tokens = async || {
            let mut root = cluster.client().await;
            root.user_change_password("root", "s3cret").await.unwrap();
        };
        end_tokens().await;
        assert_eq!(
            s.owner("out", &out.holder.nonce).await.unwrap(),
            Owner::Claim
        );
        assert_eq!(waiter.said(), 1);
        // Tokens are kept in the member's memory.
        cluster.restart_member(0).await;
        assert_eq!(
            s.owner("out", &out.holder.nonce).await.unwrap(),
            Owner::Claim
        );
        end_tokens().await;
        release(&s, &out).await;
        waiter.takes().await;
        assert!(!waiter.heard("token"), "{:?}", waiter.notes);
    });
}

async fn full_store_is_reported_with_its_remedy(version: Version) {
    let cluster = Cluster::builder(1)
        .version(version)
        .quota(1 << 20)
        .start()
        .await;
    let mut client = cluster.client().await;
    for i in 0.. {
        let put = client
            .put(format!("ballast/{i}"), vec![b'x'; 1 << 17], None)
            .await;
        if put.is_err() {
            break;
        }
        assert!(i < 100, "the quota is not kept");
    }
    // The refused write is told before the member has raised its alarm.
    eventually(
        "the alarm",
        async || {
            let (get, none) = (AlarmAction::Get, AlarmType::None);
            let alarms = cluster.client().await.alarm(get, none, None).await;
            alarms.unwrap().alarms().len()
        },
        |raised| *raised > 0,
    )
    .await;
    let root = tempfile::tempdir().unwrap();
    let done = lock(&cluster, root.path(), &[]).await;
    denied(&done, "database space exceeded");
    assert!(done.stderr.contains("etcdctl alarm disarm"), "{done:?}");
    let prefix = unique_prefix("secured");
    let endpoints = cluster.endpoints();
    let status = async || pointsman_at(root.path(), &endpoints, &prefix, &["status"]).await;
    match version {
        Version::Debian => assert_eq!(status().await.code, Some(0), "reading goes on"),
        // Early releases of 3.5 refuse transactions that only read as well, though not at once.
        Version::V35 => {
            let done = eventually("the refusal", status, |done| done.code != Some(0)).await;
            denied(&done, "database space exceeded");
        }
    }
}
