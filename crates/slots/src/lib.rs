//! The two system partitions: what they hold, which one boots next, and changing that.
//!
//! [`attributes`], [`select`], [`rollback`], [`scheme`] and [`table`] are pure; [`storage`], [`partition`] and [`find`] touch
//! the machine.

pub mod attributes;
mod error;
pub mod find;
pub mod partition;
pub mod rollback;
pub mod scheme;
pub mod select;
pub mod storage;
pub mod table;
#[cfg(test)]
mod tests;
pub mod version;
pub mod write;

use std::path::PathBuf;

use attributes::Attributes;
pub use error::SlotsError;
use host::node::{Root, RootPath};
use partition::Extent;
use scheme::{SCHEMES, Scheme};
use sha2::{Digest as _, Sha256};
use storage::{Access, Disk, DiskError, Storage};
use table::{Finding, Table};
use write::Step;

/// What tells images apart: so much of the beginning of a slot, in bytes.
const IDENTITY: u64 = 1 << 20;

/// One slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// The number of its partition, from 1.
    pub number: u32,
    /// The label of its partition, such as `USR-A`.
    pub label: String,
    /// Its letter, by the end of the label.
    pub letter: Option<char>,
    /// Where it begins, in bytes.
    pub offset: u64,
    /// How long it is, in bytes.
    pub length: u64,
    /// Its attributes.
    pub attributes: Attributes,
}

impl Slot {
    /// Where it lies on the disk.
    #[must_use]
    pub fn extent(&self) -> Extent {
        Extent {
            number: self.number,
            offset: self.offset,
            length: self.length,
        }
    }

    /// What people call it: the label, else the partition's number.
    #[must_use]
    pub fn name(&self) -> String {
        if self.label.is_empty() {
            self.number.to_string()
        } else {
            self.label.clone()
        }
    }
}

/// Where the slots are, as far as somebody says it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Location {
    /// The disk or image; none: found from what is mounted.
    pub disk: Option<RootPath>,
    /// The booted slot; none: found from what is mounted, where the disk is, too.
    pub booted: Option<String>,
}

/// A disk's slots.
pub struct Slots {
    path: PathBuf,
    storage: Box<dyn Storage>,
    table: Table,
    scheme: &'static Scheme,
    slots: Vec<Slot>,
    booted: Option<usize>,
}

/// A change of a disk's table, to be shown and then made.
#[derive(Debug, Clone)]
pub struct Change {
    /// What is repaired first, a sentence each.
    pub repaired: Vec<String>,
    /// Which attributes change, a line for each slot.
    pub lines: Vec<String>,
    steps: Vec<Step>,
    table: Table,
}

impl Change {
    /// Whether nothing would be written.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.steps.is_empty()
    }
}

impl Slots {
    /// Finds and reads them; the disk is locked as long as this lives.
    ///
    /// # Errors
    /// When there is no disk, no table or no slot.
    pub fn open(root: &Root, location: &Location, access: Access) -> Result<Self, SlotsError> {
        let (path, partition) = match &location.disk {
            Some(disk) => {
                let path = disk.resolved().map_err(|error| DiskError::Open {
                    path: disk.shown(),
                    error,
                })?;
                (path, None)
            }
            None => {
                let found = find::find(root)?;
                (found.disk, Some(found.partition))
            }
        };
        let storage = Disk::open(root, &path, access)?;
        let mut slots = Self::read(path, Box::new(storage))?;
        slots.booted = match (&location.booted, partition) {
            (Some(name), _) => Some(slots.by_name(name)?),
            (None, Some(partition)) => {
                let index = slots.slots.iter().position(|slot| slot.number == partition);
                Some(index.ok_or(SlotsError::NotASlot {
                    disk: slots.path.clone(),
                    partition,
                })?)
            }
            (None, None) => None,
        };
        Ok(slots)
    }

    /// Reads them from what is open already; which one is booted is not known.
    ///
    /// # Errors
    /// When there is no table or no slot.
    pub fn read(path: PathBuf, mut storage: Box<dyn Storage>) -> Result<Self, SlotsError> {
        let table = table::read(storage.as_mut()).map_err(|error| SlotsError::Table {
            disk: path.clone(),
            error,
        })?;
        let entries = table.entries();
        let Some(scheme) = SCHEMES
            .iter()
            .find(|scheme| entries.iter().any(|entry| entry.kind == scheme.slot))
        else {
            let types: Vec<String> = SCHEMES
                .iter()
                .map(|s| format!("{} ({})", s.slot, s.name))
                .collect();
            return Err(SlotsError::None {
                disk: path,
                partitions: entries.len(),
                expected: types.join(", "),
            });
        };
        let mut this = Self {
            path,
            storage,
            table,
            scheme,
            slots: Vec::new(),
            booted: None,
        };
        this.slots = this.of_table(&this.table);
        Ok(this)
    }

