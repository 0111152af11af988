//! Which quarantines keep a claim from the image it goes to.

use etcd_client::{Compare, CompareOp, GetOptions, KeyValue, TxnOp};

use super::{Claim, absent, quarantine_keys, read};
use crate::{keys::Keys, queue::Quarantined, records::Image};

/// What is read and compared before a claim goes to its image.
pub(super) struct Quarantines<'a> {
    to: &'a Image,
    /// Where one of the image would stand.
    keys: Vec<String>,
    /// Where those of versions stand, if the image's version is not known: it may be any of them.
    versions: Option<String>,
}

impl Claim {
    /// Those that concern it; none where it stays on the image it runs.
    pub(super) fn quarantines(&self, keys: &Keys) -> Quarantines<'_> {
        let to = &self.holder.to;
        let concerned = self.leaves_its_image();
        let nameless = to.image.is_some() && to.version.is_none();
        Quarantines {
            to,
            keys: if concerned {
                quarantine_keys(keys, to)
            } else {
                Vec::new()
            },
            versions: (concerned && nameless).then(|| keys.quarantine_version("")),
        }
    }
}

impl Quarantines<'_> {
    /// What is to be read.
    pub(super) fn gets(&self) -> Vec<TxnOp> {
        let all = || GetOptions::new().with_prefix();
        let keys = self.keys.iter().map(|key| TxnOp::get(key.clone(), None));
        let versions = self.versions.iter();
        keys.chain(versions.map(|key| TxnOp::get(key.clone(), Some(all()))))
            .collect()
    }

    /// How many answers [`Self::gets`] has.
    pub(super) fn len(&self) -> usize {
        self.keys.len() + usize::from(self.versions.is_some())
    }

    /// The first of the answers that keeps it from its image.
    pub(super) fn found(&self, answers: &[Vec<KeyValue>]) -> Option<Quarantined> {
        let (named, versions) = answers.split_at(self.keys.len());
        let quarantined = |kv: &KeyValue, maybe: Option<&Image>| Quarantined {
            key: read::text(kv.key()),
            why: read::quarantine(kv),
            maybe: maybe.cloned(),
        };
        if let Some(kv) = named.iter().flatten().next() {
            return Some(quarantined(kv, None));
        }
        // One whose content is known stands under that as well.
        let mut versions = versions.iter().flatten();
        let kv = versions.find(|kv| read::quarantine(kv).what.image.is_none())?;
        Some(quarantined(kv, Some(self.to)))
    }

    /// "None stands but those that were read at this revision."
    pub(super) fn compares(&self, read_at: i64) -> Vec<Compare> {
        let keys = self.keys.iter().cloned().map(absent);
        let versions = self.versions.iter().map(|key| {
            Compare::mod_revision(key.clone(), CompareOp::Less, read_at + 1).with_prefix()
        });
        keys.chain(versions).collect()
    }
}
