//! The way of a simulated node from the queue to its reboot: what is read of the store, and what is written by the decisions.

use std::collections::BTreeMap;

use semaphore::{
    document::Document,
    etcd::{Claim, QueuePosition, Wait, WaveWait},
    gates::{Closed, ClosedBy, Gateway},
    keys::Keys,
    policy::{Policy, after_in, lost_in, percentage_in},
    queue::{Block, Step, View, decide},
    records::{Holder, Ticket},
    stored::Stored,
};

use super::{
    HOUR, SECOND,
    bugs::Bug,
    flight::{Flight, Then},
    node::Node,
    outside::Outside,
    release::{deadline, opening},
    store::{Compare, Store, Write, unchanged},
};
use crate::agent::{
    journal::{self, ClaimKey, Entry},
    machine::Event,
};

/// What a node may take from the take to the proof.
pub(super) const DEADLINE: u64 = 1800;

pub(super) fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("records are JSON")
}

pub(super) fn parse(stored: &Stored) -> Document {
    Document::parse(&stored.value).expect("a document")
}

impl Node {
    pub(super) fn claim(&self, entry: &Entry, key: &ClaimKey) -> Claim {
        let holder: Holder = serde_json::from_value(serde_json::json!({
            "id": key.id, "hostname": key.id, "nonce": key.nonce, "boot_id": entry.boot_id,
            "phase": "draining", "deadline": DEADLINE,
        }))
        .expect("an entry of a holder");
        Claim {
            holder: Holder {
                from: entry.from.clone(),
                to: entry.intent.to.clone(),
                ..holder
            },
            ticket_lease: 60,
            member: false,
            by_person: entry.intent.by_person,
            new_image: entry.intent.new_image,
            waves: WaveWait::default(),
            windows: None,
            node: None,
        }
    }

    /// One look of a node that waits for the lock, and what follows from it.
    pub(super) fn acquire(&mut self, entry: &Entry, store: &mut Store, outside: &mut Outside) {
        let key = entry.in_etcd().cloned().expect("a claim");
        let (claim, keys) = (self.claim(entry, &key), self.keys.clone());
        let policy = store.get(&keys.policy());
        let policy = policy.map(|stored| stored.value).unwrap_or_default();
        let after = match store.bug {
            Some(Bug::WavesIgnored) => Vec::new(),
            _ => after_in(&policy),
        };
        let gateway = Gateway::to_take(&keys, claim.passenger(None), &after);
        let gates = gateway.read(gateway.keys().iter().map(|range| store.find(range)), 0);
        let ticket = Some(store.created(&keys.ticket(&key.id))).filter(|created| *created > 0);
        let holder = store.get(&keys.holder(&key.id));
        let view = View {
            cluster: 1,
            revision: store.revision,
            read_at: store.revision,
            document: store
                .get(&keys.semaphore())
                .map(|stored| (Ok(parse(&stored)), stored)),
            document_seen: true,
            ticket_stood: true,
            held_since: store.created(&keys.holder(&key.id)),
            holder: holder.map(|stored| {
                let holder = serde_json::from_slice(&stored.value).expect("an entry of a holder");
                (holder, stored)
            }),
            host_names: BTreeMap::new(),
            ticket,
            predecessor: ticket.and_then(|own| predecessor(store, &keys, own)),
            gates,
            percentage: percentage_in(&policy)
                .map(|percent| (percent, store.below(&keys.members()).len() as u64)),
        };
        let step = decide(&view, claim.asker());
        let waits = !matches!(step, Step::Held | Step::Blocked(_));
        if step == Step::Enqueue || waits && self.run.lease.is_none() {
            return self.enqueue(&claim, store, outside);
        }
        // Who is in the queue is not lost: the first is told by the document.
        if ticket.is_some()
            && let lost = store.get(&keys.lost_node(&key.id))
            && lost.is_some()
            && let Some((_, read)) = &view.document
        {
            let compares = vec![
                Compare::AsRead(keys.lost_node(&key.id), lost),
                Compare::AsRead(keys.semaphore(), Some(read.clone())),
            ];
            let document = parse(read).to_json();
            let writes = vec![
                Write::Delete(keys.lost_node(&key.id)),
                Write::Put(keys.semaphore(), document, None),
            ];
            return self.send(Flight::new(compares, writes), store, outside);
        }
        match &step {
            Step::Held => {
                let soaks = Policy::parse(&policy).is_ok_and(|policy| policy.soak.is_some());
                let taken = journal::Claim::Etcd(ClaimKey { soaks, ..key });
                self.ends(Event::Acquired(taken), store, outside);
            }
            Step::Take { document, read } => {
                let grace = lost_in(&policy).map(|lost| lost.grace.as_secs());
                let holder = Holder {
                    grace,
                    ..claim.holder.clone()
                };
                let mut compares = vec![
                    Compare::Created(keys.ticket(&key.id), ticket.unwrap_or_default()),
                    Compare::AsRead(keys.holder(&key.id), None),
                    Compare::AsRead(keys.semaphore(), Some(read.clone())),
                ];
                compares.extend(unchanged(&view.gates, view.read_at));
                let mut writes = vec![
                    Write::Put(keys.semaphore(), document.to_json(), None),
                    Write::Put(keys.holder(&key.id), json(&holder), None),
                    Write::Delete(keys.ticket(&key.id)),
                    Write::Delete(keys.lost_node(&key.id)),
                ];
                writes.extend(deadline(store, &keys, &holder));
                if claim.passenger(None).to.is_some() {
                    writes.extend(self.member_write(store, ""));
                }
                // Also where the reply is lost, the next look finds it.
                self.send(Flight::new(compares, writes), store, outside);
            }
            Step::Blocked(_) if ticket.is_some() => {
                let writes = vec![Write::Delete(keys.ticket(&key.id))];
                self.send(Flight::new(Vec::new(), writes), store, outside);
            }
            Step::Blocked(Block::Gate(Closed {
                by: ClosedBy::Wave(shut),
                ..
            })) => {
                self.run.waited = true;
                self.tell(&step, shut.open.clone(), store, outside);
                if !shut.soaks && self.run.wave_again <= store.now {
                    self.run.wave_again = store.now + outside.between(9 * HOUR, 15 * HOUR);
                    let before = keys.of_group(shut.group.clone());
                    let digest = shut.to.digest.clone().unwrap_or_default();
                    if let Some((compares, writes)) = opening(store, &before, &digest) {
                        self.send(Flight::new(compares, writes), store, outside);
                        return;
                    }
                }
                if self.wake.is_none() && !shut.soaks {
                    self.wake = Some(self.run.wave_again);
                }
            }
            Step::WaitFull { document, .. } => {
                if let Some(flight) = self.pass_over(&claim, &view, document, &policy, store) {
                    self.send(flight, store, outside);
                }
            }
            Step::Blocked(_) | Step::WaitBehind { .. } | Step::WaitGate(_) => {
                self.tell(&step, Vec::new(), store, outside);
            }
            other => unreachable!("{other:?}"),
        }
    }