    fn of_table(&self, table: &Table) -> Vec<Slot> {
        let sector = self.storage.sector();
        table
            .entries()
            .into_iter()
            .filter(|entry| entry.kind == self.scheme.slot)
            .map(|entry| Slot {
                number: entry.number,
                letter: letter(&entry.label),
                offset: entry.first * sector,
                length: (entry.last - entry.first + 1) * sector,
                attributes: entry.attributes,
                label: entry.label,
            })
            .collect()
    }

    /// The slots, in the order of their partitions.
    #[must_use]
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The disk.
    #[must_use]
    pub fn disk(&self) -> &std::path::Path {
        &self.path
    }

    /// What tells the disk from others: the GUID of its table.
    #[must_use]
    pub fn disk_guid(&self) -> String {
        self.table.disk().to_string()
    }

    /// The device of a slot's partition; none where the disk is an image, or the kernel has no device for it.
    #[must_use]
    pub fn device(&self, index: usize) -> Option<PathBuf> {
        self.storage.device(&self.slots[index].extent())
    }

    /// Whose slots they are.
    #[must_use]
    pub fn scheme(&self) -> &'static Scheme {
        self.scheme
    }

    /// What is wrong with the table.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        self.table.findings()
    }

    /// The slot that runs, where it is known.
    #[must_use]
    pub fn booted(&self) -> Option<usize> {
        self.booted
    }

    /// The one slot beside the booted one; none where it is not known, or there are more.
    #[must_use]
    pub fn other(&self) -> Option<usize> {
        let booted = self.booted?;
        (self.slots.len() == 2).then_some(1 - booted)
    }

    fn attributes(&self) -> Vec<Attributes> {
        self.slots.iter().map(|slot| slot.attributes).collect()
    }

    /// The slot the boot loader would take.
    #[must_use]
    pub fn next(&self) -> Option<usize> {
        select::next(&self.attributes())
    }

    /// The slot of this name: a letter, a label, or a partition's number.
    ///
    /// # Errors
    /// When there is none, or several.
    pub fn by_name(&self, name: &str) -> Result<usize, SlotsError> {
        let by = |is: &dyn Fn(&Slot) -> bool| -> Vec<usize> {
            (0..self.slots.len())
                .filter(|i| is(&self.slots[*i]))
                .collect()
        };
        let mut found = by(&|slot| slot.label == name);
        if found.is_empty() {
            found = by(&|slot| slot.label.eq_ignore_ascii_case(name));
        }
        if found.is_empty() {
            found = by(&|slot| {
                slot.letter
                    .is_some_and(|letter| name.eq_ignore_ascii_case(&letter.to_string()))
                    || name == slot.number.to_string()
            });
        }
        let names = |which: &mut dyn Iterator<Item = &Slot>| {
            let names: Vec<String> = which
                .map(|slot| match slot.letter {
                    Some(letter) => format!("{letter}, {} or {}", slot.label, slot.number),
                    None => format!("{:?} or {}", slot.label, slot.number),
                })
                .collect();
            names.join("; ")
        };
        match found[..] {
            [one] => Ok(one),
            [] => Err(SlotsError::Unknown {
                name: name.to_owned(),
                expected: names(&mut self.slots.iter()),
            }),
            _ => {
                let numbers: Vec<String> = found
                    .iter()
                    .map(|i| self.slots[*i].number.to_string())
                    .collect();
                Err(SlotsError::Ambiguous {
                    name: name.to_owned(),
                    numbers: numbers.join(", "),
                })
            }
        }
    }

    /// What a change of attributes would write; the table is repaired first where it has to be.
    #[must_use]
    pub fn change(&self, change: impl FnOnce(&mut [Attributes])) -> Change {
        let before = self.attributes();
        let mut after = before.clone();
        change(&mut after);
        let changed: Vec<(u32, Attributes)> = (0..after.len())
            .filter(|i| before[*i] != after[*i])
            .map(|i| (self.slots[i].number, after[i]))
            .collect();
        if changed.is_empty() {
            return Change {
                repaired: Vec::new(),
                lines: Vec::new(),
                steps: Vec::new(),
                table: self.table.clone(),
            };
        }
        let (steps, table) = self.table.change(&changed);
        let lines = (0..after.len())
            .filter(|i| before[*i] != after[*i])
            .map(|i| format!("{}: {} → {}", self.slots[i].name(), before[i], after[i]))
            .collect();
        Change {
            repaired: self.repaired(),
            lines,
            steps,
            table,
        }
    }

    /// Whether the table could be changed, as far as that is known without changing it.
    ///
    /// # Errors
    /// When it could not.
    pub fn changeable(&self) -> Result<(), SlotsError> {
        self.storage.writable().map_err(|error| SlotsError::Io {
            disk: self.path.clone(),
            error,
        })
    }

    /// What would repair the table.
    #[must_use]
    pub fn repair(&self) -> Change {
        let (steps, table) = self.table.repair();
        Change {
            repaired: self.repaired(),
            lines: Vec::new(),
            steps,
            table,
        }
    }

    fn repaired(&self) -> Vec<String> {
        self.findings().iter().map(ToString::to_string).collect()
    }

    /// Writes a change.
    ///
    /// # Errors
    /// When the disk refuses; the table is then as before, as after, or repaired by the next change.
    pub fn apply(&mut self, change: Change) -> Result<(), SlotsError> {
        storage::apply(self.storage.as_mut(), &change.steps).map_err(|error| SlotsError::Io {
            disk: self.path.clone(),
            error,
        })?;
        self.table = change.table;
        self.slots = self.of_table(&self.table);
        Ok(())
    }

    fn bytes(&mut self, index: usize, from: u64, length: u64) -> Result<Vec<u8>, SlotsError> {
        let slot = &self.slots[index];
        let end = slot.length.min(from.saturating_add(length));
        let mut bytes = vec![0; usize::try_from(end.saturating_sub(from)).unwrap_or(0)];
        let extent = slot.extent();
        self.storage
            .read_partition(&extent, from, &mut bytes)
            .map_err(|error| SlotsError::Io {
                disk: self.path.clone(),
                error,
            })?;
        Ok(bytes)
    }

    /// What tells the image in a slot from others: `sha256:` of its first MiB as it is on the partition now, and in no
    /// cache.
    ///
    /// # Errors
    /// When the disk does not give it.
    pub fn image(&mut self, index: usize) -> Result<String, SlotsError> {
        let digest = Sha256::digest(self.bytes(index, 0, IDENTITY)?);
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(format!("sha256:{hex}"))
    }

    /// The file system in a slot, by its magic number; of a slot that needs none, whatever is there. None: there is
    /// nothing that could boot.
    ///
    /// # Errors
    /// When the disk does not give it.
    pub fn content(&mut self, index: usize) -> Result<Option<&'static str>, SlotsError> {
        let start = self.bytes(index, 0, 0x1_0048)?;
        let has = |at: usize, magic: &[u8]| start.get(at..at + magic.len()) == Some(magic);
        let known: [(usize, &[u8], &'static str); 6] = [
            (0, b"hsqs", "squashfs"),
            (1080, &[0x53, 0xef], "ext4"),
            (0x1_0040, b"_BHRfS_M", "btrfs"),
            (1024, &[0xe2, 0xe1, 0xf5, 0xe0], "erofs"),
            (0, b"XFSB", "xfs"),
            (510, &[0x55, 0xaa], "fat"),
        ];
        let found = known
            .iter()
            .find(|(at, magic, _)| has(*at, magic))
            .map(|(.., name)| *name);
        let anything = start.iter().any(|byte| *byte != 0 && *byte != 0xff);
        Ok(found.or_else(|| (anything && !self.scheme.file_system).then_some("kernel")))
    }
}

/// The letter at the end of a label such as `USR-A` or `KERN-B`.
fn letter(label: &str) -> Option<char> {
    let (_, end) = label.rsplit_once(['-', '_'])?;
    let mut letters = end.chars();
    letters
        .next()
        .filter(|letter| letter.is_ascii_alphabetic() && letters.next().is_none())
        .map(|letter| letter.to_ascii_uppercase())
}
