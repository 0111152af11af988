//! How far an image has come in a group: who has proven it, and who is missing, and why. Pure.

use std::{collections::BTreeMap, fmt};

use jiff::Timestamp;

use crate::{
    policy::{Policy, PolicyError},
    records::{Holder, ImageId, LostNode, NodeRecord, Phase, Quarantine, Ticket},
    waves::Wave,
};

/// A group as it is in etcd, as far as waves are concerned.
#[derive(Debug, Clone, Default)]
pub struct GroupView {
    /// Its policy; none where it has none.
    pub policy: Option<Result<Policy, PolicyError>>,
    /// The digest of the image that each member has proven; empty where it has proven none.
    pub members: BTreeMap<String, String>,
    /// Who holds the reboot lock, by id.
    pub holders: BTreeMap<String, Holder>,
    /// Who waits for it, by id.
    pub queue: BTreeMap<String, Ticket>,
    /// Who was passed over, by id.
    pub lost: BTreeMap<String, LostNode>,
    /// The images that are open to later groups, by digest.
    pub waves: BTreeMap<String, Wave>,
    /// The leases of the waves that soak, by digest.
    pub soaks: BTreeMap<String, i64>,
}

/// A node that has not proven an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Its id.
    pub id: String,
    /// Its host name; empty where it is not known.
    pub hostname: String,
    /// Since when it is so, where that is known.
    pub since: Option<Timestamp>,
    /// Why.
    pub why: MissingBecause,
}

/// Why a node has not proven an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MissingBecause {
    /// Its agent is too old to say what it has proven: it has no member key.
    Silent,
    /// It was passed over: it did not come back.
    Lost,
    /// Another node goes by its host name, and said something later: the machine was installed again.
    Replaced {
        /// The id of the other one.
        by: String,
    },
    /// It holds the reboot lock in this phase, for this image.
    Holds(Phase, ImageId),
    /// The image failed its soak on it.
    SoakFailed,
    /// It is in the queue, for this image.
    Queued(ImageId),
    /// Its agent waits for this.
    Waits(String),
    /// It has proven another image.
    Other(ImageId),
    /// It has proven none.
    Nothing,
    /// It has never said anything.
    Unknown,
}

impl fmt::Display for MissingBecause {
    /// As words for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent => f.write_str("its agent is too old to say what it has proven"),
            Self::Lost => f.write_str("lost: it did not come back and was passed over"),
            Self::Replaced { by } => {
                write!(f, "the node {by} has its host name, and is newer")
            }
            Self::Holds(phase, to) if *to == ImageId::default() => phase.fmt(f),
            Self::Holds(phase, to) => write!(f, "{phase} ({to})"),
            Self::SoakFailed => f.write_str("the image failed its soak"),
            Self::Queued(to) if *to == ImageId::default() => f.write_str("queued"),
            Self::Queued(to) => write!(f, "queued ({to})"),
            Self::Waits(why) => write!(f, "waiting: {why}"),
            Self::Other(image) => write!(f, "it has proven {image}"),
            Self::Nothing => f.write_str("it has proven no image yet"),
            Self::Unknown => f.write_str("it has said nothing"),
        }
    }
}

