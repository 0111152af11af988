//! A simulated node that holds the lock: the commit, and what it says of its new boot.

use semaphore::{
    commit,
    gates::Gateway,
    records::{Holder, Phase},
};

use super::{
    MINUTE, SECOND,
    flight::{Flight, Then},
    node::Node,
    outside::Outside,
    queue::{DEADLINE, json, parse},
    release::deadline,
    store::{Compare, Store, Write, unchanged},
};
use crate::agent::{journal::Entry, machine::Event};

impl Node {
    /// The last word before the reboot.
    pub(super) fn commit(&mut self, entry: &Entry, store: &mut Store, outside: &mut Outside) {
        let key = entry.in_etcd().cloned().expect("a claim");
        let (claim, keys) = (self.claim(entry, &key), self.keys.clone());
        let gateway = Gateway::to_commit(&keys, claim.passenger(None));
        let gates = gateway.read(gateway.keys().iter().map(|range| store.find(range)), 0);
        let (own, document) = (self.own_entry(store, entry), store.get(&keys.semaphore()));
        let parsed = document.as_ref().map(|stored| Ok(parse(stored)));
        let step = commit::decide(commit::Standing {
            id: &key.id,
            own: own.as_ref(),
            lost: None,
            document: parsed.as_ref(),
            gates: &gates,
        });
        match step {
            commit::Step::Committed => self.ends(Event::CommitEnded(Ok(())), store, outside),
            commit::Step::StepBack(why) => {
                self.ends(Event::CommitEnded(Err(why.into())), store, outside)
            }
            commit::Step::Commit(holder) => {
                let stands = store.get(&keys.holder(&key.id));
                let mut compares = vec![
                    Compare::AsRead(keys.holder(&key.id), stands),
                    Compare::AsRead(keys.semaphore(), document),
                ];
                compares.extend(unchanged(&gates, store.revision));
                let writes = self.entry_again(&holder, store);
                // Also where the reply is lost, the next look finds it.
                self.send(Flight::new(compares, writes), store, outside);
            }
        }
    }

    /// Puts the entry in another phase; where its deadline has passed, and others may pass over it, with its whole time again.
    pub(super) fn entry_again(&self, holder: &Holder, store: &mut Store) -> Vec<Write> {
        let mut writes = vec![Write::Put(self.keys.holder(&holder.id), json(holder), None)];
        let in_time = store.get(&self.keys.deadline(&holder.id)).is_some();
        if holder.grace.is_some() && !in_time {
            writes.extend(deadline(store, &self.keys, holder));
        }
        writes
    }

    /// The cluster is told that the new boot is being checked.
    pub(super) fn proving(&mut self, entry: &Entry, store: &mut Store, outside: &mut Outside) {
        let own = self
            .own_entry(store, entry)
            .filter(|own| own.phase != Phase::Proving);
        let Some(own) = own else {
            self.run.told = true;
            self.wake = Some(store.now + outside.between(5 * SECOND, MINUTE));
            return;
        };
        let stands = store.get(&self.keys.holder(&own.id));
        let compares = vec![Compare::AsRead(self.keys.holder(&own.id), stands)];
        let soaked = own.phase == Phase::Soaking;
        let proving = Holder {
            phase: Phase::Proving,
            soaks_until: None,
            ..own
        };
        let writes = match soaked {
            true => {
                let proving = Holder {
                    deadline: Some(DEADLINE),
                    ..proving
                };
                let mut writes = deadline(store, &self.keys, &proving);
                writes.push(Write::Put(
                    self.keys.holder(&proving.id),
                    json(&proving),
                    None,
                ));
                writes
            }
            false => self.entry_again(&proving, store),
        };
        self.send(
            Flight::new(compares, writes).then(Then::Told),
            store,
            outside,
        );
    }
}
