//! `pointsman rollback`.

use std::fs;

use pointsman_testbed::{
    disk::{Bits, Slot},
    fakes::{Status, Systemd},
};

use super::*;
use crate::agents::{Site, machine};

const GOOD: Bits = Bits {
    priority: 1,
    tries: 0,
    successful: true,
};

/// A desk whose other slot holds a good image.
fn with_two() -> Desk {
    let desk = Desk::new();
    desk.disk.write_image(Slot::B, "0");
    desk.disk.set(Slot::B, GOOD);
    desk.disk.set(
        Slot::A,
        Bits {
            priority: 2,
            ..GOOD
        },
    );
    desk
}

#[tokio::test]
async fn the_other_slot_boots_next_also_when_asked_twice_and_undo_undoes_it() {
    let desk = with_two();
    desk.says(&["rollback"], 0, "A reboot now boots USR-B")
        .await;
    assert_eq!(desk.run(&["slots", "next"]).await.stdout, "USR-B\n");
    // Two people, or a tool that does it again.
    for args in [&["rollback"][..], &["rollback", "--dry-run"]] {
        desk.says(
            args,
            0,
            "A reboot now already boots USR-B. To undo this: pointsman rollback --undo",
        )
        .await;
        assert_eq!(desk.run(&["slots", "next"]).await.stdout, "USR-B\n");
    }
    desk.says(
        &["rollback", "--undo", "--dry-run"],
        0,
        "Nothing was changed",
    )
    .await;
    desk.says(
        &["rollback", "--undo"],
        0,
        "Undone: a reboot now boots USR-A again",
    )
    .await;
    assert_eq!(desk.run(&["slots", "next"]).await.stdout, "USR-A\n");
    desk.says(
        &["rollback", "--undo"],
        0,
        "Nothing to undo: a reboot now boots USR-A again",
    )
    .await;
    desk.says(
        &["rollback", "--undo", "--reboot"],
        2,
        "cannot be used with",
    )
    .await;
}

#[tokio::test]
async fn refused_rollback_prints_only_the_refusal() {
    let desk = Desk::new();
    desk.disk.write_image(Slot::B, "0");
    let refused = desk
        .says(
            &["rollback"],
            1,
            "USR-B could not boot, because it is not marked successful and has no try left",
        )
        .await;
    assert!(!refused.stderr.contains("warning"), "{refused:?}");
}

#[tokio::test]
async fn missing_slots_are_reported() {
    let node = machine("node-1").await;
    let root = node.root().display().to_string();
    for args in [&["slots"][..], &["rollback"]] {
        let done = node
            .run_plain(bin(), &[args, &["--root", &root]].concat(), &[])
            .await;
        assert_eq!(done.code, Some(1), "{done:?}");
        assert!(
            done.stderr
                .starts_with("pointsman: this node has no A/B system partitions"),
            "{done:?}"
        );
    }
    // Of a disk that somebody names it is known what is wrong with it.
    node.write("disk.img", "");
    let done = node
        .run_plain(
            bin(),
            &["slots", "--root", &root, "--disk", "/disk.img"],
            &[],
        )
        .await;
    assert!(
        !done.stderr.contains("no A/B system partitions"),
        "{done:?}"
    );
}

#[tokio::test]
async fn rollback_with_reboot_or_stay_may_be_repeated() {
    let desk = with_two();
    desk.says(&["rollback"], 0, "A reboot now boots USR-B")
        .await;
    desk.says(
        &["rollback", "--stay"],
        0,
        "A reboot now already boots USR-B",
    )
    .await;
    assert_eq!(desk.run(&["slots", "next"]).await.stdout, "USR-B\n");
    // Nothing is changed for a reboot that cannot be asked for.
    let desk = with_two();
    desk.says(&["rollback", "--reboot"], 4, "bus").await;
    assert_eq!(desk.run(&["slots", "next"]).await.stdout, "USR-A\n");
}

