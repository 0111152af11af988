//! `doctor`: what it finds, and what it says to do.

use pointsman_testbed::etcd::{Cluster, Tls, expiring_client};

use super::*;

async fn doctor(site: &Site, node: &pointsman_testbed::node::Node) -> (Option<i32>, Value) {
    let said = site.command(node, &["doctor", "--json"]).await;
    let json = serde_json::from_str(&said.stdout).unwrap_or_else(|_| panic!("{said:?}"));
    (said.code, json)
}

/// What was found of this thing: its level, and all that was said.
fn of(said: &Value, about: &str) -> Vec<(String, String)> {
    let findings = said["findings"].as_array().unwrap().iter();
    let about = findings.filter(|finding| finding["about"] == about);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    about
        .map(|finding| {
            let to_do = finding["to_do"].as_array().unwrap().iter();
            let lines = std::iter::once(&finding["found"]).chain(to_do);
            let lines: Vec<_> = lines.map(text).collect();
            (text(&finding["level"]), lines.join(" | "))
        })
        .collect()
}

#[tokio::test]
async fn doctor_finds_nothing_at_a_node_that_is_well() {
    let site = Site::new("doctor-well");
    let node = site.node("node-1", &[]).await;
    node.wait_status(|status| status == "idle").await;
    site.record(&node, |record| record.state == "idle").await;
    let (code, said) = doctor(&site, &node).await;
    assert_eq!(
        (code, &said["level"]),
        (Some(0), &Value::from("ok")),
        "{said:#}"
    );
    let ok = |text: String| vec![("ok".to_owned(), text)];
    assert_eq!(of(&said, "agent"), ok("it runs, idle".into()));
    assert_eq!(of(&said, "etcd"), ok("3 of 3 endpoints answer".into()));
    let agents = format!("1 with pointsman {}", env!("CARGO_PKG_VERSION"));
    assert_eq!(of(&said, "agents"), ok(agents));
    let shown = site.command(&node, &["doctor"]).await;
    assert!(
        shown.stdout.contains("ok       agent: it runs, idle\n"),
        "{shown:?}"
    );
}

#[tokio::test]
async fn doctor_names_each_fault_and_what_to_do_about_it() {
    let site = Site::new("doctor-ill");
    let node = machine("node-1").await;
    hook(&node, "health.d/10-x", "exit 0");
    std::fs::write(node.path("etc/pointsman/hooks/health.d/10-x"), "echo hi\n").unwrap();
    std::fs::create_dir_all(node.path("etc/pointsman/hooks/pre-reboot")).unwrap();
    // Beside those of the command line of the node, and one that nobody listens at.
    let mut endpoints = shared_cluster().endpoints();
    endpoints.push("http://127.0.0.1:1".into());
    let flags = ["doctor", "--json", "--endpoint", &endpoints.join(",")].map(str::to_owned);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let said = site.command(&node, &flags).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.is_empty(), "{said:?}");
    let said: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(said["level"], "error");
    let says = |about: &str, level: &str, text: &str| says(&said, about, level, text);
    says(
        "agent",
        "error",
        "it does not run | start it: systemctl enable --now pointsman",
    );
    says("etcd", "warning", "http://127.0.0.1:1: tcp connect error");
    says("etcd", "ok", "6 of 7 endpoints answer");
    says(
        "hooks",
        "error",
        "no interpreter line; the first line must begin with #!",
    );
    says("hooks", "error", "did you mean pre-reboot.d?");
    // A fault in the configuration is found as well, and everything else all the same.
    node.write("etc/pointsman/config.yaml", "strategi: etcd-lock\n");
    let (code, said) = doctor(&site, &node).await;
    assert_eq!(code, Some(1));
    let found = of(&said, "configuration");
    assert!(found[0].1.contains("unknown key \"strategi\""), "{found:?}");
    assert!(!of(&said, "hooks").is_empty() && !of(&said, "slots").is_empty());
}

/// Asserts that this was found of this thing, at this level, among what else was.
fn says(said: &Value, about: &str, level: &str, text: &str) {
    let found = of(said, about);
    let is = |(has, says): &(String, String)| has == level && says.contains(text);
    assert!(found.iter().any(is), "{about}: {text}: {found:#?}");
}

