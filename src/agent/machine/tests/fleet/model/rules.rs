//! What must hold of every step, whoever takes it.

use semaphore::{
    document::Document,
    keys::Keys,
    policy::Policy,
    records::{Holder, Phase},
};

use super::{
    super::{group, node::Power, store::Store},
    moves::Do,
    world::Local,
};
use crate::agent::{
    journal::{Entry, Stage},
    machine::Op,
};

/// Where the model notes that somebody else has ended a node's hold: nobody reads it but these rules.
const ENDED: &str = "ended-by-others/";

/// Who has taken a step.
#[derive(Clone, Copy)]
pub(super) enum Actor<'a> {
    /// A node: before the step, after it, and which.
    Node(&'a Local, &'a Local, Do),
    /// A person.
    Person,
    /// Time has ended a lease.
    Time,
}

impl<'a> Actor<'a> {
    fn node(self) -> Option<&'a Local> {
        match self {
            Actor::Node(before, ..) => Some(before),
            _ => None,
        }
    }

    fn is(self, id: &str) -> bool {
        self.node().is_some_and(|local| local.node.id == id)
    }
}

/// One step of the model.
pub(super) struct Step<'a> {
    pub(super) actor: Actor<'a>,
    pub(super) before: &'a Store,
    pub(super) after: &'a Store,
}

type Broken = Result<(), String>;

/// Fails with this sentence unless that is so.
fn hold(so: bool, otherwise: impl FnOnce() -> String) -> Broken {
    if so { Ok(()) } else { Err(otherwise()) }
}

fn holder_in(store: &Store, keys: &Keys, id: &str) -> Option<Holder> {
    let stored = store.get(&keys.holder(id))?;
    Some(serde_json::from_slice(&stored.value).expect("an entry of a holder"))
}

fn policy_in(store: &Store, keys: &Keys) -> Policy {
    let policy = store.get(&keys.policy());
    policy.map_or_else(Policy::default, |stored| {
        Policy::parse(&stored.value).expect("a policy")
    })
}

fn document_in(store: &Store, keys: &Keys) -> Document {
    let stored = store.get(&keys.semaphore()).expect("a document");
    Document::parse(&stored.value).expect("a document")
}

/// Notes whose hold others have ended in this step, and who has taken again.
pub(super) fn note_ended(before: &Store, after: &mut Store, actor: Actor<'_>) {
    let holders = |store: &Store| -> Vec<String> {
        let keys = store.keys.keys();
        keys.filter(|key| key.contains("/holders/"))
            .cloned()
            .collect()
    };
    let id = |key: &str| key.rsplit('/').next().unwrap_or_default().to_owned();
    for key in holders(after) {
        if !before.keys.contains_key(&key) {
            after.keys.remove(&(ENDED.to_owned() + &id(&key)));
        }
    }
    for key in holders(before) {
        if !after.keys.contains_key(&key) && !actor.is(&id(&key)) {
            let mut note = before.keys[&key].clone();
            note.stored.value.clear();
            (note.stored.modified, note.created, note.lease) = (0, 0, None);
            after.keys.insert(ENDED.to_owned() + &id(&key), note);
        }
    }
}

