//! `cloud-config apply --at-boot` where the user data is another program's, what was kept is spoilt, a source is a pipe that
//! nobody writes into, or links lead out of the root.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::fs::{OpenOptionsExt as _, symlink},
    path::Path,
    time::Duration,
};

use nix::{fcntl::OFlag, sys::stat::Mode, unistd::mkfifo};
use pointsman_testbed::{
    fakes::PATIENCE,
    process::{Child, Signal, Spec},
    web::Reply,
};

use super::{MESSAGE, Machine, document, of};
use crate::{agents::bin, support::eventually};

const IGNITION: &str = "{\"ignition\":{\"version\":\"3.3.0\"}}";

const LAST: &str = "var/lib/pointsman/cloud-config/last-good.json";

#[tokio::test]
async fn ignition_config_does_not_fail_a_boot() {
    let machine = Machine::new().await;
    machine.serve(Reply::ok(IGNITION));
    let booted = machine.boot(&["cmdline"]).await;
    assert_eq!(booted.code, Some(0), "{booted:?}");
    assert!(
        booted.stderr.contains("nothing to apply") && booted.stderr.contains("Ignition"),
        "{booted:?}"
    );
    assert_eq!(machine.outcome().await.0, "-");
    assert!(!machine.path("run/pointsman/cloud-config.found").exists());
    // By hand it is one: a document was meant.
    let called = machine.call(&["cloud-config", "apply", "cmdline"]).await;
    assert_eq!(called.code, Some(1), "{called:?}");
    // A node that had a document stays as it says, boot after boot, and warns.
    machine.serve(Reply::ok(document("one")));
    assert_eq!(machine.boot(&["cmdline"]).await.code, Some(0));
    machine.serve(Reply::ok(IGNITION));
    for _ in 0..2 {
        let booted = machine.boot(&["cmdline"]).await;
        assert!(
            booted.code == Some(0) && booted.stderr.contains("pointsman: warning: cmdline: "),
            "{booted:?}"
        );
        assert_eq!(machine.written(), of("one"));
        let (result, reason) = machine.outcome().await;
        assert!(result == "kept" && reason.contains("Ignition"), "{reason}");
        assert!(machine.text(MESSAGE).unwrap().contains("Ignition"));
    }
}

#[tokio::test]
async fn unreadable_last_document_without_its_source_is_a_failure() {
    let machine = Machine::new().await;
    let left = machine.path("var/lib/flatcar-install");
    for (sources, exit) in [(vec!["install", "vagrant"], 1), (vec!["cmdline"], 1)] {
        fs::create_dir_all(&left).unwrap();
        fs::write(left.join("user_data"), document("one")).unwrap();
        machine.serve(Reply::ok(document("one")));
        assert_eq!(machine.boot(&sources).await.code, Some(0));
        fs::write(machine.path(LAST), "{\"version\":1,").unwrap();
        // While the source is there, nobody needs what was kept.
        assert_eq!(machine.boot(&sources).await.code, Some(0));
        fs::write(machine.path(LAST), "{\"version\":1,").unwrap();
        fs::remove_dir_all(&left).unwrap();
        machine.serve(Reply::missing());
        let booted = machine.boot(&sources).await;
        assert!(
            booted.code == Some(exit)
                && booted.stderr.contains("the last document that worked cannot be used either: /var/lib/pointsman/cloud-config/last-good.json: "),
            "{sources:?}: {booted:?}"
        );
        let (result, reason) = machine.outcome().await;
        assert!(
            result == "failed" && reason.contains("last-good.json"),
            "{reason}"
        );
        fs::remove_file(machine.path(LAST)).unwrap();
    }
}

