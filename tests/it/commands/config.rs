//! `pointsman config`, and that commands mean what the agent means.

use settings::SETTINGS;

use super::*;

#[tokio::test]
async fn every_setting_is_shown_with_its_source() {
    let op = Operator::new("config");
    let file = op.root.path().join("etc/pointsman/config.d/10-site.yaml");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, "etcd:\n  username: u\nwindow:\n  start: Thu 04:00\n").unwrap();
    let env = [
        ("LOCKSMITHD_ETCD_PASSWORD", "s3cret"),
        ("REBOOT_WINDOW_LENGTH", "2h"),
    ];
    let shown = run(bin(), op.args(&["config", "--json"]), &env, PATIENCE).await;
    assert_eq!(shown.code, Some(0), "{shown:?}");
    assert!(!shown.stdout.contains("s3cret"), "{shown:?}");
    let all: Value = serde_json::from_str(&shown.stdout).unwrap();
    let all = all.as_array().unwrap();
    assert_eq!(all.len(), SETTINGS.len());
    let of = |key: &str| {
        let setting = all.iter().find(|s| s["key"] == key).unwrap();
        (
            setting["value"].clone(),
            setting["from"].as_str().unwrap().to_owned(),
        )
    };
    let there = |line, column| format!("{}:{line}:{column}", file.display());
    assert_eq!(of("window.start"), ("Thu 04:00".into(), there(4, 10)));
    assert_eq!(
        of("window.length"),
        ("2h".into(), "REBOOT_WINDOW_LENGTH".into())
    );
    assert_eq!(of("etcd.username"), ("u".into(), there(2, 13)));
    assert_eq!(
        of("etcd.password-file"),
        ("(hidden)".into(), "LOCKSMITHD_ETCD_PASSWORD".into())
    );
    assert_eq!(of("etcd.timeout"), ("5s".into(), "default".into()));
    assert_eq!(of("etcd.cafile"), (Value::Null, "default".into()));
    assert_eq!(
        of("key-prefix"),
        (op.prefix.as_str().into(), "--key-prefix".into())
    );
    let table = run(bin(), op.args(&["config"]), &env, PATIENCE)
        .await
        .stdout;
    for line in ["window.length", "etcd.password-file"] {
        assert!(table.contains(line), "{table}");
    }
    std::fs::write(&file, "windw: 1\n").unwrap();
    op.says(&["config"], 2, "10-site.yaml:1:1: unknown key \"windw\"")
        .await;
}

#[tokio::test]
async fn a_command_means_the_group_and_the_etcd_of_the_agent() {
    let site = Site::new("as-the-agent");
    let node = machine("node-1").await;
    // Nothing in files: all of it stands in the unit, some of it as locksmith's.
    site.start(&node, &[("LOCKSMITHD_GROUP", "blue")]).await;
    let status = node.run(bin(), &["status", "--json"]).await;
    assert_eq!(status.code, Some(0), "{status:?}");
    let shown: Value = serde_json::from_str(&status.stdout).unwrap();
    assert_eq!(shown["groups"][0]["group"], "blue");
    let locked = node.run(bin(), &["lock", "--as", "x"]).await;
    assert_eq!(locked.code, Some(0), "{locked:?}");
    let blue = semaphore::etcd::Semaphore::new(
        crate::support::options(shared_cluster().endpoints()),
        semaphore::keys::Keys::new(&site.prefix, host::node::Group::new("blue").unwrap()),
        crate::support::BACK_OFF,
    );
    assert_eq!(blue.read().await.unwrap().holders[0].id, "x");
    let config = node.run(bin(), &["config"]).await.stdout;
    assert!(config.contains("run/pointsman/agent.yaml:"), "{config}");
    // Its word ends with it.
    node.stop().await;
    assert!(!node.path("run/pointsman/agent.yaml").exists());
}

#[tokio::test]
async fn a_key_of_another_certificate_is_a_wrong_setting_and_no_etcd_is_asked() {
    let op = Operator::new("pair");
    let files = pointsman_testbed::etcd::Certificates::write(op.root.path());
    let below = |path: &std::path::Path| {
        let path = path.strip_prefix(op.root.path()).unwrap();
        format!("/{}", path.display())
    };
    let certificate = below(&files.client_cert);
    for (key, says) in [
        (
            below(&files.server_key),
            "a key that is not the certificate's",
        ),
        ("/gone.pem".to_owned(), "No such file"),
    ] {
        let pair = [
            "lock",
            "--etcd-certfile",
            &certificate,
            "--etcd-keyfile",
            &key,
        ];
        let refused = op.says(&pair, 2, says).await;
        for part in ["--etcd-keyfile: ", &key] {
            assert!(refused.stderr.contains(part), "{refused:?}");
        }
    }
}

#[tokio::test]
async fn a_root_that_is_not_there_is_an_error() {
    let none = [("POINTSMAN_ROOT", "/no/such/root")];
    let done = run(bin(), ["status", "--root", "/no/such/root"], &[], PATIENCE).await;
    assert_eq!(done.code, Some(2), "{done:?}");
    assert!(done.stderr.contains("/no/such/root"), "{done:?}");
    let done = run(bin(), ["status"], &none, PATIENCE).await;
    assert_eq!(done.code, Some(2), "{done:?}");
}