impl Step<'_> {
    /// Checks the step; what is wrong with it, as a sentence.
    pub(super) fn check(&self) -> Broken {
        if let Actor::Node(before, after, what) = self.actor {
            self.reboot(before, after, what)?;
        }
        if self.before.revision == self.after.revision {
            return Ok(());
        }
        let mut keys: Vec<&String> = self.before.keys.keys().collect();
        keys.extend(self.after.keys.keys());
        keys.sort_unstable();
        keys.dedup();
        for key in keys {
            let [was, is] = [self.before, self.after].map(|store| store.get(key));
            if was == is {
                continue;
            }
            let Some((keys, kind, name)) = parts(key) else {
                continue;
            };
            match kind {
                "holders" => self.holder(&keys, name)?,
                "queue" if is.is_none() => self.ticket(&keys, name)?,
                "lost" if is.is_some() => self.lost(&keys, name)?,
                "waves" if is.is_some() => self.wave(&keys, name)?,
                "members" if is.is_some() => self.member(&keys, name)?,
                "quarantine" if is.is_none() => {
                    let person = matches!(self.actor, Actor::Person);
                    hold(person, || format!("the quarantine of {name} is lost"))?;
                }
                _ => {}
            }
        }
        self.documents()
    }

    /// The document names those who have an entry, and nobody else.
    fn documents(&self) -> Broken {
        for key in self.after.keys.keys() {
            let Some((keys, "semaphore", _)) = parts(key) else {
                continue;
            };
            let document = document_in(self.after, &keys);
            let mut named: Vec<&str> = document.holders.iter().map(String::as_str).collect();
            named.sort_unstable();
            let entries = self.after.below(&keys.holders());
            let mut held: Vec<&str> = entries
                .iter()
                .filter_map(|found| found.key.strip_prefix(&keys.holders()))
                .collect();
            held.sort_unstable();
            hold(named == held, || {
                format!("the document names {named:?}, and entries have {held:?}")
            })?;
        }
        Ok(())
    }

    fn holder(&self, keys: &Keys, id: &str) -> Broken {
        match [self.before, self.after].map(|store| holder_in(store, keys, id)) {
            [None, Some(now)] => self.taken(keys, &now),
            [Some(was), Some(now)] => {
                hold(was.nonce == now.nonce, || {
                    format!("{id} took what it held under another nonce")
                })?;
                match now.phase == Phase::Rebooting && was.phase != Phase::Rebooting {
                    true => self.committed(keys, &now),
                    false => Ok(()),
                }
            }
            [Some(was), None] => self.ended(keys, &was),
            [None, None] => Ok(()),
        }
    }

    /// Who goes to an image that must not be booted, or while all are to stay, is stopped in the transaction itself.
    fn may_go(&self, keys: &Keys, holder: &Holder, what: &str) -> Broken {
        let id = &holder.id;
        for pause in [keys.pause(), keys.pause_all()] {
            hold(self.before.get(&pause).is_none(), || {
                format!("{id} {what} during a pause")
            })?;
        }
        let moves = !holder.to.is(&holder.from);
        for key in keys.quarantines_of(&holder.to) {
            hold(!moves || self.before.get(&key).is_none(), || {
                format!("{id} {what} for an image that is quarantined: {key}")
            })?;
        }
        Ok(())
    }

    fn taken(&self, keys: &Keys, holder: &Holder) -> Broken {
        let id = &holder.id;
        hold(self.actor.is(id), || {
            format!("{id} holds, and has not taken")
        })?;
        hold(holder.phase == Phase::Draining, || {
            format!("{id} says that it is {} without holding", holder.phase)
        })?;
        self.may_go(keys, holder, "takes")?;
        let policy = policy_in(self.before, keys);
        let members = self.before.below(&keys.members()).len() as u64;
        let stood = document_in(self.before, keys);
        let stood = match policy.max_percent {
            Some(percent) => stood.with_percentage(percent, members),
            None => stood,
        };
        let max = document_in(self.after, keys).max;
        hold(max == stood.max, || {
            format!(
                "with the take of {id} max is {max}, and was to be {}",
                stood.max
            )
        })?;
        let held = self.after.below(&keys.holders()).len();
        hold(held as u64 <= u64::from(max), || {
            format!("{id} takes one place too many: {held} of {max}")
        })?;
        let own = self.before.created(&keys.ticket(id));
        let older = self.before.below(&keys.queue()).into_iter();
        let older = older
            .map(|found| found.key)
            .find(|key| self.before.created(key) < own || own == 0);
        hold(older.is_none(), || {
            format!("{id} takes before {}", older.unwrap_or_default())
        })?;
        let digest = holder.to.digest.clone().unwrap_or_default();
        let moves = !holder.to.is(&holder.from);
        for before in policy.after.iter().filter(|_| moves) {
            let before = keys.of_group(before.clone());
            let open = self.before.get(&before.wave(&digest)).is_some();
            let soaks = self.before.get(&before.wave_soak(&digest)).is_some();
            hold(open && !soaks, || {
                format!("{id} takes for {digest}, which is not open to its group")
            })?;
        }
        Ok(())
    }

    fn committed(&self, keys: &Keys, holder: &Holder) -> Broken {
        let id = &holder.id;
        let named = document_in(self.before, keys).holds(id);
        hold(named && self.actor.is(id), || {
            format!("{id} commits without holding")
        })?;
        self.may_go(keys, holder, "commits")
    }

    /// An entry is gone: released by its node, passed over, or ended by a person.
    fn ended(&self, keys: &Keys, holder: &Holder) -> Broken {
        let id = &holder.id;
        match self.actor {
            Actor::Person => Ok(()),
            Actor::Time => Err(format!("the hold of {id} is lost with a lease")),
            Actor::Node(local, ..) if local.node.id == *id => {
                self.released(keys, holder, local.node.disk.entry.as_ref())
            }
            // What it may be passed over for is checked with its key among the lost.
            Actor::Node(local, ..) => {
                let lost = self.after.get(&keys.lost_node(id)).is_some();
                hold(lost, || format!("{} ends the hold of {id}", local.node.id))
            }
        }
    }

    fn released(&self, keys: &Keys, holder: &Holder, entry: Option<&Entry>) -> Broken {
        let id = &holder.id;
        let ends = |entry: &&Entry| {
            let own = entry
                .in_etcd()
                .is_some_and(|claim| claim.nonce == holder.nonce);
            own && matches!(entry.stage, Stage::Releasing | Stage::Soaking)
        };
        hold(entry.filter(ends).is_some(), || {
            format!(
                "{id} releases a hold that it has not ended: it is {}",
                holder.phase
            )
        })?;
        let proven = self.after.get(&keys.member(id));
        let proven = proven.is_some_and(|stored| {
            let digest = holder.to.digest.as_deref().unwrap_or_default();
            stored.value == digest.as_bytes() && !holder.to.is(&holder.from)
        });
        let soaks = policy_in(self.before, keys).soak.is_some();
        hold(!proven || !soaks || holder.phase == Phase::Soaking, || {
            format!("{id} counts as proven without the soak that the policy wants")
        })
    }

    /// A ticket is gone.
    fn ticket(&self, keys: &Keys, id: &str) -> Broken {
        let other = self.actor.node().is_some() && !self.actor.is(id);
        hold(!other, || {
            format!("another node deletes {}", keys.ticket(id))
        })
    }

    fn lost(&self, keys: &Keys, id: &str) -> Broken {
        let policy = policy_in(self.before, keys);
        let budget = policy.lost.map_or(0, |lost| u64::from(lost.budget));
        let lost = self.after.below(&keys.lost_nodes()).len() as u64;
        hold(lost <= budget, || {
            format!("{id} is passed over, which makes {lost} lost, and the budget is {budget}")
        })?;
        hold(self.before.get(&keys.expiry(id)).is_none(), || {
            format!("{id} is passed over before its grace has passed")
        })?;
        let holder = holder_in(self.before, keys, id);
        hold(holder.is_some_and(|h| h.phase != Phase::Soaking), || {
            format!("{id} is passed over while it holds nothing, or soaks")
        })
    }

    fn wave(&self, keys: &Keys, digest: &str) -> Broken {
        let members = self.after.below(&keys.members());
        let proven = members
            .iter()
            .all(|found| found.stored.value == digest.as_bytes());
        hold(proven && !members.is_empty(), || {
            format!("{digest} is opened before all members have proven it")
        })
    }

    /// A member says what is proven on it.
    fn member(&self, keys: &Keys, id: &str) -> Broken {
        let said = self.after.get(&keys.member(id)).unwrap_or_default().value;
        let Some(Local { node, .. }) = self.actor.node().filter(|_| !said.is_empty()) else {
            return Ok(());
        };
        let runs = node.runs().unwrap_or_default();
        let good = node.slots.good[node.slots.booted];
        hold(self.actor.is(id) && said == runs.as_bytes() && good, || {
            format!("{id} counts as proven on what it does not run well")
        })
    }

    /// A node that reboots by its own will holds, unless somebody has ended that since its commit; and one that is down by that
    /// is counted.
    fn reboot(&self, before: &Local, after: &Local, what: Do) -> Broken {
        let calls = matches!(before.node.op, Some(Op::Reboot(_)))
            && matches!(what, Do::Act | Do::CrashUnjournalled)
            && matches!(after.node.power, Power::Down(_));
        if !calls {
            return Ok(());
        }
        let Some(Op::Reboot(entry)) = &before.node.op else {
            return Ok(());
        };
        let (id, keys) = (&before.node.id, &before.node.keys);
        let nonce = entry.in_etcd().map(|claim| claim.nonce.as_str());
        let own = holder_in(self.before, keys, id).is_some_and(|holder| {
            Some(&*holder.nonce) == nonce && holder.phase == Phase::Rebooting
        });
        let ended = self.before.keys.contains_key(&(ENDED.to_owned() + id));
        hold(own || ended, || {
            format!("{id} reboots without a hold of its own")
        })
    }
}

/// The group of a key, its kind, and what it is of.
fn parts(key: &str) -> Option<(Keys, &str, &str)> {
    let rest = key.strip_prefix("p/")?;
    let (name, rest) = match rest.strip_prefix("groups/") {
        Some(rest) => rest.split_once('/')?,
        None => ("", rest),
    };
    let (kind, of) = rest.split_once('/').unwrap_or((rest, ""));
    Some((group(name), kind, of))
}
