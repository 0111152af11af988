//! A boot and its proof: checked, marked good, or rolled back.

use std::time::Duration;

use host::systemd::Unsettled;
use semaphore::records::ImageId;
use settings::Strategy;

use super::{Effect, Identity, Machine, Op, Other, State};
use crate::agent::{
    baseline::Baseline,
    failure::{Stays, Unproven},
    gate::FoundHere,
    health::Verdict,
    journal::{Entry, OwnQuarantine, Stage},
    next_slot::SlotFault,
    situation::Now,
};

impl Machine {
    /// The entry of a boot made while holding, which its release waits for.
    pub(super) fn brought(&self) -> Option<Entry> {
        let entry = self.entry()?;
        let held = match entry.stage {
            // Whether it was won after all has not been asked.
            Stage::Queued => false,
            // Released in an earlier boot, perhaps in vain: it is still held, and this boot is to be proven like any other.
            Stage::Soaking | Stage::Releasing => !self.was_proven(),
            Stage::Draining | Stage::Committing => true,
        };
        (held && entry.boot_id != self.identity.boot_id).then(|| entry.clone())
    }

    /// Whether this boot has been proven, in this run of the agent or an earlier one.
    pub(super) fn was_proven(&self) -> bool {
        let proven = self
            .journal
            .as_ref()
            .ok()
            .and_then(|journal| journal.proven.as_ref());
        proven == Some(&self.identity.boot_id)
    }

    /// What runs from a slot that is marked good ran well here, whoever found that: a trial somebody else begins can go
    /// back to it.
    pub(super) fn remember_what_is_good(&mut self) -> Vec<Effect> {
        let Identity { runs, boot, .. } = &self.identity;
        match &mut self.journal {
            Ok(journal)
                if !boot.trial
                    && boot.other.is_some()
                    && runs.digest.is_some()
                    && !journal.is_newer()
                    && journal.good.as_ref() != Some(runs) =>
            {
                journal.good = Some(runs.clone());
                vec![Effect::Remember(journal.clone())]
            }
            _ => Vec::new(),
        }
    }

    /// Begins the checks; first of all journals that a trial has begun.
    pub(super) fn prove(&mut self, now: &Now) -> Vec<Effect> {
        // One that cannot be read is not written over.
        if self.journal.is_err() {
            let op = self.proof();
            return self.run(State::Proving, op);
        }
        // Killed between the verdict and the reboot: the verdict stands.
        if let Some(why) = self.quarantined_in_this_boot() {
            return self.go_back(why, now);
        }
        let trial = self.identity.boot.trial.then(|| self.identity.runs.clone());
        if let Ok(journal) = &mut self.journal {
            journal.trial = trial;
        }
        let op = self.proof();
        self.journalled(State::Proving, op)
    }

    /// The operation that checks this boot.
    pub(super) fn proof(&self) -> Op {
        let journal = self.journal.as_ref().ok();
        let baseline = journal.and_then(|journal| journal.baseline.as_ref());
        let this_boot = |baseline: &&Baseline| baseline.of.as_ref() == Some(&self.identity.boot_id);
        Op::Prove {
            entry: self.brought(),
            baseline: baseline.filter(this_boot).cloned(),
            trial: self.identity.boot.trial,
        }
    }

    /// Keeps what had failed before the drain, for the boot that follows: where the image that runs is not proven, it says
    /// nothing.
    pub(super) fn take_baseline(&mut self, units: Option<Vec<Unsettled>>) {
        let units = units.filter(|_| !self.identity.boot.trial);
        let boot_id = self.identity.boot_id.clone();
        if let Ok(journal) = &mut self.journal {
            journal.baseline = units.map(|units| Baseline {
                boot_id,
                of: None,
                units,
            });
        }
    }

    /// What fails in this boot as it had before, where that was found when the boot was proven.
    #[must_use]
    pub fn failed_before(&self) -> &[String] {
        match &self.journal {
            Ok(journal) if self.was_proven() => &journal.failed_before,
            _ => &[],
        }
    }

