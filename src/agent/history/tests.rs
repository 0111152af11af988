use super::*;
use crate::agent::{
    journal::{Asked, Entry, OwnQuarantine, Soak, Stage},
    situation::{Intent, Request},
};

const BOOT: &str = "boot-2";

fn image(version: &str) -> ImageId {
    ImageId {
        digest: Some(format!("sha256:{version}")),
        version: Some(version.into()),
    }
}

fn entry(stage: Stage, boot_id: &str) -> Entry {
    Entry {
        stage,
        boot_id: boot_id.into(),
        claim: None,
        intent: Intent {
            reason: "update to 2".into(),
            to: image("2"),
            by_person: false,
            new_image: true,
            urgent: false,
        },
        from: image("1"),
        drain_began: None,
        way_back: false,
    }
}

/// One look: the state with its sentence, and the journal.
type Look<'a> = (&'a str, &'a str, Journal);

/// What is noted over these looks, on a node that runs this version, and how the last reboot ended by then.
fn over(runs: &str, begins: Journal, looks: &[Look<'_>]) -> (Vec<Happened>, Option<LastReboot>) {
    let mut history = History::default();
    history.begin(&begins);
    let mut now: Timestamp = "2026-11-30T01:00:00Z".parse().unwrap();
    let mut found = Vec::new();
    for (state, why, journal) in looks {
        let runs = &image(runs);
        let seen = Seen {
            state,
            why,
            journal,
            runs,
        };
        found.extend(history.look(&seen, BOOT, now));
        // The same again is nothing new.
        assert_eq!(history.look(&seen, BOOT, now), [], "{state}");
        now += Duration::from_secs(60);
    }
    let last = history.last().cloned();
    assert_eq!(
        last,
        Ends::of(&found).last,
        "what the file says is the same"
    );
    (found, last)
}

fn kinds(found: &[Happened]) -> Vec<Kind> {
    found
        .iter()
        .map(|happened| happened.event.clone())
        .collect()
}

fn with(change: impl FnOnce(&mut Journal)) -> Journal {
    let mut journal = Journal::default();
    change(&mut journal);
    journal
}

#[test]
fn a_journal_that_was_there_before_is_no_news() {
    let journal = with(|it| {
        it.staged = Some(image("2"));
        it.entry = Some(entry(Stage::Committing, BOOT));
        it.proven = Some("boot-1".into());
        it.forgiven = Some(image("3"));
        it.quarantined.push(OwnQuarantine {
            what: image("4"),
            reason: "bad".into(),
            boot_id: "boot-0".into(),
            reported: true,
        });
    });
    let looks = [("rebooting", "", journal.clone())];
    assert_eq!(over("1", journal, &looks), (Vec::new(), None));
}

#[test]
fn an_update_is_noted_from_its_staging_to_its_proof() {
    let staged = with(|it| it.staged = Some(image("2")));
    let queued = with(|it| {
        it.staged = Some(image("2"));
        it.entry = Some(entry(Stage::Queued, BOOT));
    });
    let at = |stage| {
        let mut journal = queued.clone();
        journal.entry = Some(entry(stage, BOOT));
        journal
    };
    let looks = [
        ("idle", "", staged),
        ("queued", "the only place is taken by a", queued.clone()),
        ("draining", "", at(Stage::Draining)),
        ("committing", "", at(Stage::Committing)),
        ("rebooting", "", at(Stage::Committing)),
    ];
    let (found, last) = over("1", Journal::default(), &looks);
    assert_eq!(
        kinds(&found),
        [Kind::Staged, Kind::Draining, Kind::Rebooting]
    );
    assert_eq!(
        (&found[2].from, &found[2].to),
        (&Some(image("1")), &Some(image("2")))
    );
    assert_eq!(found[2].reason, "update to 2");
    assert_eq!(last, None);

    // The next boot, with what the file says.
    let mut history = History::after(Ends::of(&found));
    let begins = with(|it| it.entry = Some(entry(Stage::Committing, "boot-1")));
    history.begin(&begins);
    let mut journal = begins.clone();
    journal.proven = Some(BOOT.into());
    journal.reboot_seconds = vec![213];
    let runs = &image("2");
    let seen = Seen {
        state: "proving",
        why: "",
        journal: &journal,
        runs,
    };
    let now = "2026-11-30T01:09:00Z".parse().unwrap();
    let proven = history.look(&seen, BOOT, now);
    assert_eq!(kinds(&proven), [Kind::Proven]);
    assert_eq!(proven[0].took(), Some(Duration::from_secs(213)));
    let last = history.last().unwrap();
    assert_eq!(
        (&last.outcome, &last.from, &last.to),
        (&Outcome::Proven, &image("1"), &image("2"))
    );
    assert_eq!((last.began, last.ended), (Some(found[1].time), Some(now)));
}

/// As on a machine with one system partition.
#[test]
fn a_reboot_into_the_same_image_ends_as_proven() {
    let mut draining = with(|it| it.entry = Some(entry(Stage::Draining, BOOT)));
    let mut committing = with(|it| it.entry = Some(entry(Stage::Committing, BOOT)));
    for journal in [&mut draining, &mut committing] {
        let entry = journal.entry.as_mut().unwrap();
        entry.intent.to = ImageId::default();
    }
    let looks = [("draining", "", draining), ("committing", "", committing)];
    let (found, last) = over("1", Journal::default(), &looks);
    assert_eq!(
        (kinds(&found), last),
        (vec![Kind::Draining, Kind::Rebooting], None)
    );
    let proven = Happened {
        event: Kind::Proven,
        from: None,
        to: Some(image("1")),
        time: found[1].time + Duration::from_secs(60),
        ..found[1].clone()
    };
    // A boot that no reboot of the agent led to is none of its reboots.
    assert_eq!(Ends::of([&proven]).last, None);
    let last = Ends::of(found.iter().chain([&proven])).last.unwrap();
    assert_eq!(
        (&last.outcome, &last.from, &last.to, last.began, last.ended),
        (
            &Outcome::Proven,
            &image("1"),
            &image("1"),
            Some(found[0].time),
            Some(proven.time)
        )
    );
}

#[test]
fn a_drain_that_is_given_up_says_why() {
    let draining = with(|it| it.entry = Some(entry(Stage::Draining, BOOT)));
    let looks = [
        ("draining", "", draining.clone()),
        ("stepping-back", "the group is paused by ann", draining),
        ("idle", "", Journal::default()),
    ];
    let (found, last) = over("1", Journal::default(), &looks);
    assert_eq!(kinds(&found), [Kind::Draining, Kind::SteppedBack]);
    let last = last.unwrap();
    assert_eq!(
        (last.outcome, last.reason.as_str()),
        (Outcome::SteppedBack, "the group is paused by ann")
    );
}

#[test]
fn a_drain_that_fails_as_before_is_noted_once() {
    let draining = with(|it| it.entry = Some(entry(Stage::Draining, BOOT)));
    let committing = with(|it| it.entry = Some(entry(Stage::Committing, BOOT)));
    let tries = |why: &'static str| {
        [
            ("draining", "", draining.clone()),
            ("stepping-back", why, draining.clone()),
            ("waiting", why, Journal::default()),
        ]
    };
    let again = [
        tries("no room"),
        tries("no room"),
        tries("no room"),
        tries("no quorum"),
    ]
    .concat();
    let done = [
        ("draining", "", draining.clone()),
        ("committing", "", committing),
    ];
    let (found, last) = over("1", Journal::default(), &[&again[..], &done].concat());
    let reasons: Vec<&str> = found.iter().map(|it| it.reason.as_str()).collect();
    assert_eq!(
        kinds(&found),
        [
            Kind::Draining,
            Kind::SteppedBack,
            Kind::Draining,
            Kind::SteppedBack,
            Kind::Draining,
            Kind::Rebooting
        ],
        "{reasons:?}"
    );
    assert_eq!((reasons[1], reasons[3]), ("no room", "no quorum"));
    assert_eq!(last.unwrap().reason, "no quorum");
    // The drain that came through has its own time.
    assert!(found[4].time > found[3].time && found[4].time < found[5].time);
}