/// Boots with a pipe as its source, and waits until that is being read.
async fn reading(machine: &Machine) -> (Child, fs::File) {
    let pipe = machine.path("pipe");
    if !pipe.exists() {
        mkfifo(&pipe, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    }
    let process = Spec::new(bin(), machine.path("log"))
        .args(["cloud-config", "apply", "--at-boot"])
        .arg(&pipe)
        .arg("--root")
        .arg(machine.root.path())
        .spawn();
    let writer = || {
        let mut options = OpenOptions::new();
        options.write(true).custom_flags(OFlag::O_NONBLOCK.bits());
        options.open(&pipe).ok()
    };
    let writer = eventually("the pipe is read", async || writer(), Option::is_some).await;
    (process, writer.unwrap())
}

#[tokio::test]
async fn pipe_is_read_to_its_end_within_the_units_timeout() {
    let machine = Machine::new().await;
    let (process, mut writer) = reading(&machine).await;
    writer.write_all(document("one").as_bytes()).unwrap();
    drop(writer);
    let ended = process.wait_timeout(PATIENCE).await.unwrap();
    assert_eq!(ended.code(), Some(0), "{}", process.log());
    assert_eq!(machine.written(), of("one"));
    fs::remove_dir_all(machine.path("run")).unwrap();
    let (process, writer) = reading(&machine).await;
    process.signal(Signal::SIGTERM);
    let ended = process.wait_timeout(PATIENCE).await.unwrap();
    assert_eq!(ended.code(), Some(143), "{}", process.log());
    drop(writer);
    assert_eq!(machine.written(), of("one"));
    // Also where not even a writer comes.
    let process = Spec::new(bin(), machine.path("log"))
        .args([
            "cloud-config",
            "apply",
            "--at-boot",
            "--wait",
            "1h",
            "/none",
        ])
        .arg(machine.path("pipe"))
        .arg("--root")
        .arg(machine.root.path())
        .spawn();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(process.is_running(), "{}", process.log());
    process.signal(Signal::SIGTERM);
    let ended = process.wait_timeout(PATIENCE).await.unwrap();
    assert_eq!(ended.code(), Some(143), "{}", process.log());
}

#[tokio::test]
async fn links_never_lead_a_boot_out_of_its_root() {
    let links = ["run", "var", "var/lib", "etc", "proc"];
    for (link, up) in links
        .into_iter()
        .flat_map(|link| [(link, false), (link, true)])
    {
        let machine = Machine::new().await;
        let outside = tempfile::tempdir().unwrap();
        for folder in [
            "flatcar-install",
            "lib/flatcar-install",
            "waagent",
            "lib/waagent",
        ] {
            let folder = outside.path().join(folder);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("user_data"), document("outside")).unwrap();
            fs::write(folder.join("CustomData"), document("outside")).unwrap();
        }
        fs::write(
            outside.path().join("cmdline"),
            format!("cloud-config-url={}/node\n", machine.web.url()),
        )
        .unwrap();
        fs::write(outside.path().join("hostname"), "outside\n").unwrap();
        machine.serve(Reply::ok(document("outside")));
        let at = machine.path(link);
        let _ = fs::remove_dir_all(&at);
        if let Some(parent) = at.parent() {
            fs::create_dir_all(parent).unwrap();
        }
        match up {
            false => symlink(outside.path(), &at).unwrap(),
            true => {
                let below = outside.path().strip_prefix("/").unwrap();
                symlink(Path::new("../../../../../../../../").join(below), &at).unwrap();
            }
        }
        let before = fs::read_dir(outside.path()).unwrap().count();
        let sources = match link {
            "proc" => vec!["cmdline"],
            "etc" | "run" => vec!["install", "waagent", "vagrant"],
            _ => vec!["install", "waagent", "vagrant", "configdrive"],
        };
        let args = [&["cloud-config", "apply", "--at-boot"], sources.as_slice()].concat();
        let booted = machine.call(&args).await;
        assert_ne!(
            machine.text("etc/site").as_deref(),
            Some("outside"),
            "{link}: {booted:?}"
        );
        // One that is inside, where what is written beside it leads outside.
        let file = machine.path("node.yaml").display().to_string();
        fs::write(&file, document("inside") + "manage_etc_hosts: localhost\n").unwrap();
        let booted = machine
            .call(&["cloud-config", "apply", "--at-boot", &file])
            .await;
        assert!(!booted.stderr.contains("panicked"), "{booted:?}");
        assert_eq!(
            fs::read_dir(outside.path()).unwrap().count(),
            before,
            "{link}: {booted:?}"
        );
        assert_eq!(
            fs::read_dir(outside.path().join("lib")).unwrap().count(),
            2,
            "{link}"
        );
        if link == "etc" {
            assert!(!booted.stdout.contains("outside"), "{booted:?}");
        }
    }
}

#[tokio::test]
async fn circular_links_are_reported_at_boot() {
    let machine = Machine::new().await;
    let file = machine.path("node.yaml").display().to_string();
    fs::write(&file, document("inside")).unwrap();
    let folder = machine.path("var/lib/pointsman");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(folder.parent().unwrap()).unwrap();
    symlink("/var/lib/other", &folder).unwrap();
    symlink("/var/lib/pointsman", folder.with_file_name("other")).unwrap();
    let booted = machine
        .call(&["cloud-config", "apply", "--at-boot", &file])
        .await;
    assert_ne!(booted.code, Some(0), "{booted:?}");
    assert!(
        booted.stderr.contains("var/lib/pointsman") && booted.stderr.contains("symbolic links"),
        "{booted:?}"
    );
}

#[tokio::test]
async fn huge_files_are_not_read_completely() {
    let machine = Machine::new().await;
    machine.serve(Reply::ok(document("one")));
    assert_eq!(machine.boot(&["cmdline"]).await.code, Some(0));
    let huge = |path: &str| {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        let file = options.open(machine.path(path)).unwrap();
        file.set_len(20 << 30).unwrap();
    };
    // What was kept: then it is spoilt.
    huge(LAST);
    machine.serve(Reply::missing());
    let booted = machine.boot(&["cmdline"]).await;
    assert!(
        booted.code == Some(1) && booted.stderr.contains("last-good.json: found more than "),
        "{booted:?}"
    );
    fs::remove_file(machine.path(LAST)).unwrap();
    // What a document replaces: it is kept, and comes back.
    huge("etc/site");
    let file = machine.path("node.yaml").display().to_string();
    fs::write(&file, document("two")).unwrap();
    let began = std::time::Instant::now();
    assert_eq!(
        machine.call(&["cloud-config", "apply", &file]).await.code,
        Some(0)
    );
    assert_eq!(machine.text("etc/site").as_deref(), Some("two"));
    assert_eq!(
        machine.call(&["cloud-config", "revert"]).await.code,
        Some(0)
    );
    assert_eq!(
        fs::metadata(machine.path("etc/site")).unwrap().len(),
        20 << 30
    );
    assert!(began.elapsed() < Duration::from_secs(10), "it was read");
    // A record of an apply.
    huge("var/lib/pointsman/cloud-config/000001/journal");
    let called = machine.call(&["cloud-config", "history"]).await;
    assert!(
        called.code == Some(1)
            && called
                .stderr
                .contains("000001/journal cannot be used: found more than "),
        "{called:?}"
    );
    // The command line, and a source.
    huge("proc/cmdline");
    let called = machine.call(&["cloud-config", "validate", "cmdline"]).await;
    assert!(
        called
            .stderr
            .contains("cmdline: found more than 67108864 bytes"),
        "{called:?}"
    );
}