#[tokio::test]
async fn unbootable_slot_is_not_rolled_back_to() {
    let desk = Desk::new();
    desk.says(&["rollback"], 1, "USR-B holds no file system")
        .await;
    desk.says(&["rollback", "--force"], 1, "USR-B holds no file system")
        .await;
    desk.disk.write_image(Slot::B, "0");
    desk.says(
        &["rollback"],
        1,
        "USR-B could not boot, because it is not marked successful and has no try left: priority 0, tries 0, not successful\n\
         to give it one try: pointsman rollback --force",
    )
    .await;
    assert_eq!(desk.disk.bits(Slot::B).priority, 0);
    desk.says(&["rollback", "--force"], 0, "tries 1").await;
    assert_eq!(desk.run(&["slots", "next"]).await.stdout, "USR-B\n");
    // The one that runs is itself on trial: going back is final.
    let desk = with_two();
    desk.disk.set(
        Slot::A,
        Bits {
            priority: 2,
            tries: 0,
            successful: false,
        },
    );
    desk.says(
        &["rollback"],
        0,
        "warning: the running slot USR-A is not marked good yet",
    )
    .await;
    let root = desk.dir.path().display().to_string();
    let unknown = run(
        bin(),
        ["rollback", "--root", &root, "--disk", "/disk.img"],
        &[],
        PATIENCE,
    )
    .await;
    assert_eq!(unknown.code, Some(2), "{unknown:?}");
    assert!(unknown.stderr.contains("--booted SLOT"), "{unknown:?}");
}

/// A node with a bus, whose other slot is good, and whose update_engine has run for so many seconds.
async fn node_with_two(
    seconds: u64,
) -> (
    pointsman_testbed::node::Node,
    pointsman_testbed::disk::DiskImage,
) {
    let node = machine("node-1").await;
    let disk = pointsman_testbed::disk::DiskImage::new(&node.path("disk.img"), "1");
    disk.write_image(Slot::B, "0");
    disk.set(Slot::B, GOOD);
    disk.set(
        Slot::A,
        Bits {
            priority: 2,
            ..GOOD
        },
    );
    // The fake runs in this process.
    let fields = vec!["0"; 18].join(" ");
    let pid = std::process::id();
    node.write(
        &format!("proc/{pid}/stat"),
        &format!("{pid} (a b) S {fields} 100000 0 0"),
    );
    node.write("proc/uptime", &format!("{}.50 0.0\n", 1000 + seconds));
    (node, disk)
}

const PLACE: [&str; 4] = ["--disk", "/disk.img", "--booted", "A"];

#[tokio::test]
async fn update_engine_must_not_be_about_to_undo_it() {
    let (node, disk) = node_with_two(100).await;
    let rollback = async || node.run(bin(), &[&["rollback"], &PLACE[..]].concat()).await;
    for (operation, words) in [
        ("DOWNLOADING", "update_engine is writing an update"),
        ("VERIFYING", "update_engine is writing an update"),
        ("FINALIZING", "update_engine is writing an update"),
        ("UPDATED_NEED_REBOOT", "an update is staged"),
    ] {
        node.update_engine()
            .set(Status::new(&format!("UPDATE_STATUS_{operation}"), "2"))
            .await;
        let done = rollback().await;
        assert_eq!(done.code, Some(3), "{done:?}");
        assert!(done.stderr.contains(words), "{done:?}");
        assert_eq!(disk.bits(Slot::B).priority, 1);
    }
    node.update_engine().set(Status::idle()).await;
    let done = rollback().await;
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(done.stdout.contains("--stay prevents that"), "{done:?}");
    // Within its first 45 seconds it puts the booted slot first.
    let (node, disk) = node_with_two(20).await;
    let done = node.run(bin(), &[&["rollback"], &PLACE[..]].concat()).await;
    assert_eq!(done.code, Some(3), "{done:?}");
    assert!(
        done.stderr.contains("started 20s ago") && done.stderr.contains("Try again in 30s"),
        "{done:?}"
    );
    assert_eq!(disk.bits(Slot::B).priority, 1);
}

