//! What each fault is called, and what to do about it.

use super::*;

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
