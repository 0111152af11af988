//! What a claim sees of the queue, the document and the gates.

use std::time::Duration;

use etcd_client::{GetOptions, KeyValue, SortOrder, SortTarget, Txn, TxnOp, TxnResponse};
use host::node::Group;

use super::Run;
use crate::{
    document::Document,
    etcd::{Error, NodeWindows, gates, lost::First, read},
    gates::{ClosedBy, Gateway},
    policy::{Lost, after_in, lost_in, percentage_in},
    queue::{Step, View},
    records::Ticket,
    stored::Stored,
};

/// How many holders are named by their hosts: what a node waits for is cut where more would stand.
const NAMED: i64 = 25;

impl<'run> Run<'run> {
    pub(super) fn gateway(&self) -> Gateway {
        let windows = self.claim.windows.as_ref();
        let moment = windows.map(NodeWindows::before_take);
        let passenger = self.claim.passenger(moment.as_ref());
        Gateway::to_take(&self.semaphore.keys, passenger, &self.after)
    }

    /// What is read to decide the next step, in the order that [`Self::to_view`] expects.
    pub(super) fn view_ops(&self) -> Vec<TxnOp> {
        let keys = &self.semaphore.keys;
        let own = [
            keys.semaphore(),
            keys.holder(self.claim.id()),
            keys.ticket(self.claim.id()),
            keys.store(),
        ];
        let mut ops: Vec<TxnOp> = own.map(|key| TxnOp::get(key, None)).into();
        if self.place.is_some() {
            let some = GetOptions::new().with_prefix().with_limit(NAMED);
            ops.push(TxnOp::get(keys.holders(), Some(some)));
        }
        ops.extend(gates::gets(&self.gateway()));
        if let Some(place) = self.place {
            let before = GetOptions::new()
                .with_prefix()
                .with_max_create_revision(place - 1)
                .with_sort(SortTarget::Create, SortOrder::Descend)
                .with_limit(1);
            ops.push(TxnOp::get(keys.queue(), Some(before)));
        }
        if self.percent.is_some() {
            ops.push(read::count(keys.members()));
        }
        ops
    }

    /// The view by the answers to [`Self::view_ops`], and the key by which a person accepted the store.
    pub(super) fn to_view(&self, response: &TxnResponse) -> (View, Option<KeyValue>) {
        let counted = self
            .percent
            .map(|percent| (percent, read::counted(response)));
        let mut answers = read::answers(response).into_iter();
        let mut first = || answers.next()?.into_iter().next();
        let (document, holder, ticket, store) = (first(), first(), first(), first());
        let holders = self.place.and_then(|_| answers.next()).unwrap_or_default();
        let beginning = self.semaphore.keys.holders();
        let host_name = |kv: &KeyValue| (read::after(&beginning, kv), read::holder(kv).0.hostname);
        let gates = gates::read(&self.gateway(), answers.by_ref(), store.as_ref());
        // The count of the members, which comes last, has no keys.
        let predecessor = answers.flatten().next();
        let revision = response.header().map_or(0, |h| h.revision());
        let lease = Duration::from_secs(self.claim.ticket_lease);
        let stood = self
            .stands_since
            .is_some_and(|since| since.elapsed() >= lease);
        let key = self.semaphore.keys.semaphore();
        let memory = self.semaphore.memory();
        let view = View {
            cluster: response.header().map_or(0, |h| h.cluster_id()),
            revision,
            read_at: revision,
            document: document.map(|kv| (Document::parse(kv.value()), Stored::from(&kv))),
            // What is taken by hand is a person's act, and creates what there is not.
            document_seen: !self.by_hand() && memory.remembered().documents.contains(&key),
            ticket_stood: self.by_hand() || stood,
            held_since: holder.as_ref().map_or(0, KeyValue::create_revision),
            holder: holder.as_ref().map(read::holder),
            host_names: holders.iter().map(host_name).collect(),
            ticket: ticket.as_ref().map(KeyValue::create_revision),
            gates,
            percentage: counted,
            predecessor: predecessor.map(|kv| {
                let ticket = serde_json::from_slice(kv.value()).map(|t: Ticket| t.hostname);
                (read::text(kv.key()), ticket.unwrap_or_default())
            }),
        };
        (view, store)
    }

