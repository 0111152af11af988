use super::*;
use crate::{
    document::Document,
    gates::ClosedBy,
    records::{MemberOut, Pause, Phase},
};

#[test]
fn who_fills_the_lock_is_named_by_host_and_machine_id() {
    const ID: &str = "0123456789abcdef0123456789abcdef";
    let text = format!(r#"{{"max":MAX,"holders":["{ID}","rack"]}}"#);
    let said = |max: &str, host: &str| {
        let waits = step(|view| {
            let text = text.replace("MAX", max);
            view.document = Some((Document::parse(text.as_bytes()), read(7)));
            let names = [(ID, host), ("rack", "desk"), ("gone", "n3")];
            view.host_names = names.map(|(id, host)| (id.into(), host.into())).into();
        });
        waits.to_string()
    };
    // `rack` was locked by a person at `desk`, who chose that name.
    assert_eq!(
        said("1", "n1"),
        format!("first in the queue; the only place is taken by n1 ({ID}), rack")
    );
    assert_eq!(
        said("2", ""),
        format!("first in the queue; all 2 places are taken by {ID}, rack")
    );
}

fn holder(nonce: &str) -> Holder {
    serde_json::from_value(serde_json::json!({"id": "me", "phase": "manual", "nonce": nonce}))
        .unwrap()
}

/// First in the queue, everything open, two of three taken.
fn open() -> View {
    View {
        cluster: 1,
        revision: 9,
        document: Some((
            Document::parse(br#"{"max":3,"holders":["a","b"]}"#),
            read(7),
        )),
        ticket_stood: true,
        ticket: Some(5),
        ..View::default()
    }
}

fn read(modified: i64) -> Stored {
    Stored {
        modified,
        value: b"as it was read".to_vec(),
    }
}

fn pause(all: bool) -> Closed {
    let pause: Pause = serde_json::from_str(r#"{"by":"ann","reason":"tea"}"#).unwrap();
    Closed {
        key: "pause".into(),
        by: ClosedBy::Pause { all, pause },
    }
}

fn member() -> Closed {
    Closed {
        key: "member-out".into(),
        by: ClosedBy::Member {
            out: MemberOut::default(),
            before_accept: false,
        },
    }
}

fn step(change: impl FnOnce(&mut View)) -> Step {
    let mut view = open();
    change(&mut view);
    decide(&view, asker(false))
}

fn asker(by_person: bool) -> Asker<'static> {
    Asker {
        id: "me",
        hostname: "host",
        nonce: "mine",
        by_person,
    }
}

/// Locked by hand, as [`open`] otherwise.
fn by_hand(change: impl FnOnce(&mut View)) -> Step {
    let mut view = open();
    view.holder = Some((holder("other"), read(8)));
    let document = Document::parse(br#"{"max":3,"holders":["a","b","me"]}"#);
    view.document = Some((document, read(8)));
    view.predecessor = Some(("q/x".into(), "h".into()));
    change(&mut view);
    decide(&view, asker(true))
}

#[test]
fn reboot_under_a_lock_by_hand_skips_the_queue() {
    assert!(matches!(by_hand(|_| {}), Step::TakeOver { by_hand, .. } if by_hand.nonce == "other"));
    // But not past what keeps every node, nor over an agent's own hold.
    let all_wait = [
        by_hand(|v| v.gates.closed.push(pause(false))),
        by_hand(|v| v.gates.closed.push(pause(true))),
        by_hand(|v| v.gates.closed.push(member())),
        by_hand(|v| v.holder.as_mut().unwrap().0.phase = Phase::Rebooting),
        by_hand(|v| {
            v.document = Some((Document::parse(br#"{"max":0,"holders":["me"]}"#), read(8)))
        }),
        by_hand(|v| v.document = Some((Document::parse(br#"{"max":3,"holders":["a"]}"#), read(8)))),
        by_hand(|v| v.document = None),
    ];
    for step in all_wait {
        assert!(
            matches!(
                step,
                Step::Blocked(_) | Step::WaitGate(_) | Step::WaitFull { .. }
            ),
            "{step:?}"
        );
    }
    assert_eq!(by_hand(|v| v.ticket = None), Step::Enqueue);
}

#[test]
fn first_in_the_queue_takes_when_all_is_open() {
    let Step::Take {
        document,
        read: from,
    } = step(|_| {})
    else {
        panic!()
    };
    assert_eq!(
        (document.holders.join(","), from),
        ("a,b,me".into(), read(7))
    );
}

#[test]
fn every_block_keeps_the_node_from_taking() {
    assert_eq!(
        step(|v| v.holder = Some((holder("mine"), read(8)))),
        Step::Held
    );
    assert_eq!(
        step(|v| v.holder = Some((holder("other"), read(8)))),
        Step::Blocked(Block::Foreign(holder("other")))
    );
    assert_eq!(step(|v| v.ticket = None), Step::Enqueue);
    assert_eq!(
        step(|v| v.predecessor = Some(("q/x".into(), "h".into()))),
        Step::WaitBehind {
            key: "q/x".into(),
            hostname: "h".into()
        }
    );
    assert_eq!(step(|v| v.document = None), Step::Create);
    let young = |v: &mut View| (v.document, v.ticket_stood) = (None, false);
    assert_eq!(step(young), Step::WaitCreated { seen: false });
    let gone = |v: &mut View| (v.document, v.document_seen) = (None, true);
    assert_eq!(step(gone), Step::WaitCreated { seen: true });
    // Nothing is created under a pause.
    assert_eq!(
        step(|v| {
            v.document = None;
            v.gates.closed.push(pause(false));
        }),
        Step::WaitGate(pause(false))
    );
    assert!(matches!(
        step(|v| v.document = Some((Document::parse(b"x"), read(7)))),
        Step::WaitRepaired(_)
    ));
    assert_eq!(
        step(|v| v.document = Some((Document::parse(br#"{"max":9,"holders":["me"]}"#), read(7)))),
        Step::Blocked(Block::Listed)
    );
    assert!(matches!(
        step(|v| v.document = Some((Ok(Document::new(0)), read(7)))),
        Step::WaitFull { .. }
    ));
    for all in [true, false] {
        assert_eq!(
            step(|v| v.gates.closed.push(pause(all))),
            Step::WaitGate(pause(all))
        );
    }
    let out = Step::Blocked(Block::Gate(member()));
    assert_eq!(step(|v| v.gates.closed.push(member())), out);
    assert_eq!(
        step(|v| {
            v.gates.closed.push(member());
            v.ticket = None;
        }),
        out
    );
    // The other member fills the lock itself: the queue goes on as without members.
    let full = Document::parse(br#"{"max":1,"holders":["a"]}"#);
    assert!(matches!(
        step(|v| {
            v.gates.closed.push(member());
            v.document = Some((full, read(7)));
        }),
        Step::WaitFull { .. }
    ));
    let bad = Closed {
        key: "q/2".into(),
        by: ClosedBy::Quarantine {
            quarantine: serde_json::from_str(r#"{"version":"2"}"#).unwrap(),
            maybe: None,
        },
    };
    let blocked = Step::Blocked(Block::Gate(bad.clone()));
    assert_eq!(step(|v| v.gates.closed.push(bad.clone())), blocked);
    // Who must not go does not stand in the queue, wherever its place is.
    assert_eq!(
        step(|v| {
            v.gates.closed.extend([pause(true), bad.clone()]);
            v.predecessor = Some(("q/x".into(), "h".into()));
        }),
        blocked
    );
}

#[test]
fn paused_node_still_takes_its_ticket() {
    assert_eq!(
        step(|v| {
            v.gates.closed.push(pause(false));
            v.ticket = None;
        }),
        Step::Enqueue
    );
}

#[test]
fn every_block_is_named_in_its_sentence() {
    let mut other = holder("x");
    other.hostname = "twin".into();
    other.phase = Phase::Draining;
    let text = Step::Blocked(Block::Foreign(other.clone())).to_string();
    assert!(
        text.contains("twin") && text.contains("draining") && text.contains("unlock me"),
        "{text}"
    );
    let mut hand = holder("x");
    hand.reason = Some("disk".into());
    hand.since = Some("2026-11-30T02:35:00Z".parse().unwrap());
    let text = Step::Blocked(Block::Foreign(hand)).to_string();
    assert_eq!(
        text,
        "this node is locked by hand since 2026-11-30 02:35:00 UTC: disk; to unlock it: pointsman unlock me"
    );
    let mut away = holder("x");
    away.phase = Phase::Rebooting;
    assert!(unlock(&away).ends_with("unlock me --force"));
    // Its key may say anything, and what is to be copied is one word.
    other.id = "x; touch pwned #".into();
    let text = Block::Foreign(other).to_string();
    assert!(
        text.ends_with("pointsman unlock 'x; touch pwned #'"),
        "{text}"
    );
    let text = step(|v| v.gates.closed.push(pause(false))).to_string();
    assert!(text.contains("ann") && text.contains("tea"), "{text}");
    let text = step(|v| {
        v.document = Some((
            Document::parse(br#"{"max":2,"holders":["a","b"]}"#),
            read(7),
        ))
    })
    .to_string();
    assert!(text.ends_with("all 2 places are taken by a, b"), "{text}");
}
