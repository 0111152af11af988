//! Which node was out of service when.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

/// What happened to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// logind accepted a reboot.
    Down,
    /// The machine runs again; its agent is about to be started.
    Up,
}

/// One line of a [`History`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at: Instant,
    /// The node's name.
    pub node: String,
    /// What.
    pub kind: Kind,
}

/// The reboots of several nodes; clones share it.
#[derive(Clone, Debug)]
pub struct History(Arc<watch::Sender<Vec<Event>>>);

impl Default for History {
    fn default() -> Self {
        Self::new()
    }
}

impl History {
    /// Empty.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Vec::new())))
    }

    /// Adds an event, in the place its time gives it.
    pub fn record(&self, at: Instant, node: &str, kind: Kind) {
        self.0.send_modify(|events| {
            let place = events.partition_point(|e| e.at <= at);
            events.insert(
                place,
                Event {
                    at,
                    node: node.to_owned(),
                    kind,
                },
            );
        });
    }

    /// All of it, in the order of time.
    pub fn events(&self) -> Vec<Event> {
        self.0.borrow().clone()
    }

    /// The most nodes that were down at one time.
    pub fn max_out_at_once(&self) -> usize {
        let mut down = BTreeSet::new();
        let mut most = 0;
        for event in self.0.borrow().iter() {
            match event.kind {
                Kind::Down => down.insert(event.node.clone()),
                Kind::Up => down.remove(&event.node),
            };
            most = most.max(down.len());
        }
        most
    }

    /// The nodes in the order they went down; one that went twice is there twice.
    pub fn order(&self) -> Vec<String> {
        self.0
            .borrow()
            .iter()
            .filter(|e| e.kind == Kind::Down)
            .map(|e| e.node.clone())
            .collect()
    }

    /// How many reboots are complete: down and up again.
    pub fn reboots(&self) -> usize {
        complete(&self.0.borrow())
    }

    /// Waits until so many reboots are complete; panics with the history after `limit`.
    pub async fn wait_reboots(&self, at_least: usize, limit: Duration) {
        let mut view = self.0.subscribe();
        let enough = view.wait_for(|events| complete(events) >= at_least);
        let result = tokio::time::timeout(limit, enough).await.map(drop);
        assert!(
            result.is_ok(),
            "{} reboots within {limit:?}, not {at_least}; gone down so far: {:?}",
            self.reboots(),
            self.order()
        );
    }
}

fn complete(events: &[Event]) -> usize {
    events.iter().filter(|e| e.kind == Kind::Up).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_out_at_once_is_by_time_not_by_arrival() {
        let history = History::new();
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        history.record(at(10), "a", Kind::Down);
        history.record(at(30), "a", Kind::Up);
        history.record(at(40), "b", Kind::Down);
        assert_eq!((history.max_out_at_once(), history.reboots()), (1, 1));
        // Told late: it was down while a was.
        history.record(at(20), "c", Kind::Down);
        assert_eq!(history.max_out_at_once(), 2);
        assert_eq!(history.order(), ["a", "c", "b"]);
    }
}
