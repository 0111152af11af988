//! The soak: a node that has proven another image stays under observation, and goes on holding. And the way back from it.

use std::time::Duration;

use host::{duration, time};
use semaphore::records::ImageId;

use super::{Effect, Machine, Op, Other, State};
use crate::agent::{
    failure::{Refusal, SoakNote, Why},
    gate::{self, Gate},
    health::Verdict,
    journal::{Claim, Entry, Soak, Stage},
    next_slot::SlotFault,
    situation::Now,
};

/// How often the checks run in a soak, its end counted.
const LOOKS: u32 = 10;

/// When the checks are due next: at every tenth of the soak, and at its end. On the clock that counts from the boot.
fn next_look(length: Duration, over_at: Duration, now: Duration) -> Duration {
    let left = over_at.saturating_sub(now);
    let tenth = (length / LOOKS).max(Duration::from_millis(1));
    let whole = left.as_nanos().div_ceil(tenth.as_nanos());
    let later = u32::try_from(whole.saturating_sub(1)).unwrap_or(LOOKS - 1);
    over_at.saturating_sub(tenth * later.min(LOOKS - 1))
}

impl Machine {
    /// The soak of this boot, or the failed one of the image that runs.
    pub(super) fn soak(&self) -> Option<&Soak> {
        let soak = self.journal.as_ref().ok()?.soak.as_ref()?;
        let runs = soak.entry.intent.to.is(&self.identity.runs);
        let here = soak.boot_id == self.identity.boot_id;
        (here || (runs && soak.failed.is_some())).then_some(soak)
    }

    /// The soak on the image that runs, in whatever boot it was, while the node still holds the lock for it.
    fn soak_of_hold(&self) -> Option<&Soak> {
        let journal = self.journal.as_ref().ok()?;
        let entry = journal.entry.as_ref()?;
        let held = entry.way_back || entry.stage == Stage::Soaking;
        let soak = journal.soak.as_ref()?;
        (held && soak.entry.intent.to.is(&self.identity.runs)).then_some(soak)
    }

    /// Whether the node was soaking on this image when it went down, and nothing was said against the image.
    pub(super) fn was_soaking(&self) -> bool {
        let soak = self
            .journal
            .as_ref()
            .ok()
            .and_then(|journal| journal.soak.as_ref());
        let soaking = self
            .entry()
            .is_some_and(|entry| entry.stage == Stage::Soaking);
        soak.is_some_and(|soak| {
            soaking && soak.failed.is_none() && soak.entry.intent.to.is(&self.identity.runs)
        })
    }

    /// The entry of the journal, at a start; where a way back did not lead away from the image, the one before it.
    pub(super) fn still_there(&mut self, entry: Entry) -> Entry {
        let new_boot = entry.boot_id != self.identity.boot_id;
        let stayed = new_boot && entry.way_back && entry.from.is(&self.identity.runs);
        let soak = self
            .journal
            .as_ref()
            .ok()
            .and_then(|journal| journal.soak.as_ref());
        match soak.filter(|_| stayed).map(|soak| soak.entry.clone()) {
            Some(before) => {
                self.set_entry(Some(before.clone()));
                before
            }
            None => entry,
        }
    }

    /// The boot is proven and carries load: the end of the hold, or a soak before it.
    pub(super) fn end_hold(&mut self, now: &Now) -> Vec<Effect> {
        if self.soak().is_some() {
            return self.resume(now);
        }
        let may_soak = |entry: &Entry| entry.may_soak();
        let moved = |entry: &Entry| entry.intent.to.is(&self.identity.runs);
        if !self
            .entry()
            .is_some_and(|entry| may_soak(entry) && moved(entry))
        {
            return self.release();
        }
        let entry = self.at_stage(Stage::Soaking);
        let owed = self.owed().cloned();
        let why = Why::Back;
        self.journalled(State::Releasing { why }, Op::Release(entry, owed))
    }

