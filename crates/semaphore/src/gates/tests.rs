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
