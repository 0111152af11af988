//! The search: all states of a fleet that can be reached, by breadth first, so that what breaks a rule is found on a shortest way.

use std::{collections::HashMap, time::Instant};

use super::{
    super::{bugs::Bug, store::Store},
    fleet::Fleet,
    graph::{Action, Graph, Move, NODES, Next, World},
    moves::{self, Do, FAULTS, Fault},
    people::Act,
    rules::{Actor, Step, note_ended},
    trace,
    world::{Local, Pool, Ranks, settle_store},
};

/// More states than any fleet of the table has.
const LIMIT: usize = 20_000_000;

/// What comes of an action, as far as it is the same wherever node and store are.
struct Outcome {
    /// The node that acts, afterwards.
    node: Option<u32>,
    store: u32,
    /// The ranks of the store before, where it has changed.
    ranks: Option<Ranks>,
    broken: Option<String>,
}

/// What was found of a fleet.
#[derive(Default)]
pub(super) struct Found {
    pub(super) states: usize,
    pub(super) transitions: usize,
    pub(super) depth: usize,
    pub(super) seconds: f64,
    /// The rule that is broken, and the shortest way to that.
    pub(super) broken: Option<(String, Vec<String>)>,
}

pub(super) struct Explorer<'a> {
    pub(super) fleet: &'a Fleet,
    bug: Option<Bug>,
    pub(super) locals: Pool<Local>,
    pub(super) stores: Pool<Store>,
    outcomes: Vec<Outcome>,
    steps: HashMap<(u32, u32, Do, u8), Option<u32>>,
    changes: HashMap<(u32, Action), Option<u32>>,
    followed: HashMap<(u32, u32), u32>,
}

impl<'a> Explorer<'a> {
    pub(super) fn new(fleet: &'a Fleet, bug: Option<Bug>) -> Self {
        Self {
            fleet,
            bug,
            locals: Pool::new(),
            stores: Pool::new(),
            outcomes: Vec::new(),
            steps: HashMap::new(),
            changes: HashMap::new(),
            followed: HashMap::new(),
        }
    }

    /// Explores all of it, or up to the first rule that is broken.
    pub(super) fn run(&mut self) -> Found {
        let began = Instant::now();
        let mut graph = Graph::new(self.first());
        let broken = self.search(&mut graph).or_else(|| {
            let ends: Vec<bool> = graph.worlds.iter().map(|w| self.is_done(w)).collect();
            let stuck = graph.first_without_end(&ends)?;
            let rule =
                "from here not all nodes can come to their image, although nothing fails any more";
            let mut way = graph.way(stuck);
            way.extend(self.farthest(graph.worlds[stuck]));
            Some((rule.to_owned(), way))
        });
        Found {
            states: graph.worlds.len(),
            transitions: graph.transitions,
            depth: graph.depth,
            seconds: began.elapsed().as_secs_f64(),
            broken: broken.map(|(rule, way)| (rule, trace::tell(self, &way))),
        }
    }

    fn search(&mut self, graph: &mut Graph) -> Option<(String, Vec<Move>)> {
        let (mut at, mut level_ends) = (0, 1);
        while at < graph.worlds.len() {
            if at == level_ends {
                (graph.depth, level_ends) = (graph.depth + 1, graph.worlds.len());
            }
            for next in self.nexts(graph.worlds[at]) {
                graph.add(at, &next);
                if let Some(rule) = next.broken {
                    let mut way = graph.way(at);
                    way.push((graph.worlds[at], next.action, next.world));
                    return Some((rule, way));
                }
            }
            assert!(graph.worlds.len() < LIMIT, "{} has no end", self.fleet.name);
            at += 1;
        }
        None
    }

    /// All nodes have said who they are, and run the old image.
    fn first(&mut self) -> World {
        let (store, nodes) = self.fleet.build(self.bug);
        let store = self.stores.number(store);
        let mut numbers = [0; NODES];
        for (number, node) in numbers.iter_mut().zip(nodes) {
            *number = self.locals.number(node);
        }
        let mut left = [0; FAULTS];
        for (fault, times) in self.fleet.faults {
            left[*fault as usize] = *times;
        }
        World {
            store,
            nodes: numbers,
            left,
            done: 0,
            newest: self.fleet.newest,
        }
    }

