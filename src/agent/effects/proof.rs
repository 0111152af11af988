//! What follows the verdict on a boot: its checks, the mark of its slot, the way back.

use std::{pin::pin, time::Duration};

use host::logind::Logind;
use jiff::Timestamp;
use semaphore::{
    etcd::BackOff,
    records::{ImageId, Quarantine},
};
use tokio::time::sleep;

use super::EffectRunner;
use crate::agent::{
    baseline::Baseline,
    checks::{self, Checks},
    failure::Failure,
    health::{self, Verdict},
    journal::{Entry, OwnQuarantine},
    machine::Event,
    next_slot::{NextSlot, SlotFault},
};

impl EffectRunner {
    pub(super) async fn prove(
        &self,
        entry: Option<&Entry>,
        baseline: Option<&Baseline>,
        trial: bool,
    ) -> Event {
        let held = entry.is_some_and(|entry| entry.claim.is_some());
        let rules = self.health_rules(baseline, trial);
        let checks = self.checks(entry, "proving", rules, held);
        let verdict = match entry.and_then(Entry::in_etcd) {
            Some(key) => {
                let node = self.record("", "");
                let deadline = self.config.timings.reboot_deadline.as_secs();
                let tell = async || {
                    let semaphore = self.semaphore(&key.keys);
                    let told = semaphore.proving(&key.id, &key.nonce, deadline, Some(&node));
                    let told = told.await;
                    told.inspect_err(|error| tracing::debug!("{error}"))
                };
                while_telling(checks, tell, EffectRunner::back_off(&self.config)).await
            }
            None => checks.await,
        };
        let survey = self.next_slot.run(NextSlot::survey).await;
        let other = survey.map(|survey| survey.boot.other);
        Event::Checked(verdict, other)
    }

    /// The checks of a node that soaks. Those that need other nodes say nothing of the image: these may be out by now, or the
    /// network between them; the soak only lasts longer then.
    pub(super) async fn check_soak(&self, entry: &Entry, baseline: Option<&Baseline>) -> Event {
        // An image is at stake, as in a trial.
        let rules = self.health_rules(baseline, true);
        let checked = async {
            let verdict = self.checks(Some(entry), "soaking", rules, false).await;
            let survey = self.next_slot.run(NextSlot::survey).await;
            Event::Checked(verdict, survey.map(|survey| survey.boot.other))
        };
        tokio::select! {
            checked = checked => checked,
            why = self.soak_is_cut_off(entry) => Event::HoldEnded(why),
        }
    }

    fn health_rules<'a>(
        &'a self,
        baseline: Option<&'a Baseline>,
        trial: bool,
    ) -> health::Rules<'a> {
        health::Rules {
            ignore: &self.config.ignore_units,
            cluster: &self.config.cluster_units,
            baseline,
            trial,
        }
    }

    /// Runs the checks until they pass, or their time is over. `held`: the rest of the cluster was there.
    async fn checks(
        &self,
        entry: Option<&Entry>,
        phase: &str,
        rules: health::Rules<'_>,
        held: bool,
    ) -> Verdict {
        let hooks = self.hooks();
        let variables = match entry {
            Some(entry) => self.environment(entry, phase),
            None => self.variables("", "", "", phase),
        };
        let timings = &self.config.timings;
        let greenboot = checks::greenboot(&self.config.root, &self.bus, timings.hook_timeout).await;
        let checks = Checks {
            root: &self.config.root,
            bus: &self.bus,
            rules,
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
        let claim = entry.and_then(Entry::in_etcd);
        let member = async || self.own_member(claim).await;
        checks.run(held, member, note).await
    }

    /// Marks the slot good.
    pub(super) async fn mark(&self) -> Result<(), SlotFault> {
        self.next_slot.run(NextSlot::mark_good).await
    }

    pub(super) async fn roll_back(&self, verdict: &str, to: &ImageId) -> Result<(), Failure> {
        let image = to.clone();
        self.next_slot
            .run(move |next_slot| next_slot.switch_back(&image))
            .await?;
        tracing::error!("rolling back to the other slot: {verdict}");
        self.tell("The system rolls back to its previous image and reboots now.")
            .await;
        Ok(Logind::new(&self.bus).reboot().await?)
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
