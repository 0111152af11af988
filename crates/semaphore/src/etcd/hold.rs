//! While a node holds the reboot lock: committing to the reboot, finding out after a crash.

use std::time::Duration;

use etcd_client::{Compare, GetOptions, KeyValue, Txn, TxnOp, TxnResponse};

use super::{
    Claim, Error, NodeWindows, RACES, Semaphore, absent, gates, json, lease::HoldLeases, put_state,
    read, stand_back, store::as_read, unchanged,
};
use crate::{
    commit::{self, Standing},
    document::{Document, DocumentError},
    gates::Gateway,
    lenient,
    records::{Holder, LostNode, NodeRecord, Phase},
    stored::Stored,
};

/// Who holds the semaphore under a node's id.
#[derive(Debug, Clone, PartialEq)]
pub enum Owner {
    /// The claim asked about.
    Claim,
    /// Nobody.
    Nobody,
    /// Somebody else: another machine with this id, a person, or another tool.
    Other(Option<Holder>),
}

/// How leaving the queue ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// The ticket is gone, and no take under way can succeed any more.
    Left,
    /// It was taken before the ticket could be given up: the claim holds it now.
    Held,
}

/// How a commit ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Committed {
    /// The node may reboot.
    Yes,
    /// It must step back.
    No(commit::Refusal),
}

/// How a release ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Released {
    /// The claim held it and does not any more.
    Released,
    /// The claim did not hold it (any more).
    NotHeld,
    /// The claim goes on holding it, and the node soaks for so long.
    Soaks(Duration),
    /// Another node had passed over it by the group's policy, since it did not come back in time.
    ThoughtLost(LostNode),
}

/// What is in etcd about one holder, at one revision.
#[derive(Clone)]
pub(super) struct Held {
    pub(super) document: Option<(Result<Document, DocumentError>, Stored)>,
    pub(super) entry: Option<(Holder, Stored)>,
    pub(super) member_out: Option<KeyValue>,
    /// Whether its deadline has not passed.
    pub(super) in_time: bool,
    /// That it was passed over.
    pub(super) lost: Option<(LostNode, Stored)>,
    /// The answers to what else was asked.
    pub(super) more: Vec<Vec<KeyValue>>,
    /// How many keys the last of these requests has found.
    pub(super) counted: u64,
    /// When that was so.
    pub(super) revision: i64,
    /// The id of the cluster that said so.
    pub(super) cluster: u64,
}

impl From<&TxnResponse> for Held {
    fn from(response: &TxnResponse) -> Self {
        let mut answers = read::answers(response).into_iter();
        let mut next = || answers.next()?.into_iter().next();
        Self {
            document: next().map(|kv| (Document::parse(kv.value()), Stored::from(&kv))),
            entry: next().map(|kv| read::holder(&kv)),
            member_out: next(),
            in_time: next().is_some(),
            lost: next().map(|kv| (lenient::lost_node(kv.value()), Stored::from(&kv))),
            more: answers.collect(),
            counted: read::counted(response),
            revision: response.header().map_or(0, |header| header.revision()),
            cluster: response.header().map_or(0, |header| header.cluster_id()),
        }
    }
}

impl Held {
    pub(super) fn by(&self, nonce: &str) -> Option<&(Holder, Stored)> {
        self.entry
            .as_ref()
            .filter(|(entry, _)| entry.nonce == nonce)
    }

    /// The policy, where it was asked for beside the holder, and first.
    pub(super) fn policy(&self) -> Option<&KeyValue> {
        self.more.first()?.first()
    }

    pub(super) fn names(&self, id: &str) -> bool {
        matches!(&self.document, Some((Ok(document), _)) if document.holds(id))
    }
}

