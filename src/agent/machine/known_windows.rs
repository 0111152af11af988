//! The reboot windows of the group's policy, as the node is told them while it waits in the queue or outside it.

use std::time::Duration;

use settings::Strategy;
use windows::{WindowSpec, Windows};

use super::{Effect, Journal, Machine};

impl Machine {
    /// Those that the node knows of. Where they are open is asked in the queue: they may have changed since.
    pub(super) fn policy_windows(&self) -> Windows {
        match (&self.journal, self.rules.strategy) {
            (Ok(journal), Strategy::EtcdLock) => journal.windows_of_policy(),
            _ => Windows::default(),
        }
    }

    /// They are others than the node knew of. By that its own windows may be too short, or long enough, for its reboots.
    pub(super) fn note_policy_windows(&mut self, windows: Vec<WindowSpec>) -> Vec<Effect> {
        let Some(journal) = self
            .journal
            .as_mut()
            .ok()
            .filter(|journal| !journal.is_newer() && journal.policy_windows != windows)
        else {
            return Vec::new();
        };
        journal.policy_windows = windows;
        vec![Effect::Remember(journal.clone()), Effect::Again]
    }

    /// What the runner needs to wait for the windows of the policy.
    #[must_use]
    pub fn known_windows(&self) -> KnownWindows {
        let journal = self.journal.as_ref().ok();
        KnownWindows {
            usual: journal.and_then(Journal::usual_duration),
            policy: journal.map_or_else(Vec::new, |journal| journal.policy_windows.clone()),
        }
    }
}

/// What a node knows of windows from its own past.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KnownWindows {
    /// How long its reboots usually take.
    pub usual: Option<Duration>,
    /// The windows of the group's policy.
    pub policy: Vec<WindowSpec>,
}
