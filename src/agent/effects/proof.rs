//! What follows the verdict on a boot: its checks, the mark of its slot, the way back.

use std::{pin::pin, time::Duration};

use host::{logind::Logind, systemd};
use jiff::Timestamp;
use semaphore::{
    etcd::BackOff,
    records::{ImageId, Quarantine},
};
use tokio::time::sleep;

use super::{EffectRunner, Updates};
use crate::agent::{
    baseline::Baseline,
    checks::{self, Checks},
    health,
    journal::{Entry, OwnQuarantine},
    machine::Event,
    next_slot::NextSlot,
};

impl EffectRunner {
    pub(super) async fn prove(
        &self,
        entry: Option<&Entry>,
        baseline: Option<&Baseline>,
        trial: bool,
    ) -> Event {
        let hooks = self.hooks();
        let variables = match entry {
            Some(entry) => self.environment(entry, "proving"),
            None => self.variables("", "", "", "proving"),
        };
        let timings = &self.config.timings;
        let claim = entry.and_then(|entry| entry.claim.as_ref());
        let greenboot = checks::greenboot(&self.config.root, &self.bus, timings.hook_timeout).await;
        let checks = Checks {
            root: &self.config.root,
            bus: &self.bus,
            rules: health::Rules {
                ignore: &self.config.ignore_units,
                cluster: &self.config.cluster_units,
                baseline,
                trial,
            },
            hooks: &hooks,
            greenboot: greenboot.as_ref(),
            variables: &variables,
            limit: timings.proving,
            waits: BackOff {
                max: timings.retry_max.min(Duration::from_secs(30)),
                ..EffectRunner::back_off(&self.config)
            },
        };
        let note = |why: &str| self.note(why.to_owned());
        let member = async || self.own_member(claim).await;
        let verdict = match claim {
            Some(key) => {
                let node = self.record("", "");
                let tell = async || {
                    let semaphore = self.semaphore(&key.keys);
                    let told = semaphore.proving(&key.id, &key.nonce, Some(&node)).await;
                    told.inspect_err(|error| tracing::debug!("{error}"))
                };
                while_telling(
                    checks.run(true, member, note),
                    tell,
                    EffectRunner::back_off(&self.config),
                )
                .await
            }
            None => checks.run(false, member, note).await,
        };
        let survey = self.next_slot.run(NextSlot::survey).await;
        let other = survey.map(|survey| survey.boot.other);
        Event::Checked(verdict, other)
    }

    /// Marks the slot good, and lets update_engine in, which was held back until then.
    pub(super) async fn mark(&self) -> Result<(), String> {
        self.next_slot.run(NextSlot::mark_good).await?;
        if self.updates == Updates::Engine {
            let started = systemd::unit(&self.bus, "StartUnit", "update-engine.service").await;
            // Where no systemd is on the bus nobody has held it back.
            if let Err(error) = started {
                tracing::debug!("update_engine is not started: {error}");
            }
        }
        Ok(())
    }

    pub(super) async fn roll_back(&self, why: &str, to: &ImageId) -> Result<(), String> {
        let image = to.clone();
        self.next_slot
            .run(move |next_slot| next_slot.switch_back(&image))
            .await?;
        tracing::error!("rolling back to the other slot: {why}");
        self.tell("The system rolls back to its previous image and reboots now.")
            .await;
        let called = Logind::new(&self.bus).reboot().await;
        called.map_err(|e| e.to_string())
    }

    /// What the cluster is told of a bad image.
    #[must_use]
    pub fn quarantine(&self, quarantined: &OwnQuarantine) -> Quarantine {
        Quarantine {
            what: quarantined.what.clone(),
            node: self.id.clone(),
            hostname: self.hostname.clone(),
            reason: quarantined.reason.clone(),
            since: Some(Timestamp::now()),
        }
    }
}

/// Does something, and meanwhile tells the cluster so: once for certain, and again only as long as it lasts.
async fn while_telling<T, E>(
    doing: impl Future<Output = T>,
    tell: impl AsyncFn() -> Result<(), E>,
    back_off: BackOff,
) -> T {
    let mut doing = pin!(doing);
    let mut first = pin!(tell());
    let told = tokio::select! {
        done = &mut doing => {
            let _ = first.await;
            return done;
        }
        told = &mut first => told,
    };
    let again = async {
        if told.is_err() {
            for wait in back_off.waits() {
                sleep(wait).await;
                if tell().await.is_ok() {
                    break;
                }
            }
        }
        std::future::pending().await
    };
    tokio::select! {
        done = &mut doing => done,
        never = again => never,
    }
}
