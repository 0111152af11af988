use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const LOST: Lost = Lost {
    grace: Duration::from_secs(60),
    budget: 1,
};

/// An entry by its fields; without others it is one that may be passed over.
fn entry(id: &str, more: &Value) -> Entry {
    let mut fields = json!({
        "id": id, "nonce": format!("nonce-{id}"), "phase": "rebooting", "deadline": 1800, "grace": 60,
        "from": {"image": "sha256:1"}, "to": {"image": "sha256:2", "version": "2"},
    });
    for (name, value) in more.as_object().unwrap() {
        match value {
            Value::Null => drop(fields.as_object_mut().unwrap().remove(name)),
            value => fields[name] = value.clone(),
        }
    }
    Entry {
        id: id.to_owned(),
        holder: serde_json::from_value(fields).unwrap(),
        stored: Stored {
            modified: 100,
            value: Vec::new(),
        },
        expired: true,
    }
}

fn document(max: u32, ids: &[&str]) -> Document {
    Document::held_by(max, ids.iter().map(|id| (*id).to_owned()))
}

fn sight<'a>(document: &'a Document, holders: &'a [Entry]) -> Sight<'a> {
    Sight {
        document,
        holders,
        lost: 0,
        policy: LOST,
        keeps: Keeps::default(),
    }
}

/// Who is passed over, and the version that is suspected.
fn passed(sight: Sight<'_>) -> Result<(String, Option<String>), Wait> {
    match decide(sight) {
        Decision::PassOver(it) => Ok((it.entry.id, it.suspect.map(|image| image.name()))),
        Decision::Wait(why) => Err(why),
    }
}

#[test]
fn only_an_expired_holder_with_a_grace_is_passed_over() {
    let image = Some("2".to_owned());
    let cases: [(Value, Result<Option<String>, Wait>); 20] = [
        (json!({}), Ok(image.clone())),
        (json!({"phase": "proving"}), Ok(image)),
        // It never went.
        (json!({"phase": "draining"}), Ok(None)),
        // It went to what it had run.
        (
            json!({"to": {"image": "sha256:1", "version": "1"}}),
            Ok(None),
        ),
        (json!({"to": {}}), Ok(None)),
        (json!({"to": {"version": "3"}}), Ok(Some("3".into()))),
        // Taken before the policy, or by an older agent.
        (json!({"grace": null}), Err(Wait::Nobody)),
        (json!({"grace": 0}), Err(Wait::Nobody)),
        (json!({"deadline": null}), Err(Wait::Nobody)),
        (json!({"phase": "manual"}), Err(Wait::Nobody)),
        // Under a lock by hand.
        (
            json!({"by_hand": {"id": "a", "phase": "manual"}}),
            Err(Wait::Nobody),
        ),
        (json!({"phase": "soaking"}), Err(Wait::Nobody)),
        // Of a newer program.
        (json!({"phase": "levitating"}), Err(Wait::Nobody)),
        (json!({"via": "fleet-lock"}), Err(Wait::Nobody)),
        (json!({"via": null}), Ok(Some("2".into()))),
        (json!({"via": 7}), Err(Wait::Nobody)),
        // A member of etcd, by its id and by its nonce.
        (json!({"hostname": "by id"}), Err(Wait::Nobody)),
        (
            json!({"hostname": "by nonce", "nonce": "member"}),
            Err(Wait::Nobody),
        ),
        // Its grace has not passed.
        (json!({"hostname": "in time"}), Err(Wait::Nobody)),
        (json!({"hostname": "before the accept"}), Err(Wait::Nobody)),
    ];
    let document = document(1, &["a"]);
    for (fields, expected) in cases {
        let mut entry = entry("a", &fields);
        let special = entry.holder.hostname.clone();
        entry.expired = special != "in time";
        let out = MemberOut {
            id: if special == "by id" { "a" } else { "other" }.into(),
            nonce: "member".into(),
            ..MemberOut::default()
        };
        let holders = [entry];
        let mut sight = sight(&document, &holders);
        sight.keeps.member_out = Some(&out);
        sight.keeps.accepted = if special == "before the accept" {
            101
        } else {
            100
        };
        let found = passed(sight).map(|(_, suspect)| suspect);
        assert_eq!(found, expected, "{fields}");
    }
}

