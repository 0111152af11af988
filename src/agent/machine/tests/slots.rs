//! The model's disk.

use super::image;
use crate::agent::machine::{Boot, Other};

/// The node's disk: what each slot holds, and what the boot loader sees.
#[derive(Debug, Clone)]
pub(super) struct Slots {
    pub(super) images: [u8; 2],
    pub(super) good: [bool; 2],
    pub(super) tries: [bool; 2],
    /// What a roll-back left, until something is written there.
    pub(super) abandoned: [bool; 2],
    pub(super) first: usize,
    pub(super) booted: usize,
}

impl Slots {
    pub(super) fn new() -> Self {
        Self {
            images: [0, 0],
            good: [true, false],
            tries: [false, false],
            abandoned: [false, false],
            first: 0,
            booted: 0,
        }
    }

    pub(super) fn can(&self, slot: usize) -> bool {
        (self.good[slot] || self.tries[slot]) && !self.abandoned[slot]
    }

    /// What the boot loader would take.
    pub(super) fn next(&self) -> usize {
        if self.can(self.first) {
            self.first
        } else {
            1 - self.first
        }
    }

    /// What the boot loader does.
    pub(super) fn boot(&mut self) {
        let next = self.next();
        assert!(self.can(next), "no slot boots: {self:?}");
        self.tries[next] = false;
        self.booted = next;
    }

    pub(super) fn runs(&self) -> u8 {
        self.images[self.booted]
    }

    pub(super) fn boot_of(&self) -> Boot {
        let other = 1 - self.booted;
        Boot {
            trial: !self.good[self.booted],
            other: Some(Other {
                image: image(self.images[other]),
                successful: self.good[other],
                tries: self.tries[other],
                abandoned: self.abandoned[other],
            }),
        }
    }
}
