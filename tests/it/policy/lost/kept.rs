//! Who is never passed over, and when nobody is.

use serde_json::{Value, json};

use super::*;

/// Puts an entry under this id, as it may stand there, and its name into the document, beside these.
async fn put_holder(semaphore: &Semaphore, id: &str, more: Value) {
    let mut fields = json!({
        "id": id, "nonce": format!("nonce-{id}"), "phase": "rebooting", "deadline": 1, "grace": 1,
        "from": {"image": "sha256:1"}, "to": {"image": "sha256:2"},
    });
    for (name, value) in more.as_object().unwrap() {
        fields[name] = value.clone();
    }
    let key = semaphore.keys().holder(id);
    put(shared_cluster(), &key, &fields.to_string()).await;
}

async fn put_document(semaphore: &Semaphore, max: u32, ids: &[&str]) {
    let document = Document::held_by(max, ids.iter().map(|id| (*id).to_owned()));
    let key = semaphore.keys().semaphore();
    put(shared_cluster(), &key, &document.to_json()).await;
}

#[tokio::test]
async fn only_the_holder_with_a_grace_that_has_passed_is_passed_over() {
    LocalSet::new()
        .run_until(async {
            let cluster = shared_cluster();
            let (prefix, looker) = group("lost-kept", &lost(9)).await;
            let keys = looker.keys();
            let kept = [
                ("before", json!({})),
                ("client", json!({"via": "fleet-lock"})),
                ("etcd", json!({})),
                ("in-time", json!({})),
                ("manual", json!({"phase": "manual"})),
                ("no-grace", json!({"grace": null})),
                ("soaking", json!({"phase": "soaking"})),
                (
                    "under",
                    json!({"by_hand": {"id": "under", "phase": "manual"}}),
                ),
            ];
            put_holder(&looker, "before", json!({})).await;
            put(cluster, &keys.store(), r#"{"token":"t"}"#).await;
            for (id, fields) in &kept[1..] {
                put_holder(&looker, id, fields.clone()).await;
            }
            put(cluster, &keys.expiry("in-time"), "").await;
            let member = r#"{"id":"etcd","nonce":"nonce-etcd"}"#;
            put(cluster, &keys.member_out(), member).await;
            // An entry that takes no place, one without an entry, and the only one that may be passed over, whose entry is the
            // youngest.
            put_holder(&looker, "leftover", json!({})).await;
            put_holder(&looker, "lost", json!({})).await;
            let mut ids: Vec<&str> = kept.iter().map(|(id, _)| *id).collect();
            ids.extend(["foreign", "lost"]);
            put_document(&looker, 10, &ids).await;
            let (_, b) = waiting(on(cluster, &prefix), patient("b"));
            gets_it(b).await;
            let lost: Vec<String> = lost_nodes(&looker)
                .await
                .into_iter()
                .map(|(id, _)| id)
                .collect();
            assert_eq!(lost, ["lost"]);
            // Nor is one of them the next.
            let (said, _c) = waiting(on(cluster, &prefix), patient("c"));
            says(&said, "all 10 places are taken by").await;
            let mut now: Vec<&str> = ids.into_iter().filter(|id| *id != "lost").collect();
            now.push("b");
            now.sort_unstable();
            assert!(document_is(&looker, &now, Duration::from_secs(1)).await);
            // Why, as `status` says it.
            let group = looker.read().await.unwrap();
            let why = |id: &str| {
                let mut all = group.holders.iter();
                let held = all.find(|held| held.id == id).unwrap();
                held.grace.as_ref().map_err(ToString::to_string).copied()
            };
            for (id, says) in [
                ("before", "its entry is older than `store accept`"),
                ("client", "it took the lock by fleet-lock"),
                ("etcd", "it hosts a member of etcd"),
                ("manual", "it is locked by hand"),
                ("under", "it is locked by hand"),
                ("soaking", "its phase is soaking"),
                ("foreign", "another tool took the lock"),
                (
                    "no-grace",
                    "it took the lock before the policy said so, or with an older agent",
                ),
            ] {
                assert_eq!(why(id), Err(says.to_owned()), "{id}");
            }
            assert_eq!(why("in-time"), Ok(Duration::from_secs(1)));
        })
        .await;
}

#[tokio::test]
async fn take_under_no_policy_by_hand_or_with_a_member_of_etcd_has_no_grace() {
    LocalSet::new()
        .run_until(async {
            let cluster = shared_cluster();
            let (prefix, looker) = group("lost-takes", &PolicyChange::default()).await;
            let entry = async |id: &str| {
                let group = looker.read().await.unwrap();
                let held = group.holders.iter().find(|held| held.id == id).unwrap();
                (
                    held.entry.as_ref().unwrap().grace,
                    held.grace_lease.is_some(),
                )
            };
            looker.set_max(9, false).await.unwrap();
            on(cluster, &prefix).acquire(&short("before"), |_| {}).await;
            looker
                .set_policy(&lost(1), "ann@desk", false)
                .await
                .unwrap();
            let member = Claim {
                member: true,
                ..short("member")
            };
            on(cluster, &prefix).acquire(&member, |_| {}).await;
            looker.lock(&holder("hand", Phase::Manual)).await.unwrap();
            looker
                .lock(&Holder {
                    deadline: Some(1),
                    ..holder("under", Phase::Manual)
                })
                .await
                .unwrap();
            let under = Claim {
                by_person: true,
                ..short("under")
            };
            on(cluster, &prefix).acquire(&under, |_| {}).await;
            on(cluster, &prefix).acquire(&short("lost"), |_| {}).await;
            for (id, grace) in [
                ("before", (None, false)),
                ("member", (None, false)),
                ("hand", (None, false)),
                ("under", (None, false)),
                ("lost", (Some(1), true)),
            ] {
                assert_eq!(entry(id).await, grace, "{id}");
            }
            // All of them are late, and one goes.
            looker.set_max(5, false).await.unwrap();
            let (_, b) = waiting(on(cluster, &prefix), patient("b"));
            gets_it(b).await;
            let now = holders(&looker).await;
            assert_eq!(now, ["b", "before", "hand", "member", "under"]);
        })
        .await;
}

#[tokio::test]
async fn nobody_is_passed_over_while_the_group_is_paused_or_stopped() {
    LocalSet::new()
        .run_until(async {
            let cluster = shared_cluster();
            for all in [false, true] {
                let (prefix, looker) = group("lost-paused", &lost(1)).await;
                on(cluster, &prefix).acquire(&short("a"), |_| {}).await;
                let (said, b) = waiting(on(cluster, &prefix), patient("b"));
                says(&said, "the only place is taken by a").await;
                // While it waits for the grace of another one.
                let pause = serde_json::from_str(r#"{"by":"ann@desk"}"#).unwrap();
                looker.pause(all, &pause, None, true).await.unwrap();
                says(&said, "is paused by ann@desk").await;
                expired(&looker, "a").await;
                assert!(document_is(&looker, &["a"], Duration::from_millis(500)).await);
                looker.resume(all).await.unwrap();
                gets_it(b).await;
                assert_eq!(holders(&looker).await, ["b"]);
            }
            let (prefix, looker) = group("lost-stopped", &lost(1)).await;
            on(cluster, &prefix).acquire(&short("a"), |_| {}).await;
            looker.set_max(0, false).await.unwrap();
            let (said, b) = waiting(on(cluster, &prefix), patient("b"));
            says(&said, "the group is stopped (max is 0)").await;
            expired(&looker, "a").await;
            assert!(document_is(&looker, &["a"], Duration::from_millis(500)).await);
            looker.set_max(1, false).await.unwrap();
            gets_it(b).await;
        })
        .await;
}

#[tokio::test]
async fn policy_that_is_set_or_unset_while_the_first_waits_counts_at_once() {
    LocalSet::new()
        .run_until(async {
            let cluster = shared_cluster();
            let (prefix, looker) = group("lost-changes", &lost(1)).await;
            on(cluster, &prefix).acquire(&short("a"), |_| {}).await;
            let (said, b) = waiting(on(cluster, &prefix), patient("b"));
            says(&said, "the only place is taken by a").await;
            let unset = PolicyChange {
                unset: vec![Field::LostGrace],
                ..PolicyChange::default()
            };
            looker.set_policy(&unset, "ann@desk", false).await.unwrap();
            expired(&looker, "a").await;
            assert!(document_is(&looker, &["a"], Duration::from_millis(500)).await);
            // It took with a grace, and that has passed: the policy allows it again.
            looker
                .set_policy(&lost(1), "ann@desk", false)
                .await
                .unwrap();
            gets_it(b).await;
        })
        .await;
}

#[tokio::test]
async fn members_that_told_before_the_store_was_accepted_prove_nothing() {
    LocalSet::new()
        .run_until(async {
            let cluster = shared_cluster();
            for newer in [false, true] {
                let (prefix, looker) = group("lost-accepted", &lost(1)).await;
                let keys = looker.keys();
                put(cluster, &keys.member("m"), "sha256:2").await;
                put(cluster, &format!("{prefix}/groups/x/members/m"), "sha256:2").await;
                put(cluster, &keys.store(), r#"{"token":"t"}"#).await;
                put(cluster, &keys.member("n"), "sha256:3").await;
                if newer {
                    put(cluster, &format!("{prefix}/groups/y/members/n"), "sha256:2").await;
                }
                put_holder(&looker, "a", json!({})).await;
                put_document(&looker, 1, &["a"]).await;
                let (_, b) = waiting(on(cluster, &prefix), patient("b"));
                gets_it(b).await;
                assert_eq!(quarantined(&looker).await.is_empty(), newer);
            }
        })
        .await;
}

#[tokio::test]
async fn percentage_and_lost_nodes_hold_together() {
    LocalSet::new()
        .run_until(async {
            let cluster = shared_cluster();
            let prefix = unique_prefix("lost-percent");
            let looker = on(cluster, &prefix);
            members(cluster, looker.keys(), 0..10).await;
            let policy = PolicyChange {
                max_percent: Some(20),
                ..lost(1)
            };
            looker.set_policy(&policy, "ann@desk", false).await.unwrap();
            for id in ["a", "b"] {
                on(cluster, &prefix).acquire(&short(id), |_| {}).await;
            }
            let (_, c) = waiting(on(cluster, &prefix), patient("c"));
            gets_it(c).await;
            let found = document(&looker).await;
            assert_eq!((found.max, found.holders.len()), (2, 2));
            // One member less, and two places are one: to pass over the other one would make no room.
            let (said, _d) = waiting(on(cluster, &prefix), patient("d"));
            says(&said, "all 2 places are taken by").await;
            let before = holders(&looker).await;
            let before: Vec<&str> = before.iter().map(String::as_str).collect();
            looker.forget("m0", false, false).await.unwrap();
            let budget = PolicyChange {
                lost_budget: Some(5),
                ..PolicyChange::default()
            };
            looker.set_policy(&budget, "ann@desk", false).await.unwrap();
            says(&said, "the only place is taken by").await;
            expired(&looker, "b").await;
            assert!(document_is(&looker, &before, Duration::from_millis(500)).await);
        })
        .await;
}

#[tokio::test]
async fn take_has_the_grace_of_the_policy_as_it_is_then() {
    LocalSet::new()
        .run_until(async {
            // With a percentage, the first in the queue reads everything again when the document changes; else it takes by what
            // it had read, and loses to the compare of the policy.
            for (policy, percentage) in [
                (PolicyChange::default(), ""),
                (percent(1), r#""max_percent":1,"#),
            ] {
                takes_with_the_policy_of_then(&policy, percentage).await;
            }
        })
        .await;
}

async fn takes_with_the_policy_of_then(policy: &PolicyChange, percentage: &str) {
    let cluster = shared_cluster();
    let (prefix, looker) = group("lost-spare", policy).await;
    let grace = async |id: &str| {
        let group = looker.read().await.unwrap();
        let held = group.holders.iter().find(|held| held.id == id).unwrap();
        let left = match held.grace_lease {
            Some(lease) => looker.time_left(lease).await.unwrap(),
            None => None,
        };
        let entry = held.entry.as_ref().unwrap();
        (entry.grace, left.map(|left| left.as_secs()))
    };
    // Each waits with leases for the policy before.
    let ids = ["a", "b", "c", "d"];
    on(cluster, &prefix).acquire(&claim("a"), |_| {}).await;
    for (ids, seconds) in ids.windows(2).zip([Some(1000), Some(3000), None]) {
        let (before, next) = (ids[0], ids[1]);
        let (said, waits) = waiting(on(cluster, &prefix), claim(next));
        says(&said, "the only place is taken by").await;
        // The leases are granted after that is said.
        tokio::time::sleep(Duration::from_millis(300)).await;
        // By another tool: nothing wakes the first.
        let lost = seconds.map_or(String::new(), |seconds| {
            format!(r#""lost":{{"grace":"{seconds}s"}},"#)
        });
        let text = format!(r#"{{{percentage}{lost}"by":"ann@desk"}}"#);
        put(cluster, &looker.keys().policy(), &text).await;
        looker.unlock(before, true).await.unwrap();
        gets_it(waits).await;
        let (found, left) = grace(next).await;
        assert_eq!(found, seconds, "{next}");
        let expected = seconds.map(|seconds| seconds + 590..=seconds + 610);
        assert_eq!(left.is_some(), expected.is_some(), "{next}: {left:?}");
        if let (Some(left), Some(expected)) = (left, expected) {
            assert!(expected.contains(&left), "{next}: {left}");
        }
    }
}
