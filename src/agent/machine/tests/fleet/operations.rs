//! The operations of a simulated agent, and how they end.

use semaphore::etcd::HoldEnd;

use super::{
    super::image,
    BAD, SECOND,
    flight::{Flight, Then},
    node::{Node, Power},
    outside::Outside,
    release,
    store::Store,
};
use crate::agent::{
    health::Verdict,
    machine::{Event, Op},
};

impl Node {
    /// A part of the operation has ended.
    pub(super) fn act(&mut self, store: &mut Store, outside: &mut Outside) {
        if let Some(flight) = self.flight.take() {
            let done = store.txn(&flight.compares, flight.writes);
            match flight.then {
                Then::Ends(event) if done => return self.ends(event, store, outside),
                Then::Opens(digest, event) if done => self.run.opens = Some((digest, event)),
                Then::Told if done => self.run.told = true,
                _ => {}
            }
            self.wake = Some(store.now + outside.latency());
            return;
        }
        if let Some((digest, event)) = self.run.opens.clone() {
            match release::opening(store, &self.keys, &digest) {
                Some((compares, writes)) => {
                    let then = Then::Ends(event);
                    self.send(Flight::new(compares, writes).then(then), store, outside);
                }
                None => self.ends(event, store, outside),
            }
            return;
        }
        let Some(op) = self.op.clone() else { return };
        let boot = self.slots.boot_of().other;
        let bad = self.slots.runs() == BAD;
        let event = match op {
            Op::Acquire(entry) => return self.acquire(&entry, store, outside),
            Op::Leave(entry) => return self.leave(&entry, store, outside),
            Op::Commit(entry) => return self.commit(&entry, store, outside),
            Op::Release(entry, owed) => return self.release(&entry, owed.as_ref(), store, outside),
            Op::Prove {
                entry: Some(entry), ..
            } if !self.run.told => {
                return self.proving(&entry, store, outside);
            }
            Op::Resume(entry, left) => return self.soaks_on(&entry, left, store, outside),
            Op::Drain(entry) if self.own_entry(store, &entry).is_none() => {
                Event::Drained(Err(HoldEnd::Taken.into()), None)
            }
            Op::Watch(entry) | Op::CheckSoak { entry, .. }
                if self.own_entry(store, &entry).is_none() =>
            {
                Event::HoldEnded(HoldEnd::Taken)
            }
            // It waits until its hold ends.
            Op::Watch(_) => return,
            Op::May(_) => Event::Allowed(Ok(()), self.facts()),
            Op::Look => Event::Looked(self.facts()),
            Op::Drain(_) => Event::Drained(Ok(()), None),
            Op::Undo(_) | Op::Undrain(_) => Event::Undone,
            Op::Reboot(entry) => {
                if !entry.intent.to.is(&entry.from) {
                    self.slots.first = 1 - self.slots.booted;
                }
                self.power = Power::Down(store.now + outside.between(SECOND, 10 * SECOND));
                Event::RebootCalled(Ok(()))
            }
            Op::Prove { .. } | Op::CheckSoak { .. } => {
                let verdict = match bad {
                    true => Verdict::Failed("bad".into()),
                    false => Verdict::Passed(Vec::new()),
                };
                Event::Checked(verdict, Ok(boot))
            }
            Op::Mark => {
                self.slots.good[self.slots.booted] = true;
                self.slots.first = self.slots.booted;
                Event::Marked(Ok(()))
            }
            Op::RollBack { to, .. } => {
                let other = 1 - self.slots.booted;
                assert!(to.is(&image(self.slots.images[other])));
                self.slots.first = other;
                self.slots.abandoned[self.slots.booted] = true;
                self.power = Power::Down(store.now + outside.between(SECOND, 10 * SECOND));
                Event::RolledBack(Ok(()))
            }
        };
        self.ends(event, store, outside);
    }
}
