//! When reboots may start: lists of windows, of which one must be open. Pure.

pub mod calendar;
mod one;
mod pair;
mod spec;
mod start;

use std::{fmt, time::Duration};

use jiff::{SignedDuration, Timestamp, Zoned};

pub use pair::{Window, WindowError};
pub use spec::{WindowSpec, WindowSpecError};
pub use start::{Start, decide, decide_own, look_in, outlasts_all};

use one::One;

/// How far ahead and back a state is looked for: what lasts longer has no end.
const HORIZON: SignedDuration = SignedDuration::from_hours(366 * 24);
/// How many windows one after the other a state is looked for through. What is found by then is a time at which to look again.
const STEPS: usize = 1000;
const NANO: SignedDuration = SignedDuration::from_nanos(1);

/// Lists of windows. Reboots may start while in every list some window is open; without any list, always.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Windows {
    lists: Vec<Vec<One>>,
    /// The node, by which random delays differ.
    node: String,
}

/// Whether reboots may start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Yes.
    Open {
        /// Since when without a break; none: for a year or more.
        since: Option<Zoned>,
        /// Until just before this; none: for a year or more.
        until: Option<Zoned>,
    },
    /// No.
    Closed {
        /// When they may next; none: never again.
        opens: Option<Zoned>,
    },
}

/// A time during which reboots may start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Period {
    /// From this on.
    pub start: Zoned,
    /// Until just before this; none: for a year or more.
    pub end: Option<Zoned>,
}

impl Period {
    /// How long it is.
    #[must_use]
    pub fn length(&self) -> Option<Duration> {
        let end = self.end.as_ref()?.timestamp();
        end.duration_since(self.start.timestamp()).try_into().ok()
    }
}

impl Windows {
    /// One list: what the configuration says as a pair of start and length, and as calendar windows. Without both there is no
    /// list.
    ///
    /// # Errors
    /// At the first window that is not valid; its place in the list is in the error.
    pub fn of(pair: Option<Window>, specs: &[WindowSpec]) -> Result<Self, WindowSpecError> {
        let mut list: Vec<One> = pair.into_iter().map(One::pair).collect();
        for (index, spec) in specs.iter().enumerate() {
            let one = spec.read().map_err(|error| error.of(index))?;
            list.push(One::calendar(one));
        }
        Ok(Self {
            lists: Some(list)
                .filter(|list| !list.is_empty())
                .into_iter()
                .collect(),
            node: String::new(),
        })
    }

    /// The same windows, with the random delays of this node.
    #[must_use]
    pub fn on_node(mut self, id: &str) -> Self {
        id.clone_into(&mut self.node);
        self
    }

    /// Both: reboots may start while these windows and the others are open.
    #[must_use]
    pub fn and(mut self, others: Self) -> Self {
        self.lists.extend(others.lists);
        self
    }

