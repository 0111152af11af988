//! The model: the same simulated nodes, with all choices taken instead of random ones, until no new state is found.
//!
//! `fleets` is the table of what is explored, `moves` and `people` are what may happen, `world` is how a state is written down,
//! `explore` is the search, and `rules` are what must hold of each step. What is kept of the real thing and what is given up is in
//! docs/explanation/model.md.

mod explore;
mod fleet;
mod fleets;
mod graph;
mod moves;
mod people;
mod rules;
mod trace;
mod world;

use std::sync::Mutex;

use super::bugs::Bug;
use explore::{Explorer, Found};
use fleet::Fleet;
use fleets::FLEETS;

/// Explores these fleets, as many at a time as there are processors, and prints what was found, in the order of the table.
fn explore(fleets: &[&Fleet]) -> String {
    let (next, found) = (Mutex::new(0), Mutex::new(Vec::new()));
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let at = {
                        let mut next = next.lock().expect("nobody panics with it");
                        *next += 1;
                        *next - 1
                    };
                    let Some(fleet) = fleets.get(at) else { break };
                    let one = Explorer::new(fleet, None).run();
                    eprintln!("{}", row(fleet.name, &one));
                    found.lock().expect("nobody panics with it").push((at, one));
                }
            });
        }
    });
    let mut found = found.into_inner().expect("nobody panics with it");
    found.sort_by_key(|(at, _)| *at);
    let mut table = format!(
        "{:28} {:>9} {:>11} {:>6} {:>8} {:>10}\n",
        "fleet", "states", "transitions", "depth", "seconds", "violations"
    );
    let mut broken = String::new();
    let mut sum = Found::default();
    for (at, one) in &found {
        let name = fleets[*at].name;
        table += &(row(name, one) + "\n");
        sum.states += one.states;
        sum.transitions += one.transitions;
        sum.depth = sum.depth.max(one.depth);
        sum.seconds += one.seconds;
        if let Some((rule, way)) = &one.broken {
            broken += &format!("\n{name}: {rule}\n{}\n", way.join("\n"));
        }
    }
    assert!(broken.is_empty(), "{table}{broken}");
    table + &row("sum", &sum)
}

fn row(name: &str, found: &Found) -> String {
    let violations = usize::from(found.broken.is_some());
    format!(
        "{name:28} {:>9} {:>11} {:>6} {:>8.1} {violations:>10}",
        found.states, found.transitions, found.depth, found.seconds
    )
}

/// Those that are explored always; with `FLEET` set, as `make model` sets it, all whose name contains that text.
#[test]
fn small_fleets_keep_every_rule_in_every_state() {
    let wanted = std::env::var("FLEET").ok();
    let explored = |fleet: &&Fleet| match &wanted {
        Some(text) => fleet.name.contains(text),
        None => fleet.always,
    };
    let fleets: Vec<&Fleet> = FLEETS.iter().filter(explored).collect();
    assert!(!fleets.is_empty(), "no fleet has {wanted:?} in its name");
    println!("{}", explore(&fleets));
}

/// Each seeded bug, the fleet in which it is found, and the rule that it breaks.
const BUGS: &[(Bug, &str, &str)] = &[
    (Bug::TakeWithoutDocument, "stop", "max is"),
    (
        Bug::TakeWithoutQuarantine,
        "quarantine",
        "takes for an image that is quarantined",
    ),
    (Bug::TakeWithoutPause, "pause", "takes during a pause"),
    (Bug::CommitWithoutFence, "unlock", "without holding"),
    (
        Bug::CommitWithoutQuarantine,
        "quarantine",
        "commits for an image that is quarantined",
    ),
    (Bug::CommitWithoutPause, "pause", "commits during a pause"),
    (Bug::ReleaseWithoutFence, "unlock", "the document names"),
    (
        Bug::ReleaseWithoutSoak,
        "soak from now on",
        "without the soak",
    ),
    (Bug::OpeningWithoutMembers, "waves, soak", "opened before"),
    (Bug::WavesIgnored, "waves", "not open to its group"),
    (Bug::TicketOrderIgnored, "kill", "takes before"),
    (
        Bug::LostNotCounted,
        "lost over the budget",
        "the budget is 1",
    ),
    (
        Bug::PassOverWithoutGrace,
        "lost, late, replies",
        "before its grace",
    ),
    (Bug::NewNonceAfterLostReply, "replies", "from here"),
    (Bug::TakeNotJournalled, "kill", "from here"),
];

#[test]
fn seeded_bugs_are_found() {
    let mut missed = String::new();
    for (bug, name, rule) in BUGS {
        let fleet = FLEETS.iter().find(|fleet| fleet.name == *name);
        let found = Explorer::new(fleet.expect("a fleet of the table"), Some(*bug)).run();
        let states = found.states;
        match found.broken {
            Some((broken, way)) => {
                eprintln!(
                    "{bug:?}: {broken}, in {} steps, {states} states, {:.1}s",
                    way.len(),
                    found.seconds
                );
                if !broken.contains(rule) {
                    missed += &format!(
                        "{bug:?} breaks another rule: {broken}\n{}\n",
                        way.join("\n")
                    );
                }
            }
            None => missed += &format!("{bug:?} is not found in {states} states of {name}\n"),
        }
    }
    assert!(missed.is_empty(), "{missed}");
}
