//! Why the slots cannot be used.

use std::{io, path::PathBuf};

use host::remedy::Remedy;

use super::{find, storage::DiskError, table::TableError};

/// Why the slots cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SlotsError {
    /// They are not found.
    #[error("{0}")]
    Find(#[from] find::FindError),
    /// The disk cannot be opened.
    #[error("{0}")]
    Disk(#[from] DiskError),
    /// There is no table.
    #[error("{}: {error}", disk.display())]
    Table {
        /// The disk.
        disk: PathBuf,
        /// Why.
        error: TableError,
    },
    /// There are no slots.
    #[error(
        "{}: found no slots among its {partitions} partitions, expected some of type {expected}", disk.display()
    )]
    None {
        /// The disk.
        disk: PathBuf,
        /// How many partitions there are.
        partitions: usize,
        /// The types of slots.
        expected: String,
    },
    /// No slot goes by this name.
    #[error("there is no slot {name:?}, expected one of {expected}")]
    Unknown {
        /// The name.
        name: String,
        /// The names there are.
        expected: String,
    },
    /// Several slots go by this name.
    #[error(
        "several slots are called {name:?}; give the partition number instead, one of {numbers}"
    )]
    Ambiguous {
        /// The name.
        name: String,
        /// Their partitions' numbers.
        numbers: String,
    },
    /// The booted partition is no slot.
    #[error("{}: the booted partition, {partition}, is not a slot", disk.display())]
    NotASlot {
        /// The disk.
        disk: PathBuf,
        /// The partition.
        partition: u32,
    },
    /// The disk does not give or take bytes.
    #[error("{}: {error}", disk.display())]
    Io {
        /// The disk.
        disk: PathBuf,
        /// Why.
        error: io::Error,
    },
}

impl SlotsError {
    /// What a person can do about it, where that is known.
    #[must_use]
    pub fn remedy(&self) -> Option<Remedy> {
        match self {
            Self::Disk(error) => error.remedy(),
            _ => None,
        }
    }
}