    /// Whether all nodes that are not gone for ever run the last image, and nothing is on its way.
    fn is_done(&self, world: &World) -> bool {
        let mut gone = Vec::new();
        for number in &world.nodes[..self.fleet.size()] {
            let local = self.locals.get(*number);
            if local.node.is_gone() {
                gone.push(local.node.id());
            } else if !local.up
                || local.node.flight.is_some()
                || !local.node.rests_on(self.fleet.last)
            {
                return false;
            }
        }
        let held = self.stores.get(world.store).keys.keys();
        held.filter(|key| key.contains("/holders/"))
            .all(|key| gone.iter().any(|id| key.ends_with(id)))
    }

    fn is_gone(&self, world: &World, id: &str) -> bool {
        let mut nodes = world.nodes[..self.fleet.size()].iter();
        nodes.any(|number| {
            let node = &self.locals.get(*number).node;
            node.id() == id && node.is_gone()
        })
    }

    /// As far as it comes from here without a failure, by the shortest way.
    fn farthest(&mut self, stuck: World) -> Vec<Move> {
        let mut graph = Graph::new(stuck);
        let mut at = 0;
        while at < graph.worlds.len() {
            for next in self.nexts(graph.worlds[at]) {
                if next.free {
                    graph.add(at, &next);
                }
            }
            at += 1;
        }
        graph.way(graph.worlds.len() - 1)
    }

    fn nexts(&mut self, world: World) -> Vec<Next> {
        if let Some(next) = self.only_next(world) {
            return vec![next];
        }
        let mut nexts = Vec::new();
        for at in 0..self.fleet.size() {
            for what in Do::ALL {
                let fault = what.fault();
                if fault.is_some_and(|fault| world.left[fault as usize] == 0) {
                    continue;
                }
                let Some(outcome) = self.step(world.nodes[at], world.store, what, world.newest)
                else {
                    continue;
                };
                let mut next = self.follow(world, Some(at), outcome);
                if let Some(fault) = fault {
                    next.left[fault as usize] -= 1;
                }
                let free = fault.is_none() && what != Do::StrayLands;
                nexts.push((Action::Node(at as u8, what), next, free, Some(outcome)));
            }
        }
        let leases = moves::lapsing(self.stores.get(world.store), |id| self.is_gone(&world, id));
        for (at, (_, fault)) in leases.into_iter().enumerate() {
            if fault.is_some_and(|fault| world.left[fault as usize] == 0) {
                continue;
            }
            let action = Action::Lapse(at as u8);
            if let Some(outcome) = self.change(world.store, action) {
                let mut next = self.follow(world, None, outcome);
                if let Some(fault) = fault {
                    next.left[fault as usize] -= 1;
                }
                nexts.push((action, next, fault.is_none(), Some(outcome)));
            }
        }
        for (at, act) in self.fleet.acts.iter().enumerate() {
            let repair = act.repair().filter(|_| world.done & (1 << at) != 0);
            for (act, done) in [(Some(*act), 1 << at), (repair, 0)] {
                let Some(act) = act.filter(|_| done == 0 || world.done & done == 0) else {
                    continue;
                };
                let gone = act.node().is_some_and(|id| self.is_gone(&world, id));
                if act.node().is_some() && !gone && !self.fleet.forced {
                    continue;
                }
                let action = Action::Person(act);
                let (mut next, outcome) = match act {
                    Act::Publish(newest) => (World { newest, ..world }, None),
                    _ => match self.change(world.store, action) {
                        Some(outcome) => (self.follow(world, None, outcome), Some(outcome)),
                        None => continue,
                    },
                };
                // What repairs may be done again and again.
                let again = gone || matches!(act, Act::Clear(_));
                next.done |= if again { 0 } else { done };
                let free = gone || done == 0 || matches!(act, Act::Publish(_) | Act::Clear(_));
                nexts.push((action, next, free, outcome));
            }
        }
        let nexts = nexts.into_iter().filter(|(_, next, ..)| *next != world);
        nexts
            .map(|(action, world, free, outcome)| Next {
                action,
                world,
                free,
                broken: outcome.and_then(|at| self.outcomes[at as usize].broken.clone()),
            })
            .collect()
    }

