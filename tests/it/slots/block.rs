//! Slots on real block devices: the image is what is on the partition now, whatever the disk's page cache holds.

use std::{fs, io::Write as _, os::unix::fs::FileExt as _, path::Path, process::Command};

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
    of_bytes(&bytes)
}

fn of_bytes(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes)
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

/// A loop device over an image, without devices for its partitions, gone with the test.
struct Loop(String);

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["--detach", &self.0]).output();
    }
}

#[tokio::test]
async fn disk_without_partition_devices_is_read_past_its_cache() {
    let dir = scratch::dir("block");
    let image = DiskImage::new(&dir.path().join("disk.img"), "1");
    let path = image.path().display().to_string();
    let made = run("losetup", ["--find", "--show", &path], &[], PATIENCE).await;
    assert_eq!(made.code, Some(0), "{made:?}");
    let device = Loop(made.stdout.trim().to_owned());
    let disk = DiskImage::at(Path::new(&device.0));
    // Something keeps the disk open, and with it what was read of it.
    let _open = fs::File::open(&device.0).unwrap();
    let mut seen = Vec::new();
    for version in ["2", "3"] {
        // Past this device, as another one over the same bytes does.
        image.write_image(Slot::B, version);
        let shown = slots(&disk).await;
        let json: Value = serde_json::from_str(&shown.stdout).unwrap();
        let slot = &json["slots"][1];
        assert_eq!(slot["device"], Value::Null);
        let mut bytes = vec![0; 1 << 20];
        let file = fs::File::open(image.path()).unwrap();
        file.read_exact_at(&mut bytes, (1 << 20) + (2 << 20))
            .unwrap();
        assert_eq!(slot["image"], of_bytes(&bytes), "version {version}");
        assert!(!seen.contains(&slot["image"]));
        seen.push(slot["image"].clone());
    }
}

#[tokio::test]
async fn image_of_an_unreadable_partition_is_unknown() {
    let node = machine("node-1").await;
    let disk = node.add_block_disk("1");
    disk.post_install(Slot::B, "2");
    let block = disk.block().unwrap();
    let (of_disk, of_partition) = (block.name(None), block.name(Some(4)));
    let device = format!("/dev/{of_disk}");
    let slots = async || {
        let args = ["slots", "--disk", &device, "--booted", "A"];
        node.run(bin(), &args).await
    };
    assert_eq!(slots().await.code, Some(0));
    // The kernel has the partition elsewhere than the table.
    let start = format!("sys/devices/{of_disk}/{of_partition}/start");
    let right = fs::read_to_string(node.path(&start)).unwrap();
    node.write(&start, "4096\n");
    let refused = slots().await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(
        refused.stderr.contains("has not read the table again"),
        "{refused:?}"
    );
    // It has no node.
    node.write(&start, &right);
    fs::remove_file(node.path(&format!("dev/{of_partition}"))).unwrap();
    let refused = slots().await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("has no device node"), "{refused:?}");
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
async fn rollout_on_block_devices_uses_the_partitions_content() {
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
            .and_then(|ticket| ticket.to.digest.clone())
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
        quarantined[0].what.digest.as_ref(),
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
