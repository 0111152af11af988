//! What monitoring systems read: with Prometheus' own tools.

mod dashboard;

use std::{net::TcpListener, path::Path};

use pointsman_testbed::{
    disk::Slot,
    fakes::PATIENCE,
    node::{AutoReboot, Node},
    process::{Output, run},
    scratch,
};

use crate::{
    agents::{Site, machine},
    support::eventually,
    trials::{QUICK, runs_from},
};

/// An address on which nobody listens now.
fn address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

/// What an HTTP server answers.
async fn get(url: &str) -> String {
    let args = ["--silent", "--show-error", "--fail", "--max-time", "5", url].map(str::to_owned);
    run(Path::new("curl"), args, &[], PATIENCE).await.stdout
}

async fn promtool(folder: &Path, args: &[&str]) -> Output {
    let line = format!("cd {} && promtool {}", folder.display(), args.join(" "));
    run(Path::new("sh"), ["-c".to_owned(), line], &[], PATIENCE).await
}

/// That promtool finds no fault in these metrics, neither of form nor of style.
async fn is_clean(text: &str) {
    let folder = scratch::dir("metrics");
    std::fs::write(folder.path().join("metrics"), text).unwrap();
    let said = promtool(folder.path(), &["check", "metrics", "<", "metrics"]).await;
    assert_eq!(
        (said.code, said.stdout.as_str(), said.stderr.as_str()),
        (Some(0), "", ""),
        "{text}"
    );
}

fn has(text: &str, line: &str) -> bool {
    text.lines().any(|other| other == line)
}

async fn metered(site: &Site, listen: &str) -> Node {
    let node = machine("node-1").await;
    node.add_disk("1");
    node.auto_reboot(AutoReboot::default());
    let env = [
        ("POINTSMAN_METRICS_LISTEN", listen),
        (
            "POINTSMAN_METRICS_TEXTFILE",
            "/var/lib/node_exporter/pointsman.prom",
        ),
    ];
    std::fs::create_dir_all(node.path("var/lib/node_exporter")).unwrap();
    site.start(&node, &[&QUICK[..], &env].concat()).await;
    node.wait_status(|status| status == "idle").await;
    node
}

#[tokio::test]
async fn an_agent_tells_its_state_over_http_and_in_a_file() {
    let site = Site::new("metrics");
    let listen = address();
    let node = metered(&site, &listen).await;
    let url = format!("http://{listen}/metrics");
    let text = eventually(
        "it is idle",
        async || get(&url).await,
        |text| has(text, "pointsman_state{state=\"idle\"} 1"),
    )
    .await;
    is_clean(&text).await;
    for line in [
        "pointsman_state{state=\"rebooting\"} 0",
        "pointsman_holds_lock 0",
        "pointsman_etcd_up 1",
        "pointsman_warnings 0",
    ] {
        assert!(has(&text, line), "{line} in {text}");
    }
    assert!(
        !text.contains("pointsman_reboot_pending_start_time_seconds"),
        "{text}"
    );
    assert!(!text.contains("pointsman_last_reboot"), "{text}");
    let file = || {
        std::fs::read_to_string(node.path("var/lib/node_exporter/pointsman.prom"))
            .unwrap_or_default()
    };
    eventually(
        "the file says the same",
        async || file(),
        |other| *other == text,
    )
    .await;

    // Somebody else is out: the reboot is pending.
    site.lock().await;
    node.stage("2").await;
    let pending = |text: &String| {
        text.contains("\npointsman_reboot_pending_start_time_seconds ")
            && has(text, "pointsman_state{state=\"queued\"} 1")
    };
    eventually("a pending reboot", async || get(&url).await, pending).await;
    eventually("a pending reboot in the file", async || file(), pending).await;
    site.unlock("operator").await;
    runs_from(&node, Slot::B, 1).await;
    let back = |text: &String| {
        has(text, "pointsman_state{state=\"idle\"} 1")
            && has(
                text,
                "pointsman_last_reboot_info{from=\"1\",outcome=\"proven\",to=\"2\"} 1",
            )
            && !text.contains("pointsman_reboot_pending")
    };
    let text = eventually("it is back", async || get(&url).await, back).await;
    is_clean(&text).await;
}

#[tokio::test]
async fn an_address_in_use_and_a_folder_that_is_missing_hold_up_no_reboot() {
    let site = Site::new("metrics-refused");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    let node = metered(&site, &listen).await;
    std::fs::remove_dir_all(node.path("var/lib/node_exporter")).unwrap();
    node.stage("2").await;
    runs_from(&node, Slot::B, 1).await;
    site.free().await;
    // As soon as the address is free, it is used.
    drop(taken);
    let url = format!("http://{listen}/metrics");
    eventually(
        "it is served",
        async || get(&url).await,
        |text| text.contains("pointsman_build_info"),
    )
    .await;
}

#[tokio::test]
async fn the_alerts_fire_when_they_should_and_only_then() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/prometheus");
    for args in [
        &["check", "rules", "alerts.yaml"][..],
        &["test", "rules", "alerts.test.yaml"],
        &["test", "rules", "alerts-days.test.yaml"],
    ] {
        let said = promtool(&folder, args).await;
        assert_eq!(said.code, Some(0), "{said:?}");
    }
    // Each has a case in which it fires.
    let rules = std::fs::read_to_string(folder.join("alerts.yaml")).unwrap();
    let tests = ["alerts.test.yaml", "alerts-days.test.yaml"]
        .map(|name| std::fs::read_to_string(folder.join(name)).unwrap())
        .concat();
    let alerts: Vec<&str> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    assert!(alerts.len() >= 15, "{alerts:?}");
    for alert in alerts {
        let fires = format!("alertname: {alert}\n        exp_alerts:");
        assert!(
            tests.contains(&fires),
            "{alert} has no case in which it fires"
        );
    }
}
