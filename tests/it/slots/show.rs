//! `pointsman slots` and what belongs to it.

use std::{fs, os::unix::fs::FileExt as _};

use nix::fcntl::{Flock, FlockArg};
use pointsman_testbed::disk::{Bits, Slot};
use serde_json::Value;

use super::*;

#[tokio::test]
async fn both_slots_are_shown_and_what_a_reboot_would_do() {
    let desk = Desk::new();
    fs::create_dir_all(desk.dir.path().join("etc")).unwrap();
    fs::write(
        desk.dir.path().join("etc/os-release"),
        "VERSION_ID=4081.2.0\n",
    )
    .unwrap();
    let shown = desk
        .says(&["slots"], 0, "A reboot now boots USR-A again.")
        .await
        .stdout;
    for words in [
        "A     USR-A  partition 3  4081.2.0  sha256:",
        "booted, next",
        "empty",
    ] {
        assert!(shown.contains(words), "{shown}");
    }
    desk.disk.post_install(Slot::B, "2");
    desk.says(
        &["slots"],
        0,
        "A reboot now boots USR-B instead of USR-A, on trial",
    )
    .await;
    let json = desk.says(&["slots", "--json"], 0, "").await.stdout;
    let json: Value = serde_json::from_str(&json).unwrap();
    let page = include_str!("../../../docs/reference/commands.md");
    let (_, page) = page.split_once("## `slots --json`").unwrap();
    let documented = crate::commands::documented(page);
    assert_eq!(crate::commands::paths(&json), documented);
    let b = &json["slots"][1];
    assert_eq!(
        (&b["priority"], &b["tries"], &b["next"]),
        (&2.into(), &1.into(), &true.into())
    );
    assert_ne!(b["image"], json["slots"][0]["image"]);
    // A trial that runs and is not marked good.
    desk.disk.set(
        Slot::A,
        Bits {
            priority: 3,
            tries: 0,
            successful: false,
        },
    );
    desk.says(
        &["slots"],
        0,
        "A reboot now boots USR-B: the running slot USR-A has no try left and is not marked good.",
    )
    .await;
    desk.disk.set(
        Slot::B,
        Bits {
            priority: 0,
            tries: 1,
            successful: true,
        },
    );
    desk.says(&["slots"], 0, "A reboot now would fail").await;
    desk.says(&["slots", "next"], 1, "no slot can boot").await;
    desk.says(&["slots", "check"], 1, "no slot can boot").await;
}

#[tokio::test]
async fn next_is_the_label_alone_and_boot_takes_a_try() {
    let desk = Desk::new();
    desk.disk.post_install(Slot::B, "2");
    for _ in 0..2 {
        assert_eq!(desk.run(&["slots", "next"]).await.stdout, "USR-B\n");
    }
    assert_eq!(
        desk.run(&["slots", "next", "--boot"]).await.stdout,
        "USR-B\n"
    );
    assert_eq!(desk.disk.bits(Slot::B).tries, 0);
    assert_eq!(
        desk.run(&["slots", "next", "--boot"]).await.stdout,
        "USR-A\n"
    );
}

