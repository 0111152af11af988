//! Whether another machine writes this node's record. Pure.

use serde::{Deserialize, Serialize};

use super::records::NodeRecord;

/// What a node remembers of the record that it writes of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnRecord {
    /// The boots in which it was written, or may have been: the last known one, and those since.
    #[serde(default)]
    pub boots: Vec<String>,
    /// The store's revision at which it was known to be written last.
    #[serde(default)]
    pub revision: i64,
}

/// The most boots that are remembered without one in which etcd answered.
const MOST: usize = 64;

impl OwnRecord {
    /// Whether the boot is remembered.
    #[must_use]
    pub fn knows(&self, boot: &str) -> bool {
        self.boots.iter().any(|known| known == boot)
    }

    /// Remembers that the record may be written in this boot from now on.
    pub fn begin(&mut self, boot: &str) {
        if self.knows(boot) {
            return;
        }
        // Better nothing known than a part of it: then nobody is suspected.
        if self.boots.len() >= MOST {
            *self = Self::default();
        }
        self.boots.push(boot.to_owned());
    }

    /// Remembers that it was written in this boot, at this revision; without a boot that does not tell which one it was.
    pub fn written(&mut self, boot: &str, revision: i64) {
        if !boot.is_empty() {
            self.boots = vec![boot.to_owned()];
        }
        self.revision = revision;
    }

    /// Whether another machine wrote the record that stood there before this node's, last changed at `modified`: a boot is
    /// named that is none of this node's, and it was written after this node's last one. An older one came back with a
    /// snapshot of etcd.
    #[must_use]
    pub fn is_of_another(&self, record: &NodeRecord, modified: i64) -> bool {
        let known = self.revision > 0 && !record.boot_id.is_empty();
        known && modified > self.revision && !self.knows(&record.boot_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(boot: &str) -> NodeRecord {
        serde_json::from_value(serde_json::json!({"id": "a", "boot_id": boot})).unwrap()
    }

    #[test]
    fn twin_is_a_machine_that_wrote_since_in_another_boot() {
        let mut own = OwnRecord::default();
        // Nothing is remembered: an older program's journal, or none.
        assert!(!own.is_of_another(&record("b"), 9));
        own.begin("a1");
        own.written("a1", 5);
        assert!(own.is_of_another(&record("b"), 6));
        for (boot, modified) in [
            // Its own; one that says no boot; one that came back with a snapshot.
            ("a1", 6),
            ("", 6),
            ("a0", 4),
        ] {
            assert!(!own.is_of_another(&record(boot), modified), "{boot}");
        }
        // Killed before the answer: it may have been written.
        own.begin("a2");
        own.begin("a3");
        assert!(!own.is_of_another(&record("a2"), 7));
        assert!(own.is_of_another(&record("b"), 7));
    }

    #[test]
    fn beyond_the_remembered_boots_no_twin_is_reported() {
        let mut own = OwnRecord::default();
        own.written("first", 1);
        for boot in 0..MOST {
            own.begin(&boot.to_string());
        }
        assert!(own.boots.len() <= MOST);
        assert!(own.knows(&(MOST - 1).to_string()));
        assert!(!own.is_of_another(&record("first"), 2));
    }
}
