//! In the line for the semaphore, and what the members of etcd say to it.

use std::cell::RefCell;

use tokio::time::sleep;

use super::World;
use crate::{
    agent::{
        journal::{ClaimKey, Entry},
        machine::{Event, Holds},
    },
    semaphore::etcd::{self, Guard, Left, Place, Semaphore, Wait},
};

impl World {
    /// Waits in the line, and outside it as long as the members of etcd do not let this node go, until it holds.
    pub(super) async fn acquire(&self, entry: &Entry) -> Event {
        let Some(key) = &entry.claim else {
            return Event::Acquired(Holds::Plainly);
        };
        let semaphore = self.semaphore(&key.keys);
        let said = RefCell::new(None);
        let note = |wait: Wait| {
            if said.borrow().as_ref() != Some(&wait) {
                // The driver outlives its operations.
                let _ = self.notes.send(wait.clone());
                said.replace(Some(wait));
            }
        };
        let mut claim = self.claim(entry, key);
        loop {
            // An error that was noted meanwhile must not be the last that is heard.
            said.replace(None);
            let why = match self
                .until_known(async || self.guard(&semaphore).await)
                .await
            {
                Guard::NoMember => {
                    claim.member = false;
                    semaphore.acquire(&claim, &note).await;
                    return Event::Acquired(Holds::Plainly);
                }
                Guard::Open => {
                    claim.member = true;
                    tokio::select! {
                        () = semaphore.acquire(&claim, &note) => {
                            return Event::Acquired(Holds::WithMember);
                        }
                        why = self.guard_closes(&semaphore) => why,
                    }
                }
                Guard::Closed(why) => why,
            };
            // No place in the line for who could not go when its turn comes.
            let leave = async || semaphore.leave(&key.id, &key.nonce, None).await;
            if self.until_known(leave).await == Left::Held {
                return Event::Acquired(Holds::WithMember);
            }
            note(Wait {
                why,
                place: Place::Outside,
            });
            sleep(self.config.timings.retry_max).await;
        }
    }

    async fn guard(&self, semaphore: &Semaphore) -> Result<Guard, etcd::Error> {
        let local = &self.config.etcd.member;
        semaphore.guard(local, &self.hostname).await
    }

    /// Ends when the guard has closed: nothing signals how the other members are.
    async fn guard_closes(&self, semaphore: &Semaphore) -> String {
        loop {
            sleep(self.config.timings.retry_max).await;
            if let Ok(Guard::Closed(why)) = self.guard(semaphore).await {
                return why;
            }
        }
    }

    /// Whether the other members of etcd let this node go, where it hosts one.
    pub(super) async fn members_content(&self, entry: &Entry) -> Result<(), String> {
        let Some(key) = &entry.claim else {
            return Ok(());
        };
        match self.guard(&self.semaphore(&key.keys)).await {
            Ok(Guard::Closed(why)) => Err(why),
            // The wait in the line may have been long, and what it took it took as a node without one.
            Ok(Guard::Open) if !key.member => Err(
                "this node hosts a member of etcd by now, and must take the semaphore as such"
                    .into(),
            ),
            Ok(Guard::Open | Guard::NoMember) => Ok(()),
            Err(_) if !key.member => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Whether this node's member of etcd is back and well, where it hosts one.
    pub(super) async fn own_member(&self, claim: Option<&ClaimKey>) -> Result<(), String> {
        let keys = claim.map_or(&self.keys, |claim| &claim.keys);
        if claim.is_none() && self.semaphore.is_none() {
            return Ok(());
        }
        let local = &self.config.etcd.member;
        let semaphore = self.semaphore(keys);
        match semaphore.own_member(local, &self.hostname).await {
            Ok(health) => health,
            Err(error) if claim.is_some_and(|claim| claim.member) => Err(format!(
                "whether this node's member of etcd is back is not known: {error}"
            )),
            // Where it hosts none, etcd's absence says nothing of it; and whether it does is not known.
            Err(_) => Ok(()),
        }
    }
}
