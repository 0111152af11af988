//! `doctor`: what it finds, and what it says to do.

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
    let says = |about: &str, level: &str, text: &str| {
        let found = of(&said, about);
        let is = |(has, says): &(String, String)| has == level && says.contains(text);
        assert!(found.iter().any(is), "{about}: {text}: {found:#?}");
    };
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