    /// The group's policy has the node soak.
    pub(super) fn soaks(&mut self, length: Duration, now: &Now) -> Vec<Effect> {
        let Some(mut entry) = self.entry().cloned() else {
            return Vec::new();
        };
        let let_in = !self.holds_updates_back();
        // Until the release: with the end of the soak its record goes.
        if let Some(Claim::Etcd(claim)) = &mut entry.claim {
            claim.soaks = true;
        }
        self.set_entry(Some(entry.clone()));
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let soak = Soak {
            boot_id: self.identity.boot_id.clone(),
            length_ms: millis(length),
            over_at_ms: millis(now.since_boot.saturating_add(length)),
            entry,
            failed: None,
            ended: false,
        };
        if let Ok(journal) = &mut self.journal {
            journal.soak = Some(soak);
        }
        let mut effects = vec![Effect::Journal(self.journal.clone().unwrap_or_default())];
        effects.extend(let_in.then_some(Effect::HoldUpdatesBack));
        effects.extend(self.soak_on(None, now));
        effects
    }

    /// Goes on with the soak that the journal has; `note` says what keeps its end off, or a way back.
    pub(super) fn soak_on(&mut self, note: Option<SoakNote>, now: &Now) -> Vec<Effect> {
        let Some(soak) = self.soak().cloned() else {
            return self.end_hold(now);
        };
        if soak.ended {
            return self.soak_over(Why::SoakEnded);
        }
        if self.stopping {
            self.state = State::Stopped;
            return vec![Effect::Exit];
        }
        let state = match &soak.failed {
            Some(why) => State::SoakFailed {
                why: why.clone(),
                until: note.as_ref().map(|_| now.monotonic + self.rules.retry),
                note,
            },
            None => {
                let left = soak.over_at().saturating_sub(now.since_boot);
                let due = next_look(soak.length(), soak.over_at(), now.since_boot);
                let due = match (due.saturating_sub(now.since_boot), &note) {
                    // What keeps its end off, or the way back, is looked at again soon.
                    (wait, Some(_)) if wait.is_zero() || self.wants_way_back() => {
                        self.rules.retry.max(Duration::from_millis(10))
                    }
                    (wait, _) => wait,
                };
                State::Soaking {
                    until: now.monotonic + due,
                    over_at: now.wall.saturating_add(left),
                    note,
                }
            }
        };
        let again = matches!(
            state,
            State::Soaking { note: None, .. } | State::SoakFailed { note: None, .. }
        );
        let mut effects = self.run(state, Op::Watch(soak.entry));
        // A way back that was asked for before the agent was started again is taken up: nothing else tells of it.
        effects.extend((again && self.wants_way_back()).then_some(Effect::Again));
        effects
    }

    /// The checks of the soak are due.
    pub(super) fn check_soak(&mut self, now: &Now) -> Vec<Effect> {
        let Some(soak) = self.soak().cloned() else {
            return Vec::new();
        };
        let Op::Prove { baseline, .. } = self.proof() else {
            return Vec::new();
        };
        let state = match &self.state {
            State::Soaking { over_at, note, .. } => State::Soaking {
                // The operation says when it has ended.
                until: now.monotonic + Duration::from_secs(24 * 3600),
                over_at: over_at.clone(),
                note: note.clone(),
            },
            other => other.clone(),
        };
        let entry = soak.entry;
        self.run(state, Op::CheckSoak { entry, baseline })
    }

    /// The checks of the soak have ended.
    pub(super) fn soak_checked(
        &mut self,
        verdict: Verdict,
        other: Result<Option<Other>, SlotFault>,
        now: &Now,
    ) -> Vec<Effect> {
        if let Ok(other) = other {
            self.identity.boot.other = other;
        }
        let Some(soak) = self.soak().cloned() else {
            return self.end_hold(now);
        };
        let over = now.since_boot >= soak.over_at();
        match verdict {
            Verdict::Passed(_) if over => self.soak_over(Why::SoakOver),
            Verdict::Passed(_) => self.soak_on(None, now),
            Verdict::Unknown(why) => self.soak_on(Some(SoakNote::End(why)), now),
            Verdict::Failed(why) => {
                let mut effects = self.soak_fails(why);
                effects.extend(self.soak_on(None, now));
                effects
            }
        }
    }

