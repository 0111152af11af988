//! What people do to a semaphore: lock, unlock, set its size.

use etcd_client::{Compare, CompareOp, GetOptions, Txn, TxnOp};

use super::{
    Error, RACES, Semaphore, absent,
    acts::{About, Acting},
    gates,
    hold::Held,
    json, read, stand_back,
    store::as_read,
    unchanged,
};
use crate::{
    acts,
    document::{Document, Refusal},
    gates::{Closed, ClosedBy, Gateway, Passenger},
    policy::percentage_in,
    records::{Drain, Holder, Pause, Phase},
    stored::Stored,
};

/// How a `lock` by hand ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Locked {
    /// Taken.
    Taken,
    /// The id is a holder already; its entry, where it has one.
    AlreadyHeld(Option<Holder>),
    /// Nothing is left: who holds it.
    Full(Document),
    /// The whole cluster (true) or the group is paused.
    Paused(bool, Pause),
}

/// How an `unlock` ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Unlocked {
    /// Released.
    Unlocked(Option<Holder>),
    /// The id was no holder.
    NotHeld,
    /// The node is rebooting or proving: it needs force.
    InUse(Holder),
}

/// How an import ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Imported {
    /// The document and the entries stand now.
    Copied,
    /// There was a document or a holder already, and it is as it was.
    InUse,
}

/// What `set_max` found and wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetMax {
    /// The size before; none where there was no (readable) document.
    pub old: Option<u32>,
    /// What there was before.
    pub before: Before,
    /// The document as written.
    pub document: Document,
}

/// What there was of a group before its size was set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    /// Nothing: nobody had used it.
    Unused,
    /// A document.
    Used,
    /// Entries of holders, and a document that was missing or could not be used.
    Rebuilt,
}

impl Semaphore {
    /// Takes the semaphore at once, or not at all.
    ///
    /// # Errors
    /// When etcd cannot be reached (it may then have been taken), refuses, or the document cannot be used.
    pub async fn lock(&self, holder: &Holder) -> Result<Locked, Error> {
        const DOING: &str = "locking";
        let keys = &self.keys;
        let node = acts::node(&holder.hostname, &holder.id);
        let reason = holder.reason.as_deref().unwrap_or_default();
        let act = self.act(DOING, "lock", About::Group, node, reason)?;
        // A person's lock goes to no image, and is counted as no member of etcd.
        let gateway = Gateway::to_take(
            keys,
            Passenger {
                to: None,
                member: false,
                new: None,
                moment: None,
                runs: None,
            },
            &[],
        );
        for tries in 0..RACES {
            let mut asked: Vec<TxnOp> = gates::gets(&gateway).collect();
            asked.push(read::count(keys.members()));
            let mut held = self.held(DOING, &holder.id, asked).await?;
            let gates = gates::read(&gateway, std::mem::take(&mut held.more), None);
            if let Some((entry, _)) = &held.entry {
                return Ok(if entry.nonce == holder.nonce {
                    // The reply to an earlier try was lost.
                    Locked::Taken
                } else {
                    Locked::AlreadyHeld(Some(entry.clone()))
                });
            }
            // Where agents stopped because etcd is not the one it was, people tell it who is out: nobody goes for that.
            let paused = |closed: &Closed| match &closed.by {
                ClosedBy::Pause { all, pause } if pause.store.is_none() => {
                    Some((*all, pause.clone()))
                }
                _ => None,
            };
            if let Some((all, pause)) = gates.closed.iter().find_map(paused) {
                return Ok(Locked::Paused(all, pause));
            }
            let (document, modified) = match held.document {
                None => {
                    self.create(Vec::new()).await?;
                    continue;
                }
                Some((Err(error), _)) => return Err(self.unusable(error)),
                Some((Ok(document), modified)) => (document, modified),
            };
            let policy = gates.found(&keys.policy());
            let document = match policy.and_then(|found| percentage_in(&found.stored.value)) {
                Some(percent) => document.with_percentage(percent, held.counted),
                None => document,
            };
            let next = match document.with(&holder.id) {
                Ok(next) => next,
                Err(Refusal::Held) => return Ok(Locked::AlreadyHeld(None)),
                Err(Refusal::Full) => return Ok(Locked::Full(document)),
            };
            let mut compares = vec![absent(keys.holder(&holder.id))];
            compares.extend(gates::unchanged(&gates, held.revision));
            compares.extend(unchanged(keys.semaphore(), &modified));
            let leases = self.deadline_leases(DOING, holder).await?;
            let puts = self.holder_puts(holder, &next, leases);
            if self.do_act(DOING, compares, puts, &act).await? {
                return Ok(Locked::Taken);
            }
            stand_back(tries).await;
        }
        Err(Error::Contended {
            doing: DOING,
            tries: RACES,
        })
    }