#[tokio::test]
async fn doctor_shows_the_dates_of_all_certificates_also_of_a_server_that_is_not_trusted() {
    let cluster = Cluster::builder(1).tls(Tls::ClientCert).start().await;
    let node = machine("node-1").await;
    let files = cluster.certificates();
    let put = |name: &str, from: &std::path::Path| {
        std::fs::copy(from, node.path(name)).unwrap();
    };
    std::fs::create_dir_all(node.path("etc/pointsman")).unwrap();
    put("etc/ca.pem", &files.ca);
    put("etc/client.pem", &files.client_cert);
    put("etc/client-key.pem", &files.client_key);
    let configuration = format!(
        "etcd: {{endpoints: '{}', cafile: /etc/ca.pem, certfile: /etc/client.pem, keyfile: /etc/client-key.pem}}\n",
        cluster.endpoint(0)
    );
    node.write("etc/pointsman/config.yaml", &configuration);
    let ask = async || {
        let said = node.run(bin(), &["doctor", "--json"]).await;
        let json: Value = serde_json::from_str(&said.stdout).unwrap_or_else(|_| panic!("{said:?}"));
        json
    };
    let said = ask().await;
    for what in [
        "etcd.cafile: the authorities' certificate ",
        "etcd.certfile: the certificate ",
    ] {
        says(&said, "certificate", "ok", what);
    }
    assert!(
        of(&said, "certificate")
            .iter()
            .all(|(_, text)| text.contains(" is valid until "))
    );
    says(&said, "etcd", "ok", "1 of 1 endpoints answer");
    let details = said["findings"].to_string();
    assert!(
        details.contains("the server's certificate is valid until "),
        "{details}"
    );
    // Where each value is from.
    let from = format!("{}:1:19", node.path("etc/pointsman/config.yaml").display());
    let setting = said["configuration"].as_array().unwrap().iter();
    let endpoints = setting
        .clone()
        .find(|one| one["key"] == "etcd.endpoints")
        .unwrap();
    assert_eq!(endpoints["from"], from.as_str());
    assert!(details.contains(&from), "{details}");

    // The server's is out of date, so that no connection is made: what it shows is told all the same.
    files.let_expire();
    let said = ask().await;
    let expired = format!(
        "{}: the server's certificate expired 2020-01-01 00:00:00 UTC",
        cluster.endpoint(0)
    );
    says(&said, "etcd", "error", &expired);
    says(&said, "etcd", "error", "renew it on that server");
    // The node's own, soon: by the rule of `status --check`.
    let day = std::time::Duration::from_secs(24 * 3600);
    let (certificate, key) = expiring_client(&node.root(), 13 * day);
    put("etc/client.pem", &certificate);
    put("etc/client-key.pem", &key);
    says(
        &ask().await,
        "certificate",
        "warning",
        "in 12 days | renew it",
    );
}