    /// The image fails its soak: no other node may follow, and this one keeps the lock until a person decides.
    pub(super) fn soak_fails(&mut self, why: String) -> Vec<Effect> {
        let runs = self.identity.runs.clone();
        self.quarantine(runs.clone(), format!("it failed its soak: {why}"));
        if let Ok(journal) = &mut self.journal {
            journal.failed_soak = Some(runs);
            if let Some(soak) = &mut journal.soak {
                soak.failed = Some(why);
            }
        }
        vec![Effect::Journal(self.journal.clone().unwrap_or_default())]
    }

    /// The soak is over: time has passed, or somebody ended it.
    pub(super) fn soak_over(&mut self, why: Why) -> Vec<Effect> {
        if let Some(entry) = self.soak().map(|soak| soak.entry.clone()) {
            self.set_entry(Some(entry));
        }
        if let Ok(journal) = &mut self.journal {
            journal.soak = None;
        }
        self.release_because(why)
    }

    /// A person ends the soak.
    pub(super) fn soak_ended(&mut self) -> Vec<Effect> {
        // Also while the cluster is being told that it does: it ends as soon as that is done.
        let soaks = matches!(
            self.state,
            State::Resuming | State::Soaking { .. } | State::SoakFailed { .. }
        );
        let Ok(journal) = &mut self.journal else {
            return vec![Effect::Answer(Err(Refusal::NotSoaking))];
        };
        let before = journal.clone();
        match &mut journal.soak {
            Some(soak) if soaks => soak.ended = true,
            _ => return vec![Effect::Answer(Err(Refusal::NotSoaking))],
        }
        self.before = Some(before);
        vec![
            Effect::Journal(journal.clone()),
            Effect::Answer(Ok(())),
            Effect::Again,
        ]
    }

    /// Something has changed while the node soaks.
    pub(super) fn reconsider_soak(&mut self, now: &Now) -> Vec<Effect> {
        if self.soak().is_some_and(|soak| soak.ended) {
            return self.soak_over(Why::SoakEnded);
        }
        if self.wants_way_back() && !self.is_held_off(now) {
            return self.go_way_back(now);
        }
        match &self.state {
            State::Soaking { until, .. } if now.monotonic >= *until => self.check_soak(now),
            _ => Vec::new(),
        }
    }

    /// Whether a person asks for the image that this node has left.
    pub(super) fn wants_way_back(&self) -> bool {
        let (Some(soak), Some(intent)) = (self.soak_of_hold(), self.intent()) else {
            return false;
        };
        intent.by_person && intent.to.is(&soak.entry.from) && !intent.to.is(&self.identity.runs)
    }

    /// To the image before, under the hold that the node has.
    pub(super) fn go_way_back(&mut self, now: &Now) -> Vec<Effect> {
        let (Some(soak), Some(intent)) = (self.soak_of_hold().cloned(), self.intent()) else {
            return Vec::new();
        };
        let entry = Entry {
            stage: Stage::Draining,
            boot_id: self.identity.boot_id.clone(),
            intent,
            from: self.identity.runs.clone(),
            drain_began: None,
            way_back: true,
            ..soak.entry
        };
        match self.gate_at(gate::Stage::UnderWay(&entry), now) {
            Gate::Go { .. } => {
                self.set_entry(Some(entry));
                self.journalled(State::Taken, Op::Look)
            }
            Gate::Closed(closed) => {
                // An event opens it, or a time that is looked at with the next one: what runs goes on.
                let why = SoakNote::WayBack(Why::Closed(closed.by));
                if let State::Soaking { note, .. } | State::SoakFailed { note, .. } =
                    &mut self.state
                {
                    *note = Some(why);
                }
                Vec::new()
            }
            Gate::Nothing => Vec::new(),
        }
    }

    /// No way back follows: the node soaks on, or its boot is checked again.
    pub(super) fn leave_way_back(&mut self, now: &Now) -> Vec<Effect> {
        if self.soak().is_some() && self.was_proven() {
            return self.resume(now);
        }
        match self.soak_of_hold().map(|soak| soak.entry.clone()) {
            Some(entry) => {
                self.set_entry(Some(entry));
                self.prove(now)
            }
            None => self.release(),
        }
    }

