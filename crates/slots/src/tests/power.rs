//! Power cuts between the sectors of a change, and disks that refuse.

use super::{damage::damages, disk::*};
use crate::{storage::apply, write::Step, *};

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
                let repaired = after(&state, 512, &cut.repair().steps);
                assert_eq!(open(&repaired, 512).unwrap().findings(), []);
                let both = by_gptman(&repaired, 512);
                assert_eq!(both[0], both[1]);
                // sgdisk takes its time: a sample.
                if seen_states % 400 == 0 {
                    std::fs::write(&file, &repaired).unwrap();
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
fn disk_that_refuses_a_write_is_left_as_after_a_power_cut() {
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