    /// Notes in this holder's entry how far the drain of its node has come; false where the entry is another one by now.
    ///
    /// # Errors
    /// When etcd cannot be reached or refuses.
    pub async fn set_drain(&self, holder: &Holder, drain: Drain) -> Result<bool, Error> {
        const DOING: &str = "noting the drain";
        let id = &holder.id;
        for tries in 0..RACES {
            let held = self.held(DOING, id, Vec::new()).await?;
            let Some((entry, read)) = held.by(&holder.nonce) else {
                return Ok(false);
            };
            let mut entry = entry.clone();
            entry.set_drain(drain);
            let key = self.keys.holder(id);
            let txn = Txn::new()
                .when(unchanged(key.clone(), read))
                .and_then(vec![TxnOp::put(key, json(&entry), None)]);
            if self.txn(DOING, txn).await?.succeeded() {
                return Ok(true);
            }
            stand_back(tries).await;
        }
        Err(Error::Contended {
            doing: DOING,
            tries: RACES,
        })
    }

    /// Takes `id` out of the holders, whoever put it there; `force` also while it is rebooting or proving.
    ///
    /// # Errors
    /// When etcd cannot be reached, refuses, or the document cannot be used.
    pub async fn unlock(&self, id: &str, force: bool) -> Result<Unlocked, Error> {
        const DOING: &str = "unlocking";
        let keys = &self.keys;
        let mut held = self.held(DOING, id, Vec::new()).await?;
        let act = {
            let command = if force { "unlock --force" } else { "unlock" };
            let entry = held.entry.as_ref();
            let node = acts::node(entry.map_or("", |(entry, _)| &entry.hostname), id);
            self.act(DOING, command, About::Group, node, "")?
        };
        let mut tried = None;
        for tries in 0..RACES {
            let named = match &held.document {
                Some((Ok(document), _)) => document.holds(id),
                Some((Err(error), _)) => return Err(self.unusable(error.clone())),
                None => false,
            };
            let entry = held.entry.as_ref().map(|(entry, _)| entry.clone());
            if entry.is_none() && !named && self.forget_member(id, &held, &act).await? {
                return Ok(Unlocked::Unlocked(None));
            }
            if entry.is_none() && !named {
                // After a try, it is gone because of that try or of somebody who did the same.
                return Ok(tried.map_or(Unlocked::NotHeld, Unlocked::Unlocked));
            }
            if let Some(entry) = &entry
                && !force
                && matches!(entry.phase, Phase::Rebooting | Phase::Proving)
            {
                return Ok(Unlocked::InUse(entry.clone()));
            }
            let entry_read = held.entry.as_ref().map(|(_, stored)| stored);
            let compares = as_read(&keys.holder(id), entry_read);
            let nonce = entry.as_ref().map_or("", |entry| &entry.nonce);
            let (compares, then) = self.removal(id, nonce, &held, compares)?;
            if self.do_act(DOING, compares, then, &act).await? {
                return Ok(Unlocked::Unlocked(entry));
            }
            tried = Some(entry);
            stand_back(tries).await;
            held = self.held(DOING, id, Vec::new()).await?;
        }
        Err(Error::Contended {
            doing: DOING,
            tries: RACES,
        })
    }

    /// Deletes what is left of a node with a member of etcd whose holder is gone: somebody deleted its entry by hand.
    async fn forget_member(&self, id: &str, held: &Held, act: &Acting) -> Result<bool, Error> {
        let left = |kv: &&etcd_client::KeyValue| {
            let out = read::member_out(kv);
            out.id == id && out.group == self.keys.group().as_str()
        };
        let Some(out) = held.member_out.as_ref().filter(left) else {
            return Ok(false);
        };
        let key = self.keys.member_out();
        let mut compares = unchanged(key.clone(), &Stored::from(out));
        compares.push(absent(self.keys.holder(id)));
        let then = vec![TxnOp::delete(key, None)];
        self.do_act("unlocking", compares, then, act).await
    }