impl Semaphore {
    /// Writes the first document, unless there is one, or one of these compares more does not hold.
    ///
    /// # Errors
    /// [`Error::Missing`] when there is none although holders stand: it was deleted, and who is out is
    /// known only from them.
    pub(super) async fn create(&self, more: Vec<Compare>) -> Result<(), Error> {
        let keys = &self.keys;
        let no_holders = absent(keys.holders()).with_prefix();
        let mut compares = vec![absent(keys.semaphore()), no_holders];
        compares.extend(more);
        let txn = Txn::new()
            .when(compares)
            .and_then(vec![TxnOp::put(
                keys.semaphore(),
                Document::new(1).to_json(),
                None,
            )])
            .or_else(vec![
                TxnOp::get(keys.semaphore(), None),
                TxnOp::get(keys.holders(), Some(GetOptions::new().with_prefix())),
            ]);
        let response = self
            .txn("creating the document of the reboot lock", txn)
            .await?;
        if response.succeeded() {
            return Ok(());
        }
        self.missing(&read::answers(&response))
    }

    /// By the answers to what was asked of the document and the holders.
    ///
    /// # Errors
    /// [`Error::Missing`] when there is no document although holders stand.
    pub(super) fn missing(&self, answers: &[Vec<KeyValue>]) -> Result<(), Error> {
        if !answers[0].is_empty() || answers[1].is_empty() {
            return Ok(());
        }
        let prefix = self.keys.holders();
        Err(Error::Missing {
            key: self.keys.semaphore(),
            holders: answers[1]
                .iter()
                .map(|kv| read::text(kv.key()).trim_start_matches(&prefix).to_owned())
                .collect(),
        })
    }

    pub(super) async fn held(
        &self,
        doing: &'static str,
        id: &str,
        more: Vec<TxnOp>,
    ) -> Result<Held, Error> {
        let txn = Txn::new().and_then(self.held_ops(id, more));
        let response = self.txn(doing, txn).await?;
        let held = Held::from(&response);
        if let Some((document, _)) = &held.document {
            let key = self.keys.semaphore();
            self.memory().note_document(&key, document.as_ref().ok());
        }
        Ok(held)
    }

    /// Ok where the claim with this nonce, which is no holder, may have been ended by somebody.
    ///
    /// # Errors
    /// [`Error::OtherStore`] where the store has forgotten it.
    pub(super) async fn ended_by_somebody(
        &self,
        doing: &'static str,
        nonce: &str,
        held: &Held,
    ) -> Result<(), Error> {
        let document = held.document.as_ref().map(|(_, stored)| stored.modified);
        if let Err(sign) = self.memory().hold_is_gone(nonce, document) {
            self.stop_for_a_sign().await;
            return Err(Error::OtherStore {
                doing,
                sign: sign.to_string(),
            });
        }
        Ok(())
    }

    /// What is read of a holder, in the order [`Held`] is made from.
    pub(super) fn held_ops(&self, id: &str, more: Vec<TxnOp>) -> Vec<TxnOp> {
        let keys = &self.keys;
        let asked = [
            keys.semaphore(),
            keys.holder(id),
            keys.member_out(),
            keys.deadline(id),
            keys.lost_node(id),
        ];
        let gets = asked.into_iter().map(|key| TxnOp::get(key, None));
        gets.chain(more).collect()
    }

