//! From the ticket to the reboot lock.

mod take;
mod view;
mod wave;
mod window;

use std::time::Duration;

use etcd_client::{Compare, CompareOp, PutOptions, Txn, TxnOp};
use host::node::Group;
use tokio::time::{Instant, sleep, sleep_until};
use windows::WindowSpec;

use wave::{WaveTries, shut_wave, spread_out};

use super::{
    Claim, Error, QueuePosition, RACES, Semaphore, Wait, absent,
    acts::Acting,
    json,
    lease::{self, SpareLease, TicketLease},
    lost::First,
    put_state, read, stand_back,
    watch::Change,
};
use crate::{
    document::Document,
    gates::{Closed, ClosedBy},
    queue::{Block, Step, View, decide},
    records::Ticket,
    stored::{KeyRange, Stored},
};

impl Semaphore {
    /// Waits in the queue until the claim holds the semaphore, however long that takes and however often
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
            act: None,
            place: None,
            percent: None,
            after: Vec::new(),
            wave: WaveTries::default(),
            known_windows: claim
                .windows
                .as_ref()
                .map_or_else(Vec::new, |windows| windows.known.clone()),
            stands_since: None,
            probed: false,
            answered: false,
        };
        while let Err(error) = run.acquire(&note).await {
            if std::mem::take(&mut run.answered) {
                waits = policy.waits();
            }
            // Nothing that was read crosses from one store to another.
            if let Error::OtherStore { .. } | Error::Clusters { .. } = &error {
                run.forget();
            }
            tracing::warn!("{error}");
            note(Wait {
                waits_for: host::text::in_a_sentence(&error.to_string()),
                ..Wait::default()
            });
            sleep(waits.next().unwrap_or(self.back_off.max)).await;
        }
    }
}

/// One wait in the queue.
struct Run<'a> {
    semaphore: &'a Semaphore,
    claim: &'a Claim,
    lease: Option<TicketLease>,
    /// The deadline's lease, granted while first in the queue, so that a hand-over does not wait for it.
    spare: Option<SpareLease>,
    /// The act of the person who takes it, written with the take.
    act: Option<Acting>,
    /// The create revision of the ticket, as last seen.
    place: Option<i64>,
    /// The percentage of the policy, as last seen: then the members are counted.
    percent: Option<u32>,
    /// The groups of the policy that this one comes after, as last seen.
    after: Vec<Group>,
    /// What is done about a wave that is waited for.
    wave: WaveTries,
    /// The windows of the policy, as the node knows them.
    known_windows: Vec<WindowSpec>,
    /// Since when it has stood, as far as this run knows.
    stands_since: Option<Instant>,
    /// Whether the store has been looked at since something was last waited for.
    probed: bool,
    /// Whether etcd has answered since this was last looked at.
    answered: bool,
}

