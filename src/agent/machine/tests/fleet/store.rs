//! A map of keys that stands for etcd: revisions, leases, transactions. Its clock is the simulation's.

use std::{collections::BTreeMap, time::Duration};

use semaphore::{
    gates::Gates,
    stored::{Found, KeyRange, Reading, Stored},
};

use super::{bugs::Bug, history::Change};

/// What stands under a key.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) stored: Stored,
    pub(super) created: i64,
    pub(super) lease: Option<u64>,
}

/// What a transaction compares.
#[derive(Debug, Clone)]
pub(super) enum Compare {
    /// The key stands as it was read, or does not stand.
    AsRead(String, Option<Stored>),
    /// It was created at this revision.
    Created(String, i64),
    /// Nothing below this was written after this revision.
    NoneSince(String, i64),
    /// All values below this are this one, and there is one.
    AllAre(String, String),
    /// No value below this is this one.
    NoneIs(String, String),
}

/// What a transaction does.
#[derive(Debug, Clone)]
pub(super) enum Write {
    /// Puts a key, on a lease.
    Put(String, String, Option<u64>),
    /// Deletes it.
    Delete(String),
}

/// The store.
#[derive(Debug, Clone, Default)]
pub(super) struct Store {
    /// The time, in milliseconds.
    pub(super) now: u64,
    /// The revision of the last change.
    pub(super) revision: i64,
    /// All that was ever changed.
    pub(super) history: Vec<Change>,
    pub(super) keys: BTreeMap<String, Kept>,
    /// When each lease ends; none while somebody keeps it alive.
    pub(super) leases: BTreeMap<u64, Option<u64>>,
    /// The bug that the model is to find, where one is seeded.
    pub(super) bug: Option<Bug>,
}

impl Store {
    pub(super) fn get(&self, key: &str) -> Option<Stored> {
        Some(self.keys.get(key)?.stored.clone())
    }

    /// The revision at which it was created; 0 where it does not stand.
    pub(super) fn created(&self, key: &str) -> i64 {
        self.keys.get(key).map_or(0, |kept| kept.created)
    }

    /// All keys below this, in their order.
    pub(super) fn below(&self, prefix: &str) -> Vec<Found> {
        let all = self.keys.range(prefix.to_owned()..);
        let below = all.take_while(|(key, _)| key.starts_with(prefix));
        let found = below.map(|(key, kept)| Found {
            key: key.clone(),
            stored: kept.stored.clone(),
        });
        found.collect()
    }

    pub(super) fn find(&self, range: &KeyRange) -> Vec<Found> {
        match range {
            KeyRange::Prefix(prefix) => self.below(prefix),
            KeyRange::One(key) => {
                let found = self.get(key).into_iter();
                found
                    .map(|stored| Found {
                        key: key.clone(),
                        stored,
                    })
                    .collect()
            }
        }
    }

    /// A lease that runs from now on; for ever where no time is given, until [`Self::run_out`].
    pub(super) fn lease(&mut self, length: Option<Duration>) -> u64 {
        let id = self.leases.len() as u64;
        self.leases.insert(id, None);
        if let Some(length) = length {
            self.run_out(id, length);
        }
        id
    }

    /// Nobody keeps this lease alive any more: it ends after this time.
    pub(super) fn run_out(&mut self, lease: u64, after: Duration) {
        let ends = self.now + u64::try_from(after.as_millis()).unwrap_or(u64::MAX / 2);
        self.leases.insert(lease, Some(ends));
    }

    /// When the next lease ends under which a key stands.
    pub(super) fn next_end(&self) -> Option<u64> {
        let leases = self.keys.values().filter_map(|kept| kept.lease);
        leases.filter_map(|lease| self.leases[&lease]).min()
    }

    /// Deletes the keys whose leases have ended.
    pub(super) fn expire(&mut self) {
        let ended = |lease: u64| self.leases[&lease].is_some_and(|ends| ends <= self.now);
        let keys = self.keys.iter();
        let keys = keys.filter(|(_, kept)| kept.lease.is_some_and(ended));
        let keys: Vec<String> = keys.map(|(key, _)| key.clone()).collect();
        for key in keys {
            assert!(self.txn(&[], vec![Write::Delete(key)]));
        }
    }

    pub(super) fn holds(&self, compare: &Compare) -> bool {
        match compare {
            Compare::AsRead(key, read) => self.get(key) == *read,
            Compare::Created(key, revision) => self.created(key) == *revision,
            Compare::NoneSince(prefix, revision) => {
                let mut below = self.below(prefix).into_iter();
                below.all(|found| found.stored.modified <= *revision)
            }
            Compare::AllAre(prefix, value) => {
                let below = self.below(prefix);
                let is = |found: &Found| found.stored.value == value.as_bytes();
                !below.is_empty() && below.iter().all(is)
            }
            Compare::NoneIs(prefix, value) => {
                let mut below = self.below(prefix).into_iter();
                !below.any(|found| found.stored.value == value.as_bytes())
            }
        }
    }

    /// One step, or none: whether all compares hold.
    pub(super) fn txn(&mut self, compares: &[Compare], writes: Vec<Write>) -> bool {
        if !compares.iter().all(|compare| self.holds(compare)) {
            return false;
        }
        let revision = self.revision + 1;
        for write in writes {
            let (key, value) = match write {
                Write::Put(key, value, lease) => {
                    let created = self.keys.get(&key).map_or(revision, |kept| kept.created);
                    let stored = Stored {
                        modified: revision,
                        value: value.clone().into_bytes(),
                    };
                    let kept = Kept {
                        stored,
                        created,
                        lease,
                    };
                    self.keys.insert(key.clone(), kept);
                    (key, Some(value))
                }
                Write::Delete(key) if self.keys.remove(&key).is_some() => (key, None),
                Write::Delete(_) => continue,
            };
            self.revision = revision;
            let at = Some(Duration::from_millis(self.now));
            self.history.push(Change {
                revision,
                at,
                key,
                value,
            });
        }
        true
    }
}

/// "All gates stand as they were read at this revision."
pub(super) fn unchanged(gates: &Gates, read_at: i64) -> Vec<Compare> {
    let compare = |Reading { range, found }: &Reading| match range {
        KeyRange::One(key) => {
            let read = found.first().map(|found| found.stored.clone());
            Compare::AsRead(key.clone(), read)
        }
        KeyRange::Prefix(prefix) => Compare::NoneSince(prefix.clone(), read_at),
    };
    gates.readings.iter().map(compare).collect()
}
