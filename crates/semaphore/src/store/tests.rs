use proptest::prelude::*;

use super::*;

fn marks(cluster: u64, revision: i64, difference: impl Into<Option<i64>>) -> Marks {
    Marks {
        cluster,
        revision,
        difference: difference.into(),
    }
}

fn reply(cluster: u64, revision: i64, difference: impl Into<Option<(i64, i64)>>) -> Reply {
    Reply {
        cluster,
        revision,
        difference: difference.into(),
    }
}

#[test]
fn signs_of_another_store_are_told_from_harmless_changes() {
    let was = marks(7, 100, -20);
    let signs = [
        (reply(8, 100, None), Some(Sign::Cluster { was: 7, is: 8 })),
        (
            reply(8, 500, (-30, -30)),
            Some(Sign::Cluster { was: 7, is: 8 }),
        ),
        (
            reply(7, 99, None),
            Some(Sign::Revision { was: 100, is: 99 }),
        ),
        (
            reply(7, 1, (-30, -30)),
            Some(Sign::Revision { was: 100, is: 1 }),
        ),
        // Overtaken, or lifted.
        (
            reply(7, 101, (90, 90)),
            Some(Sign::Log { was: -20, is: 90 }),
        ),
        (
            reply(7, 1_000_000_000, (999_999_000, 999_999_010)),
            Some(Sign::Log {
                was: -20,
                is: 999_999_000,
            }),
        ),
        // The same store, later.
        (reply(7, 100, None), None),
        (reply(7, 100, (-20, -20)), None),
        (reply(7, 180, (-40, -21)), None),
        // Under load: the member had committed more when it was asked again.
        (reply(7, 180, (-300, -19)), None),
        (reply(7, 180, (-20 + SLACK, 0)), None),
        // Who does not say which store it is says nothing.
        (reply(0, 1, (500, 500)), None),
    ];
    for (reply, sign) in signs {
        assert_eq!(was.judge(&reply), sign, "{reply:?}");
    }
    let blind = marks(7, 100, None);
    assert_eq!(blind.judge(&reply(7, 101, (90, 90))), None);
    assert_eq!(Remembered::default().judge(&reply(9, 1, (90, 90))), None);
}

#[test]
fn hold_lost_in_a_restore_is_told_from_a_released_one() {
    let remembered = Remembered {
        taken: Some(Taken {
            nonce: "mine".into(),
            revision: 50,
        }),
        ..Remembered::default()
    };
    let sign = Some(Sign::Hold {
        taken: 50,
        document: 40,
    });
    for (nonce, document, expected) in [
        ("mine", Some(40), sign),
        ("mine", Some(50), None),
        ("mine", Some(51), None),
        ("mine", None, None),
        ("another", Some(40), None),
    ] {
        assert_eq!(remembered.hold_gone(nonce, document), expected);
    }
}

#[test]
fn accept_forgets_all_but_tokens_and_known_documents() {
    let mut remembered = Remembered {
        marks: Some(marks(7, 100, -20)),
        tokens: ["old".to_owned()].into(),
        token: Some("old".into()),
        documents: ["p/semaphore".to_owned()].into(),
        member: Some("p/members/n".into()),
        taken: Some(Taken {
            nonce: "n".into(),
            revision: 90,
        }),
        record: Some(OwnRecord {
            boots: vec!["boot".into()],
            revision: 91,
        }),
        known: Known {
            max: Some(3),
            ..Known::default()
        },
    };
    remembered.accept("new", &reply(8, 5, (-1, 0)));
    let expected = Remembered {
        marks: Some(marks(8, 5, 0)),
        tokens: ["old".to_owned(), "new".to_owned()].into(),
        token: Some("new".into()),
        documents: ["p/semaphore".to_owned()].into(),
        ..Remembered::default()
    };
    assert_eq!(remembered, expected);
    // An answer of the store before, which comes late.
    remembered.note(&reply(7, 101, None));
    assert_eq!(remembered, expected);
}

#[test]
fn restored_or_missing_accept_is_told_from_a_new_one() {
    let accepted = |token: &str, marks: Option<Marks>| -> Accepted {
        let mut accepted: Accepted = serde_json::from_str("{}").unwrap();
        (accepted.token, accepted.marks) = (token.into(), marks);
        accepted
    };
    let mut remembered = Remembered::default();
    let now = reply(7, 50, (0, 0));
    let of_now = Some(marks(7, 40, 5));
    // Who has seen nothing takes a store by its own word.
    assert_eq!(remembered.judge_accept(None, &now), None);
    assert_eq!(
        remembered.judge_accept(Some(&accepted("a", of_now)), &now),
        None
    );
    let lifted = Some(marks(7, 40, -50));
    let sign = Some(Sign::Log { was: -50, is: 0 });
    assert_eq!(
        remembered.judge_accept(Some(&accepted("a", lifted)), &now),
        sign
    );
    remembered.note_token("a");
    remembered.note_token("b");
    let told = |token: Option<&str>| {
        let accepted = token.map(|token| accepted(token, None));
        remembered.judge_accept(accepted.as_ref(), &now)
    };
    assert_eq!(told(Some("b")), None);
    assert_eq!(told(Some("c")), None);
    assert_eq!(told(Some("a")), Some(Sign::Accept));
    assert_eq!(told(None), Some(Sign::Accept));
}

