//! A holder that does not come back, in etcd: passed over by the first in the queue, and found by itself when it is back.

use std::time::Duration;

use etcd_client::{
    Compare, CompareOp, GetOptions, KeyValue, Txn, TxnOp, TxnOpResponse, TxnResponse,
};
use jiff::Timestamp;
use tokio::time::sleep;

use super::{
    Claim, Error, RACES, Semaphore, absent, gates, hold::Held, json, lease::HoldLeases,
    quarantine::put_quarantine, read, stand_back, store::as_read, unchanged, watch::Change,
};
use crate::{
    document::Document,
    gates::{Gates, Gateway, Passenger},
    lost::{self, Decision, Entry, Keeps, PassOver, Sight},
    policy::{Lost, lost_in},
    records::{Holder, LostNode},
    stored::Stored,
};

const DOING: &str = "looking for lost nodes";

/// A release deletes the key of the grace as well, and the document tells of that: by then this wait has ended.
const A_MOMENT: Duration = Duration::from_millis(100);

/// Who waits as the first in the queue, and what it waits behind.
#[derive(Debug, Clone, Copy)]
pub(super) struct First<'a> {
    pub(super) claim: &'a Claim,
    /// The create revision of its ticket.
    pub(super) place: i64,
    /// The document, with the `max` that its percentage makes.
    pub(super) document: &'a Document,
    /// The document as it was read.
    pub(super) read: &'a Stored,
}

/// What there is of a group whose policy passes over lost nodes, at one revision.
struct Look {
    document: Option<Stored>,
    holders: Vec<Entry>,
    lost: u64,
    /// Pauses and policy.
    gates: Gates,
    member_out: Option<KeyValue>,
    store: Option<KeyValue>,
    revision: i64,
    cluster: u64,
}

/// Whether a member of any group has proven an image, and the compares by which that still is so.
struct Evidence {
    proven: bool,
    compares: Vec<Compare>,
}

impl Semaphore {
    /// Passes over a holder that does not come back, as soon as the policy lets it: ends when it has, or when what the wait
    /// was decided on has changed.
    ///
    /// # Errors
    /// When etcd cannot be reached or refuses.
    pub(super) async fn pass_over(&self, first: First<'_>) -> Result<Change, Error> {
        let look_again = |why: &str| Ok(Change::Lost(why.to_owned()));
        loop {
            let look = self.look_for_lost().await?;
            if !look.gates.closed.is_empty() {
                return look_again("the group has been stopped");
            }
            let Some(policy) = self.policy_of(&look) else {
                return look_again("the policy passes over nobody any more");
            };
            if look.document.as_ref() != Some(first.read) {
                return look_again("the document has changed");
            }
            let member_out = look.member_out.as_ref().map(read::member_out);
            let keeps = Keeps {
                member_out: member_out.as_ref(),
                accepted: look.store.as_ref().map_or(0, KeyValue::mod_revision),
            };
            let decision = lost::decide(Sight {
                document: first.document,
                holders: &look.holders,
                lost: look.lost,
                policy,
                keeps,
            });
            let pass_over = match decision {
                Decision::PassOver(pass_over) => pass_over,
                Decision::Wait(why) => {
                    tracing::debug!(?why, "no holder is passed over");
                    let prefix = self.keys.expiries();
                    match self
                        .any_deleted(&prefix, look.cluster, look.revision)
                        .await?
                    {
                        Change::Deleted => sleep(A_MOMENT).await,
                        lost => return Ok(lost),
                    }
                    continue;
                }
            };
            let dropped = self.drop_lost(first, &look, &pass_over).await?;
            return look_again(match dropped {
                true => "a lost node was passed over",
                false => "something has changed before a lost node was passed over",
            });
        }
    }

    fn policy_of(&self, look: &Look) -> Option<Lost> {
        let found = look.gates.found(&self.keys.policy())?;
        lost_in(&found.stored.value)
    }

