//! The end of a node that does not come back.

use etcd_client::TxnOp;

use super::{Error, RACES, Semaphore, acts::About, read, stand_back, store::as_read, waves};
use crate::{
    acts,
    document::Document,
    policy::percentage_in,
    records::{Holder, LostNode, NodeRecord, Ticket},
    stored::Stored,
};

/// All that etcd has of a node.
#[derive(Debug, Clone, Default)]
pub struct NodeState {
    /// What it last said of itself.
    pub record: Option<NodeRecord>,
    /// The value of its member key: the digest of the image that was proven on it last, or nothing.
    pub member: Option<String>,
    /// Its ticket.
    pub ticket: Option<Ticket>,
    /// Its entry among the holders.
    pub holder: Option<Holder>,
    /// Whether the document names it as a holder.
    pub holds: bool,
    /// That it was passed over, and is not back.
    pub lost: Option<LostNode>,
}

impl NodeState {
    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self {
            record,
            member,
            ticket,
            holder,
            holds,
            lost,
        } = self;
        let known = record.is_some() || member.is_some() || ticket.is_some() || lost.is_some();
        !known && holder.is_none() && !holds
    }
}

/// How a node was forgotten.
#[derive(Debug, Clone)]
pub enum Forgotten {
    /// All of this is gone.
    Done(NodeState),
    /// There was nothing of it.
    Nothing,
    /// It holds the reboot lock: it needs force.
    Holds(NodeState),
}

impl Semaphore {
    /// Removes all that etcd has of a node of the group, in one step; of one that holds the reboot lock only with `force`.
    /// With `dry`, nothing is removed.
    ///
    /// # Errors
    /// When etcd cannot be reached or refuses, or the document cannot be used.
    pub async fn forget(&self, id: &str, force: bool, dry: bool) -> Result<Forgotten, Error> {
        const DOING: &str = "forgetting a node";
        let keys = &self.keys;
        let mut gone = None;
        let mut act = None;
        for tries in 0..RACES {
            let own = [keys.node(id), keys.member(id), keys.ticket(id)];
            let mut more: Vec<TxnOp> = own.map(|key| TxnOp::get(key, None)).into();
            more.push(TxnOp::get(keys.policy(), None));
            more.push(read::count(keys.members()));
            let held = self.held(DOING, id, more).await?;
            let [record, member, ticket, policy] = [0, 1, 2, 3].map(|at| {
                let found: Option<&Vec<etcd_client::KeyValue>> = held.more.get(at);
                found.and_then(|kvs| kvs.first())
            });
            let named = match &held.document {
                Some((Ok(document), _)) => document.holds(id),
                Some((Err(error), _)) => return Err(self.unusable(error.clone())),
                None => false,
            };
            // The record of a node that is in another group is that group's.
            let parsed =
                record.and_then(|kv| serde_json::from_slice::<NodeRecord>(kv.value()).ok());
            let elsewhere = parsed
                .as_ref()
                .is_some_and(|record| record.group != keys.group().as_str());
            let state = NodeState {
                record: parsed.filter(|_| !elsewhere),
                member: member.map(|kv| read::text(kv.value())),
                ticket: ticket.map(read::ticket),
                holder: held.entry.as_ref().map(|(entry, _)| entry.clone()),
                holds: named,
                lost: held.lost.as_ref().map(|(lost, _)| lost.clone()),
            };
            let record = record.filter(|_| !elsewhere);
            if state.is_empty() && record.is_none() {
                // After a try, it is gone because of that try or of somebody who did the same.
                return Ok(gone.map_or(Forgotten::Nothing, Forgotten::Done));
            }
            if (state.holds || state.holder.is_some()) && !force {
                return Ok(Forgotten::Holds(state));
            }
            if dry {
                return Ok(Forgotten::Done(state));
            }
            let entry = held.entry.as_ref().map(|(_, read)| read);
            let compares = as_read(&keys.holder(id), entry);
            let nonce = state.holder.as_ref().map_or("", |holder| &holder.nonce);
            let (mut compares, mut then) = self.removal_of_entry(id, nonce, &held, compares)?;
            for kv in [record, member, ticket].into_iter().flatten() {
                compares.extend(as_read(&read::text(kv.key()), Some(&Stored::from(kv))));
                then.push(TxnOp::delete(kv.key(), None));
            }
            if let Some((_, read)) = &held.lost {
                compares.extend(as_read(&keys.lost_node(id), Some(read)));
                then.push(TxnOp::delete(keys.lost_node(id), None));
            }
            // There are fewer members and fewer lost: who waits sees at once how many may be out.
            if let Some((Ok(document), _)) = &held.document {
                let members = held.counted - u64::from(member.is_some()).min(held.counted);
                let document = after(document, id, policy.map(|kv| kv.value()), members);
                then.push(TxnOp::put(keys.semaphore(), document.to_json(), None));
            }
            // The same of all tries.
            let act = match &act {
                Some(act) => act,
                None => {
                    let command = if force { "forget --force" } else { "forget" };
                    let node = acts::node(state.hostname(), id);
                    act.insert(self.act(DOING, command, About::Group, node, "")?)
                }
            };
            if self.do_act(DOING, compares, then, act).await? {
                if waves::opens_waves(policy) {
                    self.see_to_waves(None, None).await;
                }
                return Ok(Forgotten::Done(state));
            }
            gone = Some(state);
            stand_back(tries).await;
        }
        Err(Error::Contended {
            doing: DOING,
            tries: RACES,
        })
    }
}

impl NodeState {
    fn hostname(&self) -> &str {
        let record = self.record.as_ref().map(|record| &*record.hostname);
        let holder = self.holder.as_ref().map(|holder| &*holder.hostname);
        let ticket = self.ticket.as_ref().map(|ticket| &*ticket.hostname);
        record.or(holder).or(ticket).unwrap_or_default()
    }
}

/// The document without this node, with so many members left.
fn after(document: &Document, id: &str, policy: Option<&[u8]>, members: u64) -> Document {
    let document = document.without(id);
    match policy.and_then(percentage_in) {
        Some(percent) => document.with_percentage(percent, members),
        None => document,
    }
}
