use serde_json::{Value, json};

use super::*;
use crate::{
    keys::Keys,
    stored::{Found, KeyRange, Reading, Stored},
};

fn holder(id: &str, more: Value) -> Holder {
    let mut fields = json!({"id": id, "hostname": format!("host-{id}"), "phase": "rebooting",
        "since": "2026-11-30T02:34:33Z"});
    if let (Value::Object(fields), Value::Object(more)) = (&mut fields, more) {
        fields.extend(more);
    }
    serde_json::from_value(fields).unwrap()
}

fn pollers(id: &str) -> Holder {
    holder(id, json!({"via": "fleet-lock"}))
}

fn document(max: u32, holders: &[&str]) -> Result<Document, DocumentError> {
    Ok(Document::held_by(
        max,
        holders.iter().map(|&id| id.to_owned()),
    ))
}

fn paused() -> Gates {
    let pause = serde_json::from_value(
        json!({"by": "ann@desk", "reason": "move", "since": "2026-11-30T02:00:00Z", "until": "2026-11-30T14:00:00Z"}),
    );
    let by = ClosedBy::Pause {
        all: false,
        pause: pause.unwrap(),
    };
    Gates {
        closed: vec![Closed {
            key: "p/pause".into(),
            by,
        }],
        readings: Vec::new(),
    }
}

struct World {
    document: Option<Result<Document, DocumentError>>,
    holders: Vec<Holder>,
    first: Option<Ticket>,
    gates: Gates,
    policy: Option<Value>,
    members: u64,
}

impl World {
    fn new(max: u32, holders: &[&str], entries: Vec<Holder>) -> Self {
        Self {
            document: Some(document(max, holders)),
            holders: entries,
            first: None,
            gates: Gates::default(),
            policy: None,
            members: 0,
        }
    }

    fn decide(&self, id: &str) -> Decision {
        let policy = self.policy.as_ref().map(|policy| policy.to_string());
        let policy = policy.as_deref().map(str::as_bytes);
        decide(Sight {
            id,
            group: &Group::new("web").unwrap(),
            document: self.document.as_ref(),
            entry: self.holders.iter().find(|held| held.id == id),
            holders: &self.holders,
            first: self.first.as_ref(),
            gates: &self.gates,
            policy,
            percentage: policy
                .and_then(crate::policy::percentage_in)
                .map(|percent| (percent, self.members)),
        })
    }

