//! From the ticket to the semaphore.

use std::time::Duration;

use etcd_client::{
    Compare, CompareOp, GetOptions, PutOptions, SortOrder, SortTarget, Txn, TxnOp, TxnOpResponse,
    TxnResponse,
};
use jiff::Timestamp;
use tokio::time::{Instant, sleep};

use super::{
    Claim, Error, Place, RACES, Semaphore, Wait, absent, json,
    lease::{self, SpareLease, TicketLease},
    put_state, read, stand_back, unchanged,
    watch::Change,
};
use crate::semaphore::{
    document::Document,
    queue::{Block, Step, View, decide},
    records::{Holder, MemberOut, Ticket},
};

impl Semaphore {
    /// Waits in the line until the claim holds the semaphore, however long that takes and however often
    /// etcd is away meanwhile. `note` is told what it waits for whenever that changes.
    ///
    /// Dropping the future leaves things as they are at that instant, perhaps taken with the reply under
    /// way: call [`Semaphore::leave`] then, which finds out.
    pub async fn acquire(&self, claim: &Claim, note: impl Fn(Wait)) {
        // Often enough that a short absence of etcd does not cost the ticket its lease.
        let often = Duration::from_secs(claim.ticket_lease) / 4;
        let policy = super::BackOff {
            max: self.back_off.max.min(often),
            ..self.back_off
        };
        let mut waits = policy.waits();
        let mut run = Run {
            semaphore: self,
            claim,
            lease: None,
            spare: None,
            place: None,
            answered: false,
        };
        while let Err(error) = run.acquire(&note).await {
            if std::mem::take(&mut run.answered) {
                waits = policy.waits();
            }
            tracing::warn!("{error}");
            note(Wait {
                why: error.to_string(),
                place: Place::Unknown,
            });
            sleep(waits.next().unwrap_or(self.back_off.max)).await;
        }
    }
}

/// How many keys are read besides the quarantines and the ticket before.
const GATES: usize = 6;

/// One wait in the line.
struct Run<'a> {
    semaphore: &'a Semaphore,
    claim: &'a Claim,
    lease: Option<TicketLease>,
    /// The deadline's lease, granted while first in the line, so that a hand-over does not wait for it.
    spare: Option<SpareLease>,
    /// The create revision of the ticket, as last seen.
    place: Option<i64>,
    /// Whether etcd has answered since this was last looked at.
    answered: bool,
}