    pub(super) fn checked(
        &mut self,
        verdict: Verdict,
        other: Result<Option<Other>, SlotFault>,
        now: &Now,
    ) -> Vec<Effect> {
        // Something may have been written over it since this agent was started.
        let readable = other.map(|other| self.identity.boot.other = other);
        match verdict {
            Verdict::Passed(_) if self.has_lost_its_slots() => {
                self.unproven(Unproven::SlotsLost, now)
            }
            Verdict::Passed(failed_before) => {
                if let Ok(journal) = &mut self.journal {
                    journal.failed_before = failed_before;
                }
                if self.identity.boot.trial {
                    self.run(State::Marking, Op::Mark)
                } else {
                    self.proven(now)
                }
            }
            Verdict::Unknown(why) => self.unproven(Unproven::Unknown(why), now),
            Verdict::Failed(verdict) if self.was_soaking() => {
                let mut effects = self.soak_fails(verdict.clone());
                effects.extend(self.unproven(Unproven::SoakFailed(verdict), now));
                effects
            }
            Verdict::Failed(verdict) if self.failed_here(&self.identity.runs) => {
                self.unproven(Unproven::SoakFailed(verdict), now)
            }
            Verdict::Failed(verdict) => {
                let way = readable.map_err(Stays::OtherUnknown);
                match way.and_then(|()| self.way_back()) {
                    Ok(()) => self.roll_back(verdict, now),
                    Err(stays) => self.unproven(Unproven::Failed { verdict, stays }, now),
                }
            }
        }
    }

    /// Rolls back from what is quarantined already, where it still can.
    pub(super) fn go_back(&mut self, verdict: String, now: &Now) -> Vec<Effect> {
        match self.way_back() {
            Ok(()) => self.call_back(verdict, now),
            Err(stays) => self.unproven(Unproven::Failed { verdict, stays }, now),
        }
    }

    /// The operation that rolls back.
    pub(super) fn way_of(&self, verdict: String) -> Op {
        let other = self.identity.boot.other.as_ref();
        let to = other.map(|other| other.image.clone()).unwrap_or_default();
        Op::RollBack { verdict, to }
    }

    /// Whether the node had slots when this boot was begun, and they could not be read since.
    fn has_lost_its_slots(&self) -> bool {
        let had = self.brought().is_some_and(|e| e.from.digest.is_some());
        had && self.identity.runs.digest.is_none()
    }

    fn quarantined_in_this_boot(&self) -> Option<String> {
        let Identity { runs, boot_id, .. } = &self.identity;
        let journal = self.journal.as_ref().ok()?;
        let mut quarantined = journal.quarantined.iter();
        let found = quarantined.find(|c| c.what.is(runs) && c.boot_id == *boot_id)?;
        self.identity.boot.trial.then(|| found.reason.clone())
    }

    /// Whether a failed boot may roll back by itself, or why not.
    fn way_back(&self) -> Result<(), Stays> {
        if !self.identity.boot.trial {
            return Err(Stays::Good);
        }
        let Some(other) = &self.identity.boot.other else {
            return Err(Stays::NoOther);
        };
        if !other.successful && !other.tries {
            return Err(Stays::OtherNotBootable);
        }
        // What is quarantined here would run there.
        if other.image.is(&self.identity.runs) {
            return Err(Stays::SameImage(other.image.clone()));
        }
        let journal = self.journal.as_ref();
        let journal = journal.map_err(|error| Stays::Journal(error.clone()))?;
        let earlier = |c: &&OwnQuarantine| {
            c.what.is(&self.identity.runs) && c.boot_id != self.identity.boot_id
        };
        if journal.quarantined.iter().any(|c| earlier(&c)) {
            return Err(Stays::RolledBackBefore);
        }
        let named = self.named(other.image.clone());
        let bad = |c: &OwnQuarantine| named.is_meant_by(&c.what);
        if let Some(bad) = journal.quarantined.iter().find(|c| bad(c)) {
            return Err(Stays::OtherQuarantined {
                image: other.image.clone(),
                reason: bad.reason.clone(),
            });
        }
        // What is there must be what ran well, and not something written over it since.
        let before = self.entry().map(|entry| &entry.from);
        let known = [before, journal.good.as_ref()];
        if known
            .into_iter()
            .flatten()
            .any(|image| image.is(&other.image))
        {
            Ok(())
        } else {
            Err(Stays::NeverRan(other.image.clone()))
        }
    }