#[tokio::test]
async fn changes_are_shown_first_and_dry_ones_not_made() {
    let desk = Desk::new();
    desk.disk.post_install(Slot::B, "2");
    let before = fs::read(desk.disk.path()).unwrap();
    for args in [
        &["slots", "mark-good", "--dry-run"][..],
        &["slots", "prioritize", "A", "--dry-run"],
        &["rollback", "--undo", "--dry-run"],
    ] {
        let done = desk
            .says(
                args,
                0,
                "USR-A: priority 1, tries 0, successful → priority 2",
            )
            .await;
        assert!(done.stdout.contains("Nothing was changed"), "{done:?}");
        assert_eq!(fs::read(desk.disk.path()).unwrap(), before);
    }
    desk.says(&["slots", "repair"], 0, "Nothing to change.")
        .await;
    desk.says(&["slots", "mark-good"], 0, "USR-B: priority 2")
        .await;
    let a = Bits {
        priority: 2,
        tries: 0,
        successful: true,
    };
    assert_eq!(desk.disk.bits(Slot::A), a);
    assert_eq!(
        desk.disk.bits(Slot::B),
        Bits {
            priority: 1,
            tries: 1,
            successful: false
        }
    );
    desk.says(&["slots", "prioritize", "4"], 0, "USR-B: priority 1")
        .await;
    desk.says(
        &["slots", "prioritize", "C"],
        2,
        "there is no slot \"C\", expected one of A, USR-A or 3; B",
    )
    .await;
    let root = desk.dir.path().display().to_string();
    let args = [
        "slots",
        "--root",
        &root,
        "--disk",
        "/disk.img",
        "--booted",
        "X",
    ];
    let done = run(bin(), args, &[], PATIENCE).await;
    assert_eq!(done.code, Some(2), "{done:?}");
    assert!(done.stderr.contains("there is no slot \"X\""), "{done:?}");
}

#[tokio::test]
async fn the_version_that_runs_is_shown_where_the_disk_is_known_to_be_this_machines() {
    let desk = Desk::new();
    let disk = desk.disk.path().display().to_string();
    let file = desk.dir.path().join("config.yaml");
    fs::write(&file, format!("slots: {{disk: {disk}, booted: A}}\n")).unwrap();
    let file = file.display().to_string();
    for (args, here) in [
        (["slots", "--json", "--config", &file].to_vec(), true),
        (
            ["slots", "--json", "--disk", &disk, "--booted", "A"].to_vec(),
            false,
        ),
    ] {
        let done = run(bin(), args, &[], PATIENCE).await;
        let json: Value = serde_json::from_str(&done.stdout).unwrap();
        assert_eq!(json["slots"][0]["booted"], true, "{json}");
        assert_eq!(json["slots"][0]["version"].is_string(), here, "{json}");
        assert!(json["slots"][1]["version"].is_null(), "{json}");
    }
}

#[tokio::test]
async fn damaged_table_is_reported_and_repaired() {
    let desk = Desk::new();
    let whole = fs::read(desk.disk.path()).unwrap();
    let break_at = |offset: u64| {
        let file = fs::OpenOptions::new()
            .write(true)
            .open(desk.disk.path())
            .unwrap();
        file.write_all_at(&[0xff; 8], offset).unwrap();
    };
    break_at(512 + 56);
    desk.says(
        &["slots"],
        0,
        "the primary copy of the table is damaged: the checksum of the header is wrong",
    )
    .await;
    desk.says(
        &["slots", "check"],
        1,
        "to repair it: pointsman slots repair",
    )
    .await;
    let damaged = fs::read(desk.disk.path()).unwrap();
    let words = "would be repaired: the primary copy";
    desk.says(&["slots", "repair", "--dry-run"], 0, words).await;
    assert_eq!(fs::read(desk.disk.path()).unwrap(), damaged);
    desk.says(&["slots", "repair"], 0, "repaired: the primary copy")
        .await;
    assert_eq!(fs::read(desk.disk.path()).unwrap(), whole);
    desk.says(&["slots", "check"], 0, "no problem found").await;
    break_at(512);
    break_at(whole.len() as u64 - 512);
    let broken = fs::read(desk.disk.path()).unwrap();
    for args in [
        &["slots"][..],
        &["slots", "repair"],
        &["slots", "mark-good"],
        &["rollback"],
        &["slots", "next", "--boot"],
    ] {
        desk.says(args, 1, "both copies of the partition table are damaged")
            .await;
    }
    assert_eq!(fs::read(desk.disk.path()).unwrap(), broken);
    for (name, says) in [
        ("/nothing", "No such file"),
        ("/", "found a directory"),
        ("/text", "found 4 bytes, expected a disk"),
    ] {
        fs::write(desk.dir.path().join("text"), "text").unwrap();
        let root = desk.dir.path().display().to_string();
        let done = run(
            bin(),
            ["slots", "--root", &root, "--disk", name],
            &[],
            PATIENCE,
        )
        .await;
        assert!(
            done.code == Some(1) && done.stderr.contains(says),
            "{done:?}"
        );
    }
}

