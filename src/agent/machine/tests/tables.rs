//! The decisions about a boot, one table each.

use host::node::Group;
use semaphore::{keys::Keys, records::ImageId};
use settings::Strategy;

use super::{ID, image, named, rules, unreadable};
use crate::agent::{
    baseline::Baseline,
    failure::Unproven,
    health::Verdict,
    journal::{Claim, ClaimKey, Entry, Journal, OwnQuarantine, Stage},
    machine::{Boot, Effect, Event, Identity, Machine, Op, Other, State},
    situation::{Asked, Facts, Intent, Logins, Now, Rules, Update},
};

/// The boot that is decided about.
const BOOT: &str = "boot-2";

/// What a case changes of the one before it in the table's head.
type Change = fn(&mut Identity, &mut Journal);

fn now() -> Now {
    Now {
        wall: jiff::Timestamp::UNIX_EPOCH.to_zoned(jiff::tz::TimeZone::UTC),
        monotonic: std::time::Duration::ZERO,
        since_boot: std::time::Duration::ZERO,
        random: 7,
    }
}

/// A node that runs one image from a slot, and has another in the other.
fn identity(runs: u8, trial: bool, other: u8) -> Identity {
    Identity {
        id: ID.into(),
        boot_id: BOOT.into(),
        keys: Keys::new("p", Group::default()),
        place: None,
        runs: named(runs),
        boot: Boot {
            trial,
            other: Some(Other {
                image: image(other),
                successful: trial,
                tries: false,
                abandoned: false,
            }),
        },
    }
}

fn other(identity: &mut Identity) -> &mut Other {
    identity.boot.other.as_mut().unwrap()
}

/// A reboot from image 0 to image 1, committed in an earlier boot.
fn committed() -> Entry {
    Entry {
        stage: Stage::Committing,
        boot_id: "boot-1".into(),
        claim: None,
        intent: Intent {
            reason: "update".into(),
            to: named(1),
            by_person: false,
            new_image: false,
            urgent: false,
        },
        from: named(0),
        drain_began: None,
        way_back: false,
    }
}

fn quarantined(what: ImageId, boot_id: &str) -> OwnQuarantine {
    OwnQuarantine {
        what,
        reason: "it is bad".into(),
        boot_id: boot_id.into(),
        reported: true,
    }
}

#[test]
fn failed_trial_rolls_back_once_and_only_to_the_image_that_ran_before() {
    let cases: [(&str, Change); 13] = [
        ("", |_, _| {}),
        ("", |_, journal| {
            journal.good = None;
            journal.entry = Some(committed());
        }),
        ("", |identity, _| {
            other(identity).successful = false;
            other(identity).tries = true;
        }),
        // Killed between the verdict and the reboot.
        ("", |_, journal| {
            journal.quarantined.push(quarantined(named(1), BOOT));
        }),
        ("marked good before", |identity, _| {
            identity.boot.trial = false;
        }),
        ("no other slot", |identity, _| identity.boot.other = None),
        ("the other slot cannot boot", |identity, _| {
            other(identity).successful = false;
        }),
        (
            "the other slot holds the same image",
            |identity, journal| {
                other(identity).image = image(1);
                journal.good = Some(named(1));
            },
        ),
        ("rolled back from this image before", |_, journal| {
            journal.quarantined.push(quarantined(named(1), "boot-0"));
        }),
        ("which is quarantined as well (it is bad)", |_, journal| {
            journal.quarantined.push(quarantined(named(0), "boot-0"));
        }),
        ("not what ran here before", |_, journal| {
            journal.good = Some(named(4));
        }),
        ("not what ran here before", |_, journal| {
            journal.good = None;
        }),
        ("not what ran here before", |identity, _| {
            other(identity).image = image(4);
        }),
    ];
    for (number, (stays, change)) in cases.into_iter().enumerate() {
        let mut identity = identity(1, true, 0);
        let mut journal = Journal {
            good: Some(named(0)),
            ..Journal::default()
        };
        change(&mut identity, &mut journal);
        let found = Ok(identity.boot.other.clone());
        if !identity.boot.trial {
            journal.entry = Some(committed());
        }
        let mut machine = Machine::new(rules(Strategy::EtcdLock), identity, Ok(journal));
        machine.start(&now());
        machine.step(
            Event::Checked(Verdict::Failed("no network".into()), found),
            &now(),
        );
        match machine.state() {
            State::RollingBack { .. } => assert_eq!(stays, "", "case {number}"),
            State::Unproven { why, .. } => {
                let why = why.to_string();
                let said = why.contains("no network; ") && why.contains(stays);
                assert!(said && !stays.is_empty(), "case {number}: {why}");
            }
            state => panic!("case {number}: {state:?}"),
        }
    }
}

