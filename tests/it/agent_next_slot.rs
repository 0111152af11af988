//! Which slot boots next while an update waits, and when the new slot is activated.

use std::fs;

use host::node::{Root, RootPath};
use pointsman::agent::next_slot::NextSlot;
use pointsman_testbed::{
    disk::{Bits, DiskImage, Slot},
    fakes::{OnReboot, PATIENCE, Status},
    node::{AutoReboot, Death, Node},
    process::{Signal, run},
    scratch,
};
use semaphore::records::Phase;
use slots::Location;

use crate::{
    agents::{Site, bin, drained, draining, machine, slow_drain},
    support::eventually,
};

/// A node with two slots that runs version 1 from A.
async fn node(site: &Site, env: &[(&str, &str)]) -> (Node, DiskImage) {
    let node = machine("node-1").await;
    let disk = node.add_disk("1");
    site.start(&node, env).await;
    node.wait_status(|status| status == "idle").await;
    (node, disk)
}

fn next(disk: &DiskImage) -> Slot {
    let (a, b) = (disk.bits(Slot::A), disk.bits(Slot::B));
    if a.priority >= b.priority {
        Slot::A
    } else {
        Slot::B
    }
}

async fn until_next(disk: &DiskImage, slot: Slot) {
    eventually(
        "which slot is next",
        async || next(disk),
        |next| *next == slot,
    )
    .await;
}

#[tokio::test]
async fn booted_slot_stays_next_until_the_staged_update_reboots() {
    let site = Site::new("slot");
    let (node, disk) = node(&site, &[]).await;
    site.lock().await;
    node.stage("2").await;
    site.until("its ticket", |group| group.queue.len() == 1)
        .await;
    until_next(&disk, Slot::A).await;
    assert_eq!(disk.bits(Slot::B).tries, 1, "the update keeps its try");
    // The power fails: the machine comes back on what it ran, and waits for update_engine to stage it again.
    node.reboot(Death::Kill).await;
    node.wait_status(|status| status == "idle").await;
    assert_eq!(node.booted(), Slot::A);
    node.stage("2").await;
    until_next(&disk, Slot::A).await;
    node.auto_reboot(AutoReboot::default());
    site.unlock("operator").await;
    eventually("on B", async || node.booted(), |slot| *slot == Slot::B).await;
    site.free().await;
    let shown = site.command(&node, &["slots"]).await;
    assert!(shown.stdout.contains("booted"), "{shown:?}");
}

#[tokio::test]
async fn booted_slot_is_pinned_again_when_no_reboot_follows() {
    let site = Site::new("slot-back");
    let (node, disk) = node(&site, &[("POINTSMAN_RETRY_MAX", "1h")]).await;
    node.logind().on_reboot(OnReboot::Fail("no".into()));
    node.stage("2").await;
    node.logind().wait_asked(1).await;
    until_next(&disk, Slot::A).await;
    site.free().await;
    assert_eq!(next(&disk), Slot::A);
}

#[tokio::test]
async fn crash_after_activation_pins_the_booted_slot_again() {
    let site = Site::new("slot-crash");
    let (node, disk) = node(&site, &[("POINTSMAN_RETRY_MAX", "1h")]).await;
    node.logind().on_reboot(OnReboot::Nothing);
    node.stage("2").await;
    node.logind().wait_asked(1).await;
    assert_eq!(next(&disk), Slot::B, "activated before the call");
    node.kill().await;
    node.start_again();
    until_next(&disk, Slot::A).await;
    site.free().await;
}

#[tokio::test]
async fn booted_slot_is_pinned_before_the_release_whatever_update_engine_says() {
    for away in [true, false] {
        let site = Site::new("slot-back-away");
        let (node, disk) = node(&site, &[("POINTSMAN_RETRY_MAX", "1h")]).await;
        node.logind().on_reboot(OnReboot::Nothing);
        node.stage("2").await;
        node.logind().wait_asked(1).await;
        assert_eq!(next(&disk), Slot::B);
        // It was stopped for the shutdown, which was called off then; or it has been started again since.
        match away {
            true => node.update_engine().stop().await,
            false => node.update_engine().set_silently(Status::idle()),
        }
        node.kill().await;
        node.start_again();
        site.free().await;
        assert_eq!(next(&disk), Slot::A, "away: {away}");
    }
}