#[test]
fn member_out_without_a_nonce_is_nobody_else() {
    let document = document(1, &["a"]);
    let holders = [entry("a", &json!({"nonce": ""}))];
    let out = MemberOut::default();
    let mut sight = sight(&document, &holders);
    sight.keeps.member_out = Some(&out);
    assert!(passed(sight).is_ok());
}

#[test]
fn nobody_is_passed_over_where_that_makes_no_room() {
    let with = |budget, max, ids: &[&str]| {
        let holders: Vec<Entry> = ids.iter().map(|id| entry(id, &json!({}))).collect();
        let document = document(max, ids);
        let sight = Sight {
            policy: Lost { budget, ..LOST },
            ..sight(&document, &holders)
        };
        passed(sight).map(|(id, _)| id)
    };
    let of = |max, ids: &[&str]| with(1, max, ids);
    assert_eq!(of(1, &["a"]), Ok("a".into()));
    assert_eq!(of(2, &["a", "b"]), Ok("a".into()));
    assert_eq!(of(2, &["a"]), Err(Wait::NoRoom), "there is room");
    assert_eq!(of(0, &["a"]), Err(Wait::NoRoom), "the group is stopped");
    assert_eq!(of(0, &[]), Err(Wait::NoRoom));
    // More hold than may: two must go for one to take.
    assert_eq!(of(1, &["a", "b"]), Err(Wait::OverBudget));
    assert_eq!(with(2, 1, &["a", "b"]), Ok("a".into()));
    let holders = [entry("a", &json!({})), entry("b", &json!({"grace": null}))];
    let more = document(1, &["a", "b"]);
    assert_eq!(passed(sight(&more, &holders)), Err(Wait::Nobody), "in vain");
}

#[test]
fn budget_is_how_many_are_lost_at_a_time() {
    let document = document(1, &["a"]);
    let holders = [entry("a", &json!({}))];
    for (budget, lost, expected) in [
        (1, 0, true),
        (1, 1, false),
        (2, 1, true),
        (2, 2, false),
        (2, 7, false),
    ] {
        let policy = Lost { budget, ..LOST };
        let sight = Sight {
            lost,
            policy,
            ..sight(&document, &holders)
        };
        assert_eq!(passed(sight).is_ok(), expected, "{lost} of {budget}");
    }
}

#[test]
fn leftover_and_foreign_holders_are_not_passed_over() {
    let holders = [entry("leftover", &json!({}))];
    let named = document(1, &["foreign"]);
    assert_eq!(passed(sight(&named, &holders)), Err(Wait::Nobody));
}

#[test]
fn of_several_the_one_that_has_stood_longest_is_passed_over() {
    let document = document(3, &["a", "b", "c"]);
    let mut holders = ["a", "b", "c"].map(|id| entry(id, &json!({})));
    holders[0].stored.modified = 120;
    holders[2].stored.modified = 110;
    holders[1].stored.modified = 110;
    let (id, _) = passed(sight(&document, &holders)).unwrap();
    assert_eq!(id, "b");
    holders[1].expired = false;
    let (id, _) = passed(sight(&document, &holders)).unwrap();
    assert_eq!(id, "c");
}

#[test]
fn why_a_holder_is_kept_is_said_as_status_shows_it() {
    for (fields, says) in [
        (json!({"phase": "manual"}), "it is locked by hand"),
        (
            json!({"via": "fleet-lock"}),
            "it took the lock by fleet-lock",
        ),
        (json!({"phase": "soaking"}), "its phase is soaking"),
        (json!({"grace": null}), "or with an older agent"),
    ] {
        let entry = entry("a", &fields);
        let kept = grace("a", &entry.holder, 100, Keeps::default()).unwrap_err();
        assert!(kept.to_string().contains(says), "{kept}");
    }
}