/// Who of a group has not proven the image with this digest, and why. `nodes` are the records of all nodes, of whatever group.
#[must_use]
pub fn missing(group: &str, view: &GroupView, nodes: &[NodeRecord], digest: &str) -> Vec<Missing> {
    let known = Known::new(nodes);
    let named = |digest: &str| {
        let to = view.holders.values().map(|holder| &holder.to);
        let goes = to.filter(|image| image.digest.as_deref() == Some(digest));
        let version = known.versions.get(digest).copied();
        let version = version.or_else(|| goes.filter_map(|image| image.version.as_ref()).next());
        ImageId {
            digest: Some(digest.to_owned()),
            version: version.cloned(),
        }
    };
    let members = view.members.iter().filter(|(_, proven)| *proven != digest);
    let members = members.map(|(id, proven)| {
        let said = known.by_id.get(id.as_str()).copied();
        let why =
            because(id, proven, view, said, &known).unwrap_or_else(|| match proven.as_str() {
                "" if said.is_none() => MissingBecause::Unknown,
                "" => MissingBecause::Nothing,
                other => MissingBecause::Other(named(other)),
            });
        (id, said, why)
    });
    let silent = nodes
        .iter()
        .filter(|node| node.group == group && !view.members.contains_key(&node.id));
    let silent = silent.map(|node| (&node.id, Some(node), MissingBecause::Silent));
    members
        .chain(silent)
        .map(|(id, said, why)| Missing {
            id: id.clone(),
            hostname: said.map(|node| node.hostname.clone()).unwrap_or_default(),
            since: match &why {
                MissingBecause::Lost => view.lost.get(id).and_then(|lost| lost.since),
                MissingBecause::Holds(..) => view.holders.get(id).and_then(|held| held.since),
                MissingBecause::Queued(_) => view.queue.get(id).and_then(|ticket| ticket.since),
                _ => said.and_then(|node| node.since),
            },
            why,
        })
        .collect()
}

/// The nodes' records as they are looked up: a group may have thousands, each of which is looked for.
struct Known<'a> {
    by_id: BTreeMap<&'a str, &'a NodeRecord>,
    by_host: BTreeMap<&'a str, Vec<&'a NodeRecord>>,
    /// The versions of images, by their digests, where a node runs them.
    versions: BTreeMap<&'a str, &'a String>,
}

impl<'a> Known<'a> {
    fn new(nodes: &'a [NodeRecord]) -> Self {
        let mut known = Self {
            by_id: BTreeMap::new(),
            by_host: BTreeMap::new(),
            versions: BTreeMap::new(),
        };
        for node in nodes {
            known.by_id.entry(&node.id).or_insert(node);
            known.by_host.entry(&node.hostname).or_default().push(node);
            if let (Some(digest), Some(version)) = (&node.runs.digest, &node.runs.version) {
                known.versions.entry(digest).or_insert(version);
            }
        }
        known
    }
}

/// What a member that has not proven the image does, by what there is of it; none where nothing says.
fn because(
    id: &str,
    proven: &str,
    view: &GroupView,
    said: Option<&NodeRecord>,
    known: &Known<'_>,
) -> Option<MissingBecause> {
    if view.lost.contains_key(id) {
        return Some(MissingBecause::Lost);
    }
    let same = said.and_then(|said| known.by_host.get(said.hostname.as_str()));
    let newer = |node: &&&NodeRecord| {
        let later = node.since > said.and_then(|said| said.since);
        node.id != id && !node.hostname.is_empty() && later
    };
    if let Some(by) = same.into_iter().flatten().find(newer)
        && !view.holders.contains_key(id)
    {
        return Some(MissingBecause::Replaced { by: by.id.clone() });
    }
    if said.is_some_and(|said| said.state == "soak-failed") {
        return Some(MissingBecause::SoakFailed);
    }
    if let Some(held) = view.holders.get(id) {
        return Some(MissingBecause::Holds(held.phase.clone(), held.to.clone()));
    }
    if let Some(ticket) = view.queue.get(id) {
        return Some(MissingBecause::Queued(ticket.to.clone()));
    }
    let waits = said.filter(|said| !said.waits_for.is_empty() && !proven.is_empty());
    waits.map(|said| MissingBecause::Waits(said.waits_for.clone()))
}

/// The images of a group that are worth a look: those that a member has proven, or goes to, but for those that all have gone past
/// long ago. With the version, where it is known. Sorted by it.
#[must_use]
pub fn images(view: &GroupView, nodes: &[NodeRecord]) -> Vec<ImageId> {
    let proven = view.members.values().filter(|digest| !digest.is_empty());
    let proven = proven.map(|digest| ImageId {
        digest: Some(digest.clone()),
        version: None,
    });
    let goes = view.holders.values().map(|holder| &holder.to);
    let goes = goes
        .chain(view.queue.values().map(|ticket| &ticket.to))
        .cloned();
    let opened = view.waves.iter().map(|(digest, wave)| ImageId {
        digest: Some(digest.clone()),
        version: wave.version.clone(),
    });
    let mut found: BTreeMap<String, Option<String>> = BTreeMap::new();
    let known = nodes.iter().map(|node| node.runs.clone());
    for image in proven.chain(goes).chain(opened) {
        if let Some(digest) = image.digest {
            let version = found.entry(digest).or_default();
            *version = version.take().or(image.version);
        }
    }
    for image in known {
        if let Some(version) = image.digest.and_then(|digest| found.get_mut(&digest)) {
            *version = version.take().or(image.version);
        }
    }
    let mut images: Vec<ImageId> = found
        .into_iter()
        .map(|(digest, version)| ImageId {
            digest: Some(digest),
            version,
        })
        .collect();
    images.sort_by(|a, b| a.version.cmp(&b.version));
    images
}