#[tokio::test]
async fn staying_stops_updates_until_it_is_undone() {
    let (node, _disk) = node_with_two(100).await;
    let systemd = Systemd::start(node.bus()).await;
    let conf = "etc/flatcar/update.conf";
    node.write(conf, "GROUP=beta\nSERVER=https://updates.example\n");
    let run = async |args: &[&str]| {
        let done = node.run(bin(), &[args, &PLACE].concat()).await;
        assert_eq!(done.code, Some(0), "{done:?}");
        done.stdout
    };
    let dry = run(&["rollback", "--stay", "--dry-run"]).await;
    assert!(
        dry.contains("SERVER=https://updates.example → disabled"),
        "{dry}"
    );
    let text = || fs::read_to_string(node.path(conf)).unwrap();
    assert!(!text().contains("disabled") && systemd.asked().is_empty());
    run(&["rollback", "--stay"]).await;
    assert_eq!(text(), "GROUP=beta\nSERVER=disabled\n");
    let unit = "update-engine.service".to_owned();
    assert_eq!(systemd.asked(), [("StopUnit".to_owned(), unit.clone())]);
    run(&["rollback", "--no-stay"]).await;
    assert_eq!(text(), "GROUP=beta\nSERVER=https://updates.example\n");
    assert_eq!(systemd.asked()[1], ("StartUnit".to_owned(), unit));
    assert!(
        run(&["rollback", "--no-stay"])
            .await
            .contains("Nothing to undo")
    );
}

#[tokio::test]
async fn a_reboot_into_the_other_slot_waits_for_its_turn() {
    let site = Site::new("rollback");
    let (node, disk) = node_with_two(100).await;
    site.start(&node, &[]).await;
    site.lock().await;
    let done = site
        .command(&node, &[&["rollback", "--reboot"], &PLACE[..]].concat())
        .await;
    assert_eq!(done.code, Some(0), "{done:?}");
    site.until("its ticket", |group| group.queue.len() == 1)
        .await;
    assert!(node.logind().asked().is_empty());
    // Who takes the reboot back takes back what it was for.
    let cancelled = site
        .command(&node, &[&["cancel"], &PLACE[..]].concat())
        .await;
    assert!(
        cancelled
            .stdout
            .contains("Undone: a reboot now boots USR-A again"),
        "{cancelled:?}"
    );
    let again = site
        .command(&node, &[&["rollback", "--reboot"], &PLACE[..]].concat())
        .await;
    assert!(
        again.stdout.contains("A reboot now boots USR-B"),
        "{again:?}"
    );
    site.until("its ticket", |group| group.queue.len() == 1)
        .await;
    site.unlock("operator").await;
    node.logind().rebooted().await;
    assert!(disk.bits(Slot::B).priority > disk.bits(Slot::A).priority);
}

