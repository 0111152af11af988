//! What people do is written down: once, in the transaction that does it, and the latest are kept.

use futures_util::future::join_all;
use semaphore::{
    acts::{Act, KEPT, Person},
    policy::{Field, PolicyChange},
    waves::Wave,
};

use super::*;

fn ann(semaphore: Semaphore) -> Semaphore {
    semaphore.by(Person {
        name: "ann".into(),
        host: "desk".into(),
        reason: String::new(),
    })
}

fn quarantine(version: &str) -> Quarantine {
    serde_json::from_value(serde_json::json!({"version": version, "reason": "bad"})).unwrap()
}

fn percent(percent: u32) -> PolicyChange {
    PolicyChange {
        max_percent: Some(percent),
        ..PolicyChange::default()
    }
}

/// The commands of what is written down, in order.
async fn commands(s: &Semaphore) -> Vec<String> {
    let acts = s.acts().await.unwrap();
    acts.into_iter().map(|act| act.act).collect()
}

/// All that a person can do, one after the other. Each changes something.
async fn everything(s: &Semaphore, mut before_each: impl AsyncFnMut()) {
    let mut client = shared_cluster().client().await;
    for key in [s.keys().node("gone"), s.keys().ticket("waits")] {
        let record = r#"{"id":"x","hostname":"host-x"}"#;
        client.put(key, record, None).await.unwrap();
    }
    let wave = Wave {
        version: Some("2".into()),
        reason: "it is urgent".into(),
        ..Wave::default()
    };
    macro_rules! each {
        ($($done:expr,)*) => {
            $(before_each().await;
            $done.await.unwrap();)*
        };
    }
    each! {
        s.set_max(2, false),
        s.lock(&holder("a", Phase::Manual)),
        s.unlock("a", false),
        s.lock(&holder("b", Phase::Rebooting)),
        s.unlock("b", true),
        s.delete_ticket("waits"),
        s.pause(false, &pause(), None, false),
        s.resume(false),
        s.pause(true, &pause(), None, false),
        s.resume(true),
        s.quarantine(&quarantine("2")),
        s.clear_quarantine(&version("2")),
        s.set_policy(&percent(20), "ann@desk", false),
        s.set_policy(&PolicyChange { unset: vec![Field::MaxPercent], ..PolicyChange::default() }, "ann@desk", false),
        s.open_wave_by_hand("sha256:aa", &wave),
        s.forget("gone", false, false),
        s.accept(None, "ann@desk", "new cluster"),
        s.remove_group(|_| Ok::<_, Error>(())),
    }
}

const EVERYTHING: [&str; 18] = [
    "set-max",
    "lock",
    "unlock",
    "lock",
    "unlock --force",
    "unlock --ticket",
    "pause",
    "resume",
    "pause --all",
    "resume --all",
    "quarantine add",
    "quarantine clear",
    "policy set",
    "policy unset",
    "waves open",
    "forget",
    "store accept",
    "set-max --remove",
];

#[tokio::test]
async fn each_act_is_written_once_in_its_own_transaction() {
    let cluster = shared_cluster();
    let prefix = unique_prefix("acts");
    let s = ann(on(cluster, &prefix));
    let mut client = cluster.client().await;
    let start = client.get("x", None).await.unwrap();
    let start = start.header().unwrap().revision();
    everything(&s, async || ()).await;
    assert_eq!(commands(&s).await, EVERYTHING);

    // By etcd's own history: what was written together has one revision.
    let options = etcd_client::WatchOptions::new()
        .with_prefix()
        .with_start_revision(start + 1);
    let all = s.acts().await.unwrap().len();
    let mut watch = client
        .watch(format!("{prefix}/"), Some(options))
        .await
        .unwrap();
    let mut written = Vec::new();
    let mut changed = Vec::new();
    while written.len() < all {
        let message = watch.message().await.unwrap().unwrap();
        for event in message.events() {
            let kv = event.kv().unwrap();
            let key = String::from_utf8(kv.key().to_vec()).unwrap();
            match key.starts_with(&s.keys().acts()) {
                true => written.push(kv.mod_revision()),
                false => changed.push(kv.mod_revision()),
            }
        }
    }
    for revision in written {
        assert!(changed.contains(&revision), "{revision}: {changed:?}");
    }
    let acts = s.acts().await.unwrap();
    let unlock = Act {
        since: None,
        ..acts[4].clone()
    };
    let text = r#"{"act":"unlock --force","group":"","target":"host-b (b)","by":"ann","host":"desk","reason":"","since":null}"#;
    assert_eq!(serde_json::to_string(&unlock).unwrap(), text);
    let said = |at: usize| {
        (
            acts[at].group.as_deref(),
            &*acts[at].target,
            &*acts[at].reason,
        )
    };
    assert_eq!(said(6), (Some(""), "", "maintenance"));
    assert_eq!(said(8), (None, "", "maintenance"));
    assert_eq!(said(10), (None, "2", "bad"));
    assert_eq!(said(12), (Some(""), "max 20%", ""));
    assert_eq!(said(13), (Some(""), "max", ""));
    assert_eq!(said(14), (Some(""), "2", "it is urgent"));
    assert_eq!(said(15), (Some(""), "host-x (gone)", ""));
    assert_eq!(said(16), (None, "", "new cluster"));
}

