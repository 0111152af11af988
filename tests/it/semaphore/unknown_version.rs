//! An image of which only the content is known, and quarantines of versions: it may be any of them.

use semaphore::{etcd::Claim, records::ImageId};

use super::*;

fn content(image: &str) -> ImageId {
    ImageId {
        digest: Some(format!("sha256:{image}")),
        version: None,
    }
}

/// A claim of an image whose version its node does not know.
fn nameless(id: &str) -> Claim {
    let mut claim = claim(id);
    claim.holder.to = content("new");
    claim.holder.from = content("old");
    claim
}

async fn quarantine(cluster: &Cluster, semaphore: &Semaphore, what: ImageId) -> String {
    let key = semaphore.keys().quarantine_version("2");
    let what = Quarantine {
        what,
        ..serde_json::from_str(r#"{"reason":"no good"}"#).unwrap()
    };
    put(cluster, &key, &serde_json::to_string(&what).unwrap()).await;
    key
}

async fn clear(cluster: &Cluster, key: &str) {
    let mut client = cluster.client().await;
    client.delete(key, None).await.unwrap();
}

#[tokio::test]
async fn image_without_version_does_not_match_another_known_digest() {
    let cluster = shared_cluster();
    let s = on(cluster, &unique_prefix("nameless-other"));
    let other = ImageId {
        version: Some("2".into()),
        ..content("other")
    };
    quarantine(cluster, &s, other).await;
    let claim = nameless("n");
    acquire(&s, &claim).await;
    assert_eq!(s.commit(&claim).await.unwrap(), Committed::Yes);
}

#[tokio::test]
async fn image_without_version_stays_out_of_the_queue_while_a_version_is_quarantined() {
    local!({
        let cluster = shared_cluster();
        let prefix = unique_prefix("nameless-waits");
        let s = on(cluster, &prefix);
        s.lock(&holder("operator", Phase::Manual)).await.unwrap();
        let notes = Rc::new(RefCell::new(Vec::<String>::new()));
        let (waiter, noted) = (on(cluster, &prefix), notes.clone());
        let task = tokio::task::spawn_local(async move {
            let claim = nameless("n");
            let note = |wait: semaphore::etcd::Wait| noted.borrow_mut().push(wait.waits_for);
            waiter.acquire(&claim, note).await;
            claim
        });
        let last = async || notes.borrow().last().cloned().unwrap_or_default();
        eventually("its turn", last, |why| why.contains("first in the queue")).await;
        // The next thing it hears is that the semaphore is free: what it read before is outdated.
        let key = quarantine(cluster, &s, version("2")).await;
        s.unlock("operator", false).await.unwrap();
        eventually("the doubt", last, |why| {
            why.contains("2 is quarantined: no good") && why.contains("it may be that one")
        })
        .await;
        let group = s.read().await.unwrap();
        assert!(group.holders.is_empty() && group.queue.is_empty());
        clear(cluster, &key).await;
        let claim = timeout(Duration::from_secs(20), task)
            .await
            .expect("taken in time")
            .unwrap();
        // One that comes during the drain binds as well.
        let key = quarantine(cluster, &s, version("2")).await;
        let committed = s.commit(&claim).await.unwrap();
        assert!(
            matches!(&committed, Committed::No(why) if why.to_string().contains("it may be that one")),
            "{committed:?}"
        );
        clear(cluster, &key).await;
        assert_eq!(s.commit(&claim).await.unwrap(), Committed::Yes);
    });
}