    async fn look_for_lost(&self) -> Result<Look, Error> {
        let keys = &self.keys;
        let below = || GetOptions::new().with_prefix();
        let gateway = pauses_and_policy(self);
        let mut ops = vec![
            TxnOp::get(keys.semaphore(), None),
            TxnOp::get(keys.holders(), Some(below())),
            TxnOp::get(keys.expiries(), Some(below().with_keys_only())),
            TxnOp::get(keys.member_out(), None),
            TxnOp::get(keys.store(), None),
        ];
        ops.extend(gates::gets(&gateway));
        ops.push(read::count(keys.lost_nodes()));
        let response = self.txn(DOING, Txn::new().and_then(ops)).await?;
        let lost = read::counted(&response);
        let mut answers = read::answers(&response).into_iter();
        let mut next = || answers.next().unwrap_or_default();
        let [document, holders, expiries, member_out, store] = [(); 5].map(|()| next());
        let expiries: Vec<String> = expiries.iter().map(|kv| read::text(kv.key())).collect();
        let prefix = keys.holders();
        let entry = |kv: &KeyValue| {
            let (holder, stored) = read::holder(kv);
            let id = read::text(kv.key()).strip_prefix(&prefix)?.to_owned();
            let expired = !expiries.contains(&keys.expiry(&id));
            Some(Entry {
                id,
                holder,
                stored,
                expired,
            })
        };
        Ok(Look {
            document: document.first().map(Stored::from),
            holders: holders.iter().filter_map(entry).collect(),
            lost,
            gates: gates::read(&gateway, answers, store.first()),
            member_out: member_out.into_iter().next(),
            store: store.into_iter().next(),
            revision: response.header().map_or(0, |header| header.revision()),
            cluster: response.header().map_or(0, |header| header.cluster_id()),
        })
    }

    /// Takes this holder out, if all it was decided on stands; whether it did.
    ///
    /// It compares, each as it was read for the decision:
    /// - the own ticket, by its create revision: only the first passes over anybody;
    /// - the document (revision and value), and so `max`, who holds, and with them who is lost;
    /// - the policy (revision and value), and that there is no pause;
    /// - the holder's entry (revision and value): it has not said anything since;
    /// - that its grace has passed: its key is absent;
    /// - that no node of the group has been lost since;
    /// - `member-out` and the accept of the store (absent, or revision and value);
    /// - where the image is quarantined, that no member of any group has proven it.
    async fn drop_lost(
        &self,
        first: First<'_>,
        look: &Look,
        pass_over: &PassOver,
    ) -> Result<bool, Error> {
        let (keys, PassOver { entry, suspect }) = (&self.keys, pass_over);
        let id = &entry.id;
        let mut compares = vec![
            Compare::create_revision(keys.ticket(first.claim.id()), CompareOp::Equal, first.place),
            absent(keys.expiry(id)),
            none_since(keys.lost_nodes(), look.revision),
        ];
        compares.extend(unchanged(keys.semaphore(), first.read));
        compares.extend(gates::unchanged(&look.gates, look.revision));
        compares.extend(unchanged(keys.holder(id), &entry.stored));
        let stored = |kv: &Option<KeyValue>| kv.as_ref().map(Stored::from);
        let member_out = stored(&look.member_out);
        compares.extend(as_read(&keys.member_out(), member_out.as_ref()));
        compares.extend(as_read(&keys.store(), stored(&look.store).as_ref()));
        let accepted = look.store.as_ref().map_or(0, KeyValue::mod_revision);
        let evidence = match suspect.as_ref().and_then(|image| image.digest.as_deref()) {
            Some(digest) => self.evidence(digest, accepted).await?,
            // Nobody can be seen to have proven it.
            None => Evidence {
                proven: false,
                compares: Vec::new(),
            },
        };
        let bad = suspect.clone().filter(|_| !evidence.proven);
        if bad.is_some() {
            compares.extend(evidence.compares);
        }
        let now = Timestamp::now();
        let record = LostNode {
            hostname: entry.holder.hostname.clone(),
            since: Some(now),
            to: entry.holder.to.clone(),
            quarantined: bad.is_some(),
        };
        let document = Document::parse(&first.read.value).map_err(|error| self.unusable(error))?;
        let document = document.without(id);
        let mut then = vec![
            TxnOp::put(keys.semaphore(), document.to_json(), None),
            TxnOp::delete(keys.holder(id), None),
            TxnOp::delete(keys.deadline(id), None),
            TxnOp::put(keys.lost_node(id), json(&record), None),
        ];
        let by = &first.claim.holder.hostname;
        let bad = bad.map(|image| lost::quarantine(image, entry, by, now));
        then.extend(bad.iter().flat_map(|bad| put_quarantine(keys, bad)));
        let txn = Txn::new().when(compares).and_then(then);
        if !self.txn("passing over a lost node", txn).await?.succeeded() {
            return Ok(false);
        }
        let memory = self.memory();
        memory.note_document(&keys.semaphore(), Some(&document));
        tell(entry, pass_over, bad.is_some());
        Ok(true)
    }