    /// Quarantines what runs, and rolls back.
    fn roll_back(&mut self, verdict: String, now: &Now) -> Vec<Effect> {
        let runs = self.identity.runs.clone();
        self.quarantine(runs, verdict.clone());
        if let Ok(journal) = &mut self.journal {
            journal.trial = None;
        }
        self.nothing_is_meant();
        let mut effects = vec![Effect::Journal(self.journal.clone().unwrap_or_default())];
        effects.extend(self.call_back(verdict, now));
        effects
    }

    pub(super) fn call_back(&mut self, verdict: String, now: &Now) -> Vec<Effect> {
        // Why the try before failed stays to be seen until this one has.
        let failed = match &self.state {
            State::RollingBack { failed, .. } => failed.clone(),
            _ => None,
        };
        let op = self.way_of(verdict.clone());
        let rolling_back = State::RollingBack {
            verdict,
            failed,
            until: now.monotonic + self.rules.shutdown_timeout,
        };
        self.run(rolling_back, op)
    }

    pub(super) fn quarantine(&mut self, what: ImageId, reason: String) {
        let boot_id = self.identity.boot_id.clone();
        if let Ok(journal) = &mut self.journal {
            // What was said of it before may have been cleared since: found again, it is said again.
            journal.quarantined.retain(|c| !c.what.is(&what));
            journal.quarantined.push(OwnQuarantine {
                what,
                reason,
                boot_id,
                reported: false,
            });
        }
    }

    pub(super) fn unproven(&mut self, why: Unproven, now: &Now) -> Vec<Effect> {
        let until = now.monotonic + self.rules.retry.max(Duration::from_millis(10));
        self.state = State::Unproven { why, until };
        Vec::new()
    }

    pub(super) fn marked(&mut self, done: Result<(), SlotFault>, now: &Now) -> Vec<Effect> {
        if let Err(why) = done {
            return self.unproven(Unproven::NotMarked(why), now);
        }
        self.identity.boot.trial = false;
        let held_back = self.holds_updates_back();
        let mut effects = self.proven(now);
        effects.extend((!held_back).then_some(Effect::LetUpdatesIn));
        effects
    }

    /// Whether update_engine is held back although the image is proven.
    pub(super) fn holds_updates_back(&self) -> bool {
        let journal = self.journal.as_ref().ok();
        journal.is_some_and(|journal| journal.holds_updates_back(&self.identity.boot_id))
    }

    /// It is good: the undrain, where there was a drain, and then the release.
    fn proven(&mut self, now: &Now) -> Vec<Effect> {
        let brought = self.brought();
        let drain_began = brought.as_ref().and_then(|entry| entry.drain_began);
        let runs = self.identity.runs.clone();
        let journal = self.journal.as_ref().ok();
        let before = journal.and_then(|journal| journal.failed_soak.as_ref());
        let failed = before.is_some_and(|image| image.is(&runs));
        if let Ok(journal) = &mut self.journal {
            journal.trial = None;
            if let Some(drain_began) = drain_began {
                journal.remember_duration(drain_began, now.wall.timestamp());
            }
            journal.proven = Some(self.identity.boot_id.clone());
            // An image that failed its soak is not good because it boots once more.
            if !failed {
                // Cleared by a person since, and good after all.
                let cleared = |c: &OwnQuarantine| c.reported && runs.is_meant_by(&c.what);
                journal.quarantined.retain(|c| !cleared(c));
                journal.good = Some(runs);
            }
        }
        match (brought, self.entry().cloned()) {
            (Some(entry), _) => self.journalled(State::Undraining, Op::Undrain(entry)),
            // It stood in the queue when this boot came.
            (None, Some(entry)) => self.journalled(State::Leaving, Op::Leave(entry)),
            (None, None) => {
                self.state = State::Idle;
                let journal = self.journal.clone().ok().map(Effect::Journal);
                journal.into_iter().chain([Effect::Again]).collect()
            }
        }
    }

