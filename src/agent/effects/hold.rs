//! From leaving the queue to the release: what is done in etcd with a claim.

use std::{cell::Cell, sync::Arc, time::Duration};

use host::{duration, node};
use jiff::Timestamp;
use semaphore::{
    commit,
    etcd::{self, Clock, Committed, HoldEnd, Left, NodeWindows, Released, WaveWait},
    records::{Holder, LostNode, NodeRecord, Phase},
};
use tokio::time::sleep;

use super::{AGENT, EffectRunner};
use crate::agent::{
    failure::Failure,
    journal::{Claim, ClaimKey, Entry, OwnQuarantine, Stage, UNKNOWN_MEMBER},
    machine::{Event, KnownWindows},
};

impl EffectRunner {
    pub(super) fn claim(&self, entry: &Entry, key: &ClaimKey) -> etcd::Claim {
        etcd::Claim {
            holder: Holder {
                id: key.id.clone(),
                hostname: self.hostname.clone(),
                nonce: key.nonce.clone(),
                boot_id: entry.boot_id.clone(),
                since: Some(Timestamp::now()),
                from: entry.from.clone(),
                to: entry.intent.to.clone(),
                phase: Phase::Draining,
                deadline: Some(self.config.timings.reboot_deadline.as_secs()),
                reason: Some(entry.intent.reason.clone()),
                agent: AGENT.to_owned(),
                grace: None,
                soaks_until: None,
                by_hand: None,
                unknown: serde_json::Map::new(),
            },
            ticket_lease: self.config.timings.ticket_lease.as_secs(),
            member: key.member.is_some(),
            by_person: entry.intent.by_person,
            new_image: entry.intent.new_image,
            waves: WaveWait {
                retry: self.config.timings.wave_retry,
                spread: self.config.timings.wave_spread,
            },
            windows: (!entry.intent.urgent).then(|| self.windows()),
            node: Some(self.record("", "")),
        }
    }

    /// What the reboot windows of the group's policy are judged with.
    fn windows(&self) -> NodeWindows {
        let KnownWindows { usual, policy } = self.known_windows.borrow().clone();
        let root = self.config.root.clone();
        NodeWindows {
            own: self.config.windows.clone().on_node(&self.id),
            usual,
            known: policy,
            clock: Clock(Arc::new(move || {
                Timestamp::now().to_zoned(node::time_zone(&root))
            })),
        }
    }

    /// What the node says of itself when it is done with this claim: under a former key prefix it is no member any more.
    fn idle_record(&self, key: &ClaimKey) -> NodeRecord {
        let mut idle = self.record("", "");
        idle.member
            .take_if(|_| key.keys.prefix() != self.keys.prefix());
        idle
    }

    pub(super) async fn leave(&self, entry: &Entry) -> Event {
        let key = match &entry.claim {
            Some(Claim::Etcd(key)) => key,
            Some(Claim::FleetLock(place)) => {
                self.release_place(place, entry).await;
                return Event::Left(None);
            }
            None => return Event::Left(None),
        };
        let idle = self.idle_record(key);
        let left = self
            .until_known(async || {
                let semaphore = self.semaphore(&key.keys);
                let left = semaphore.leave(&key.id, &key.nonce, Some(&idle)).await?;
                Ok((left, semaphore.under_lock(), semaphore.took_as_member()))
            })
            .await;
        Event::Left(match left {
            (Left::Left, ..) => None,
            (Left::Held, under_lock, member) => Some(Claim::Etcd(ClaimKey {
                // Which one it is was lost with the reply to the take.
                member: key.member.or(member.then_some(UNKNOWN_MEMBER)),
                by_hand: under_lock.is_some(),
                soaks: true,
                drained: under_lock == Some(true),
                ..key.clone()
            })),
        })
    }

    /// Ends when the node does not hold any more: why.
    pub(super) async fn hold_ends(&self, entry: &Entry) -> HoldEnd {
        match entry.in_etcd() {
            Some(key) => {
                let semaphore = self.semaphore(&key.keys);
                semaphore.hold_ends(&key.id, &key.nonce).await
            }
            None => std::future::pending().await,
        }
    }

    /// As [`Self::hold_ends`], for a node that soaks: an etcd that is not the one it was says nothing of the soak, and a person
    /// decides what holds in it. Until then the node goes on soaking.
    pub(super) async fn soak_is_cut_off(&self, entry: &Entry) -> HoldEnd {
        loop {
            match self.hold_ends(entry).await {
                HoldEnd::OtherStore(why) => {
                    self.note(why.to_string());
                    self.store_is_accepted(entry).await;
                    self.note(String::new());
                }
                end => return end,
            }
        }
    }

    /// Waits until etcd may be asked again for the hold.
    async fn store_is_accepted(&self, entry: &Entry) {
        let Some(key) = entry.in_etcd() else { return };
        let semaphore = self.semaphore(&key.keys);
        loop {
            sleep(self.config.timings.retry_max).await;
            let asked = semaphore.owner(&key.id, &key.nonce).await;
            if !matches!(asked, Err(etcd::Error::OtherStore { .. })) {
                return;
            }
        }
    }

