//! The semaphore's document as people and other tools may leave it, by the commands.

use pointsman_testbed::etcd::{shared_cluster, unique_prefix};

use super::{acquire, pointsman};
use crate::support::{claim, on};

async fn put(prefix: &str, text: &str) {
    let mut client = shared_cluster().client().await;
    client
        .put(format!("{prefix}/semaphore"), text, None)
        .await
        .unwrap();
}

async fn get(prefix: &str) -> String {
    let mut client = shared_cluster().client().await;
    let found = client
        .get(format!("{prefix}/semaphore"), None)
        .await
        .unwrap();
    String::from_utf8(found.kvs()[0].value().to_vec()).unwrap()
}

#[tokio::test]
async fn a_damaged_document_is_shown_and_rebuilt_from_the_holders() {
    let endpoints = shared_cluster().endpoints();
    for text in [
        "",
        "oops",
        "null",
        "[]",
        r#"{"semaphore":1,"holders":[]}"#,
        r#"{"semaphore":1,"max":-1,"holders":[]}"#,
        r#"{"semaphore":1,"max":null,"holders":[]}"#,
        r#"{"semaphore":1,"max":1,"holders":[7]}"#,
    ] {
        let prefix = unique_prefix("damaged");
        let s = on(shared_cluster(), &prefix);
        s.set_max(2, false).await.unwrap();
        acquire(&s, &claim("b")).await;
        acquire(&s, &claim("a")).await;
        put(&prefix, text).await;
        for args in [
            &["status"][..],
            &["lock", "--as", "n"],
            &["unlock", "a"],
            &["set-max", "3"],
            &["lock", "--as", "n", "--wait", "10ms"],
        ] {
            let done = pointsman(&endpoints, &prefix, args).await;
            assert_eq!(done.code, Some(1), "{text} {args:?}: {done:?}");
            let said = format!("{}{}", done.stdout, done.stderr);
            assert!(said.contains(text), "{text} {args:?}: {said}");
            assert!(
                said.contains("pointsman set-max N --rebuild"),
                "{text} {args:?}: {said}"
            );
        }
        assert_eq!(get(&prefix).await, text, "nobody has touched it");
        let done = pointsman(&endpoints, &prefix, &["set-max", "1", "--rebuild"]).await;
        assert_eq!(done.code, Some(0), "{text}: {done:?}");
        assert!(
            done.stdout.contains("2 nodes hold the reboot lock now"),
            "{done:?}"
        );
        assert_eq!(
            get(&prefix).await,
            r#"{"semaphore":-1,"max":1,"holders":["a","b"]}"#
        );
        let done = pointsman(&endpoints, &prefix, &["lock", "--as", "n"]).await;
        assert_eq!(done.code, Some(3), "{done:?}");
    }
}

#[tokio::test]
async fn documents_of_other_tools_are_used_by_commands() {
    let endpoints = shared_cluster().endpoints();
    for (text, lock, after) in [
        (
            r#"{"semaphore":1,"max":1,"holders":null}"#,
            0,
            r#"{"semaphore":0,"max":1,"holders":["n"]}"#,
        ),
        (
            r#"{"semaphore":1,"max":3,"holders":["z","c"]}"#,
            0,
            r#"{"semaphore":0,"max":3,"holders":["c","n","z"]}"#,
        ),
        (
            r#"{"semaphore":-1,"max":1,"holders":["z","c"]}"#,
            3,
            r#"{"semaphore":-1,"max":1,"holders":["z","c"]}"#,
        ),
        (
            r#"{"semaphore":0,"max":0,"holders":[]}"#,
            3,
            r#"{"semaphore":0,"max":0,"holders":[]}"#,
        ),
    ] {
        let prefix = unique_prefix("foreign");
        put(&prefix, text).await;
        let done = pointsman(&endpoints, &prefix, &["lock", "--as", "n"]).await;
        assert_eq!(done.code, Some(lock), "{text}: {done:?}");
        assert_eq!(get(&prefix).await, after);
        if text.contains('z') {
            let done = pointsman(&endpoints, &prefix, &["status"]).await;
            assert!(done.stdout.contains("foreign"), "{done:?}");
            for id in ["z", "c"] {
                let done = pointsman(&endpoints, &prefix, &["unlock", id]).await;
                assert_eq!(done.code, Some(0), "{done:?}");
            }
            assert!(!get(&prefix).await.contains('z'));
        }
    }
}

#[tokio::test]
async fn a_rebuild_leaves_a_good_document_as_it_is_but_for_its_max() {
    let prefix = unique_prefix("good");
    put(
        &prefix,
        r#"{"semaphore":0,"max":1,"holders":["by-hand"],"note":"ours"}"#,
    )
    .await;
    let endpoints = shared_cluster().endpoints();
    let done = pointsman(&endpoints, &prefix, &["set-max", "4", "--rebuild"]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_eq!(
        get(&prefix).await,
        r#"{"semaphore":3,"max":4,"holders":["by-hand"],"note":"ours"}"#
    );
}
