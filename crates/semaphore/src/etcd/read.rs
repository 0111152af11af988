//! Everything about a group as it is in etcd, for people.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use etcd_client::{GetOptions, KeyValue, Txn, TxnOp, TxnOpResponse};
use host::node;
use serde::de::DeserializeOwned;

use super::{Error, Semaphore};
use crate::{
    document::{Document, DocumentError},
    keys::Keys,
    lenient,
    lost::{self, Keeps, Never},
    policy::{Policy, PolicyError},
    records::{Accepted, Holder, LostNode, MemberOut, NodeRecord, Pause, Quarantine, Ticket},
    stored::{Found, Stored},
};

/// One group at one revision of the store.
#[derive(Debug, Clone, Default)]
pub struct Group {
    /// Its document; none where nobody has used the group.
    pub document: Option<Result<Document, DocumentError>>,
    /// Who holds the semaphore, by id: those the document names and those that have an entry.
    pub holders: Vec<HolderState>,
    /// Who waits, first in line first.
    pub queue: Vec<Ticket>,
    /// The group's policy.
    pub policy: Option<Result<Policy, PolicyError>>,
    /// How many members the group has.
    pub members: u64,
    /// The group's pause.
    pub pause: Option<Pause>,
    /// The whole cluster's pause.
    pub pause_all: Option<Pause>,
    /// The images and versions no node may reboot into, in the whole cluster.
    pub quarantine: Vec<Quarantine>,
    /// The node with a member of etcd that is out, in the whole cluster.
    pub member_out: Option<MemberOut>,
    /// Whether that was written before a person accepted the store.
    pub member_before_accept: bool,
    /// The nodes that were passed over and are not back, by id.
    pub lost: BTreeMap<String, LostNode>,
    /// What the nodes of the group last said of themselves, by id.
    pub nodes: Vec<NodeRecord>,
}

/// A holder as the document and its own entry tell.
#[derive(Debug, Clone)]
pub struct HolderState {
    /// Its id.
    pub id: String,
    /// Its entry; none for one that only the document names (taken by another tool).
    pub entry: Option<Holder>,
    /// Whether the document names it. If not, the entry is a leftover and takes no place.
    pub listed: bool,
    /// Whether it has not come back by the deadline it named.
    pub overdue: bool,
    /// Whether its entry was written last before a person accepted the store: what it says may be long past.
    pub before_accept: bool,
    /// How long after its deadline it may be passed over, where the group's policy passes over lost nodes; or why never.
    pub grace: Result<Duration, Never>,
    /// The lease under its grace, where that has not passed.
    pub grace_lease: Option<i64>,
}

/// The answers to a transaction of only reads, in its order, and its revision.
pub(super) fn answers(response: &etcd_client::TxnResponse) -> Vec<Vec<KeyValue>> {
    response
        .op_responses()
        .into_iter()
        .map(|op| match op {
            TxnOpResponse::Get(mut get) => get.take_kvs(),
            _ => Vec::new(),
        })
        .collect()
}

/// The request that counts the keys with this prefix. It stands last in its transaction: see [`counted`].
pub(super) fn count(prefix: String) -> TxnOp {
    TxnOp::get(
        prefix,
        Some(GetOptions::new().with_prefix().with_count_only()),
    )
}

/// How many keys the last request of a transaction has found. Not those of any request: where etcd filters by revision, it
/// counts what it leaves out as well.
pub(super) fn counted(response: &etcd_client::TxnResponse) -> u64 {
    match response.op_responses().pop() {
        Some(TxnOpResponse::Get(get)) => u64::try_from(get.count()).unwrap_or_default(),
        _ => 0,
    }
}

impl From<&KeyValue> for Stored {
    fn from(kv: &KeyValue) -> Self {
        Self {
            modified: kv.mod_revision(),
            value: kv.value().to_vec(),
        }
    }
}

pub(super) fn text(bytes: &[u8]) -> String {
    lenient::text(bytes)
}

