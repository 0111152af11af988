use std::io;

use host::node::Root;
use jiff::{Timestamp, tz::TimeZone};
use windows::{Window, Windows};

use super::*;
use crate::agent::{
    journal::{self, Claim, JournalFault},
    situation::{Asked, Logins},
};

/// What a case changes of a node that may go.
#[derive(Clone)]
struct Case {
    rules: Rules,
    facts: Facts,
    journal: Result<Journal, JournalError>,
    intent: Option<Intent>,
    quarantined: Option<FoundHere>,
    restaged: Option<Restaged>,
    hold_off: Option<(Duration, Failure)>,
    grace_ends: Option<Duration>,
}

/// A sentence, and the change of the node after which it is said.
type Said = (&'static str, fn(&mut Case));

const MINUTE: Duration = Duration::from_secs(60);

fn image(version: &str) -> ImageId {
    ImageId {
        digest: None,
        version: Some(version.into()),
    }
}

/// A quarantine of version 2; perhaps this image is that.
fn found_here(maybe: Option<ImageId>) -> FoundHere {
    FoundHere {
        what: image("2"),
        reason: "no network".into(),
        maybe,
    }
}

/// One minute after the start of the agent; a Thursday, 00:00 UTC.
fn now() -> Now {
    Now {
        wall: Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC),
        monotonic: MINUTE,
        since_boot: std::time::Duration::ZERO,
        random: 7,
    }
}

/// A window by locksmith's pair.
fn pair(start: &str, length: &str) -> Windows {
    Windows::of(Some(Window::parse(start, length).unwrap()), &[]).unwrap()
}

fn open() -> Case {
    Case {
        rules: Rules {
            strategy: Strategy::EtcdLock,
            windows: Windows::default(),
            login_grace: 5 * MINUTE,
            shutdown_timeout: MINUTE,
            quarantine_reset: MINUTE,
            restage_after: None,
            retry: MINUTE,
        },
        facts: Facts {
            update: Update::Staged(image("2")),
            next: Ok(Some(image("2"))),
            logind: Ok(Logins::default()),
            asked: Asked::default(),
        },
        journal: Ok(Journal::default()),
        intent: Some(Intent {
            reason: "update to 2".into(),
            to: image("2"),
            by_person: false,
            new_image: false,
            urgent: false,
        }),
        quarantined: None,
        restaged: None,
        hold_off: None,
        grace_ends: None,
    }
}

fn entry(version: &str, by_hand: bool) -> Entry {
    let claim = format!(
        r#"{{"nonce":"n","id":"i","keys":{{"prefix":"p","group":""}},"by_hand":{by_hand}}}"#
    );
    Entry {
        stage: journal::Stage::Queued,
        boot_id: "boot".into(),
        claim: Some(Claim::Etcd(serde_json::from_str(&claim).unwrap())),
        intent: Intent {
            to: image(version),
            ..open().intent.unwrap()
        },
        from: image("1"),
        drain_began: None,
        way_back: false,
    }
}

/// What the gates say after this change, before the queue and of a reboot under way.
fn decided(change: impl Fn(&mut Case)) -> [Gate; 2] {
    decided_of(&entry("2", false), change)
}

fn decided_of(entry: &Entry, change: impl Fn(&mut Case)) -> [Gate; 2] {
    let mut case = open();
    change(&mut case);
    let now = now();
    let node = Node {
        rules: &case.rules,
        facts: &case.facts,
        journal: case.journal.as_ref(),
        policy_windows: Windows::default(),
        intent: case.intent.as_ref(),
        quarantined: case.quarantined.clone(),
        restaged: case.restaged.clone(),
        hold_off: case.hold_off.as_ref(),
        grace_ends: case.grace_ends,
        now: &now,
    };
    [Stage::BeforeQueue, Stage::UnderWay(entry)].map(|stage| decide(&node, stage))
}

/// What each says it waits for; empty where it may go.
fn says(decided: &[Gate; 2]) -> [String; 2] {
    decided.each_ref().map(|gate| match gate {
        Gate::Closed(closed) => closed.by.to_string(),
        Gate::Go { .. } => String::new(),
        Gate::Nothing => "nothing is wanted".into(),
    })
}

#[test]
fn node_may_reboot_when_all_gates_are_open() {
    assert_eq!(says(&decided(|_| {})), ["", ""]);
    let nothing = decided(|case| case.intent = None);
    assert_eq!(nothing, [Gate::Nothing, Gate::Nothing]);
}