    /// Says that the node is up again and being checked, if the claim with this nonce holds. What a release will
    /// change is seen here: looked at while the node is still proving, it takes a turn to etcd out of the hand-over. What
    /// has changed by then is read again.
    ///
    /// A node that was soaking has the whole of `deadline`, in seconds, again: it may have been away.
    ///
    /// # Errors
    /// When etcd cannot be reached or refuses.
    pub async fn proving(
        &self,
        id: &str,
        nonce: &str,
        deadline: u64,
        node: Option<&NodeRecord>,
    ) -> Result<(), Error> {
        const DOING: &str = "telling that the new boot is being checked";
        let keys = &self.keys;
        for tries in 0..RACES {
            let mut held = self.held(DOING, id, vec![self.get_policy()]).await?;
            let changed = match held.by(nonce) {
                Some((entry, modified)) if entry.phase != Phase::Proving => {
                    let soaked = entry.phase == Phase::Soaking;
                    let entry = Holder {
                        phase: Phase::Proving,
                        soaks_until: None,
                        deadline: if soaked {
                            Some(deadline)
                        } else {
                            entry.deadline
                        },
                        ..entry.clone()
                    };
                    let leases = match soaked {
                        true => self.deadline_leases(DOING, &entry).await?,
                        false => self.leases_again(DOING, &entry, &held).await?,
                    };
                    Some((entry, modified.clone(), leases))
                }
                None => {
                    self.ended_by_somebody(DOING, nonce, &held).await?;
                    return Ok(());
                }
                // It was said before, or there is nothing to say it of.
                _ => None,
            };
            if let Some((entry, modified, leases)) = changed {
                let value = json(&entry);
                let mut puts = self.entry_puts(&entry, leases);
                puts.extend(put_state(keys, node, "proving"));
                let txn = Txn::new()
                    .when(unchanged(keys.holder(id), &modified))
                    .and_then(puts);
                let response = self.txn(DOING, txn).await?;
                if !response.succeeded() {
                    stand_back(tries).await;
                    continue;
                }
                let revision = response.header().map_or(0, |header| header.revision());
                let stored = Stored {
                    modified: revision,
                    value: value.into_bytes(),
                };
                held.entry = Some((entry, stored));
            }
            *self.expected.borrow_mut() = Some((id.to_owned(), held));
            return Ok(());
        }
        Err(Error::Contended {
            doing: DOING,
            tries: RACES,
        })
    }

    /// The puts that make `holder` one: the document, its entry, its deadline and its grace on these leases.
    pub(super) fn holder_puts(
        &self,
        holder: &Holder,
        document: &Document,
        leases: HoldLeases,
    ) -> Vec<TxnOp> {
        let mut puts = vec![TxnOp::put(self.keys.semaphore(), document.to_json(), None)];
        puts.extend(self.entry_puts(holder, leases));
        puts
    }

    /// The puts of a holder's entry, and of its deadline and its grace on these leases.
    pub(super) fn entry_puts(&self, holder: &Holder, leases: HoldLeases) -> Vec<TxnOp> {
        let keys = &self.keys;
        let mut puts = vec![TxnOp::put(keys.holder(&holder.id), json(holder), None)];
        puts.extend(self.deadline_puts(holder, leases));
        puts
    }

    /// Gives up waiting: deletes the ticket, in one step with finding out whether the semaphore has been
    /// taken after all. After [`Left::Left`] no earlier request of this claim can take it any more.
    ///
    /// # Errors
    /// When etcd cannot be reached: then it is not known, and must be asked again.
    pub async fn leave(
        &self,
        id: &str,
        nonce: &str,
        node: Option<&NodeRecord>,
    ) -> Result<Left, Error> {
        let keys = &self.keys;
        let ticket = || TxnOp::delete(keys.ticket(id), None);
        let mut then = vec![ticket()];
        then.extend(put_state(keys, node, "idle"));
        then.extend(node.into_iter().flat_map(|node| self.member_ops(node)));
        let txn = Txn::new()
            .when(vec![absent(keys.holder(id))])
            .and_then(then)
            .or_else(vec![
                TxnOp::get(keys.holder(id), None),
                TxnOp::get(keys.member_out(), None),
                ticket(),
            ]);
        let response = self.txn("leaving the queue", txn).await?;
        if response.succeeded() {
            node.into_iter().for_each(|node| self.note_member(node));
            return Ok(Left::Left);
        }
        let answers = read::answers(&response);
        let entry = answers[0].first().map(|kv| read::holder(kv).0);
        Ok(match entry.filter(|entry| entry.nonce == nonce) {
            Some(entry) => {
                self.note_lock(&entry);
                let out = answers.get(1).and_then(|kvs| kvs.first());
                let own = out.is_some_and(|kv| read::member_out(kv).nonce == nonce);
                self.took_as_member.set(own);
                Left::Held
            }
            None => Left::Left,
        })
    }

