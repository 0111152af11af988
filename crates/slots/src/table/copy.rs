//! One copy of the table: a header and its entries, as bytes that have been verified.

use std::{fmt, io};

use super::geometry::Geometry;
use crate::{attributes::Attributes, scheme::Guid, storage::Storage};

/// The most the entries may take. 128 entries of 128 bytes are usual; no table in the wild comes near this.
const LARGEST_ENTRIES: u64 = 4 << 20;

const SIGNATURE: &[u8] = b"EFI PART";

/// Why a copy cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Damage {
    /// There is no header.
    Signature,
    /// A field of the header has a value it may not have.
    Header {
        /// The field.
        field: &'static str,
        /// Its value.
        found: u64,
        /// What it may be.
        expected: String,
    },
    /// A checksum is not that of the bytes.
    Checksum(&'static str),
    /// A partition lies where it may not.
    Partition {
        /// Its number.
        number: u32,
        /// What is wrong.
        what: String,
    },
    /// The disk does not give the bytes.
    Unreadable(String),
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signature => f.write_str("there is no header"),
            Self::Header {
                field,
                found,
                expected,
            } => {
                write!(f, "{field}: found {found}, expected {expected}")
            }
            Self::Checksum(of) => write!(f, "the checksum of the {of} is wrong"),
            Self::Partition { number, what } => write!(f, "partition {number} {what}"),
            Self::Unreadable(why) => write!(f, "it cannot be read: {why}"),
        }
    }
}

/// A partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its number, from 1.
    pub number: u32,
    /// Its type.
    pub kind: Guid,
    /// Its own GUID.
    pub guid: Guid,
    /// Its first sector.
    pub first: u64,
    /// Its last sector.
    pub last: u64,
    /// Its attributes.
    pub attributes: Attributes,
    /// Its name, the label.
    pub label: String,
}