#[test]
fn each_gate_closes_before_the_queue_and_after_it() {
    let cases: [Said; 10] = [
        (
            "the journal /var/lib/pointsman/journal.json cannot be used: Is a directory (os error 21); this node does not \
             reboot until it can be used. `pointsman status` shows what this node holds, and `pointsman unlock --force` \
             releases it. Then remove the file",
            |case| {
                let fault = JournalFault::Unwritable(io::Error::from_raw_os_error(21).into());
                let path = Journal::path(&Root::new("/"));
                case.journal = Err(JournalError::new(&path, fault));
            },
        ),
        ("there are no two slots", |case| {
            case.facts.update = Update::Unusable(SlotFault::NoOther);
        }),
        (
            "it is not known what would boot: the boot loader would find no slot to boot: see pointsman slots",
            |case| {
                case.facts.update = Update::None("idle".into());
                case.facts.next = Err(SlotFault::NoneBoots);
            },
        ),
        (
            "the strategy is `off`: this node does not reboot by itself",
            |case| {
                case.rules.strategy = Strategy::Off;
            },
        ),
        (
            "logind cannot be asked to reboot: ListSessions was not answered within 10 s",
            |case| {
                let call = "ListSessions".into();
                case.facts.logind = Err(BusError::TimedOut { call }.into());
            },
        ),
        ("the system is already going down", |case| {
            case.facts.logind.as_mut().unwrap().going_down = true;
        }),
        ("dnf blocks shutdowns: an update runs", |case| {
            let inhibitors = &mut case.facts.logind.as_mut().unwrap().inhibitors;
            inhibitors.push(("dnf".into(), "an update runs".into()));
        }),
        (
            "a newer pointsman wrote the journal (version 99), so this one starts no reboot",
            |case| case.journal.as_mut().unwrap().version = 99,
        ),
        ("2 is quarantined: no network (found here)", |case| {
            case.quarantined = Some(found_here(None));
        }),
        (
            "2 is quarantined: no network (found here); sha256:1, whose version is not known here, may be that one",
            |case| {
                case.quarantined = Some(found_here(Some(ImageId {
                    digest: Some("sha256:1".into()),
                    version: None,
                })));
            },
        ),
    ];
    for (text, change) in cases {
        assert_eq!(says(&decided(change)), [text, text]);
    }
}

#[test]
fn damaged_update_blocks_even_without_a_reboot_request() {
    let decided = decided(|case| {
        case.intent = None;
        case.facts.update = Update::Unusable(SlotFault::NoOther);
    });
    assert_eq!(
        says(&decided),
        ["there are no two slots", "there are no two slots"]
    );
}

#[test]
fn window_says_when_to_ask_again() {
    let inside = |case: &mut Case| {
        case.rules.windows = pair("Thu 00:00", "30s");
    };
    for gate in decided(inside) {
        let Gate::Go { until, .. } = gate else {
            panic!("{gate:?}")
        };
        assert_eq!(
            until,
            Some(MINUTE + Duration::from_secs(30)),
            "when it closes"
        );
    }
    for gate in decided(|case| {
        case.rules.windows = pair("Thu 02:00", "1h");
    }) {
        let Gate::Closed(closed) = gate else {
            panic!("{gate:?}")
        };
        assert_eq!(
            closed.by.to_string(),
            "outside the reboot window; it opens 1970-01-01 02:00:00 UTC"
        );
        // The wall clock may be set meanwhile.
        assert_eq!(closed.until, Some(2 * MINUTE));
    }
}

#[test]
fn usual_duration_counts_only_where_the_policy_also_has_a_window_that_long() {
    let at_five = Now {
        wall: Timestamp::from_second(5 * 3600)
            .unwrap()
            .to_zoned(TimeZone::UTC),
        ..now()
    };
    let mut case = open();
    // Every night from 02:00 to 06:00; and it takes an hour and a half.
    case.rules.windows = pair("02:00", "4h");
    case.journal.as_mut().unwrap().reboot_seconds = vec![90 * 60];
    let too_short = "a reboot of this node takes 1h30m, and the reboot window closes 1970-01-01 06:00:00 UTC; \
                     waiting for the one that opens 1970-01-02 02:00:00 UTC";
    for (policy, expected) in [
        (Windows::default(), too_short),
        // Both are never open for longer than an hour.
        (pair("05:00", "12h"), ""),
        (pair("03:00", "12h"), too_short),
        // Whether the policy's are open is not asked here.
        (pair("00:00", "3h"), ""),
        (pair("00:00", "4h"), too_short),
    ] {
        let shown = policy.to_string();
        let node = Node {
            rules: &case.rules,
            facts: &case.facts,
            journal: case.journal.as_ref(),
            policy_windows: policy,
            intent: case.intent.as_ref(),
            quarantined: None,
            restaged: None,
            hold_off: None,
            grace_ends: None,
            now: &at_five,
        };
        let queued = entry("2", false);
        let found = [Stage::BeforeQueue, Stage::UnderWay(&queued)].map(|s| decide(&node, s));
        assert_eq!(says(&found), [expected, expected], "{shown}");
    }
}