#[test]
fn other_slot_is_read_after_the_checks() {
    let journal = Journal {
        good: Some(named(0)),
        ..Journal::default()
    };
    for (found, says) in [
        (Err(unreadable()), "(/dev/sda: medium error)"),
        (
            Ok(identity(1, true, 4).boot.other),
            "not what ran here before",
        ),
    ] {
        let identity = identity(1, true, 0);
        let mut machine = Machine::new(rules(Strategy::EtcdLock), identity, Ok(journal.clone()));
        machine.start(&now());
        let failed = Verdict::Failed("no network".into());
        machine.step(Event::Checked(failed, found), &now());
        let State::Unproven { why, .. } = machine.state() else {
            panic!("{:?}", machine.state())
        };
        let why = why.to_string();
        assert!(why.contains(says), "{why}");
    }
}

#[test]
fn boot_with_unreadable_slots_is_not_proven() {
    let identity = Identity {
        runs: ImageId {
            digest: None,
            ..named(1)
        },
        boot: Boot::default(),
        ..identity(1, true, 0)
    };
    let journal = Journal {
        entry: Some(committed()),
        ..Journal::default()
    };
    let mut machine = Machine::new(rules(Strategy::EtcdLock), identity, Ok(journal));
    machine.start(&now());
    machine.step(
        Event::Checked(Verdict::Passed(Vec::new()), Ok(None)),
        &now(),
    );
    assert!(
        matches!(
            machine.state(),
            State::Unproven {
                why: Unproven::SlotsLost,
                ..
            }
        ),
        "{:?}",
        machine.state()
    );
}

#[test]
fn units_failed_before_the_reboot_excuse_only_the_next_boot() {
    let taken = Baseline {
        boot_id: "boot-1".into(),
        of: None,
        units: Vec::new(),
    };
    let before = taken.clone();
    let cases: [(bool, Change); 7] = [
        (true, |_, _| {}),
        // The image failed in the boot between, and the node is back.
        (true, |_, journal| {
            journal.entry.as_mut().unwrap().stage = Stage::Draining;
            journal.baseline.as_mut().unwrap().of = Some("boot-of-the-image".into());
        }),
        // The lock is released already, and the agent starts again.
        (true, |_, journal| {
            journal.entry = None;
            journal.baseline.as_mut().unwrap().of = Some(BOOT.into());
        }),
        (false, |_, journal| {
            journal.entry = None;
            journal.baseline.as_mut().unwrap().of = Some("boot-0".into());
        }),
        // Nobody cleared this boot.
        (false, |_, journal| journal.entry = None),
        (false, |_, journal| {
            journal.baseline.as_mut().unwrap().boot_id = "boot-0".into();
        }),
        (false, |_, journal| journal.baseline = None),
    ];
    for (number, (counts, change)) in cases.into_iter().enumerate() {
        let mut identity = identity(1, true, 0);
        let mut journal = Journal {
            entry: Some(committed()),
            baseline: Some(before.clone()),
            ..Journal::default()
        };
        change(&mut identity, &mut journal);
        let mut machine = Machine::new(rules(Strategy::EtcdLock), identity, Ok(journal));
        let effects = machine.start(&now());
        let asked = effects.iter().find_map(|effect| match effect {
            Effect::Run(Op::Prove { baseline, .. }) => Some(baseline.clone()),
            _ => None,
        });
        let of = asked.expect("a proof").map(|baseline| baseline.of);
        assert_eq!(of, counts.then(|| Some(BOOT.into())), "case {number}");
    }
}