    pub(super) async fn commit(&self, entry: &Entry) -> Event {
        let Some(key) = entry.in_etcd() else {
            return Event::CommitEnded(Ok(()));
        };
        if let Err(why) = self.etcd_members_allow_reboot(entry).await {
            return Event::CommitEnded(Err(why));
        }
        let claim = self.claim(entry, key);
        let semaphore = self.semaphore(&key.keys);
        let commit = async || match entry.way_back {
            true => semaphore.commit_way_back(&claim).await,
            false => semaphore.commit(&claim).await,
        };
        let committed = self
            .until_known(async || match commit().await {
                Ok(Committed::Yes) => Ok(Ok(())),
                Ok(Committed::No(refusal)) => Ok(Err(refusal.into())),
                // An answer, if not the one hoped for: nothing was committed.
                Err(error) if !error.is_unreachable() => Ok(Err(error.into())),
                Err(error) => Err(error),
            })
            .await;
        Event::CommitEnded(committed)
    }

    /// Whether the cluster lets a node go back that soaks; of any other reboot nothing is asked.
    pub(super) async fn way_back_is_open(&self, entry: &Entry) -> Result<(), Failure> {
        let Some(key) = entry.in_etcd().filter(|_| entry.way_back) else {
            return Ok(());
        };
        let claim = self.claim(entry, key);
        let asked = self.semaphore(&key.keys).way_back_closed_by(&claim).await;
        match asked? {
            Some(closed) => Err(commit::Refusal::Gate(closed).into()),
            None => Ok(()),
        }
    }

    /// Tells the cluster that the node soaks on.
    pub(super) async fn resume(&self, entry: &Entry, left: Duration) -> Event {
        let Some(key) = entry.in_etcd() else {
            return Event::Resumed;
        };
        let claim = self.claim(entry, key);
        let resumed = self
            .until_known(async || self.semaphore(&key.keys).soak_on(&claim, left).await)
            .await;
        if resumed {
            Event::Resumed
        } else {
            Event::HoldEnded(HoldEnd::Taken)
        }
    }

    pub(super) async fn release(&self, entry: &Entry, owed: Option<&OwnQuarantine>) -> Event {
        if let Some(place) = entry.place() {
            self.release_place(place, entry).await;
        }
        if let Some(key) = entry.in_etcd() {
            let mut idle = self.idle_record(key);
            let may_soak = entry.stage == Stage::Soaking;
            if may_soak && let Some(member) = &mut idle.member {
                // With the release it is proven, and not before.
                member.proven = self.runs.digest.clone();
            }
            // An earlier try whose reply was lost may have been the one that released.
            let unsure = Cell::new(false);
            let released = self
                .until_known(async || {
                    let untold = |owed: &&OwnQuarantine| !self.told.borrow().contains(&owed.what);
                    let owed = owed.filter(untold).map(|owed| self.quarantine(owed));
                    let (semaphore, id, owed) = (self.semaphore(&key.keys), &key.id, owed.as_ref());
                    let released = if may_soak {
                        let slack = self.config.timings.reboot_deadline;
                        let released =
                            semaphore.release_or_soak(id, &key.nonce, owed, &idle, slack);
                        released.await
                    } else {
                        semaphore.release(id, &key.nonce, owed, Some(&idle)).await
                    };
                    let unreachable = released.as_ref().is_err_and(etcd::Error::is_unreachable);
                    unsure.set(unsure.get() || unreachable);
                    released
                })
                .await;
            let was_away = entry.boot_id != self.boot_id;
            if released == Released::NotHeld && was_away && !unsure.get() {
                tracing::warn!(
                    "this node was away while it held the reboot lock, and holds nothing now: another node may have been out \
                     beside it"
                );
            }
            let group = key.keys.group().as_str();
            match released {
                Released::Soaks(length) => {
                    let length_shown = duration::print(length);
                    tracing::info!(
                        group,
                        "this node soaks for {length_shown}, and keeps the reboot lock until then"
                    );
                    return Event::Soaks(length);
                }
                Released::Released => tracing::info!(group, "the reboot lock is released"),
                Released::NotHeld => {
                    tracing::info!(
                        group,
                        "the reboot lock had been released already (by `unlock`)"
                    );
                }
                Released::ThoughtLost(lost) => self.tell_lost(&lost),
            }
        }
        let told = entry.in_etcd().and(owed);
        Event::Released(told.map(|owed| owed.what.clone()))
    }

    /// That others went on without this node, which is there, and what stands for that.
    fn tell_lost(&self, lost: &LostNode) {
        let itself = lost.of_itself();
        tracing::warn!("{itself}: it releases nothing, and is not counted as lost any more");
        if lost.quarantined && lost.to.is(&self.runs) {
            tracing::warn!(
                "{}, which this node runs now, was quarantined when it was thought lost. That stands until a person clears it: \
                 pointsman quarantine clear {}",
                lost.to,
                host::text::shell_word(&lost.to.name())
            );
        }
    }
}