#[test]
fn urgent_reboot_passes_the_windows_and_nothing_else() {
    let urgent = |case: &mut Case| {
        case.rules.windows = pair("12:00", "1h");
        case.intent.as_mut().unwrap().urgent = true;
    };
    let outside = "outside the reboot window; it opens 1970-01-01 12:00:00 UTC";
    let ordinary = decided(|case| case.rules.windows = pair("12:00", "1h"));
    assert_eq!(says(&ordinary), [outside, outside]);
    for gate in decided(urgent) {
        assert!(matches!(gate, Gate::Go { until: None, .. }), "{gate:?}");
    }
    let people = decided(|case| {
        urgent(case);
        case.facts.logind.as_mut().unwrap().people = vec![("ann".into(), "pts/1".into())];
    });
    assert!(says(&people)[0].contains("ann (pts/1) logged in"));
    let quarantined = decided(|case| {
        urgent(case);
        case.quarantined = Some(found_here(None));
    });
    assert!(says(&quarantined)[1].contains("is quarantined"));

    // Its request was cancelled since: in the queue it is an ordinary one, and one that holds has no right to go on.
    let mut was_urgent = entry("2", false);
    was_urgent.intent.urgent = true;
    assert_eq!(says(&decided_of(&was_urgent, |_| {})), ["", ""]);
    was_urgent.stage = journal::Stage::Draining;
    let why = "the reboot is not urgent any more: its request was cancelled or replaced";
    assert_eq!(says(&decided_of(&was_urgent, |_| {})), ["", why]);
    assert_eq!(says(&decided_of(&was_urgent, urgent)), ["", ""]);
}

#[test]
fn a_window_with_less_left_than_a_reboot_takes_is_left_to_others() {
    let late = |case: &mut Case| {
        case.rules.windows = pair("00:00", "10m");
        case.journal.as_mut().unwrap().reboot_seconds = vec![60, 300, 240];
    };
    let says_late = "a reboot of this node takes 5m, and the reboot window closes 1970-01-01 00:10:00 UTC; \
                     waiting for the one that opens 1970-01-02 00:00:00 UTC";
    let at_minute = |minute: i64, entry: &Entry| {
        let mut case = open();
        late(&mut case);
        let now = Now {
            wall: Timestamp::from_second(minute * 60)
                .unwrap()
                .to_zoned(TimeZone::UTC),
            ..now()
        };
        let node = Node {
            rules: &case.rules,
            facts: &case.facts,
            journal: case.journal.as_ref(),
            policy_windows: Windows::default(),
            intent: case.intent.as_ref(),
            quarantined: None,
            restaged: None,
            hold_off: None,
            grace_ends: None,
            now: &now,
        };
        [Stage::BeforeQueue, Stage::UnderWay(entry)].map(|stage| decide(&node, stage))
    };
    let queued = entry("2", false);
    let draining = Entry {
        stage: journal::Stage::Draining,
        ..entry("2", false)
    };
    assert_eq!(says(&at_minute(5, &queued)), ["", ""]);
    assert_eq!(says(&at_minute(6, &queued)), [says_late, says_late]);
    assert_eq!(says(&at_minute(6, &draining)), [says_late, ""]);
    // In the queue it is asked again when it gets too late, not only when the window closes.
    let [_, Gate::Go { until, .. }] = at_minute(4, &queued) else {
        panic!("open")
    };
    assert_eq!(until, Some(2 * MINUTE));
    let [_, Gate::Go { until, .. }] = at_minute(9, &draining) else {
        panic!("open")
    };
    assert_eq!(until, Some(2 * MINUTE));
    // Longer than the window: it does not count.
    let longer = |case: &mut Case| {
        late(case);
        case.journal.as_mut().unwrap().reboot_seconds = vec![601];
    };
    assert_eq!(says(&decided(longer)), ["", ""]);
}

#[test]
fn failures_and_logins_block_only_before_the_reboot_begins() {
    let failed = |case: &mut Case| case.hold_off = Some((2 * MINUTE, Failure::CalledOff));
    assert_eq!(says(&decided(failed)), ["the shutdown was called off", ""]);
    let over = |case: &mut Case| case.hold_off = Some((MINUTE, Failure::CalledOff));
    assert_eq!(says(&decided(over)), ["", ""]);

    fn ann(case: &mut Case) {
        let people = &mut case.facts.logind.as_mut().unwrap().people;
        people.push(("ann".into(), "tty1".into()));
    }
    let text = "ann (tty1) logged in: waiting until they had time to finish";
    assert_eq!(says(&decided(ann)), [text, ""]);
    let cases: [Said; 3] = [
        (text, |case| {
            case.grace_ends = Some(MINUTE + Duration::from_nanos(1))
        }),
        ("", |case| case.grace_ends = Some(MINUTE)),
        ("", |case| case.rules.login_grace = Duration::ZERO),
    ];
    for (text, change) in cases {
        let decided = decided(|case| {
            ann(case);
            change(case);
        });
        assert_eq!(says(&decided), [text, ""]);
    }
}

#[test]
fn a_reboot_under_way_ends_when_its_reason_is_gone() {
    let other = decided_of(&entry("3", false), |_| {});
    assert_eq!(says(&other), ["", "2 would boot now, not 3"]);
    let text = "the reboot request was cancelled, and this node is locked by hand";
    assert_eq!(says(&decided_of(&entry("2", true), |_| {})), ["", text]);
    let asked = decided_of(&entry("2", true), |case| {
        case.intent.as_mut().unwrap().by_person = true;
    });
    assert_eq!(says(&asked), ["", ""]);
}
