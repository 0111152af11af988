//! The program called `coreos-cloudinit`: that one's flags, exit codes and effects.

use std::{fs, path::PathBuf};

use pointsman_testbed::{
    fakes::PATIENCE,
    process::{Output, run},
    scratch,
    web::{Reply, Web},
};

use crate::agents::bin;

/// The program under its old name, on a machine of its own.
struct Old {
    dir: tempfile::TempDir,
}

impl Old {
    fn new() -> Self {
        let dir = scratch::dir("cloudinit");
        std::os::unix::fs::symlink(bin(), dir.path().join("coreos-cloudinit")).unwrap();
        fs::create_dir_all(dir.path().join("root/etc")).unwrap();
        Self { dir }
    }

    /// One with the user whom documents let in.
    fn with_core() -> Self {
        let old = Self::new();
        let core = "core:x:500:500::/home/core:/bin/sh\n";
        fs::write(old.path("etc/passwd"), core).unwrap();
        fs::create_dir_all(old.path("home/core")).unwrap();
        old
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join("root").join(path)
    }

    /// Writes a file beside the machine; its path.
    fn file(&self, name: &str, text: &str) -> String {
        let path = self.dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    async fn call(&self, args: &[&str]) -> Output {
        let root = self.dir.path().join("root").display().to_string();
        let env = [("POINTSMAN_ROOT", root.as_str()), ("no_proxy", "127.0.0.1")];
        run(
            self.dir.path().join("coreos-cloudinit"),
            args,
            &env,
            PATIENCE,
        )
        .await
    }
}

const GOOD: &str = "#cloud-config\nwrite_files: [{path: /etc/site, content: one}]\n";

#[tokio::test]
async fn validation_prints_one_line_per_diagnostic() {
    let old = Old::new();
    let good = old.file("good.yaml", GOOD);
    for args in [
        vec!["-validate".to_owned(), format!("-from-file={good}")],
        vec![
            "--from-file".to_owned(),
            good.clone(),
            "--validate=true".to_owned(),
        ],
    ] {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let called = old.call(&args).await;
        let said = (called.code, called.stdout.as_str(), called.stderr.as_str());
        assert_eq!(said, (Some(0), "", ""));
    }
    assert!(!old.path("etc/site").exists(), "nothing is done");
    let bad = old.file(
        "bad.yaml",
        "#cloud-config\nhostnam: a\ncoreos:\n  update:\n    reboot-strategy: never\n",
    );
    let called = old.call(&["-validate", "-from-file", &bad]).await;
    assert_eq!(called.code, Some(1));
    let lines: Vec<&str> = called.stderr.lines().collect();
    assert_eq!(
        lines,
        [
            "line 2: warning: hostnam: unknown key \"hostnam\", it is not read; did you mean hostname?",
            "line 5: error: coreos.update.reboot_strategy: found \"never\", expected etcd-lock, reboot, off, best-effort",
        ]
    );
    // An address that is known where it will be applied is no fault.
    let open = old.file("open.yaml", &GOOD.replace("one", "$private_ipv4"));
    assert_eq!(
        old.call(&["-validate", "-from-file", &open]).await.code,
        Some(0)
    );
}

#[tokio::test]
async fn document_is_applied_from_the_source_of_each_flag() {
    let old = Old::new();
    let web = Web::serve(|request, _| match request.path.as_str() {
        "/node" => Reply::ok(GOOD),
        _ => Reply::missing(),
    })
    .await;
    let url = format!("-from-url={}/node", web.url());
    let called = old
        .call(&[&url, "-workspace=/var/lib/coreos-cloudinit"])
        .await;
    assert_eq!(called.code, Some(0), "{called:?}");
    assert_eq!(fs::read_to_string(old.path("etc/site")).unwrap(), "one");
    // Of several, the one that was taken is named; for a dry look as well.
    let file = old.file("good.yaml", GOOD);
    for more in ["-validate", "-workspace=/w"] {
        let called = old.call(&["-from-file", &file, &url, more]).await;
        assert_eq!(called.code, Some(0), "{called:?}");
        assert_eq!(called.stderr, format!("pointsman: from {file}\n"));
    }
    // Whoever wants to know everything is told also of what there is nothing to do about.
    let called = old
        .call(&["-from-file=/none", "-from-url", &url[10..], "-debug"])
        .await;
    assert_eq!(called.code, Some(0), "{called:?}");
    for words in [
        "/none: asked".to_owned(),
        format!("{}/node: asked", web.url()),
        format!(
            "{}/node: taken, {} bytes of user data",
            web.url(),
            GOOD.len()
        ),
        "file /etc/site: as it should be".to_owned(),
    ] {
        assert!(called.stderr.contains(&words), "{words}: {}", called.stderr);
    }
    // What it fetches is waited for as it is.
    let late = Web::serve(|_, before| match before {
        0 => Reply::missing(),
        _ => Reply::ok(GOOD),
    })
    .await;
    let fetches = Web::with_text(&format!(
        "#cloud-config\nwrite_files: [{{path: /etc/late, source: '{}'}}]\n",
        late.url()
    ))
    .await;
    let called = old.call(&["-from-url", fetches.url()]).await;
    assert_eq!((called.code, late.seen().len()), (Some(0), 2), "{called:?}");
    assert_eq!(fs::read_to_string(old.path("etc/late")).unwrap(), GOOD);
    let called = old.call(&[&url]).await;
    assert_eq!(called.code, Some(0), "{called:?}");
    // It stays where it becomes wrong, and that is a failure unless it is not to be one.
    let bad = old.file("node.yaml", GOOD);
    let called = old.call(&["-from-file", &bad]).await;
    assert_eq!(called.code, Some(0), "{called:?}");
    old.file(
        "node.yaml",
        "#cloud-config\nwrite_files: [{path: /usr/site}]\n",
    );
    for (more, code) in [("-ignore-failure=false", 1), ("-ignore-failure", 0)] {
        let called = old.call(&["-from-file", &bad, more]).await;
        assert_eq!(called.code, Some(code));
        assert!(
            called.stderr.contains("1 error; nothing is done")
                && called
                    .stderr
                    .contains("the last document that worked is kept"),
            "{}",
            called.stderr
        );
        assert_eq!(fs::read_to_string(old.path("etc/site")).unwrap(), "one");
    }
    // That no document is there is not to be ignored.
    let called = old.call(&["-from-file=/none", "-ignore-failure"]).await;
    assert_eq!(called.code, Some(1), "{called:?}");
}

#[tokio::test]
async fn invalid_command_lines_are_refused() {
    let old = Old::new();
    for (args, code, words) in [
        (vec![], 2, "found no source"),
        (
            vec!["-from-nowhere"],
            2,
            "flag provided but not defined: -from-nowhere",
        ),
        (
            vec!["-oem=vmware"],
            2,
            "-from-vmware-guestinfo (of -oem=vmware) is not supported",
        ),
        (vec!["-validate", "-from-file=/none"], 1, "No such file"),
        (vec!["-help"], 0, "-from-configdrive DIR"),
    ] {
        let called = old.call(&args).await;
        assert_eq!(called.code, Some(code), "{args:?} {called:?}");
        assert!(called.stderr.contains(words), "{args:?} {}", called.stderr);
        assert_eq!(called.stdout, "");
    }
    let called = old.call(&["-version"]).await;
    assert_eq!(called.code, Some(0));
    assert!(
        called.stdout.starts_with("coreos-cloudinit "),
        "{}",
        called.stdout
    );
}

#[tokio::test]
async fn the_network_of_a_drive_becomes_units_of_networkd() {
    let old = Old::new();
    old.file(
        "drive/openstack/latest/meta_data.json",
        r#"{"hostname": "n1", "network_config": {"content_path": "/content/0000"}}"#,
    );
    let interfaces = "auto eth0\niface eth0 inet static\n address 192.0.2.4/24\n gateway 192.0.2.1\n wpa-ssid x\n";
    let drive = old.file("drive/openstack/content/0000", interfaces);
    let drive = drive.strip_suffix("/openstack/content/0000").unwrap();
    let from = format!("-from-configdrive={drive}");
    let unit = old.path("run/systemd/network/00-eth0.network");
    assert_eq!(old.call(&[&from]).await.code, Some(0));
    assert!(!unit.exists(), "nobody asked for it");
    let called = old.call(&[&from, "-convert-netconf=debian"]).await;
    assert_eq!(called.code, Some(0), "{called:?}");
    assert!(
        called
            .stderr
            .contains("line 5: wpa-ssid is not converted to units"),
        "{}",
        called.stderr
    );
    let text = fs::read_to_string(&unit).unwrap();
    assert!(
        text.contains("Address=192.0.2.4/24") && text.contains("Gateway=192.0.2.1"),
        "{text}"
    );
    assert_eq!(
        fs::read_to_string(old.path("etc/hostname")).unwrap().trim(),
        "n1"
    );
    // Half a network would cut the node off: the one that worked stays.
    old.file("drive/openstack/content/0000", "iface eth0 inet ppp\n");
    let called = old.call(&[&from, "-convert-netconf=debian"]).await;
    assert_eq!(called.code, Some(1));
    assert!(
        called
            .stderr
            .contains("the platform's network: line 1: found inet ppp"),
        "{called:?}"
    );
    assert_eq!(fs::read_to_string(&unit).unwrap(), text);
    // A drive that has lost it does not remove the units of the apply before either.
    let content = format!("{drive}/openstack/content/0000");
    fs::remove_file(&content).unwrap();
    let called = old.call(&[&from, "-convert-netconf=debian"]).await;
    assert_eq!(called.code, Some(1));
    assert!(
        called.stderr.contains(&format!(
            "the platform's network: {content}: found no such file, expected the network's description, as \
             content_path in {drive}/openstack/latest/meta_data.json says"
        )),
        "{called:?}"
    );
    assert_eq!(fs::read_to_string(&unit).unwrap(), text);
    // Who does not want the network from there does without.
    old.file("drive/openstack/latest/user_data", GOOD);
    assert_eq!(old.call(&[&from]).await.code, Some(0));
    assert_eq!(fs::read_to_string(old.path("etc/site")).unwrap(), "one");
}

#[tokio::test]
async fn documents_add_up_in_compatibility_mode() {
    let old = Old::with_core();
    let platform = old.file(
        "oem.yaml",
        "#cloud-config\nssh_authorized_keys: [ssh-rsa AAAA1]\nwrite_files: [{path: /etc/oem, content: oem}]\n",
    );
    let user = old.file("user.yaml", GOOD);
    let seen = || {
        let text = |path: &str| fs::read_to_string(old.path(path)).unwrap();
        (
            text("etc/oem"),
            text("etc/site"),
            text("home/core/.ssh/authorized_keys"),
        )
    };
    let all = (
        "oem".to_owned(),
        "one".to_owned(),
        "ssh-rsa AAAA1\n".to_owned(),
    );
    for round in 0..2 {
        for document in [&platform, &user] {
            let called = old.call(&["-from-file", document]).await;
            assert_eq!(called.code, Some(0), "{called:?}");
            assert!(round == 0 || called.stdout.is_empty(), "{called:?}");
        }
        assert_eq!(seen(), all);
    }
    // The keys of a user are those of the last document that names some: a removed key cannot log in.
    let changed = fs::read_to_string(&platform)
        .unwrap()
        .replace("AAAA1", "AAAA2");
    fs::write(&platform, changed).unwrap();
    assert_eq!(old.call(&["-from-file", &platform]).await.code, Some(0));
    assert_eq!(seen().2, "ssh-rsa AAAA2\n");
    // A document of this program's own is the whole of it.
    let root = old.path("").display().to_string();
    let args = ["cloud-config", "apply", "--root", &root, &user];
    run(bin(), args, &[], PATIENCE).await.must(0);
    assert!(!old.path("etc/oem").exists() && old.path("etc/site").exists());
    assert!(!old.path("home/core/.ssh/authorized_keys").exists());
}

#[tokio::test]
async fn apply_at_boot_waits_for_another_apply() {
    let old = Old::new();
    let user = old.file("user.yaml", GOOD);
    let records = old.path("var/lib/pointsman/cloud-config");
    fs::create_dir_all(&records).unwrap();
    let lock = fs::File::create(records.join("lock")).unwrap();
    lock.lock().unwrap();
    let root = old.path("").display().to_string();
    let args = ["cloud-config", "apply", "--root", &root, &user];
    // A person is told at once.
    assert_eq!(run(bin(), args, &[], PATIENCE).await.code, Some(3));
    let args = ["-from-file", user.as_str()];
    let mut call = std::pin::pin!(old.call(&args));
    // It looks again and again; a document that was applied meanwhile would be there.
    for _ in 0..3 {
        let pause = std::time::Duration::from_millis(100);
        assert!(
            tokio::time::timeout(pause, &mut call).await.is_err(),
            "it waits"
        );
    }
    assert!(!old.path("etc/site").exists());
    drop(lock);
    assert_eq!(call.await.code, Some(0));
    assert_eq!(fs::read_to_string(old.path("etc/site")).unwrap(), "one");
}

#[tokio::test]
async fn documents_that_add_up_remove_nothing_of_each_other() {
    let old = Old::with_core();
    fs::write(old.path("etc/hosts"), "127.0.0.1 localhost\n").unwrap();
    fs::create_dir_all(old.path("usr/lib/systemd/system")).unwrap();
    let unit = "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n";
    fs::write(old.path("usr/lib/systemd/system/a.service"), unit).unwrap();
    let text = |path: &str| fs::read_to_string(old.path(path)).unwrap();
    let document = |name: &str, more: &str| {
        let hosts = format!("{{path: /etc/hosts, append: true, content: \"1.1.1.1 {name}\\n\"}}");
        let run = format!("{{path: /run/{name}, content: {name}}}");
        old.file(
            name,
            &format!("#cloud-config\nwrite_files: [{hosts}, {run}]\n{more}"),
        )
    };
    let one = document(
        "one",
        "ssh_authorized_keys: [ssh-rsa AAAA1]\ncoreos: {units: [{name: a.service, mask: true}]}\n",
    );
    // A user without keys in a document keeps them; a mask is removed if the unit is to be enabled.
    let two = document(
        "two",
        "users: [{name: core, groups: []}]\ncoreos: {units: [{name: a.service, enable: true}]}\n",
    );
    for document in [&one, &two, &two] {
        let called = old.call(&["-from-file", document]).await;
        assert_eq!(called.code, Some(0), "{called:?}");
    }
    let hosts = "127.0.0.1 localhost\n1.1.1.1 one\n1.1.1.1 two\n";
    assert_eq!(text("etc/hosts"), hosts);
    assert_eq!(text("home/core/.ssh/authorized_keys"), "ssh-rsa AAAA1\n");
    assert!(!old.path("etc/systemd/system/a.service").is_symlink());
    assert!(
        old.path("etc/systemd/system/multi-user.target.wants/a.service")
            .is_symlink()
    );
    // Each has a last good one of its own, and the machine's is none of theirs.
    fs::remove_dir_all(old.path("run")).unwrap();
    fs::write(&two, "#cloud-config\nwrite_files: [{path: /usr/two}]\n").unwrap();
    assert_eq!(old.call(&["-from-file", &one]).await.code, Some(0));
    let called = old.call(&["-from-file", &two]).await;
    assert_eq!(called.code, Some(1));
    assert!(
        called
            .stderr
            .contains("the last document that worked is kept"),
        "{called:?}"
    );
    assert_eq!(
        (text("run/one"), text("run/two")),
        ("one".into(), "two".into())
    );
    assert_eq!(text("etc/hosts"), hosts);
    assert!(!old.path("run/pointsman/cloud-config.found").exists());
    assert!(
        !old.path("var/lib/pointsman/cloud-config/last-good.json")
            .exists()
    );
}
