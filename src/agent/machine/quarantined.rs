//! Images that must not be booted: what a person of this node says of them, and what becomes of a staged one.

use semaphore::{etcd::QueuePosition, records::ImageId};
use settings::Strategy;

use super::{Effect, Machine, State};
use crate::agent::{
    failure::Refusal,
    journal::OwnQuarantine,
    restage::Reset,
    situation::{Now, Update},
};

impl Machine {
    /// A person quarantines an image on this node.
    pub(super) fn quarantined_by_hand(&mut self, what: ImageId, reason: String) -> Vec<Effect> {
        if self.rules.strategy == Strategy::EtcdLock {
            return vec![Effect::Answer(Err(Refusal::UsesEtcd))];
        }
        let boot_id = self.identity.boot_id.clone();
        self.change(|quarantined| {
            let known = quarantined.iter().any(|c| c.what == what);
            if known {
                return Err(Refusal::Quarantined);
            }
            quarantined.push(OwnQuarantine {
                what,
                reason,
                boot_id,
                // Nobody is told as long as nobody is asked.
                reported: false,
            });
            Ok(())
        })
    }

    /// A person clears an image on this node.
    pub(super) fn cleared(&mut self, what: &ImageId) -> Vec<Effect> {
        self.change(|quarantined| {
            let before = quarantined.len();
            quarantined.retain(|c| !what.is_meant_by(&c.what));
            if quarantined.len() == before {
                return Err(Refusal::NotQuarantined);
            }
            Ok(())
        })
    }

    fn change(
        &mut self,
        change: impl FnOnce(&mut Vec<OwnQuarantine>) -> Result<(), Refusal>,
    ) -> Vec<Effect> {
        let journal = match &mut self.journal {
            Ok(journal) => journal,
            Err(why) => return vec![Effect::Answer(Err(Refusal::Journal(why.clone())))],
        };
        let before = journal.clone();
        if let Err(why) = change(&mut journal.quarantined) {
            return vec![Effect::Answer(Err(why))];
        }
        self.before = Some(before);
        vec![
            Effect::Journal(journal.clone()),
            Effect::Answer(Ok(())),
            Effect::Again,
        ]
    }

    /// Whether the staged update is what must not be booted; none where that is not known now.
    pub(super) fn update_is_quarantined(&self) -> Option<bool> {
        let Update::Staged(staged) = &self.facts.as_ref()?.update else {
            return Some(false);
        };
        match &self.state {
            State::Queued { .. } => match self.position {
                QueuePosition::Quarantined => Some(true),
                QueuePosition::InQueue => Some(false),
                QueuePosition::Unknown | QueuePosition::Outside | QueuePosition::Held => None,
            },
            State::Waiting { .. } if self.quarantined(staged).is_some() => Some(true),
            _ => None,
        }
    }

    /// Whether the staged update is known to be what must not be booted.
    #[must_use]
    pub fn has_quarantined_update(&self) -> bool {
        self.quarantined_update.is_some()
    }

    /// update_engine looks for nothing newer while an update is staged: one that stays quarantined is reset, so that a
    /// better one is found; and not at once, or the bad one would be downloaded again and again.
    pub(super) fn reset_quarantined_update(&mut self, now: &Now) -> Option<Effect> {
        let staged = match self.facts.as_ref().map(|facts| &facts.update) {
            Some(Update::Staged(image)) => Some(image.clone()),
            _ => None,
        };
        self.quarantined_update
            .take_if(|(image, _)| staged.as_ref().is_none_or(|staged| !staged.is(image)));
        match self.update_is_quarantined() {
            None => None,
            Some(false) => {
                self.quarantined_update = None;
                None
            }
            Some(true) => {
                let due = now.monotonic + self.rules.quarantine_reset;
                let (_, due) = self.quarantined_update.get_or_insert((staged?, due));
                if now.monotonic < *due {
                    return None;
                }
                // Should it not succeed.
                *due = now.monotonic + self.rules.retry;
                Some(Effect::Reset(Reset::Quarantined))
            }
        }
    }
}
