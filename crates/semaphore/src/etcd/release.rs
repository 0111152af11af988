//! The end of a hold.

use etcd_client::{Compare, Txn, TxnOp};

use super::{
    Error, RACES, Released, Semaphore, absent, hold::Held, json, put_quarantine, put_state, read,
    stand_back, store::as_read, unchanged,
};
use crate::{
    records::{NodeRecord, Quarantine},
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
        const DOING: &str = "releasing the reboot lock";
        let keys = &self.keys;
        let expected = self.expected.take().filter(|(whose, _)| whose == id);
        let mut held = match expected {
            Some((_, held)) if held.by(nonce).is_some() => held,
            _ => self.held(DOING, id, Vec::new()).await?,
        };
        let mut seen = false;
        for tries in 0..RACES {
            let mut compares = Vec::new();
            let mut then = Vec::new();
            let ours = held.by(nonce);
            // Where it is gone after a try, that try has released it and its reply was lost, or somebody did just now.
            seen |= ours.is_some();
            match ours {
                Some((entry, read)) => {
                    compares.extend(unchanged(keys.holder(id), read));
                    match &entry.by_hand {
                        None => (compares, then) = self.removal(id, nonce, &held, compares)?,
                        Some(by_hand) => {
                            then = vec![
                                TxnOp::put(keys.holder(id), json(by_hand), None),
                                TxnOp::delete(keys.deadline(id), None),
                            ];
                            self.remove_member_out(nonce, &held, &mut compares, &mut then);
                        }
                    }
                }
                None => {
                    self.ended_by_somebody(DOING, nonce, &held).await?;
                    let entry = held.entry.as_ref().map(|(_, stored)| stored);
                    compares.extend(as_read(&keys.holder(id), entry));
                }
            }
            then.extend(owed.into_iter().flat_map(|q| put_quarantine(keys, q)));
            then.extend(put_state(keys, node, "idle"));
            then.extend(node.into_iter().flat_map(|node| self.member_ops(node)));
            let released = if seen {
                Released::Released
            } else {
                Released::NotHeld
            };
            if then.is_empty() {
                self.memory().note_release(nonce);
                return Ok(released);
            }
            let txn = Txn::new()
                .when(compares)
                .and_then(then)
                .or_else(self.held_ops(id, Vec::new()));
            let response = self.txn(DOING, txn).await?;
            if response.succeeded() {
                self.memory().note_release(nonce);
                node.into_iter().for_each(|node| self.note_member(node));
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
    fn remove_member_out(
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
