//! Tables of another program's making (the crate gptman), damaged, cut off and changed.

use std::io::{self, Cursor};

use proptest::prelude::*;

use super::{storage::apply, table::Step, *};
use crate::slots::table::Damage;

/// A disk in memory, which may refuse.
#[derive(Clone)]
struct Memory {
    bytes: Vec<u8>,
    sector: u64,
    /// Of reads, writes and syncs together, the first that fails.
    fails_at: Option<usize>,
}

impl Memory {
    fn new(bytes: Vec<u8>, sector: u64) -> Self {
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

const FLATCAR: [u8; 16] = SCHEMES[0].slot.0;

fn attributes(priority: u8, tries: u8, successful: bool) -> Attributes {
    Attributes::default()
        .with_priority(priority)
        .with_tries(tries)
        .with_successful(successful)
}

/// What a fresh node has: A runs and is good, B was staged.
fn usual() -> Vec<(&'static str, Attributes)> {
    vec![
        ("USR-A", attributes(1, 0, true)),
        ("USR-B", attributes(2, 1, false)),
    ]
}

/// A disk of so many sectors, with an EFI partition before the slots, a state partition after them.
fn disk(sector: u64, sectors: u64, slots: &[(&str, Attributes)]) -> Vec<u8> {
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

fn open(bytes: &[u8], sector: u64) -> Result<Slots, SlotsError> {
    Slots::read("disk".into(), Box::new(Memory::new(bytes.to_vec(), sector)))
}

/// The slots' attributes, without the bits that are not ours.
fn seen(slots: &Slots) -> Vec<Attributes> {
    let ours = |slot: &Slot| Attributes(slot.attributes.0 & !0xffff);
    slots.slots().iter().map(ours).collect()
}

/// What gptman makes of both copies: the bits of the partitions in use.
fn by_gptman(bytes: &[u8], sector: u64) -> [Vec<u64>; 2] {
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
fn after(bytes: &[u8], sector: u64, steps: &[Step]) -> Vec<u8> {
    let mut memory = Memory::new(bytes.to_vec(), sector);
    apply(&mut memory, steps).unwrap();
    memory.bytes
}

#[test]
fn slots_are_read_as_they_were_written() {
    for (sector, sectors) in [(512, 400), (4096, 100)] {
        let slots = open(&disk(sector, sectors, &usual()), sector).unwrap();
        assert_eq!(
            seen(&slots),
            [attributes(1, 0, true), attributes(2, 1, false)]
        );
        assert_eq!(slots.findings(), []);
        assert_eq!(slots.next(), Some(1));
        let b = &slots.slots()[1];
        assert_eq!(
            (b.number, b.label.as_str(), b.letter),
            (4, "USR-B", Some('B'))
        );
        assert_eq!(b.length, 4 * sector);
        for name in ["B", "b", "USR-B", "usr-b", "4"] {
            assert_eq!(slots.by_name(name).unwrap(), 1, "{name}");
        }
        let error = slots.by_name("C").unwrap_err().to_string();
        assert_eq!(
            error,
            "there is no slot \"C\", expected one of A, USR-A or 3; B, USR-B or 4"
        );
    }
}

#[test]
fn any_number_of_slots_is_the_right_answer_or_an_error() {
    let none = open(&disk(512, 400, &[]), 512).err().unwrap().to_string();
    assert!(
        none.contains("found no slots among its 2 partitions") && none.contains("5dfbf5f4-2848"),
        "{none}"
    );
    let one = open(&disk(512, 400, &usual()[..1]), 512).unwrap();
    assert_eq!((one.next(), one.other()), (Some(0), None));
    let names: Vec<String> = (b'A'..=b'O')
        .map(|c| format!("USR-{}", char::from(c)))
        .collect();
    let many: Vec<(&str, Attributes)> = names
        .iter()
        .zip(1..)
        .map(|(name, p)| (name.as_str(), attributes(p, 0, true)))
        .collect();
    for count in [3, 15] {
        let mut slots = open(&disk(512, 400, &many[..count]), 512).unwrap();
        assert_eq!(
            (slots.slots().len(), slots.next()),
            (count, Some(count - 1))
        );
        let change = slots.change(|all| select::prioritize(all, 0));
        slots.apply(change).unwrap();
        assert_eq!(slots.next(), Some(0));
    }
    let twice = [
        ("USR-A", attributes(1, 0, true)),
        ("USR-A", attributes(2, 0, true)),
    ];
    let slots = open(&disk(512, 400, &twice), 512).unwrap();
    let error = slots.by_name("a").unwrap_err().to_string();
    assert!(error.contains("3, 4"), "{error}");
}

#[test]
fn a_change_touches_the_attributes_and_the_checksums_only() {
    for (sector, sectors) in [(512u64, 400u64), (4096, 100)] {
        let before = disk(sector, sectors, &usual());
        let mut slots = open(&before, sector).unwrap();
        let change = slots.change(|all| select::mark_good(all, 0));
        assert_eq!(
            change.lines,
            [
                "USR-A: priority 1, tries 0, successful → priority 2, tries 0, successful",
                "USR-B: priority 2, tries 1, not successful → priority 1, tries 1, not successful"
            ]
        );
        let now = after(&before, sector, &change.steps);
        let last = usize::try_from(sectors - 1).unwrap();
        let size = usize::try_from(sector).unwrap();
        let entries = last - 16384 / size;
        let mut allowed = Vec::new();
        for (header, entries) in [(1, 2), (last, entries)] {
            allowed.extend([
                header * size + 16..header * size + 20,
                header * size + 88..header * size + 92,
            ]);
            allowed.extend(
                [2, 3].map(|i| entries * size + i * 128 + 48..entries * size + i * 128 + 56),
            );
        }
        for (at, (old, new)) in before.iter().zip(&now).enumerate() {
            assert!(
                old == new || allowed.iter().any(|range| range.contains(&at)),
                "byte {at}"
            );
        }
        let bits = vec![
            4,
            attributes(2, 0, true).0 | 0xabcd,
            attributes(1, 1, false).0 | 0xabcd,
            0,
        ];
        assert_eq!(by_gptman(&now, sector), [bits.clone(), bits]);
        slots.apply(change).unwrap();
        assert_eq!(slots.next(), Some(0));
        assert!(slots.change(|all| select::mark_good(all, 0)).is_nothing());
    }
}

/// Damages to one copy: what, and how the primary one is then named.
type Injury = fn(&mut [u8], usize);

fn damages() -> Vec<(Injury, Damage)> {
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
fn a_damaged_copy_is_read_from_the_good_one_and_mended_before_it_is_changed() {
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
            assert_eq!(repair.lines.len(), 1);
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
fn entries_that_overlap_or_leave_the_disk_are_damage() {
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
fn a_disk_that_has_grown_gets_its_backup_at_its_end() {
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
        let mended = open(&now, 512).unwrap();
        assert_eq!(mended.findings(), []);
        assert_eq!(seen(&mended), seen(&slots));
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
fn a_header_that_leaves_the_backup_no_room_is_mended() {
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
fn a_backup_whose_partitions_begin_where_the_primary_copy_lies_is_not_copied_over_them() {
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
fn the_protective_mbr_is_written_anew_with_the_boot_code_kept() {
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

/// Every state a power cut may leave: whole steps, and of the next one any of its sectors.
fn cuts(bytes: &[u8], sector: u64, steps: &[Step]) -> Vec<Vec<u8>> {
    let mut states = Vec::new();
    for (done, step) in steps.iter().enumerate() {
        let base = after(bytes, sector, &steps[..done]);
        // Of long steps (a whole copy) a choice: every one alone, all but one, every second.
        let count = step.len();
        let subsets: Vec<Vec<usize>> = if count <= 8 {
            (0..1u32 << count)
                .map(|bits| (0..count).filter(|i| bits >> i & 1 == 1).collect())
                .collect()
        } else {
            let but = |out: usize| (0..count).filter(|i| *i != out).collect::<Vec<_>>();
            let mut all: Vec<Vec<usize>> = (0..count).flat_map(|i| [vec![i], but(i)]).collect();
            all.extend([
                vec![],
                (0..count).step_by(2).collect(),
                (0..count / 2).collect(),
            ]);
            all
        };
        for subset in subsets {
            let part: Step = subset.into_iter().map(|i| step[i].clone()).collect();
            states.push(after(&base, sector, &[part]));
        }
    }
    states.push(after(bytes, sector, steps));
    states
}

#[test]
fn a_power_cut_anywhere_leaves_a_table_that_boots() {
    let whole = disk(512, 400, &usual());
    let mut grown = whole.clone();
    grown.resize(500 * 512, 0);
    let mut bare = whole.clone();
    bare[446..512].fill(0);
    let mut starts = vec![whole.clone(), grown, bare];
    for (damage, _) in damages() {
        for at in [512, 399 * 512] {
            let mut bytes = whole.clone();
            damage(&mut bytes, at);
            starts.push(bytes);
        }
    }
    let mut seen_states = 0;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("cut.img");
    for start in starts {
        let slots = open(&start, 512).unwrap();
        let before = seen(&slots);
        for change in [
            slots.change(|all| select::mark_good(all, 0)),
            slots.change(|all| {
                select::boot(all);
            }),
            slots.repair(),
        ] {
            let done = seen(&open(&after(&start, 512, &change.steps), 512).unwrap());
            for state in cuts(&start, 512, &change.steps) {
                seen_states += 1;
                let cut = open(&state, 512).unwrap();
                let found = seen(&cut);
                assert!(found == before || found == done, "{found:?}");
                assert!(cut.next().is_some());
                let mended = after(&state, 512, &cut.repair().steps);
                assert_eq!(open(&mended, 512).unwrap().findings(), []);
                let both = by_gptman(&mended, 512);
                assert_eq!(both[0], both[1]);
                // sgdisk takes its time: a sample.
                if seen_states % 400 == 0 {
                    std::fs::write(&file, &mended).unwrap();
                    let sgdisk = std::process::Command::new("sgdisk")
                        .arg("-v")
                        .arg(&file)
                        .output();
                    let said = String::from_utf8_lossy(&sgdisk.unwrap().stdout).into_owned();
                    assert!(said.contains("No problems found."), "{said}");
                }
            }
        }
    }
    assert!(seen_states > 1000, "{seen_states}");
}

#[test]
fn a_disk_that_refuses_is_named_and_left_as_a_power_cut_would() {
    let whole = disk(512, 400, &usual());
    let before = seen(&open(&whole, 512).unwrap());
    let mut failed = 0;
    for fails_at in 0.. {
        let mut memory = Memory::new(whole.clone(), 512);
        memory.fails_at = Some(fails_at);
        let mut slots = match Slots::read("disk".into(), Box::new(memory.clone())) {
            Ok(slots) => slots,
            Err(error) => {
                assert!(error.to_string().contains("medium error"), "{error}");
                failed += 1;
                continue;
            }
        };
        let change = slots.change(|all| select::mark_good(all, 0));
        // Of the writes, the table is not told by the reads before.
        memory.fails_at = Some(fails_at);
        if apply(&mut memory, &change.steps).is_ok() {
            break;
        }
        failed += 1;
        let left = open(&memory.bytes, 512).unwrap();
        assert!(seen(&left) == before || left.next() == Some(0));
        let result = slots.apply(change);
        assert!(result.is_err() || fails_at > 5);
    }
    assert!(failed > 4);
}

#[test]
fn what_a_slot_holds_is_known_by_its_first_bytes() {
    let mut bytes = disk(512, 1000, &usual());
    let mut slots = open(&bytes, 512).unwrap();
    assert_eq!(slots.content(0).unwrap(), None);
    let empty = slots.image(0).unwrap();
    let offset = usize::try_from(slots.slots()[0].offset).unwrap();
    for (at, magic, name) in [
        (0usize, b"hsqs".as_slice(), "squashfs"),
        (1080, &[0x53, 0xef], "ext4"),
        (1024, &[0xe2, 0xe1, 0xf5, 0xe0], "erofs"),
    ] {
        bytes[offset..offset + 2048].fill(0);
        bytes[offset + at..offset + at + magic.len()].copy_from_slice(magic);
        let mut slots = open(&bytes, 512).unwrap();
        assert_eq!(slots.content(0).unwrap(), Some(name));
        assert_ne!(slots.image(0).unwrap(), empty);
        assert_eq!(slots.image(1).unwrap(), empty);
    }
    assert!(empty.starts_with("sha256:") && empty.len() == 71);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    /// Whatever bytes are flipped: no panic, and what is written is a good table that says what was asked.
    #[test]
    fn a_broken_table_is_refused_or_mended(
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
