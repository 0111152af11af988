use std::{io, path::PathBuf};

use host::{
    kept::Kept,
    node::RootPath,
    remedy::{self, Remedy},
};
use slots::{Slot, SlotsError, attributes::Attributes, rollback::RollbackError};

/// Why the agent cannot read or change which slot boots next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SlotFault {
    /// The slots cannot be read or changed.
    #[error("{}", remedy::in_line(.0, &.0.remedy()))]
    Slots(Kept<SlotsError>),
    /// The file that says what is pinned cannot be read or changed.
    #[error("{}: {error}", path.display())]
    Mark {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: Kept<io::Error>,
    },
    /// Which image is staged cannot be read.
    #[error("it is not known which image is staged: {}", remedy::in_line(.0, &.0.remedy()))]
    Staged(Kept<SlotsError>),
    /// An update is staged, and there are no slots any more.
    #[error("it is not known which image is staged: the slots are not found any more")]
    Vanished,
    /// The slot with the staged update could not boot.
    #[error("{slot} holds the staged update and could not boot: {attributes}")]
    NotBootable {
        /// Its name.
        slot: String,
        /// Its attributes.
        attributes: Attributes,
    },
    /// No slot could boot.
    #[error("the boot loader would find no slot to boot: see pointsman slots")]
    NoneBoots,
    /// Which slot runs is not known.
    #[error("which slot is booted is not known")]
    BootedUnknown,
    /// There is no other slot.
    #[error("there are no two slots")]
    NoOther,
    /// The other slot cannot be rolled back to.
    #[error(transparent)]
    Rollback(#[from] RollbackError),
    /// The other slot does not hold what ran before.
    #[error("{slot} now holds another image than the one that ran here before")]
    OtherImage {
        /// Its name.
        slot: String,
    },
}

impl SlotFault {
    /// What a person can do about it, where that is known; its text has it as well.
    #[must_use]
    pub fn remedy(&self) -> Option<Remedy> {
        match self {
            Self::Slots(error) | Self::Staged(error) => error.remedy(),
            _ => None,
        }
    }

    /// The file at this path, which says what is pinned, cannot be read or changed.
    pub(super) fn mark(path: &RootPath, error: io::Error) -> Self {
        Self::Mark {
            path: path.shown(),
            error: error.into(),
        }
    }

    /// What could not be read is which image is staged.
    pub(super) fn of_staged(self) -> Self {
        match self {
            Self::Slots(error) => Self::Staged(error),
            other => other,
        }
    }

    /// This slot holds a staged update and could not boot.
    pub(super) fn not_bootable(staged: &Slot) -> Self {
        Self::NotBootable {
            slot: staged.name(),
            attributes: staged.attributes,
        }
    }
}

impl From<SlotsError> for SlotFault {
    fn from(error: SlotsError) -> Self {
        Self::Slots(error.into())
    }
}