    /// Where a node can do one thing only, which is its own affair: that. In which order it is done with all that the others
    /// do makes no difference, so that one order is enough.
    fn only_next(&mut self, world: World) -> Option<Next> {
        let mut acts = self.fleet.acts.iter().enumerate();
        if acts.any(|(at, act)| matches!(act, Act::Publish(_)) && world.done & (1 << at) == 0) {
            return None;
        }
        for at in 0..self.fleet.size() {
            let mut can = Vec::new();
            for what in Do::ALL {
                let spent = |fault: Fault| world.left[fault as usize] == 0;
                if what == Do::StrayLands || what.fault().is_some_and(spent) {
                    continue;
                }
                let outcome = self.step(world.nodes[at], world.store, what, world.newest);
                can.extend(outcome.map(|outcome| (what, outcome)));
            }
            if let [(what, outcome)] = can[..]
                && moves::is_private(self.locals.get(world.nodes[at]), what)
            {
                let next = self.follow(world, Some(at), outcome);
                if next != world {
                    return Some(Next {
                        action: Action::Node(at as u8, what),
                        world: next,
                        free: true,
                        broken: self.outcomes[outcome as usize].broken.clone(),
                    });
                }
            }
        }
        None
    }

    /// What comes of a step of a node; none where it cannot be taken.
    fn step(&mut self, node: u32, store: u32, what: Do, newest: u8) -> Option<u32> {
        let key = (node, store, what, newest);
        if let Some(known) = self.steps.get(&key) {
            return *known;
        }
        let (before, old) = (self.locals.get(node), self.stores.get(store));
        let outcome = moves::step(before, old, newest, what).map(|(mut after, new, passed)| {
            let own = after.node.run.lease;
            after.settle(passed);
            let actor = Actor::Node(before, &after, what);
            let ticket = after.node.keys.ticket(after.node.id());
            let (new, ranks, broken) = settled(actor, old, new, Some((&ticket, own)));
            after.follow(&new, &ranks);
            (Some(after), new, ranks, broken)
        });
        let number = outcome.map(|outcome| self.note(store, outcome));
        self.steps.insert(key, number);
        number
    }

    /// What comes of an act of a person, or of the end of a lease; none where nothing changes.
    fn change(&mut self, store: u32, action: Action) -> Option<u32> {
        if let Some(known) = self.changes.get(&(store, action)) {
            return *known;
        }
        let old = self.stores.get(store);
        let mut new = old.clone();
        let actor = match action {
            Action::Person(act) => {
                act.change(&mut new);
                Actor::Person
            }
            Action::Lapse(at) => {
                let (key, _) = moves::lapsing(old, |_| false).swap_remove(usize::from(at));
                moves::lapse(&mut new, &key);
                Actor::Time
            }
            Action::Node(..) => unreachable!("a node's step is not of the store alone"),
        };
        let outcome = (new.revision != old.revision).then(|| {
            let (new, ranks, broken) = settled(actor, old, new, None);
            (None, new, ranks, broken)
        });
        let number = outcome.map(|outcome| self.note(store, outcome));
        self.changes.insert((store, action), number);
        number
    }

    fn note(
        &mut self,
        before: u32,
        (node, store, ranks, broken): (Option<Local>, Store, Ranks, Option<String>),
    ) -> u32 {
        let node = node.map(|node| self.locals.number(node));
        let store = self.stores.number(store);
        self.outcomes.push(Outcome {
            node,
            store,
            ranks: (store != before).then_some(ranks),
            broken,
        });
        self.outcomes.len() as u32 - 1
    }

    /// The state after an outcome: what the other nodes have on its way is written down by the store as it is then.
    fn follow(&mut self, world: World, actor: Option<usize>, outcome: u32) -> World {
        let mut next = world;
        let known = &self.outcomes[outcome as usize];
        next.store = known.store;
        if let (Some(at), Some(node)) = (actor, known.node) {
            next.nodes[at] = node;
        }
        let Some(ranks) = &known.ranks else {
            return next;
        };
        for at in 0..self.fleet.size() {
            let node = next.nodes[at];
            if Some(at) == actor || !self.locals.get(node).has_flight() {
                continue;
            }
            next.nodes[at] = match self.followed.get(&(node, outcome)) {
                Some(followed) => *followed,
                None => {
                    let mut local = self.locals.get(node).clone();
                    local.follow(self.stores.get(known.store), ranks);
                    let followed = self.locals.number(local);
                    self.followed.insert((node, outcome), followed);
                    followed
                }
            };
        }
        next
    }
}

/// The store after a step, the ranks by which it was written down, and the rule that the step has broken.
fn settled(
    actor: Actor<'_>,
    before: &Store,
    mut after: Store,
    ticket: Option<(&str, Option<u64>)>,
) -> (Store, Ranks, Option<String>) {
    note_ended(before, &mut after, actor);
    let step = Step {
        actor,
        before,
        after: &after,
    };
    let broken = step.check().err();
    let ranks = settle_store(&mut after, ticket);
    (after, ranks, broken)
}