#[tokio::test]
async fn a_channel_is_set_inside_the_root_whatever_links_lead_there() {
    use std::{fs, os::unix::fs::symlink, path::Path};
    let node = machine("node-1").await;
    let outside = pointsman_testbed::scratch::dir("outside");
    fs::write(outside.path().join("update.conf"), "GROUP=host\n").unwrap();
    let below = outside.path().strip_prefix("/").unwrap();
    let root = node.root().display().to_string();
    let beta = ["update", "channel", "beta", "--root", &root];
    let link = node.path("etc/flatcar");
    fs::create_dir_all(link.parent().unwrap()).unwrap();
    let conf = link.join("update.conf");
    let host = || fs::read_to_string(outside.path().join("update.conf")).unwrap();
    // The folder: to nothing inside, which is made, and then to what is there.
    symlink(Path::new("../../../../../../../").join(below), &link).unwrap();
    for _ in 0..2 {
        let done = node.run_plain(bin(), &beta, &[]).await;
        assert_eq!(host(), "GROUP=host\n", "{done:?}");
        let inside = node.root().join(below).join("update.conf");
        assert_eq!(fs::read_to_string(inside).unwrap(), "GROUP=beta\n");
    }
    // The file, which stays a link.
    fs::remove_file(&link).unwrap();
    fs::create_dir(&link).unwrap();
    fs::write(node.path("etc/shared.conf"), "SERVER=x\n").unwrap();
    for target in ["/etc/shared.conf", "../../../../../etc/shared.conf"] {
        symlink(target, &conf).unwrap();
        let done = node.run_plain(bin(), &beta, &[]).await;
        assert!(conf.is_symlink(), "{done:?}");
        let shared = fs::read_to_string(node.path("etc/shared.conf")).unwrap();
        assert_eq!(shared, "SERVER=x\nGROUP=beta\n");
        fs::remove_file(&conf).unwrap();
    }
    // In a circle.
    symlink("/etc/flatcar/other", &conf).unwrap();
    symlink("update.conf", link.join("other")).unwrap();
    let done = node.run_plain(bin(), &beta, &[]).await;
    assert_ne!(done.code, Some(0), "{done:?}");
    assert!(
        done.stderr.contains("etc/flatcar/update.conf") && done.stderr.contains("symbolic links"),
        "{done:?}"
    );
}

#[tokio::test]
async fn no_link_of_a_root_leads_to_the_hosts_files() {
    use std::{fs, os::unix::fs::symlink};
    let node = machine("node-1").await;
    let outside = pointsman_testbed::scratch::dir("outside");
    let write = |name: &str, text: &str| fs::write(outside.path().join(name), text).unwrap();
    write("update.conf", "GROUP=host\n");
    write("config.yaml", "strategy: off\n");
    fs::create_dir_all(node.path("etc/pointsman")).unwrap();
    // Where each leads on the machine itself there is nothing.
    symlink(outside.path(), node.path("etc/flatcar")).unwrap();
    symlink(
        outside.path().join("config.yaml"),
        node.path("etc/pointsman/config.yaml"),
    )
    .unwrap();
    let root = node.root().display().to_string();
    let done = node
        .run_plain(bin(), &["update", "channel", "beta", "--root", &root], &[])
        .await;
    assert_eq!(
        fs::read_to_string(outside.path().join("update.conf")).unwrap(),
        "GROUP=host\n",
        "{done:?}"
    );
    let inside = node.root().join(outside.path().strip_prefix("/").unwrap());
    assert_eq!(
        fs::read_to_string(inside.join("update.conf")).unwrap(),
        "GROUP=beta\n"
    );
    let done = node
        .run_plain(bin(), &["config", "--root", &root], &[])
        .await;
    assert_eq!(done.code, Some(2), "{done:?}");
    assert!(
        done.stderr.contains("config.yaml: No such file"),
        "{done:?}"
    );
    // And what is there counts.
    fs::write(inside.join("config.yaml"), "strategy: reboot\n").unwrap();
    let done = node
        .run_plain(bin(), &["config", "--root", &root], &[])
        .await;
    assert!(
        done.stdout
            .lines()
            .any(|line| line.starts_with("strategy") && line.contains("reboot")),
        "{done:?}"
    );
}

#[tokio::test]
async fn a_program_to_notify_that_is_not_there_is_said_before_anything_happens() {
    let op = Operator::new("no-program");
    let plain = op.root.path().join("plain");
    std::fs::write(&plain, "").unwrap();
    op.config(&format!(
        "notify:\n- {{command: /gone/notify}}\n- {{command: {0}}}\n- {{command: /bin/sh}}\n",
        plain.display()
    ));
    let said = op.says(&["config"], 0, "notify").await.stderr;
    let gone = "notify.command /gone/notify cannot be run: No such file or directory";
    assert!(said.contains(gone), "{said}");
    let plain = format!(
        "notify.command {} cannot be run: it is not executable",
        plain.display()
    );
    assert!(said.contains(&plain) && !said.contains("/bin/sh"), "{said}");
}