    /// Another slot booted than was meant: was the meant one tried, and is it to blame?
    pub(super) fn fell_back(&mut self, entry: &Entry) {
        let to = entry.intent.to.clone();
        let meant = entry.stage == Stage::Committing && !to.is(&entry.from);
        let Some(other) = self.identity.boot.other.clone() else {
            return;
        };
        // By content only: versions may be unknown, or the same.
        let known = to.digest.is_some() && self.identity.runs.digest.is_some();
        if !meant || !known || !self.identity.runs.is(&entry.from) || !other.image.is(&to) {
            return;
        }
        // With a try left, or marked good, it was never tried: a kexec, or a power cut before it was activated.
        if other.successful || other.tries {
            return;
        }
        let this_boot = self.identity.boot_id.clone();
        let Ok(journal) = &mut self.journal else {
            return;
        };
        // Once a boot: what is decided here uses up what it is decided on.
        if journal.judged.replace(this_boot.clone()) == Some(this_boot) {
            return;
        }
        // An agent that rolled back says so in the table too: its journal may have been what failed.
        let begun = journal.trial.take().is_some_and(|trial| trial.is(&to));
        let cut_off = begun && !other.abandoned;
        let forgiven = journal.forgiven.as_ref().is_some_and(|image| image.is(&to));
        if cut_off && !forgiven {
            journal.forgiven = Some(to);
        } else {
            self.quarantine(to, "the node fell back from it: it did not come up".into());
        }
        self.nothing_is_meant();
    }

    /// What was meant to boot has been judged: later boots, before this one releases the lock, say nothing more of it.
    fn nothing_is_meant(&mut self) {
        if self
            .entry()
            .is_some_and(|entry| entry.stage == Stage::Committing)
        {
            self.at_stage(Stage::Draining);
        }
    }

    /// What the cluster does not know of yet: first what this node was to boot, as with the release others may follow there.
    #[must_use]
    pub fn owed(&self) -> Option<&OwnQuarantine> {
        let journal = self.journal.as_ref().ok()?;
        let mut owed = journal.quarantined.iter().filter(|c| !c.reported);
        let meant = self.entry().map(|entry| &entry.intent.to);
        let to = owed
            .clone()
            .find(|c| meant.is_some_and(|to| to.is_meant_by(&c.what)));
        to.or_else(|| owed.next())
    }

    /// The cluster knows of it now; what is there counts from now on.
    pub(super) fn reported(&mut self, what: &ImageId) -> Vec<Effect> {
        let Ok(journal) = &mut self.journal else {
            return Vec::new();
        };
        for quarantined in journal.quarantined.iter_mut().filter(|c| c.what.is(what)) {
            quarantined.reported = true;
        }
        // Forgotten, it is only told once more. Whatever is under way goes on.
        vec![Effect::Remember(journal.clone())]
    }

    /// What this node found is told to a store again that may have forgotten it.
    pub(super) fn tell_again(&mut self) -> Vec<Effect> {
        let Ok(journal) = &mut self.journal else {
            return Vec::new();
        };
        for quarantined in &mut journal.quarantined {
            quarantined.reported = false;
        }
        vec![Effect::Remember(journal.clone())]
    }

    /// Why this image must not be booted, by this node's own finding: until the cluster knows of it, or, where nobody
    /// is asked, until it is cleared.
    pub(super) fn quarantined(&self, image: &ImageId) -> Option<FoundHere> {
        if image.is(&self.identity.runs) {
            return None;
        }
        let journal = self.journal.as_ref().ok()?;
        let asks = self.rules.strategy == Strategy::EtcdLock;
        let bad = journal
            .quarantined
            .iter()
            .find(|c| image.may_be_meant_by(&c.what) && !(c.reported && asks))?;
        Some(FoundHere {
            what: bad.what.clone(),
            reason: bad.reason.clone(),
            maybe: (!image.is_meant_by(&bad.what)).then(|| image.clone()),
        })
    }
}