    /// Tells the machine what it waits for, where that is something else.
    fn tell(
        &mut self,
        step: &Step,
        open_waves: Vec<String>,
        store: &mut Store,
        outside: &mut Outside,
    ) {
        let waits_for = step.to_string();
        if self.run.said == waits_for {
            return;
        }
        self.run.said.clone_from(&waits_for);
        let position = match step {
            Step::Blocked(Block::Gate(Closed {
                by: ClosedBy::Quarantine { .. },
                ..
            })) => QueuePosition::Quarantined,
            Step::Blocked(_) => QueuePosition::Outside,
            _ => QueuePosition::InQueue,
        };
        let wait = Wait {
            waits_for,
            position,
            open_waves,
            policy_windows: None,
        };
        self.step(Event::WaitsFor(wait), store, outside);
    }

    fn enqueue(&mut self, claim: &Claim, store: &mut Store, outside: &mut Outside) {
        if std::mem::take(&mut self.run.waited) {
            self.run.said = "the image is open".into();
            self.wake = Some(store.now + outside.between(0, 30 * SECOND));
            return;
        }
        self.run.said.clear();
        let lease = store.lease(None);
        self.run.lease = Some(lease);
        let holder = &claim.holder;
        let ticket: Ticket = serde_json::from_value(
            serde_json::json!({"id": holder.id, "hostname": holder.hostname}),
        )
        .expect("a ticket");
        let put = Write::Put(self.keys.ticket(&holder.id), json(&ticket), Some(lease));
        self.send(Flight::new(Vec::new(), vec![put]), store, outside);
    }

    /// Gives up the wait, or finds that it holds.
    pub(super) fn leave(&mut self, entry: &Entry, store: &mut Store, outside: &mut Outside) {
        if self.own_entry(store, entry).is_some() {
            let taken = entry.in_etcd().cloned().map(|claim| ClaimKey {
                soaks: true,
                ..claim
            });
            let left = Event::Left(taken.map(journal::Claim::Etcd));
            return self.ends(left, store, outside);
        }
        let id = self.id().to_owned();
        let compares = vec![Compare::AsRead(self.keys.holder(&id), None)];
        let mut writes = vec![Write::Delete(self.keys.ticket(&id))];
        let proven = self.machine.proven_digest().unwrap_or_default().to_owned();
        writes.extend(self.member_write(store, &proven));
        let then = Then::Ends(Event::Left(None));
        self.send(Flight::new(compares, writes).then(then), store, outside);
    }
}

/// The ticket right before this one, and the host name on it.
fn predecessor(store: &Store, keys: &Keys, own: i64) -> Option<(String, String)> {
    let tickets = store.below(&keys.queue()).into_iter();
    let created = tickets.map(|found| (store.created(&found.key), found));
    let before = created.filter(|(created, _)| *created < own);
    let before = before.filter(|_| store.bug != Some(Bug::TicketOrderIgnored));
    let (_, found) = before.max_by_key(|(created, _)| *created)?;
    let ticket: Ticket = serde_json::from_slice(&found.stored.value).ok()?;
    Some((found.key, ticket.hostname))
}
