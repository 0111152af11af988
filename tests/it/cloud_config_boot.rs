//! `cloud-config apply --at-boot`: boot after boot, whatever becomes of the document and its source.

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use pointsman_testbed::{
    fakes::PATIENCE,
    process::{Output, Signal, Spec, run},
    scratch,
    web::{Reply, Web},
};
use serde_json::Value;

use crate::{agents::bin, support::eventually};

/// A machine that is told by its command line where its document is.
pub(crate) struct Machine {
    pub(crate) root: tempfile::TempDir,
    pub(crate) web: Web,
    reply: Arc<Mutex<Reply>>,
}

/// A document with a file that stays and one that is gone after a boot.
pub(crate) fn document(motd: &str) -> String {
    format!(
        "#cloud-config\nwrite_files:\n  - path: /etc/site\n    content: {motd}\ncoreos:\n  flannel:\n    etcd_prefix: /{motd}\n"
    )
}

impl Machine {
    pub(crate) async fn new() -> Self {
        let root = scratch::dir("boot");
        let reply = Arc::new(Mutex::new(Reply::missing()));
        let serves = Arc::clone(&reply);
        let web = Web::serve(move |_, _| serves.lock().unwrap().clone()).await;
        let machine = Self { root, web, reply };
        fs::create_dir_all(machine.path("proc")).unwrap();
        fs::create_dir_all(machine.path("etc")).unwrap();
        let line = format!("ro cloud-config-url={}/node\n", machine.web.url());
        fs::write(machine.path("proc/cmdline"), line).unwrap();
        machine
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    pub(crate) fn serve(&self, reply: Reply) {
        *self.reply.lock().unwrap() = reply;
    }

    /// A new boot: /run is empty, and what is to be applied is.
    pub(crate) async fn boot(&self, sources: &[&str]) -> Output {
        let _ = fs::remove_dir_all(self.path("run"));
        let id = self.path("proc/sys/kernel/random/boot_id");
        fs::create_dir_all(id.parent().unwrap()).unwrap();
        let boots = fs::read(&id).unwrap_or_default().len();
        fs::write(&id, "x".repeat(boots + 1)).unwrap();
        let args = ["cloud-config", "apply", "--at-boot"];
        self.call(&[&args, sources].concat()).await
    }

    pub(crate) async fn call(&self, args: &[&str]) -> Output {
        let root = self.root.path().display().to_string();
        // Only who looks at the cluster takes an endpoint.
        let etcd: &[&str] = match args {
            ["status", ..] => &["--endpoint", "http://127.0.0.1:1"],
            _ => &[],
        };
        let args = [args, &["--root", &root], etcd].concat();
        run(bin(), args, &[("no_proxy", "127.0.0.1")], PATIENCE).await
    }

    pub(crate) fn text(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.path(path)).ok()
    }

    /// What the documents of this machine write.
    pub(crate) fn written(&self) -> (Option<String>, Option<String>) {
        (self.text("etc/site"), self.text("run/flannel/options.env"))
    }

    /// What `status` says of it: the result and the reason.
    pub(crate) async fn outcome(&self) -> (String, String) {
        let called = self.call(&["status", "--json"]).await;
        let status: Value = serde_json::from_str(&called.stdout).unwrap();
        let text = |key: &str| {
            status["cloud_config"][key]
                .as_str()
                .unwrap_or("-")
                .to_owned()
        };
        (text("result"), text("reason"))
    }
}

pub(crate) fn of(text: &str) -> (Option<String>, Option<String>) {
    let flannel = format!("FLANNELD_ETCD_PREFIX=/{text}\n");
    (Some(text.to_owned()), Some(flannel))
}

pub(crate) const MESSAGE: &str = "run/motd.d/50-pointsman-cloud-config";