#[tokio::test]
async fn two_programs_change_one_disk_after_the_other() {
    let desk = Desk::new();
    desk.disk.post_install(Slot::B, "2");
    let file = fs::File::open(desk.disk.path()).unwrap();
    let held = Flock::lock(file, FlockArg::LockExclusive).unwrap();
    let (done, ()) = tokio::join!(desk.run(&["slots", "mark-good"]), async {
        // Whoever holds it lets it go while the other one waits.
        tokio::task::spawn_blocking(move || {
            std::thread::sleep(std::time::Duration::from_millis(200));
            drop(held);
        })
        .await
        .unwrap();
    });
    assert_eq!(done.code, Some(0), "{done:?}");
    let many = (0..8).map(|i| {
        let slot = if i % 2 == 0 { "A" } else { "B" };
        let desk = &desk;
        async move { desk.run(&["slots", "prioritize", slot]).await }
    });
    for done in futures_util::future::join_all(many).await {
        assert_eq!(done.code, Some(0), "{done:?}");
    }
    desk.says(&["slots", "check"], 0, "no problem found").await;
    // One that never lets go is named.
    let file = fs::File::open(desk.disk.path()).unwrap();
    let _held = Flock::lock(file, FlockArg::LockExclusive).unwrap();
    desk.says(
        &["slots", "mark-good"],
        3,
        "another program has held its lock for 5 s",
    )
    .await;
}

#[tokio::test]
async fn the_version_in_a_slot_is_read_from_its_file_system() {
    let desk = Desk::new();
    let tree = desk.dir.path().join("tree/lib");
    fs::create_dir_all(&tree).unwrap();
    fs::write(tree.join("os-release"), "VERSION_ID=\"4230.1.0\"\n").unwrap();
    let image = desk.dir.path().join("usr.img").display().to_string();
    let tree = desk.dir.path().join("tree").display().to_string();
    let made = run(
        "mke2fs",
        ["-q", "-t", "ext4", "-d", &tree, &image, "2048k"],
        &[],
        PATIENCE,
    )
    .await;
    assert_eq!(made.code, Some(0), "{made:?}");
    let file = fs::OpenOptions::new()
        .write(true)
        .open(desk.disk.path())
        .unwrap();
    let offset = 2048 * 512 + (2 << 20);
    file.write_all_at(&fs::read(&image).unwrap(), offset)
        .unwrap();
    let before = fs::read(desk.disk.path()).unwrap();
    desk.says(&["slots"], 0, "4230.1.0").await;
    assert_eq!(
        fs::read(desk.disk.path()).unwrap(),
        before,
        "nothing is written to read it"
    );
}

#[tokio::test]
async fn empty_slot_is_prioritized_only_by_force_and_the_next_boot_is_shown() {
    let desk = Desk::new();
    let before = fs::read(desk.disk.path()).unwrap();
    for command in ["prioritize", "mark-good"] {
        desk.says(&["slots", command, "B"], 1, "USR-B holds no file system")
            .await;
    }
    assert_eq!(fs::read(desk.disk.path()).unwrap(), before);
    desk.says(
        &["slots", "mark-good", "B", "--force"],
        0,
        "A reboot now boots USR-B instead of USR-A.",
    )
    .await;
    desk.says(
        &["slots", "prioritize", "A"],
        0,
        "A reboot now boots USR-A again.",
    )
    .await;
    desk.disk.post_install(Slot::B, "2");
    desk.disk.set(
        Slot::B,
        Bits {
            priority: 1,
            tries: 0,
            successful: false,
        },
    );
    // First, and skipped all the same.
    desk.says(
        &["slots", "prioritize", "B"],
        0,
        "A reboot now boots USR-A again.",
    )
    .await;
}