#[tokio::test]
async fn lock_is_kept_until_the_booted_slot_is_pinned() {
    let site = Site::new("slot-stuck");
    let (node, disk) = node(&site, &[]).await;
    node.logind().on_reboot(OnReboot::Nothing);
    node.stage("2").await;
    node.logind().wait_asked(1).await;
    node.kill().await;
    let mark = node.path("var/lib/pointsman/points-held");
    let label = std::fs::read_to_string(&mark).unwrap();
    std::fs::remove_file(&mark).unwrap();
    node.write("var/lib/pointsman/points-held/in-the-way", "");
    node.start_again();
    node.wait_status(|status| {
        status.starts_with("stepping-back: ") && status.contains("still the next to boot")
    })
    .await;
    assert_eq!(site.read().await.holders.len(), 1);
    std::fs::remove_dir_all(&mark).unwrap();
    std::fs::write(&mark, label).unwrap();
    until_next(&disk, Slot::A).await;
    // And it tries again.
    node.logind().wait_asked(2).await;
}

#[tokio::test]
async fn update_staged_after_another_commit_is_not_activated() {
    let site = Site::new("slot-late");
    let (node, disk) = node(&site, &[]).await;
    node.logind().on_reboot(OnReboot::Nothing);
    let asked = site.command(&node, &["reboot"]).await;
    assert_eq!(asked.code, Some(0), "{asked:?}");
    node.logind().wait_asked(1).await;
    node.stage("2").await;
    until_next(&disk, Slot::A).await;
    site.phase(&node, Phase::Rebooting).await;
}

#[tokio::test]
async fn booted_slot_stays_pinned_during_the_drain() {
    let site = Site::new("slot-drain");
    let (node, disk) = node(&site, &[]).await;
    slow_drain(&node);
    node.stage("2").await;
    draining(&node).await;
    until_next(&disk, Slot::A).await;
    drained(&node);
    node.logind().rebooted().await;
    assert_eq!(next(&disk), Slot::B);
}

#[tokio::test]
async fn uncoordinated_strategy_activates_the_staged_slot() {
    let site = Site::new("slot-off");
    let (node, disk) = node(&site, &[]).await;
    site.lock().await;
    node.stage("2").await;
    until_next(&disk, Slot::A).await;
    node.write("etc/pointsman/config.yaml", "strategy: off\n");
    node.child().signal(Signal::SIGHUP);
    until_next(&disk, Slot::B).await;
    // Nobody holds them from now on, whatever becomes known.
    let looked = node.update_engine().calls("GetStatus");
    node.update_engine().ready("2").await;
    node.update_engine()
        .wait_for_calls("GetStatus", looked + 1)
        .await;
    assert_eq!(next(&disk), Slot::B);
    // Nor where the operator does not want it.
    let site = Site::new("slot-unheld");
    let node = machine("node-2").await;
    let disk = node.add_disk("1");
    // By its old name, which is said.
    node.write("etc/pointsman/config.yaml", "hold-points: false\n");
    site.start(&node, &[]).await;
    let log = node.log();
    assert!(
        log.contains("hold-points was renamed; use pin-booted-slot instead"),
        "{log}"
    );
    site.lock().await;
    node.stage("2").await;
    site.until("its ticket", |group| group.queue.len() == 1)
        .await;
    assert_eq!(next(&disk), Slot::B);
}

#[tokio::test]
async fn a_reset_update_is_forgotten() {
    let site = Site::new("slot-reset");
    let (node, disk) = node(&site, &[]).await;
    site.lock().await;
    node.stage("2").await;
    until_next(&disk, Slot::A).await;
    let held = node.path("var/lib/pointsman/points-held");
    assert!(held.exists());
    node.update_engine().set(Status::idle()).await;
    eventually("forgotten", async || held.exists(), |held| !held).await;
    assert_eq!(next(&disk), Slot::A);
}

#[tokio::test]
async fn a_reboot_by_hand_while_update_engine_is_away_stays_on_what_runs() {
    let site = Site::new("slot-away");
    let (node, disk) = node(&site, &[]).await;
    site.lock().await;
    node.stage("2").await;
    until_next(&disk, Slot::A).await;
    // Which image is staged cannot be asked any more; the booted slot stays pinned.
    node.update_engine().stop().await;
    let asked = site
        .command(&node, &["reboot", "--reason", "new disk"])
        .await;
    assert_eq!(asked.code, Some(0), "{asked:?}");
    site.unlock("operator").await;
    node.logind().rebooted().await;
    assert_eq!(next(&disk), Slot::A);
}

#[tokio::test]
async fn an_update_that_is_reset_and_staged_again_is_booted() {
    let site = Site::new("slot-again");
    let (node, disk) = node(&site, &[]).await;
    site.lock().await;
    node.stage("2").await;
    until_next(&disk, Slot::A).await;
    let held = node.path("var/lib/pointsman/points-held");
    node.update_engine().set(Status::idle()).await;
    eventually("forgotten", async || held.exists(), |held| !held).await;
    // The same image once more, without the post-install that would make its slot next.
    node.update_engine().ready("2").await;
    site.unlock("operator").await;
    node.logind().rebooted().await;
    assert_eq!(next(&disk), Slot::B);
}