#[tokio::test]
async fn doctor_names_other_coordinators_and_hooks_that_outlast_their_time() {
    let site = Site::new("doctor-others");
    let node = machine("node-1").await;
    node.write("proc/4711/comm", "kured\n");
    node.write("proc/4712/comm", "kuredx\n");
    node.write("proc/4713/comm", "update-agent\n");
    let hooks = node.path("usr/lib/pointsman/hooks/available");
    std::fs::create_dir_all(&hooks).unwrap();
    hook(&node, "health.d/10-x", "exit 0");
    let script = "#!/bin/sh\n# Summary: Drains.\n# Stages: pre-reboot.d\nexit 0\n";
    node.write("usr/lib/pointsman/hooks/available/drain", script);
    node.write(
        "usr/lib/pointsman/hooks/available/drain.conf",
        "#TIMEOUT=240\n",
    );
    std::fs::set_permissions(
        hooks.join("drain"),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let enabled = node.run(bin(), &["hooks", "enable", "drain"]).await;
    assert_eq!(enabled.code, Some(0), "{enabled:?}");
    let (_, said) = doctor(&site, &node).await;
    says(&said, "hooks", "ok", "can be run");
    let others = of(&said, "other coordinators");
    assert_eq!(others.len(), 2, "{others:#?}");
    says(
        &said,
        "other coordinators",
        "warning",
        "kured runs (process 4711), and takes no reboot lock of pointsman | keep its",
    );
    says(
        &said,
        "other coordinators",
        "warning",
        "Flatcar Linux Update Operator's agent runs (process 4713)",
    );

    node.write("etc/pointsman/drain.conf", "TIMEOUT=600\n");
    std::os::unix::fs::symlink(
        "/opt/gone",
        node.path("etc/pointsman/hooks/health.d/20-gone"),
    )
    .unwrap();
    let (code, said) = doctor(&site, &node).await;
    assert_eq!(code, Some(1));
    says(&said, "hooks", "warning", "drain: TIMEOUT is 600 s");
    says(
        &said,
        "hooks",
        "error",
        "health.d/20-gone is a link to /opt/gone, which does not exist",
    );
}

#[tokio::test]
async fn bundle_has_what_support_asks_for_and_no_secret() {
    let site = Site::new("doctor-bundle");
    let node = site.node("node-1", &[]).await;
    // Each secret where it may get into what is written.
    node.write("etc/password", "Pa55-of-\"etcd\"\n");
    std::fs::set_permissions(
        node.path("etc/password"),
        std::os::unix::fs::PermissionsExt::from_mode(0o600),
    )
    .unwrap();
    node.write(
        "etc/pointsman/drain.conf",
        "API_TOKEN='t0ken-of-hook'\nSIGNING_KEY=/sl4sh+key\nKEY_FILE=/etc/password\nNODE=visible-node\n",
    );
    let reason = "Pa55-of-\"etcd\" Pa55%2Dof%2D%22etcd%22 /w3bh00k-path?k=w3bh00k-query t0ken-of-hook /sl4sh+key /etc/password https://me:s3cret-of-url@host/x password=s3cret-by-name \
                  Bearer s3cret-of-header visible-node";
    let paused = site.command(&node, &["pause", "--reason", reason]).await;
    assert_eq!(paused.code, Some(0), "{paused:?}");
    node.write(
        "etc/pointsman/config.yaml",
        "etcd: {username: u, password-file: /etc/password}\nnotify: [{webhook: 'https://hook.example/w3bh00k-path?k=w3bh00k-query'}]\n",
    );
    node.write(
        "var/lib/pointsman/history.jsonl",
        &format!("{}\n", serde_json::json!({"reason": reason})),
    );
    let file = node.path("bundle.tar");
    let flags = ["doctor", "--bundle", file.to_str().unwrap()];
    // etcd has no authentication, and refuses the password.
    let made = site.command(&node, &flags).await;
    assert!(made.stderr.contains("bundle.tar has 8 files."), "{made:?}");
    let bytes = std::fs::read(&file).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    for secret in ["Pa55", "w3bh00k", "t0ken-of-hook", "s3cret", "sl4sh"] {
        assert!(!text.contains(secret), "{secret} is in the archive");
    }
    let list = run(
        std::path::Path::new("tar"),
        ["--list", "--verbose", "--file", file.to_str().unwrap()],
        &[],
        PATIENCE,
    )
    .await;
    let names = [
        "doctor.txt",
        "doctor.json",
        "system.txt",
        "status.json",
        "journal.json",
        "history.jsonl",
        "hooks.txt",
        "log.txt",
    ];
    for name in names {
        assert!(
            list.stdout.contains(&format!(" pointsman/{name}\n")),
            "{list:?}"
        );
    }
    assert!(list.stdout.starts_with("-rw-------"), "{list:?}");
    // What is no secret is there.
    for part in [
        "visible-node",
        " /etc/password ",
        "\"key\": \"etcd.username\"",
        "https://hook.example/***",
    ] {
        assert!(text.contains(part), "{part} is not in the archive");
    }
    // Nothing is overwritten, and nothing is left of one that is not finished.
    let again = site.command(&node, &flags).await;
    assert_eq!(again.code, Some(2), "{again:?}");
    assert!(
        again
            .stderr
            .contains("which exists, expected the name of a new file"),
        "{again:?}"
    );
    assert_eq!(std::fs::read(&file).unwrap(), bytes);
}
