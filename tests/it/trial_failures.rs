//! Trials that are disturbed: killed agents, a second update, a newer journal; and what becomes of a quarantined image.

use std::time::Duration;

use pointsman_testbed::{
    disk::Slot,
    etcd::shared_cluster,
    node::{AutoReboot, Death, Node},
    proxy::{Mode, Proxy},
};
use semaphore::{
    etcd::Group,
    records::{ImageId, Phase, Quarantine},
};

use crate::{
    agents::{Site, agent, bin, entry, hook, machine},
    support::{Random, eventually},
    trials::{QUICK, judge, node, runs_from},
};

fn holds(group: &Group, node: &Node) -> bool {
    entry(group, node).is_some()
}

/// A check that lasts until [`checked`] (or the machine is gone), in boots of this version.
fn slow_check(node: &Node, version: &str) {
    let script = format!(
        "grep -qx VERSION_ID={version} {0} || exit 0; touch {1}; while [ -e {1} ] && [ ! -e {2} ]; do sleep 0.02; done",
        node.path("etc/os-release").display(),
        node.path("checking").display(),
        node.path("checked").display(),
    );
    hook(node, "health.d/05-slow", &script);
}

async fn checking(node: &Node) {
    let begun = node.path("checking");
    eventually("the check", async || begun.exists(), |begun| *begun).await;
}

fn checked(node: &Node) {
    node.write("checked", "");
}

#[tokio::test]
async fn the_cluster_sees_that_a_node_is_up_and_proving() {
    let site = Site::new("trial-phase");
    let (node, _) = node(&site, "node-1", &[]).await;
    slow_check(&node, "2");
    node.stage("2").await;
    checking(&node).await;
    site.phase(&node, Phase::Proving).await;
    site.record(&node, |record| record.state == "proving").await;
    let refused = site.command(&node, &["unlock", node.machine_id()]).await;
    assert_eq!(refused.code, Some(3), "{refused:?}");
    assert!(refused.stderr.contains("proving"), "{refused:?}");
    checked(&node);
    site.free().await;
    site.record(&node, |record| record.state == "idle").await;
}

#[tokio::test]
async fn a_quarantined_update_is_reset_so_that_a_better_one_is_found() {
    let site = Site::new("trial-reset");
    let bad = Quarantine {
        what: ImageId {
            digest: None,
            version: Some("2".into()),
        },
        node: String::new(),
        hostname: "ann".into(),
        reason: "eats disks".into(),
        since: None,
    };
    site.semaphore.quarantine(&bad).await.unwrap();
    let patient = machine("node-1").await;
    patient.add_disk("1");
    site.start(&patient, &[]).await;
    let quick = machine("node-2").await;
    quick.add_disk("1");
    site.start(&quick, &[("POINTSMAN_QUARANTINE_RESET", "200ms")])
        .await;
    quick.auto_reboot(AutoReboot::default());
    for node in [&patient, &quick] {
        node.stage("2").await;
    }
    quick.update_engine().wait_for_calls("ResetStatus", 1).await;
    quick.wait_status(|status| status == "idle").await;
    patient
        .wait_status(|status| status.contains("2 is quarantined"))
        .await;
    quick.stage("3").await;
    runs_from(&quick, Slot::B, 1).await;
    site.free().await;
    assert_eq!(quick.update_engine().calls("ResetStatus"), 1);
    assert_eq!(
        patient.update_engine().calls("ResetStatus"),
        0,
        "after 12 h"
    );
}