#[tokio::test]
async fn failed_slot_change_is_retried() {
    let site = Site::new("slot-refused");
    let (node, disk) = node(&site, &[]).await;
    site.lock().await;
    // The mark cannot be written; nothing else wakes the agent afterwards.
    node.write("var/lib/pointsman/points-held/in-the-way", "");
    node.stage("2").await;
    eventually(
        "the error",
        async || node.log().contains("which slot boots next has not changed"),
        |said| *said,
    )
    .await;
    assert_eq!(next(&disk), Slot::B);
    std::fs::remove_dir_all(node.path("var/lib/pointsman/points-held")).unwrap();
    until_next(&disk, Slot::A).await;
}

#[tokio::test]
async fn a_reboot_into_the_slot_a_person_made_next_asks_for_that_image() {
    let site = Site::new("slot-person");
    let (node, disk) = node(&site, &[]).await;
    disk.post_install(Slot::B, "2");
    let shown = node.run(bin(), &["slots", "--json"]).await;
    let shown: serde_json::Value = serde_json::from_str(&shown.stdout).unwrap();
    let image = shown["slots"][1]["image"].as_str().unwrap().to_owned();
    let quarantine = ["quarantine", "add", &image, "--reason", "no network"];
    site.command(&node, &quarantine).await;
    let asked = ["reboot", "--reason", "back to 2"];
    assert_eq!(site.command(&node, &asked).await.code, Some(0));
    node.wait_status(|s| s.starts_with("waiting: ") && s.contains("is quarantined: no network"))
        .await;
    assert!(site.read().await.queue.is_empty());
    // Whoever makes the booted slot next again has nothing to ask: it goes, and stays.
    let changed = node.run(bin(), &["rollback", "--undo"]).await;
    assert_eq!(changed.code, Some(0), "{changed:?}");
    assert_eq!(site.command(&node, &asked).await.code, Some(0));
    node.logind().rebooted().await;
    assert_eq!(next(&disk), Slot::A);
}

#[tokio::test]
async fn slot_chosen_by_a_person_stays_next_without_a_reboot() {
    let site = Site::new("slot-person-back");
    let (node, disk) = node(&site, &[("POINTSMAN_RETRY_MAX", "1h")]).await;
    node.logind().on_reboot(OnReboot::Fail("no".into()));
    disk.post_install(Slot::B, "2");
    let asked = site.command(&node, &["reboot"]).await;
    assert_eq!(asked.code, Some(0), "{asked:?}");
    node.logind().wait_asked(1).await;
    site.free().await;
    assert_eq!(next(&disk), Slot::B);
}

#[test]
fn rollback_needs_the_image_that_ran_before() {
    let dir = scratch::dir("go-back");
    let path = dir.path().join("disk");
    let disk = DiskImage::new(&path, "1");
    disk.post_install(Slot::B, "2");
    let place = Location {
        disk: Some(RootPath::named(path)),
        booted: Some("USR-B".into()),
    };
    let next_slot = NextSlot::new(Root::new(dir.path()), place, true);
    let before = next_slot.survey().unwrap().boot.other.unwrap().image;
    let bits = || [Slot::A, Slot::B].map(|slot| disk.bits(slot));
    let untouched = bits();
    disk.write_image(Slot::A, "3");
    let refused = next_slot.switch_back(&before).unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("USR-A now holds another image"),
        "{refused}"
    );
    assert_eq!(bits(), untouched);
    disk.write_image(Slot::A, "1");
    next_slot.switch_back(&before).unwrap();
    assert_eq!((next(&disk), disk.bits(Slot::B).priority), (Slot::A, 0));
}

#[tokio::test]
async fn unbootable_update_is_reported_before_the_queue() {
    let site = Site::new("slot-tries");
    let (node, disk) = node(&site, &[]).await;
    disk.post_install(Slot::B, "2");
    let bits = disk.bits(Slot::B);
    disk.set(Slot::B, Bits { tries: 0, ..bits });
    node.update_engine().ready("2").await;
    node.wait_status(|status| {
        status.starts_with("waiting: USR-B") && status.contains("could not boot")
    })
    .await;
    let group = site.read().await;
    assert!(group.queue.is_empty() && group.holders.is_empty());
    disk.set(Slot::B, bits);
    node.update_engine().ready("2").await;
    node.logind().rebooted().await;
}

