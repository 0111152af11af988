//! What must hold when an operation begins, and how it ends: the properties.

use semaphore::{commit, etcd::HoldEnd};
use settings::Strategy;

use super::{
    image, named, no_reply, not_now,
    simulation::{Simulation, name},
    unreadable,
};
use crate::agent::{
    health::Verdict,
    journal::{Claim, ClaimKey, Stage},
    machine::{Event, Op},
};

impl Simulation {
    pub(super) fn begin(&mut self, op: Op) {
        match &op {
            Op::Acquire(entry) => {
                assert_eq!(
                    self.disk.entry.as_ref(),
                    Some(entry),
                    "the nonce is not in the journal"
                );
            }
            Op::Drain(_) | Op::Commit(_) | Op::Reboot(_) if self.disk.is_newer() => {
                panic!("a newer program's journal, and a reboot begun")
            }
            Op::Drain(entry) if entry.way_back => assert!(self.may_go_back(), "a drain in vain"),
            Op::Drain(_) if !self.may_go() => panic!("a drain for a reboot that may not be"),
            Op::Drain(_) => assert_eq!(self.disk.entry.as_ref().unwrap().stage, Stage::Draining),
            Op::Commit(_) => assert_eq!(self.disk.entry.as_ref().unwrap().stage, Stage::Committing),
            Op::Reboot(entry) => {
                let may = self.in_window() || entry.way_back;
                assert!(may, "a reboot outside the window");
                let asks = self.strategy.is_coordinated();
                assert!(!asks || entry.claim.is_some(), "nobody was asked");
                if entry.place().is_some() {
                    // What the server has forgotten since it tells nobody.
                    assert!(self.granted, "a reboot without a place");
                } else if self.strategy.is_coordinated() {
                    assert_eq!(
                        self.holder,
                        name(entry).map(|own| (own.clone(), true)),
                        "a reboot without the semaphore"
                    );
                }
                let logins = self.facts.logind.as_ref().unwrap();
                assert!(logins.inhibitors.is_empty() && !logins.going_down);
                assert!(self.wanted(), "a reboot nobody wants");
                assert!(!self.called, "a second call");
                self.asked_logind = true;
                let to = self.destination();
                if !to.is(&image(self.slots.runs())) {
                    assert!(entry.intent.to.is(&to), "cleared for another image");
                    let bad = self.known_bad.iter().find(|bad| bad.is(&to));
                    assert_eq!(bad, None, "into a quarantined image");
                    let asks = self.strategy == Strategy::EtcdLock;
                    let mut own = self.disk.quarantined.iter();
                    let own = own.find(|c| c.what.is(&to) && !(c.reported && asks));
                    assert_eq!(own, None, "into an image this node rolled back from");
                }
                self.cleared = Some(to);
            }
            Op::RollBack { .. } => {
                assert!(
                    !self.slots.good[self.slots.booted],
                    "back from what is no trial"
                );
                let other = 1 - self.slots.booted;
                assert!(
                    self.slots.good[other] || self.slots.tries[other],
                    "back to what cannot boot"
                );
                let journal = self.machine.journal.as_ref().unwrap();
                let to = named(self.slots.images[other]);
                let bad = journal.quarantined.iter().find(|c| to.is_meant_by(&c.what));
                assert_eq!(bad, None, "back to what is quarantined as well");
            }
            Op::Mark => assert!(self.passed, "marked good without proof"),
            Op::Release(entry, owed) => {
                let of_this_boot = entry.boot_id == format!("boot-{}", self.boot);
                let proven = self.slots.good[self.slots.booted];
                assert!(
                    of_this_boot || entry.stage != Stage::Releasing || proven,
                    "released before proof"
                );
                assert_eq!(owed.as_ref(), self.machine.owed());
                if let Some(bad) = &self.fell_from
                    && self.strategy == Strategy::EtcdLock
                    && self.slots_readable
                {
                    let told = owed.iter().map(|owed| &owed.what);
                    let mut told = told.chain(&self.known_bad);
                    assert!(
                        told.any(|one| one.is(bad)),
                        "fell back from {bad}, and told nobody"
                    );
                }
                // The last word of this agent on this boot may have been a reboot that is under way.
                assert!(!self.going_down() || entry.boot_id != format!("boot-{}", self.boot));
            }
            _ => {}
        }
        if let Op::Leave(entry) | Op::Release(entry, _) = &op
            && entry.place().is_some()
        {
            self.granted = false;
        }
        self.op = Some(op);
    }

