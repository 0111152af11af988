//! What happens around the simulated nodes.

use pointsman_testbed::random::Random;
use semaphore::keys::Keys;

use super::OLD;

/// What happens around the nodes.
pub(super) struct Outside {
    pub(super) random: Random,
    /// Whether agents die and power is cut.
    pub(super) faults: bool,
    /// The newest image that there is.
    pub(super) newest: u8,
    /// After how many more reboots of this group into this image one does not return.
    pub(super) gone_after: Option<(Keys, u8, u64)>,
    pub(super) nonces: u128,
    /// Whether the next name of a claim is chosen by who drives the simulation, and not counted.
    pub(super) nonces_are_chosen: bool,
}

impl Outside {
    pub(super) fn new(random: Random, faults: bool) -> Self {
        Self {
            random,
            faults,
            newest: OLD,
            gone_after: None,
            nonces: 0,
            nonces_are_chosen: false,
        }
    }

    /// What names a claim that begins now.
    pub(super) fn nonce(&mut self) -> u128 {
        self.nonces += u128::from(!self.nonces_are_chosen);
        self.nonces
    }

    /// A time between these, in milliseconds.
    pub(super) fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.random.below(most - least)
    }

    /// Whether this reboot is the one that does not return.
    pub(super) fn is_gone(&mut self, keys: &Keys, image: u8) -> bool {
        let Some((group, from, left)) = &mut self.gone_after else {
            return false;
        };
        if group != keys || *from != image {
            return false;
        }
        *left -= 1;
        let gone = *left == 0;
        if gone {
            self.gone_after = None;
        }
        gone
    }

    /// How long a request to etcd takes, or its answer.
    pub(super) fn latency(&mut self) -> u64 {
        self.between(1, 50)
    }
}
