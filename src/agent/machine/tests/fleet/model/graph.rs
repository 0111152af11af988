//! The states that were found, and the ways between them.

use std::collections::HashMap;

use super::{
    moves::{Do, FAULTS},
    people::Act,
};

/// The most nodes of a fleet.
pub(super) const NODES: usize = 4;

/// A state: nodes and store by their numbers, and what may still go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct World {
    pub(super) store: u32,
    pub(super) nodes: [u32; NODES],
    pub(super) left: [u8; FAULTS],
    /// Which of the acts of people have been done, as bits.
    pub(super) done: u16,
    /// The newest image that is offered.
    pub(super) newest: u8,
}

/// What can happen in a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Action {
    Node(u8, Do),
    /// The so manieth lease runs out.
    Lapse(u8),
    Person(Act),
}

/// A way out of a state.
pub(super) struct Next {
    pub(super) action: Action,
    pub(super) world: World,
    /// Whether it also happens when failures have stopped.
    pub(super) free: bool,
    /// The rule that the step has broken.
    pub(super) broken: Option<String>,
}

/// A state, what happens in it, and what comes of that.
pub(super) type Move = (World, Action, World);

/// All that was found of a fleet.
pub(super) struct Graph {
    pub(super) worlds: Vec<World>,
    pub(super) transitions: usize,
    pub(super) depth: usize,
    numbers: HashMap<World, u32>,
    /// How each state was reached first.
    from: Vec<Option<(u32, Action)>>,
    /// The steps that are taken without a failure.
    free: Vec<(u32, u32)>,
}

impl Graph {
    pub(super) fn new(first: World) -> Self {
        Self {
            worlds: vec![first],
            transitions: 0,
            depth: 0,
            numbers: HashMap::from([(first, 0)]),
            from: vec![None],
            free: Vec::new(),
        }
    }

    /// Adds a way out of a state.
    pub(super) fn add(&mut self, at: usize, next: &Next) {
        self.transitions += 1;
        let new = u32::try_from(self.worlds.len()).expect("fewer than four billion");
        let number = *self.numbers.entry(next.world).or_insert(new);
        if number == new {
            self.worlds.push(next.world);
            self.from.push(Some((at as u32, next.action)));
        }
        if next.free {
            self.free.push((at as u32, number));
        }
    }

    /// The shortest way to a state.
    pub(super) fn way(&self, to: usize) -> Vec<Move> {
        let mut way = Vec::new();
        let mut at = to;
        while let Some((before, action)) = self.from[at] {
            way.push((self.worlds[before as usize], action, self.worlds[at]));
            at = before as usize;
        }
        way.reverse();
        way
    }

    /// The first state from which no way without a failure leads to one of these.
    pub(super) fn first_without_end(&self, ends: &[bool]) -> Option<usize> {
        let mut into: Vec<Vec<u32>> = vec![Vec::new(); self.worlds.len()];
        for (from, to) in &self.free {
            into[*to as usize].push(*from);
        }
        let mut reached = ends.to_vec();
        let mut left: Vec<u32> = (0..ends.len() as u32)
            .filter(|at| ends[*at as usize])
            .collect();
        while let Some(at) = left.pop() {
            for from in &into[at as usize] {
                if !std::mem::replace(&mut reached[*from as usize], true) {
                    left.push(*from);
                }
            }
        }
        reached.iter().position(|reached| !reached)
    }
}