    /// Finds out who holds the semaphore under this id.
    ///
    /// # Errors
    /// When etcd cannot be reached or refuses.
    pub async fn owner(&self, id: &str, nonce: &str) -> Result<Owner, Error> {
        let held = self.held("asking who holds", id, Vec::new()).await?;
        Ok(match (&held.entry, held.names(id)) {
            (Some((entry, _)), _) if entry.nonce == nonce => Owner::Claim,
            (Some((entry, _)), _) => Owner::Other(Some(entry.clone())),
            (None, true) => Owner::Other(None),
            (None, false) => Owner::Nobody,
        })
    }

    /// The last word before the reboot: the entry is still this claim's and the document still names the
    /// node, nobody paused or set max to 0, the image is not quarantined; then the phase is `rebooting`.
    ///
    /// # Errors
    /// When etcd cannot be reached: then it is not known whether it is committed, and must be asked again.
    pub async fn commit(&self, claim: &Claim) -> Result<Committed, Error> {
        const DOING: &str = "committing to the reboot";
        let moment = claim.windows.as_ref().map(NodeWindows::before_reboot);
        let gateway = Gateway::to_commit(&self.keys, claim.passenger(moment.as_ref()));
        let more = async |committed: &Holder, held: &Held| {
            let leases = self.leases_again(DOING, committed, held).await?;
            Ok((leases, None))
        };
        self.commit_by(DOING, claim, &gateway, commit::decide, more)
            .await
    }

    /// A commit by this rule, through these gates. `more` gets the entry to write and what was read: the leases of its deadline,
    /// and what else is written.
    pub(super) async fn commit_by(
        &self,
        doing: &'static str,
        claim: &Claim,
        gateway: &Gateway,
        rule: impl Fn(Standing<'_>) -> commit::Step,
        more: impl AsyncFn(&Holder, &Held) -> Result<(HoldLeases, Option<TxnOp>), Error>,
    ) -> Result<Committed, Error> {
        let (keys, id) = (&self.keys, claim.id());
        for tries in 0..RACES {
            let mut held = self.held(doing, id, gates::gets(gateway).collect()).await?;
            // Whether a gate closed before the store was accepted matters to no gate of the commit.
            let gates = gates::read(gateway, std::mem::take(&mut held.more), None);
            let own = held.by(claim.nonce());
            if own.is_none() {
                self.ended_by_somebody(doing, claim.nonce(), &held).await?;
            }
            let step = rule(Standing {
                id,
                own: own.map(|(entry, _)| entry),
                lost: held.lost.as_ref().map(|(lost, _)| lost),
                document: held.document.as_ref().map(|(document, _)| document),
                gates: &gates,
            });
            let committed = match step {
                commit::Step::Commit(entry) => entry,
                commit::Step::Committed => return Ok(Committed::Yes),
                commit::Step::StepBack(refusal) => return Ok(Committed::No(refusal)),
            };
            let mut compares = gates::unchanged(&gates, held.revision);
            compares.extend(as_read(&keys.holder(id), own.map(|(_, read)| read)));
            let document = held.document.as_ref().map(|(_, read)| read);
            compares.extend(as_read(&keys.semaphore(), document));
            let (leases, more) = more(&committed, &held).await?;
            let mut puts = self.entry_puts(&committed, leases);
            puts.extend(put_state(keys, claim.node.as_ref(), "rebooting"));
            puts.extend(more);
            let txn = Txn::new().when(compares).and_then(puts);
            if self.txn(doing, txn).await?.succeeded() {
                return Ok(Committed::Yes);
            }
            stand_back(tries).await;
        }
        Err(Error::Contended {
            doing,
            tries: RACES,
        })
    }

    pub(super) fn unusable(&self, error: DocumentError) -> Error {
        Error::Document {
            key: self.keys.semaphore(),
            holders: self.keys.holders(),
            error,
        }
    }
}
