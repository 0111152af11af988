//! Whatever a disk holds where its partition table should be: reading it does not panic, and a flip writes a table that
//! verifies and says what was asked, or nothing; where the table was whole, nothing but the bits of slots and the checksums
//! changes. Begins with a sound table, spoils bytes of it, and seals what a checksum would give away.
#![no_main]

use std::{
    io::{self, Cursor},
    ops::Range,
    sync::{Arc, Mutex},
};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use slots::{Slots, select, storage::Storage};

#[derive(Arbitrary, Debug)]
struct Input {
    /// Sectors of 4096 bytes, not of 512.
    large: bool,
    /// The attribute bits of up to 16 slots.
    slots: Vec<u64>,
    spoilt: Vec<Spoilt>,
    /// The checksums of the entries and of the header, of either copy, made right again after that.
    sealed: [[bool; 2]; 2],
    /// So many sectors more or fewer.
    grown: i8,
    /// The slot to mark good.
    which: u8,
}

#[derive(Arbitrary, Debug)]
struct Spoilt {
    part: Part,
    at: u16,
    bytes: [u8; 2],
}

#[derive(Arbitrary, Debug)]
enum Part {
    Header,
    Entries,
    BackupEntries,
    BackupHeader,
    Anywhere,
}

/// The bytes, shared with what looks at them afterwards.
#[derive(Clone)]
struct Memory(Arc<Mutex<Vec<u8>>>, u64);

impl Memory {
    fn with<T>(
        &self,
        offset: u64,
        length: usize,
        act: impl FnOnce(&mut [u8]) -> T,
    ) -> io::Result<T> {
        let mut bytes = self.0.lock().map_err(|_| io::ErrorKind::Other)?;
        let from = usize::try_from(offset).map_err(io::Error::other)?;
        let to = from
            .checked_add(length)
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        let part = bytes
            .get_mut(from..to)
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(act(part))
    }
}

impl Storage for Memory {
    fn sector(&self) -> u64 {
        self.1
    }
    fn size(&self) -> u64 {
        self.0.lock().map_or(0, |bytes| bytes.len() as u64)
    }
    fn read(&mut self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.with(offset, into.len(), |part| into.copy_from_slice(part))
    }
    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.with(offset, bytes.len(), |part| part.copy_from_slice(bytes))
    }
    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A sound table, with these slots.
fn sound(sector: usize, slots: &[u64]) -> Vec<u8> {
    let mut disk = Cursor::new(vec![0; 160 * sector]);
    let mut table = gptman::GPT::new_from(&mut disk, sector as u64, [7; 16]).expect("a table");
    let from = table.header.first_usable_lba;
    for (number, bits) in (1..).zip(slots.iter().take(16)) {
        table[number] = gptman::GPTPartitionEntry {
            partition_type_guid: FLATCAR,
            unique_partition_guid: [number as u8; 16],
            starting_lba: from + u64::from(number) * 4,
            ending_lba: from + u64::from(number) * 4 + 3,
            attribute_bits: *bits,
            partition_name: "USR-A".into(),
        };
    }
    table.write_into(&mut disk).expect("memory takes it");
    gptman::GPT::write_protective_mbr_into(&mut disk, sector as u64).expect("memory takes it");
    disk.into_inner()
}

/// The type of Flatcar's system partitions, as it lies on the disk.
const FLATCAR: [u8; 16] = [
    0xf4, 0xf5, 0xdf, 0x5b, 0x48, 0x28, 0x4b, 0xac, 0xaa, 0x5e, 0x0d, 0x9a, 0x20, 0xb7, 0x45, 0xa6,
];

fn number<const BYTES: usize>(bytes: &[u8], at: usize) -> Option<usize> {
    let mut wide = [0; 8];
    wide[..BYTES].copy_from_slice(bytes.get(at..at.checked_add(BYTES)?)?);
    usize::try_from(u64::from_le_bytes(wide)).ok()
}

