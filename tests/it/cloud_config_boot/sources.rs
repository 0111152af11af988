//! Sources at boot: missing, empty, of a platform, or named on the command line.

use super::*;

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
