//! What people do meanwhile, each in one transaction.

use semaphore::{
    document::Document,
    keys::Keys,
    policy::{Policy, percentage_in},
    records::{Pause, Quarantine},
};

use super::super::{
    super::{image, named},
    group,
    queue::json,
    release::{opening, quarantine},
    store::{Store, Write},
};

/// An act of a person. Nodes and groups are told by their place in the fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Act {
    /// `pause`, of a group.
    Pause(&'static str),
    /// `quarantine`, of an image.
    Quarantine(u8),
    /// `set-max`, of a group; and the number that it had.
    Max(&'static str, u32, u32),
    /// `policy`, of a group.
    Policy(&'static str, &'static str),
    /// `unlock`, of a node in a group.
    Unlock(&'static str, &'static str),
    /// `unlock --ticket`.
    UnlockTicket(&'static str, &'static str),
    /// `forget --force`.
    Forget(&'static str, &'static str),
    /// A newer image is offered.
    Publish(u8),
    /// `resume`.
    Resume(&'static str),
    /// `quarantine clear`.
    Clear(u8),
}

impl Act {
    /// The node that it is about, and that it may be a repair for.
    pub(super) fn node(self) -> Option<&'static str> {
        match self {
            Self::Unlock(_, id) | Self::Forget(_, id) => Some(id),
            _ => None,
        }
    }

    /// What repairs it, where it stops nodes.
    pub(super) fn repair(self) -> Option<Self> {
        match self {
            Self::Pause(group) => Some(Self::Resume(group)),
            Self::Quarantine(image) => Some(Self::Clear(image)),
            Self::Max(group, now, before) if now != before => {
                Some(Self::Max(group, before, before))
            }
            _ => None,
        }
    }

    /// Does it; whether anything has changed.
    pub(super) fn change(self, store: &mut Store) -> bool {
        let before = store.revision;
        let writes = self.writes(store);
        store.txn(&[], writes.unwrap_or_default());
        if let Self::Forget(name, _) = self {
            see_to_wave(store, &group(name));
        }
        store.revision != before
    }

    fn writes(self, store: &Store) -> Option<Vec<Write>> {
        let put = |key: String, value: String| Write::Put(key, value, None);
        let absent = |key: String| store.get(&key).is_none().then_some(key);
        Some(match self {
            Self::Pause(name) => {
                let pause: Pause = serde_json::from_str("{}").expect("a pause");
                vec![put(absent(group(name).pause())?, json(&pause))]
            }
            Self::Resume(name) => vec![Write::Delete(group(name).pause())],
            Self::Quarantine(number) => {
                let bad = Quarantine {
                    what: named(number),
                    node: String::new(),
                    hostname: String::new(),
                    reason: "a person says so".into(),
                    since: None,
                };
                quarantine(store, &group(""), &bad)
            }
            Self::Clear(number) => {
                let keys = group("").quarantines_of(&named(number)).into_iter();
                keys.map(Write::Delete).collect()
            }
            Self::Max(name, max, _) => {
                let keys = group(name);
                let document = document(store, &keys).with_max(max);
                vec![put(keys.semaphore(), document.to_json())]
            }
            Self::Policy(name, policy) => set_policy(store, &group(name), policy),
            Self::Unlock(name, id) => {
                let keys = group(name);
                store.get(&keys.holder(id))?;
                removal(&keys, id, document(store, &keys).without(id))
            }
            Self::UnlockTicket(name, id) => vec![Write::Delete(group(name).ticket(id))],
            Self::Forget(name, id) => {
                let keys = group(name);
                store.get(&keys.member(id))?;
                let members = store.below(&keys.members()).len() as u64 - 1;
                let document = document(store, &keys).without(id);
                let policy = store.get(&keys.policy());
                let percent = policy.and_then(|policy| percentage_in(&policy.value));
                let document = match percent {
                    Some(percent) => document.with_percentage(percent, members),
                    None => document,
                };
                let mut writes = removal(&keys, id, document);
                let more = [keys.member(id), keys.lost_node(id), keys.ticket(id)];
                writes.extend(more.map(Write::Delete));
                writes
            }
            Self::Publish(_) => return None,
        })
    }
}

fn document(store: &Store, keys: &Keys) -> Document {
    let stored = store.get(&keys.semaphore()).expect("a document");
    Document::parse(&stored.value).expect("a document")
}

fn removal(keys: &Keys, id: &str, document: Document) -> Vec<Write> {
    let keys_of = [keys.holder(id), keys.deadline(id), keys.expiry(id)];
    let document = Write::Put(keys.semaphore(), document.to_json(), None);
    keys_of
        .map(Write::Delete)
        .into_iter()
        .chain([document])
        .collect()
}

/// The puts of a policy; with the document, where it has a percentage.
pub(super) fn set_policy(store: &Store, keys: &Keys, policy: &str) -> Vec<Write> {
    let parsed = Policy::parse(policy.as_bytes()).expect("a policy");
    let mut writes = vec![Write::Put(keys.policy(), policy.to_owned(), None)];
    if let Some(percent) = parsed.max_percent {
        let members = store.below(&keys.members()).len() as u64;
        let document = document(store, keys).set_percentage(percent, members);
        writes.push(Write::Put(keys.semaphore(), document.to_json(), None));
    }
    writes
}

/// Opens what all members that are left have proven.
fn see_to_wave(store: &mut Store, keys: &Keys) {
    let member = store.below(&keys.members()).into_iter().next();
    let digest = member.map(|found| String::from_utf8_lossy(&found.stored.value).into_owned());
    let known = |digest: &String| {
        [0, 1, 2]
            .iter()
            .any(|n| image(*n).digest.as_ref() == Some(digest))
    };
    if let Some(digest) = digest.filter(known)
        && let Some((compares, writes)) = opening(store, keys, &digest)
    {
        store.txn(&compares, writes);
    }
}
