use host::node::Group;

use super::*;
use crate::stored::Stored;

fn keys() -> Keys {
    Keys::new("p", Group::new("g").unwrap())
}

fn image(digest: &str, version: &str) -> ImageId {
    let part = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    ImageId {
        digest: part(digest),
        version: part(version),
    }
}

/// The gates of a node when these keys stand, each with its value and revision.
fn read(gateway: &Gateway, stored: &[(&str, &str, i64)], accepted: i64) -> Gates {
    let found = gateway.keys().into_iter().map(|range| {
        let stands = |key: &str| match &range {
            KeyRange::One(one) => key == one,
            KeyRange::Prefix(prefix) => key.starts_with(prefix.as_str()),
        };
        let stored = stored.iter().filter(|(key, ..)| stands(key));
        let found = |(key, value, modified): &(&str, &str, i64)| Found {
            key: (*key).to_owned(),
            stored: Stored {
                modified: *modified,
                value: value.as_bytes().to_vec(),
            },
        };
        stored.map(found).collect()
    });
    gateway.read(found.collect::<Vec<_>>(), accepted)
}

fn closed(gates: &Gates) -> Vec<String> {
    gates.closed.iter().map(ToString::to_string).collect()
}

/// A node with a member of etcd that goes to an image.
fn everybody(to: &ImageId) -> Passenger<'_> {
    Passenger {
        to: Some(to),
        member: true,
        new: to.digest.as_deref(),
        moment: None,
        runs: None,
    }
}

#[test]
fn each_gate_is_closed_by_its_key_and_names_it() {
    let to = image("sha256:aa", "2");
    let gateway = Gateway::to_take(&keys(), everybody(&to), &[]);
    assert_eq!(read(&gateway, &[], 0).closed, []);
    let cases = [
        (
            "p/pause-all",
            r#"{"by":"ann","reason":"tea"}"#,
            "the whole cluster is paused by ann: tea",
        ),
        (
            "p/groups/g/pause",
            "{}",
            "the group is paused by someone unknown",
        ),
        // The key alone pauses.
        (
            "p/groups/g/pause",
            "boo",
            "the group is paused by someone unknown: boo",
        ),
        (
            "p/quarantine/sha256:aa",
            r#"{"version":"2","image":"sha256:aa","node":"n1","reason":"no network"}"#,
            "2 is quarantined: no network (found by n1)",
        ),
        (
            "p/quarantine/version:2",
            r#"{"version":"2"}"#,
            "2 is quarantined: no reason given",
        ),
        (
            "p/member-out",
            r#"{"id":"f00","hostname":"db1"}"#,
            "this node hosts a member of etcd, and so does db1 (f00), which is out of service",
        ),
    ];
    for (key, value, text) in cases {
        let gates = read(&gateway, &[(key, value, 7)], 0);
        assert_eq!(closed(&gates), [text]);
        assert_eq!(gates.closed[0].key, key, "it is watched");
    }
}

#[test]
fn every_key_that_is_read_is_kept_for_the_compare() {
    let to = image("sha256:aa", "");
    let gateway = Gateway::to_take(&keys(), everybody(&to), &[]);
    let gates = read(&gateway, &[("p/pause-all", "{}", 7)], 0);
    let ranges: Vec<KeyRange> = gates
        .readings
        .iter()
        .map(|read| read.range.clone())
        .collect();
    assert_eq!(ranges, gateway.keys());
    let found = |key: &str| {
        let reading = |read: &&Reading| read.range == KeyRange::One(key.into());
        gates.readings.iter().find(reading).unwrap().found.len()
    };
    assert_eq!((found("p/pause-all"), found("p/groups/g/pause")), (1, 0));
}

