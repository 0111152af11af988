//! What is written to a disk to repair or change its table, step by step. Pure.

use super::{
    copy::{Damage, TableCopy},
    geometry::Geometry,
    mbr::{is_hybrid, is_protective, protective},
    read::{Finding, Table},
};
use crate::{
    attributes::Attributes,
    write::{Step, Write},
};

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
        let mut replace = |now: &mut Result<TableCopy, Damage>, new: TableCopy| {
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
