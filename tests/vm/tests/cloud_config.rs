//! Where a machine's cloud-config comes from when it boots: the kernel's command line, and a drive. At the first boot and
//! at later ones, with a network and without.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use pointsman_nodes::bed::sh;
use pointsman_testbed::{
    scratch,
    web::{Reply, Web},
};
use pointsman_vm::{
    machine::{Machine, Outfit},
    site::Site,
    skipped,
};

fn document(text: &str) -> String {
    format!("#cloud-config\nwrite_files:\n  - path: /etc/from-cloud\n    content: {text}\n")
}

const BROKEN: &str = "#cloud-config\nwrite_files: 7\n";

/// Boots it so, and waits for what became of its document.
async fn boot(machine: &Machine, outfit: &Outfit<'_>) -> String {
    machine.cut().await;
    machine.start_with(outfit).await;
    outcome(machine).await
}

/// What became of the document in this boot, once it is known.
async fn outcome(machine: &Machine) -> String {
    const SHOWN: &str = "/run/pointsman/cloud-config.json";
    let wait = format!("until grep -qs result {SHOWN}; do sleep 0.5; done; sync; cat {SHOWN}");
    let said = machine.sh(&wait).await;
    let said: serde_json::Value = serde_json::from_str(&said).expect("what pointsman left");
    said["result"].as_str().expect("a result").to_owned()
}

async fn file(machine: &Machine) -> String {
    let said = machine
        .sh("cat /etc/from-cloud 2>/dev/null || echo none")
        .await;
    said.trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_lines_document_is_applied_at_each_boot_and_kept_when_its_server_is_away() {
    if skipped("a virtual machine's cloud-config") {
        return;
    }
    let site = Site::new().await;
    let machine = site.machine("vm-cloud").await;
    let served = Arc::new(Mutex::new(None));
    let there = served.clone();
    let web = Web::serve(move |_, _| {
        let there = there.lock().expect("nothing panics while it is locked");
        let there: Option<String> = there.clone();
        there.map_or_else(Reply::missing, Reply::ok)
    })
    .await;
    // What is this machine's loopback is the gateway there.
    let url = web.url().replace("127.0.0.1", "10.0.2.2");
    let words = format!("cloud-config-url={url}/node.yaml");
    let plugged = Outfit {
        words: &words,
        ..Outfit::default()
    };
    let unplugged = Outfit {
        unplugged: true,
        ..plugged
    };
    for (text, outfit, result, expected) in [
        // The first boot: it is as its image made it.
        (Some(document("one")), &unplugged, "failed", "none"),
        (Some(document("one")), &plugged, "applied", "one"),
        (Some(document("one")), &plugged, "unchanged", "one"),
        (Some(document("two")), &plugged, "applied", "two"),
        (Some(BROKEN.into()), &plugged, "kept", "two"),
        (None, &plugged, "kept", "two"),
        (Some(document("three")), &unplugged, "kept", "two"),
        (Some(document("three")), &plugged, "applied", "three"),
    ] {
        *served.lock().expect("nothing panics while it is locked") = text;
        assert_eq!(boot(&machine, outfit).await, result, "{expected}");
        assert_eq!(file(&machine).await, expected);
    }
    // The agent is none the worse for it.
    site.rests(&machine, "1").await;
}

/// A drive as OpenStack attaches it.
async fn drive(folder: &Path, name: &str, user_data: &str) -> PathBuf {
    let latest = folder.join(name).join("openstack/latest");
    fs::create_dir_all(&latest).expect("a folder");
    fs::write(latest.join("user_data"), user_data).expect("a document");
    let image = folder.join(format!("{name}.iso"));
    sh(&format!(
        "genisoimage -quiet -R -V config-2 -o {} {}",
        image.display(),
        folder.join(name).display()
    ))
    .await;
    image
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drive_is_found_by_its_label_at_the_first_boot_and_at_later_ones() {
    if skipped("a virtual machine's config drive") {
        return;
    }
    let site = Site::new().await;
    let machine = site.machine("vm-drive").await;
    let folder = scratch::dir("drives");
    let one = drive(folder.path(), "one", &document("one")).await;
    let two = drive(folder.path(), "two", &document("two")).await;
    let broken = drive(folder.path(), "broken", BROKEN).await;
    for (drive, unplugged, result, expected) in [
        (&one, true, "applied", "one"),
        (&one, false, "unchanged", "one"),
        (&two, false, "applied", "two"),
        (&two, true, "unchanged", "two"),
        (&broken, false, "kept", "two"),
    ] {
        let outfit = Outfit {
            drive: Some(drive),
            unplugged,
            ..Outfit::default()
        };
        assert_eq!(boot(&machine, &outfit).await, result, "{expected}");
        assert_eq!(file(&machine).await, expected);
        let mounted = machine.sh("findmnt -no OPTIONS /media/configdrive").await;
        assert!(mounted.trim().starts_with("ro,"), "{mounted}");
    }
    machine.sh("cp /dev/vdb /root/late.iso; sync").await;
    machine.cut().await;

    // Without one all stays as it was to be; one that appears once the machine has booted is not read.
    machine.start().await;
    site.rests(&machine, "1").await;
    assert_eq!(file(&machine).await, "two");
    assert_eq!(outcome(&machine).await, "kept");
    machine
        .sh("test ! -e /run/pointsman/cloud-config.found && losetup --find /root/late.iso")
        .await;
    // udev tells of it, and the unit that it brings is skipped.
    let skipped = "systemctl show --value -p Result pointsman-cloud-config-early.service";
    machine
        .sh(&format!(
            "udevadm settle; until test \"$({skipped})\" = exec-condition; do sleep 0.5; done"
        ))
        .await;
    machine
        .sh("test ! -e /run/pointsman/cloud-config.found")
        .await;
    assert_eq!(outcome(&machine).await, "kept");
}