impl From<&KeyValue> for Found {
    fn from(kv: &KeyValue) -> Self {
        Self {
            key: text(kv.key()),
            stored: Stored::from(kv),
        }
    }
}

/// A holder's entry, and as it was read.
pub(super) fn holder(kv: &KeyValue) -> (Holder, Stored) {
    let holder = lenient::holder(&text(kv.key()), kv.value());
    (holder, Stored::from(kv))
}

pub(super) fn pause(kv: &KeyValue) -> Pause {
    lenient::pause(kv.value())
}

pub(super) fn accepted(kv: &KeyValue) -> Accepted {
    lenient::accepted(kv.value())
}

/// Whether a value was written last before a person accepted the store, as `accepted` says: it may be long past.
pub(super) fn is_older(value: Option<&KeyValue>, accepted: Option<&KeyValue>) -> bool {
    let revision = |kv: Option<&KeyValue>| kv.map_or(0, KeyValue::mod_revision);
    value.is_some() && revision(value) < revision(accepted)
}

pub(super) fn member_out(kv: &KeyValue) -> MemberOut {
    lenient::member_out(kv.value())
}

pub(super) fn quarantine(kv: &KeyValue) -> Quarantine {
    lenient::quarantine(&text(kv.key()), kv.value())
}

/// The quarantines, each once: one that stands under both an image and a version is one.
fn quarantines(kvs: &[KeyValue]) -> Vec<Quarantine> {
    let mut all: Vec<Quarantine> = Vec::new();
    for one in kvs.iter().map(quarantine) {
        if !all.contains(&one) {
            all.push(one);
        }
    }
    all
}

/// What follows this beginning of a key: another tool's id may have slashes.
pub(super) fn after(beginning: &str, kv: &KeyValue) -> String {
    let key = text(kv.key());
    key.strip_prefix(beginning).unwrap_or(&key).to_owned()
}

pub(super) fn ticket(kv: &KeyValue) -> Ticket {
    lenient::ticket(&text(kv.key()), kv.value())
}

/// How many of the records that cannot be read are named, one warning each.
const NAMED: usize = 3;

pub(super) fn readable<T: DeserializeOwned>(kvs: &[KeyValue]) -> Vec<T> {
    let mut unreadable = 0;
    let records = kvs.iter().filter_map(|kv| {
        serde_json::from_slice(kv.value())
            .inspect_err(|error| {
                unreadable += 1;
                if unreadable <= NAMED {
                    tracing::warn!("{} in etcd cannot be read: {error}", text(kv.key()));
                }
            })
            .ok()
    });
    let records = records.collect();
    if unreadable > NAMED {
        tracing::warn!("{} more records in etcd cannot be read", unreadable - NAMED);
    }
    records
}

/// What is read of a group. Its tickets and its nodes' records grow with the number of its nodes, and nothing else does.
#[derive(Debug, Clone, Copy)]
enum Scope<'a> {
    All,
    /// All but the nodes' records.
    Queue,
    /// Of the tickets and records, those of the node with this id, if there are any.
    About(&'a str),
    /// Neither tickets nor records.
    Holders,
}

impl Semaphore {
    /// Reads all there is about the group.
    ///
    /// # Errors
    /// When etcd cannot be reached or refuses.
    pub async fn read(&self) -> Result<Group, Error> {
        self.read_with(Scope::All).await
    }

    /// As [`Self::read`], but of the tickets and of the nodes' records only those of `id`.
    ///
    /// # Errors
    /// When etcd cannot be reached or refuses.
    pub async fn read_about(&self, id: &str) -> Result<Group, Error> {
        self.read_with(Scope::About(id)).await
    }

    /// As [`Self::read`], but without the nodes' records.
    ///
    /// # Errors
    /// When etcd cannot be reached or refuses.
    pub async fn read_without_nodes(&self) -> Result<Group, Error> {
        self.read_with(Scope::Queue).await
    }

