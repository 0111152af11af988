//! Which groups may come after which.

use super::*;

#[tokio::test]
async fn groups_that_cannot_come_first_are_refused() {
    let cluster = shared_cluster();
    let prefix = unique_prefix("waves-refused");
    let [a, b, c] = ["a", "b", "c"].map(|name| of_group(&prefix, name));
    let refused = async |semaphore: &Semaphore, names: &[&str], says: &str| {
        let set = semaphore.set_policy(&after(names), "ann@desk", false).await;
        let error = set.unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    };
    refused(&a, &["b"], "the group \"b\" has no members").await;
    for semaphore in [&a, &b, &c] {
        put(cluster, &semaphore.keys().member("x"), "").await;
    }
    set(&b, &after(&["a"])).await;
    set(&c, &after(&["b"])).await;
    refused(&a, &["a"], "the group \"a\" would come after itself").await;
    refused(&a, &["c"], "\"a\", \"b\", \"c\" lead to it").await;
    // A group that proves images for others has a time between waves from then on.
    let policy = get(cluster, &a.keys().policy()).await.unwrap();
    assert!(
        policy.contains(r#""wave_soak":"0s""#) && policy.contains("ann@desk"),
        "{policy}"
    );
    // An agent of a release before says nothing of what it has proven.
    put(
        cluster,
        &a.keys().node("old"),
        r#"{"id":"old","hostname":"old-1","group":"b"}"#,
    )
    .await;
    refused(
        &c,
        &["b"],
        "older agents, which know nothing of waves, run on 1 node of these groups: old-1. Waves do not wait for these nodes, \
         and these nodes wait for no wave; --force allows this",
    )
    .await;
    let force = PolicyChange {
        force: true,
        ..after(&["b", "a"])
    };
    set(&c, &force).await;
    put(cluster, &b.keys().policy(), r#"{"moon":1}"#).await;
    refused(&c, &["b"], "the policy of the group \"b\" cannot be used").await;
    let many: Vec<String> = (0..17).map(|number| format!("g{number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    refused(&c, &many, "after names 17 groups, expected at most 16").await;
    refused(&c, &["a", "a"], "after names the group \"a\" twice").await;
}

#[tokio::test]
async fn circle_that_two_people_make_at_once_is_refused_to_one() {
    LocalSet::new()
        .run_until(async {
            for round in 0..10 {
                let cluster = shared_cluster();
                let prefix = unique_prefix("waves-circle");
                let [a, b] = ["a", "b"].map(|name| of_group(&prefix, name));
                for semaphore in [&a, &b] {
                    put(cluster, &semaphore.keys().member("x"), "").await;
                }
                let (to_b, to_a) = (after(&["b"]), after(&["a"]));
                let (one, other) = tokio::join!(
                    a.set_policy(&to_b, "ann@desk", false),
                    b.set_policy(&to_a, "bob@desk", false)
                );
                assert!(
                    one.is_ok() != other.is_ok(),
                    "round {round}: {one:?} {other:?}"
                );
            }
        })
        .await;
}

/// Groups that come one after another, each by its policy.
async fn chain(prefix: &str, number: usize) -> Vec<Semaphore> {
    let cluster = shared_cluster();
    let mut groups: Vec<Semaphore> = Vec::new();
    for index in 0..number {
        let semaphore = of_group(prefix, &format!("g{index:03}"));
        put(cluster, &semaphore.keys().member("x"), "").await;
        if let Some(before) = groups.last() {
            let before = before.keys().group().as_str();
            let policy = format!(r#"{{"after":["{before}"],"wave_soak":"0s"}}"#);
            put(cluster, &semaphore.keys().policy(), &policy).await;
        }
        groups.push(semaphore);
    }
    groups
}

#[tokio::test]
async fn long_chain_of_groups_is_allowed_or_refused_with_the_number() {
    let prefix = unique_prefix("waves-chain");
    let groups = chain(&prefix, 101).await;
    let last = of_group(&prefix, "last");
    put(shared_cluster(), &last.keys().member("x"), "").await;
    for at in [69, 99] {
        let names = [groups[at].keys().group().as_str()];
        set(&last, &after(&names)).await;
    }
    let set_after = |semaphore: &Semaphore, name: &str| {
        let (keys, change) = (semaphore.keys().clone(), after(&[name]));
        async move {
            let semaphore = of_group(keys.prefix(), keys.group().as_str());
            let set = semaphore.set_policy(&change, "ann@desk", false).await;
            set.unwrap_err().to_string()
        }
    };
    let error = set_after(&last, "g100").await;
    let says = "more than 100 groups would come before the group \"last\", by way of one another: expected at most 100";
    assert!(error.contains(says), "{error}");
    let error = set_after(&groups[0], "g069").await;
    assert!(error.contains("would come after itself"), "{error}");
}

#[tokio::test]
async fn circle_by_way_of_other_groups_that_two_people_make_at_once_is_refused_to_one() {
    for round in 0..10 {
        let cluster = shared_cluster();
        let prefix = unique_prefix("waves-far");
        let [a, b, c, d] = ["a", "b", "c", "d"].map(|name| of_group(&prefix, name));
        for semaphore in [&a, &b, &c, &d] {
            put(cluster, &semaphore.keys().member("x"), "").await;
        }
        set(&b, &after(&["a"])).await;
        set(&d, &after(&["c"])).await;
        let (to_d, to_b) = (after(&["d"]), after(&["b"]));
        let (one, other) = tokio::join!(
            a.set_policy(&to_d, "ann@desk", false),
            c.set_policy(&to_b, "bob@desk", false)
        );
        assert!(
            one.is_ok() != other.is_ok(),
            "round {round}: {one:?} {other:?}"
        );
    }
}
