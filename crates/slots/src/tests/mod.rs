//! Tables of another program's making (the crate gptman), damaged, cut off and changed.

mod damage;
mod disk;
mod power;

use super::*;
use disk::{after, attributes, by_gptman, disk, open, seen, usual};

#[test]
fn slots_are_read_back_as_written() {
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
fn any_number_of_slots_is_handled_or_refused() {
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
fn change_touches_only_attributes_and_checksums() {
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

#[test]
fn slot_content_is_identified_by_its_first_bytes() {
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
