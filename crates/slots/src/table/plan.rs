//! What is written to a disk to repair or change its table, step by step. Pure.

use super::{Finding, Geometry, Table, copy::TableCopy};
use crate::attributes::Attributes;

/// Bytes for one place, in whole sectors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// Where, in bytes from the beginning of the disk.
    pub offset: u64,
    /// What.
    pub bytes: Vec<u8>,
}

/// Writes that may reach the disk in any order, and have all reached it before the next step begins.
pub type Step = Vec<Write>;

/// Of the first sector: the code that BIOSes run, which is others' business, is before this.
const PARTITIONS: usize = 446;
const RECORD: usize = 16;
/// The type of the partition that stands for the whole disk.
const PROTECTIVE: u8 = 0xee;

/// Whether an MBR says that the disk has a GPT.
pub(super) fn is_protective(mbr: &[u8]) -> bool {
    let records = mbr[PARTITIONS..PARTITIONS + 4 * RECORD].chunks_exact(RECORD);
    mbr[510..512] == [0x55, 0xaa] && records.into_iter().any(|record| record[4] == PROTECTIVE)
}

/// The MBR with one partition over the whole disk (UEFI, "Protective MBR"); the code before it stays.
fn protective(mbr: &[u8], geometry: Geometry) -> Vec<u8> {
    let mut mbr = mbr.to_vec();
    let size = u32::try_from(geometry.last).unwrap_or(u32::MAX);
    mbr[PARTITIONS..510].fill(0);
    let record = &mut mbr[PARTITIONS..PARTITIONS + RECORD];
    record[..8].copy_from_slice(&[0, 0, 2, 0, PROTECTIVE, 0xff, 0xff, 0xff]);
    record[8..12].copy_from_slice(&1u32.to_le_bytes());
    record[12..].copy_from_slice(&size.to_le_bytes());
    mbr[510..512].copy_from_slice(&[0x55, 0xaa]);
    mbr
}

impl Table {
    /// What repairs it, and the table then. No steps: nothing is wrong.
    #[must_use]
    pub fn repair(&self) -> (Vec<Step>, Self) {
        let Geometry { sector, last } = self.geometry;
        let good = self.good();
        let length = good.entries.len() as u64 / sector;
        let grown = self
            .findings
            .iter()
            .any(|f| matches!(f, Finding::Grown { .. }));
        let backup_entries = last - length;
        // Partitions end before it, as was verified; a header that gives them more would leave the backup no room.
        let last_usable = if grown {
            backup_entries - 1
        } else {
            good.last_usable().min(backup_entries - 1)
        };
        let primary_entries = match &self.primary {
            Ok(primary) => primary.entries_at(),
            // Where every program puts them.
            Err(_) => 2,
        };
        let primary = good.placed(1, last, primary_entries, last_usable);
        let backup = match &self.backup {
            // A place before the header that is not right before it is as good.
            Ok(backup) if backup.own() == last => {
                good.placed(last, 1, backup.entries_at(), last_usable)
            }
            _ => good.placed(last, 1, backup_entries, last_usable),
        };
        let mut repaired = self.clone();
        let mut steps = Vec::new();
        let mut replace = |now: &mut Result<TableCopy, super::Damage>, new: TableCopy| {
            if now.as_ref().ok() != Some(&new) {
                steps.push(writes(now.as_ref().ok(), &new, sector));
                *now = Ok(new);
            }
        };
        // The copy that counts is touched last, when the other one is good.
        if self.primary.is_ok() {
            replace(&mut repaired.backup, backup);
            replace(&mut repaired.primary, primary);
        } else {
            replace(&mut repaired.primary, primary);
            replace(&mut repaired.backup, backup);
        }
        let covers = protective(&self.mbr, self.geometry);
        if !is_protective(&self.mbr) || (grown && !is_hybrid(&self.mbr) && self.mbr != covers) {
            steps.push(vec![Write {
                offset: 0,
                bytes: covers.clone(),
            }]);
            repaired.mbr = covers;
        }
        repaired.findings.clear();
        (steps, repaired)
    }

    /// What gives these partitions these attributes, and the table then. A table with findings is repaired first.
    #[must_use]
    pub fn change(&self, attributes: &[(u32, Attributes)]) -> (Vec<Step>, Self) {
        let (mut steps, mut table) = self.repair();
        let sector = self.geometry.sector;
        // The backup first: until it is whole the primary copy counts, and after that either does.
        for copy in [&mut table.backup, &mut table.primary] {
            let Ok(now) = copy else { continue };
            let mut new = now.clone();
            for (number, attributes) in attributes {
                new.set_attributes(*number, *attributes);
            }
            new.seal();
            if new != *now {
                steps.push(writes(Some(now), &new, sector));
                *copy = Ok(new);
            }
        }
        (steps, table)
    }
}

/// Whether an MBR has partitions beside the protective one, for systems that know no GPT.
fn is_hybrid(mbr: &[u8]) -> bool {
    let records = mbr[PARTITIONS..PARTITIONS + 4 * RECORD].chunks_exact(RECORD);
    records.into_iter().filter(|record| record[4] != 0).count() > 1
}

/// The sectors in which a copy differs from the one that stands there.
fn writes(now: Option<&TableCopy>, new: &TableCopy, sector: u64) -> Step {
    // Only where both lie in the same place can sectors be left as they are.
    let now = now.filter(|now| now.own() == new.own() && now.entries_at() == new.entries_at());
    let mut step = Vec::new();
    let mut part = |at: u64, old: Option<&[u8]>, new: &[u8]| {
        let size = usize::try_from(sector).unwrap_or(512);
        for (index, bytes) in new.chunks(size).enumerate() {
            let same = old.is_some_and(|old| old[index * size..].starts_with(bytes));
            if !same {
                let offset = (at + index as u64) * sector;
                step.push(Write {
                    offset,
                    bytes: bytes.to_vec(),
                });
            }
        }
    };
    part(
        new.entries_at(),
        now.map(|now| now.entries.as_slice()),
        &new.entries,
    );
    part(new.own(), now.map(|now| now.header.as_slice()), &new.header);
    step
}