#[tokio::test]
async fn act_with_a_lost_reply_is_written_once() {
    let cluster = shared_cluster();
    let prefix = unique_prefix("acts-lost");
    let proxy = Proxy::start(cluster.address(0)).await;
    let s = ann(semaphore(vec![proxy.url()], &prefix));
    s.read().await.unwrap();
    let lose = async || {
        proxy.lose_reply_to(Aim::Text("\"by\":\"ann\""));
    };
    everything(&s, lose).await;
    assert_eq!(commands(&ann(on(cluster, &prefix))).await, EVERYTHING);
    assert_eq!(proxy.lost(), EVERYTHING.len());
}

#[tokio::test]
async fn agent_writes_no_act() {
    local!({
        let cluster = shared_cluster();
        let prefix = unique_prefix("acts-agent");
        let s = on(cluster, &prefix);
        let c = claim("n");
        acquire(&s, &c).await;
        assert_eq!(s.commit(&c).await.unwrap(), Committed::Yes);
        s.release("n", &c.holder.nonce, Some(&quarantine("7")), None)
            .await
            .unwrap();
        s.quarantine(&quarantine("8")).await.unwrap();
        assert_eq!(s.acts().await.unwrap(), []);
        // A person who waits in the queue writes theirs with the take.
        let waits = ann(on(cluster, &prefix));
        let by_hand = semaphore::etcd::Claim {
            node: None,
            ..claim("ann's")
        };
        acquire(&waits, &by_hand).await;
        assert_eq!(commands(&s).await, ["lock --wait"]);
    });
}

#[tokio::test]
async fn oldest_act_makes_room_for_the_one_after_the_last_that_is_kept() {
    let cluster = shared_cluster();
    let prefix = unique_prefix("acts-kept");
    let s = ann(on(cluster, &prefix));
    let mut client = cluster.client().await;
    // Their writers' clocks were wrong, this way and that.
    let name = |at: usize| {
        let year = if at.is_multiple_of(2) { 1999 } else { 2999 };
        s.keys()
            .act(&format!("{year}-01-01T00:00:00.000Z-{at:016x}"))
    };
    for at in 0..KEPT - 1 {
        let value = format!(r#"{{"act":"act {at}"}}"#);
        client.put(name(at), value, None).await.unwrap();
    }
    s.set_max(1, false).await.unwrap();
    assert_eq!(commands(&s).await.len(), KEPT);
    s.pause(false, &pause(), None, false).await.unwrap();
    let kept = commands(&s).await;
    assert_eq!(kept.len(), KEPT);
    assert_eq!(
        (&*kept[0], &*kept[1]),
        ("act 1", "act 2"),
        "the oldest is gone, and no other"
    );
    assert_eq!(kept[KEPT - 2..], ["set-max", "pause"]);

    // Many at once.
    let people = (0..20).map(|max| {
        let s = ann(on(cluster, &prefix));
        async move { s.set_max(max, false).await.unwrap() }
    });
    join_all(people).await;
    s.resume(false).await.unwrap();
    let kept = commands(&s).await;
    assert_eq!((kept.len(), &*kept[0]), (KEPT, "act 22"));
    assert_eq!(kept.last().unwrap(), "resume");
}

#[tokio::test]
async fn of_many_who_do_the_same_one_is_written() {
    let cluster = shared_cluster();
    let prefix = unique_prefix("acts-race");
    let s = ann(on(cluster, &prefix));
    for round in 0..20 {
        s.lock(&holder("n", Phase::Rebooting)).await.unwrap();
        let people = (0..8).map(|_| {
            let s = ann(on(cluster, &prefix));
            async move { s.unlock("n", true).await.unwrap() }
        });
        join_all(people).await;
        let unlocks = commands(&s).await;
        let unlocks = unlocks.iter().filter(|act| *act == "unlock --force");
        assert_eq!(unlocks.count(), round + 1);
    }
}
