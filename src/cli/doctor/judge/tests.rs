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
fn each_fault_is_one_finding_that_says_what_to_do() {
    use Level::{Error, Warning};
    let cases: &[Case] = &[
        (
            "fault",
            |f| f.configuration.faults = vec!["x:1:1: bad".into()],
            Error,
            "configuration",
            "x:1:1: bad",
            "",
        ),
        (
            "warning",
            |f| f.configuration.warnings = vec!["plain HTTP".into()],
            Warning,
            "configuration",
            "plain HTTP",
            "",
        ),
        (
            "none",
            |f| f.configuration.is_missing = true,
            Warning,
            "configuration",
            "",
            "config.yaml",
        ),
        (
            "soon",
            |f| f.certificates = vec![file(false, &[14])],
            Warning,
            "certificate",
            "expires 2026-12-15 00:00:00 UTC, in 14 days",
            "renew it",
        ),
        (
            "expired",
            |f| f.certificates = vec![file(false, &[-1])],
            Error,
            "certificate",
            "expired 2026-11-30",
            "renew it",
        ),
        (
            "authority soon",
            |f| f.certificates = vec![file(true, &[-9, 13, 400])],
            Warning,
            "certificate",
            "in 13 days",
            "renew it",
        ),
        (
            "authorities expired",
            |f| f.certificates = vec![file(true, &[-9, -2])],
            Error,
            "certificate",
            "expired 2026-11-29",
            "renew it",
        ),
        (
            "no certificate",
            |f| f.certificates = vec![file(true, &[])],
            Error,
            "certificate",
            "no certificate",
            "PEM",
        ),
        (
            "broken file",
            |f| f.certificates[0].valid_until = Err(Unread::Wrong(trouble())),
            Error,
            "certificate",
            "broken",
            "repair it",
        ),
        (
            "denied",
            |f| f.certificates[0].valid_until = Err(Unread::Denied("no".into())),
            Warning,
            "certificate",
            "not checked: no",
            "root",
        ),
        (
            "adrift",
            |f| f.clock = Clock::Adrift,
            Warning,
            "clock",
            "not synchronised",
            "timedatectl set-ntp true",
        ),
        (
            "no options",
            |f| f.etcd = Some(Err(trouble())),
            Error,
            "etcd",
            "broken",
            "repair it",
        ),
        (
            "one silent",
            |f| f.etcd = Some(Ok(vec![endpoint("a", 7, &[]), silent("b")])),
            Warning,
            "etcd",
            "b: connection refused",
            "pointsman config",
        ),
        (
            "all silent",
            |f| f.etcd = Some(Ok(vec![silent("b")])),
            Error,
            "etcd",
            "b: connection refused",
            "pointsman config",
        ),
        (
            "server soon",
            |f| f.etcd = Some(Ok(vec![endpoint("a", 7, &[3])])),
            Warning,
            "etcd",
            "a: the server's certificate expires 2026-12-04 00:00:00 UTC, in 3 days",
            "renew it on that server",
        ),
        (
            "sent authority",
            |f| f.etcd = Some(Ok(vec![endpoint("a", 7, &[30, 3])])),
            Warning,
            "etcd",
            "a: an authority's certificate that the server sends expires",
            "renew it",
        ),
        (
            "server expired",
            |f| f.etcd = Some(Ok(vec![endpoint("a", 7, &[-3])])),
            Error,
            "etcd",
            "certificate expired",
            "renew it",
        ),
        (
            "two clusters",
            |f| f.etcd = Some(Ok(vec![endpoint("a", 7, &[]), endpoint("b", 8, &[])])),
            Error,
            "etcd",
            "different clusters: a is of 7, b is of 8",
            "one cluster only",
        ),
        (
            "lock server",
            |f| f.lock_server = Some(("https://l/".into(), dates(&[1]))),
            Warning,
            "FleetLock server",
            "https://l/: ",
            "renew it",
        ),
        (
            "group",
            |f| f.fleet = Some(Err(trouble())),
            Error,
            "group",
            "broken",
            "repair it",
        ),
        (
            "document",
            |f| {
                f.fleet = Some(Ok(Fleet {
                    document: Some("no JSON".into()),
                    ..Fleet::default()
                }))
            },
            Error,
            "group",
            "no JSON",
            "pointsman set-max 1 --rebuild --group a",
        ),
        (
            "overdue",
            |f| {
                f.fleet = Some(Ok(Fleet {
                    overdue: vec!["n1".into()],
                    ..Fleet::default()
                }))
            },
            Warning,
            "group",
            "n1 holds",
            "pointsman status --group a",
        ),
        (
            "versions",
            |f| {
                f.fleet = Some(Ok(Fleet {
                    nodes: vec![
                        ("p 1".into(), "4".into()),
                        ("p 2".into(), "4".into()),
                        ("p 2".into(), "5".into()),
                    ],
                    ..Fleet::default()
                }))
            },
            Warning,
            "agents",
            "2 with p 2, 1 with p 1",
            "status --nodes",
        ),
        (
            "no agent",
            |f| f.agent = Agent::Absent,
            Error,
            "agent",
            "does not run",
            "systemctl enable --now pointsman",
        ),
        (
            "agent silent",
            |f| f.agent = Agent::Silent(trouble()),
            Error,
            "agent",
            "broken",
            "repair it",
        ),
        (
            "not in force",
            |f| f.agent = runs("bad file", ""),
            Error,
            "agent",
            "bad file",
            "systemctl reload pointsman",
        ),
        (
            "agent's etcd",
            |f| f.agent = runs("", "away"),
            Error,
            "agent",
            "away",
            "",
        ),
        (
            "no slot",
            |f| {
                f.slots = Slots::Read {
                    faults: vec![],
                    each: vec![],
                    next: None,
                }
            },
            Error,
            "slots",
            "no slot would boot",
            "mark-good",
        ),
        (
            "damaged",
            |f| {
                f.slots = Slots::Read {
                    faults: vec!["bad copy".into()],
                    each: vec![],
                    next: Some("A".into()),
                }
            },
            Error,
            "slots",
            "bad copy",
            "pointsman slots repair --group a",
        ),
        (
            "slots",
            |f| f.slots = Slots::Unusable(trouble()),
            Error,
            "slots",
            "broken",
            "repair it",
        ),
        (
            "bus",
            |f| f.bus = Some(trouble()),
            Error,
            "system bus",
            "broken",
            "repair it",
        ),
        (
            "engine",
            |f| f.update_engine = Some(UpdateEngine::Silent(trouble())),
            Error,
            "update_engine",
            "broken",
            "repair it",
        ),
        (
            "others",
            |f| {
                f.coordinators = vec![Coordinator {
                    found: "kured runs".into(),
                    to_do: "stop it".into(),
                }]
            },
            Warning,
            "other coordinators",
            "kured runs",
            "stop it",
        ),
        (
            "hook",
            |f| f.hooks.faults = vec!["x is a link to nothing".into()],
            Error,
            "hooks",
            "link to nothing",
            "pointsman hooks",
        ),
        (
            "hook's time",
            |f| {
                f.hooks.own_limits =
                    vec![("k".into(), Duration::from_secs(300), "/etc/k.conf".into())]
            },
            Warning,
            "hooks",
            "k: TIMEOUT is 300 s (/etc/k.conf), and the agent ends a hook after timings.hook-timeout, 5m",
            "timings.hook-timeout to more",
        ),
    ];
    for (name, change, level, about, found, to_do) in cases {
        let mut facts = well();
        change(&mut facts);
        let all = judged(&facts);
        let faults: Vec<&Finding> = all
            .iter()
            .filter(|finding| finding.level != Level::Ok)
            .collect();
        assert_eq!(faults.len(), 1, "{name}: {faults:#?}");
        let fault = faults[0];
        assert_eq!((fault.level, fault.about), (*level, *about), "{name}");
        assert!(fault.found.contains(found), "{name}: {fault:?}");
        assert!(fault.to_do.join(" | ").contains(to_do), "{name}: {fault:?}");
    }
}

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
