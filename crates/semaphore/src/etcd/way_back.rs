//! The way back of a node that soaks, under the hold that it has: to the image it left, by a person's word.
//!
//! It asks for no ticket, and no pause or stop keeps it: the node is out already, and the sooner it is back on what ran well the
//! better. But the image it goes to must not be quarantined, and of the nodes that host a member of etcd only one is out.

use std::time::Duration;

use etcd_client::{Txn, TxnOp};
use jiff::Timestamp;

use super::{
    Claim, Committed, Error, RACES, Semaphore, gates, hold::Held, json, put_state, stand_back,
    unchanged,
};
use crate::{
    commit::{self, Standing},
    gates::{Closed, Gateway},
    records::{Holder, MemberOut, Phase},
};

impl Semaphore {
    /// What keeps this claim from its way back now; none where nothing does.
    ///
    /// # Errors
    /// When etcd cannot be reached or refuses.
    pub async fn way_back_closed_by(&self, claim: &Claim) -> Result<Option<Closed>, Error> {
        let gateway = Gateway::to_go_back(&self.keys, claim.passenger(None));
        let asked = gates::gets(&gateway).collect();
        let held = self
            .held("asking for the way back", claim.id(), asked)
            .await?;
        let gates = gates::read(&gateway, held.more, None);
        Ok(gates.closed.into_iter().next())
    }

    /// The last word before the reboot of a node that soaks into the image it left. The entry then tells of that reboot: the
    /// images, the phase `rebooting`, a new deadline; and of a node with a member of etcd that it is out.
    ///
    /// # Errors
    /// When etcd cannot be reached: then it is not known whether it is committed, and must be asked again.
    pub async fn commit_way_back(&self, claim: &Claim) -> Result<Committed, Error> {
        const DOING: &str = "committing to the way back";
        let gateway = Gateway::to_go_back(&self.keys, claim.passenger(None));
        let rule = |standing: Standing<'_>| match commit::decide_way_back(standing) {
            commit::Step::Commit(soaks) => commit::Step::Commit(Holder {
                since: Some(Timestamp::now()),
                from: claim.holder.from.clone(),
                to: claim.holder.to.clone(),
                reason: claim.holder.reason.clone(),
                deadline: claim.holder.deadline,
                soaks_until: None,
                ..soaks
            }),
            other => other,
        };
        let more = async |committed: &Holder, _: &Held| {
            let leases = self.deadline_leases(DOING, committed).await?;
            Ok((leases, self.member_out_put(claim)))
        };
        self.commit_by(DOING, claim, &gateway, rule, more).await
    }

    /// Says of a claim that holds that its node soaks on, where a way back that did not come about, or a reboot, has said
    /// otherwise: with the images of the claim, for what is `left` of the soak, and its deadline after that. False where the claim does not hold.
    ///
    /// # Errors
    /// When etcd cannot be reached or refuses.
    pub async fn soak_on(&self, claim: &Claim, left: Duration) -> Result<bool, Error> {
        const DOING: &str = "telling that the node soaks on";
        let (keys, id) = (&self.keys, claim.id());
        for tries in 0..RACES {
            let held = self.held(DOING, id, Vec::new()).await?;
            let Some((entry, read)) = held.by(claim.nonce()) else {
                self.ended_by_somebody(DOING, claim.nonce(), &held).await?;
                return Ok(false);
            };
            if entry.phase == Phase::Soaking {
                return Ok(true);
            }
            let soaks = Holder {
                phase: Phase::Soaking,
                from: claim.holder.from.clone(),
                to: claim.holder.to.clone(),
                reason: claim.holder.reason.clone(),
                deadline: claim
                    .holder
                    .deadline
                    .map(|slack| slack.saturating_add(left.as_secs())),
                soaks_until: Timestamp::now().checked_add(left).ok(),
                ..entry.clone()
            };
            let mut compares = unchanged(keys.holder(id), read);
            let leases = self.deadline_leases(DOING, &soaks).await?;
            let mut then = self.entry_puts(&soaks, leases);
            self.remove_member_out(claim.nonce(), &held, &mut compares, &mut then);
            then.extend(put_state(keys, claim.node.as_ref(), "soaking"));
            let txn = Txn::new().when(compares).and_then(then);
            if self.txn(DOING, txn).await?.succeeded() {
                return Ok(true);
            }
            stand_back(tries).await;
        }
        Err(Error::Contended {
            doing: DOING,
            tries: RACES,
        })
    }

    /// What says that a node with a member of etcd is out, where the claim is such a node's.
    pub(super) fn member_out_put(&self, claim: &Claim) -> Option<TxnOp> {
        let keys = &self.keys;
        let out = MemberOut {
            id: claim.holder.id.clone(),
            hostname: claim.holder.hostname.clone(),
            group: keys.group().as_str().to_owned(),
            nonce: claim.holder.nonce.clone(),
        };
        let put = || TxnOp::put(keys.member_out(), json(&out), None);
        claim.member.then(put)
    }
}