/// A verified copy. The fields' places are the specification's, "GPT Header".
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TableCopy {
    /// The header's whole sector.
    pub(super) header: Vec<u8>,
    /// The entries, in whole sectors.
    pub(super) entries: Vec<u8>,
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

pub(super) fn put_u64(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

fn wrong(field: &'static str, found: u64, expected: impl Into<String>) -> Damage {
    Damage::Header {
        field,
        found,
        expected: expected.into(),
    }
}

impl TableCopy {
    /// Reads the copy whose header is in this sector. The outer error is the disk's refusal of what every disk gives.
    pub(super) fn read(
        storage: &mut dyn Storage,
        geometry: Geometry,
        at: u64,
    ) -> io::Result<Result<Self, Damage>> {
        if at == 0 || at > geometry.last {
            let expected = format!("within the disk, whose last sector is {}", geometry.last);
            return Ok(Err(wrong("place of the header", at, expected)));
        }
        let mut header = vec![0; usize::try_from(geometry.sector).map_err(io::Error::other)?];
        if let Err(error) = storage.read(at * geometry.sector, &mut header) {
            return Ok(Err(Damage::Unreadable(error.to_string())));
        }
        let (first, length) = match check_header(&header, geometry, at) {
            Ok(place) => place,
            Err(damage) => return Ok(Err(damage)),
        };
        let mut entries =
            vec![0; usize::try_from(length * geometry.sector).map_err(io::Error::other)?];
        if let Err(error) = storage.read(first * geometry.sector, &mut entries) {
            return Ok(Err(Damage::Unreadable(error.to_string())));
        }
        let copy = Self { header, entries };
        Ok(copy.check_entries().map(|()| copy))
    }

    fn header_size(&self) -> usize {
        u32_at(&self.header, 12) as usize
    }

    /// The sector of this header.
    pub(super) fn own(&self) -> u64 {
        u64_at(&self.header, 24)
    }

    /// The sector of the other copy's header.
    pub(super) fn other(&self) -> u64 {
        u64_at(&self.header, 32)
    }

    fn first_usable(&self) -> u64 {
        u64_at(&self.header, 40)
    }

    pub(super) fn last_usable(&self) -> u64 {
        u64_at(&self.header, 48)
    }

    /// The first sector of the entries.
    pub(super) fn entries_at(&self) -> u64 {
        u64_at(&self.header, 72)
    }

    fn count(&self) -> usize {
        u32_at(&self.header, 80) as usize
    }

    fn entry_size(&self) -> usize {
        u32_at(&self.header, 84) as usize
    }

    /// The bytes the checksum is over.
    fn entries_bytes(&self) -> &[u8] {
        &self.entries[..self.count() * self.entry_size()]
    }

    fn check_entries(&self) -> Result<(), Damage> {
        if crc32fast::hash(self.entries_bytes()) != u32_at(&self.header, 88) {
            return Err(Damage::Checksum("entries"));
        }
        let mut used = self.used();
        for entry in &used {
            let what = if entry.first > entry.last {
                format!(
                    "ends at sector {} before it begins at {}",
                    entry.last, entry.first
                )
            } else if entry.first < self.first_usable() || entry.last > self.last_usable() {
                format!(
                    "lies at sectors {} to {}, expected within {} to {}",
                    entry.first,
                    entry.last,
                    self.first_usable(),
                    self.last_usable()
                )
            } else {
                continue;
            };
            let number = entry.number;
            return Err(Damage::Partition { number, what });
        }
        used.sort_by_key(|entry| entry.first);
        for pair in used.windows(2) {
            if pair[1].first <= pair[0].last {
                let what = format!("overlaps partition {}", pair[0].number);
                let number = pair[1].number;
                return Err(Damage::Partition { number, what });
            }
        }
        Ok(())
    }

    /// The partitions.
    pub(super) fn used(&self) -> Vec<Entry> {
        let entries = self.entries_bytes().chunks_exact(self.entry_size());
        (1..)
            .zip(entries)
            .filter(|(_, entry)| entry[..16].iter().any(|byte| *byte != 0))
            .map(|(number, entry)| {
                let guid = |at: usize| {
                    let mut bytes = [0; 16];
                    bytes.copy_from_slice(&entry[at..at + 16]);
                    Guid(bytes)
                };
                let name = entry[56..128]
                    .chunks_exact(2)
                    .map(|unit| u16::from_le_bytes([unit[0], unit[1]]))
                    .take_while(|unit| *unit != 0);
                Entry {
                    number,
                    kind: guid(0),
                    guid: guid(16),
                    first: u64_at(entry, 32),
                    last: u64_at(entry, 40),
                    attributes: Attributes(u64_at(entry, 48)),
                    label: char::decode_utf16(name)
                        .map(|c| c.unwrap_or('\u{fffd}'))
                        .collect(),
                }
            })
            .collect()
    }

    /// The disk's own GUID.
    pub(super) fn disk(&self) -> Guid {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&self.header[56..72]);
        Guid(bytes)
    }

    /// The last sector of the disk this table needs: for its backup's header, which comes after all partitions and the
    /// backup's entries.
    pub(super) fn needs(&self, sector: u64) -> u64 {
        let partitions = self.used().into_iter().map(|entry| entry.last).max();
        let entries = self.entries.len() as u64 / sector;
        let backup = partitions.unwrap_or(0).saturating_add(entries + 1);
        backup.max(self.other()).max(self.own())
    }

    /// Whether it describes the same partitions on the same disk, and knows the other one's place.
    pub(super) fn says_the_same(&self, other: &Self) -> bool {
        let of_disk = |copy: &Self| {
            let ids = copy.header[56..72].to_vec();
            (
                ids,
                copy.first_usable(),
                copy.last_usable(),
                copy.count(),
                copy.entry_size(),
            )
        };
        of_disk(self) == of_disk(other)
            && self.entries_bytes() == other.entries_bytes()
            && self.own() == other.other()
            && self.other() == other.own()
    }

    /// Gives a partition these attributes; the checksums are set by [`Self::seal`].
    pub(super) fn set_attributes(&mut self, number: u32, attributes: Attributes) {
        let at = (number as usize - 1) * self.entry_size() + 48;
        put_u64(&mut self.entries, at, attributes.0);
    }

    /// The same table for another place: header and entries there, the other copy's header, and the last sector that
    /// partitions may use.
    pub(super) fn placed(&self, own: u64, other: u64, entries_at: u64, last_usable: u64) -> Self {
        let mut copy = self.clone();
        put_u64(&mut copy.header, 24, own);
        put_u64(&mut copy.header, 32, other);
        put_u64(&mut copy.header, 48, last_usable);
        put_u64(&mut copy.header, 72, entries_at);
        copy.seal();
        copy
    }

    /// Sets both checksums.
    pub(super) fn seal(&mut self) {
        let entries = crc32fast::hash(self.entries_bytes());
        self.header[88..92].copy_from_slice(&entries.to_le_bytes());
        self.header[16..20].fill(0);
        let header = crc32fast::hash(&self.header[..self.header_size()]);
        self.header[16..20].copy_from_slice(&header.to_le_bytes());
    }
}

/// Verifies a header; the first sector of its entries, and how many sectors they take.
fn check_header(header: &[u8], geometry: Geometry, at: u64) -> Result<(u64, u64), Damage> {
    if !header.starts_with(SIGNATURE) {
        return Err(Damage::Signature);
    }
    let size = u64::from(u32_at(header, 12));
    if !(92..=geometry.sector).contains(&size) {
        return Err(wrong(
            "size of the header",
            size,
            format!("92 to {}", geometry.sector),
        ));
    }
    let mut sealed = header[..usize::try_from(size).unwrap_or(92)].to_vec();
    sealed[16..20].fill(0);
    if crc32fast::hash(&sealed) != u32_at(header, 16) {
        return Err(Damage::Checksum("header"));
    }
    let own = u64_at(header, 24);
    if own != at {
        return Err(wrong("place of the header", own, at.to_string()));
    }
    let entry = u64::from(u32_at(header, 84));
    if entry < 128 || !entry.is_power_of_two() {
        return Err(wrong("size of an entry", entry, "128, 256, 512, …"));
    }
    let count = u64::from(u32_at(header, 80));
    let bytes = count.saturating_mul(entry);
    if bytes == 0 || bytes > LARGEST_ENTRIES {
        let most = LARGEST_ENTRIES / entry;
        return Err(wrong("number of entries", count, format!("1 to {most}")));
    }
    let length = bytes.div_ceil(geometry.sector);
    let first = u64_at(header, 72);
    let (first_usable, last_usable) = (u64_at(header, 40), u64_at(header, 48));
    let end = first.saturating_add(length);
    // Rewritten from this one, the primary copy's entries follow its header.
    if first_usable < 2 + length {
        let expected = format!("at least {}, after the primary copy's entries", 2 + length);
        return Err(wrong("first sector for partitions", first_usable, expected));
    }
    // After the header and before the partitions, or after the partitions and before the header.
    let (after, before, expected) = if at == 1 {
        let before = first_usable.min(geometry.last + 1);
        let expected = format!("after the header and before sector {before}");
        (1, before, expected)
    } else {
        let expected = format!("after sector {last_usable} and before the header");
        (last_usable, at, expected)
    };
    if first <= after || end > before {
        return Err(wrong("place of the entries", first, expected));
    }
    if last_usable > geometry.last && at != 1 {
        return Err(wrong(
            "last sector for partitions",
            last_usable,
            format!("at most {}", geometry.last),
        ));
    }
    Ok((first, length))
}