    /// Whether a member of any group has this image. Values that are older than the accept of the store are none: such a member
    /// may run something else by now.
    async fn evidence(&self, digest: &str, accepted: i64) -> Result<Evidence, Error> {
        let keys = &self.keys;
        // Beside members, no key of a group has a digest as its value. The keys of the default group stand elsewhere.
        let default = crate::keys::Keys::new(keys.prefix(), host::node::Group::default());
        let ranges = [default.members(), keys.groups()];
        let differ = |range: &str| Compare::value(range, CompareOp::NotEqual, digest).with_prefix();
        let empty = |range: &str| absent(range).with_prefix();
        // A comparison of values fails where there is none at all.
        let ask = |range: &String| {
            let is_empty = Txn::new().when(vec![empty(range)]);
            let txn = Txn::new().when(vec![differ(range)]);
            TxnOp::txn(txn.or_else(vec![TxnOp::txn(is_empty)]))
        };
        let ops: Vec<TxnOp> = ranges.iter().map(ask).collect();
        let response = self.txn(DOING, Txn::new().and_then(ops)).await?;
        let mut compares = Vec::new();
        for (range, found) in ranges.iter().zip(found(&response)) {
            match found {
                Found::Nothing => compares.push(empty(range)),
                Found::Others => compares.push(differ(range)),
                Found::This if accepted == 0 || self.has_newer(range, digest, accepted).await? => {
                    return Ok(Evidence {
                        proven: true,
                        compares: Vec::new(),
                    });
                }
                Found::This => {
                    let revision = response.header().map_or(0, |header| header.revision());
                    compares.push(none_since(range.clone(), revision));
                }
            }
        }
        Ok(Evidence {
            proven: false,
            compares,
        })
    }

    /// Whether a member in this range has told since the accept of the store that it has this image.
    async fn has_newer(&self, range: &str, digest: &str, accepted: i64) -> Result<bool, Error> {
        let newer = GetOptions::new()
            .with_prefix()
            .with_min_mod_revision(accepted);
        let get = TxnOp::get(range, Some(newer));
        let response = self.txn(DOING, Txn::new().and_then(vec![get])).await?;
        let mut values = read::answers(&response).into_iter().flatten();
        Ok(values.any(|kv| kv.value() == digest.as_bytes()))
    }

    /// The leases by which a holder that has a grace, and whose deadline has passed, has its whole time again: it has just said
    /// that it is there. None for another one.
    ///
    /// # Errors
    /// When etcd cannot be reached or refuses.
    pub(super) async fn leases_again(
        &self,
        doing: &'static str,
        holder: &Holder,
        held: &Held,
    ) -> Result<HoldLeases, Error> {
        if holder.grace.is_none() || held.in_time {
            return Ok(HoldLeases::default());
        }
        self.deadline_leases(doing, holder).await
    }

