//! When a wave opens.

use super::*;

#[tokio::test]
async fn wave_opens_only_where_every_member_has_proven_the_image() {
    let cluster = shared_cluster();
    let prefix = unique_prefix("waves-opens");
    let canary = of_group(&prefix, "canary");
    let member = |id: &str| canary.keys().member(id);
    let opens = async |digest: &str| canary.open_wave(canary.keys(), digest, None).await.unwrap();
    // No members, and no policy.
    assert!(!opens("X").await);
    put(cluster, &member("c1"), "X").await;
    assert!(!opens("X").await, "the group opens no waves");
    set(&canary, &wave_soak(Duration::ZERO)).await;
    assert!(
        get(cluster, &canary.keys().wave("X")).await.is_some(),
        "`policy set` opens what is due"
    );
    // All are new, and nothing is proven.
    for id in ["c1", "c2"] {
        put(cluster, &member(id), "").await;
    }
    assert!(!opens("").await);
    assert!(!canary.open_due_wave(canary.keys()).await.unwrap());
    // One was rolled back by hand, and is on its way.
    put(cluster, &member("c1"), "").await;
    put(cluster, &member("c2"), "Y").await;
    assert!(!opens("Y").await);
    put(cluster, &member("c1"), "W").await;
    assert!(!opens("Y").await);
    put(cluster, &member("c1"), "Y").await;
    assert!(opens("Y").await);
    assert!(!opens("Y").await, "once");
    // A node that is gone keeps the wave shut until it is forgotten.
    put(cluster, &member("c3"), "Y").await;
    for id in ["c1", "c2"] {
        put(cluster, &member(id), "Z").await;
    }
    assert!(!opens("Z").await);
    canary.forget("c3", false, false).await.unwrap();
    assert!(
        get(cluster, &canary.keys().wave("Z")).await.is_some(),
        "`forget` opens what is due"
    );
    // What was said before a person accepted the store may be long past.
    put(cluster, &canary.keys().store(), r#"{"token":"t"}"#).await;
    for id in ["c1", "c2"] {
        put(cluster, &member(id), "V").await;
    }
    put(cluster, &canary.keys().store(), r#"{"token":"u"}"#).await;
    assert!(!opens("V").await);
    for id in ["c1", "c2"] {
        put(cluster, &member(id), "V").await;
    }
    assert!(opens("V").await);
}

#[tokio::test]
async fn wave_is_opened_once_by_many_at_once_and_soaks_as_the_policy_of_that_moment_says() {
    LocalSet::new()
        .run_until(async {
            let cluster = shared_cluster();
            let prefix = unique_prefix("waves-races");
            let looker = of_group(&prefix, "canary");
            set(&looker, &wave_soak(Duration::from_secs(1000))).await;
            for round in 0..5 {
                let digest = format!("X{round}");
                for id in ["c1", "c2", "c3"] {
                    put(cluster, &looker.keys().member(id), &digest).await;
                }
                let open = |_| {
                    let (prefix, digest) = (prefix.clone(), digest.clone());
                    tokio::task::spawn_local(async move {
                        let canary = of_group(&prefix, "canary");
                        canary
                            .open_wave(canary.keys(), &digest, None)
                            .await
                            .unwrap()
                    })
                };
                let tasks: Vec<_> = (0..8).map(open).collect();
                // `policy set` opens what is due as well.
                set(&looker, &wave_soak(Duration::from_secs(2000 + round))).await;
                let mut opened = 0;
                for task in tasks {
                    opened += u32::from(task.await.unwrap());
                }
                assert!(opened <= 1, "round {round}: {opened}");
                let mut client = cluster.client().await;
                let wave = client.get(looker.keys().wave(&digest), None).await.unwrap();
                assert_eq!(wave.kvs()[0].version(), 1, "round {round}");
                let soak = client
                    .get(looker.keys().wave_soak(&digest), None)
                    .await
                    .unwrap();
                let lease = soak.kvs()[0].lease();
                let left = looker.time_left(lease).await.unwrap().unwrap();
                assert!(left > Duration::from_secs(900), "round {round}: {left:?}");
            }
        })
        .await;
}

#[tokio::test]
async fn the_last_sixteen_waves_are_kept() {
    let prefix = unique_prefix("waves-kept");
    let canary = of_group(&prefix, "canary");
    for number in 0..20 {
        let digest = format!("X{number:02}");
        canary
            .open_wave_by_hand(&digest, &Wave::default())
            .await
            .unwrap();
    }
    let rollout = canary.rollout().await.unwrap();
    let waves: Vec<&String> = rollout.groups[&group("canary")].waves.keys().collect();
    assert_eq!((waves.len(), waves[0].as_str()), (16, "X04"));
}
