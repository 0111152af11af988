//! The dashboard's queries, asked of a real Prometheus that scrapes a real agent and a real server.

use std::path::Path;

use pointsman_testbed::{
    disk::Slot,
    etcd::shared_cluster,
    fakes::PATIENCE,
    process::{Child, Spec, run},
    scratch,
};
use semaphore::records::{Holder, Phase};
use serde_json::Value;

use super::{address, get, is_clean, metered};
use crate::{
    agents::Site,
    serve::Server,
    support::{eventually, holder},
    trials::runs_from,
};

/// A Prometheus that ends with the test.
struct Prometheus {
    child: Child,
    url: String,
    _dir: tempfile::TempDir,
}

impl Prometheus {
    /// One that scrapes these addresses, quickly.
    fn start(agent: &str, server: &str) -> Self {
        let dir = scratch::dir("prometheus");
        let config = dir.path().join("prometheus.yaml");
        let text = format!(
            "global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}\n\
             scrape_configs:\n\
             - job_name: pointsman\n  static_configs: [{{targets: ['{agent}']}}]\n\
             - job_name: pointsman-cluster\n  scrape_interval: 1s\n  scrape_timeout: 1s\n  \
             static_configs: [{{targets: ['{server}']}}]\n"
        );
        std::fs::write(&config, text).unwrap();
        let listen = address();
        let child = Spec::new("prometheus", dir.path().join("log"))
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                dir.path().join("data").display()
            ))
            .arg(format!("--web.listen-address={listen}"))
            .spawn();
        Self {
            child,
            url: format!("http://{listen}"),
            _dir: dir,
        }
    }

    /// What it answers to this.
    async fn ask(&self, path: &str, parameter: &str) -> Value {
        let url = format!("{}/api/v1/{path}", self.url);
        let args = [
            "--silent",
            "--get",
            "--max-time",
            "5",
            "--data-urlencode",
            parameter,
            &url,
        ];
        let said = run(Path::new("curl"), args.map(str::to_owned), &[], PATIENCE).await;
        assert!(self.child.is_running(), "{}", self.child.log());
        serde_json::from_str(&said.stdout).unwrap_or_default()
    }
}

fn expressions() -> Vec<(String, String)> {
    let text = include_str!("../../../packaging/prometheus/dashboard.json");
    let dashboard: Value = serde_json::from_str(text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().clone();
    let of_panel = |panel: Value| {
        let title = panel["title"].as_str().unwrap().to_owned();
        let targets = panel["targets"].as_array().unwrap().clone();
        targets.into_iter().map(move |target| {
            // As Grafana does where all groups are chosen.
            let expression = target["expr"].as_str().unwrap().replace("$group", ".*");
            (title.clone(), expression)
        })
    };
    panels.into_iter().flat_map(of_panel).collect()
}

#[tokio::test]
async fn every_query_of_the_dashboard_has_an_answer() {
    let site = Site::new("dashboard");
    let listen = address();
    let node = metered(&site, &listen).await;
    let server = Server::at(&shared_cluster().endpoints(), &site.prefix, &[]).await;
    // One reboot is over, and another one waits for somebody who is out; an image is quarantined.
    node.stage("2").await;
    runs_from(&node, Slot::B, 1).await;
    site.free().await;
    let out = Holder {
        since: Some(jiff::Timestamp::now()),
        ..holder("operator", Phase::Manual)
    };
    site.semaphore.lock(&out).await.unwrap();
    node.stage("3").await;
    site.until("it waits", |group| group.queue.len() == 1).await;
    let bad = r#"{"version":"1.9","hostname":"finder","reason":"no network","since":"2026-11-30T02:34:33Z"}"#;
    let key = site.semaphore.keys().quarantine_version("1.9");
    let mut client = shared_cluster().client().await;
    client.put(key, bad, None).await.unwrap();

    let served = server.address.to_string();
    let text = get(&format!("http://{served}/metrics")).await;
    assert!(text.contains("\npointsman_cluster_etcd_up 1\n"), "{text}");
    is_clean(&text).await;
    let prometheus = Prometheus::start(&listen, &served);
    let expressions = expressions();
    assert!(expressions.len() >= 12, "{expressions:?}");
    for (panel, expression) in expressions {
        let query = format!("query={expression}");
        eventually(
            &format!("{panel}: {expression}"),
            async || prometheus.ask("query", &query).await,
            |answer| {
                let found = answer["data"]["result"].as_array();
                let numbers = found.is_some_and(|found| {
                    let number = |one: &Value| {
                        let value = one["value"][1].as_str().unwrap_or_default();
                        value.parse::<f64>().is_ok_and(f64::is_finite)
                    };
                    !found.is_empty() && found.iter().all(number)
                });
                answer["status"] == "success" && numbers
            },
        )
        .await;
    }
    // What the list of groups is filled from.
    let groups = prometheus
        .ask("label/group/values", "match[]=pointsman_group_usable")
        .await;
    assert_eq!(groups["status"], "success", "{groups}");
    let usable = prometheus
        .ask("query", "query=pointsman_group_usable")
        .await;
    assert_eq!(
        usable["data"]["result"].as_array().map(Vec::len),
        Some(1),
        "{usable}"
    );
}
