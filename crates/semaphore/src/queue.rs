//! What a waiting node does next, decided from what it sees in etcd. Pure.

#[cfg(test)]
mod tests;
mod words;

use std::{borrow::Cow, collections::BTreeMap};

pub use words::unlock;

use super::{
    document::{Document, DocumentError, Refusal},
    gates::{Closed, Gates, Stops},
    records::{Holder, Phase},
    stored::Stored,
};

/// What a node that wants the semaphore sees in etcd at one revision.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct View {
    /// The cluster's id: revisions of another one say nothing.
    pub cluster: u64,
    /// The revision of the store.
    pub revision: i64,
    /// The revision at which all of this was read; a change of the document that was seen since is newer.
    pub read_at: i64,
    /// The document, and as it was read; none where nobody has ever used the group.
    pub document: Option<(Result<Document, DocumentError>, Stored)>,
    /// Whether this node has seen a document there before, in this store or another one.
    pub document_seen: bool,
    /// Whether the node's ticket has stood for as long as its lease: whoever knows better has had the time to say so.
    pub ticket_stood: bool,
    /// The entry under this node's id among the holders, and as it was read.
    pub holder: Option<(Holder, Stored)>,
    /// The revision at which that entry was put.
    pub held_since: i64,
    /// The host names that holders' entries name, by the holder's id. Not of all: of as many as a sentence has room for.
    pub host_names: BTreeMap<String, String>,
    /// The create revision of this node's ticket: its place in the queue.
    pub ticket: Option<i64>,
    /// The key of the ticket right before this node's, and the host name on it.
    pub predecessor: Option<(String, String)>,
    /// What can keep the node from its reboot whatever its place.
    pub gates: Gates,
    /// The percentage that decides how many may be out, and of how many members; none where a number does.
    pub percentage: Option<(u32, u64)>,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Nothing more: the semaphore is this claim's.
    Held,
    /// Give up the place in the queue, and wait until what blocks is gone.
    Blocked(Block),
    /// Take a ticket.
    Enqueue,
    /// Wait until the ticket right before is gone.
    WaitBehind {
        /// Its key.
        key: String,
        /// The host name on it.
        hostname: String,
    },
    /// Write the first document.
    Create,
    /// Wait until there is a document, or until the ticket has stood for its lease.
    WaitCreated {
        /// Whether there was one before: then only a person creates it.
        seen: bool,
    },
    /// Wait until the document changes: it cannot be used.
    WaitRepaired(DocumentError),
    /// Wait until the document changes: all of `max` is taken.
    WaitFull {
        /// The document as it is.
        document: Document,
        /// The host name of each of its holders, where that is known.
        host_names: BTreeMap<String, String>,
    },
    /// Wait until this gate opens, as the first of the queue.
    WaitGate(Closed),
    /// Put this claim's entry over that of the person who locked the node by hand: no more nodes are out than before.
    TakeOver {
        /// The entry of the lock by hand, and as it was read.
        by_hand: Holder,
        /// As it was read.
        entry: Stored,
        /// The document, which names the node already.
        document: Document,
        /// As it was read.
        read: Stored,
    },
    /// Write this document, if the one there still has this mod revision.
    Take {
        /// The document with this node among the holders.
        document: Document,
        /// The document it was made from, as it was read.
        read: Stored,
    },
}

/// What keeps a node out of the queue, however short that is.
#[derive(Debug, Clone, PartialEq)]
pub enum Block {
    /// An entry with the node's id that this node did not make: a cloned machine id, or a manual `lock`.
    Foreign(Holder),
    /// The document names the node, and no entry says who put it there.
    Listed,
    /// A gate is closed.
    Gate(Closed),
}

/// Who asks for the next step.
#[derive(Debug, Clone, Copy)]
pub struct Asker<'a> {
    /// The node's id.
    pub id: &'a str,
    /// Its host name: what another one took under the same id is another machine's.
    pub hostname: &'a str,
    /// The nonce of its claim.
    pub nonce: &'a str,
    /// Whether a person asked for the reboot: it goes also under the lock that a person took for the node by hand.
    pub by_person: bool,
}

