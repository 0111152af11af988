//! One look compared with the one before: which events lie between.

use semaphore::records::ImageId;

use super::{Kind, Seen};
use crate::agent::journal::{Entry, Journal, OwnQuarantine, Stage};

/// What an event is about.
#[derive(Debug, Clone, Default)]
pub(super) struct Of {
    pub(super) from: Option<ImageId>,
    pub(super) to: Option<ImageId>,
    pub(super) reason: String,
    pub(super) seconds: Option<u64>,
}

impl Of {
    fn image(image: &ImageId) -> Self {
        Self {
            to: Some(image.clone()),
            ..Self::default()
        }
    }

    fn because(self, reason: &str) -> Self {
        Self {
            reason: reason.to_owned(),
            ..self
        }
    }

    fn taking(self, seconds: Option<u64>) -> Self {
        Self { seconds, ..self }
    }
}

/// Two looks, one after the other.
pub(super) struct Step<'a> {
    pub(super) old: &'a Journal,
    /// The state before, one word.
    pub(super) state: &'a str,
    pub(super) seen: &'a Seen<'a>,
    pub(super) boot_id: &'a str,
    /// Why the boot was not proven, as it was noted last.
    pub(super) unproven: Option<&'a str>,
}

impl<'a> Step<'a> {
    /// What happened, in its order.
    pub(super) fn events(&self) -> Vec<(Kind, Of)> {
        let parts = [
            self.wishes(),
            self.way_down(),
            self.judgement(),
            Vec::from_iter(self.proof()),
            self.soak(),
        ];
        parts.into_iter().flatten().collect()
    }

    fn now(&self) -> &'a Journal {
        self.seen.journal
    }

    fn enters(&self, word: &str) -> bool {
        self.seen.state == word && self.state != word
    }

    /// The reboot that is under way, or has just ended.
    fn entry(&self) -> Option<&'a Entry> {
        let soaking = self.now().soak.as_ref().map(|soak| &soak.entry);
        self.now()
            .entry
            .as_ref()
            .or(self.old.entry.as_ref())
            .or(soaking)
    }

    fn reboot(&self) -> Of {
        self.entry().map_or_else(Of::default, |entry| Of {
            from: Some(entry.from.clone()),
            to: Some(entry.intent.to.clone()),
            reason: entry.intent.reason.clone(),
            seconds: None,
        })
    }

    /// What is wanted: an update, a person's reboot.
    fn wishes(&self) -> Vec<(Kind, Of)> {
        let staged = self
            .now()
            .staged
            .as_ref()
            .filter(|_| self.old.staged != self.now().staged);
        let staged = staged.map(|staged| (Kind::Staged, Of::image(staged)));
        let asked = self
            .now()
            .request
            .as_ref()
            .filter(|asked| match &self.old.request {
                None => true,
                Some(before) => asked.request.urgent && !before.request.urgent,
            });
        let asked = asked.map(|asked| {
            let reason = asked.request.shown();
            (Kind::Requested, Of::default().because(&reason))
        });
        staged.into_iter().chain(asked).collect()
    }

    /// From the drain until the node goes down, or does not.
    fn way_down(&self) -> Vec<(Kind, Of)> {
        let commits = |journal: &Journal| {
            journal
                .entry
                .as_ref()
                .is_some_and(|entry| entry.stage == Stage::Committing)
        };
        let reboots = commits(self.now()) && !commits(self.old);
        let stepped_back = self.reboot().because(self.seen.why);
        [
            (self.enters("draining"), Kind::Draining, self.reboot()),
            (reboots, Kind::Rebooting, self.reboot()),
            (
                self.enters("stepping-back"),
                Kind::SteppedBack,
                stepped_back,
            ),
        ]
        .into_iter()
        .filter(|(happened, ..)| *happened)
        .map(|(_, kind, of)| (kind, of))
        .collect()
    }

    /// What was found to be bad.
    fn judgement(&self) -> Vec<(Kind, Of)> {
        let mut events = Vec::new();
        let forgiven = self
            .now()
            .forgiven
            .as_ref()
            .filter(|_| self.old.forgiven != self.now().forgiven);
        if let Some(image) = forgiven {
            let why = "its first boot was cut off, and it is tried once more";
            let of = Of {
                to: Some(image.clone()),
                ..self.reboot().because(why)
            };
            events.push((Kind::FellBack, of));
        }
        for bad in self.now().quarantined.iter().filter(|bad| self.is_new(bad)) {
            let elsewhere = bad.boot_id == self.boot_id && !bad.what.is(self.seen.runs);
            let meant = self
                .entry()
                .is_some_and(|entry| entry.intent.to.is(&bad.what));
            if elsewhere && meant && self.now().judged != self.old.judged {
                events.push((Kind::FellBack, self.reboot().because(&bad.reason)));
            }
            events.push((Kind::Quarantined, Of::image(&bad.what).because(&bad.reason)));
        }
        if self.is_unproven() {
            events.push((
                Kind::Unproven,
                Of::image(self.seen.runs).because(self.seen.why),
            ));
        }
        if self.enters("rolling-back") {
            let of = Of {
                to: Some(self.seen.runs.clone()),
                ..self.reboot().because(self.seen.why)
            };
            events.push((Kind::RollingBack, of));
        }
        events
    }

    fn is_new(&self, bad: &OwnQuarantine) -> bool {
        let same = |known: &OwnQuarantine| {
            (&known.what, &known.boot_id, &known.reason) == (&bad.what, &bad.boot_id, &bad.reason)
        };
        !self.old.quarantined.iter().any(same)
    }

    /// Whether the boot is not proven, for another reason than was noted.
    fn is_unproven(&self) -> bool {
        self.seen.state == "unproven" && self.unproven != Some(self.seen.why)
    }

    fn proof(&self) -> Option<(Kind, Of)> {
        let (old, new) = (self.old, self.now());
        if new.proven == old.proven || new.proven.is_none() {
            return None;
        }
        // A node that fell back is proven on the image that it left: that is no end of the reboot.
        let rebooted = self.entry().filter(|entry| {
            entry.boot_id != self.boot_id
                && entry.stage != Stage::Queued
                && entry.intent.to.is(self.seen.runs)
        });
        let took = new
            .reboot_seconds
            .last()
            .filter(|_| new.reboot_seconds != old.reboot_seconds);
        let of = Of {
            from: rebooted.map(|entry| entry.from.clone()),
            ..Of::image(self.seen.runs).taking(took.copied())
        };
        Some((Kind::Proven, of))
    }

    fn soak(&self) -> Vec<(Kind, Of)> {
        let image = Of::image(self.seen.runs);
        let mut events = Vec::new();
        match (&self.old.soak, &self.now().soak) {
            (None, Some(soak)) => {
                events.push((Kind::Soaking, image.taking(Some(soak.length().as_secs()))))
            }
            (Some(_), None) => events.push((Kind::SoakEnded, image)),
            _ => {}
        }
        let failed = |journal: &'a Journal| journal.soak.as_ref()?.failed.as_deref();
        if let Some(why) = failed(self.now()).filter(|_| failed(self.old).is_none()) {
            events.push((Kind::SoakFailed, self.reboot().because(why)));
        }
        events
    }
}