/// Where the entries lie that a header speaks of, if that is on the disk.
fn entries(bytes: &[u8], header: usize, sector: usize) -> Option<Range<usize>> {
    let from = number::<8>(bytes, header + 72)?.checked_mul(sector)?;
    let length = number::<4>(bytes, header + 80)?.checked_mul(number::<4>(bytes, header + 84)?)?;
    let range = from..from.checked_add(length)?;
    bytes.get(range.clone()).map(|_| range)
}

fn seal(bytes: &mut [u8], header: usize, sector: usize, [of_entries, of_header]: [bool; 2]) {
    if of_entries && let Some(range) = entries(bytes, header, sector) {
        let sum = crc32fast::hash(&bytes[range]);
        bytes[header + 88..header + 92].copy_from_slice(&sum.to_le_bytes());
    }
    let size = number::<4>(bytes, header + 12).unwrap_or(0);
    if of_header && (92..=sector).contains(&size) {
        bytes[header + 16..header + 20].fill(0);
        let sum = crc32fast::hash(&bytes[header..header + size]);
        bytes[header + 16..header + 20].copy_from_slice(&sum.to_le_bytes());
    }
}

/// What may change on a disk whose table is whole: the upper attribute bits, and the checksums that follow.
fn may_change(bytes: &[u8], sector: usize, at: usize) -> bool {
    let backup = bytes.len() - sector;
    [sector, backup].into_iter().any(|header| {
        let sums = [header + 16..header + 20, header + 88..header + 92];
        let size = number::<4>(bytes, header + 84).unwrap_or(1).max(1);
        sums.iter().any(|sum| sum.contains(&at))
            || entries(bytes, header, sector).is_some_and(|all| {
                all.contains(&at) && (54..56).contains(&((at - all.start) % size))
            })
    })
}

fuzz_target!(|input: Input| {
    let sector = if input.large { 4096 } else { 512 };
    let mut bytes = sound(sector, &input.slots);
    let end = bytes.len();
    let length = number::<4>(&bytes, sector + 80).expect("a header") * 128;
    for spoilt in &input.spoilt {
        let (from, length) = match spoilt.part {
            Part::Header => (sector, 100),
            Part::Entries => (2 * sector, length),
            Part::BackupEntries => (end - sector - length, length),
            Part::BackupHeader => (end - sector, 100),
            Part::Anywhere => (0, end - 1),
        };
        let at = from + usize::from(spoilt.at) % length;
        let until = (at + 2).min(end);
        bytes[at..until].copy_from_slice(&spoilt.bytes[..until - at]);
    }
    seal(&mut bytes, sector, sector, input.sealed[0]);
    seal(&mut bytes, end - sector, sector, input.sealed[1]);
    bytes.resize(
        end.saturating_add_signed(isize::from(input.grown) * sector as isize),
        0,
    );

    let before = bytes.clone();
    let disk = Memory(Arc::new(Mutex::new(bytes)), sector as u64);
    let open = || Slots::read("disk".into(), Box::new(disk.clone()));
    let now = || disk.0.lock().expect("nobody panicked").clone();
    let Ok(mut slots) = open() else {
        assert!(now() == before, "nothing is written to what is no table");
        return;
    };
    let whole = slots.findings().is_empty();
    let index = usize::from(input.which) % slots.slots().len();
    let change = slots.change(|all| select::mark_good(all, index));
    let nothing = change.is_nothing();
    slots.apply(change).expect("memory takes it");
    let again = open().expect("what was written verifies");
    assert_eq!(again.next(), Some(index));
    assert!(
        nothing || again.findings().is_empty(),
        "{:?}",
        again.findings()
    );
    if whole {
        for (at, (was, is)) in before.iter().zip(now()).enumerate() {
            assert!(
                *was == is || may_change(&before, sector, at),
                "byte {at}: {was} became {is}"
            );
        }
    }
});