#[tokio::test]
async fn node_keeps_the_last_document_that_worked_and_reports_it() {
    let machine = Machine::new().await;
    machine.serve(Reply::ok(document("one")));
    let booted = machine.boot(&["cmdline"]).await;
    assert_eq!((booted.code, booted.stderr.as_str()), (Some(0), ""));
    assert_eq!(machine.written(), of("one"));
    assert_eq!(machine.outcome().await.0, "applied");
    let history = machine.call(&["cloud-config", "history"]).await.stdout;

    // Once more in the same boot: nothing changes.
    let again = machine
        .call(&["cloud-config", "apply", "--at-boot", "cmdline"])
        .await;
    assert_eq!((again.code, again.stderr.as_str()), (Some(0), ""));
    assert_eq!(machine.outcome().await.0, "unchanged");
    assert_eq!(
        machine.call(&["cloud-config", "history"]).await.stdout,
        history
    );

    // A second boot: what was under /run is made again.
    assert_eq!(machine.boot(&["cmdline"]).await.code, Some(0));
    assert_eq!(machine.written(), of("one"));
    assert!(
        machine
            .path(MESSAGE)
            .parent()
            .is_none_or(|folder| !folder.exists())
    );

    machine.serve(Reply::ok(document("two")));
    assert_eq!(machine.boot(&["cmdline"]).await.code, Some(0));
    assert_eq!(machine.written(), of("two"));

    // A document that became invalid, one that is none, none at all for one boot and for another, a server that refuses.
    for (reply, words, code) in [
        (
            Reply::ok(
                "#cloud-config\nhostname: [x]\nwrite_files: [{path: /etc/site, content: three}]\n",
            ),
            "1 error; nothing is done",
            1,
        ),
        (Reply::ok("<html>"), "found user data of unknown kind", 1),
        (Reply::missing(), "found status 404", 0),
        (Reply::missing(), "found status 404", 1),
        (Reply::Body(403, Vec::new()), "found status 403", 1),
    ] {
        machine.serve(reply);
        let booted = machine.boot(&["cmdline"]).await;
        assert_eq!(booted.code, Some(code), "{booted:?}");
        assert!(
            booted.stderr.contains(words)
                && booted
                    .stderr
                    .contains("the last document that worked is kept: cmdline of "),
            "{}",
            booted.stderr
        );
        assert_eq!(machine.written(), of("two"), "{words}");
        let (result, reason) = machine.outcome().await;
        assert_eq!(result, "kept");
        assert!(reason.contains(words), "{reason}");
        let told = machine.text(MESSAGE).unwrap();
        assert!(
            told.contains("NOT up to date")
                && told.contains("the node keeps the last document that worked, cmdline"),
            "{told}"
        );
        let shown = machine.call(&["status"]).await.stdout;
        assert!(shown.contains(told.trim()), "{shown}");
    }

    // For one boot again, once it was there.
    machine.serve(Reply::ok(document("three")));
    assert_eq!(machine.boot(&["cmdline"]).await.code, Some(0));
    machine.serve(Reply::missing());
    assert_eq!(machine.boot(&["cmdline"]).await.code, Some(0));
    assert_eq!(machine.outcome().await.0, "kept");

    // All is well again, and said to be.
    machine.serve(Reply::ok(document("four")));
    let applied = machine.call(&["cloud-config", "apply", "cmdline"]).await;
    assert_eq!(applied.code, Some(0), "{applied:?}");
    assert_eq!(machine.written(), of("four"));
    assert_eq!(machine.outcome().await.0, "applied");
    assert_eq!(machine.text(MESSAGE), None);
}

#[tokio::test]
async fn first_document_that_fails_leaves_nothing() {
    let machine = Machine::new().await;
    let booted = machine.boot(&["cmdline"]).await;
    assert_eq!(booted.code, Some(1));
    assert!(
        booted.stderr.contains("found status 404"),
        "{}",
        booted.stderr
    );
    assert_eq!(machine.outcome().await.0, "failed");
    assert!(
        machine.text(MESSAGE).unwrap().contains("NOT applied"),
        "{booted:?}"
    );
    assert_eq!(machine.written(), (None, None));
}

#[tokio::test]
async fn machine_without_sources_does_nothing() {
    let machine = Machine::new().await;
    fs::write(machine.path("proc/cmdline"), "ro\n").unwrap();
    let booted = machine
        .boot(&["cmdline", "install", "vagrant", "configdrive"])
        .await;
    assert_eq!(booted.code, Some(0), "{booted:?}");
    assert!(
        booted.stderr.starts_with("pointsman: nothing to apply: "),
        "{booted:?}"
    );
    assert!(!machine.path("run/pointsman").exists());
    assert!(!machine.path("var").exists());
    // A drive that holds something wrong is not nothing.
    let latest = machine.path("drive/openstack/latest");
    fs::create_dir_all(&latest).unwrap();
    fs::write(latest.join("meta_data.json"), "{").unwrap();
    let drive = format!("configdrive:{}", machine.path("drive").display());
    assert_eq!(machine.boot(&["cmdline", &drive]).await.code, Some(2));
    assert_eq!(machine.outcome().await.0, "failed");
}