    /// Whether reboots may always start, because nothing says otherwise.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lists.is_empty()
    }

    /// Whether reboots may start at this moment. The start of a window belongs to it, its end does not. A window without a zone
    /// is in the zone of `now`.
    #[must_use]
    pub fn state(&self, now: &Zoned) -> State {
        let mut closed = match self.all(now) {
            Ok(state) => return state,
            Err(opens) => opens,
        };
        // The last of the lists to open decides; but then another may have closed.
        for _ in 0..STEPS {
            let Some(opens) = closed else { break };
            match self.all(&opens.with_time_zone(now.time_zone().clone())) {
                Ok(_) => return State::Closed { opens: Some(opens) },
                Err(later) => closed = later,
            }
        }
        State::Closed { opens: None }
    }

    /// The next periods during which reboots may start, after this moment. One that lasts is not among them.
    pub fn periods(&self, now: &Zoned) -> impl Iterator<Item = Period> {
        let mut from = Some(now.clone());
        std::iter::from_fn(move || {
            let local = |at: Zoned| at.with_time_zone(now.time_zone().clone());
            let mut at = from.take()?;
            if let State::Open { .. } = self.state(&at) {
                at = local(self.end(&at)?);
            }
            let State::Closed { opens: Some(start) } = self.state(&at) else {
                return None;
            };
            let end = self.end(&local(start.clone()));
            from = end.clone().map(local);
            Some(Period { start, end })
        })
    }

    /// When it closes, from a moment at which it is open; none: not within a year.
    fn end(&self, from: &Zoned) -> Option<Zoned> {
        let mut at = from.clone();
        // A state looks through so many windows only.
        while let State::Open { until, .. } = self.state(&at) {
            at = until?;
            if at.timestamp().duration_since(from.timestamp()) >= HORIZON {
                return None;
            }
            let closed = at.clone();
            at = at.with_time_zone(from.time_zone().clone());
            if let State::Closed { .. } = self.state(&at) {
                return Some(closed);
            }
        }
        None
    }

    /// The state where all lists are open; else when the last of them opens.
    fn all(&self, now: &Zoned) -> Result<State, Option<Zoned>> {
        let (mut since, mut until): (Option<Zoned>, Option<Zoned>) = (None, None);
        let mut opens: Option<Option<Zoned>> = None;
        for list in &self.lists {
            match self.of_list(list, now) {
                State::Open {
                    since: from,
                    until: to,
                } => {
                    since = since.into_iter().chain(from).max();
                    until = until.into_iter().chain(to).min();
                }
                State::Closed { opens: at } => {
                    opens = Some(match (opens, at) {
                        (None, at) => at,
                        (Some(Some(a)), Some(b)) => Some(a.max(b)),
                        _ => None,
                    });
                }
            }
        }
        match opens {
            None => Ok(State::Open { since, until }),
            Some(opens) => Err(opens),
        }
    }

    fn of_list(&self, list: &[One], now: &Zoned) -> State {
        let local = now.time_zone();
        let at = now.timestamp();
        let shown = |time: Timestamp, one: &One| time.to_zoned(one.zone(local).clone());
        // Windows that touch or overlap are one.
        let end_at = |time: Timestamp| {
            let of = |one| Some((One::open_at(one, time, local, &self.node)?.end, one));
            list.iter().filter_map(of).max_by_key(|(end, _)| *end)
        };
        let start_before = |time: Timestamp| {
            let before = time.checked_sub(NANO).ok()?;
            let of = |one| Some((One::begin_at(one, before, local, &self.node)?, one));
            list.iter().filter_map(of).min_by_key(|(begin, _)| *begin)
        };
        let Some((mut end, mut closes)) = end_at(at) else {
            let of = |one| Some((One::opens_after(one, at, local, &self.node)?, one));
            let next = list.iter().filter_map(of).min_by_key(|(begin, _)| *begin);
            return State::Closed {
                opens: next.map(|(begin, one)| shown(begin, one)),
            };
        };
        for _ in 0..STEPS {
            let Some((later, one)) = end_at(end).filter(|_| end.duration_since(at) < HORIZON)
            else {
                break;
            };
            (end, closes) = (later, one);
        }
        let mut since = start_before(at.checked_add(NANO).unwrap_or(at));
        for _ in 0..STEPS {
            let earlier = since
                .filter(|(begin, _)| at.duration_since(*begin) < HORIZON)
                .and_then(|(begin, _)| start_before(begin));
            match earlier {
                Some(earlier) => since = Some(earlier),
                None => break,
            }
        }
        let within = |time: &Timestamp| time.duration_since(at).abs() < HORIZON;
        State::Open {
            since: since
                .filter(|(begin, _)| within(begin))
                .map(|(begin, one)| shown(begin, one)),
            until: Some(end).filter(within).map(|end| shown(end, closes)),
        }
    }
}

impl fmt::Display for Windows {
    /// Each window, with commas between them; lists with "and".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |list: &Vec<One>| {
            let all: Vec<String> = list.iter().map(ToString::to_string).collect();
            all.join("; or ")
        };
        let all: Vec<String> = self.lists.iter().map(list).collect();
        f.write_str(&all.join("; and "))
    }
}

#[cfg(test)]
mod tests;