impl Run<'_> {
    async fn acquire(&mut self, note: &impl Fn(Wait)) -> Result<(), Error> {
        let mut view = self.view().await?;
        let mut races = 0;
        loop {
            self.answered = true;
            let step = decide(&view, self.claim.id(), self.claim.nonce());
            // A ticket in the line stands on a lease of this run, also when an earlier run put it there.
            let waits = !matches!(step, Step::Held | Step::Blocked(_));
            if step == Step::Enqueue || (waits && self.lease.is_none()) {
                self.enqueue().await?;
                view = self.view().await?;
                continue;
            }
            let keys = &self.semaphore.keys;
            let key = match &step {
                Step::Held => return Ok(()),
                Step::Take { document, modified } => {
                    match self.take(document, *modified, view.read_at).await? {
                        None => return Ok(()),
                        Some(now) => view = now,
                    }
                    races += 1;
                    if races > RACES {
                        return Err(Error::Contended {
                            doing: "taking the semaphore",
                            tries: races,
                        });
                    }
                    stand_back(races).await;
                    continue;
                }
                Step::Create | Step::Enqueue => {
                    self.semaphore.create().await?;
                    view = self.view().await?;
                    continue;
                }
                Step::Blocked(block) => {
                    self.drop_ticket().await?;
                    self.block_key(block)
                }
                Step::WaitBehind { key, .. } => key.clone(),
                Step::WaitRepaired(_) | Step::WaitFull { .. } => keys.semaphore(),
                Step::WaitResumed { all: true, .. } => keys.pause_all(),
                Step::WaitResumed { all: false, .. } => keys.pause(),
            };
            races = 0;
            note(Wait {
                why: step.to_string(),
                place: match &step {
                    Step::Blocked(Block::Quarantined(_)) => Place::Quarantined,
                    _ if self.place.is_some() => Place::InLine,
                    _ => Place::Outside,
                },
            });
            if matches!(step, Step::WaitFull { .. }) && self.spare.is_none() {
                self.spare = SpareLease::grant(self.semaphore, self.claim).await?;
            }
            view = self.wait(view, &step, &key).await?;
        }
    }

    /// Waits until `key`, which keeps the claim from its next step, has changed; the view then.
    async fn wait(&mut self, mut view: View, step: &Step, key: &str) -> Result<View, Error> {
        let change = tokio::select! {
            change = self.semaphore.changed(key, &view) => change?,
            lost = lease::keep_alive(self.semaphore, self.lease.as_mut(), &mut self.spare) => {
                lost?;
                self.lease = None;
                Change::Lost("the ticket expired".into())
            }
        };
        match (step, change) {
            // What the event tells is all that is needed: the transaction that takes compares the rest.
            (Step::WaitFull { .. } | Step::WaitRepaired(_), Change::Put(value, modified)) => {
                view.revision = modified;
                // Gone in the same step, where it was the one that held.
                view.member_out = None;
                view.document = Some((Document::parse(&value), modified));
            }
            (_, Change::Lost(why)) => {
                tracing::debug!(key, "{why}");
                stand_back(20).await;
                view = self.view().await?;
            }
            (_, Change::Put(..) | Change::Deleted) => view = self.view().await?,
        }
        Ok(view)
    }

    fn block_key(&self, block: &Block) -> String {
        let keys = &self.semaphore.keys;
        match block {
            Block::Foreign(_) => keys.holder(self.claim.id()),
            Block::Listed => keys.semaphore(),
            Block::Quarantined(quarantined) => quarantined.key.clone(),
            Block::Member(_) => keys.member_out(),
        }
    }

    /// What is read to decide the next step, in the order [`Self::to_view`] expects.
    fn view_ops(&self) -> Vec<TxnOp> {
        let keys = &self.semaphore.keys;
        let get = |key: String| TxnOp::get(key, None);
        let mut ops = vec![
            get(keys.semaphore()),
            get(keys.holder(self.claim.id())),
            get(keys.ticket(self.claim.id())),
            get(keys.pause_all()),
            get(keys.pause()),
            get(keys.member_out()),
        ];
        ops.extend(self.claim.quarantines(keys).gets());
        if let Some(place) = self.place {
            let before = GetOptions::new()
                .with_prefix()
                .with_max_create_revision(place - 1)
                .with_sort(SortTarget::Create, SortOrder::Descend)
                .with_limit(1);
            ops.push(TxnOp::get(keys.queue(), Some(before)));
        }
        ops
    }

    fn to_view(&self, response: &TxnResponse) -> View {
        let answers = read::answers(response);
        let first = |index: usize| answers.get(index).and_then(|kvs| kvs.first());
        let quarantines = self.claim.quarantines(&self.semaphore.keys);
        let predecessor = GATES + quarantines.len();
        let revision = response.header().map_or(0, |h| h.revision());
        View {
            cluster: response.header().map_or(0, |h| h.cluster_id()),
            revision,
            read_at: revision,
            document: first(0).map(|kv| (Document::parse(kv.value()), kv.mod_revision())),
            holder: first(1).map(|kv| read::holder(kv).0),
            ticket: first(2).map(etcd_client::KeyValue::create_revision),
            pause_all: first(3).map(read::pause),
            pause: first(4).map(read::pause),
            member_out: first(5).filter(|_| self.claim.member).map(read::member_out),
            quarantine: quarantines.found(&answers[GATES..predecessor]),
            predecessor: first(predecessor).map(|kv| {
                let ticket = serde_json::from_slice(kv.value()).map(|t: Ticket| t.hostname);
                (read::text(kv.key()), ticket.unwrap_or_default())
            }),
        }
    }

    async fn view(&mut self) -> Result<View, Error> {
        loop {
            let txn = Txn::new().and_then(self.view_ops());
            let response = self
                .semaphore
                .connection
                .txn("reading the semaphore", txn)
                .await?;
            let view = self.to_view(&response);
            if view.ticket == self.place {
                return Ok(view);
            }
            // Who is right before can only be asked once the own place is known.
            self.place = view.ticket;
        }
    }

    /// Puts the ticket on a new lease; one that stands keeps its place.
    async fn enqueue(&mut self) -> Result<(), Error> {
        let Semaphore {
            connection, keys, ..
        } = self.semaphore;
        let seconds = self.claim.ticket_lease;
        let lease = self.semaphore.grant("taking a ticket", seconds).await?;
        let holder = &self.claim.holder;
        let ticket = Ticket {
            id: holder.id.clone(),
            hostname: holder.hostname.clone(),
            since: holder.since,
            to: holder.to.clone(),
            unknown: serde_json::Map::new(),
        };
        let key = keys.ticket(&holder.id);
        let mut ops = vec![
            TxnOp::put(
                key.clone(),
                json(&ticket),
                Some(PutOptions::new().with_lease(lease)),
            ),
            TxnOp::get(key, None),
        ];
        ops.extend(put_state(keys, self.claim.node.as_ref(), "queued"));
        let txn = Txn::new().and_then(ops);
        let response = connection.txn("taking a ticket", txn).await?;
        self.place = response.op_responses().iter().find_map(|op| match op {
            TxnOpResponse::Get(get) => get.kvs().first().map(|kv| kv.create_revision()),
            _ => None,
        });
        self.lease = Some(TicketLease::new(lease, seconds));
        Ok(())
    }

    /// Gives up the place in the line.
    async fn drop_ticket(&mut self) -> Result<(), Error> {
        if self.place.is_some() {
            let key = self.semaphore.keys.ticket(self.claim.id());
            let txn = Txn::new().and_then(vec![TxnOp::delete(key, None)]);
            self.semaphore
                .connection
                .txn("leaving the queue", txn)
                .await?;
            self.place = None;
        }
        self.lease = None;
        Ok(())
    }

    /// Tries to take, by what was read at `read_at`: `None` when taken, else what stands in the way now.
    async fn take(
        &mut self,
        document: &Document,
        modified: i64,
        read_at: i64,
    ) -> Result<Option<View>, Error> {
        let Semaphore {
            connection, keys, ..
        } = self.semaphore;
        let holder = &Holder {
            since: Some(Timestamp::now()),
            ..self.claim.holder.clone()
        };
        let place = self.place.unwrap_or_default();
        let mut compares = vec![
            unchanged(keys.semaphore(), modified),
            Compare::create_revision(keys.ticket(&holder.id), CompareOp::Equal, place),
            absent(keys.holder(&holder.id)),
            absent(keys.pause_all()),
            absent(keys.pause()),
        ];
        compares.extend(self.claim.quarantines(keys).compares(read_at));
        const DOING: &str = "taking the semaphore";
        // Used once only: where it is gone after all, or the race is lost, the next take asks for a new one.
        let fresh = |spare: &SpareLease| spare.is_fresh(Instant::now(), connection.timeout());
        let lease = match self.spare.take().filter(fresh) {
            Some(spare) => Some(spare.id),
            None => self.semaphore.deadline_lease(DOING, holder).await?,
        };
        let mut puts = self.semaphore.holder_puts(holder, document, lease);
        puts.push(TxnOp::delete(keys.ticket(&holder.id), None));
        puts.extend(put_state(keys, self.claim.node.as_ref(), "draining"));
        if self.claim.member {
            compares.push(absent(keys.member_out()));
            let out = MemberOut {
                id: holder.id.clone(),
                hostname: holder.hostname.clone(),
                group: keys.group().as_str().to_owned(),
                nonce: holder.nonce.clone(),
            };
            puts.push(TxnOp::put(keys.member_out(), json(&out), None));
        }
        let txn = Txn::new()
            .when(compares)
            .and_then(puts)
            .or_else(self.view_ops());
        let response = connection.txn(DOING, txn).await?;
        if response.succeeded() {
            return Ok(None);
        }
        let view = self.to_view(&response);
        if view.ticket == self.place {
            return Ok(Some(view));
        }
        self.view().await.map(Some)
    }
}