    /// As [`Self::read`], but without the queue and the nodes' records: who holds the lock, and what keeps others from it.
    ///
    /// # Errors
    /// When etcd cannot be reached or refuses.
    pub async fn read_holders(&self) -> Result<Group, Error> {
        self.read_with(Scope::Holders).await
    }

    async fn read_with(&self, scope: Scope<'_>) -> Result<Group, Error> {
        let keys = &self.keys;
        let all = || Some(GetOptions::new().with_prefix());
        let queue = match scope {
            Scope::All | Scope::Queue => Some(TxnOp::get(keys.queue(), all())),
            Scope::About(id) => Some(TxnOp::get(keys.ticket(id), None)),
            Scope::Holders => None,
        };
        let nodes = match scope {
            Scope::All => Some(TxnOp::get(keys.nodes(), all())),
            Scope::About(id) => Some(TxnOp::get(keys.node(id), None)),
            Scope::Queue | Scope::Holders => None,
        };
        let (has_queue, has_nodes) = (queue.is_some(), nodes.is_some());
        let ops = vec![
            TxnOp::get(keys.semaphore(), None),
            TxnOp::get(keys.holders(), all()),
            TxnOp::get(keys.deadlines(), all()),
            TxnOp::get(keys.pause(), None),
            TxnOp::get(keys.pause_all(), None),
            TxnOp::get(keys.quarantines(), all()),
            TxnOp::get(keys.member_out(), None),
            TxnOp::get(keys.policy(), None),
            TxnOp::get(keys.store(), None),
            TxnOp::get(keys.expiries(), all()),
            TxnOp::get(keys.lost_nodes(), all()),
        ];
        let ops: Vec<TxnOp> = ops
            .into_iter()
            .chain(queue)
            .chain(nodes)
            .chain([count(keys.members())])
            .collect();
        let response = self
            .txn("reading the reboot lock", Txn::new().and_then(ops))
            .await?;
        let members = counted(&response);
        let mut answers = answers(&response);
        let _counted = answers.pop();
        let mut last = |asked: bool| asked.then(|| answers.pop()).flatten().unwrap_or_default();
        let nodes = last(has_nodes);
        let mut tickets = last(has_queue);
        tickets.sort_by_key(KeyValue::create_revision);
        let lost = answers.pop().unwrap_or_default();
        let expiries = answers.pop().unwrap_or_default();
        let store = answers.pop().unwrap_or_default();
        let policy = answers.pop().unwrap_or_default();
        let accepted = store.first().map_or(0, KeyValue::mod_revision);
        let mut answers = answers.into_iter();
        let mut next = || answers.next().unwrap_or_default();
        let document = next().first().map(|kv| Document::parse(kv.value()));
        let entries = next()
            .iter()
            .map(|kv| (after(&keys.holders(), kv), holder(kv)))
            .collect();
        let deadlines: Vec<String> = next()
            .iter()
            .map(|kv| after(&keys.deadlines(), kv))
            .collect();
        let pauses = [next(), next()];
        let quarantine = quarantines(&next());
        let members_out = next();
        let member_out = members_out.first().map(member_out);
        let lease = |kv: &KeyValue| (after(&keys.expiries(), kv), kv.lease());
        let standing = Standing {
            deadlines: &deadlines,
            graces: expiries.iter().map(lease).collect(),
            keeps: Keeps {
                member_out: member_out.as_ref(),
                accepted,
            },
        };
        let lost_node = |kv: &KeyValue| {
            let id = after(&keys.lost_nodes(), kv);
            (id, lenient::lost_node(kv.value()))
        };
        Ok(Group {
            holders: holders(document.as_ref(), entries, &standing),
            lost: lost.iter().map(lost_node).collect(),
            document,
            queue: tickets.iter().map(ticket).collect(),
            policy: policy.first().map(|kv| Policy::parse(kv.value())),
            members,
            pause: pauses[0].first().map(pause),
            pause_all: pauses[1].first().map(pause),
            quarantine,
            member_before_accept: is_older(members_out.first(), store.first()),
            member_out,
            nodes: readable::<NodeRecord>(&nodes)
                .into_iter()
                .filter(|node| node.group == keys.group().as_str())
                .collect(),
        })
    }