/// A person whose node does not boot well need not correct an unrelated line of the configuration first.
#[tokio::test]
async fn unrelated_configuration_fault_does_not_block_slots() {
    let desk = with_two();
    let file = desk.dir.path().join("etc/pointsman/config.yaml");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    let root = desk.dir.path().display().to_string();
    // The disk stands in the file that has the fault.
    let place = "slots: {disk: /disk.img, booted: A}\n";
    let says = async |args: &[&str], code: i32, says: &str| {
        let done = run(bin(), [args, &["--root", &root]].concat(), &[], PATIENCE).await;
        assert_eq!(done.code, Some(code), "{args:?}: {done:?}");
        let text = format!("{}{}", done.stdout, done.stderr);
        assert!(text.contains(says), "{args:?} should say {says:?}: {text}");
        done
    };
    for (fault, named) in [
        ("windw: 1\n", "unknown key \"windw\""),
        (
            "timings: {proving: soon}\n",
            "timings.proving: found \"soon\"",
        ),
    ] {
        fs::write(&file, format!("{fault}{place}")).unwrap();
        for (args, words) in [
            (&["slots"][..], "A reboot now boots"),
            (&["slots", "prioritize", "B"], "USR-B: "),
            (&["slots", "mark-good"], "USR-A: "),
            (&["slots", "check"], "no problem found"),
            (&["slots", "repair"], "Nothing to change"),
            (&["rollback"], "A reboot now boots USR-B"),
            (&["rollback", "--undo"], "a reboot now boots USR-A"),
        ] {
            let done = says(args, 0, words).await;
            assert!(done.stderr.contains(named), "{done:?}");
        }
        let next = says(&["slots", "next"], 0, named).await;
        assert_eq!(next.stdout, "USR-A\n");
        says(&["slots", "proven"], 0, named).await;
        // A reboot goes by all of it.
        let before = desk.disk.bits(Slot::B);
        says(
            &["rollback", "--reboot"],
            2,
            "rollback --reboot: fix the error in the configuration first, see above",
        )
        .await;
        assert_eq!(desk.disk.bits(Slot::B), before);
    }
    // Where the slots are is not guessed.
    fs::write(&file, "slots: {disk: disk.img, booted: A}\n").unwrap();
    says(
        &["slots", "mark-good"],
        2,
        "slots.disk: fix the error above first, or give --disk",
    )
    .await;
    says(
        &["slots", "mark-good", "B", "--disk", "/disk.img"],
        0,
        "USR-B: ",
    )
    .await;
}

#[tokio::test]
async fn stay_is_undone_without_systemd() {
    let desk = with_two();
    let conf = desk.dir.path().join("etc/flatcar/update.conf");
    fs::create_dir_all(conf.parent().unwrap()).unwrap();
    fs::write(&conf, "GROUP=beta\nSERVER=https://updates.example\n").unwrap();
    let text = || fs::read_to_string(&conf).unwrap();
    desk.says(&["rollback", "--stay"], 0, "→ disabled").await;
    assert_eq!(text(), "GROUP=beta\nSERVER=disabled\n");
    desk.says(
        &["rollback", "--no-stay"],
        0,
        "Run it where update_engine runs: systemctl start update-engine.service",
    )
    .await;
    assert_eq!(text(), "GROUP=beta\nSERVER=https://updates.example\n");
    desk.says(&["rollback", "--no-stay"], 0, "Nothing to undo")
        .await;
    // What somebody has set since stays.
    desk.says(&["rollback", "--stay"], 0, "→ disabled").await;
    fs::write(&conf, "SERVER=https://own.example\n").unwrap();
    desk.says(
        &["rollback", "--no-stay"],
        0,
        "SERVER=https://own.example was changed since --stay, and is kept",
    )
    .await;
    assert_eq!(text(), "SERVER=https://own.example\n");
    desk.says(&["rollback", "--no-stay"], 0, "Nothing to undo")
        .await;
}

#[tokio::test]
async fn interrupted_undo_of_stay_is_repeated() {
    let (node, _disk) = node_with_two(100).await;
    let conf = "etc/flatcar/update.conf";
    node.write(conf, "SERVER=https://updates.example\n");
    let systemd = Systemd::start(node.bus()).await;
    let run = async |args: &[&str]| node.run(bin(), &[args, &PLACE].concat()).await;
    let done = run(&["rollback", "--stay"]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    drop(systemd);
    // systemd does not answer: as if it had been cut off before it was asked.
    let done = run(&["rollback", "--no-stay"]).await;
    assert_ne!(done.code, Some(0), "{done:?}");
    let text = || fs::read_to_string(node.path(conf)).unwrap();
    assert_eq!(text(), "SERVER=https://updates.example\n");
    let systemd = Systemd::start(node.bus()).await;
    let done = run(&["rollback", "--no-stay"]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    let unit = "update-engine.service".to_owned();
    assert_eq!(systemd.asked(), [("StartUnit".to_owned(), unit)]);
    assert_eq!(text(), "SERVER=https://updates.example\n");
}
