//! A staged update that waits long: update_engine is told to look for a newer one.

use std::time::Duration;

use semaphore::{etcd::QueuePosition, records::ImageId};
use settings::Strategy;

use super::{Effect, Machine, State};
use crate::agent::{
    journal::Waits,
    restage::{self, Look, Reset, Restaged},
    situation::{Now, Update},
};

/// How long the disk and update_engine are given for a reset, before the node goes on with what is staged.
const PATIENCE: Duration = Duration::from_secs(60);

impl Machine {
    fn staged(&self) -> Option<&ImageId> {
        match &self.facts.as_ref()?.update {
            Update::Staged(image) => Some(image),
            _ => None,
        }
    }

    /// Counts from when an update is staged, in the journal, where it may grow too old; and when to look at that again.
    pub(super) fn count_how_long_it_waits(&mut self, now: &Now) -> Option<Effect> {
        let staged = self.staged().cloned();
        self.restaged.take_if(|restaged| {
            let same = staged
                .as_ref()
                .is_some_and(|staged| staged.is(&restaged.image));
            !same || now.monotonic >= restaged.until
        });
        let known = self.facts.as_ref().map(|facts| &facts.update);
        let since = now.wall.timestamp();
        let waits = match (self.rules.restage_after, known) {
            // What nobody asks for is not remembered.
            (None, _) | (Some(_), Some(Update::None(_))) => None,
            (Some(_), Some(Update::Staged(image))) => {
                let waits = self.journal.as_ref().ok()?.waits.clone();
                // A clock that was set back makes nothing older.
                let waits = waits.filter(|waits| waits.image.is(image) && waits.since <= since);
                waits.or_else(|| {
                    let image = image.clone();
                    Some(Waits { image, since })
                })
            }
            (Some(_), None | Some(Update::Unknown(_) | Update::Unusable(_))) => return None,
        };
        let effect = self.remember_waits(waits);
        self.restage_at = match self.look_again(now) {
            Some(Look::In(left)) => Some(now.monotonic + left),
            Some(Look::Now) => Some(now.monotonic),
            None => None,
        };
        effect
    }

    fn remember_waits(&mut self, waits: Option<Waits>) -> Option<Effect> {
        let journal = self.journal.as_mut().ok()?;
        if journal.is_newer() || journal.waits == waits {
            return None;
        }
        journal.waits = waits;
        Some(Effect::Remember(journal.clone()))
    }

    /// Whether update_engine is to look again; none while that is out of the question: nobody waits, or a person asked for
    /// the reboot, or the node holds the reboot lock.
    fn look_again(&self, now: &Now) -> Option<Look> {
        let after = self.rules.restage_after?;
        let staged = self.to_be_left()?;
        let journal = self.journal.as_ref().ok()?;
        let waits = journal
            .waits
            .as_ref()
            .filter(|waits| waits.image.is(staged))?;
        let usual = journal.usual_duration();
        let windows = self.rules.windows.clone().and(self.policy_windows());
        Some(restage::decide(
            after,
            waits.since,
            &windows,
            usual,
            &now.wall,
        ))
    }

    /// The staged update, where the node may leave it for a newer one.
    fn to_be_left(&self) -> Option<&ImageId> {
        let waits_outside = match self.state {
            State::Starting | State::Idle | State::Waiting { .. } => true,
            State::Queued { .. } => self.position != QueuePosition::Held,
            _ => false,
        };
        let staged = self.staged()?;
        let quarantined = self.has_quarantined_update() || self.quarantined(staged).is_some();
        let left_alone = self.stopping || self.request().is_some() || quarantined;
        let up = self.going_down() == Some(false);
        let journal = self.journal.as_ref().ok();
        let own = journal.is_some_and(|journal| !journal.is_newer());
        let may = waits_outside && !left_alone && up && own;
        Some(staged).filter(|_| may && self.rules.strategy != Strategy::Off)
    }

    /// Other images are open to the node's group, and the staged one is not. Of one that this node has not known update_engine
    /// may have heard by now: it is told to look, once for each.
    pub(super) fn note_open_waves(&mut self, open: &[String]) -> Vec<Effect> {
        let staged = self.staged().and_then(|staged| staged.digest.clone());
        let runs = self.identity.runs.digest.clone();
        let Some(journal) = self
            .journal
            .as_mut()
            .ok()
            .filter(|journal| !journal.is_newer())
        else {
            return Vec::new();
        };
        let known = |digest: &String| {
            let here = [&staged, &runs]
                .into_iter()
                .flatten()
                .any(|own| own == digest);
            here || journal.open_waves.contains(digest)
        };
        if open.is_empty() || open.iter().all(known) {
            return Vec::new();
        }
        journal.open_waves = open.to_vec();
        self.newer_wave = true;
        vec![Effect::Remember(journal.clone()), Effect::Again]
    }

    /// The staged update that is to be left for a newer one, and until when update_engine is given to forget it.
    pub(super) fn restaged(&self, now: &Now) -> Option<Restaged> {
        if let Some(restaged) = &self.restaged {
            return Some(restaged.clone()).filter(|restaged| now.monotonic < restaged.until);
        }
        let image = self.to_be_left()?.clone();
        let why = match self.newer_wave {
            true => Reset::NewerWave,
            false if self.look_again(now) == Some(Look::Now) => Reset::Old,
            false => return None,
        };
        Some(Restaged {
            image,
            why,
            until: now.monotonic + PATIENCE,
        })
    }

    /// Has update_engine look again, once, where the node has left the queue for that.
    pub(super) fn restage(&mut self, now: &Now) -> Vec<Effect> {
        if self.entry().is_some() || self.restaged.is_some() {
            return Vec::new();
        }
        self.restaged = self.restaged(now);
        self.newer_wave = false;
        let Some(Restaged { image, why, .. }) = self.restaged.clone() else {
            return Vec::new();
        };
        let waits = self.rules.restage_after.map(|_| Waits {
            image,
            since: now.wall.timestamp(),
        });
        let remembered = self.remember_waits(waits);
        let reset = Effect::Reset(why);
        remembered.into_iter().chain([reset]).collect()
    }
}
