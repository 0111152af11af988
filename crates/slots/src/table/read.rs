//! A table as it is read and verified.

use std::io;

use super::{
    copy::{Damage, Entry, TableCopy},
    geometry::Geometry,
    mbr::is_protective,
};
use crate::{scheme::Guid, storage::Storage};

/// What is wrong with a table that can be repaired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// The primary copy cannot be used; the backup copy is good.
    Primary(Damage),
    /// The backup copy cannot be used; the primary copy is good.
    Backup(Damage),
    /// The disk has grown: the backup copy, good or not, does not lie at its end.
    Grown {
        /// Where the primary copy says the backup is, in sectors.
        backup: u64,
        /// The disk's last sector.
        last: u64,
    },
    /// Both copies are good and say different things: a change was interrupted. The primary one counts.
    Differ,
    /// The first sector does not say that the disk has a GPT.
    ProtectiveMbr,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Primary(why) => write!(f, "the primary copy of the table is damaged: {why}; the backup copy is good"),
            Self::Backup(why) => write!(f, "the backup copy of the table is damaged: {why}; the primary copy is good"),
            Self::Grown { backup, last } => write!(
                f,
                "the disk has grown: the backup copy of the table is at sector {backup}, expected at the last one, {last}"
            ),
            Self::Differ => f.write_str(
                "the two copies of the table differ: a change was interrupted; the primary copy counts",
            ),
            Self::ProtectiveMbr => f.write_str("the protective MBR is missing: programs that know no GPT see an empty disk"),
        }
    }
}

/// Why a disk has no table that can be used. Nothing is ever written to it then.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// Neither copy can be used.
    #[error("both copies of the partition table are damaged: primary: {primary}; backup: {backup}")]
    Both {
        /// What is wrong with the primary copy.
        primary: Damage,
        /// What is wrong with the backup copy.
        backup: Damage,
    },
    /// The table describes a larger disk.
    #[error(
        "the disk or image ends at sector {last}, and its table needs it to reach sector {needs}: it is truncated"
    )]
    Truncated {
        /// The disk's last sector.
        last: u64,
        /// The last sector the table needs.
        needs: u64,
    },
    /// The disk has no room for a table.
    #[error("found {bytes} bytes, expected a disk or image with a partition table")]
    Small {
        /// The disk's size in bytes.
        bytes: u64,
    },
    /// The disk cannot be read.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// A table as it was read, of which at least one copy is good.
#[derive(Debug, Clone)]
pub struct Table {
    pub(super) geometry: Geometry,
    pub(super) mbr: Vec<u8>,
    pub(super) primary: Result<TableCopy, Damage>,
    pub(super) backup: Result<TableCopy, Damage>,
    pub(super) findings: Vec<Finding>,
}

/// Reads and verifies a table.
///
/// # Errors
/// When neither copy can be used, or the disk is smaller than the table says.
pub fn read(storage: &mut dyn Storage) -> Result<Table, TableError> {
    let (sector, bytes) = (storage.sector(), storage.size());
    // MBR, and of each copy one sector of header and one of entries at least.
    if bytes / sector < 6 {
        return Err(TableError::Small { bytes });
    }
    let last = bytes / sector - 1;
    let geometry = Geometry { sector, last };
    let mut mbr = vec![0; usize::try_from(sector).unwrap_or(512)];
    storage.read(0, &mut mbr)?;
    let primary = TableCopy::read(storage, geometry, 1)?;
    let mut findings = Vec::new();
    let backup = match &primary {
        Ok(primary) => {
            let needs = primary.needs(sector);
            if needs > last {
                return Err(TableError::Truncated { last, needs });
            }
            let at = primary.other();
            if at < last {
                findings.push(Finding::Grown { backup: at, last });
            }
            TableCopy::read(storage, geometry, at)?
        }
        Err(_) => TableCopy::read(storage, geometry, last)?,
    };
    match (&primary, &backup) {
        (Err(primary), Err(backup)) => {
            let (primary, backup) = (primary.clone(), backup.clone());
            return Err(TableError::Both { primary, backup });
        }
        (Err(why), Ok(_)) => findings.push(Finding::Primary(why.clone())),
        // A backup that is to be moved is rewritten anyway.
        (Ok(_), Err(why)) => {
            if findings.is_empty() {
                findings.push(Finding::Backup(why.clone()));
            }
        }
        (Ok(primary), Ok(backup)) if !primary.says_the_same(backup) => {
            findings.push(Finding::Differ);
        }
        (Ok(_), Ok(_)) => {}
    }
    if !is_protective(&mbr) {
        findings.push(Finding::ProtectiveMbr);
    }
    Ok(Table {
        geometry,
        mbr,
        primary,
        backup,
        findings,
    })
}

impl Table {
    /// What is wrong with it.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// The copy that counts.
    pub(super) fn good(&self) -> &TableCopy {
        match (&self.primary, &self.backup) {
            (Ok(copy), _) | (Err(_), Ok(copy)) => copy,
            (Err(_), Err(_)) => unreachable!("a table has a good copy, or is none"),
        }
    }

    /// The disk's own GUID.
    #[must_use]
    pub fn disk(&self) -> Guid {
        self.good().disk()
    }

    /// The partitions, in the order of their numbers.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        self.good().used()
    }
}
