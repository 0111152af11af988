//! The gate of an image that the groups before have not opened.

use std::{collections::BTreeSet, fmt};

use host::node::{Group, named_group};

use super::{Closed, ClosedBy, Gate, Passenger};
use crate::{
    keys::Keys,
    records::ImageId,
    stored::{Found, KeyRange},
};

/// An image that a group before this one has not opened yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShutWave {
    /// The group.
    pub group: Group,
    /// The image.
    pub to: ImageId,
    /// Whether the group has opened it, and the time between the groups has not passed yet.
    pub soaks: bool,
    /// The other images, by digest, that are open to the node's group: of all groups that it comes after. Without those that
    /// were opened before the image that the node runs: they are older.
    pub open: Vec<String>,
}

impl fmt::Display for ShutWave {
    /// As a sentence for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let group = named_group(self.group.as_str());
        if self.soaks {
            write!(
                f,
                "{group} has proven {}, and the time between the groups has not passed yet",
                self.to
            )
        } else {
            write!(
                f,
                "{group}, which comes before this one, has not proven {} on all its nodes yet",
                self.to
            )
        }?;
        f.write_str(" (see: pointsman waves)")
    }
}

/// The waves of the groups that the node's own comes after.
pub(super) struct WaveGate {
    to: ImageId,
    /// The digest of the image that the node runs, where that is known.
    runs: Option<String>,
    /// Of each group: its name, the key of the wave, the key of its soak, the prefix of all its waves.
    groups: Vec<(Group, String, String, String)>,
}

impl WaveGate {
    pub(super) fn new(keys: &Keys, who: Passenger<'_>, after: &[Group]) -> Option<Self> {
        let (digest, to) = (who.new?, who.to?);
        let of = |group: &Group| {
            let keys = keys.of_group(group.clone());
            let (wave, soak) = (keys.wave(digest), keys.wave_soak(digest));
            (group.clone(), wave, soak, keys.waves())
        };
        let groups: Vec<_> = after.iter().map(of).collect();
        (!groups.is_empty()).then(|| Self {
            to: to.clone(),
            runs: who.runs.map(str::to_owned),
            groups,
        })
    }
}

impl Gate for WaveGate {
    fn keys(&self) -> Vec<KeyRange> {
        let of = |(_, wave, soak, all): &(Group, String, String, String)| {
            [
                KeyRange::One(wave.clone()),
                KeyRange::One(soak.clone()),
                KeyRange::Prefix(all.clone()),
            ]
        };
        self.groups.iter().flat_map(of).collect()
    }

    fn closed(&self, found: &[Vec<Found>], _accepted: i64) -> Option<Closed> {
        let answers = self.groups.iter().zip(found.chunks(3));
        let shut = answers
            .clone()
            .find_map(|((group, wave, soak, all), found)| {
                match (found[0].is_empty(), found[1].is_empty()) {
                    // Also another image's opening says something.
                    (true, _) => Some((group, all, false)),
                    (false, false) => Some((group, soak, true)),
                    (false, true) => None::<(&Group, &String, bool)>,
                }
                .map(|shut| (shut, wave))
            });
        let ((group, key, soaks), own) = shut?;
        let own = own.rsplit('/').next().unwrap_or_default();
        let mut open: Option<BTreeSet<String>> = None;
        for ((_, _, _, all), found) in answers {
            let waves = found[2].iter().filter_map(|found| {
                let digest = found.key.strip_prefix(all.as_str())?;
                Some((digest, found.stored.modified))
            });
            let runs = |(digest, _): &(&str, i64)| Some(*digest) == self.runs.as_deref();
            let opened = waves.clone().find(runs).map_or(0, |(_, opened)| opened);
            let newer = waves.filter(|(digest, at)| *digest != own && *at > opened);
            let waves = newer.map(|(digest, _)| digest.to_owned()).collect();
            open = Some(match open {
                Some(open) => &open & &waves,
                None => waves,
            });
        }
        Some(Closed {
            key: key.clone(),
            by: ClosedBy::Wave(ShutWave {
                group: group.clone(),
                to: self.to.clone(),
                soaks,
                open: open.unwrap_or_default().into_iter().collect(),
            }),
        })
    }

    /// What was open at the take stays so: a person who wants to stop an image quarantines it.
    fn is_of_commit(&self) -> bool {
        false
    }
}
