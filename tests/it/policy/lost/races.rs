//! What changes between the look at a lost node and the transaction that passes over it keeps the node in its place.

use futures_util::future::join_all;

use super::*;

/// What comes between.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Between {
    Nothing,
    /// The first in the queue is none any more.
    NoTicket,
    /// The policy passes over nobody.
    Policy,
    Pause,
    PauseAll,
    /// The node says that it is there.
    Entry,
    /// Its deadline and its grace begin again.
    Grace,
    /// Another node was passed over, and the budget is used.
    Lost,
    /// The node hosts a member of etcd.
    MemberOut,
    /// A person accepted the store.
    Store,
    /// A member proves the image, in this group or in another one.
    Proven,
    ProvenElsewhere,
    /// The document was written, and the grace of another holder's place is not needed.
    Document,
}

const ALL: [Between; 13] = [
    Between::Nothing,
    Between::NoTicket,
    Between::Policy,
    Between::Pause,
    Between::PauseAll,
    Between::Entry,
    Between::Grace,
    Between::Lost,
    Between::MemberOut,
    Between::Store,
    Between::Proven,
    Between::ProvenElsewhere,
    Between::Document,
];

impl Between {
    /// What comes of it: whether the node is passed over, and how many images are quarantined.
    fn expected(self) -> (bool, usize) {
        match self {
            Self::Nothing => (true, 1),
            // Tried again, and not held against the image.
            Self::Proven | Self::ProvenElsewhere => (true, 0),
            _ => (false, 0),
        }
    }

    async fn comes(self, prefix: &str, looker: &Semaphore, entry: &str) {
        let cluster = shared_cluster();
        let keys = looker.keys();
        match self {
            Self::Nothing => {}
            Self::NoTicket => {
                let mut client = cluster.client().await;
                client.delete(keys.ticket("b"), None).await.unwrap();
                // Nor does it come back: it holds under another nonce.
                put(
                    cluster,
                    &keys.holder("b"),
                    r#"{"id":"b","nonce":"x","phase":"manual"}"#,
                )
                .await;
            }
            Self::Policy => put(cluster, &keys.policy(), r#"{"max_percent":1}"#).await,
            Self::Pause => put(cluster, &keys.pause(), "{}").await,
            Self::PauseAll => put(cluster, &keys.pause_all(), "{}").await,
            Self::Entry => {
                let entry = entry.replace("rebooting", "soaking");
                put(cluster, &keys.holder("a"), &entry).await;
            }
            Self::Grace => put(cluster, &keys.expiry("a"), "").await,
            Self::Lost => put(cluster, &keys.lost_node("x"), "{}").await,
            Self::MemberOut => put(cluster, &keys.member_out(), r#"{"id":"a"}"#).await,
            Self::Store => put(cluster, &keys.store(), r#"{"token":"t"}"#).await,
            Self::Proven => put(cluster, &keys.member("m"), "sha256:2").await,
            Self::ProvenElsewhere => {
                put(cluster, &format!("{prefix}/groups/x/members/m"), "sha256:2").await;
            }
            Self::Document => looker.set_max(2, false).await.map(drop).unwrap(),
        }
    }
}

/// Whether the node was passed over although this came between, and what was quarantined.
async fn race(between: Between) -> (bool, usize) {
    let cluster = shared_cluster();
    let proxy = Proxy::start(cluster.address(0)).await;
    let (prefix, looker) = group("lost-between", &lost(1)).await;
    let keys = looker.keys();
    let a = Claim {
        holder: Holder {
            deadline: Some(600),
            ..short("a").holder
        },
        ..short("a")
    };
    put(cluster, &keys.member("m"), "").await;
    if between == Between::ProvenElsewhere {
        put(cluster, &format!("{prefix}/groups/x/members/m"), "").await;
    }
    let holds = on(cluster, &prefix);
    holds.acquire(&a, |_| {}).await;
    assert_eq!(holds.commit(&a).await.unwrap(), Committed::Yes);
    let entry = get(cluster, &keys.holder("a")).await.unwrap();
    let b = Claim {
        ticket_lease: 30,
        ..patient("b")
    };
    let (said, task) = waiting(semaphore(vec![proxy.url()], &prefix), b);
    says(&said, "the only place is taken by a").await;
    proxy.hold(Aim::Text("/lost/a"));
    cluster
        .client()
        .await
        .delete(keys.expiry("a"), None)
        .await
        .unwrap();
    proxy.wait_held().await;
    between.comes(&prefix, &looker, &entry).await;
    proxy.go_on().await;
    let (expected, _) = between.expected();
    if expected {
        let lost = async || get(cluster, &keys.lost_node("a")).await;
        eventually("it is passed over", lost, Option::is_some).await;
    }
    task.abort();
    let passed_over = !holders(&looker).await.contains(&"a".to_owned());
    let known = lost_nodes(&looker).await.iter().any(|(id, _)| id == "a");
    assert_eq!(passed_over, known, "{between:?}");
    (passed_over, quarantined(&looker).await.len())
}

#[tokio::test]
async fn nobody_is_passed_over_whatever_changes_after_the_look() {
    LocalSet::new()
        .run_until(async {
            let all = ALL.map(|between| tokio::task::spawn_local(race(between)));
            for (between, found) in ALL.iter().zip(join_all(all).await) {
                let found = found.unwrap();
                assert_eq!(found, between.expected(), "{between:?}");
            }
        })
        .await;
}