#[test]
fn fallback_is_detected_only_where_the_image_was_meant_and_tried() {
    let cases: [(bool, Change); 13] = [
        (true, |_, _| {}),
        (true, |_, journal| {
            journal.trial = Some(named(1));
            journal.forgiven = Some(named(1));
        }),
        (true, |_, journal| {
            journal.trial = Some(named(1));
            journal.forgiven = Some(named(3));
            journal.trial = Some(named(3));
        }),
        (true, |identity, journal| {
            journal.trial = Some(named(1));
            other(identity).abandoned = true;
        }),
        // Found before, and cleared since.
        (true, |_, journal| {
            journal.quarantined.push(quarantined(named(1), "boot-0"));
        }),
        (false, |_, journal| journal.trial = Some(named(1))),
        (false, |identity, _| other(identity).tries = true),
        (false, |identity, _| other(identity).successful = true),
        (false, |identity, _| other(identity).image = image(3)),
        (false, |identity, _| identity.runs = named(3)),
        (false, |_, journal| journal.judged = Some(BOOT.into())),
        (false, |_, journal| {
            journal.entry.as_mut().unwrap().stage = Stage::Draining;
        }),
        (false, |_, journal| {
            journal.entry.as_mut().unwrap().intent.to = named(0);
        }),
    ];
    for (number, (bad, change)) in cases.into_iter().enumerate() {
        let mut identity = identity(0, false, 1);
        let mut journal = Journal {
            entry: Some(committed()),
            ..Journal::default()
        };
        change(&mut identity, &mut journal);
        let mut machine = Machine::new(rules(Strategy::EtcdLock), identity, Ok(journal));
        machine.start(&now());
        let owed = machine.owed().map(|owed| owed.what.clone());
        assert_eq!(owed, bad.then(|| named(1)), "case {number}");
    }
}

#[test]
fn ticket_is_kept_only_while_the_node_still_wants_that_reboot() {
    let facts = Facts {
        update: Update::Staged(named(1)),
        next: Ok(None),
        logind: Ok(Logins::default()),
        asked: Asked::default(),
    };
    let elsewhere = || Keys::new("p", Group::new("elsewhere").unwrap());
    let cases: [(bool, Strategy, Keys, u8); 4] = [
        (
            true,
            Strategy::EtcdLock,
            Keys::new("p", Group::default()),
            1,
        ),
        (false, Strategy::EtcdLock, elsewhere(), 1),
        (false, Strategy::Reboot, Keys::new("p", Group::default()), 1),
        (
            false,
            Strategy::EtcdLock,
            Keys::new("p", Group::default()),
            3,
        ),
    ];
    for (number, (kept, strategy, keys, to)) in cases.into_iter().enumerate() {
        let mut entry = Entry {
            stage: Stage::Queued,
            boot_id: BOOT.into(),
            claim: Some(Claim::Etcd(ClaimKey {
                nonce: "n".into(),
                id: ID.into(),
                keys,
                member: None,
                by_hand: false,
                soaks: false,
                drained: false,
            })),
            ..committed()
        };
        entry.intent.to = named(to);
        let journal = Journal {
            entry: Some(entry),
            ..Journal::default()
        };
        let rules = Rules {
            windows: windows::Windows::default(),
            ..rules(strategy)
        };
        let mut machine = Machine::new(rules, identity(0, false, 1), Ok(journal));
        machine.start(&now());
        let effects = machine.step(Event::Facts(facts.clone()), &now());
        if effects.contains(&Effect::Again) {
            machine.step(Event::Tick, &now());
        }
        let found = match machine.state() {
            State::Queued { .. } => true,
            State::Leaving => false,
            state => panic!("case {number}: {state:?}"),
        };
        assert_eq!(found, kept, "case {number}");
    }
}
