//! Disks in memory with tables of the crate gptman's making, and what that crate makes of them.

use std::io::{self, Cursor};

use crate::{storage::apply, write::Step, *};

/// A disk in memory, which may refuse.
#[derive(Clone)]
pub(super) struct Memory {
    pub(super) bytes: Vec<u8>,
    pub(super) sector: u64,
    /// Of reads, writes and syncs together, the first that fails.
    pub(super) fails_at: Option<usize>,
}

impl Memory {
    pub(super) fn new(bytes: Vec<u8>, sector: u64) -> Self {
        Self {
            bytes,
            sector,
            fails_at: None,
        }
    }

    fn turn(&mut self) -> io::Result<()> {
        match &mut self.fails_at {
            Some(0) => Err(io::Error::other("medium error")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn range(&self, offset: u64, length: usize) -> io::Result<std::ops::Range<usize>> {
        let from = usize::try_from(offset).unwrap();
        let to = from
            .checked_add(length)
            .filter(|to| *to <= self.bytes.len());
        to.map(|to| from..to)
            .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

impl Storage for Memory {
    fn sector(&self) -> u64 {
        self.sector
    }
    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }
    fn read(&mut self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.turn()?;
        let range = self.range(offset, into.len())?;
        into.copy_from_slice(&self.bytes[range]);
        Ok(())
    }
    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.turn()?;
        let range = self.range(offset, bytes.len())?;
        self.bytes[range].copy_from_slice(bytes);
        Ok(())
    }
    fn sync(&mut self) -> io::Result<()> {
        self.turn()
    }
}

pub(super) const FLATCAR: [u8; 16] = SCHEMES[0].slot.0;

pub(super) fn attributes(priority: u8, tries: u8, successful: bool) -> Attributes {
    Attributes::default()
        .with_priority(priority)
        .with_tries(tries)
        .with_successful(successful)
}

/// What a fresh node has: A runs and is good, B was staged.
pub(super) fn usual() -> Vec<(&'static str, Attributes)> {
    vec![
        ("USR-A", attributes(1, 0, true)),
        ("USR-B", attributes(2, 1, false)),
    ]
}

/// A disk of so many sectors, with an EFI partition before the slots, a state partition after them.
pub(super) fn disk(sector: u64, sectors: u64, slots: &[(&str, Attributes)]) -> Vec<u8> {
    let mut cursor = Cursor::new(vec![0; usize::try_from(sector * sectors).unwrap()]);
    let mut gpt = gptman::GPT::new_from(&mut cursor, sector, [7; 16]).unwrap();
    let from = gpt.header.first_usable_lba;
    let entry = |kind, number: usize, bits, label: &str| gptman::GPTPartitionEntry {
        partition_type_guid: kind,
        unique_partition_guid: [u8::try_from(number).unwrap() + 1; 16],
        starting_lba: from + number as u64 * 4,
        ending_lba: from + number as u64 * 4 + 3,
        attribute_bits: bits,
        partition_name: label.into(),
    };
    gpt[1] = entry([3; 16], 0, 4, "EFI-SYSTEM");
    for (index, (label, bits)) in slots.iter().enumerate() {
        let number = u32::try_from(index).unwrap() + 3;
        gpt[number] = entry(FLATCAR, index + 1, bits.0 | 0xabcd, label);
    }
    gpt[30] = entry([9; 16], slots.len() + 1, 0, "ROOT");
    gpt.write_into(&mut cursor).unwrap();
    gptman::GPT::write_protective_mbr_into(&mut cursor, sector).unwrap();
    cursor.into_inner()
}

pub(super) fn open(bytes: &[u8], sector: u64) -> Result<Slots, SlotsError> {
    Slots::read("disk".into(), Box::new(Memory::new(bytes.to_vec(), sector)))
}

/// The slots' attributes, without the bits that are not ours.
pub(super) fn seen(slots: &Slots) -> Vec<Attributes> {
    let ours = |slot: &Slot| Attributes(slot.attributes.0 & !0xffff);
    slots.slots().iter().map(ours).collect()
}

/// What gptman makes of both copies: the bits of the partitions in use.
pub(super) fn by_gptman(bytes: &[u8], sector: u64) -> [Vec<u64>; 2] {
    let read = |at: u64| {
        let mut cursor = Cursor::new(bytes);
        io::Seek::seek(&mut cursor, io::SeekFrom::Start(at * sector)).unwrap();
        let header = gptman::GPTHeader::read_from(&mut cursor).unwrap();
        assert_eq!(header.primary_lba, at);
        let entries = header.read_partitions(&mut cursor, sector).unwrap();
        entries
            .into_iter()
            .filter(|e| e.is_used())
            .map(|e| e.attribute_bits)
            .collect()
    };
    [read(1), read(bytes.len() as u64 / sector - 1)]
}

/// The disk after these steps.
pub(super) fn after(bytes: &[u8], sector: u64, steps: &[Step]) -> Vec<u8> {
    let mut memory = Memory::new(bytes.to_vec(), sector);
    apply(&mut memory, steps).unwrap();
    memory.bytes
}
