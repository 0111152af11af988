//! Which store answers: the marks by which it is known again, and the signs that it is not the one it was. Pure.
//!
//! A store is restored from a snapshot, emptied, or exchanged behind the same address. Then who is out, what is paused
//! and what is quarantined is forgotten or false, and the revisions that compares go by mean something else.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

pub use super::marks::Marks;
use super::{
    own_record::OwnRecord,
    records::{Accepted, Known},
};

/// By how many raft entries the difference may rise without meaning anything: members that counted a few entries
/// differently after a crash (etcd-io/etcd#13766) are no restored store.
const SLACK: i64 = 4;

/// What an answer to a linearizable request says of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply {
    /// The cluster's id; 0 where whoever answers does not say.
    pub cluster: u64,
    /// The store's revision.
    pub revision: i64,
    /// Between which numbers `revision - raft index` lay, where the member was asked how it is before and after.
    pub difference: Option<(i64, i64)>,
}

/// A sign that the store is not the one it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sign {
    /// Another cluster answers.
    Cluster {
        /// The id of the one before.
        was: u64,
        /// The id of the one that answers.
        is: u64,
    },
    /// The revision is lower than before.
    Revision {
        /// The highest one before.
        was: i64,
        /// The one that was answered.
        is: i64,
    },
    /// The raft log is another one than the revision was counted with.
    Log {
        /// `revision - raft index` before.
        was: i64,
        /// What it is at least now.
        is: i64,
    },
    /// The accept that was seen in it is gone.
    Accept,
    /// This node's own hold is gone, and the document is older than it: every removal would have rewritten the document.
    Hold {
        /// The revision of the take.
        taken: i64,
        /// The revision of the document's last change.
        document: i64,
    },
}

impl std::fmt::Display for Sign {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("etcd was restored or exchanged: ")?;
        match self {
            Self::Cluster { was, is } => {
                write!(f, "cluster {is:x} answers, and it was {was:x} before")
            }
            Self::Revision { was, is } => write!(
                f,
                "its revision is {is}, and was {was} before, as after a restored backup"
            ),
            Self::Log { was, is } => write!(
                f,
                "it has another raft log (revision - index is {is}, and was {was} before), as after a restored backup"
            ),
            Self::Accept => f.write_str(
                "the `store accept` that this node has seen is gone, as after a restored older backup",
            ),
            Self::Hold { taken, document } => write!(
                f,
                "this node took at revision {taken}, and is no holder in a document of revision {document}, as after a \
                 restored backup"
            ),
        }
    }
}

impl Reply {
    /// The marks of a store of which nothing else is known; none where whoever answers does not say which store it is.
    #[must_use]
    pub fn marks(&self) -> Option<Marks> {
        (self.cluster != 0).then(|| Marks {
            cluster: self.cluster,
            revision: self.revision,
            difference: self.difference.map(|(_, most)| most),
        })
    }
}

impl Marks {
    /// What of this answer says that the store is not the one with these marks. The marks are those from when the request
    /// was sent: answers may come out of order.
    #[must_use]
    pub fn judge(&self, reply: &Reply) -> Option<Sign> {
        if reply.cluster == 0 {
            return None;
        }
        if reply.cluster != self.cluster {
            return Some(Sign::Cluster {
                was: self.cluster,
                is: reply.cluster,
            });
        }
        if reply.revision < self.revision {
            return Some(Sign::Revision {
                was: self.revision,
                is: reply.revision,
            });
        }
        match (self.difference, reply.difference) {
            (Some(was), Some((is, _))) if is > was.saturating_add(SLACK) => {
                Some(Sign::Log { was, is })
            }
            _ => None,
        }
    }

    /// The marks with what this answer of the same store adds to them.
    #[must_use]
    pub fn with(&self, reply: &Reply) -> Self {
        let smaller = |(_, most): (i64, i64)| self.difference.map_or(most, |was| was.min(most));
        Self {
            cluster: self.cluster,
            revision: self.revision.max(reply.revision),
            difference: reply.difference.map(smaller).or(self.difference),
        }
    }
}

/// What a node remembers of the store under one key prefix: in memory, and in its journal.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// The store's marks; none before the first answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marks: Option<Marks>,
    /// The tokens of the accepted stores that it has seen.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub tokens: BTreeSet<String>,
    /// The last of them: the store has it, or a later one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The keys under which it has seen a document, in whichever store.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub documents: BTreeSet<String>,
    /// What it took last and has not released.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken: Option<Taken>,
    /// The record that it writes of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<OwnRecord>,
    /// The key by which it is a member of its group: deleted when it is a member of another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
    /// What it last read.
    #[serde(default, skip_serializing_if = "Known::is_empty")]
    pub known: Known,
}

/// A take of this node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// The claim's nonce.
    pub nonce: String,
    /// The revision at which its entry and the document were written.
    pub revision: i64,
}

impl Remembered {
    /// What of this answer says that the store is another one.
    #[must_use]
    pub fn judge(&self, reply: &Reply) -> Option<Sign> {
        self.marks.as_ref()?.judge(reply)
    }

    /// What of this store's accept says that the store is another one: it was accepted as one with other marks, or the accept
    /// that was seen in it is gone.
    #[must_use]
    pub fn judge_accept(&self, accepted: Option<&Accepted>, reply: &Reply) -> Option<Sign> {
        let of_another = accepted
            .and_then(|accepted| accepted.marks.as_ref())
            .and_then(|marks| marks.judge(reply));
        if of_another.is_some() {
            return of_another;
        }
        let last = self.token.as_ref()?;
        let now = accepted.map_or("", |accepted| accepted.token.as_str());
        let older = now.is_empty() || (now != last && self.tokens.contains(now));
        older.then_some(Sign::Accept)
    }

    /// Remembers by which token the store was accepted last.
    pub fn note_token(&mut self, token: &str) {
        if !token.is_empty() && self.tokens.insert(token.to_owned()) {
            self.token = Some(token.to_owned());
        }
    }

    /// Takes over what an answer of the same store adds.
    pub fn note(&mut self, reply: &Reply) {
        self.marks = match &self.marks {
            // Meanwhile another store may have been accepted.
            Some(marks) if marks.cluster == reply.cluster => Some(marks.with(reply)),
            Some(marks) => Some(*marks),
            None => reply.marks(),
        };
    }

    /// Whether the hold of this claim, which is not among the holders, was forgotten by the store rather than ended by
    /// somebody. `document` is the revision of the document's last change, where it stands.
    #[must_use]
    pub fn hold_gone(&self, nonce: &str, document: Option<i64>) -> Option<Sign> {
        let taken = self.taken.as_ref().filter(|taken| taken.nonce == nonce)?;
        let document = document.filter(|&modified| modified < taken.revision)?;
        Some(Sign::Hold {
            taken: taken.revision,
            document,
        })
    }

    /// Begins again with a store that a person has accepted: nothing that was read crosses over, but for where documents
    /// have stood.
    pub fn accept(&mut self, token: &str, reply: &Reply) {
        self.marks = reply.marks();
        self.note_token(token);
        self.taken = None;
        // Its revision says nothing in another store.
        self.record = None;
        self.member = None;
        self.known = Known::default();
    }
}

#[cfg(test)]
mod tests;