#[tokio::test]
async fn platform_names_the_node_and_unknown_address_is_an_error() {
    let machine = Machine::new().await;
    let latest = machine.path("drive/openstack/latest");
    fs::create_dir_all(&latest).unwrap();
    fs::write(
        latest.join("meta_data.json"),
        r#"{"hostname": "n1.example.net"}"#,
    )
    .unwrap();
    fs::write(
        latest.join("user_data"),
        "#cloud-config\nmanage_etc_hosts: localhost\nwrite_files: [{path: /etc/site, content: $private_ipv4}]\n",
    )
    .unwrap();
    let drive = format!("configdrive:{}", machine.path("drive").display());
    let booted = machine.boot(&[&drive]).await;
    assert_eq!(booted.code, Some(1));
    assert!(
        booted
            .stderr
            .contains("the address $private_ipv4 is not known; give it with --private-ipv4"),
        "{}",
        booted.stderr
    );
    let booted = machine.boot(&[&drive, "--private-ipv4", "10.0.0.4"]).await;
    assert_eq!(booted.code, Some(0), "{booted:?}");
    assert_eq!(machine.text("etc/site").unwrap(), "10.0.0.4");
    assert_eq!(machine.text("etc/hosts").unwrap(), "127.0.0.1 n1\n");
    assert_eq!(machine.text("etc/hostname").unwrap().trim(), "n1");
}

#[tokio::test]
async fn files_of_a_document_are_awaited_like_the_document() {
    let machine = Machine::new().await;
    let late = Web::serve(|_, before| match before {
        0..3 => Reply::missing(),
        _ => Reply::ok("late"),
    })
    .await;
    let document = format!(
        "#cloud-config\nwrite_files: [{{path: /etc/late, source: '{}/late'}}]\n",
        late.url()
    );
    machine.serve(Reply::ok(document));
    let called = machine.boot(&["cmdline"]).await;
    assert_eq!((called.code, late.seen().len()), (Some(1), 1), "{called:?}");
    let called = machine.boot(&["--wait", "60s", "cmdline"]).await;
    assert_eq!((called.code, late.seen().len()), (Some(0), 4), "{called:?}");
    assert_eq!(machine.text("etc/late").as_deref(), Some("late"));
    // SIGTERM ends the wait, and the last document is kept.
    let never = Web::serve(|_, _| Reply::missing()).await;
    let document = format!(
        "#cloud-config\nwrite_files: [{{path: /etc/never, source: '{}'}}]\n",
        never.url()
    );
    machine.serve(Reply::ok(document));
    fs::remove_dir_all(machine.path("run")).unwrap();
    let process = Spec::new(bin(), machine.path("log"))
        .args(["cloud-config", "apply", "--at-boot", "--wait", "1h"])
        .arg("cmdline")
        .arg("--root")
        .arg(machine.root.path())
        .spawn();
    eventually(
        "it asks for the file",
        async || never.seen().len(),
        |seen| *seen > 0,
    )
    .await;
    process.signal(Signal::SIGTERM);
    let ended = process.wait_timeout(PATIENCE).await.unwrap();
    assert_eq!(ended.code(), Some(143), "{}", process.log());
    assert!(
        process.log().contains("terminated before"),
        "{}",
        process.log()
    );
    assert_eq!(machine.text("etc/late").as_deref(), Some("late"));
    assert_eq!(machine.outcome().await.0, "kept");
}

#[tokio::test]
async fn empty_answer_removes_nothing() {
    let machine = Machine::new().await;
    machine.serve(Reply::ok(document("one")));
    assert_eq!(machine.boot(&["cmdline"]).await.code, Some(0));
    let file = machine.path("file").display().to_string();
    let mut codes = Vec::new();
    for (text, found) in [
        ("", "found nothing"),
        (" \n", "found 2 bytes of white space"),
    ] {
        machine.serve(Reply::ok(text));
        fs::write(machine.path("file"), text).unwrap();
        for source in ["cmdline", &file] {
            let booted = machine.boot(&[source]).await;
            assert!(booted.stderr.contains(found), "{source}: {booted:?}");
            codes.push(booted.code.unwrap());
            assert_eq!(machine.written(), of("one"));
            assert_eq!(machine.outcome().await.0, "kept");
            for command in ["validate", "plan", "apply"] {
                let said = machine.call(&["cloud-config", command, source]).await;
                assert!(
                    matches!(said.code, Some(1 | 2)) && said.stderr.contains(found),
                    "{said:?}"
                );
            }
        }
    }
    assert_eq!(codes, [0, 2, 1, 2]);
    // Who wants nothing says so.
    machine.serve(Reply::ok("#cloud-config\n"));
    assert_eq!(machine.boot(&["cmdline"]).await.code, Some(0));
    assert_eq!(machine.written(), (None, None));
}