/// What can happen to one node of a group.
#[derive(Debug, Clone, Copy)]
enum Happens {
    /// It takes, as an agent with this grace (0: under no policy), where there is room.
    Take(u64),
    /// It goes on to its reboot, or a step further.
    Goes,
    /// Its grace passes.
    Expires,
    /// The first in the queue looks for whom to pass over.
    Look,
    /// It comes back: releases what it holds, or is counted as lost no more.
    Returns,
    /// A person locks it by hand.
    Lock,
    /// A person sets `max`.
    SetMax(u32),
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        4 => prop_oneof![Just(0), Just(60)].prop_map(Happens::Take),
        2 => Just(Happens::Goes),
        4 => Just(Happens::Expires),
        5 => Just(Happens::Look),
        2 => Just(Happens::Returns),
        1 => Just(Happens::Lock),
        1 => (0u32..4).prop_map(Happens::SetMax),
    ]
}

proptest! {
    #[test]
    fn no_more_than_max_and_budget_are_out(
        budget in 1u32..3,
        steps in prop::collection::vec((happens(), 0usize..6), 0..80),
    ) {
        let ids = ["a", "b", "c", "d", "e", "f"];
        let (mut group, mut highest) = (document(2, &[]), 2);
        let mut holders: BTreeMap<&str, Entry> = BTreeMap::new();
        let mut lost: Vec<&str> = Vec::new();
        for (step, node) in steps {
            let id = ids[node];
            match step {
                Happens::Take(_) | Happens::Lock => {
                    let taken = group.with(id);
                    if let Ok(next) = taken {
                        let fields = match step {
                            Happens::Take(grace) => json!({"phase": "draining", "grace": grace}),
                            _ => json!({"phase": "manual", "grace": null, "deadline": null}),
                        };
                        group = next;
                        holders.insert(id, Entry { expired: false, ..entry(id, &fields) });
                        lost.retain(|one| *one != id);
                    }
                }
                Happens::Goes => {
                    if let Some(entry) = holders.get_mut(id) {
                        entry.holder.phase = match entry.holder.phase {
                            Phase::Draining => Phase::Rebooting,
                            Phase::Rebooting => Phase::Proving,
                            Phase::Proving => Phase::Other("soaking".into()),
                            ref other => other.clone(),
                        };
                    }
                }
                Happens::Expires => {
                    if let Some(entry) = holders.get_mut(id) {
                        entry.expired = true;
                    }
                }
                Happens::Look => {
                    let before = lost.len();
                    loop {
                        let entries: Vec<Entry> = holders.values().cloned().collect();
                        let Decision::PassOver(it) = decide(Sight {
                            document: &group,
                            holders: &entries,
                            lost: lost.len() as u64,
                            policy: Lost { budget, ..LOST },
                            keeps: Keeps::default(),
                        }) else {
                            break;
                        };
                        let holder = &it.entry.holder;
                        prop_assert!(it.entry.expired && holder.grace == Some(60));
                        prop_assert!(matches!(
                            holder.phase,
                            Phase::Draining | Phase::Rebooting | Phase::Proving
                        ));
                        let went = holder.phase != Phase::Draining;
                        prop_assert_eq!(it.suspect.is_some(), went);
                        group = group.without(&it.entry.id);
                        let (id, _) = holders.remove_entry(it.entry.id.as_str()).unwrap();
                        lost.push(id);
                    }
                    let in_vain = lost.len() > before && group.available() != 1;
                    prop_assert!(!in_vain, "the first has its place");
                }
                Happens::Returns => {
                    lost.retain(|one| *one != id);
                    if holders.get(id).is_some_and(|entry| entry.holder.phase != Phase::Manual) {
                        holders.remove(id);
                        group = group.without(id);
                    }
                }
                Happens::SetMax(max) => {
                    group = group.with_max(max);
                    highest = highest.max(max);
                }
            }
            prop_assert!(lost.len() <= budget as usize);
            let out = group.holders.len() + lost.len();
            prop_assert!(out <= (highest + budget) as usize, "{} are out", out);
        }
    }
}
