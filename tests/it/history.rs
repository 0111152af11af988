//! What a node and the cluster remember of the past.

use pointsman_testbed::{disk::Slot, node::Node};
use semaphore::records::{ImageId, NodeRecord, Outcome};
use serde_json::Value;

use crate::{
    agents::Site,
    support::eventually,
    trials::{node, runs_from},
};

/// The events on this node.
async fn history(site: &Site, node: &Node) -> Vec<Value> {
    let said = site.command(node, &["history", "--json"]).await;
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{said:?}");
    serde_json::from_str::<Value>(&said.stdout)
        .unwrap()
        .as_array()
        .unwrap()
        .clone()
}

fn words(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .map(|event| event["event"].as_str().unwrap())
        .collect()
}

fn ended(outcome: Outcome) -> impl Fn(&NodeRecord) -> bool {
    move |record| {
        record.state == "idle"
            && record
                .last
                .as_ref()
                .is_some_and(|last| last.outcome == outcome)
    }
}

fn version(image: &ImageId) -> Option<&str> {
    image.version.as_deref()
}

#[tokio::test]
async fn a_node_remembers_its_updates_and_the_cluster_how_the_last_one_ended() {
    let site = Site::new("history");
    let (one, _disk) = node(&site, "node-1", &["3"]).await;
    assert_eq!(history(&site, &one).await, [] as [Value; 0]);
    one.stage("2").await;
    runs_from(&one, Slot::B, 1).await;
    let record = site.record(&one, ended(Outcome::Proven)).await;
    let last = record.last.unwrap();
    assert_eq!(
        (version(&last.from), version(&last.to)),
        (Some("1"), Some("2"))
    );
    assert!(last.began.unwrap() < last.ended.unwrap(), "{last:?}");
    let events = history(&site, &one).await;
    assert_eq!(
        words(&events),
        ["staged", "draining", "rebooting", "proven"]
    );
    assert_eq!(
        (&events[3]["from"]["version"], &events[3]["to"]["version"]),
        (&"1".into(), &"2".into())
    );
    assert_ne!(events[2]["boot_id"], events[3]["boot_id"]);
    assert!(events[3]["seconds"].is_u64(), "{events:?}");

    one.stage("3").await;
    runs_from(&one, Slot::B, 3).await;
    let record = site.record(&one, ended(Outcome::RolledBack)).await;
    let last = record.last.unwrap();
    assert_eq!(
        (version(&last.from), version(&last.to)),
        (Some("2"), Some("3"))
    );
    assert!(last.reason.contains("version 3 is bad"), "{last:?}");
    let events = history(&site, &one).await;
    let words = words(&events);
    let expected = [
        "staged",
        "draining",
        "rebooting",
        "quarantined",
        "rolling-back",
        "proven",
    ];
    assert_eq!(words[4..], expected, "{events:?}");

    // An operator is told the same, the latest last, as a table.
    let said = site
        .command(&one, &["history", "--limit", "2"])
        .await
        .stdout;
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines.len() == 3 && lines[0].starts_with("WHEN "), "{said}");
    assert!(
        lines[1].contains(" rolling back ") && lines[1].contains("version 3 is bad"),
        "{said}"
    );
    assert!(lines[2].contains(" proven "), "{said}");

    // And what was found and done in the cluster.
    site.command(
        &one,
        &["quarantine", "clear", "3", "--reason", "built again"],
    )
    .await;
    let said = site
        .command(&one, &["history", "--cluster", "--json"])
        .await;
    let events: Value = serde_json::from_str(&said.stdout).unwrap();
    let found: Vec<(&str, &str)> = events
        .as_array()
        .unwrap()
        .iter()
        .map(|event| {
            (
                event["event"].as_str().unwrap(),
                event["who"].as_str().unwrap(),
            )
        })
        .collect();
    assert!(
        matches!(
            found[..],
            [("rolled back", "node-1"), ("quarantine clear", _)]
        ),
        "{found:?}"
    );
    let shown = site.command(&one, &["history", "--cluster"]).await.stdout;
    assert!(
        shown.contains("version 3 is bad") && shown.contains("built again"),
        "{shown}"
    );
    for args in [
        &["history", "--since", "1s"][..],
        &["history", "--cluster", "--since", "1s"],
    ] {
        let said = async || site.command(&one, args).await.stdout;
        eventually("all of it is older", said, |said| {
            said == "Nothing is recorded.\n"
        })
        .await;
    }
}

#[tokio::test]
async fn a_reboot_that_was_given_up_is_remembered_with_its_reason() {
    let site = Site::new("history-stepped-back");
    let (one, _disk) = node(&site, "node-1", &[]).await;
    crate::agents::hook(
        &one,
        "pre-reboot.d/10-no",
        "echo the load cannot move; exit 1",
    );
    one.stage("2").await;
    let stepped_back = |record: &NodeRecord| {
        record
            .last
            .as_ref()
            .is_some_and(|last| last.outcome == Outcome::SteppedBack)
    };
    let last = site.record(&one, stepped_back).await.last.unwrap();
    assert!(last.reason.contains("the load cannot move"), "{last:?}");
    // A new start of the agent still knows.
    one.kill().await;
    site.start(&one, &crate::trials::QUICK).await;
    site.record(&one, |record| {
        record.state == "waiting" && stepped_back(record)
    })
    .await;
}

#[tokio::test]
async fn a_history_that_cannot_be_written_holds_up_no_reboot() {
    let site = Site::new("history-unwritten");
    let (one, _disk) = node(&site, "node-1", &[]).await;
    let file = one.path("var/lib/pointsman/history.jsonl");
    std::fs::create_dir_all(&file).unwrap();
    one.stage("2").await;
    runs_from(&one, Slot::B, 1).await;
    site.free().await;
    let record = site.record(&one, ended(Outcome::Proven)).await;
    assert_eq!(version(&record.runs), Some("2"));
    let said = site.command(&one, &["history"]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(
        said.stderr
            .contains("history.jsonl: the history cannot be read: found a directory"),
        "{said:?}"
    );
    // A pipe that nobody reads would hold its writer for ever.
    std::fs::remove_dir(&file).unwrap();
    nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRWXU).unwrap();
    one.stage("3").await;
    runs_from(&one, Slot::A, 2).await;
    site.record(&one, |record| {
        record.state == "idle" && version(&record.runs) == Some("3")
    })
    .await;
}
