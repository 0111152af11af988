//! Which slot boots: the boot loader's rule, and what changes its choice. Pure; slots are in the order of their
//! partitions.

use super::attributes::{Attributes, MOST};

/// The slot the boot loader takes: of those with a try left or marked good the one of the highest priority, of equals
/// the first; priority 0 never (GRUB's gptprio.next). None: the boot fails.
#[must_use]
pub fn next(slots: &[Attributes]) -> Option<usize> {
    let mut best = None;
    let mut highest = 0;
    for (index, slot) in slots.iter().enumerate() {
        if slot.bootable() && slot.priority() > highest {
            highest = slot.priority();
            best = Some(index);
        }
    }
    best
}

/// What the boot loader does: takes the next slot, and one of its tries where it has any, also when it is marked good.
pub fn boot(slots: &mut [Attributes]) -> Option<usize> {
    let taken = next(slots)?;
    let slot = &mut slots[taken];
    *slot = slot.with_tries(slot.tries().saturating_sub(1));
    Some(taken)
}

/// Puts a slot before all others, which keep their order among themselves; as `cgpt prioritize -i` numbers them:
/// downwards from the number of different priorities (15 at most), never below 1, and 0 stays 0.
pub fn prioritize(slots: &mut [Attributes], first: usize) {
    let mut others: Vec<u8> = slots
        .iter()
        .enumerate()
        .filter(|(index, slot)| *index != first && slot.priority() > 0)
        .map(|(_, slot)| slot.priority())
        .collect();
    others.sort_unstable_by(|a, b| b.cmp(a));
    others.dedup();
    let top = u8::try_from(others.len() + 1).unwrap_or(MOST).min(MOST);
    for (index, slot) in slots.iter_mut().enumerate() {
        let rank = if index == first {
            0
        } else if slot.priority() == 0 {
            continue;
        } else {
            1 + others.iter().take_while(|p| **p != slot.priority()).count()
        };
        let down = u8::try_from(rank).unwrap_or(MOST);
        *slot = slot.with_priority(top.saturating_sub(down).max(1));
    }
}

/// Marks a slot good and puts it first, as `flatcar-setgoodroot` does: successful, no tries left to use up.
pub fn mark_good(slots: &mut [Attributes], which: usize) {
    slots[which] = slots[which].with_successful(true).with_tries(0);
    prioritize(slots, which);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn slot(priority: u8, tries: u8, successful: bool) -> Attributes {
        Attributes::default()
            .with_priority(priority)
            .with_tries(tries)
            .with_successful(successful)
    }

    #[test]
    fn selection_follows_the_boot_loaders_rule() {
        for (slots, expected) in [
            (vec![], None),
            (vec![slot(0, 1, true)], None),
            (vec![slot(1, 0, false)], None),
            (vec![slot(1, 1, false)], Some(0)),
            (vec![slot(1, 0, true)], Some(0)),
            (vec![slot(1, 0, true), slot(1, 0, true)], Some(0)),
            (vec![slot(1, 0, true), slot(2, 1, false)], Some(1)),
            (vec![slot(1, 0, true), slot(2, 0, false)], Some(0)),
            (
                vec![slot(15, 0, false), slot(0, 15, true), slot(3, 2, false)],
                Some(2),
            ),
        ] {
            assert_eq!(next(&slots), expected, "{slots:?}");
        }
    }

    #[test]
    fn boot_takes_a_try_from_a_successful_slot_as_well() {
        let mut slots = [slot(1, 0, true), slot(2, 1, false)];
        assert_eq!(boot(&mut slots), Some(1));
        assert_eq!(slots, [slot(1, 0, true), slot(2, 0, false)]);
        assert_eq!(boot(&mut slots), Some(0));
        let mut good = [slot(3, 2, true)];
        boot(&mut good);
        assert_eq!(good, [slot(3, 1, true)]);
    }

    /// The rule once more, as a sentence: of the eligible, the least by (priority downwards, place).
    fn model(slots: &[Attributes]) -> Option<usize> {
        (0..slots.len())
            .filter(|i| slots[*i].priority() != 0)
            .filter(|i| slots[*i].tries() != 0 || slots[*i].successful())
            .min_by_key(|i| (-i16::from(slots[*i].priority()), *i))
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

        #[test]
        fn selection_follows_the_rule_for_random_tables(bits in prop::collection::vec(any::<u64>(), 0..16)) {
            let slots: Vec<Attributes> = bits.into_iter().map(Attributes).collect();
            prop_assert_eq!(next(&slots), model(&slots));
            let mut booted = slots.clone();
            let taken = boot(&mut booted);
            prop_assert_eq!(taken, model(&slots));
            for (index, (before, after)) in slots.iter().zip(&booted).enumerate() {
                let used = u8::from(Some(index) == taken && before.tries() > 0);
                prop_assert_eq!(after.tries(), before.tries() - used);
                prop_assert_eq!(after.with_tries(0), before.with_tries(0));
            }
        }

        #[test]
        fn prioritized_slot_is_first_and_others_keep_their_order(
            bits in prop::collection::vec(any::<u64>(), 1..16), which in any::<prop::sample::Index>()
        ) {
            let slots: Vec<Attributes> = bits.into_iter().map(Attributes).collect();
            let first = which.index(slots.len());
            let mut after = slots.clone();
            prioritize(&mut after, first);
            let others = |i: &usize| *i != first;
            for i in (0..slots.len()).filter(others) {
                prop_assert_eq!(after[i].priority() == 0, slots[i].priority() == 0);
                prop_assert!(after[i].priority() < after[first].priority() || after[i].priority() == 15);
                for j in (0..slots.len()).filter(others) {
                    if slots[i].priority() < slots[j].priority() {
                        prop_assert!(after[i].priority() < after[j].priority() || after[j].priority() <= 1);
                    }
                }
            }
            for (before, after) in slots.iter().zip(&after) {
                prop_assert_eq!(after.with_priority(0), before.with_priority(0));
            }
            let mut good = slots.clone();
            mark_good(&mut good, first);
            prop_assert_eq!(next(&good), Some(first));
        }
    }
}
