//! Damaged tables: read from the good copy, repaired, or refused.

use std::io::Cursor;

use proptest::prelude::*;

use super::disk::*;
use crate::{table::Damage, *};

/// Damages to one copy: what, and how the primary one is then named.
pub(super) type Injury = fn(&mut [u8], usize);

pub(super) fn damages() -> Vec<(Injury, Damage)> {
    let field = |field, found, expected: &str| Damage::Header {
        field,
        found,
        expected: expected.into(),
    };
    fn reseal(bytes: &mut [u8], at: usize) {
        bytes[at + 16..at + 20].fill(0);
        let sum = crc32fast::hash(&bytes[at..at + 92]);
        bytes[at + 16..at + 20].copy_from_slice(&sum.to_le_bytes());
    }
    vec![
        (|b, at| b[at] = b'X', Damage::Signature),
        (|b, at| b[at..at + 512].fill(0), Damage::Signature),
        (|b, at| b[at + 60] ^= 1, Damage::Checksum("header")),
        (|b, at| b[at + 88] ^= 1, Damage::Checksum("header")),
        (
            |b, at| {
                b[at + 88] ^= 1;
                reseal(b, at);
            },
            Damage::Checksum("entries"),
        ),
        (
            |b, at| {
                b[at + 24] = 77;
                reseal(b, at);
            },
            field("place of the header", 77, "1"),
        ),
        (
            |b, at| {
                b[at + 84] = 100;
                reseal(b, at);
            },
            field("size of an entry", 100, "128, 256, 512, …"),
        ),
        (
            |b, at| {
                b[at + 80..at + 84].fill(0xff);
                reseal(b, at);
            },
            field("number of entries", 0xffff_ffff, "1 to 32768"),
        ),
        (
            |b, at| {
                b[at + 72..at + 80].fill(0xff);
                reseal(b, at);
            },
            field(
                "place of the entries",
                u64::MAX,
                "after the header and before sector 34",
            ),
        ),
        (
            |b, at| {
                b[at + 12..at + 16].fill(0xff);
            },
            field("size of the header", 0xffff_ffff, "92 to 512"),
        ),
    ]
}

#[test]
fn damaged_copy_is_repaired_before_a_change() {
    let whole = disk(512, 400, &usual());
    for (damage, named) in damages() {
        for (at, primary) in [(512, true), (399 * 512, false)] {
            let mut bytes = whole.clone();
            damage(&mut bytes, at);
            let slots = open(&bytes, 512).unwrap();
            assert_eq!(
                seen(&slots),
                [attributes(1, 0, true), attributes(2, 1, false)]
            );
            match slots.findings() {
                [Finding::Primary(why)] if primary => assert_eq!(*why, named),
                [Finding::Backup(_)] if !primary => {}
                other => panic!("{named:?}: {other:?}"),
            }
            let repair = slots.repair();
            assert_eq!((repair.repaired.len(), repair.lines.len()), (1, 0));
            assert_eq!(after(&bytes, 512, &repair.steps), whole, "{named:?}");
            // The repair is a step of its own, before any other.
            let change = slots.change(|all| select::mark_good(all, 0));
            assert_eq!(change.steps.len(), 3);
            assert_eq!(after(&bytes, 512, &change.steps[..1]), whole, "{named:?}");
            let both = by_gptman(&after(&bytes, 512, &change.steps), 512);
            assert_eq!(both[0], both[1]);
        }
        let mut bytes = whole.clone();
        damage(&mut bytes, 512);
        damage(&mut bytes, 399 * 512);
        let error = open(&bytes, 512).err().unwrap().to_string();
        assert!(
            error.contains("both copies of the partition table are damaged: primary: "),
            "{error}"
        );
    }
}