    /// The document of what [`Self::read`] found. Where nobody has used the group, the one that the first to take the
    /// semaphore makes.
    ///
    /// # Errors
    /// [`Error::Document`] when it cannot be used, [`Error::Missing`] when it is gone although holders stand.
    pub fn document(&self, read: &Group) -> Result<Document, Error> {
        match &read.document {
            Some(Ok(document)) => Ok(document.clone()),
            Some(Err(error)) => Err(self.unusable(error.clone())),
            None if read.holders.is_empty() => Ok(Document::new(1)),
            None => Err(Error::Missing {
                key: self.keys.semaphore(),
                holders: read.holders.iter().map(|held| held.id.clone()).collect(),
            }),
        }
    }

    /// The groups that have a semaphore or a node under the same prefix, the default group first.
    ///
    /// # Errors
    /// When etcd cannot be reached or refuses.
    pub async fn groups(&self) -> Result<Vec<node::Group>, Error> {
        let keys = &self.keys;
        let only_keys = GetOptions::new().with_prefix().with_keys_only();
        let default = Keys::new(keys.prefix(), node::Group::default());
        let ops = vec![
            TxnOp::get(default.semaphore(), None),
            TxnOp::get(keys.groups(), Some(only_keys)),
            TxnOp::get(keys.nodes(), Some(GetOptions::new().with_prefix())),
        ];
        let response = self
            .txn("reading the groups", Txn::new().and_then(ops))
            .await?;
        let answers = answers(&response);
        let used = answers[1].iter().filter_map(|kv| {
            let key = text(kv.key());
            let name = key
                .strip_prefix(&keys.groups())?
                .strip_suffix("/semaphore")?;
            node::Group::from_escaped(name).ok()
        });
        let lived_in = readable::<NodeRecord>(&answers[2]).into_iter();
        let lived_in = lived_in.filter_map(|node| node::Group::new(&node.group).ok());
        let mut groups: BTreeSet<node::Group> = used.chain(lived_in).collect();
        if !answers[0].is_empty() {
            groups.insert(node::Group::default());
        }
        Ok(groups.into_iter().collect())
    }
}

/// What tells how the holders stand.
struct Standing<'a> {
    /// Whose deadline has not passed.
    deadlines: &'a [String],
    /// Whose grace has not passed, and the lease under it.
    graces: BTreeMap<String, i64>,
    keeps: Keeps<'a>,
}

fn holders(
    document: Option<&Result<Document, DocumentError>>,
    entries: Vec<(String, (Holder, Stored))>,
    standing: &Standing<'_>,
) -> Vec<HolderState> {
    let mut holders: BTreeMap<String, HolderState> = BTreeMap::new();
    for (id, (entry, stored)) in entries {
        let state = HolderState {
            id: id.clone(),
            listed: false,
            overdue: entry.deadline.is_some() && !standing.deadlines.contains(&id),
            before_accept: stored.modified < standing.keeps.accepted,
            grace: lost::grace(&id, &entry, stored.modified, standing.keeps),
            grace_lease: standing.graces.get(&id).copied(),
            entry: Some(entry),
        };
        holders.insert(id, state);
    }
    if let Some(Ok(document)) = document {
        for id in &document.holders {
            holders
                .entry(id.clone())
                .or_insert_with(|| HolderState {
                    id: id.clone(),
                    entry: None,
                    listed: true,
                    overdue: false,
                    before_accept: false,
                    grace: Err(Never::Foreign),
                    grace_lease: None,
                })
                .listed = true;
        }
    }
    holders.into_values().collect()
}