#[tokio::test]
async fn missing_source_keeps_its_last_document() {
    let machine = Machine::new().await;
    let left = machine.path("var/lib/flatcar-install");
    fs::create_dir_all(&left).unwrap();
    fs::write(left.join("user_data"), document("one")).unwrap();
    let early = ["install", "vagrant"];
    assert_eq!(machine.boot(&early).await.code, Some(0));
    let found = machine.path("run/pointsman/cloud-config.found");
    assert!(found.exists());
    fs::remove_dir_all(&left).unwrap();
    for code in [0, 1, 1] {
        let booted = machine.boot(&early).await;
        assert!(
            booted.code == Some(code)
                && booted
                    .stderr
                    .contains("the source of the last document is not available"),
            "{booted:?}"
        );
        assert_eq!(machine.written(), of("one"));
        assert_eq!(machine.outcome().await.0, "kept");
    }
    // It may still come: the units look for this.
    assert!(!found.exists());
    // Other sources never had one.
    let booted = machine.boot(&["vagrant"]).await;
    assert_eq!(booted.code, Some(0), "{booted:?}");
    // Nor has who took it back.
    assert_eq!(
        machine.call(&["cloud-config", "revert"]).await.code,
        Some(0)
    );
    let booted = machine.boot(&early).await;
    assert_eq!(booted.code, Some(0), "{booted:?}");
    assert_eq!(machine.written().1, None);
}

#[tokio::test]
async fn named_file_that_is_missing_is_an_error() {
    let machine = Machine::new().await;
    machine.serve(Reply::ok(document("one")));
    assert_eq!(machine.boot(&["cmdline"]).await.code, Some(0));
    for (source, says, code) in [
        (
            "cmdlin",
            "cmdlin: No such file or directory (os error 2); did you mean cmdline?",
            0,
        ),
        ("Vagrant", "did you mean vagrant?", 2),
        ("/no/such/file", "/no/such/file: No such file", 2),
    ] {
        let booted = machine.boot(&["vagrant", source]).await;
        assert!(
            booted.code == Some(code) && booted.stderr.contains(says),
            "{booted:?}"
        );
        assert_eq!(machine.written(), of("one"));
        assert_eq!(machine.outcome().await.0, "kept");
    }
}

#[tokio::test]
async fn terminated_wait_keeps_the_last_document() {
    let machine = Machine::new().await;
    machine.serve(Reply::ok(document("one")));
    assert_eq!(machine.boot(&["cmdline"]).await.code, Some(0));
    machine.serve(Reply::missing());
    let asked = machine.web.seen().len();
    fs::remove_dir_all(machine.path("run")).unwrap();
    let process = Spec::new(bin(), machine.path("log"))
        .args([
            "cloud-config",
            "apply",
            "--at-boot",
            "--wait",
            "1h",
            "cmdline",
        ])
        .arg("--root")
        .arg(machine.root.path())
        .spawn();
    eventually(
        "it asks once more",
        async || machine.web.seen().len(),
        |seen| *seen > asked,
    )
    .await;
    process.signal(Signal::SIGTERM);
    let ended = process.wait_timeout(PATIENCE).await.unwrap();
    assert_eq!(ended.code(), Some(143), "{}", process.log());
    assert!(
        process.log().contains("terminated before"),
        "{}",
        process.log()
    );
    assert_eq!(machine.written(), of("one"));
    assert_eq!(machine.outcome().await.0, "kept");
}