/// Why no node may go to this image, where it is quarantined.
#[must_use]
pub fn quarantine_of<'a>(image: &ImageId, all: &'a [Quarantine]) -> Option<&'a Quarantine> {
    all.iter().find(|bad| image.is_meant_by(&bad.what))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &str, host: &str, since: i64) -> NodeRecord {
        let mut record: NodeRecord = serde_json::from_str(r#"{"id":"x"}"#).unwrap();
        record.id = id.into();
        record.hostname = host.into();
        record.since = Timestamp::from_second(since).ok();
        record
    }

    fn holder(id: &str, phase: Phase) -> (String, Holder) {
        let mut holder: Holder = serde_json::from_str(r#"{"id":"x","phase":"manual"}"#).unwrap();
        holder.phase = phase;
        (id.into(), holder)
    }

    #[test]
    fn each_node_that_has_not_proven_the_image_is_named_with_the_reason() {
        let mut waits = record("waits", "w", 1);
        waits.waits_for = "outside the reboot window".into();
        let mut failed = record("failed", "f", 1);
        failed.state = "soak-failed".into();
        let mut nodes = vec![
            record("good", "g", 1),
            waits,
            failed,
            record("old-id", "same", 1),
            record("new-id", "same", 2),
            record("silent", "s", 1),
            record("elsewhere", "e", 1),
            record("nothing", "n", 1),
            record("soaks", "k", 1),
            record("queued", "q", 1),
        ];
        nodes[6].group = "other".into();
        nodes[7].runs.digest = Some("Y".into());
        nodes[7].runs.version = Some("2".into());
        let member = |(id, proven): (&str, &str)| (id.to_owned(), proven.to_owned());
        let view = GroupView {
            members: [
                ("good", "X"),
                ("waits", "Y"),
                ("failed", ""),
                ("old-id", "Y"),
                ("new-id", "X"),
                ("nothing", ""),
                ("other", "Y"),
                ("soaks", ""),
                ("queued", "Y"),
                ("lost", ""),
                ("ghost", ""),
            ]
            .map(member)
            .into(),
            holders: [
                holder("soaks", Phase::Soaking),
                holder("failed", Phase::Soaking),
            ]
            .into(),
            queue: [(
                "queued".to_owned(),
                serde_json::from_str(r#"{"id":"queued","to":{"version":"3"}}"#).unwrap(),
            )]
            .into(),
            lost: [("lost".to_owned(), LostNode::default())].into(),
            ..GroupView::default()
        };
        let found: Vec<String> = missing("", &view, &nodes, "X")
            .into_iter()
            .map(|missing| format!("{}: {}", missing.id, missing.why))
            .collect();
        assert_eq!(
            found,
            [
                "failed: the image failed its soak",
                "ghost: it has said nothing",
                "lost: lost: it did not come back and was passed over",
                "nothing: it has proven no image yet",
                "old-id: the node new-id has its host name, and is newer",
                "other: it has proven 2",
                "queued: queued (3)",
                "soaks: soaking",
                "waits: waiting: outside the reboot window",
                "silent: its agent is too old to say what it has proven",
            ]
        );
        assert_eq!(missing("", &view, &nodes, "Y").len(), 8);
        let images: Vec<_> = images(&view, &nodes)
            .into_iter()
            .map(|i| i.digest.unwrap())
            .collect();
        assert_eq!(images, ["X", "Y"]);
    }
}
