//! What happens to a simulated node: updates, the ends of its agent, its power.

use super::{
    HOUR, MINUTE, SECOND,
    node::{Node, Power},
    outside::Outside,
    store::Store,
};
use crate::agent::machine::Event;

impl Node {
    pub(super) fn fails(&mut self, store: &mut Store, outside: &mut Outside) {
        self.fails_at = store.now + outside.between(HOUR, 12 * HOUR);
        if !outside.faults {
            return;
        }
        self.dies(store, outside);
        if outside.random.below(3) == 0 {
            // Its power is cut.
            self.power = Power::Off(store.now + outside.between(MINUTE, 3 * MINUTE));
        } else {
            self.start(store, outside);
        }
    }

    /// update_engine looks for an update, as it does from time to time while none is staged.
    pub(super) fn looks(&mut self, store: &mut Store, outside: &mut Outside) {
        self.looks_at = store.now + outside.between(20 * MINUTE, 40 * MINUTE);
        let (newest, slots) = (outside.newest, &mut self.slots);
        let let_in = slots.good[slots.booted]
            && !self
                .disk
                .holds_updates_back(&format!("boot-{}", self.reboots));
        if self.staged.is_some() || newest == slots.runs() || !let_in {
            return;
        }
        let other = 1 - slots.booted;
        slots.images[other] = newest;
        slots.good[other] = false;
        slots.tries[other] = true;
        slots.abandoned[other] = false;
        slots.first = other;
        self.staged = Some(newest);
        self.step(Event::Facts(self.facts()), store, outside);
    }

    pub(super) fn goes_down(&mut self, store: &mut Store, outside: &mut Outside) {
        self.dies(store, outside);
        let next = self.slots.images[self.slots.next()];
        self.power = match outside.is_gone(&self.keys, next) {
            true => Power::Gone,
            false => Power::Off(store.now + outside.between(30 * SECOND, 3 * MINUTE)),
        };
    }

    pub(super) fn comes_up(&mut self, store: &mut Store, outside: &mut Outside) {
        self.slots.boot();
        self.reboots += 1;
        self.booted_at = store.now;
        self.staged = None;
        self.looks_at = store.now + outside.between(MINUTE, 30 * MINUTE);
        self.power = Power::On;
        self.start(store, outside);
    }
}
