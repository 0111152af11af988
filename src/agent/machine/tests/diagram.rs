//! The states as ARCHITECTURE.md draws and names them, the table of transitions, and what the machine does: all three agree.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet, VecDeque},
    fmt::Debug,
    hash::Hash,
    mem::discriminant,
};

use host::node::Group;
use semaphore::keys::Keys;
use settings::Strategy;

use super::{ID, happening::Happening, named, rules, simulation::Simulation};
use crate::agent::{
    journal::Journal,
    machine::{Boot, Event, Identity, Machine, StateName},
    situation::Update,
};

const PAGE: &str = include_str!("../../../../ARCHITECTURE.md");

type Transitions = BTreeSet<(StateName, StateName)>;

/// The states, found from the first one on.
fn states() -> BTreeSet<StateName> {
    let mut found = BTreeSet::from([StateName::Starting]);
    let mut ask = vec![StateName::Starting];
    while let Some(state) = ask.pop() {
        ask.extend(state.next().iter().filter(|next| found.insert(**next)));
    }
    found
}

fn table() -> Transitions {
    let next = |state: StateName| state.next().iter().map(move |next| (state, *next));
    states().into_iter().flat_map(next).collect()
}

/// What can happen to a node in any state, one of each kind.
fn happenings() -> [Happening; 30] {
    use Happening::{
        Asked, Broken, ComesNot, Dies, Disk, Ends, Etcd, Inhibited, Judged, Logind, Minutes,
        Reboots, Rollback, Shutdown, Slots, SoakEnded, Staged, Unlocked, Window,
    };
    [
        Ends(true),
        Ends(false),
        Staged(Some(1)),
        Staged(Some(2)),
        Staged(None),
        Inhibited(true),
        Inhibited(false),
        Minutes(10),
        Window,
        Etcd(false),
        Etcd(true),
        Logind(false),
        Logind(true),
        Slots(false),
        Slots(true),
        Asked(true),
        Asked(false),
        Rollback,
        Judged(1, false),
        Unlocked,
        Dies,
        Shutdown(true),
        Shutdown(false),
        Reboots,
        ComesNot,
        Broken(true),
        Broken(false),
        Disk(false),
        Disk(true),
        SoakEnded,
    ]
}

/// Of worlds of one kind, only the first is looked at.
fn kind(simulation: &Simulation) -> impl Hash + Eq + use<> {
    let entry = simulation.disk.entry.as_ref();
    let this_boot = format!("boot-{}", simulation.boot);
    let machine = &simulation.machine;
    (
        machine.state().name(),
        entry.map(|entry| (discriminant(&entry.stage), entry.boot_id == this_boot)),
        (
            machine.identity.boot.trial,
            machine.stopping,
            machine.going_down(),
        ),
        (
            simulation.disk_works,
            simulation.slots_readable,
            simulation.blind,
            simulation.in_window(),
        ),
        (
            simulation.going_down(),
            simulation.strategy == Strategy::EtcdLock,
            entry.is_some_and(|entry| entry.way_back),
            simulation.soak.map(|_| simulation.slots.runs()),
        ),
        simulation.op.as_ref().map(discriminant),
        match &simulation.facts.update {
            Update::Staged(image) => Some(simulation.soak.is_some() && image.is(&named(2))),
            _ => None,
        },
        simulation.disk.quarantined.is_empty(),
    )
}

/// What [`happenings`] do not lead to.
fn seldom() -> Transitions {
    use Happening::{Asked, Dies, Disk, Ends, Judged, Minutes, Reboots, Slots, Staged, Window};
    let fails = [Staged(Some(1)), Reboots, Ends(true)];
    // Before the node is down a person quarantines what it rolls back to; later they clear that.
    let cleared = [Judged(0, true), Dies, Judged(0, false), Minutes(10)];
    // The agent cannot read the slots, takes a ticket as if nothing had failed, and can read them again.
    let blind = [
        Slots(false),
        Dies,
        Happening::Strategy,
        Slots(true),
        Window,
        Asked(true),
        Ends(true),
        Happening::Strategy,
        Judged(0, true),
    ];
    let left = [Ends(true)];
    let disk_full = [Disk(false), Ends(true), Disk(true), Minutes(10)];
    let mut seen = Transitions::new();
    for path in [
        &[&fails[..], &cleared] as &[&[_]],
        // What it rolls back to is quarantined while the reboot cannot be called.
        &[&fails, &[Judged(0, true), Minutes(10)]],
        &[&fails, &blind, &left],
        &[&fails, &blind, &disk_full],
    ] {
        let mut simulation = Simulation::new(Strategy::Reboot);
        for happening in path.iter().copied().flatten() {
            simulation.happen(happening);
        }
        seen.append(&mut simulation.seen);
    }
    for path in soaks() {
        let mut simulation = Simulation::new(Strategy::EtcdLock);
        for happening in &path {
            simulation.happen(happening);
        }
        seen.append(&mut simulation.seen);
    }
    // The agent is told to end before it has heard anything.
    let identity = Identity {
        id: ID.into(),
        boot_id: "boot".into(),
        keys: Keys::new("p", Group::default()),
        place: None,
        runs: named(0),
        boot: Boot::default(),
    };
    let now = Simulation::new(Strategy::EtcdLock).now();
    let mut machine = Machine::new(rules(Strategy::EtcdLock), identity, Ok(Journal::default()));
    machine.start(&now);
    machine.step(Event::Stop, &now);
    seen.insert((StateName::Starting, machine.state().name()));
    seen
}

