mod faults;

use std::time::Duration;

use jiff::ToSpan as _;
use settings::Strategy;

use super::{
    super::{
        facts::{Coordinator, Facts},
        finding::Trouble,
    },
    *,
};
use crate::cli::config::InForce;

/// A node on which all is well.
fn well() -> Facts {
    let now: Timestamp = "2026-12-01T00:00:00Z".parse().unwrap();
    Facts {
        now,
        shown_now: "2026-12-01 01:00:00 CET".into(),
        configuration: Configuration {
            faults: Vec::new(),
            warnings: Vec::new(),
            is_missing: false,
            strategy: Strategy::EtcdLock,
            settings: vec![
                setting("group", "a", "/etc/pointsman/config.yaml:1:8"),
                setting("key-prefix", "p", "default"),
            ],
        },
        certificates: vec![file(false, &[20]), file(true, &[400])],
        etcd: Some(Ok(vec![
            endpoint("https://a:1", 7, &[30]),
            endpoint("https://b:1", 7, &[30, 60]),
        ])),
        lock_server: None,
        fleet: Some(Ok(Fleet {
            nodes: vec![("pointsman 1".into(), "4 (sha256:aa)".into()); 2],
            ..Fleet::default()
        })),
        agent: runs("", ""),
        slots: Slots::Read {
            faults: Vec::new(),
            each: vec!["USR-A: good".into()],
            next: Some("USR-A".into()),
        },
        bus: None,
        update_engine: Some(UpdateEngine::Does(
            "UPDATE_STATUS_IDLE".into(),
            Some("yesterday".into()),
        )),
        clock: Clock::Synchronised,
        coordinators: Vec::new(),
        hooks: HookFacts {
            limit: Duration::from_secs(300),
            ..HookFacts::default()
        },
    }
}

fn setting(key: &'static str, value: &str, from: &str) -> InForce {
    InForce {
        key,
        value: Some(value.into()),
        from: from.into(),
    }
}

/// Whose certificates are valid for so many days more.
fn dates(days: &[i64]) -> Vec<Timestamp> {
    let now: Timestamp = "2026-12-01T00:00:00Z".parse().unwrap();
    days.iter().map(|days| now + (days * 24).hours()).collect()
}

fn file(are_authorities: bool, days: &[i64]) -> Certificates {
    Certificates {
        named: "the file".into(),
        are_authorities,
        valid_until: Ok(dates(days)),
    }
}

fn endpoint(url: &str, cluster: u64, days: &[i64]) -> Endpoint {
    Endpoint {
        url: url.into(),
        answers: Ok(()),
        cluster: Some(cluster),
        valid_until: dates(days),
    }
}

fn silent(url: &str) -> Endpoint {
    Endpoint {
        answers: Err("connection refused".into()),
        cluster: None,
        ..endpoint(url, 0, &[])
    }
}

fn runs(config_error: &str, etcd_error: &str) -> Agent {
    Agent::Runs {
        version: env!("CARGO_PKG_VERSION").into(),
        state: "idle".into(),
        waits_for: String::new(),
        config_error: config_error.into(),
        etcd_error: etcd_error.into(),
    }
}

fn trouble() -> Trouble {
    Trouble {
        message: "it is broken".into(),
        to_do: vec!["repair it".into()],
    }
}

fn judged(facts: &Facts) -> Vec<Finding> {
    judge(facts, &|words| format!("pointsman {words} --group a"))
}

#[test]
fn a_node_that_is_well_has_no_fault_and_says_where_its_values_are_from() {
    let findings = judged(&well());
    assert!(
        findings
            .iter()
            .all(|finding| finding.level == Level::Ok && finding.to_do.is_empty()),
        "{findings:#?}"
    );
    let abouts: Vec<&str> = findings.iter().map(|finding| finding.about).collect();
    let expected = [
        "configuration",
        "certificate",
        "certificate",
        "clock",
        "etcd",
        "agents",
        "images",
        "agent",
        "slots",
        "update_engine",
        "hooks",
    ];
    assert_eq!(abouts, expected);
    assert_eq!(
        findings[0].details,
        ["group = a (/etc/pointsman/config.yaml:1:8)"]
    );
    assert_eq!(
        findings[1].found,
        "the file is valid until 2026-12-21 00:00:00 UTC"
    );
    assert_eq!(
        findings[4].details,
        [
            "https://a:1: the server's certificate is valid until 2026-12-31 00:00:00 UTC",
            "https://b:1: the server's certificate is valid until 2026-12-31 00:00:00 UTC",
        ]
    );
    assert_eq!(findings[6].found, "2 on 4 (sha256:aa)");
}

/// A change to the facts of a node that is well, and the one fault that follows: its level, subject, a part of the sentence and of what to
/// do.
type Case = (
    &'static str,
    fn(&mut Facts),
    Level,
    &'static str,
    &'static str,
    &'static str,
);

#[test]
fn what_is_no_fault_is_none() {
    type Change = fn(&mut Facts);
    let cases: &[(&str, Change)] = &[
        ("an authority that expired beside one in use", |f| {
            f.certificates = vec![file(true, &[-9, 400])]
        }),
        ("no time service", |f| {
            f.clock = Clock::Unknown("no timedated".into())
        }),
        ("no slots", |f| f.slots = Slots::None),
        ("no update_engine", |f| {
            f.update_engine = Some(UpdateEngine::None("/run/x".into()))
        }),
        ("nobody in the group", |f| {
            f.fleet = Some(Ok(Fleet::default()))
        }),
        ("two images in a roll-out", |f| {
            f.fleet = Some(Ok(Fleet {
                nodes: vec![("p".into(), "4".into()), ("p".into(), "5".into())],
                ..Fleet::default()
            }))
        }),
        ("a hook with less time", |f| {
            f.hooks.own_limits = vec![("k".into(), Duration::from_secs(240), "x".into())]
        }),
    ];
    for (name, change) in cases {
        let mut facts = well();
        change(&mut facts);
        let all = judged(&facts);
        assert!(
            all.iter().all(|finding| finding.level == Level::Ok),
            "{name}: {all:#?}"
        );
    }
}