#[tokio::test]
async fn cleared_quarantine_is_not_written_again_by_a_retried_release() {
    let site = Site::new("trial-told");
    let proxy = Proxy::start(shared_cluster().address(0)).await;
    let node = machine("node-1").await;
    node.add_disk("1");
    judge(&node, "health.d", &["2"]);
    agent(&node, &[proxy.url()], &site.prefix, &QUICK).await;
    node.wait_status(|status| status == "idle").await;
    node.stage("2").await;
    node.logind().rebooted().await;
    proxy.set(Mode::Refuse).await;
    node.auto_reboot(AutoReboot::default());
    node.reboot(Death::Term).await;
    runs_from(&node, Slot::A, 2).await;
    node.wait_status(|status| status.starts_with("releasing: "))
        .await;
    // Of the image it can be told, and the semaphore cannot be released.
    let mut client = shared_cluster().client().await;
    let key = site.semaphore.keys().semaphore();
    let document = client.get(key.clone(), None).await.unwrap().kvs()[0].clone();
    client.put(key.clone(), "spoilt", None).await.unwrap();
    proxy.set(Mode::Pass).await;
    site.until("it is told", |group| group.quarantine.len() == 1)
        .await;
    node.wait_status(|status| status.contains("--rebuild"))
        .await;
    let cleared = site.command(&node, &["quarantine", "clear", "2"]).await;
    assert_eq!(cleared.code, Some(0), "{cleared:?}");
    assert!(holds(&site.read().await, &node));
    client.put(key, document.value(), None).await.unwrap();
    site.free().await;
    assert_eq!(site.read().await.quarantine, []);
}

#[tokio::test]
async fn uncoordinated_node_keeps_its_quarantine_until_it_is_cleared() {
    let alone = [
        ("POINTSMAN_PROVING", "200ms"),
        ("POINTSMAN_RETRY_MIN", "50ms"),
        ("POINTSMAN_RETRY_MAX", "100ms"),
    ];
    let node = machine("node-1").await;
    let disk = node.add_disk("1");
    judge(&node, "health.d", &["2"]);
    node.auto_reboot(AutoReboot::default());
    node.write("etc/pointsman/config.yaml", "strategy: reboot\n");
    node.start(bin(), &[] as &[&str], &alone).await;
    node.wait_status(|status| status == "idle").await;
    node.stage("2").await;
    runs_from(&node, Slot::A, 2).await;
    let quarantine = async |args: &[&str]| {
        let args = [&["quarantine"], args].concat();
        node.run(bin(), &args).await
    };
    let list = quarantine(&["list", "--json"]).await;
    let found: serde_json::Value = serde_json::from_str(&list.stdout).unwrap();
    assert_eq!(found[0]["version"], "2", "{list:?}");
    let reason = found[0]["reason"].as_str().unwrap();
    assert!(reason.contains("version 2 is bad"), "{list:?}");
    node.stage("2").await;
    node.wait_status(|status| status.contains("2 is quarantined"))
        .await;
    let other = quarantine(&["clear", "7"]).await;
    assert_eq!(other.code, Some(6), "{other:?}");
    assert!(other.stderr.contains("was not quarantined"), "{other:?}");
    judge(&node, "health.d", &[]);
    let cleared = quarantine(&["clear", "2"]).await;
    assert_eq!(cleared.code, Some(0), "{cleared:?}");
    runs_from(&node, Slot::B, 3).await;
    node.wait_status(|status| status == "idle").await;
    assert!(disk.bits(Slot::B).successful);
    // A person's word counts as well.
    let added = quarantine(&["add", "3", "--reason", "eats disks"]).await;
    assert_eq!(added.code, Some(0), "{added:?}");
    node.stage("3").await;
    node.wait_status(|status| status.contains("3 is quarantined: eats disks"))
        .await;
    node.kill().await;
    node.start_again();
    node.wait_status(|status| status.contains("3 is quarantined: eats disks"))
        .await;
    assert_eq!(node.reboots(), 3);
}