    /// Sets how many may be out at a time. With `rebuild`, a document that is missing or cannot be used is
    /// rebuilt from the holders' entries; otherwise that is an error.
    ///
    /// # Errors
    /// When etcd cannot be reached, refuses, or the document cannot be used.
    pub async fn set_max(&self, max: u32, rebuild: bool) -> Result<SetMax, Error> {
        const DOING: &str = "setting max";
        let keys = &self.keys;
        let command = if rebuild {
            "set-max --rebuild"
        } else {
            "set-max"
        };
        let act = self.act(DOING, command, About::Group, max.to_string(), "")?;
        let mut first_seen = None;
        for tries in 0..RACES {
            let get = vec![
                TxnOp::get(keys.semaphore(), None),
                TxnOp::get(keys.holders(), Some(GetOptions::new().with_prefix())),
            ];
            let response = self.txn(DOING, Txn::new().and_then(get)).await?;
            let answers = read::answers(&response);
            let stored = answers[0].first();
            let prefix = keys.holders();
            let ids = || {
                answers[1]
                    .iter()
                    .map(|kv| read::text(kv.key()).trim_start_matches(&prefix).to_owned())
            };
            let (old, document) = match stored.map(|kv| Document::parse(kv.value())) {
                Some(Ok(document)) => (Some(document.max), document.with_max(max)),
                Some(Err(error)) if !rebuild => return Err(self.unusable(error)),
                None if !rebuild && !answers[1].is_empty() => {
                    return Err(Error::Missing {
                        key: keys.semaphore(),
                        holders: ids().collect(),
                    });
                }
                Some(Err(_)) | None => (None, Document::held_by(max, ids())),
            };
            // After a try whose reply was lost, what was there before it is what counts.
            let before = match (stored, &old) {
                (_, Some(_)) => Before::Used,
                (None, None) if answers[1].is_empty() => Before::Unused,
                _ => Before::Rebuilt,
            };
            let first = *first_seen.get_or_insert((old, before));
            let (old, before) = if old == Some(max) {
                first
            } else {
                (old, before)
            };
            let read = stored.map(Stored::from);
            let compares = as_read(&keys.semaphore(), read.as_ref());
            let put = TxnOp::put(keys.semaphore(), document.to_json(), None);
            if self.do_act(DOING, compares, vec![put], &act).await? {
                return Ok(SetMax {
                    old,
                    before,
                    document,
                });
            }
            stand_back(tries).await;
        }
        Err(Error::Contended {
            doing: DOING,
            tries: RACES,
        })
    }

    /// Writes the document and its holders' entries, where the group has never been used.
    ///
    /// # Errors
    /// When etcd cannot be reached (it may then have been written) or refuses.
    pub async fn import(&self, document: &Document, entries: &[Holder]) -> Result<Imported, Error> {
        const DOING: &str = "copying the reboot lock";
        let keys = &self.keys;
        let target = format!("max {}, holders {}", document.max, entries.len());
        let act = self.act(DOING, "import-locksmith", About::Group, target, "")?;
        let unused = vec![
            absent(keys.semaphore()),
            absent(keys.holders()).with_prefix(),
        ];
        let mut puts = vec![TxnOp::put(keys.semaphore(), document.to_json(), None)];
        puts.extend(
            entries
                .iter()
                .map(|entry| TxnOp::put(keys.holder(&entry.id), json(entry), None)),
        );
        Ok(match self.do_act(DOING, unused, puts, &act).await? {
            true => Imported::Copied,
            false => Imported::InUse,
        })
    }

    /// Deletes a ticket, also one that no agent keeps. A living agent takes another, at the end of the queue.
    ///
    /// # Errors
    /// When etcd cannot be reached or refuses.
    pub async fn delete_ticket(&self, id: &str) -> Result<bool, Error> {
        const DOING: &str = "deleting a ticket";
        let act = self.act(DOING, "unlock --ticket", About::Group, id.to_owned(), "")?;
        let key = self.keys.ticket(id);
        let there = Compare::create_revision(key.clone(), CompareOp::Greater, 0);
        let then = vec![TxnOp::delete(key, None)];
        self.do_act(DOING, vec![there], then, &act).await
    }
}