    pub(super) fn end(&mut self, well: bool) {
        let Some(op) = self.op.take() else { return };
        let asks = match &op {
            Op::Acquire(entry)
            | Op::Leave(entry)
            | Op::Resume(entry, _)
            | Op::Release(entry, _) => entry.claim.is_some(),
            Op::Commit(entry) => entry.in_etcd().is_some(),
            _ => false,
        };
        if asks && !self.etcd {
            self.op = Some(op);
            return;
        }
        let event = match &op {
            Op::May(_) => {
                let answer = if well { Ok(()) } else { Err(not_now()) };
                Event::Allowed(answer, self.facts())
            }
            Op::Acquire(entry) => {
                let Some(claim) = &entry.claim else { return };
                let in_etcd = entry.in_etcd().is_some();
                // The place is given, and the answer is lost.
                if !well && !in_etcd && self.holder.is_none() {
                    self.holder = name(entry).map(|own| (own.clone(), false));
                }
                let mut known = self.known_bad.iter();
                let bad =
                    !entry.intent.to.is(&entry.from) && known.any(|bad| bad.is(&entry.intent.to));
                let bad = bad && in_etcd;
                if self.holder.is_some() && !self.held_by(entry) || bad || !well {
                    // Still waiting.
                    self.op = Some(op);
                    return;
                }
                self.granted |= !in_etcd;
                let own = name(entry).cloned().unwrap_or_default();
                self.holder.get_or_insert((own, false));
                Event::Acquired(match claim {
                    Claim::Etcd(claim) => Claim::Etcd(ClaimKey {
                        soaks: self.soak.is_some(),
                        ..claim.clone()
                    }),
                    place @ Claim::FleetLock(_) => place.clone(),
                })
            }
            Op::Leave(entry) if entry.place().is_some() => {
                if self.held_by(entry) {
                    self.holder = None;
                }
                Event::Left(None)
            }
            Op::Leave(entry) => {
                // As badly as can be: won while leaving, if it is not held by somebody else.
                if !well
                    && self.holder.is_none()
                    && let Some(claim) = entry.in_etcd()
                {
                    self.holder = Some((claim.nonce.clone(), false));
                }
                Event::Left(entry.claim.clone().filter(|_| self.held_by(entry)))
            }
            Op::Look => Event::Looked(self.facts()),
            Op::Drain(_) if well => Event::Drained(Ok(()), None),
            Op::Drain(_) if self.random.is_multiple_of(2) => Event::Refused(not_now()),
            Op::Drain(_) => Event::Drained(Err(not_now()), None),
            Op::Undo(_) => {
                // The booted slot is pinned again first.
                if self.strategy.is_coordinated() && self.moves() {
                    self.slots.first = self.slots.booted;
                }
                Event::Undone
            }
            Op::Commit(entry) if entry.in_etcd().is_none() => {
                if let Some(holder) = &mut self.holder {
                    holder.1 = true;
                }
                Event::CommitEnded(Ok(()))
            }
            Op::Commit(entry) => {
                let mut known = self.known_bad.iter();
                let bad =
                    !entry.intent.to.is(&entry.from) && known.any(|bad| bad.is(&entry.intent.to));
                let may = well && self.held_by(entry) && !bad;
                if let (true, Some(holder)) = (may, &mut self.holder) {
                    holder.1 = true;
                }
                Event::CommitEnded(if may {
                    Ok(())
                } else {
                    Err(commit::Refusal::Stopped.into())
                })
            }
            Op::Reboot(entry) => {
                let well = well && self.logind;
                self.called = well;
                if !entry.intent.to.is(&entry.from) && self.strategy.is_coordinated() {
                    // The new slot is activated.
                    self.slots.first = 1 - self.slots.booted;
                }
                if well && let Ok(logins) = &mut self.facts.logind {
                    logins.going_down = true;
                }
                Event::RebootCalled(if well { Ok(()) } else { Err(no_reply().into()) })
            }
            Op::Prove { entry, .. } => {
                let bad = self.slots.runs() % 2 == 1 || self.broken;
                let verdict = match (bad, well, entry) {
                    (true, true, _) | (true, false, Some(_)) => Verdict::Failed("bad".into()),
                    (true, false, None) => Verdict::Unknown("alone".into()),
                    (false, true, _) => Verdict::Passed(Vec::new()),
                    (false, false, _) => Verdict::Unknown("not yet".into()),
                };
                self.passed |= verdict == Verdict::Passed(Vec::new());
                let other = match self.slots_readable {
                    true => Ok(self.slots.boot_of().other),
                    false => Err(unreadable()),
                };
                Event::Checked(verdict, other)
            }
            Op::Mark if well && self.slots_readable => {
                let booted = self.slots.booted;
                self.slots.good[booted] = true;
                self.slots.first = booted;
                Event::Marked(Ok(()))
            }
            Op::Mark => Event::Marked(Err(unreadable())),
            Op::Undrain(_) => Event::Undone,
            // It refuses where something was written over what it rolls back to.
            Op::RollBack { to, .. }
                if well
                    && self.slots_readable
                    && self.logind
                    && to.is(&image(self.slots.images[1 - self.slots.booted])) =>
            {
                self.slots.first = 1 - self.slots.booted;
                self.slots.abandoned[self.slots.booted] = true;
                self.went_back = true;
                if let Ok(logins) = &mut self.facts.logind {
                    logins.going_down = true;
                }
                Event::RolledBack(Ok(()))
            }
            Op::RollBack { .. } => Event::RolledBack(Err(no_reply().into())),
            Op::Resume(entry, _) if self.held_by(entry) => {
                if let Some(holder) = &mut self.holder {
                    holder.1 = false;
                }
                Event::Resumed
            }
            Op::Watch(entry) if self.held_by(entry) || !self.etcd => {
                self.op = Some(op);
                return;
            }
            Op::CheckSoak { entry, .. } if self.held_by(entry) => {
                let bad = self.slots.runs() % 2 == 1 || self.broken;
                let verdict = match (bad, well) {
                    (true, true) => Verdict::Failed("bad".into()),
                    (true, false) | (false, false) => Verdict::Unknown("alone".into()),
                    (false, true) => Verdict::Passed(Vec::new()),
                };
                Event::Checked(verdict, Ok(self.slots.boot_of().other))
            }
            Op::Resume(..) | Op::Watch(_) | Op::CheckSoak { .. } => {
                Event::HoldEnded(HoldEnd::Taken)
            }
            Op::Release(entry, _)
                if entry.stage == Stage::Soaking
                    && self.held_by(entry)
                    && let Some(minutes) = self.soak =>
            {
                if let Some(holder) = &mut self.holder {
                    holder.1 = false;
                }
                Event::Soaks(std::time::Duration::from_secs(minutes * 60))
            }
            Op::Release(entry, owed) => {
                let told = entry.in_etcd().and(owed.as_ref());
                let told = told.map(|owed| owed.what.clone());
                self.known_bad.extend(told.clone());
                if self.held_by(entry) {
                    self.holder = None;
                }
                Event::Released(told)
            }
        };
        self.step(event);
        if self.going_down() {
            self.step(Event::Facts(self.facts()));
        }
    }
}
