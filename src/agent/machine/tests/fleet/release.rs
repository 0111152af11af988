//! The end of a simulated node's hold: the soak, the release, and the wave that may be due by it.

use std::time::Duration;

use semaphore::{
    document::Document,
    etcd::HoldEnd,
    keys::Keys,
    policy::Policy,
    records::{Holder, Phase, Quarantine},
    waves::{Wave, too_old},
};

use super::{
    bugs::Bug,
    flight::{Flight, Then},
    node::Node,
    outside::Outside,
    queue::{DEADLINE, json},
    store::{Compare, Store, Write},
};
use crate::agent::{
    journal::{Entry, OwnQuarantine, Stage},
    machine::Event,
};

/// The puts of a holder's deadline and of its grace, each on a lease.
pub(super) fn deadline(store: &mut Store, keys: &Keys, holder: &Holder) -> Vec<Write> {
    let seconds = holder.deadline.unwrap_or_default();
    let lease = store.lease(Some(Duration::from_secs(seconds)));
    let mut writes = vec![Write::Put(
        keys.deadline(&holder.id),
        seconds.to_string(),
        Some(lease),
    )];
    if let Some(grace) = holder.grace {
        let lease = store.lease(Some(Duration::from_secs(seconds + grace)));
        writes.push(Write::Put(
            keys.expiry(&holder.id),
            String::new(),
            Some(lease),
        ));
    }
    writes
}

/// The puts of a quarantine, where none stands.
pub(super) fn quarantine(store: &Store, keys: &Keys, bad: &Quarantine) -> Vec<Write> {
    let absent = keys
        .quarantines_of(&bad.what)
        .into_iter()
        .filter(|key| store.get(key).is_none());
    absent.map(|key| Write::Put(key, json(bad), None)).collect()
}

/// The transaction that opens an image to the groups after this one, where it is due as far as can be seen now.
pub(super) fn opening(
    store: &mut Store,
    keys: &Keys,
    digest: &str,
) -> Option<(Vec<Compare>, Vec<Write>)> {
    let read = store.get(&keys.policy())?;
    let soak = Policy::parse(&read.value).ok()?.wave_soak?;
    let mut compares = vec![
        Compare::AllAre(keys.members(), digest.to_owned()),
        Compare::AsRead(keys.wave(digest), None),
        Compare::AsRead(keys.policy(), Some(read)),
    ];
    if store.bug == Some(Bug::OpeningWithoutMembers) {
        compares.remove(0);
    }
    // Where it is not due, etcd answers from one compare.
    if digest.is_empty() || !store.txn(&compares[..compares.len() - 1], Vec::new()) {
        return None;
    }
    let mut writes = vec![Write::Put(keys.wave(digest), json(&Wave::default()), None)];
    if !soak.is_zero() {
        let lease = store.lease(Some(soak));
        writes.push(Write::Put(
            keys.wave_soak(digest),
            String::new(),
            Some(lease),
        ));
    }
    let standing = store.below(&keys.waves()).into_iter();
    let standing = standing.filter_map(|found| {
        let other = found.key.strip_prefix(&keys.waves())?.to_owned();
        Some((other, found.stored.modified))
    });
    let old = too_old(&standing.collect::<Vec<_>>());
    writes.extend(old.iter().map(|old| Write::Delete(keys.wave(old))));
    Some((compares, writes))
}

impl Node {
    /// Releases the lock, or begins the soak that the policy wants first.
    pub(super) fn release(
        &mut self,
        entry: &Entry,
        owed: Option<&OwnQuarantine>,
        store: &mut Store,
        outside: &mut Outside,
    ) {
        let (keys, id) = (self.keys.clone(), self.id().to_owned());
        let may_soak = entry.stage == Stage::Soaking;
        let policy = store.get(&keys.policy());
        let parsed = policy
            .as_ref()
            .and_then(|read| Policy::parse(&read.value).ok())
            .unwrap_or_default();
        let stored = store.get(&keys.semaphore()).expect("a document");
        let document = Document::parse(&stored.value).expect("a document");
        let own = self.own_entry(store, entry);
        let mut compares = vec![
            Compare::AsRead(keys.holder(&id), store.get(&keys.holder(&id))),
            Compare::AsRead(keys.semaphore(), Some(stored.clone())),
            Compare::AsRead(keys.lost_node(&id), store.get(&keys.lost_node(&id))),
        ];
        if may_soak {
            compares.push(Compare::AsRead(keys.policy(), policy));
        }
        let mut writes = Vec::new();
        let told = owed.map(|owed| owed.what.clone());
        if let Some(owed) = owed {
            let bad = Quarantine {
                what: owed.what.clone(),
                node: id.clone(),
                hostname: id.clone(),
                reason: owed.reason.clone(),
                since: None,
            };
            writes.extend(quarantine(store, &keys, &bad));
        }
        let soak = parsed.soak.filter(|_| may_soak && document.holds(&id));
        if let (Some(own), Some(soak)) = (&own, soak) {
            writes.extend(soaks(store, &keys, own, soak));
            let then = Then::Ends(Event::Soaks(soak));
            return self.send(Flight::new(compares, writes).then(then), store, outside);
        }
        let proven = match may_soak {
            // With the release it is proven, and not before.
            true => self.runs().unwrap_or_default(),
            false => self.machine.proven_digest().unwrap_or_default().to_owned(),
        };
        if own.is_some() {
            writes.extend([
                Write::Delete(keys.holder(&id)),
                Write::Delete(keys.deadline(&id)),
                Write::Delete(keys.expiry(&id)),
                Write::Put(keys.semaphore(), document.without(&id).to_json(), None),
            ]);
        } else if store.get(&keys.lost_node(&id)).is_some() {
            // The document tells the first in the queue that the budget is free again.
            writes.push(Write::Delete(keys.lost_node(&id)));
            writes.push(Write::Put(keys.semaphore(), document.to_json(), None));
        }
        writes.extend(self.member_write(store, &proven));
        let event = Event::Released(told);
        let then = match parsed.wave_soak {
            Some(_) => Then::Opens(proven, event),
            None => Then::Ends(event),
        };
        self.send(Flight::new(compares, writes).then(then), store, outside);
    }

    /// The cluster is told that the node soaks on.
    pub(super) fn soaks_on(
        &mut self,
        entry: &Entry,
        left: Duration,
        store: &mut Store,
        outside: &mut Outside,
    ) {
        let Some(own) = self.own_entry(store, entry) else {
            return self.ends(Event::HoldEnded(HoldEnd::Taken), store, outside);
        };
        let key = self.keys.holder(&own.id);
        let compares = vec![Compare::AsRead(key.clone(), store.get(&key))];
        // It soaks, and nothing else was said meanwhile.
        let writes = match own.phase {
            Phase::Soaking => Vec::new(),
            _ => soaks(store, &self.keys, &own, left),
        };
        let then = Then::Ends(Event::Resumed);
        self.send(Flight::new(compares, writes).then(then), store, outside);
    }
}

/// The puts that make a holder one that soaks.
fn soaks(store: &mut Store, keys: &Keys, own: &Holder, soak: Duration) -> Vec<Write> {
    let soaks = Holder {
        phase: Phase::Soaking,
        deadline: Some(soak.as_secs() + DEADLINE),
        ..own.clone()
    };
    let mut writes = vec![Write::Put(keys.holder(&soaks.id), json(&soaks), None)];
    writes.extend(deadline(store, keys, &soaks));
    writes
}