#[tokio::test]
async fn platform_key_for_a_missing_user_is_ignored() {
    let machine = Machine::new().await;
    let latest = machine.path("drive/openstack/latest");
    fs::create_dir_all(&latest).unwrap();
    let metadata = r#"{"public_keys": {"ops": "ssh-ed25519 A ops"}}"#;
    fs::write(latest.join("meta_data.json"), metadata).unwrap();
    fs::write(latest.join("user_data"), document("one")).unwrap();
    let drive = format!("configdrive:{}", machine.path("drive").display());
    let booted = machine.boot(&[&drive]).await;
    assert_eq!(booted.code, Some(0), "{booted:?}");
    assert!(
        booted
            .stdout
            .contains("the platform's keys let nobody in: there is no user core here"),
        "{booted:?}"
    );
    assert_eq!(machine.written(), of("one"));
    // Who lets the same key in by hand keeps it when the platform gives it no more.
    let authorized = machine.path("home/core/.ssh/authorized_keys");
    fs::create_dir_all(authorized.parent().unwrap()).unwrap();
    fs::write(&authorized, "ssh-ed25519 A ops\n").unwrap();
    let passwd = machine.path("etc/passwd");
    fs::write(&passwd, "core:x:500:500::/home/core:/bin/sh\n").unwrap();
    fs::write(latest.join("meta_data.json"), "{}").unwrap();
    assert_eq!(machine.boot(&[&drive]).await.code, Some(0));
    assert_eq!(
        fs::read_to_string(&authorized).unwrap(),
        "ssh-ed25519 A ops\n"
    );
    fs::remove_file(&passwd).unwrap();
    fs::write(latest.join("meta_data.json"), metadata).unwrap();
    // A document that lets somebody in means it.
    let own = format!("{}ssh_authorized_keys: [ssh-rsa AAAA1]\n", document("two"));
    fs::write(latest.join("user_data"), own).unwrap();
    let booted = machine.boot(&[&drive]).await;
    assert!(
        booted.code == Some(1) && booted.stderr.contains("the user core does not exist"),
        "{booted:?}"
    );
    assert_eq!(machine.written(), of("one"));
}

#[tokio::test]
async fn platform_that_lost_its_document_removes_nothing() {
    let machine = Machine::new().await;
    let latest = machine.path("drive/openstack/latest");
    fs::create_dir_all(&latest).unwrap();
    fs::write(latest.join("meta_data.json"), "{}").unwrap();
    fs::write(latest.join("user_data"), document("one")).unwrap();
    let drive = format!("configdrive:{}", machine.path("drive").display());
    assert_eq!(machine.boot(&[&drive]).await.code, Some(0));
    // What `gzip` makes of nothing.
    let packed = [
        0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    // A truncated document is a document; after it the drive has none for the first time.
    for (boot, nothing) in [
        Some(b"".to_vec()),
        Some("\u{feff}\n".into()),
        Some(packed.to_vec()),
        Some(b"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/cloud-config\n\n#cloud-config\nhostname: a\n".to_vec()),
        None,
    ]
    .into_iter()
    .enumerate()
    {
        match &nothing {
            Some(bytes) => fs::write(latest.join("user_data"), bytes).unwrap(),
            None => fs::remove_file(latest.join("user_data")).unwrap(),
        }
        let booted = machine.boot(&[&drive]).await;
        assert!(
            booted.code == Some([0, 1, 1, 1, 0][boot])
                && booted.stderr.contains("the last document that worked is kept"),
            "{nothing:?}: {booted:?}"
        );
        assert_eq!(machine.written(), of("one"));
        assert_eq!(machine.outcome().await.0, "kept");
    }
}

#[tokio::test]
async fn manual_apply_and_revert_change_the_last_document() {
    let machine = Machine::new().await;
    let file = machine.path("node.yaml");
    let path = file.display().to_string();
    fs::write(&file, document("one")).unwrap();
    assert_eq!(machine.boot(&[&path]).await.code, Some(0));
    fs::write(&file, document("two")).unwrap();
    assert_eq!(
        machine.call(&["cloud-config", "apply", &path]).await.code,
        Some(0)
    );
    // Another one, for a try.
    let other = machine.path("other.yaml");
    fs::write(&other, document("three")).unwrap();
    let other = other.display().to_string();
    assert_eq!(
        machine.call(&["cloud-config", "apply", &other]).await.code,
        Some(0)
    );
    assert_eq!(
        machine.call(&["cloud-config", "revert"]).await.code,
        Some(0)
    );
    fs::remove_file(&file).unwrap();
    let booted = machine.boot(&[&path]).await;
    assert!(
        booted.code == Some(0) && booted.stderr.contains("warning"),
        "{booted:?}"
    );
    assert_eq!(machine.written(), of("two"));
}