#[test]
fn marks_are_read_back_from_the_journal() {
    let remembered = Remembered {
        marks: Some(marks(0xcdf8_18d5_7a7d_2b11, 100, -20)),
        ..Remembered::default()
    };
    let text = serde_json::to_string(&remembered).unwrap();
    assert_eq!(
        text,
        r#"{"marks":{"cluster":"cdf818d57a7d2b11","revision":100,"difference":-20}}"#
    );
    assert_eq!(
        serde_json::from_str::<Remembered>(&text).unwrap(),
        remembered
    );
}

/// A store's life: raft entries, each of which raises the revision or does not.
#[derive(Debug, Clone)]
struct Life {
    /// The revision after each entry; the first is that at the begin.
    revisions: Vec<i64>,
}

impl Life {
    fn new(begin: i64, writes: &[bool]) -> Self {
        let mut revisions = vec![begin];
        for &write in writes {
            revisions.push(revisions[revisions.len() - 1] + i64::from(write));
        }
        Self { revisions }
    }

    /// What a member answers that has applied `applied` entries; before that `before` were committed, and after it `after`.
    fn reply(&self, before: usize, applied: usize, after: usize) -> Reply {
        let revision = self.revisions[applied];
        let less = |index: usize| revision - i64::try_from(index).unwrap();
        Reply {
            cluster: 7,
            revision,
            difference: Some((less(after), less(before))),
        }
    }
}

/// A life, and looks at it in the order in which they are made: by how much each part of a look comes after the one before.
fn lives() -> impl Strategy<Value = (Life, Vec<(usize, usize, usize)>)> {
    let writes = prop::collection::vec(any::<bool>(), 1..200);
    let steps = prop::collection::vec((0usize..9, 0usize..9, 0usize..9), 1..20);
    (writes, steps).prop_map(|(writes, steps)| {
        let last = writes.len();
        let mut at = 0;
        let looks = steps.iter().map(|&(a, b, c)| {
            // The next look may begin before what this one's last status knew is applied everywhere.
            let before = (at + a).min(last);
            let applied = (before + b).min(last);
            at = applied;
            (before, applied, (applied + c).min(last))
        });
        let looks = looks.collect();
        (Life::new(1, &writes), looks)
    })
}

proptest! {
    #[test]
    fn unchanged_store_raises_no_alarm((life, looks) in lives()) {
        let mut remembered = Remembered::default();
        for (before, applied, after) in looks {
            let reply = life.reply(before, applied, after);
            prop_assert_eq!(remembered.judge(&reply), None);
            remembered.note(&reply);
        }
    }

    #[test]
    fn a_member_whose_status_lags_raises_no_alarm((life, looks) in lives(), lag in 0usize..50) {
        // Before the read it may know of fewer commits than others do; after it, it knows of all that it has applied.
        let mut remembered = Remembered::default();
        for (i, (before, applied, after)) in looks.into_iter().enumerate() {
            let before = if i % 2 == 0 { before.saturating_sub(lag) } else { before };
            let reply = life.reply(before, applied, after);
            prop_assert_eq!(remembered.judge(&reply), None);
            remembered.note(&reply);
        }
    }

    #[test]
    fn restored_store_is_detected_after_any_writes(
        writes in prop::collection::vec(any::<bool>(), 20..200),
        cut in 0usize..20,
        since in prop::collection::vec(any::<bool>(), 0..400),
        lifted in prop_oneof![Just(0i64), Just(1_000_000_000)],
        marks_difference in any::<bool>(),
    ) {
        let life = Life::new(1, &writes);
        let last = writes.len();
        let mut remembered = Remembered::default();
        remembered.note(&life.reply(last, last, last));
        // Restored: the revision goes on from the snapshot's, and the log begins again.
        let snapshot = life.revisions[last - cut];
        let restored = Life::new(snapshot + lifted, &since);
        let at = since.len();
        let mut reply = restored.reply(at, at, at);
        let went_back = reply.revision < life.revisions[last];
        let jumped = reply.difference.unwrap().0 > remembered.marks.unwrap().difference.unwrap() + SLACK;
        if !marks_difference {
            reply.difference = None;
        }
        prop_assert_eq!(remembered.judge(&reply).is_some(), went_back || (jumped && marks_difference));
        // As long as not a multiple of what there was has been written since, the log tells.
        if since.len() + 5 < last {
            prop_assert!(went_back || jumped, "{} {:?}", last, reply);
        }
    }
}