#[test]
fn activation_ends_with_its_boot_and_a_slot_chosen_later_stays_next() {
    let dir = scratch::dir("activated");
    let path = dir.path().join("disk");
    let disk = DiskImage::new(&path, "1");
    disk.post_install(Slot::B, "2");
    for (slot, priority) in [(Slot::A, 2), (Slot::B, 1)] {
        let good = Bits {
            priority,
            tries: 0,
            successful: true,
        };
        disk.set(slot, good);
    }
    let mark = dir.path().join("var/lib/pointsman/points-held");
    std::fs::create_dir_all(mark.parent().unwrap()).unwrap();
    std::fs::write(&mark, "USR-B").unwrap();
    let place = Location {
        disk: Some(RootPath::named(path)),
        booted: Some("USR-B".into()),
    };
    let next_slot = NextSlot::new(Root::new(dir.path()), place, true);
    next_slot.put_back().unwrap();
    next_slot.settle(false, false).unwrap();
    assert_eq!((next(&disk), mark.exists()), (Slot::A, false));
}

#[test]
fn only_what_can_boot_is_put_first() {
    let dir = scratch::dir("bootable");
    let path = dir.path().join("disk");
    let disk = DiskImage::new(&path, "1");
    let place = Location {
        disk: Some(RootPath::named(path)),
        booted: Some("USR-A".into()),
    };
    let next_slot = NextSlot::new(Root::new(dir.path()), place, true);
    std::fs::create_dir_all(dir.path().join("var/lib/pointsman")).unwrap();
    disk.post_install(Slot::B, "2");
    // The booted one is on trial itself: the boot loader would not come back to it.
    let (good, staged) = (disk.bits(Slot::A), disk.bits(Slot::B));
    let trial = Bits {
        successful: false,
        ..good
    };
    disk.set(Slot::A, trial);
    next_slot.settle(true, false).unwrap();
    assert_eq!([disk.bits(Slot::A), disk.bits(Slot::B)], [trial, staged]);
    // Held, and its one try is gone.
    disk.set(Slot::A, good);
    next_slot.settle(true, false).unwrap();
    assert_eq!(next(&disk), Slot::A);
    let spent = Bits {
        tries: 0,
        ..disk.bits(Slot::B)
    };
    disk.set(Slot::B, spent);
    let refused = next_slot.activate().unwrap_err();
    assert!(refused.to_string().contains("could not boot"), "{refused}");
    assert_eq!(disk.bits(Slot::B), spent);
}

#[tokio::test]
async fn a_disk_that_cannot_be_used_is_found_before_the_ticket() {
    // One that is not there, and one without a table.
    for disk in ["/gone.img", "/etc/hostname"] {
        // With an update of update_engine, and where a file asks for a reboot.
        for engine in [true, false] {
            let site = Site::new("slot-unusable");
            let node = if engine {
                machine("node-1").await
            } else {
                Node::without_update_engine("node-1").await
            };
            node.add_disk("1").post_install(Slot::B, "2");
            site.start(&node, &[("POINTSMAN_DISK", disk)]).await;
            if engine {
                node.update_engine().ready("2").await;
            } else {
                node.write("run/reboot-required", "");
            }
            let status = node
                .wait_status(|status| status.starts_with("waiting: "))
                .await;
            assert!(status.contains(disk), "engine {engine}: {status}");
            assert!(site.read().await.queue.is_empty());
            node.stop().await;
        }
    }
}

#[tokio::test]
async fn a_read_only_disk_is_found_before_the_ticket() {
    let site = Site::new("slot-read-only");
    let node = machine("node-1").await;
    let disk = node.add_block_disk("1");
    site.start(&node, &[]).await;
    let device = disk.path().display().to_string();
    let set = async |flag: &str| {
        let done = run("blockdev", [flag, &device], &[], PATIENCE).await;
        assert_eq!(done.code, Some(0), "{done:?}");
        let ro = fs::read_to_string(disk.block().unwrap().sysfs(None).join("ro")).unwrap();
        let name = disk.block().unwrap().name(None);
        node.write(&format!("sys/devices/{name}/ro"), &ro);
    };
    disk.post_install(Slot::B, "2");
    set("--setro").await;
    node.update_engine().ready("2").await;
    node.wait_status(|status| status.starts_with("waiting: ") && status.contains("read-only"))
        .await;
    assert!(site.read().await.queue.is_empty());
    // It is looked at again by itself.
    set("--setrw").await;
    node.logind().wait_asked(1).await;
}

#[tokio::test]
async fn sentinel_file_reboot_stays_on_the_running_slot() {
    let site = Site::new("slot-sentinel");
    let node = Node::without_update_engine("node-1").await;
    let disk = node.add_disk("1");
    disk.post_install(Slot::B, "2");
    disk.set(
        Slot::A,
        Bits {
            priority: 3,
            tries: 0,
            successful: true,
        },
    );
    node.auto_reboot(AutoReboot::default());
    site.start(&node, &[]).await;
    node.write("run/reboot-required", "");
    eventually("a reboot", async || node.reboots(), |n| *n == 1).await;
    site.free().await;
    assert_eq!(node.booted(), Slot::A);
}