    /// No way back follows: the node soaks on, and the cluster is told so.
    pub(super) fn resume(&mut self, now: &Now) -> Vec<Effect> {
        let Some(soak) = self.soak().cloned() else {
            return Vec::new();
        };
        self.set_entry(Some(soak.entry));
        let op = self.resumption(now);
        op.map_or_else(Vec::new, |op| self.journalled(State::Resuming, op))
    }

    /// The operation that tells of it.
    pub(super) fn resumption(&self, now: &Now) -> Option<Op> {
        let soak = self.soak()?;
        let left = match soak.failed {
            Some(_) => Duration::ZERO,
            None => soak.over_at().saturating_sub(now.since_boot),
        };
        Some(Op::Resume(soak.entry.clone(), left))
    }

    /// What people read of the soak.
    pub(super) fn soak_report(&self) -> String {
        let runs = &self.identity.runs;
        match &self.state {
            State::Soaking { over_at, note, .. } => {
                let until = time::shown(over_at.timestamp(), over_at.time_zone());
                let length = self.soak().map(|soak| duration::print(soak.length()));
                let kept = match note {
                    None if self.waits_for.is_empty() => String::new(),
                    None => format!("; now: {}", self.waits_for),
                    Some(note) => format!("; {note}"),
                };
                format!(
                    "{runs} is proven, and stays under observation for {} (until {until}){kept}",
                    length.unwrap_or_default()
                )
            }
            State::SoakFailed { why, note, .. } => {
                let kept = note.as_ref().map(|note| format!("; {note}"));
                format!(
                    "{runs} failed its soak: {why}. This node keeps the reboot lock until a person decides: pointsman rollback \
                     --reboot goes back, pointsman soak end keeps the image{}",
                    kept.unwrap_or_default()
                )
            }
            _ => String::new(),
        }
    }

    /// Whether the image is one that failed its soak here.
    pub(super) fn failed_here(&self, image: &ImageId) -> bool {
        self.soak()
            .is_some_and(|soak| soak.failed.is_some() && soak.entry.intent.to.is(image))
    }

    /// The image that runs, where it failed its soak here and the cluster knows that: it is proven once a person clears it there.
    #[must_use]
    pub fn waits_to_be_cleared(&self) -> Option<&ImageId> {
        let journal = self.journal.as_ref().ok()?;
        let failed = journal.failed_soak.as_ref()?;
        let mut quarantined = journal.quarantined.iter();
        let told = quarantined.any(|own| own.reported && failed.is_meant_by(&own.what));
        let rests = journal.entry.is_none() && failed.is(&self.identity.runs);
        (rests && told).then_some(failed)
    }

    /// A person has cleared the image that failed its soak.
    pub(super) fn soak_is_cleared(&mut self, image: &ImageId) -> Vec<Effect> {
        if self.waits_to_be_cleared() != Some(image) {
            return Vec::new();
        }
        let Ok(journal) = &mut self.journal else {
            return Vec::new();
        };
        journal.failed_soak = None;
        journal
            .quarantined
            .retain(|own| !(own.reported && image.is_meant_by(&own.what)));
        // Forgotten, it is only asked for again.
        vec![Effect::Remember(journal.clone())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_are_due_at_every_tenth_of_the_soak_and_at_its_end() {
        let seconds = Duration::from_secs;
        for (now, due) in [
            (1000, 1010),
            (1001, 1010),
            (1009, 1010),
            (1010, 1020),
            (1089, 1090),
            (1090, 1100),
            (1099, 1100),
            // It is over: they are due.
            (1100, 1100),
            (5000, 1100),
            // A clock that went back: no later than in a tenth.
            (0, 1010),
        ] {
            let found = next_look(seconds(100), seconds(1100), seconds(now));
            assert_eq!(found, seconds(due), "at {now}");
        }
        let short = next_look(Duration::from_nanos(5), seconds(7), seconds(1));
        assert!(short <= seconds(7));
    }
}
