//! Rolling back to the other slot: one rule, for the agent after a failed trial and for a person. Pure.

use super::{Slot, attributes::Attributes, select};

/// Why a slot cannot be rolled back to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RollbackError {
    /// It holds nothing that could boot.
    #[error("{slot} holds no file system: there is nothing to roll back to")]
    Empty {
        /// Its name.
        slot: String,
    },
    /// The boot loader would skip it.
    #[error(
        "{slot} could not boot, because it is not marked successful and has no try left: {attributes}"
    )]
    NotBootable {
        /// Its name.
        slot: String,
        /// Its attributes.
        attributes: Attributes,
    },
}

/// What becomes of the slot that is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// It stays bootable: a person may undo the rollback.
    Bootable,
    /// The boot loader does not take it any more: it has failed its trial.
    Abandoned,
}

/// Whether this slot, which holds this file system, can be rolled back to.
///
/// # Errors
/// When it holds no file system, or the boot loader would skip it.
pub fn possible(slot: &Slot, content: Option<&str>) -> Result<(), RollbackError> {
    if content.is_none() {
        return Err(RollbackError::Empty { slot: slot.name() });
    }
    if !slot.attributes.bootable() {
        return Err(RollbackError::NotBootable {
            slot: slot.name(),
            attributes: slot.attributes,
        });
    }
    Ok(())
}

/// Makes the slot `to` the next to boot instead of `from`.
pub fn switch(slots: &mut [Attributes], from: usize, to: usize, left: Left) {
    select::prioritize(slots, to);
    if left == Left::Abandoned {
        slots[from] = slots[from].with_priority(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(priority: u8, tries: u8, successful: bool) -> Slot {
        Slot {
            number: 4,
            label: "USR-B".into(),
            letter: Some('B'),
            offset: 0,
            length: 0,
            attributes: Attributes::default()
                .with_priority(priority)
                .with_tries(tries)
                .with_successful(successful),
        }
    }

    #[test]
    fn rollback_needs_a_bootable_slot_with_a_file_system() {
        for (slot, content, says) in [
            (slot(1, 0, true), Some("ext4"), ""),
            (slot(0, 1, false), Some("ext4"), ""),
            (slot(1, 0, true), None, "USR-B holds no file system"),
            (slot(1, 0, false), None, "USR-B holds no file system"),
            (slot(1, 0, false), Some("ext4"), "USR-B could not boot"),
        ] {
            let said = possible(&slot, content)
                .err()
                .map(|error| error.to_string());
            let said = said.unwrap_or_default();
            assert!(
                said.starts_with(says) && said.is_empty() == says.is_empty(),
                "{said}"
            );
        }
    }

    #[test]
    fn failed_slot_is_not_booted_again() {
        let before = [slot(2, 0, false).attributes, slot(1, 0, true).attributes];
        for (left, priority) in [(Left::Bootable, 1), (Left::Abandoned, 0)] {
            let mut slots = before;
            switch(&mut slots, 0, 1, left);
            assert_eq!(select::next(&slots), Some(1));
            assert_eq!(slots[0].priority(), priority, "{left:?}");
        }
    }
}