#[test]
fn a_node_that_came_up_on_the_image_before_fell_back() {
    let begins = with(|it| it.entry = Some(entry(Stage::Committing, "boot-1")));
    let judged = |change: &dyn Fn(&mut Journal)| {
        let mut journal = begins.clone();
        journal.judged = Some(BOOT.into());
        journal.entry.as_mut().unwrap().stage = Stage::Draining;
        change(&mut journal);
        journal
    };
    let bad = judged(&|it| {
        it.quarantined.push(OwnQuarantine {
            what: image("2"),
            reason: "it did not come up".into(),
            boot_id: BOOT.into(),
            reported: false,
        });
    });
    let mut proven = bad.clone();
    proven.proven = Some(BOOT.into());
    let looks = [("proving", "", bad), ("proving", "", proven)];
    let (found, last) = over("1", begins.clone(), &looks);
    assert_eq!(
        kinds(&found),
        [Kind::FellBack, Kind::Quarantined, Kind::Proven]
    );
    // That the image before is proven once more is not how the reboot ended.
    assert_eq!(found[2].from, None);
    let last = last.unwrap();
    assert_eq!(
        (last.outcome, last.to, last.reason.as_str()),
        (Outcome::FellBack, image("2"), "it did not come up")
    );

    // It is out of service until then.
    assert_eq!(last.ended, Some(found[2].time));

    let forgiven = judged(&|it| it.forgiven = Some(image("2")));
    let (found, last) = over("1", begins.clone(), &[("proving", "", forgiven)]);
    assert_eq!(kinds(&found), [Kind::FellBack]);
    assert!(last.unwrap().reason.contains("tried once more"));
}

