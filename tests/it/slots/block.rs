//! Slots on real block devices: the image is what is on the partition now, whatever the disk's page cache holds.

use std::{fs, io::Write as _, os::unix::fs::FileExt as _, process::Command};

use pointsman_testbed::{
    disk::{DiskImage, Slot},
    fakes::PATIENCE,
    node::{AutoReboot, Node},
    process::{Output, run},
    scratch,
};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::bin;
use crate::{
    agents::{Site, hook, machine},
    support::eventually,
    trials::{QUICK, judge, runs_from},
};

/// The digest by which the program names the image that stands on this partition, by its own device.
fn digest(disk: &DiskImage, number: u32) -> String {
    let device = disk.block().unwrap().partition(number);
    let file = fs::File::open(&device).unwrap();
    let mut bytes = vec![0; 1 << 20];
    file.read_exact_at(&mut bytes, 0).unwrap();
    let hex: String = Sha256::digest(&bytes)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    format!("sha256:{hex}")
}

async fn slots(disk: &DiskImage) -> Output {
    let device = disk.path().display().to_string();
    let args = ["slots", "--json", "--disk", &device, "--booted", "A"];
    run(bin(), args, &[], PATIENCE).await
}

async fn images(disk: &DiskImage) -> [String; 2] {
    let shown = slots(disk).await;
    let json: Value =
        serde_json::from_str(&shown.stdout).unwrap_or_else(|e| panic!("{e}: {shown:?}"));
    [0, 1].map(|slot| json["slots"][slot]["image"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn an_image_rewritten_through_its_partition_is_seen_while_the_other_slot_is_mounted() {
    let dir = scratch::dir("block");
    let disk = DiskImage::new(&dir.path().join("disk.img"), "1").attached();
    let mut seen = Vec::new();
    for version in ["2", "3", "4"] {
        disk.post_install(Slot::B, version);
        let [a, b] = images(&disk).await;
        assert_eq!(
            (a, b.clone()),
            (digest(&disk, 3), digest(&disk, 4)),
            "version {version}"
        );
        assert!(!seen.contains(&b), "{b} was another version's");
        seen.push(b);
    }
    // What is written and not yet on the disk counts as well.
    let partition = disk.block().unwrap().partition(4);
    let mut open = fs::OpenOptions::new().write(true).open(&partition).unwrap();
    open.write_all(b"hsqs not synced").unwrap();
    let [_, b] = images(&disk).await;
    assert_eq!(b, digest(&disk, 4));
    assert!(!seen.contains(&b));
}

#[tokio::test]
async fn the_version_is_read_through_the_partition_too() {
    let dir = scratch::dir("block");
    let disk = DiskImage::new(&dir.path().join("disk.img"), "1").attached();
    let partition = disk.block().unwrap().partition(4);
    for version in ["7", "8"] {
        let tree = scratch::dir("tree");
        fs::create_dir_all(tree.path().join("lib")).unwrap();
        fs::write(
            tree.path().join("lib/os-release"),
            format!("VERSION_ID={version}\n"),
        )
        .unwrap();
        let made = Command::new("mke2fs")
            .args(["-q", "-F", "-t", "ext4", "-O", "^has_journal", "-d"])
            .args([tree.path(), &partition])
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        let shown = slots(&disk).await;
        let json: Value = serde_json::from_str(&shown.stdout).unwrap();
        let b = &json["slots"][1];
        assert_eq!(b["version"], version, "{json}");
        assert_eq!(b["device"], partition.display().to_string());
    }
}

#[tokio::test]
async fn without_partition_devices_the_disk_is_read_past_its_cache() {
    let dir = scratch::dir("block");
    let path = dir.path().join("disk.img");
    let image = DiskImage::new(&path, "1");
    let disk = image.clone().attached();
    let block = disk.block().unwrap();
    // The partition's device stays open elsewhere, as for a container that is given the disk alone.
    disk.post_install(Slot::B, "2");
    let expected = [digest(&disk, 3), digest(&disk, 4)];
    let root = scratch::dir("root");
    let number = block.number(None);
    let folder = root.path().join(format!("sys/dev/block/{number}/queue"));
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("logical_block_size"), "512\n").unwrap();
    std::os::unix::fs::symlink(block.path(), root.path().join("disk")).unwrap();
    let ask = async || {
        let root = root.path().display().to_string();
        let args = [
            "slots", "--json", "--root", &root, "--disk", "/disk", "--booted", "A",
        ];
        run(bin(), args, &[], PATIENCE).await
    };
    let json: Value = serde_json::from_str(&ask().await.stdout).unwrap();
    assert_eq!(
        [0, 1].map(|i| json["slots"][i]["image"].as_str().unwrap()),
        expected
    );
    assert_eq!(json["slots"][1]["device"], Value::Null);

    // A kernel that has the partition elsewhere, or no node for it: what is in the slot cannot be told.
    let partition = root.path().join(format!("sys/dev/block/{number}/x4"));
    fs::create_dir_all(&partition).unwrap();
    for (start, says) in [
        ("4096", "has not read the table again"),
        ("6144", "has no device node"),
    ] {
        for (file, text) in [
            ("partition", "4"),
            ("start", start),
            ("size", "4096"),
            ("dev", "259:9999"),
        ] {
            fs::write(partition.join(file), text).unwrap();
        }
        let refused = ask().await;
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(refused.stderr.contains(says), "{refused:?}");
    }
}

/// A node on a real block device that runs version 1 from A, reboots when it is asked to, and finds these versions bad.
async fn node(site: &Site, name: &str, bad: &[&str]) -> (Node, DiskImage) {
    let node = machine(name).await;
    let disk = node.add_block_disk("1");
    judge(&node, "health.d", bad);
    node.auto_reboot(AutoReboot::default());
    site.start(&node, &QUICK).await;
    node.wait_status(|status| status == "idle").await;
    (node, disk)
}

async fn reset(site: &Site, node: &Node) {
    let done = site.command(node, &["update", "reset"]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
}

#[tokio::test]
async fn a_roll_out_on_block_devices_goes_by_what_is_on_the_partitions() {
    let site = Site::new("block");
    let (first, disk) = node(&site, "node-1", &["2"]).await;
    let (second, other) = node(&site, "node-2", &["2"]).await;
    site.lock().await;

    // The ticket names what is on the partition, also when another update is written over the first one.
    first.stage("4").await;
    let ticket = async || {
        let group = site.read().await;
        group
            .queue
            .first()
            .and_then(|ticket| ticket.to.image.clone())
    };
    let four = digest(&disk, 4);
    eventually("the ticket", ticket, |to| to.as_ref() == Some(&four)).await;
    reset(&site, &first).await;
    first.stage("2").await;
    let two = digest(&disk, 4);
    assert_ne!(two, four);
    eventually("the ticket", ticket, |to| to.as_ref() == Some(&two)).await;

    // The image fails its checks there: it is quarantined by its digest, and the node is back on the first slot.
    site.unlock("operator").await;
    runs_from(&first, Slot::A, 2).await;
    site.free().await;
    let quarantined = site.read().await.quarantine;
    assert_eq!(
        quarantined[0].what.image.as_ref(),
        Some(&two),
        "{quarantined:?}"
    );

    // The second node has other content first, which it read, and then the bad image: it stays.
    hook(&second, "may-reboot.d/10-no", "exit 75");
    second.stage("4").await;
    second.wait_status(|status| status.contains("10-no")).await;
    reset(&site, &second).await;
    second.stage("2").await;
    assert_eq!(digest(&other, 4), two);
    fs::remove_file(second.path("etc/pointsman/hooks/may-reboot.d/10-no")).unwrap();
    second
        .wait_status(|status| status.contains("is quarantined"))
        .await;

    // A better image is not taken for the bad one, and goes through.
    for (node, reboots) in [(&first, 3), (&second, 1)] {
        reset(&site, node).await;
        node.stage("3").await;
        runs_from(node, Slot::B, reboots).await;
    }
    site.free().await;
}
