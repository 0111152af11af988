//! The bits by which a boot loader chooses a slot. Pure.

use std::fmt;

/// A partition's 64 attribute bits: priority in 48-51, tries left in 52-55, successful in 56 (ChromiumOS disk format,
/// "Selecting the kernel"; GRUB's gptprio reads the same). The others are left as they are.
#[derive(Clone, Copy, PartialEq, Eq, Default, PartialOrd, Ord)]
pub struct Attributes(pub u64);

/// The largest priority and number of tries there is room for.
pub const MOST: u8 = 15;

const PRIORITY: u32 = 48;
const TRIES: u32 = 52;
const SUCCESSFUL: u32 = 56;

impl Attributes {
    fn nibble(self, at: u32) -> u8 {
        (self.0 >> at & 0xf) as u8
    }

    fn with_nibble(self, at: u32, value: u8) -> Self {
        Self(self.0 & !(0xf << at) | u64::from(value.min(MOST)) << at)
    }

    /// The priority; 0 never boots.
    #[must_use]
    pub fn priority(self) -> u8 {
        self.nibble(PRIORITY)
    }

    /// How often it may still be tried.
    #[must_use]
    pub fn tries(self) -> u8 {
        self.nibble(TRIES)
    }

    /// Whether it is marked good.
    #[must_use]
    pub fn successful(self) -> bool {
        self.0 >> SUCCESSFUL & 1 == 1
    }

    /// With this priority, at most [`MOST`].
    #[must_use]
    pub fn with_priority(self, priority: u8) -> Self {
        self.with_nibble(PRIORITY, priority)
    }

    /// With so many tries left, at most [`MOST`].
    #[must_use]
    pub fn with_tries(self, tries: u8) -> Self {
        self.with_nibble(TRIES, tries)
    }

    /// Marked good, or not.
    #[must_use]
    pub fn with_successful(self, successful: bool) -> Self {
        Self(self.0 & !(1 << SUCCESSFUL) | u64::from(successful) << SUCCESSFUL)
    }

    /// Whether the boot loader may take it at all, were its priority not 0.
    #[must_use]
    pub fn bootable(self) -> bool {
        self.successful() || self.tries() > 0
    }
}

impl fmt::Debug for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#018x} ({self})", self.0)
    }
}

impl fmt::Display for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "priority {}, tries {}, {}",
            self.priority(),
            self.tries(),
            if self.successful() {
                "successful"
            } else {
                "not successful"
            }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bits_are_where_the_boot_loader_looks() {
        let fresh = Attributes::default().with_priority(2).with_tries(1);
        assert_eq!(fresh.0, 0x0012_0000_0000_0000);
        let good = Attributes::default().with_priority(1).with_successful(true);
        assert_eq!(good.0, 0x0101_0000_0000_0000);
        let others = Attributes(0xfe00_ffff_ffff_ffff);
        let changed = others.with_priority(99).with_tries(3).with_successful(true);
        assert_eq!(
            (changed.priority(), changed.tries(), changed.successful()),
            (15, 3, true)
        );
        let back = changed
            .with_priority(0)
            .with_tries(0)
            .with_successful(false);
        assert_eq!(back, others);
    }
}
