//! The partition table (GPT; UEFI specification, "GUID Partition Table (GPT) Disk Layout"): read, verified, and changed
//! in steps that a power cut may interrupt anywhere. Pure but for [`read`].
//!
//! Bytes are kept as they were read; a change touches the attributes of slots and the checksums over them, and nothing
//! else. The two copies are never both in the air: the backup copy is written and synced before the primary one is
//! touched. A damaged copy is rebuilt from the good one before anything is changed.

mod change;
mod copy;
mod geometry;
mod mbr;
mod read;

pub use copy::{Damage, Entry};
pub use read::{Finding, Table, TableError, read};
