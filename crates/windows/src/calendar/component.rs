//! One part of a calendar expression, such as its hours: numbers, ranges and steps.

/// A number with what follows it: `start..stop/step`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) start: i64,
    pub(super) stop: Option<i64>,
    /// 0 where only the start is meant.
    pub(super) step: i64,
}

/// The numbers that a part may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Component {
    /// Empty: all of them.
    pub(super) items: Vec<Item>,
    pub(super) least: i64,
    pub(super) most: i64,
}

impl Component {
    /// The least number that it has from this one on.
    pub(super) fn next(&self, from: i64) -> Option<i64> {
        let from = from.max(self.least);
        let of = |item: &Item| {
            if item.start >= from {
                return Some(item.start);
            }
            if item.step == 0 {
                return None;
            }
            let steps = (from - item.start + item.step - 1) / item.step;
            let found = item.start + steps * item.step;
            item.stop.is_none_or(|stop| found <= stop).then_some(found)
        };
        let found = if self.items.is_empty() {
            Some(from)
        } else {
            self.items.iter().filter_map(of).min()
        };
        found.filter(|found| *found <= self.most)
    }

    /// The greatest number that it has up to this one.
    pub(super) fn previous(&self, to: i64) -> Option<i64> {
        let to = to.min(self.most);
        let of = |item: &Item| {
            if item.start > to {
                return None;
            }
            if item.step == 0 {
                return Some(item.start);
            }
            let to = item.stop.map_or(to, |stop| stop.min(to));
            Some(item.start + (to - item.start) / item.step * item.step)
        };
        let found = if self.items.is_empty() {
            Some(to)
        } else {
            self.items.iter().filter_map(of).max()
        };
        found.filter(|found| *found >= self.least)
    }

    /// The same days, counted from the start of a month of this many days instead of from its end.
    pub(super) fn counted_from_start(&self, days: i64) -> Self {
        let turned = |item: &Item| {
            let start = days + 1 - item.start;
            match item.stop.map(|stop| days + 1 - stop) {
                Some(stop) => Item {
                    start: stop.min(start),
                    stop: Some(stop.max(start)),
                    ..*item
                },
                None => Item { start, ..*item },
            }
        };
        Self {
            items: self.items.iter().map(turned).collect(),
            least: self.least,
            most: days,
        }
    }
}