impl Run<'_> {
    fn forget(&mut self) {
        self.lease = None;
        self.spare = None;
        self.place = None;
        self.percent = None;
        self.after = Vec::new();
        self.wave = WaveTries::default();
        self.stands_since = None;
        self.probed = false;
    }

    async fn acquire(&mut self, note: &impl Fn(Wait)) -> Result<(), Error> {
        self.probed = false;
        let mut view = self.probed_view().await?;
        let mut races = 0;
        loop {
            self.answered = true;
            self.tell_windows(&view, note);
            let step = decide(&view, self.claim.asker());
            // A ticket in the queue stands on a lease of this run, also when an earlier run put it there.
            let waits = !matches!(step, Step::Held | Step::Blocked(_));
            if step == Step::Enqueue || (waits && self.lease.is_none()) {
                if let Some(spread) = self.wave.spread(self.claim.waves.spread) {
                    note(spread_out(spread));
                    sleep(spread).await;
                    view = self.probed_view().await?;
                    continue;
                }
                if !self.probed {
                    view = self.probed_view().await?;
                    continue;
                }
                self.semaphore.memory().keep("taking a ticket").await?;
                self.enqueue().await?;
                view = self.view().await?;
                continue;
            }
            let keys = &self.semaphore.keys;
            let key = match &step {
                Step::Held => {
                    self.note_soak(&view);
                    let entry = view.holder.as_ref().map(|(entry, _)| entry);
                    entry.inspect(|entry| self.semaphore.note_lock(entry));
                    let memory = self.semaphore.memory();
                    let taken = memory.remembered().taken;
                    // The reply to the take was lost.
                    if taken.is_none_or(|taken| taken.nonce != self.claim.nonce()) {
                        memory.note_take(self.claim.nonce(), view.held_since);
                    }
                    return Ok(());
                }
                Step::Take { .. } | Step::TakeOver { .. } => {
                    self.semaphore
                        .memory()
                        .keep("taking the reboot lock")
                        .await?;
                    match self.take(&step, &view).await? {
                        None => return Ok(()),
                        Some(now) => view = now,
                    }
                    races += 1;
                    if races > RACES {
                        return Err(Error::Contended {
                            doing: "taking the reboot lock",
                            tries: races,
                        });
                    }
                    stand_back(races).await;
                    continue;
                }
                Step::Create | Step::Enqueue => {
                    self.create().await?;
                    view = self.view().await?;
                    continue;
                }
                Step::Blocked(block) => {
                    self.drop_ticket().await?;
                    if let Block::Gate(Closed {
                        by: ClosedBy::Wave(shut),
                        ..
                    }) = block
                        && self.see_to_wave(shut).await?
                    {
                        view = self.view().await?;
                        continue;
                    }
                    self.block_range(block)
                }
                Step::WaitBehind { key, .. } => KeyRange::One(key.clone()),
                Step::WaitRepaired(_) | Step::WaitFull { .. } | Step::WaitCreated { .. } => {
                    KeyRange::One(keys.semaphore())
                }
                Step::WaitGate(closed) => closed.watched(),
            };
            races = 0;
            note(Wait {
                waits_for: step.to_string(),
                position: match &step {
                    Step::Blocked(Block::Gate(Closed {
                        by: ClosedBy::Quarantine { .. },
                        ..
                    })) => QueuePosition::Quarantined,
                    Step::Blocked(Block::Foreign(_) | Block::Listed) => QueuePosition::Held,
                    _ if self.place.is_some() => QueuePosition::InQueue,
                    _ => QueuePosition::Outside,
                },
                open_waves: match shut_wave(&step) {
                    Some(shut) => shut.open.clone(),
                    None => Vec::new(),
                },
                policy_windows: None,
            });
            if matches!(step, Step::WaitFull { .. }) {
                let grace = self.grace(&view);
                self.spare.take_if(|spare| !spare.is_for(grace));
                if self.spare.is_none() {
                    self.spare = SpareLease::grant(self.semaphore, self.claim, grace).await?;
                }
            }
            if step.is_first() {
                self.semaphore.memory().keep("waiting as the first").await?;
            }
            view = self.wait(view, &step, &key).await?;
            self.probed = false;
        }
    }

    /// Writes the group's first document, as long as this ticket stands and nobody has paused.
    async fn create(&self) -> Result<(), Error> {
        let keys = &self.semaphore.keys;
        let place = self.place.unwrap_or_default();
        let ticket = keys.ticket(self.claim.id());
        let compares = vec![
            Compare::create_revision(ticket, CompareOp::Equal, place),
            absent(keys.pause_all()),
            absent(keys.pause()),
        ];
        self.semaphore.create(compares).await
    }

    /// When the ticket has stood for its lease, where that is waited for.
    fn stands_at(&self, step: &Step) -> Option<Instant> {
        let waits = matches!(step, Step::WaitCreated { seen: false });
        let since = self.stands_since.filter(|_| waits)?;
        Some(since + Duration::from_secs(self.claim.ticket_lease))
    }

    /// Waits until something of `range`, which keeps the claim from its next step, has changed; the view then.
    async fn wait(&mut self, mut view: View, step: &Step, range: &KeyRange) -> Result<View, Error> {
        let (semaphore, cluster, revision) = (self.semaphore, view.cluster, view.revision);
        let stands_at = self.stands_at(step);
        let full = matches!(step, Step::WaitFull { .. });
        let counts = full && view.percentage.is_some();
        let wave = shut_wave(step).is_some();
        let policy = semaphore.keys.policy();
        let try_again = self.wave.again.filter(|_| wave);
        let first = self.first(&view, step);
        let windows = self.seen_windows(&view, step);
        let change = tokio::select! {
            change = semaphore.document_or_policy_changed(cluster, revision), if full => change?,
            change = semaphore.changed_in(range, cluster, revision), if !full => change?,
            change = semaphore.changed(&policy, cluster, revision), if wave => change?,
            () = until(try_again) => Change::Lost("the wave may be due".into()),
            change = pass_over(semaphore, first) => change?,
            () = window::turn(windows) => Change::Lost("a reboot window opens or closes".into()),
            change = members_change(semaphore, cluster, revision), if counts => change?,
            error = probe(semaphore, step) => return Err(error),
            () = until(stands_at) => Change::Lost("the ticket has stood for its lease".into()),
            lost = lease::keep_alive(semaphore, self.lease.as_mut(), &mut self.spare) => {
                lost?;
                self.lease = None;
                Change::Lost("the ticket expired".into())
            }
        };
        match (step, change) {
            // What the event tells is all that is needed, unless the members decide as well: the transaction that takes
            // compares the rest.
            (Step::WaitFull { .. } | Step::WaitRepaired(_), Change::Put(value, modified))
                if view.percentage.is_none() =>
            {
                view.revision = modified;
                // Gone in the same step, where it was the one that held.
                view.gates.assume_open(&semaphore.keys.member_out());
                view.document = Some((Document::parse(&value), Stored { modified, value }));
                // Nobody's place has become free: the policy may have changed, which is written with the document.
                if matches!(decide(&view, self.claim.asker()), Step::WaitFull { .. }) {
                    view = self.view().await?;
                }
            }
            (_, Change::Lost(why)) => {
                tracing::debug!(?range, "{why}");
                stand_back(20).await;
                view = self.view().await?;
            }
            (_, Change::Put(..) | Change::Deleted) => view = self.view().await?,
        }
        Ok(view)
    }

    fn block_range(&self, block: &Block) -> KeyRange {
        let keys = &self.semaphore.keys;
        match block {
            Block::Foreign(_) => KeyRange::One(keys.holder(self.claim.id())),
            Block::Listed => KeyRange::One(keys.semaphore()),
            Block::Gate(closed) => closed.watched(),
        }
    }

    /// Puts the ticket on a new lease; one that stands keeps its place.
    async fn enqueue(&mut self) -> Result<(), Error> {
        let Semaphore { keys, .. } = self.semaphore;
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
            TxnOp::get(key.clone(), None),
            TxnOp::get(keys.lost_node(&holder.id), None),
        ];
        ops.extend(put_state(keys, self.claim.node.as_ref(), "queued"));
        let node = self.claim.node.as_ref();
        ops.extend(node.and_then(|node| self.semaphore.member_op_unless_held(node)));
        let txn = Txn::new().and_then(ops);
        let response = self.semaphore.txn("taking a ticket", txn).await?;
        if let Some(node) = node {
            self.semaphore.note_member_by(&response, node);
        }
        let answers = read::answers(&response);
        let found = |key: &str| {
            let mut all = answers.iter().flatten();
            all.find(|kv| kv.key() == key.as_bytes())
        };
        self.place = found(&key).map(|kv| kv.create_revision());
        if found(&keys.lost_node(&holder.id)).is_some() {
            self.semaphore.end_lost(&holder.id).await?;
        }
        self.lease = Some(TicketLease::new(lease, seconds));
        self.stands_since.get_or_insert_with(Instant::now);
        Ok(())
    }

    /// Gives up the place in the queue.
    async fn drop_ticket(&mut self) -> Result<(), Error> {
        if self.place.is_some() {
            let key = self.semaphore.keys.ticket(self.claim.id());
            let txn = Txn::new().and_then(vec![TxnOp::delete(key, None)]);
            self.semaphore.txn("leaving the queue", txn).await?;
            self.place = None;
            self.stands_since = None;
        }
        self.lease = None;
        Ok(())
    }
}

/// While the policy passes over nodes that do not come back: ends when one was, or all is to be looked at again.
async fn pass_over(semaphore: &Semaphore, first: Option<First<'_>>) -> Result<Change, Error> {
    match first {
        Some(first) => semaphore.pass_over(first).await,
        None => std::future::pending().await,
    }
}

/// While a percentage of the members decides how many may be out: ends when there are more or fewer.
async fn members_change(
    semaphore: &Semaphore,
    cluster: u64,
    revision: i64,
) -> Result<Change, Error> {
    let members = semaphore.keys.members();
    semaphore.number_changed(&members, cluster, revision).await
}

/// Comes at this time; never where there is none.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// While the node is first: looks at the store again and again, and ends when that is not the one it was.
async fn probe(semaphore: &Semaphore, step: &Step) -> Error {
    if !step.is_first() {
        std::future::pending::<()>().await;
    }
    loop {
        sleep(semaphore.back_off.max).await;
        let probed = async {
            semaphore.probe().await?;
            semaphore.memory().keep("waiting as the first").await
        };
        match probed.await {
            Err(error) if !error.is_unreachable() => return error,
            _ => {}
        }
    }
}