#[test]
fn a_quarantine_concerns_only_a_node_that_goes_to_the_image() {
    let quarantine = [("p/quarantine/version:2", r#"{"version":"2"}"#, 7)];
    let stays = Passenger {
        to: None,
        member: false,
        new: None,
        moment: None,
        runs: None,
    };
    assert_eq!(
        closed(&read(
            &Gateway::to_take(&keys(), stays, &[]),
            &quarantine,
            0
        )),
        [""; 0]
    );
    let other = image("sha256:bb", "3");
    let gateway = Gateway::to_take(&keys(), everybody(&other), &[]);
    assert_eq!(closed(&read(&gateway, &quarantine, 0)), [""; 0]);
}

#[test]
fn an_image_without_a_version_may_be_a_quarantined_version_of_unknown_content() {
    let to = image("sha256:aa", "");
    let gateway = Gateway::to_take(&keys(), everybody(&to), &[]);
    let unknown = ("p/quarantine/version:2", r#"{"version":"2"}"#, 7);
    let known = (
        "p/quarantine/version:1",
        r#"{"version":"1","image":"sha256:cc"}"#,
        7,
    );
    assert_eq!(closed(&read(&gateway, &[known], 0)), [""; 0]);
    let gates = read(&gateway, &[known, unknown], 0);
    assert_eq!(gates.closed[0].key, unknown.0);
    assert!(closed(&gates)[0].contains("it may be that one"));
}

#[test]
fn the_own_name_as_the_member_that_is_out_does_not_stop_the_commit() {
    let to = image("sha256:aa", "2");
    let commit = Gateway::to_commit(&keys(), everybody(&to));
    let stored = [
        ("p/member-out", r#"{"id":"me"}"#, 7),
        ("p/pause-all", "{}", 7),
        ("p/quarantine/version:2", r#"{"version":"2"}"#, 7),
    ];
    assert_eq!(
        closed(&read(&commit, &stored, 0)),
        [
            "2 is quarantined: no reason given",
            "the whole cluster is paused by someone unknown"
        ]
    );
}

#[test]
fn member_out_from_before_the_accept_is_shown_with_the_unlock_command() {
    let to = image("", "2");
    let gateway = Gateway::to_take(&keys(), everybody(&to), &[]);
    let stored = [("p/member-out", r#"{"id":"f 0"}"#, 7)];
    assert!(closed(&read(&gateway, &stored, 8))[0].contains("pointsman unlock 'f 0'"));
    assert!(!closed(&read(&gateway, &stored, 7))[0].contains("unlock"));
}

#[test]
fn a_gate_that_is_assumed_open_is_compared_as_open() {
    let to = image("", "2");
    let gateway = Gateway::to_take(&keys(), everybody(&to), &[]);
    let mut gates = read(
        &gateway,
        &[("p/member-out", "{}", 7), ("p/pause-all", "{}", 7)],
        0,
    );
    gates.assume_open("p/member-out");
    assert_eq!(
        closed(&gates),
        ["the whole cluster is paused by someone unknown"]
    );
    let out = KeyRange::One("p/member-out".into());
    let reading = gates
        .readings
        .iter()
        .find(|read| read.range == out)
        .unwrap();
    assert_eq!(reading.found, []);
}

#[test]
fn wave_is_closed_until_every_group_before_has_opened_the_image_and_its_soak_is_over() {
    let to = image("sha256:aa", "2");
    let after = ["canary", ""].map(|name| Group::new(name).unwrap());
    let new = Passenger {
        member: false,
        ..everybody(&to)
    };
    let gateway = Gateway::to_take(&keys(), new, &after);
    let canary = "p/groups/canary";
    let wave = |group: &str, digest: &str| format!("{group}/waves/sha256:{digest}");
    let soak = format!("{canary}/wave-soak/sha256:aa");
    let read = |keys: &[String]| {
        let stored: Vec<_> = keys.iter().map(|key| (key.as_str(), "{}", 7)).collect();
        read(&gateway, &stored, 0)
    };
    let watched = |keys: &[String]| read(keys).closed.first().map(Closed::watched);
    let prefix = |group: &str| Some(KeyRange::Prefix(format!("{group}/waves/")));
    let both = [wave(canary, "aa"), wave("p", "aa")];
    assert_eq!(watched(&[]), prefix(canary));
    assert_eq!(watched(&both[..1]), prefix("p"));
    assert_eq!(watched(&both), None);
    let soaks = [both.to_vec(), vec![soak.clone()]].concat();
    assert_eq!(watched(&soaks), Some(KeyRange::One(soak)));
    assert_eq!(
        closed(&read(&soaks)),
        [
            "the group \"canary\" has proven 2, and the time between the groups has not passed yet (see: pointsman waves)"
        ]
    );
    assert_eq!(
        closed(&read(&both[..1])),
        [
            "the default group, which comes before this one, has not proven 2 on all its nodes yet (see: pointsman waves)"
        ]
    );
    // Of the others, those count that all groups have opened.
    let others = [
        wave(canary, "bb"),
        wave(canary, "cc"),
        wave("p", "bb"),
        wave("p", "aa"),
    ];
    let ClosedBy::Wave(shut) = read(&others).closed.remove(0).by else {
        panic!("it is closed by the wave");
    };
    assert_eq!(shut.open, ["sha256:bb"]);
    // Those that were opened before the one that the node runs are older.
    let gateway = Gateway::to_take(
        &keys(),
        Passenger {
            runs: Some("sha256:cc"),
            ..new
        },
        &after[..1],
    );
    let opened = [("bb", 5), ("cc", 6), ("dd", 7)].map(|(digest, at)| (wave(canary, digest), at));
    let opened = opened.each_ref().map(|(key, at)| (key.as_str(), "{}", *at));
    let ClosedBy::Wave(shut) = self::read(&gateway, &opened, 0).closed.remove(0).by else {
        panic!("it is closed by the wave");
    };
    assert_eq!(shut.open, ["sha256:dd"]);
    // Each key that was read is compared.
    assert_eq!(read(&both).readings.len(), read(&[]).readings.len());
    // No wave keeps a node from an image that was proven here, or from one that nobody can compare.
    for passenger in [
        Passenger { new: None, ..new },
        Passenger { to: None, ..new },
    ] {
        let gateway = Gateway::to_take(&keys(), passenger, &after);
        assert!(
            gateway
                .keys()
                .iter()
                .all(|range| !format!("{range:?}").contains("wave"))
        );
    }
    let commit = Gateway::to_commit(&keys(), new);
    assert!(
        commit
            .keys()
            .iter()
            .all(|range| !format!("{range:?}").contains("wave"))
    );
}

/// At this moment, with windows of the node's own and how long its reboots take, where there are such.
fn moment(now: &str, own: &[(&str, &str)], minutes: Option<u64>) -> Moment {
    let now: jiff::Timestamp = now.parse().unwrap();
    let spec = |(at, length): &(&str, &str)| windows::WindowSpec {
        at: (*at).into(),
        length: (*length).into(),
        ..windows::WindowSpec::default()
    };
    let own: Vec<_> = own.iter().map(spec).collect();
    Moment {
        own: windows::Windows::of(None, &own).unwrap(),
        usual: minutes.map(|minutes| std::time::Duration::from_secs(minutes * 60)),
        now: now.to_zoned(jiff::tz::TimeZone::UTC),
    }
}

#[test]
fn windows_of_the_policy_and_of_the_node_must_both_be_open() {
    let policy = r#"{"windows":[{"at":"02:00","for":"4h","zone":"UTC"}]}"#;
    let outside =
        "outside the reboot window of the group's policy; it opens 2026-12-03 02:00:00 UTC";
    let not_both = "the reboot windows of this node and of the group's policy are not both open; they are from \
                    2026-12-03 05:00:00 UTC";
    for (what, policy, now, own, usual, expected) in [
        ("no policy", "", "12:00", &[][..], None, &[][..]),
        ("no windows", r#"{"soak":"1h"}"#, "12:00", &[], None, &[]),
        ("inside", policy, "02:00", &[], None, &[]),
        ("outside", policy, "06:00", &[], None, &[outside]),
        ("both", policy, "05:30", &[("05:00", "4h")], None, &[]),
        (
            "own only",
            policy,
            "06:30",
            &[("05:00", "4h")],
            None,
            &[not_both],
        ),
        (
            "never both",
            policy,
            "05:00",
            &[("12:00", "4h")],
            None,
            &[
                "the reboot windows of this node and of the group's policy are not both open, and as far as is known they never are",
            ],
        ),
        (
            "past",
            r#"{"windows":[{"at":"2020-01-01 02:00","for":"4h"}]}"#,
            "05:00",
            &[],
            None,
            &["outside the reboot window of the group's policy, and none is to come"],
        ),
        (
            "too little left",
            policy,
            "05:00",
            &[],
            Some(90),
            &[
                "a reboot of this node takes 1h30m, and the reboot window of the group's policy closes \
               2026-12-02 06:00:00 UTC; waiting for the one that opens 2026-12-03 02:00:00 UTC",
            ],
        ),
        // Never both for as long: it does not count.
        (
            "never enough",
            policy,
            "05:30",
            &[("05:00", "4h")],
            Some(90),
            &[],
        ),
        (
            "not valid",
            r#"{"windows":[{"at":"02:00","for":"4h"},{"at":"25:00","for":"4h"}]}"#,
            "02:00",
            &[],
            None,
            &[
                "the group's policy cannot be used: windows: window 2: at: found 25 for the hour, expected 0 to 23; it reads: \
               {\"windows\":[{\"at\":\"02:00\",\"for\":\"4h\"},{\"at\":\"25:00\",\"for\":\"4h\"}]}; see: pointsman policy",
            ],
        ),
    ] {
        let moment = moment(&format!("2026-12-02T{now}:00Z"), own, usual);
        let to = image("sha256:aa", "2");
        let who = Passenger {
            moment: Some(&moment),
            ..everybody(&to)
        };
        let stored = [("p/groups/g/policy", policy, 7)];
        let stored = &stored[..usize::from(!policy.is_empty())];
        for gateway in [
            Gateway::to_take(&keys(), who, &[]),
            Gateway::to_commit(&keys(), who),
        ] {
            assert_eq!(closed(&read(&gateway, stored, 0)), expected, "{what}");
        }
        // A node that soaks is out already.
        assert_eq!(
            closed(&read(&Gateway::to_go_back(&keys(), who), stored, 0)),
            [""; 0]
        );
        // Who does not reboot is kept by no window.
        let who = Passenger {
            moment: None,
            ..who
        };
        let gates = read(&Gateway::to_take(&keys(), who, &[]), stored, 0);
        assert_eq!(gates.closed.is_empty(), what != "not valid", "{what}");
    }
}

#[test]
fn random_delay_of_the_policy_s_windows_is_the_node_s_and_within_bounds() {
    let policy = [windows::WindowSpec {
        random_delay: Some("1h".into()),
        zone: Some("UTC".into()),
        ..serde_json::from_str(r#"{"at":"02:00","for":"4h"}"#).unwrap()
    }];
    let opens = |id: &str| {
        let at_noon = moment("2026-12-02T12:00:00Z", &[], None);
        let own = at_noon.own.clone().on_node(id);
        let Some(windows::Start::Closed { opens }) = (Moment { own, ..at_noon }).decide(&policy)
        else {
            panic!("closed at noon")
        };
        opens.unwrap()
    };
    let mut all: Vec<_> = (0..50).map(|node| opens(&format!("{node:032x}"))).collect();
    let (first, last): (jiff::Timestamp, jiff::Timestamp) = (
        "2026-12-03T02:00:00Z".parse().unwrap(),
        "2026-12-03T03:00:00Z".parse().unwrap(),
    );
    assert!(
        all.iter()
            .all(|at| (first..=last).contains(&at.timestamp()))
    );
    assert_eq!(all[7], opens(&format!("{:032x}", 7)), "always the same");
    all.sort();
    all.dedup();
    assert!(all.len() > 45, "{} different ones of 50", all.len());
}

#[test]
fn closed_windows_keep_a_node_outside_the_queue_behind_a_shut_wave() {
    let to = image("sha256:aa", "2");
    let moment = moment("2026-12-02T12:00:00Z", &[], None);
    let who = Passenger {
        moment: Some(&moment),
        ..everybody(&to)
    };
    let gateway = Gateway::to_take(&keys(), who, &[Group::new("canary").unwrap()]);
    let policy = r#"{"after":["canary"],"windows":[{"at":"02:00","for":"4h","zone":"UTC"}]}"#;
    let gates = read(&gateway, &[("p/groups/g/policy", policy, 7)], 0);
    let kinds: Vec<&ClosedBy> = gates.closed.iter().map(|closed| &closed.by).collect();
    // The wave is seen to also while the windows are closed.
    assert!(
        matches!(kinds[..], [ClosedBy::Wave(_), ClosedBy::Window(_)]),
        "{kinds:?}"
    );
    assert!(
        gates
            .closed
            .iter()
            .all(|closed| closed.by.stops() == Stops::Outside)
    );
    assert_eq!(
        gates.closed[1].watched(),
        KeyRange::One("p/groups/g/policy".into())
    );
}