#[test]
fn a_bad_image_is_noted_with_its_verdict() {
    let begins = with(|it| it.entry = Some(entry(Stage::Committing, "boot-1")));
    let mut bad = begins.clone();
    bad.entry.as_mut().unwrap().stage = Stage::Draining;
    bad.quarantined.push(OwnQuarantine {
        what: image("2"),
        reason: "health.d/web fails".into(),
        boot_id: BOOT.into(),
        reported: false,
    });
    let looks = [
        ("proving", "checking the new boot", begins.clone()),
        ("rolling-back", "health.d/web fails", bad),
    ];
    let (found, last) = over("2", begins.clone(), &looks);
    assert_eq!(kinds(&found), [Kind::Quarantined, Kind::RollingBack]);
    let last = last.unwrap();
    assert_eq!(
        (last.outcome, last.from, last.to),
        (Outcome::RolledBack, image("1"), image("2"))
    );

    // Where it cannot roll back, it is checked again and again, and noted once for each reason.
    let looks = [
        ("unproven", "health.d/web fails", begins.clone()),
        ("proving", "checking the new boot", begins.clone()),
        ("unproven", "health.d/web fails", begins.clone()),
        ("proving", "checking the new boot", begins.clone()),
        ("unproven", "health.d/db fails", begins.clone()),
    ];
    let (found, _) = over("2", begins, &looks);
    assert_eq!(kinds(&found), [Kind::Unproven, Kind::Unproven]);
}

#[test]
fn a_soak_is_noted_with_its_length_and_its_end() {
    let begins = with(|it| it.entry = Some(entry(Stage::Soaking, "boot-1")));
    let soak = |failed: Option<&str>| {
        let mut journal = begins.clone();
        journal.soak = Some(Soak {
            boot_id: BOOT.into(),
            length_ms: 3_600_000,
            over_at_ms: 4_000_000,
            entry: entry(Stage::Soaking, "boot-1"),
            failed: failed.map(str::to_owned),
            ended: false,
        });
        journal
    };
    let looks = [
        ("soaking", "", soak(None)),
        ("releasing", "", begins.clone()),
    ];
    let (found, _) = over("2", begins.clone(), &looks);
    assert_eq!(kinds(&found), [Kind::Soaking, Kind::SoakEnded]);
    assert_eq!(found[0].seconds, Some(3600));

    let looks = [
        ("soaking", "", soak(None)),
        ("soak-failed", "it leaks", soak(Some("it leaks"))),
    ];
    let (found, last) = over("2", begins, &looks);
    assert_eq!(kinds(&found), [Kind::Soaking, Kind::SoakFailed]);
    let last = last.unwrap();
    assert_eq!(
        (last.outcome, last.to, last.reason.as_str()),
        (Outcome::SoakFailed, image("2"), "it leaks")
    );
}