/// A node that soaks, or whose image fails its soak, and what can happen then.
fn soaks() -> Vec<Vec<Happening>> {
    use Happening::{
        Asked, Broken, Dies, Ends, Inhibited, Minutes, Policy, Reboots, Rollback, SoakEnded,
        Staged, Stops, Unlocked, Window,
    };
    let mut soaks = vec![Policy(true), Window, Staged(Some(2))];
    // From the hooks that may say no to the release, with the reboot between.
    soaks.extend(std::iter::repeat_n(Ends(true), 13));
    let fails = [soaks.clone(), vec![Broken(true), Minutes(10), Ends(true)]].concat();
    let way_back = [
        // It is given up before it begins, or when it drains.
        vec![
            Rollback,
            Asked(true),
            Inhibited(true),
            Ends(true),
            Ends(true),
        ],
        vec![
            Rollback,
            Asked(true),
            Ends(true),
            Ends(false),
            Ends(true),
            Ends(true),
            Ends(true),
        ],
    ];
    let thens = [
        vec![Stops],
        vec![SoakEnded],
        vec![Rollback, Asked(true)],
        vec![Dies, Ends(true)],
        vec![Dies, Unlocked, Ends(true)],
        vec![Reboots, Broken(false), Ends(true), Ends(true)],
        // It boots no better than before, and the way back is given up before it begins, or when it drains.
        vec![
            Reboots,
            Ends(true),
            Rollback,
            Asked(true),
            Inhibited(true),
            Ends(true),
        ],
        vec![
            Reboots,
            Ends(true),
            Rollback,
            Asked(true),
            Ends(true),
            Ends(false),
            Ends(true),
            Ends(true),
        ],
    ];
    let failed = thens.into_iter().map(|then| [fails.clone(), then].concat());
    let well = way_back
        .into_iter()
        .map(|then| [soaks.clone(), then].concat());
    failed.chain(well).collect()
}

#[test]
fn the_machine_makes_every_transition_of_the_table_and_no_other() {
    let table = table();
    let mut seen = seldom();
    let mut known = HashSet::new();
    let mut worlds = VecDeque::from([
        Simulation::new(Strategy::EtcdLock),
        Simulation::new(Strategy::Reboot),
        Simulation {
            soak: Some(60),
            ..Simulation::new(Strategy::EtcdLock)
        },
    ]);
    while let Some(simulation) = worlds.pop_front()
        && !table.is_subset(&seen)
    {
        for happening in happenings().iter().map(Some).chain([None]) {
            let mut next = simulation.clone();
            match happening {
                Some(happening) => next.happen(happening),
                None => next.step(Event::Stop),
            }
            seen.append(&mut next.seen);
            if !next.exited && known.insert(kind(&next)) {
                worlds.push_back(next);
            }
        }
    }
    same("the table", &table, "the machine", &seen);
}

/// The transitions in the page's diagrams.
fn drawn() -> BTreeSet<(String, String)> {
    let blocks = PAGE.split("```mermaid\nstateDiagram-v2\n").skip(1);
    let blocks = blocks.filter_map(|block| block.split("```").next());
    let lines = blocks.flat_map(str::lines).map(str::trim);
    let arrows = lines.filter_map(|line| line.split_once(" --> "));
    arrows
        .filter(|(from, _)| *from != "[*]")
        .map(|(from, to)| {
            let to = to.split(':').next().unwrap_or_default();
            (from.trim().to_owned(), to.trim().to_owned())
        })
        .collect()
}

#[test]
fn the_page_draws_every_transition_of_the_table_and_no_other() {
    let named = |(from, to): (StateName, StateName)| (format!("{from:?}"), format!("{to:?}"));
    let table = table().into_iter().map(named).collect();
    same("the table", &table, "ARCHITECTURE.md", &drawn());
}

#[test]
fn the_page_names_the_word_of_every_state() {
    let (_, words) = PAGE
        .split_once("| word | states |")
        .expect("a table of words");
    let rows = words
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let mut said = BTreeMap::new();
    for row in rows {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let ["", word, states, about, ""] = cells.as_slice() else {
            panic!("not three cells: {row}");
        };
        assert!(!about.is_empty(), "{row}");
        let states: BTreeSet<String> = states
            .split(", ")
            .map(|state| state.trim_matches('`').to_owned())
            .collect();
        let twice = said.insert(word.trim_matches('`').to_owned(), states);
        assert_eq!(twice, None, "{row}");
    }
    let mut table = BTreeMap::<String, BTreeSet<String>>::new();
    for state in states() {
        let of_word = table.entry(state.word().to_owned()).or_default();
        of_word.insert(format!("{state:?}"));
    }
    assert_eq!(said, table, "left: ARCHITECTURE.md, right: StateName::word");
}

fn same<T: Ord + Debug>(one: &str, left: &BTreeSet<T>, other: &str, right: &BTreeSet<T>) {
    let only =
        |a: &BTreeSet<T>, b: &BTreeSet<T>| format!("{:?}", a.difference(b).collect::<Vec<_>>());
    assert!(
        left == right,
        "only in {one}: {}\nonly in {other}: {}",
        only(left, right),
        only(right, left)
    );
}