    /// Ends that this node, which has joined the queue, is counted as lost: else it would use up the budget by which others, or
    /// it itself, are to pass over one that does not come back.
    ///
    /// # Errors
    /// When etcd cannot be reached or refuses.
    pub(super) async fn end_lost(&self, id: &str) -> Result<(), Error> {
        const DOING: &str = "telling that a lost node is back";
        for tries in 0..RACES {
            let held = self.held(DOING, id, Vec::new()).await?;
            let (mut compares, mut then) = (Vec::new(), Vec::new());
            let Some(lost) = self.found(id, &held, &mut compares, &mut then) else {
                return Ok(());
            };
            let txn = Txn::new().when(compares).and_then(then);
            if self.txn(DOING, txn).await?.succeeded() {
                tracing::warn!(
                    "{}: it is in the queue again, and is not counted as lost any more",
                    lost.of_itself()
                );
                return Ok(());
            }
            stand_back(tries).await;
        }
        Err(Error::Contended {
            doing: DOING,
            tries: RACES,
        })
    }

    /// Adds what ends that a node which holds nothing is counted as lost; the node, where it was. The document is written with
    /// it, as it is: the first in the queue sees that it may pass over another one.
    pub(super) fn found(
        &self,
        id: &str,
        held: &Held,
        compares: &mut Vec<Compare>,
        then: &mut Vec<TxnOp>,
    ) -> Option<LostNode> {
        let (lost, read) = held.lost.as_ref()?;
        let key = self.keys.lost_node(id);
        compares.extend(unchanged(key.clone(), read));
        then.push(TxnOp::delete(key, None));
        if let Some((Ok(_), document)) = &held.document {
            let key = self.keys.semaphore();
            compares.extend(unchanged(key.clone(), document));
            then.push(TxnOp::put(key, document.value.clone(), None));
        }
        Some(lost.clone())
    }
}

/// What stops a group for everybody.
fn pauses_and_policy(semaphore: &Semaphore) -> Gateway {
    let who = Passenger {
        to: None,
        member: false,
        new: None,
        moment: None,
        runs: None,
    };
    Gateway::to_take(&semaphore.keys, who, &[])
}

/// "No key with this prefix was written after this revision", as a compare.
fn none_since(prefix: String, revision: i64) -> Compare {
    Compare::mod_revision(prefix, CompareOp::Less, revision + 1).with_prefix()
}

/// What the values in a range are.
enum Found {
    Nothing,
    /// At least one is the one asked for.
    This,
    Others,
}

/// What was found in each range, by the answers to a comparison within a comparison.
fn found(response: &TxnResponse) -> Vec<Found> {
    let of = |op| match op {
        TxnOpResponse::Txn(differ) if differ.succeeded() => Found::Others,
        TxnOpResponse::Txn(differ) => match differ.op_responses().into_iter().next() {
            Some(TxnOpResponse::Txn(empty)) if empty.succeeded() => Found::Nothing,
            _ => Found::This,
        },
        _ => Found::This,
    };
    response.op_responses().into_iter().map(of).collect()
}

fn tell(entry: &Entry, pass_over: &PassOver, quarantined: bool) {
    let Entry { id, holder, .. } = entry;
    let (host, phase) = (holder.hostname.as_str(), &holder.phase);
    let image = match (&pass_over.suspect, quarantined) {
        (None, _) => "; nothing of that speaks against an image".to_owned(),
        (Some(image), true) => format!("; {image}, into which it rebooted, is quarantined"),
        (Some(image), false) => format!(
            "; {image}, into which it rebooted, is not quarantined, because a member has proven it"
        ),
    };
    tracing::warn!(
        "{host} ({id}, phase {phase}) did not come back within its deadline and its grace, and is passed over by the group's \
         policy{image}"
    );
}