    /// Whether the view was read by the place and the policy that it shows.
    pub(super) fn asked_for_all_of(&self, view: &View) -> bool {
        let place = view.ticket == self.place;
        place && self.percent_of(view) == self.percent && self.after_of(view) == self.after
    }

    /// The percentage of the policy that was read.
    pub(super) fn percent_of(&self, view: &View) -> Option<u32> {
        let found = view.gates.found(&self.semaphore.keys.policy())?;
        percentage_in(&found.stored.value)
    }

    /// The groups that the policy that was read comes after.
    pub(super) fn after_of(&self, view: &View) -> Vec<Group> {
        let found = view.gates.found(&self.semaphore.keys.policy());
        found.map_or_else(Vec::new, |found| after_in(&found.stored.value))
    }

    /// What the policy that was read says of lost nodes.
    fn lost_of(&self, view: &View) -> Option<Lost> {
        let found = view.gates.found(&self.semaphore.keys.policy())?;
        lost_in(&found.stored.value)
    }

    /// How many seconds after its deadline this claim's node may be passed over, where it takes by this view. One with a member
    /// of etcd never is: etcd itself misses it.
    pub(super) fn grace(&self, view: &View) -> Option<u64> {
        let may = self.claim.holder.deadline.is_some() && !self.claim.member;
        let lost = self.lost_of(view).filter(|_| may)?;
        Some(lost.grace.as_secs())
    }

    /// What the first in the queue needs to pass over a lost node; none where it may not.
    pub(super) fn first<'view>(&self, view: &'view View, step: &'view Step) -> Option<First<'view>>
    where
        'run: 'view,
    {
        self.lost_of(view)?;
        let Step::WaitFull { document, .. } = step else {
            return None;
        };
        let (_, read) = view.document.as_ref()?;
        Some(First {
            claim: self.claim,
            place: self.place?,
            document,
            read,
        })
    }

    /// Whether a person takes it, and no node's agent.
    pub(super) fn by_hand(&self) -> bool {
        self.claim.node.is_none()
    }

    /// Remembers what this view tells.
    pub(super) fn note(&self, view: &View, store: Option<&KeyValue>) {
        let memory = self.semaphore.memory();
        if let Some((document, _)) = &view.document {
            let key = self.semaphore.keys.semaphore();
            memory.note_document(&key, document.as_ref().ok());
        }
        self.semaphore.note_token(store);
        memory.note(|remembered| {
            let known = &mut remembered.known;
            known.pause_all = None;
            known.pause = None;
            known.quarantines.clear();
            for closed in &view.gates.closed {
                match &closed.by {
                    ClosedBy::Pause { all: true, pause } => known.pause_all = Some(pause.clone()),
                    ClosedBy::Pause { all: false, pause } => known.pause = Some(pause.clone()),
                    ClosedBy::Quarantine { quarantine, .. } => {
                        known.quarantines.push(quarantine.what.to_string());
                    }
                    ClosedBy::Member { .. }
                    | ClosedBy::Policy(_)
                    | ClosedBy::Wave(_)
                    | ClosedBy::Window(_) => {}
                }
            }
        });
    }

    /// What there is, after a look whether the store is the one it was.
    pub(super) async fn probed_view(&mut self) -> Result<View, Error> {
        self.probed = true;
        self.look(true).await
    }

    pub(super) async fn view(&mut self) -> Result<View, Error> {
        self.look(false).await
    }

    pub(super) async fn look(&mut self, mut probe: bool) -> Result<View, Error> {
        const DOING: &str = "reading the reboot lock";
        loop {
            let txn = Txn::new().and_then(self.view_ops());
            let response = if std::mem::take(&mut probe) {
                self.semaphore.probing_txn(DOING, txn).await?
            } else {
                self.semaphore.txn(DOING, txn).await?
            };
            let (view, store) = self.to_view(&response);
            self.note(&view, store.as_ref());
            if view.ticket.is_none() {
                self.stands_since = None;
            }
            if self.asked_for_all_of(&view) {
                return Ok(view);
            }
            // Who is right before can only be asked once the own place is known; of what the percentage is, and which groups
            // come before this one, once the policy is.
            self.place = view.ticket;
            self.percent = self.percent_of(&view);
            self.after = self.after_of(&view);
        }
    }
}
