//! The document as people and other tools write it, and what is done by hand.

use super::*;

#[tokio::test]
async fn documents_of_other_tools_are_handled_and_broken_ones_named() {
    let cluster = shared_cluster();
    for text in [
        r#"{"semaphore":1,"max":1,"holders":null}"#,
        r#"{"max":3,"holders":["z","c"]}"#,
    ] {
        let prefix = unique_prefix("wild");
        let s = on(cluster, &prefix);
        put(cluster, &s.keys().semaphore(), text).await;
        let c = claim("n");
        acquire(&s, &c).await;
        assert_eq!(
            s.release("n", &c.holder.nonce, None, None).await.unwrap(),
            Released::Released
        );
        for id in holders(&s).await {
            assert!(matches!(
                s.unlock(&id, false).await.unwrap(),
                Unlocked::Unlocked(None)
            ));
        }
        assert!(holders(&s).await.is_empty());
    }
    for text in ["", "{", "[]", r#"{"max":-2}"#] {
        let prefix = unique_prefix("broken");
        let s = on(cluster, &prefix);
        put(cluster, &s.keys().semaphore(), text).await;
        for error in [
            s.lock(&holder("n", Phase::Manual)).await.unwrap_err(),
            s.unlock("n", false).await.unwrap_err(),
            s.set_max(2, false).await.unwrap_err(),
        ] {
            let said = error.to_string();
            assert!(
                matches!(error, Error::Document { .. })
                    && said.contains(text)
                    && said.contains("--rebuild"),
                "{said}"
            );
        }
        s.set_max(2, true).await.unwrap();
        assert_eq!(
            s.lock(&holder("n", Phase::Manual)).await.unwrap(),
            Locked::Taken
        );
    }
}

#[tokio::test]
async fn a_node_waits_for_a_broken_document_to_be_repaired() {
    local!({
        let cluster = shared_cluster();
        let prefix = unique_prefix("repair");
        let s = on(cluster, &prefix);
        put(cluster, &s.keys().semaphore(), "oops").await;
        let (task, notes) = wait_in_queue(cluster, &prefix, "n").await;
        assert!(notes.borrow().last().unwrap().contains("oops"));
        s.set_max(1, true).await.unwrap();
        timeout(Duration::from_secs(20), task)
            .await
            .unwrap()
            .unwrap();
    });
}

#[tokio::test]
async fn deleted_document_blocks_takes_while_holders_exist() {
    let cluster = shared_cluster();
    let prefix = unique_prefix("deleted");
    let s = on(cluster, &prefix);
    let c = claim("out");
    acquire(&s, &c).await;
    cluster
        .client()
        .await
        .delete(s.keys().semaphore(), None)
        .await
        .unwrap();
    for error in [
        s.lock(&holder("n", Phase::Manual)).await.unwrap_err(),
        s.set_max(1, false).await.unwrap_err(),
    ] {
        let said = error.to_string();
        assert!(
            said.contains("out is a holder") && said.contains("--rebuild"),
            "{said}"
        );
    }
    let other = claim("n");
    let waited = timeout(Duration::from_millis(500), s.acquire(&other, |_| {})).await;
    assert!(waited.is_err(), "let in beside a holder");
    let set = s.set_max(1, true).await.unwrap();
    assert_eq!(set.document.holders, ["out"]);
    assert_eq!(
        s.release("out", &c.holder.nonce, None, None).await.unwrap(),
        Released::Released
    );
    acquire(&s, &other).await;
}

#[tokio::test]
async fn lock_unlock_and_max_by_hand_report_their_results() {
    let cluster = shared_cluster();
    let prefix = unique_prefix("hand");
    let s = on(cluster, &prefix);
    assert_eq!(s.unlock("n", false).await.unwrap(), Unlocked::NotHeld);
    assert_eq!(
        s.lock(&holder("n", Phase::Manual)).await.unwrap(),
        Locked::Taken
    );
    assert!(matches!(
        s.lock(&holder("n", Phase::Manual)).await.unwrap(),
        Locked::AlreadyHeld(Some(_))
    ));
    assert!(matches!(
        s.lock(&holder("m", Phase::Manual)).await.unwrap(),
        Locked::Full(_)
    ));
    let set = s.set_max(0, false).await.unwrap();
    assert_eq!((set.old, set.document.available()), (Some(1), -1));
    assert!(matches!(
        s.unlock("n", false).await.unwrap(),
        Unlocked::Unlocked(Some(_))
    ));
    assert!(matches!(
        s.lock(&holder("n", Phase::Manual)).await.unwrap(),
        Locked::Full(_)
    ));
    s.set_max(1, false).await.unwrap();
    let c = claim("n");
    acquire(&s, &c).await;
    s.commit(&c).await.unwrap();
    assert!(matches!(
        s.unlock("n", false).await.unwrap(),
        Unlocked::InUse(_)
    ));
    assert!(matches!(
        s.unlock("n", true).await.unwrap(),
        Unlocked::Unlocked(_)
    ));
    assert_eq!(s.resume(false).await.unwrap(), Resumed::Done(None));
}

#[tokio::test]
async fn eight_locks_at_once_with_eight_free_all_succeed() {
    let cluster = shared_cluster();
    let prefix = unique_prefix("eight");
    on(cluster, &prefix).set_max(8, false).await.unwrap();
    let locks = (0..8).map(|i| {
        let s = on(cluster, &prefix);
        async move {
            s.lock(&holder(&format!("n{i}"), Phase::Manual))
                .await
                .unwrap()
        }
    });
    for locked in futures_util::future::join_all(locks).await {
        assert_eq!(locked, Locked::Taken);
    }
    assert_eq!(holders(&on(cluster, &prefix)).await.len(), 8);
}

#[tokio::test]
async fn bad_endpoints_do_not_hide_good_ones() {
    let cluster = shared_cluster();
    let prefix = unique_prefix("endpoints");
    let mut endpoints = vec![
        "http://no-such-host.invalid:2379".to_owned(),
        "http://127.0.0.1:1".to_owned(),
    ];
    endpoints.extend(cluster.endpoints());
    let s = semaphore(endpoints, &prefix);
    assert_eq!(
        s.lock(&holder("n", Phase::Manual)).await.unwrap(),
        Locked::Taken
    );
}
