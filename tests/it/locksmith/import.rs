//! Copying locksmith's locks out of etcd's v2 key space.

use pointsman_testbed::{
    etcd::{Cluster, shared_cluster, unique_prefix},
    fakes::PATIENCE,
    process::{Output, run},
};
use serde_json::Value;

use crate::agents::bin;

/// Writes a lock as locksmith does: over HTTP, in the v2 key space.
async fn v2_lock(cluster: &Cluster, under: &str, document: &str) {
    let url = format!(
        "{}/v2/keys/coreos.com/updateengine/rebootlock/{under}semaphore",
        cluster.endpoint(0)
    );
    let value = format!("value={document}");
    let args = ["-sS", "-f", "-X", "PUT", &url, "--data-urlencode", &value];
    let done = run("curl", args, &[], PATIENCE).await;
    assert_eq!(done.code, Some(0), "{done:?}");
}

/// An operator of this etcd, under a prefix of its own.
struct Operator<'a>(&'a Cluster, String);

impl Operator<'_> {
    async fn run(&self, args: &[&str]) -> Output {
        let endpoint = self.0.endpoint(0);
        let common = [
            "--root",
            "/mnt",
            "--endpoint",
            &endpoint,
            "--key-prefix",
            &self.1,
        ];
        run(bin(), [args, &common].concat(), &[], PATIENCE).await
    }

    async fn says(&self, args: &[&str], code: i32, says: &str) -> Output {
        let done = self.run(args).await;
        assert_eq!(done.code, Some(code), "{args:?}: {done:?}");
        let text = format!("{}{}", done.stdout, done.stderr);
        assert!(text.contains(says), "{args:?} should say {says:?}: {text}");
        done
    }

    async fn group(&self, name: &str) -> Value {
        let shown = self
            .says(&["status", "--json", "--group", name], 0, "")
            .await;
        let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
        shown["groups"][0].clone()
    }
}

#[tokio::test]
async fn the_locks_of_every_group_are_shown_and_then_copied_once() {
    let cluster = Cluster::builder(1).v2().start().await;
    let op = Operator(&cluster, unique_prefix("import"));
    op.says(
        &["import-locksmith", "--yes"],
        0,
        "There are no locks of locksmith. Nothing to copy.",
    )
    .await;
    v2_lock(&cluster, "", r#"{"semaphore":1,"max":1,"holders":null}"#).await;
    let busy = r#"{"semaphore":1,"max":3,"holders":["b","a"]}"#;
    v2_lock(&cluster, "groups/prod%252Fdb/", busy).await;
    let shown = op
        .says(&["import-locksmith"], 0, "Nothing was changed")
        .await;
    for words in [
        "(default)  1    nobody   copy",
        "prod/db    3    a, b     copy",
    ] {
        assert!(shown.stdout.contains(words), "{}", shown.stdout);
    }
    assert!(op.group("prod/db").await["max"].is_null());
    op.says(&["import-locksmith", "--yes"], 0, "Copied: prod/db")
        .await;
    assert_eq!(op.group("").await["max"], 1);
    let group = op.group("prod/db").await;
    assert_eq!((&group["max"], &group["available"]), (&3.into(), &1.into()));
    assert_eq!(group["holders"][0]["phase"], "manual");
    op.says(&["import-locksmith", "--yes"], 0, "none, already copied")
        .await;
    op.says(&["unlock", "a", "--group", "prod/db"], 0, "does not hold")
        .await;
    // Changed since: not touched, and nothing else is either.
    v2_lock(&cluster, "groups/new/", busy).await;
    op.says(
        &["import-locksmith", "--yes"],
        1,
        "the reboot lock of prod/db is already in use, and differs",
    )
    .await;
    assert!(op.group("new").await["max"].is_null());
}

#[tokio::test]
async fn import_without_readable_locks_says_why() {
    let op = Operator(shared_cluster(), unique_prefix("import-none"));
    op.says(&["import-locksmith"], 4, "started with --enable-v2")
        .await;
    op.says(
        &["import-locksmith", "--from", "http://127.0.0.1:1"],
        4,
        "refused",
    )
    .await;
    let cluster = Cluster::builder(1).v2().start().await;
    v2_lock(&cluster, "groups/x/", "{").await;
    let from = cluster.endpoint(0);
    op.says(
        &["import-locksmith", "--from", &from, "--yes"],
        1,
        "rebootlock/groups/x/semaphore: ",
    )
    .await;
}
