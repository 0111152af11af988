//! The take: one transaction, with all that it compares.

use etcd_client::{Compare, CompareOp, Txn, TxnOp};
use jiff::Timestamp;
use tokio::time::Instant;

use super::Run;
use crate::{
    acts,
    etcd::{Error, Semaphore, absent, acts::About, gates, lease::SpareLease, put_state, unchanged},
    policy::Policy,
    queue::{Step, View},
    records::{Holder, Member, NodeRecord},
};

impl Run<'_> {
    /// Notes whether the policy of this view has a node soak.
    pub(super) fn note_soak(&self, view: &View) {
        let policy = view.gates.found(&self.semaphore.keys.policy());
        let policy = policy.map(|found| Policy::parse(&found.stored.value));
        let soaks = policy.is_some_and(|policy| policy.is_ok_and(|policy| policy.soak.is_some()));
        self.semaphore.took_with_soak.set(soaks);
    }

    /// Tries to take by this view: `None` when taken, else what there is now.
    ///
    /// It compares, each as it was read for the view:
    /// - the own ticket, by its create revision: whoever gives up the wait deletes it;
    /// - the own entry among the holders: absent, or for a take-over the lock by hand (revision and value);
    /// - the document (revision and value);
    /// - the key of each gate ([`crate::gates`]: absent, or revision and value): pauses, policy, quarantines of the image,
    ///   `member-out`. Of a range of keys: that none was written since.
    ///
    /// What was only counted is not compared: a member that joins later changes the document at the next take.
    pub(super) async fn take(&mut self, step: &Step, view: &View) -> Result<Option<View>, Error> {
        let Semaphore {
            connection, keys, ..
        } = self.semaphore;
        let key = keys.holder(self.claim.id());
        let (document, read, entry, by_hand) = match step {
            Step::Take { document, read } => (document, read, vec![absent(key)], None),
            Step::TakeOver {
                by_hand,
                entry,
                document,
                read,
            } => {
                let by_hand = Some(Box::new(by_hand.clone()));
                (document, read, unchanged(key, entry), by_hand)
            }
            other => unreachable!("{other:?} takes nothing"),
        };
        let holder = &Holder {
            since: Some(Timestamp::now()),
            grace: by_hand.is_none().then(|| self.grace(view)).flatten(),
            by_hand,
            ..self.claim.holder.clone()
        };
        let place = self.place.unwrap_or_default();
        let mut compares = vec![Compare::create_revision(
            keys.ticket(&holder.id),
            CompareOp::Equal,
            place,
        )];
        compares.extend(entry);
        compares.extend(unchanged(keys.semaphore(), read));
        compares.extend(gates::unchanged(&view.gates, view.read_at));
        const DOING: &str = "taking the reboot lock";
        // Used once only: where it is gone after all, or the race is lost, the next take asks for a new one.
        let fresh = |spare: &SpareLease| {
            spare.is_for(holder.grace) && spare.is_fresh(Instant::now(), connection.timeout())
        };
        let leases = match self.spare.take().filter(fresh) {
            Some(spare) => spare.leases,
            None => self.semaphore.deadline_leases(DOING, holder).await?,
        };
        let mut puts = self.semaphore.holder_puts(holder, document, leases);
        puts.push(TxnOp::delete(keys.ticket(&holder.id), None));
        // A node that takes is not lost.
        puts.push(TxnOp::delete(keys.lost_node(&holder.id), None));
        puts.extend(put_state(keys, self.claim.node.as_ref(), "draining"));
        // From now on nothing is proven on it that counts, until what it goes to is.
        let leaves = self
            .claim
            .node
            .as_ref()
            .filter(|_| self.claim.passenger(None).to.is_some());
        let leaving = leaves.map(|node| NodeRecord {
            member: node.member.as_ref().map(|_| Member::default()),
            ..node.clone()
        });
        puts.extend(
            leaving
                .iter()
                .flat_map(|node| self.semaphore.member_ops(node)),
        );
        puts.extend(self.semaphore.member_out_put(self.claim));
        let act = match self.act.take() {
            Some(act) => act,
            None => {
                let node = acts::node(&holder.hostname, &holder.id);
                let reason = holder.reason.as_deref().unwrap_or_default();
                let about = About::Group;
                self.semaphore
                    .act(DOING, "lock --wait", about, node, reason)?
            }
        };
        puts.extend(act.ops());
        self.act = Some(act);
        let txn = Txn::new()
            .when(compares)
            .and_then(puts)
            .or_else(self.view_ops());
        let response = self.semaphore.txn(DOING, txn).await?;
        if response.succeeded() {
            self.semaphore.acted(&response).await;
            let revision = response.header().map_or(0, |h| h.revision());
            let memory = self.semaphore.memory();
            memory.note_document(&keys.semaphore(), Some(document));
            memory.note_take(self.claim.nonce(), revision);
            self.semaphore.note_lock(holder);
            self.note_soak(view);
            leaving
                .iter()
                .for_each(|node| self.semaphore.note_member(node));
            return Ok(None);
        }
        let (view, _) = self.to_view(&response);
        if self.asked_for_all_of(&view) {
            return Ok(Some(view));
        }
        self.view().await.map(Some)
    }
}