#[test]
fn a_request_is_noted_once() {
    let asked = with(|it| {
        it.request = Some(Asked {
            request: Request::new("new kernel"),
            boot_id: BOOT.into(),
        });
    });
    let looks = [("waiting", "", asked), ("idle", "", Journal::default())];
    let (found, _) = over("1", Journal::default(), &looks);
    assert_eq!(kinds(&found), [Kind::Requested]);
    assert_eq!(found[0].reason, "new kernel");
}

#[test]
fn a_request_that_becomes_urgent_is_noted_again() {
    let asked = |urgent| {
        with(|it| {
            it.request = Some(Asked {
                request: Request {
                    urgent,
                    ..Request::new("a hole")
                },
                boot_id: BOOT.into(),
            });
        })
    };
    let looks = [
        ("waiting", "", asked(false)),
        ("waiting", "", asked(true)),
        ("waiting", "", asked(true)),
        ("waiting", "", asked(false)),
    ];
    let (found, _) = over("1", Journal::default(), &looks);
    let reasons: Vec<&str> = found.iter().map(|found| found.reason.as_str()).collect();
    assert_eq!(reasons, ["a hole", "urgent: a hole"]);
}

#[test]
fn a_reboot_is_pending_since_its_update_was_staged_also_after_a_new_start() {
    let at = |seconds| Timestamp::from_second(seconds).unwrap();
    let event = |seconds, event| Happened {
        time: at(seconds),
        event,
        boot_id: BOOT.into(),
        from: Some(image("1")),
        to: Some(image("2")),
        reason: String::new(),
        seconds: None,
    };
    let staged = [
        event(1, Kind::Staged),
        event(5, Kind::Staged),
        event(7, Kind::SteppedBack),
    ];
    let mut history = History::after(Ends::of(&staged));
    assert_eq!(history.pending_since(true, at(9)), Some(at(1)));
    assert_eq!(history.pending_since(false, at(10)), None);
    assert_eq!(history.pending_since(true, at(11)), Some(at(11)));
    let done = [event(1, Kind::Staged), event(5, Kind::Proven)];
    let mut history = History::after(Ends::of(&done));
    assert_eq!(history.pending_since(true, at(9)), Some(at(9)));
}

#[test]
fn message_ids_are_documented_and_explained() {
    let page = include_str!("../../../docs/reference/logs.md");
    let catalog = include_str!("../../../systemd/pointsman.catalog");
    let kinds = Kind::ALL;
    let documented: Vec<&str> = page
        .lines()
        .filter(|line| line.starts_with("| `"))
        .collect();
    assert_eq!(documented.len(), kinds.len());
    assert_eq!(catalog.matches("\n-- ").count(), kinds.len());
    for (kind, line) in kinds.iter().zip(documented) {
        let id = kind.message_id();
        let priority = if kind.is_trouble() { "warning" } else { "info" };
        assert!(
            line.starts_with(&format!("| `{id}` | `{}` | {priority} | ", kind.word())),
            "{line}"
        );
        assert!(catalog.contains(&format!("\n-- {id}\nSubject: ")), "{id}");
    }
}

#[test]
fn events_are_documented_with_the_command_that_shows_them() {
    let page = include_str!("../../../docs/reference/commands.md");
    let part = page.split_once("## `history`").unwrap().1;
    let part = part.split("\n## ").next().unwrap();
    let rows = part.lines().filter(|line| line.starts_with("| `"));
    let first_cells = rows.map(|row| row.split('|').nth(1).unwrap());
    let documented: Vec<&str> = first_cells
        .flat_map(|cell| cell.split(','))
        .map(|word| word.trim().trim_matches('`'))
        .collect();
    assert_eq!(documented, Kind::ALL.map(|kind| kind.word()));
}
