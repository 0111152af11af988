//! Waves while etcd has no leader, and while others change what they are decided on.

use std::time::Instant;

use pointsman_testbed::proxy::{Aim, Proxy};

use super::*;

/// A claim for the staged image `X`.
fn to_x(id: &str) -> semaphore::etcd::Claim {
    let mut claim = claim(id);
    claim.new_image = true;
    claim.holder.to.digest = Some("X".into());
    claim.waves.retry = Duration::from_secs(3600);
    claim
}

/// The time between groups ends by etcd alone: never early where there is no leader to end it.
#[tokio::test]
async fn time_between_groups_does_not_end_while_etcd_has_no_leader() {
    const WHOLE: Duration = Duration::from_secs(4);
    LocalSet::new()
        .run_until(async {
            for down in [0..2, 0..3] {
                let cluster = Cluster::builder(3).fast_elections().start().await;
                let prefix = unique_prefix("waves-no-leader");
                let in_group = |name: &str| {
                    let keys = Keys::new(&prefix, group(name));
                    Semaphore::new(options(cluster.endpoints()), keys, crate::support::BACK_OFF)
                };
                let (canary, later) = (in_group("canary"), in_group(""));
                put(&cluster, &canary.keys().member("c1"), "W").await;
                set(&later, &after(&["canary"])).await;
                later.set_max(1, false).await.unwrap();
                set(&canary, &wave_soak(WHOLE)).await;
                put(&cluster, &canary.keys().member("c1"), "X").await;
                assert!(canary.open_wave(canary.keys(), "X", None).await.unwrap());
                let said = Rc::new(RefCell::new(String::new()));
                let says_so = said.clone();
                let waits = in_group("");
                let goes = tokio::task::spawn_local(async move {
                    let note = |wait: semaphore::etcd::Wait| *says_so.borrow_mut() = wait.waits_for;
                    waits.acquire(&to_x("p1"), note).await;
                    Instant::now()
                });
                says(&said, "the time between the groups has not passed yet").await;
                for i in down.clone() {
                    cluster.kill_member(i).await;
                }
                tokio::time::sleep(WHOLE + Duration::from_secs(1)).await;
                assert!(!goes.is_finished());
                // Before there can be a leader again, which lets each lease begin again: the group has its whole time.
                let back = Instant::now();
                for i in down.clone() {
                    cluster.spawn_member(i);
                }
                for i in down {
                    cluster.wait_member(i).await;
                }
                let left = canary.rollout().await.unwrap();
                let left = canary.soak_left(&left.groups[&group("canary")], "X").await;
                assert!(left.unwrap().is_some_and(|left| left <= WHOLE));
                let went = tokio::time::timeout(Duration::from_secs(30), goes).await;
                let later = went.unwrap().unwrap().duration_since(back);
                assert!(later >= WHOLE, "it went {later:?} after etcd was started");
            }
        })
        .await;
}

/// Two canaries, each the last one as far as the other knows.
#[tokio::test]
async fn wave_opens_where_the_last_two_members_release_at_the_same_instant() {
    let cluster = shared_cluster();
    for round in 0..20 {
        let prefix = unique_prefix("waves-two");
        let canary = of_group(&prefix, "canary");
        canary.set_max(2, false).await.unwrap();
        set(&canary, &wave_soak(Duration::from_secs(1000))).await;
        let holds = async |id: &str| {
            let semaphore = of_group(&prefix, "canary");
            let mut claim = to_x(id);
            let node = claim.node.as_mut().unwrap();
            node.group = "canary".into();
            node.member = Some(Member {
                proven: Some("W".into()),
            });
            semaphore.acquire(&claim, |_| {}).await;
            let nonce = claim.holder.nonce.clone();
            let proven = NodeRecord {
                member: Some(Member {
                    proven: Some("X".into()),
                }),
                ..claim.node.unwrap()
            };
            (semaphore, nonce, proven)
        };
        let (one, other) = (holds("c1").await, holds("c2").await);
        assert_eq!(
            get(cluster, &canary.keys().member("c2")).await.as_deref(),
            Some("")
        );
        let release =
            async |id: &str, (semaphore, nonce, proven): &(Semaphore, String, NodeRecord)| {
                semaphore
                    .release(id, nonce, None, Some(proven))
                    .await
                    .unwrap()
            };
        let released = tokio::join!(release("c1", &one), release("c2", &other));
        assert_eq!(released, (Released::Released, Released::Released));
        let mut client = cluster.client().await;
        for key in [canary.keys().wave("X"), canary.keys().wave_soak("X")] {
            let found = client.get(key.clone(), None).await.unwrap();
            let versions: Vec<i64> = found
                .kvs()
                .iter()
                .map(etcd_client::KeyValue::version)
                .collect();
            assert_eq!(versions, [1], "round {round}: {key}");
        }
    }
}

/// What else is written while a wave is opened.
#[derive(Clone, Copy, Debug)]
enum Meanwhile {
    /// A member goes to another image.
    Leaves,
    /// A member joins that has not proven it.
    Joins,
    /// The group opens no waves any more.
    NoWaves,
    /// A person accepts the store: what was said before may be long past.
    Accepted,
}

#[tokio::test]
async fn no_wave_opens_after_something_is_against_it() {
    use Meanwhile::{Accepted, Joins, Leaves, NoWaves};
    let cluster = shared_cluster();
    let mut client = cluster.client().await;
    for meanwhile in [
        None,
        Some(Leaves),
        Some(Joins),
        Some(NoWaves),
        Some(Accepted),
    ] {
        let prefix = unique_prefix("waves-meanwhile");
        let proxy = Proxy::start(cluster.address(0)).await;
        let keys = Keys::new(&prefix, group("canary"));
        let back_off = crate::support::BACK_OFF;
        let canary = Semaphore::new(options(vec![proxy.url()]), keys.clone(), back_off);
        set(&canary, &wave_soak(Duration::from_secs(1000))).await;
        for id in ["c1", "c2"] {
            put(cluster, &keys.member(id), "X").await;
        }
        // The step that opens it, after all was looked at.
        proxy.hold(Aim::Text("wave-soak/X"));
        let against = async {
            proxy.wait_held().await;
            let change = match meanwhile {
                None => None,
                Some(Leaves) => Some((keys.member("c1"), "")),
                Some(Joins) => Some((keys.member("c3"), "")),
                Some(NoWaves) => Some((keys.policy(), r#"{"max_percent":1}"#)),
                Some(Accepted) => Some((keys.store(), r#"{"token":"t"}"#)),
            };
            if let Some((key, value)) = change {
                put(cluster, &key, value).await;
            }
            proxy.go_on().await;
        };
        let (opened, ()) = tokio::join!(canary.open_wave(&keys, "X", None), against);
        assert_eq!(opened.unwrap(), meanwhile.is_none(), "{meanwhile:?}");
        let wave = client.get(keys.wave("X"), None).await.unwrap();
        assert_eq!(wave.kvs().len(), usize::from(meanwhile.is_none()));
    }
}