/// Decides the next step of a node with its claim.
///
/// A node that is first in the queue stays first: a ticket's place is its create revision, which only
/// grows. So nothing but the queue's order and the document decides who is next.
#[must_use]
pub fn decide(view: &View, asker: Asker<'_>) -> Step {
    let view = &*with_percentage(view);
    let Asker { id, nonce, .. } = asker;
    // A reboot in the middle of a drain would take away what still carries load.
    let by_hand = |holder: &Holder| {
        let own = holder.phase == Phase::Manual && holder.is_of_host(asker.hostname);
        asker.by_person && own && !holder.is_half_drained()
    };
    match &view.holder {
        None => {}
        Some((holder, _)) if holder.nonce == nonce => return Step::Held,
        Some((holder, entry)) if by_hand(holder) => return under_the_lock(view, id, holder, entry),
        Some((holder, _)) => return foreign(id, holder),
    }
    let readable = match &view.document {
        Some((Ok(document), _)) => Some(document),
        _ => None,
    };
    // Where it is the other member that fills the lock, the place in the queue is kept.
    let room = readable.is_some_and(|document| document.with(id).is_ok());
    if let Some(closed) = outside(view, room) {
        return closed;
    }
    if readable.is_some_and(|document| document.holds(id)) {
        return Step::Blocked(Block::Listed);
    }
    if view.ticket.is_none() {
        return Step::Enqueue;
    }
    if let Some((key, hostname)) = view.predecessor.clone() {
        return Step::WaitBehind { key, hostname };
    }
    if let Some(closed) = as_first(view) {
        return closed;
    }
    let (document, read) = match &view.document {
        None if view.document_seen => return Step::WaitCreated { seen: true },
        None if !view.ticket_stood => return Step::WaitCreated { seen: false },
        None => return Step::Create,
        Some((Err(error), _)) => return Step::WaitRepaired(error.clone()),
        Some((Ok(document), read)) => (document, read.clone()),
    };
    match document.with(id) {
        Ok(document) => Step::Take { document, read },
        Err(Refusal::Full) => full(view, document),
        Err(Refusal::Held) => Step::Blocked(Block::Listed),
    }
}

/// The view with the `max` that its percentage makes.
fn with_percentage(view: &View) -> Cow<'_, View> {
    match (view.percentage, &view.document) {
        (Some((percent, members)), Some((Ok(document), read))) => {
            let document = document.with_percentage(percent, members);
            Cow::Owned(View {
                document: Some((Ok(document), read.clone())),
                ..view.clone()
            })
        }
        _ => Cow::Borrowed(view),
    }
}

/// The next step of a node that a person locked by hand, for a reboot that a person asked for. It passes the queue, for it is
/// out already; all else that keeps a node keeps it too.
fn under_the_lock(view: &View, id: &str, by_hand: &Holder, entry: &Stored) -> Step {
    if let Some(closed) = outside(view, true) {
        return closed;
    }
    // It fences the take: whoever gives up the wait deletes it.
    if view.ticket.is_none() {
        return Step::Enqueue;
    }
    if let Some(closed) = as_first(view) {
        return closed;
    }
    match &view.document {
        Some((Ok(document), _)) if document.max == 0 => full(view, document),
        Some((Ok(document), read)) if document.holds(id) => Step::TakeOver {
            by_hand: by_hand.clone(),
            entry: entry.clone(),
            document: document.clone(),
            read: read.clone(),
        },
        Some((Err(error), _)) => Step::WaitRepaired(error.clone()),
        // The entry is a leftover: who holds it is not counted among those that are out.
        None | Some((Ok(_), _)) => foreign(id, by_hand),
    }
}

/// The gate that keeps the node outside the queue; `room` says whether the lock has a free place.
fn outside(view: &View, room: bool) -> Option<Step> {
    let closed = view.gates.find(|stops| match stops {
        Stops::Outside => true,
        Stops::OutsideWhileRoom => room,
        Stops::AsFirst => false,
    })?;
    Some(Step::Blocked(Block::Gate(closed.clone())))
}

/// The gate that keeps the first of the queue.
fn as_first(view: &View) -> Option<Step> {
    let closed = view.gates.find(|stops| stops == Stops::AsFirst)?;
    Some(Step::WaitGate(closed.clone()))
}

fn full(view: &View, document: &Document) -> Step {
    Step::WaitFull {
        document: document.clone(),
        host_names: view.host_names.clone(),
    }
}

fn foreign(id: &str, holder: &Holder) -> Step {
    Step::Blocked(Block::Foreign(Holder {
        // By the id of its key: the value may say anything.
        id: id.to_owned(),
        ..holder.clone()
    }))
}

impl Step {
    /// Whether it is the wait of who is first in the queue.
    #[must_use]
    pub fn is_first(&self) -> bool {
        matches!(
            self,
            Self::WaitCreated { .. }
                | Self::WaitRepaired(_)
                | Self::WaitFull { .. }
                | Self::WaitGate(_)
        )
    }
}
