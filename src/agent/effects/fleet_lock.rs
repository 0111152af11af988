//! A place at a FleetLock server: asked for until it is given, and released until the server says so.

use std::time::Duration;

use host::{fleet_lock::client_id, node, time};
use jiff::Timestamp;
use semaphore::fleet_lock::{Call, Place, Refusal, poll_wait};
use settings::{Config, FleetLock, Strategy, fleet_lock_group};
use tokio::time::sleep;

use super::EffectRunner;
use crate::agent::{
    journal::{Claim, Entry, Stage},
    machine::Event,
};

/// How often it is tried to release at a server that is not the configured one any more: a place that is held.
const TRIES: usize = 20;

/// The same for a place of which it is not known whether it is held.
const TRIES_IF_UNKNOWN: usize = 5;

/// What a FleetLock server answered last.
#[derive(Debug, Clone, Default)]
pub struct Answered {
    /// To which call, when, and what; empty before the first answer.
    pub last: String,
    /// Why somebody should look at it; empty where all is well.
    pub trouble: String,
}

impl EffectRunner {
    /// The place that the node asks for with the strategy `fleet-lock`; none with others. Under the id that Zincati gives the
    /// machine: a node that changes from one agent to the other keeps its place.
    #[must_use]
    pub fn place(&self) -> Option<Place> {
        let server = self.config.fleet_lock.as_ref();
        let server = server.filter(|_| self.config.strategy == Strategy::FleetLock)?;
        Some(Place {
            url: server.url.clone(),
            id: client_id(&self.id)?,
            group: fleet_lock_group(&self.config.group)?,
        })
    }

    /// Asks until the server gives the place.
    pub(super) async fn poll(&self, place: &Place) -> Event {
        let mut said = None;
        loop {
            match self.call(Call::PreReboot, place).await {
                Ok(()) => {
                    tracing::info!("the FleetLock server {} lets this node reboot", place.url);
                    return Event::Acquired(Claim::FleetLock(place.clone()));
                }
                Err(refusal) => {
                    let refusal = refusal.or_same(said.as_ref());
                    let mut random = [0u8; 8];
                    // Without randomness all wait the same time.
                    let _ = getrandom::fill(&mut random);
                    let server = self.by_newest(|config| server_of(config, place).cloned());
                    let interval = server.map(|server| server.poll_interval);
                    let interval = interval.unwrap_or(self.config.timings.retry_max);
                    let wait = poll_wait(interval, u64::from_le_bytes(random));
                    self.asks_again(place, &refusal, wait);
                    said = Some(refusal);
                    sleep(wait).await;
                }
            }
        }
    }

    /// Releases the place, or what may have been taken of it. That is repeated until the server says that it is done: where it is
    /// the configured one without end, elsewhere some times.
    pub(super) async fn release_place(&self, place: &Place, entry: &Entry) {
        let most = match entry.stage {
            Stage::Queued => TRIES_IF_UNKNOWN,
            _ => TRIES,
        };
        let mut waits = Self::back_off(&self.config).waits();
        let mut said = None;
        let mut tries = 0;
        while let Err(refusal) = self.call(Call::SteadyState, place).await {
            tries += 1;
            let refusal = refusal.or_same(said.as_ref());
            let Place { url, id, group } = place;
            if said.as_ref() != Some(&refusal) {
                tracing::warn!(
                    "the FleetLock server {url} {refusal}: perhaps this node still has a place there"
                );
            }
            if !self.is_configured(place) && tries >= most {
                tracing::error!(
                    "this node may have a place at {url}, which is not the configured FleetLock server any more, in group {group} as \
                     {id}: release it there"
                );
                return;
            }
            let wait = waits.next().unwrap_or(self.config.timings.retry_max);
            self.asks_again(place, &refusal, wait);
            said = Some(refusal);
            sleep(wait).await;
        }
        match entry.stage {
            Stage::Queued => {
                tracing::debug!("nothing is held at the FleetLock server {}", place.url)
            }
            _ => tracing::info!(
                "the reboot lock is released at the FleetLock server {}",
                place.url
            ),
        }
    }

    async fn call(&self, call: Call, place: &Place) -> Result<(), Refusal> {
        let answer = self.ask(call, place).await;
        self.note_answer(call, &answer);
        answer
    }

    async fn ask(&self, call: Call, place: &Place) -> Result<(), Refusal> {
        // Certificates are renewed in their files.
        let found = self.by_newest(|newest| {
            let mut configs = [newest, &self.config].into_iter();
            configs.find_map(|config| {
                Some((config.fleet_lock_tls(), server_of(config, place)?.timeout))
            })
        });
        let (tls, timeout) = found.unwrap_or((Ok(None), self.config.etcd.timeout));
        let tls = tls.map_err(|error| Refusal::NoAnswer {
            reason: error.to_string(),
            cause: None,
        })?;
        self.calls.call(call, place, tls, timeout).await
    }

    /// What the driver says of the answer.
    fn note_answer(&self, call: Call, answer: &Result<(), Refusal>) {
        let zone = node::time_zone(&self.config.root);
        let at = time::shown(Timestamp::now(), &zone);
        let (said, trouble) = match answer {
            Ok(()) => (call.done().to_owned(), String::new()),
            Err(refusal) if refusal.is_trouble() => (refusal.to_string(), refusal.to_string()),
            Err(refusal) => (refusal.to_string(), String::new()),
        };
        self.answered.replace(Answered {
            last: format!("{} at {at}: {said}", call.name()),
            trouble,
        });
    }

    fn is_configured(&self, place: &Place) -> bool {
        self.by_newest(|config| server_of(config, place).is_some())
    }

    /// By the configuration as it was read last, also while all but this waits for what is under way.
    fn by_newest<T>(&self, look: impl FnOnce(&Config) -> T) -> T {
        match &*self.newest.borrow() {
            Some(newest) => look(newest),
            None => look(&self.config),
        }
    }

    fn asks_again(&self, place: &Place, refusal: &Refusal, after: Duration) {
        // The driver outlives its operations.
        let _ = self.notes.send(Event::AsksAgain {
            waits_for: format!("the FleetLock server {} {refusal}", place.url),
            after,
        });
    }
}

/// The place's server, where this configuration names it, whatever the strategy.
fn server_of<'a>(config: &'a Config, place: &Place) -> Option<&'a FleetLock> {
    let server = config.fleet_lock.as_ref();
    server.filter(|server| server.url == place.url)
}
