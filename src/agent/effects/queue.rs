//! In the queue for the semaphore, and what the members of etcd say to it.

use std::cell::RefCell;

use semaphore::etcd::{self, Guard, Left, MemberFault, QueuePosition, Semaphore, Wait};
use tokio::time::sleep;

use super::EffectRunner;
use crate::agent::{
    failure::Failure,
    journal::{Claim, ClaimKey, Entry},
    machine::Event,
};

/// Why a boot is not proven as far as the node's own member of etcd is concerned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum OwnMember {
    /// It is not back, or not well.
    #[error(transparent)]
    Unwell(MemberFault),
    /// Whether it is cannot be told.
    #[error("it is not known whether this node's member of etcd is back: {0}")]
    Unknown(MemberFault),
}

impl EffectRunner {
    /// Waits in the queue, and outside it as long as the members of etcd do not let this node go, until it holds.
    pub(super) async fn acquire(&self, entry: &Entry) -> Event {
        let key = match &entry.claim {
            Some(Claim::Etcd(key)) => key,
            Some(Claim::FleetLock(place)) => return self.poll(place).await,
            // The machine asks for this only with a claim.
            None => return std::future::pending().await,
        };
        let taken = |semaphore: &Semaphore, member| {
            Event::Acquired(Claim::Etcd(ClaimKey {
                member,
                by_hand: semaphore.under_lock().is_some(),
                drained: semaphore.under_lock() == Some(true),
                soaks: semaphore.took_with_soak(),
                ..key.clone()
            }))
        };
        let mut semaphore = self.semaphore(&key.keys);
        let said = RefCell::new(None);
        let note = |wait: Wait| {
            if said.borrow().as_ref() != Some(&wait) {
                // The driver outlives its operations.
                let _ = self.notes.send(Event::WaitsFor(wait.clone()));
                said.replace(Some(wait));
            }
        };
        let mut claim = self.claim(entry, key);
        let mut own = key.member;
        loop {
            // An error that was noted meanwhile must not be the last that is heard.
            said.replace(None);
            let why = match self
                .until_known(async || self.guard(&semaphore, key.member).await)
                .await
            {
                Guard::NoMember => {
                    claim.member = false;
                    tokio::select! {
                        () = semaphore.acquire(&claim, &note) => return taken(&semaphore, None),
                        () = self.credentials_change() => {
                            semaphore = self.semaphore(&key.keys);
                            continue;
                        }
                    }
                }
                Guard::Open(member) => {
                    claim.member = true;
                    own = Some(member);
                    tokio::select! {
                        () = semaphore.acquire(&claim, &note) => return taken(&semaphore, own),
                        why = self.guard_closes(&semaphore, own) => why,
                        () = self.credentials_change() => {
                            semaphore = self.semaphore(&key.keys);
                            continue;
                        }
                    }
                }
                Guard::Closed(why) => why,
            };
            // No place in the queue for who could not go when its turn comes.
            let leave = async || semaphore.leave(&key.id, &key.nonce, None).await;
            if self.until_known(leave).await == Left::Held {
                return taken(&semaphore, own);
            }
            note(Wait {
                waits_for: why.to_string(),
                position: QueuePosition::Outside,
                ..Wait::default()
            });
            sleep(self.config.timings.retry_max).await;
        }
    }

    async fn guard(&self, semaphore: &Semaphore, known: Option<u64>) -> Result<Guard, etcd::Error> {
        let local = &self.config.etcd.member;
        let guard = semaphore.guard(local, &self.hostname, known).await;
        self.member.replace(semaphore.member());
        guard
    }

    /// Ends when certificates or password were renewed in their files: the wait goes on with the new ones, in its place.
    async fn credentials_change(&self) {
        let before = self.etcd.borrow().clone();
        loop {
            sleep(self.config.timings.retry_max).await;
            self.read_credentials_again();
            if *self.etcd.borrow() != before {
                return;
            }
        }
    }

    /// Ends when the guard has closed: nothing signals how the other members are.
    async fn guard_closes(&self, semaphore: &Semaphore, known: Option<u64>) -> MemberFault {
        loop {
            sleep(self.config.timings.retry_max).await;
            if let Ok(Guard::Closed(why)) = self.guard(semaphore, known).await {
                return why;
            }
        }
    }

    /// Whether the other members of etcd let this node go, where it hosts one.
    pub(super) async fn etcd_members_allow_reboot(&self, entry: &Entry) -> Result<(), Failure> {
        let Some(key) = entry.in_etcd() else {
            return Ok(());
        };
        match self.guard(&self.semaphore(&key.keys), key.member).await {
            Ok(Guard::Closed(why)) => Err(why.into()),
            // The wait in the queue may have been long, and what it took it took as a node without one.
            Ok(Guard::Open(_)) if key.member.is_none() => Err(Failure::BecameMember),
            Ok(Guard::Open(_) | Guard::NoMember) => Ok(()),
            Err(_) if key.member.is_none() => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether this node's member of etcd is back and well, where it hosts one.
    pub(super) async fn own_member(&self, claim: Option<&ClaimKey>) -> Result<(), OwnMember> {
        let (keys, known) = match claim {
            // It went as a node without one: whatever keeps it from being told now says nothing of its image.
            Some(claim) if claim.member.is_none() => return Ok(()),
            Some(claim) => (&claim.keys, claim.member),
            None if self.own_semaphore().is_none() => return Ok(()),
            None => (&self.keys, None),
        };
        let local = &self.config.etcd.member;
        let asked = self.semaphore(keys);
        let told = asked.own_member(local, &self.hostname, known).await;
        self.member.replace(asked.member());
        match told {
            Ok(health) => health.map_err(OwnMember::Unwell),
            Err(why) if known.is_some() => Err(OwnMember::Unknown(why)),
            // In a boot made alone: whether it hosts one at all is not known.
            Err(_) => Ok(()),
        }
    }
}