    fn refused(&self, id: &str) -> (&'static str, String) {
        match self.decide(id) {
            Decision::Refuse(refusal) => (refusal.kind(), refusal.to_string()),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_free_place_is_taken_and_one_that_is_held_stays() {
    let world = World::new(2, &["b"], vec![pollers("b")]);
    let Decision::Take(next) = world.decide("a") else {
        panic!("a takes");
    };
    assert_eq!(next.holders, ["a", "b"]);
    assert_eq!(world.decide("b"), Decision::Held);
    // Nothing refuses a place that the client has: it may be going down.
    let mut paused_world = World::new(0, &["b"], vec![pollers("b")]);
    paused_world.gates = paused();
    paused_world.document = Some(document(0, &["b"]));
    assert_eq!(paused_world.decide("b"), Decision::Held);
    // An entry that no document names is no place.
    let world = World::new(1, &[], vec![pollers("b")]);
    assert!(matches!(world.decide("b"), Decision::Take(_)));
}

#[test]
fn every_refusal_has_its_kind_and_says_who_and_since_when() {
    let full = World::new(1, &["b"], vec![pollers("b")]);
    assert_eq!(
        full.refused("a"),
        (
            "semaphore_full",
            "the only place is taken by host-b (b), rebooting by fleet-lock since 2026-11-30 02:34:33 UTC".into()
        )
    );
    let foreign = World::new(2, &["b", "c"], vec![holder("c", json!({}))]);
    assert_eq!(
        foreign.refused("a"),
        (
            "semaphore_full",
            "all 2 places are taken by b (taken by another tool); host-c (c), rebooting since 2026-11-30 02:34:33 UTC".into()
        )
    );
    let soak = json!({"phase": "soaking", "soaks_until": "2026-11-30T03:34:33Z"});
    let soaking = World::new(1, &["b"], vec![holder("b", soak)]);
    assert_eq!(
        soaking.refused("a"),
        (
            "soaking",
            "the only place is taken by host-b (b), soaking since 2026-11-30 02:34:33 UTC until 2026-11-30 03:34:33 UTC".into()
        )
    );
    let by_hand = json!({"phase": "manual", "reason": "disk change"});
    let by_hand = World::new(1, &["b"], vec![holder("b", by_hand)]);
    assert_eq!(
        by_hand.refused("a"),
        (
            "semaphore_full",
            "the only place is taken by host-b (b), manual since 2026-11-30 02:34:33 UTC (disk change)".into()
        )
    );
    let stopped = World::new(0, &[], Vec::new());
    assert_eq!(
        stopped.refused("a"),
        ("semaphore_full", "the group is stopped (max is 0)".into())
    );
    let mut queue = World::new(1, &[], Vec::new());
    let ticket = json!({"id": "q", "hostname": "waiter", "since": "2026-11-30T02:34:33Z"});
    queue.first = Some(serde_json::from_value(ticket).unwrap());
    assert_eq!(
        queue.refused("a"),
        (
            "queue_ahead",
            "an agent waits for the reboot lock: waiter (q) since 2026-11-30 02:34:33 UTC".into()
        )
    );
    let mut pause = World::new(1, &["b"], vec![pollers("b")]);
    pause.gates = paused();
    assert_eq!(
        pause.refused("a"),
        (
            "paused",
            "the group is paused by ann@desk: move (since 2026-11-30 02:00:00 UTC, until 2026-11-30 14:00:00 UTC)".into()
        )
    );
    let mut after = World::new(1, &[], Vec::new());
    after.policy = Some(json!({"after": ["canary"]}));
    let (kind, value) = after.refused("a");
    assert!(
        kind == "needs_agent" && value.contains("(canary)"),
        "{value}"
    );
    let mut none = World::new(1, &[], Vec::new());
    none.document = None;
    let (kind, value) = none.refused("a");
    assert!(
        kind == "semaphore_missing"
            && value
                == "the group web has no semaphore document; to create it, where N nodes may be out of service at the same time: pointsman set-max N --group web",
        "{value}"
    );
    none.document = Some(Document::parse(b"{"));
    let (kind, value) = none.refused("a");
    assert!(
        kind == "semaphore_unusable"
            && value.ends_with("pointsman set-max N --rebuild --group web"),
        "{value}"
    );
}

#[test]
fn what_an_agent_or_a_person_holds_is_not_the_clients() {
    for more in [
        json!({"phase": "draining"}),
        json!({"phase": "manual", "reason": "disk"}),
        // Another protocol, and one that says nothing.
        json!({"via": "carrier-pigeon"}),
        json!({"via": null}),
    ] {
        let entry = holder("a", more);
        assert!(!may_release(Some(&entry)), "{entry:?}");
        let world = World::new(2, &["a"], vec![entry]);
        let (kind, value) = world.refused("a");
        assert!(
            kind == "id_in_use" && value.contains("host-a (a)"),
            "{value}"
        );
    }
    let listed = World::new(2, &["a"], Vec::new());
    assert_eq!(listed.refused("a").0, "id_in_use");
    assert!(!may_release(None));
    assert!(may_release(Some(&pollers("a"))));
}

#[test]
fn a_percentage_of_the_members_decides() {
    let mut world = World::new(1, &["b"], vec![pollers("b")]);
    world.document = Some(Document::parse(
        br#"{"semaphore":0,"max":1,"holders":["b"],"percent_max":1}"#,
    ));
    world.policy = Some(json!({"max_percent": 20}));
    world.members = 10;
    let Decision::Take(next) = world.decide("a") else {
        panic!("2 of 10 may be out");
    };
    assert_eq!((next.max, next.percent_max), (2, Some(2)));
    world.members = 9;
    assert_eq!(world.refused("a").0, "semaphore_full");
}

/// The gates that are read for a client are the pauses, and the policy with its windows.
#[test]
fn closed_windows_and_policies_that_cannot_be_read_refuse() {
    use crate::gates::{Gateway, Moment, Passenger};
    let keys = Keys::new("p", Group::default());
    let moment = Moment {
        own: windows::Windows::default(),
        usual: None,
        now: "2026-11-30T12:00:00[UTC]".parse().unwrap(),
    };
    let gateway = Gateway::to_take(
        &keys,
        Passenger {
            to: None,
            member: false,
            new: None,
            moment: Some(&moment),
            runs: None,
        },
        &[],
    );
    let read = |policy: &str| {
        let found = |range: &KeyRange| match range {
            KeyRange::One(key) if *key == keys.policy() => vec![Found {
                key: key.clone(),
                stored: Stored {
                    modified: 1,
                    value: policy.into(),
                },
            }],
            _ => Vec::new(),
        };
        let mut world = World::new(1, &[], Vec::new());
        world.gates = gateway.read(gateway.keys().iter().map(found), 0);
        let read = |reading: &&Reading| !reading.found.is_empty();
        assert_eq!(world.gates.readings.iter().filter(read).count(), 1);
        world
    };
    let closed = read(r#"{"windows":[{"at":"02:00","for":"2h"}]}"#).refused("a");
    assert_eq!(
        closed,
        (
            "window_closed",
            "outside the reboot window of the group's policy; it opens 2026-12-01 02:00:00 UTC"
                .into()
        )
    );
    let open = read(r#"{"windows":[{"at":"11:00","for":"2h"}]}"#);
    assert!(matches!(open.decide("a"), Decision::Take(_)));
    let (kind, _) = read(r#"{"levitate":true}"#).refused("a");
    assert_eq!(kind, "policy_unusable");
}

#[test]
fn clients_have_keys_of_their_own() {
    for plain in ["a", "978a225b3d7b40e9acd7ce9b62f68444", "node-1.example:9"] {
        assert_eq!(key_id(plain), plain);
    }
    let long = "x".repeat(129);
    let hashed = [
        "a/b",
        "../semaphore",
        "ü",
        " ",
        "a\nb",
        "fleet-lock:a",
        &long,
    ];
    let mut seen = std::collections::BTreeSet::new();
    for id in hashed {
        let key = key_id(id);
        assert!(
            key.starts_with("fleet-lock:") && check_id(&key).is_ok(),
            "{key}"
        );
        assert!(seen.insert(key), "{id}");
    }
    // Nobody takes the key of another client by giving it as an id.
    assert_ne!(key_id(&key_id("a/b")), key_id("a/b"));
    assert_ne!(key_id("A"), key_id("a"));
}
