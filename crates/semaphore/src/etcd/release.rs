//! The end of a hold, or the soak before it.

use std::time::Duration;

use etcd_client::{Compare, Txn, TxnOp};
use jiff::Timestamp;

use super::{
    Error, RACES, Released, Semaphore, absent, hold::Held, json, put_state,
    quarantine::put_quarantine, read, stand_back, store::as_read, unchanged,
};
use crate::{
    policy::Policy,
    records::{Holder, NodeRecord, Phase, Quarantine},
    stored::Stored,
};

impl Semaphore {
    /// Gives the semaphore back, if the claim with this nonce holds it (to the person under whose lock the node rebooted,
    /// where one did), and puts the quarantine the node
    /// owes in the same step (alone, where nothing is held). Harmless when repeated.
    ///
    /// # Errors
    /// When etcd cannot be reached, or the document cannot be used: then it is still held.
    pub async fn release(
        &self,
        id: &str,
        nonce: &str,
        owed: Option<&Quarantine>,
        node: Option<&NodeRecord>,
    ) -> Result<Released, Error> {
        self.end_hold(id, nonce, owed, node, None).await
    }

    /// As [`Self::release`], for a node that has proven another image than the one it left: where the group's policy gives a
    /// soak, that begins instead, in one step, and the claim goes on holding. `slack` is how much longer than the soak the node
    /// may take until its deadline. The policy is read with the rest and compared, so that a soak set at the same moment is
    /// kept or not wanted yet.
    ///
    /// # Errors
    /// As [`Self::release`]; also when the policy cannot be used: then it is still held.
    pub async fn release_or_soak(
        &self,
        id: &str,
        nonce: &str,
        owed: Option<&Quarantine>,
        node: &NodeRecord,
        slack: Duration,
    ) -> Result<Released, Error> {
        self.end_hold(id, nonce, owed, Some(node), Some(slack))
            .await
    }

    async fn end_hold(
        &self,
        id: &str,
        nonce: &str,
        owed: Option<&Quarantine>,
        node: Option<&NodeRecord>,
        may_soak: Option<Duration>,
    ) -> Result<Released, Error> {
        const DOING: &str = "releasing the reboot lock";
        let keys = &self.keys;
        let expected = self.expected.take().filter(|(whose, _)| whose == id);
        let mut held = match expected {
            Some((_, held)) if held.by(nonce).is_some() => held,
            _ => self.held(DOING, id, vec![self.get_policy()]).await?,
        };
        let mut seen = false;
        for tries in 0..RACES {
            let mut compares = Vec::new();
            let mut then = Vec::new();
            let ours = held.by(nonce);
            // Where it is gone after a try, that try has released it and its reply was lost, or somebody did just now.
            seen |= ours.is_some();
            let soak = match (may_soak, ours) {
                (Some(slack), Some(_)) => self
                    .soak_by_policy(id, &held, &mut compares)?
                    .map(|soak| (soak, slack)),
                _ => None,
            };
            let released = match (ours, soak) {
                (Some((entry, read)), Some((soak, slack))) => {
                    compares.extend(unchanged(keys.holder(id), read));
                    then = self.soak(DOING, entry, soak, slack).await?;
                    self.remove_member_out(nonce, &held, &mut compares, &mut then);
                    Released::Soaks(soak)
                }
                (Some((entry, read)), None) => {
                    compares.extend(unchanged(keys.holder(id), read));
                    match &entry.by_hand {
                        None => (compares, then) = self.removal(id, nonce, &held, compares)?,
                        Some(by_hand) => {
                            then = vec![
                                TxnOp::put(keys.holder(id), json(by_hand), None),
                                TxnOp::delete(keys.deadline(id), None),
                                TxnOp::delete(keys.expiry(id), None),
                            ];
                            self.remove_member_out(nonce, &held, &mut compares, &mut then);
                        }
                    }
                    Released::Released
                }
                (None, _) => {
                    self.ended_by_somebody(DOING, nonce, &held).await?;
                    let entry = held.entry.as_ref().map(|(_, stored)| stored);
                    compares.extend(as_read(&keys.holder(id), entry));
                    match self.found(id, &held, &mut compares, &mut then) {
                        Some(lost) => Released::ThoughtLost(lost),
                        None if seen => Released::Released,
                        None => Released::NotHeld,
                    }
                }
            };
            then.extend(owed.into_iter().flat_map(|q| put_quarantine(keys, q)));
            let ends = !matches!(released, Released::Soaks(_));
            let state = if ends { "idle" } else { "soaking" };
            then.extend(put_state(keys, node, state));
            let member = node.filter(|_| ends);
            then.extend(member.into_iter().flat_map(|node| self.member_ops(node)));
            if then.is_empty() {
                self.memory().note_release(nonce);
                return Ok(released);
            }
            let txn = Txn::new()
                .when(compares)
                .and_then(then)
                .or_else(self.held_ops(id, vec![self.get_policy()]));
            let response = self.txn(DOING, txn).await?;
            if response.succeeded() {
                if ends {
                    self.memory().note_release(nonce);
                }
                if let Some(node) = member {
                    self.note_member(node);
                    self.see_to_waves_of(node, held.policy()).await;
                }
                return Ok(released);
            }
            // What is expected may be long past: only a race lost in earnest is worth a pause.
            if tries > 0 {
                stand_back(tries).await;
            }
            held = Held::from(&response);
        }
        Err(Error::Contended {
            doing: DOING,
            tries: RACES,
        })
    }