#[tokio::test]
async fn a_second_update_that_comes_while_proving_waits_for_the_proof() {
    let site = Site::new("trial-second");
    let (node, disk) = node(&site, "node-1", &[]).await;
    slow_check(&node, "2");
    node.stage("2").await;
    checking(&node).await;
    // Over the slot it came from.
    node.stage("3").await;
    assert!(holds(&site.read().await, &node));
    assert_eq!((node.booted(), node.reboots()), (Slot::B, 1));
    assert!(!disk.bits(Slot::B).successful, "not proven yet");
    checked(&node);
    runs_from(&node, Slot::A, 2).await;
    site.free().await;
    assert!(disk.bits(Slot::A).successful && disk.bits(Slot::B).successful);
}

#[tokio::test]
async fn a_failed_boot_whose_old_slot_was_overwritten_stays_up() {
    let site = Site::new("trial-second-bad");
    let (node, disk) = node(&site, "node-1", &["2"]).await;
    slow_check(&node, "2");
    node.stage("2").await;
    checking(&node).await;
    node.stage("3").await;
    checked(&node);
    node.wait_status(|status| {
        status.starts_with("unproven: ") && status.contains("not what ran here before")
    })
    .await;
    assert!(holds(&site.read().await, &node));
    assert_eq!((node.booted(), node.reboots()), (Slot::B, 1));
    assert!(!disk.bits(Slot::B).successful);
}

#[tokio::test]
async fn a_journal_of_the_newer_agent_on_the_other_slot_is_understood() {
    let site = Site::new("trial-newer");
    let (node, disk) = node(&site, "node-1", &[]).await;
    slow_check(&node, "2");
    node.stage("2").await;
    checking(&node).await;
    node.kill().await;
    // What the agent of image 2 leaves when the power fails.
    let path = node.path("var/lib/pointsman/journal.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut journal: serde_json::Value = serde_json::from_str(&text).unwrap();
    journal["version"] = 99.into();
    journal["levitation"] = serde_json::json!({"height": 3});
    journal["entry"]["stage"] = "levitating".into();
    std::fs::write(&path, journal.to_string()).unwrap();
    node.reboot(Death::Kill).await;
    assert_eq!(node.booted(), Slot::A);
    site.free().await;
    assert!(disk.bits(Slot::A).successful && !disk.bits(Slot::B).successful);
    node.stage("3").await;
    node.wait_status(|status| status.contains("newer pointsman"))
        .await;
    assert_eq!(node.reboots(), 2);
}

#[tokio::test]
async fn rollback_interrupted_anywhere_ends_on_the_good_slot() {
    let site = Site::new("trial-kills");
    let versions: Vec<String> = (2..14).map(|version| version.to_string()).collect();
    let bad: Vec<&str> = versions.iter().map(String::as_str).collect();
    let node = machine("node-1").await;
    let disk = node.add_disk("1");
    judge(&node, "health.d", &bad);
    site.start(&node, &QUICK).await;
    let mut random = Random::new("kills during trials");
    let mut quarantined = 0;
    for (index, version) in versions.iter().enumerate() {
        let called = node.logind().reboots().len();
        node.stage(version).await;
        node.logind().wait_reboots(called + 1).await;
        node.reboot(Death::Term).await;
        assert_eq!(node.booted(), Slot::B, "version {version}");
        // Between the boot and the roll-back's reboot, wherever: the moment is what is varied.
        tokio::time::sleep(Duration::from_millis(random.below(450))).await;
        node.kill().await;
        let cut = index % 3 == 2;
        if !cut && node.logind().reboots().len() == called + 1 {
            node.start_again();
            node.logind().wait_reboots(called + 2).await;
        }
        node.reboot(Death::Kill).await;
        assert_eq!(node.booted(), Slot::A, "version {version}");
        node.wait_status(|status| status == "idle").await;
        site.free().await;
        assert!(disk.bits(Slot::A).successful && !disk.bits(Slot::B).successful);
        let known = site.read().await.quarantine.len();
        // A proof that the power cut off is no verdict.
        assert!(known > quarantined || cut, "version {version}");
        quarantined = known;
    }
    assert!(quarantined > versions.len() / 2, "{quarantined}");
}