#[test]
fn overlapping_or_outside_partitions_are_damage() {
    for (first, last, words) in [
        (38u64, 41u64, "partition 4 overlaps partition 3"),
        (
            20,
            30,
            "partition 4 lies at sectors 20 to 30, expected within 34 to 366",
        ),
        (360, 380, "partition 4 lies at sectors 360 to 380"),
        (
            50,
            45,
            "partition 4 ends at sector 45 before it begins at 50",
        ),
    ] {
        let mut bytes = disk(512, 400, &usual());
        for (entries, header) in [(2 * 512, 512), ((399 - 32) * 512, 399 * 512)] {
            let entry = entries + 3 * 128;
            bytes[entry + 32..entry + 40].copy_from_slice(&first.to_le_bytes());
            bytes[entry + 40..entry + 48].copy_from_slice(&last.to_le_bytes());
            let sum = crc32fast::hash(&bytes[entries..entries + 16384]);
            bytes[header + 88..header + 92].copy_from_slice(&sum.to_le_bytes());
            bytes[header + 16..header + 20].fill(0);
            let sum = crc32fast::hash(&bytes[header..header + 92]);
            bytes[header + 16..header + 20].copy_from_slice(&sum.to_le_bytes());
        }
        let error = open(&bytes, 512).err().unwrap().to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn grown_disk_gets_its_backup_table_at_its_end() {
    let whole = disk(512, 400, &usual());
    for more in [1, 20, 33, 4000] {
        let mut bytes = whole.clone();
        bytes.resize((400 + more) * 512, 0);
        let slots = open(&bytes, 512).unwrap();
        let last = 399 + more as u64;
        assert_eq!(slots.findings(), [Finding::Grown { backup: 399, last }]);
        let now = after(&bytes, 512, &slots.repair().steps);
        let both = by_gptman(&now, 512);
        assert_eq!(both[0], both[1]);
        let repaired = open(&now, 512).unwrap();
        assert_eq!(repaired.findings(), []);
        assert_eq!(seen(&repaired), seen(&slots));
        let gpt = gptman::GPT::read_from(&mut Cursor::new(&now), 512).unwrap();
        assert_eq!(gpt.header.last_usable_lba, last - 33);
    }
    for less in [1, 33, 300] {
        let mut bytes = whole.clone();
        bytes.truncate((400 - less) * 512);
        let error = open(&bytes, 512).err().unwrap().to_string();
        assert!(
            error.contains("its table needs it to reach sector 399: it is truncated"),
            "{error}"
        );
    }
    for size in [0, 100, 512 * 5] {
        let error = open(&vec![0; size], 512).err().unwrap().to_string();
        assert!(
            error.contains("expected a disk or image with a partition table"),
            "{error}"
        );
    }
}

#[test]
fn header_without_room_for_the_backup_is_repaired() {
    let whole = disk(512, 400, &usual());
    let mut bytes = whole.clone();
    // The sector of the backup's own entries counts as usable.
    bytes[512 + 48..512 + 56].copy_from_slice(&367u64.to_le_bytes());
    bytes[512 + 16..512 + 20].fill(0);
    let sum = crc32fast::hash(&bytes[512..512 + 92]);
    bytes[512 + 16..512 + 20].copy_from_slice(&sum.to_le_bytes());
    let slots = open(&bytes, 512).unwrap();
    assert_eq!(slots.findings(), [Finding::Differ]);
    assert_eq!(after(&bytes, 512, &slots.repair().steps), whole);
}

#[test]
fn damaged_backup_is_not_copied_over_the_primary_table() {
    let mut bytes = disk(512, 400, &usual());
    bytes[512] = b'X';
    let backup = 399 * 512;
    bytes[backup + 40..backup + 48].copy_from_slice(&10u64.to_le_bytes());
    bytes[backup + 16..backup + 20].fill(0);
    let sum = crc32fast::hash(&bytes[backup..backup + 92]);
    bytes[backup + 16..backup + 20].copy_from_slice(&sum.to_le_bytes());
    let error = open(&bytes, 512).err().unwrap().to_string();
    assert!(
        error.contains("first sector for partitions: found 10, expected at least 34"),
        "{error}"
    );
}

#[test]
fn impossible_sector_numbers_are_damage() {
    let whole = disk(512, 400, &usual());
    // The place of the entries, and the usable sectors they have to lie outside of.
    for (at, first, last) in [
        (512usize, 34, u64::MAX),
        (512, u64::MAX, u64::MAX),
        (399 * 512, 34, 366),
    ] {
        for place in [1u64 << 55, u64::MAX - 33, u64::MAX] {
            let mut bytes = whole.clone();
            for (field, value) in [(40, first), (48, last), (72, place)] {
                bytes[at + field..at + field + 8].copy_from_slice(&value.to_le_bytes());
            }
            bytes[at + 16..at + 20].fill(0);
            let sum = crc32fast::hash(&bytes[at..at + 92]);
            bytes[at + 16..at + 20].copy_from_slice(&sum.to_le_bytes());
            let slots = open(&bytes, 512).unwrap();
            assert_eq!(slots.findings().len(), 1);
            assert_eq!(after(&bytes, 512, &slots.repair().steps), whole);
        }
    }
    // Entries that end where the first partition may begin lie before it; one sector more does not.
    let mut bytes = whole;
    for (field, value) in [(40, 34u64), (72, 3)] {
        bytes[512 + field..512 + field + 8].copy_from_slice(&value.to_le_bytes());
    }
    bytes[512 + 16..512 + 20].fill(0);
    let sum = crc32fast::hash(&bytes[512..512 + 92]);
    bytes[512 + 16..512 + 20].copy_from_slice(&sum.to_le_bytes());
    assert_eq!(
        open(&bytes, 512).unwrap().findings(),
        [Finding::Primary(Damage::Header {
            field: "place of the entries",
            found: 3,
            expected: "after the header and before sector 34".into(),
        })]
    );
}

#[test]
fn protective_mbr_is_rebuilt_and_boot_code_is_kept() {
    let mut bytes = disk(512, 400, &usual());
    bytes[..440].fill(0x90);
    let whole = bytes.clone();
    assert_eq!(open(&bytes, 512).unwrap().findings(), []);
    bytes[446..512].fill(0);
    let slots = open(&bytes, 512).unwrap();
    assert_eq!(slots.findings(), [Finding::ProtectiveMbr]);
    let now = after(&bytes, 512, &slots.repair().steps);
    assert_eq!(now[..446], whole[..446]);
    assert_eq!(now[512..], whole[512..]);
    assert_eq!(open(&now, 512).unwrap().findings(), []);
    // Systems that know no GPT may have partitions of their own there.
    let mut hybrid = whole;
    hybrid[446 + 16 + 4] = 0x0c;
    assert_eq!(open(&hybrid, 512).unwrap().findings(), []);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    /// Whatever bytes are flipped: no panic, and what is written is a good table that says what was asked.
    #[test]
    fn a_broken_table_is_refused_or_repaired(
        flips in prop::collection::vec((0usize..80, 0usize..512, any::<u8>()), 1..6),
        resealed in any::<bool>(),
        length in 1usize..450,
    ) {
        let mut bytes = disk(512, 400, &usual());
        for (sector, at, value) in flips {
            // The sectors of both copies.
            let sector = if sector < 40 { sector } else { 399 - (sector - 40) };
            bytes[sector * 512 + at] = value;
        }
        if resealed {
            // As if a program had written it so.
            for header in [512, 399 * 512] {
                for entries in [1024usize, (399 - 32) * 512] {
                    if bytes[header + 72..header + 80] == (entries as u64 / 512).to_le_bytes() {
                        let sum = crc32fast::hash(&bytes[entries..entries + 16384]);
                        bytes[header + 88..header + 92].copy_from_slice(&sum.to_le_bytes());
                    }
                }
                bytes[header + 16..header + 20].fill(0);
                let sum = crc32fast::hash(&bytes[header..header + 92]);
                bytes[header + 16..header + 20].copy_from_slice(&sum.to_le_bytes());
            }
        }
        if length < 400 && length % 7 == 0 || length > 400 {
            bytes.resize(length * 512, 0);
        }
        if let Ok(slots) = open(&bytes, 512) {
            for index in 0..slots.slots().len() {
                let change = slots.change(|all| select::mark_good(all, index));
                let now = open(&after(&bytes, 512, &change.steps), 512);
                let now = now.map_err(|e| TestCaseError::fail(e.to_string()))?;
                prop_assert!(now.findings().is_empty() || change.is_nothing());
                prop_assert_eq!(now.next(), Some(index));
            }
        }
    }
}