    /// What is asked of the policy beside a holder.
    pub(super) fn get_policy(&self) -> TxnOp {
        TxnOp::get(self.keys.policy(), None)
    }

    /// How long the group's policy, as it was read, has a node soak that the document names; and the compares by which it still
    /// says so.
    fn soak_by_policy(
        &self,
        id: &str,
        held: &Held,
        compares: &mut Vec<Compare>,
    ) -> Result<Option<Duration>, Error> {
        let policy = held.policy();
        let stored = policy.map(Stored::from);
        compares.extend(as_read(&self.keys.policy(), stored.as_ref()));
        let policy = policy.map(|kv| Policy::parse(kv.value())).transpose();
        let policy = policy.map_err(Error::UnusablePolicy)?;
        Ok(policy
            .filter(|_| held.names(id))
            .and_then(|policy| policy.soak))
    }

    /// The changes that make the holder with this entry one that soaks.
    async fn soak(
        &self,
        doing: &'static str,
        entry: &Holder,
        soak: Duration,
        slack: Duration,
    ) -> Result<Vec<TxnOp>, Error> {
        let entry = Holder {
            phase: Phase::Soaking,
            deadline: Some(soak.saturating_add(slack).as_secs()),
            soaks_until: Timestamp::now().checked_add(soak).ok(),
            ..entry.clone()
        };
        let leases = self.deadline_leases(doing, &entry).await?;
        Ok(self.entry_puts(&entry, leases))
    }

    /// The compares and changes that take `id` out of the holders.
    pub(super) fn removal(
        &self,
        id: &str,
        nonce: &str,
        held: &Held,
        compares: Vec<Compare>,
    ) -> Result<(Vec<Compare>, Vec<TxnOp>), Error> {
        let (compares, mut then) = self.removal_of_entry(id, nonce, held, compares)?;
        if let Some((Ok(document), _)) = &held.document
            && document.holds(id)
        {
            let document = document.without(id).to_json();
            then.push(TxnOp::put(self.keys.semaphore(), document, None));
        }
        Ok((compares, then))
    }

    /// As [`Self::removal`]; but the document is left to the caller, who compares it by this.
    pub(super) fn removal_of_entry(
        &self,
        id: &str,
        nonce: &str,
        held: &Held,
        mut compares: Vec<Compare>,
    ) -> Result<(Vec<Compare>, Vec<TxnOp>), Error> {
        let keys = &self.keys;
        let mut then = vec![
            TxnOp::delete(keys.holder(id), None),
            TxnOp::delete(keys.deadline(id), None),
            TxnOp::delete(keys.expiry(id), None),
        ];
        match &held.document {
            // Deleted by somebody: there is nothing to take the name out of.
            None => compares.push(absent(keys.semaphore())),
            Some((Err(error), _)) => return Err(self.unusable(error.clone())),
            Some((Ok(_), modified)) => {
                compares.extend(unchanged(keys.semaphore(), modified));
            }
        }
        self.remove_member_out(nonce, held, &mut compares, &mut then);
        Ok((compares, then))
    }

    /// Adds what says that no node with a member of etcd is out any more, where this claim was such a node's.
    pub(super) fn remove_member_out(
        &self,
        nonce: &str,
        held: &Held,
        compares: &mut Vec<Compare>,
        then: &mut Vec<TxnOp>,
    ) {
        let key = self.keys.member_out();
        let own = held
            .member_out
            .as_ref()
            .filter(|kv| read::member_out(kv).nonce == nonce && !nonce.is_empty());
        if let Some(out) = own {
            compares.extend(unchanged(key.clone(), &Stored::from(out)));
            then.push(TxnOp::delete(key, None));
        }
    }
}
