//! A way through the states, as a person reads it.

use std::fmt::Write as _;

use super::{
    super::store::Store,
    explore::Explorer,
    graph::{Action, Move},
    moves,
    world::Local,
};

/// Each step in a line or some: who does what, what becomes of the node, and what changes in etcd.
pub(super) fn tell(explorer: &Explorer<'_>, way: &[Move]) -> Vec<String> {
    let steps = way.iter().enumerate();
    let told = steps.map(|(at, (before, action, after))| {
        let [old, new] = [before, after].map(|world| explorer.stores.get(world.store));
        let mut line = format!("{:3}. ", at + 1);
        match action {
            Action::Node(at, what) => {
                let [was, is] =
                    [before, after].map(|world| explorer.locals.get(world.nodes[usize::from(*at)]));
                let _ = write!(line, "{} {}: {}", was.node.id(), what.words(), stand(is));
            }
            Action::Lapse(at) => {
                let (key, _) = moves::lapsing(old, |_| false).swap_remove(usize::from(*at));
                let _ = write!(line, "the lease of {key} runs out");
            }
            Action::Person(act) => {
                let _ = write!(line, "a person: {act:?}");
            }
        }
        line + &changes(old, new)
    });
    told.collect()
}

fn stand(local: &Local) -> String {
    let node = &local.node;
    let (word, why) = node.machine.report();
    let agent = if local.up { "" } else { ", no agent" };
    let sent = match &node.flight {
        Some(flight) => format!(", sends {:?}", flight.doing()),
        None => String::new(),
    };
    format!("{word} ({why}), power {:?}{agent}{sent}", node.power)
}

fn changes(old: &Store, new: &Store) -> String {
    let mut told = String::new();
    let mut keys: Vec<&String> = old.keys.keys().chain(new.keys.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    for key in keys {
        let [was, is] = [old, new].map(|store| store.get(key).map(|stored| stored.value));
        if was == is {
            continue;
        }
        let _ = match is {
            Some(value) => write!(told, "\n       {key} = {}", String::from_utf8_lossy(&value)),
            None => write!(told, "\n       {key} is deleted"),
        };
    }
    told
}
