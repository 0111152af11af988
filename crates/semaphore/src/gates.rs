//! What can keep a node from its reboot, whatever its place in the queue. Pure.
//!
//! A gate is one entry of `gates`: the keys it is read from, and what of their values closes it. The rest follows from
//! the entry: its keys are read with the queue, watched while the gate is closed, and compared, as they were read, by
//! whoever goes through. So no gate can be read without being compared.

mod policy;
mod wave;

use std::fmt;

use host::node::Group;

pub use policy::{ClosedWindow, Moment};
pub use wave::ShutWave;

use policy::PolicyGate;
use wave::WaveGate;

use crate::{
    keys::Keys,
    lenient,
    policy::PolicyError,
    records::{ImageId, MemberOut, Pause, Quarantine},
    stored::{Found, KeyRange, Reading},
};

/// All gates of a node as they were read at one revision.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Gates {
    /// The closed ones, in the order in which they are named.
    pub closed: Vec<Closed>,
    /// The keys of all of them, as they were read.
    pub readings: Vec<Reading>,
}

/// A gate that is closed.
#[derive(Debug, Clone, PartialEq)]
pub struct Closed {
    /// The key that closes it: when that changes, the gate is looked at again.
    pub key: String,
    /// What closes it.
    pub by: ClosedBy,
}

/// What closes a gate.
#[derive(Debug, Clone, PartialEq)]
pub enum ClosedBy {
    /// Somebody paused the whole cluster (`all`) or the group.
    Pause {
        /// Whether it is the whole cluster's.
        all: bool,
        /// The pause.
        pause: Pause,
    },
    /// The image or version must not be booted.
    Quarantine {
        /// What was said of the image.
        quarantine: Quarantine,
        /// The node's image, where its version is not known and the quarantine is of a version only: it may be that one.
        maybe: Option<ImageId>,
    },
    /// The group's policy cannot be used.
    Policy(PolicyError),
    /// The reboot windows of the group's policy are closed.
    Window(ClosedWindow),
    /// The image is not open to this group yet.
    Wave(ShutWave),
    /// Another node with a member of etcd is out.
    Member {
        /// That node.
        out: MemberOut,
        /// Whether that was written before a person accepted this store: it may have come back with a snapshot.
        before_accept: bool,
    },
}

/// Where a closed gate stops a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stops {
    /// Outside the queue: the node would keep others from their turn.
    Outside,
    /// Outside the queue while the reboot lock has a free place; else the node may wait in the queue for one.
    OutsideWhileRoom,
    /// As the first of the queue.
    AsFirst,
}

impl ClosedBy {
    /// Where it stops a node.
    #[must_use]
    pub fn stops(&self) -> Stops {
        match self {
            Self::Pause { .. } | Self::Policy(_) => Stops::AsFirst,
            Self::Quarantine { .. } | Self::Wave(_) | Self::Window(_) => Stops::Outside,
            Self::Member { .. } => Stops::OutsideWhileRoom,
        }
    }
}

/// One gate.
trait Gate {
    /// The keys it is read from.
    fn keys(&self) -> Vec<KeyRange>;
    /// What closes it, by what was found under each of its keys. `accepted` is the revision at which a person last accepted
    /// the store; 0 for never.
    fn closed(&self, found: &[Vec<Found>], accepted: i64) -> Option<Closed>;
    /// Whether it is asked again before the reboot.
    fn is_of_commit(&self) -> bool {
        true
    }
    /// Whether it is asked before the way back of a node that soaks.
    fn is_of_way_back(&self) -> bool {
        false
    }
}

/// Which node the gates are asked for.
#[derive(Debug, Clone, Copy)]
pub struct Passenger<'a> {
    /// The image it goes to; none where it stays on the image it runs, or reboots nothing.
    pub to: Option<&'a ImageId>,
    /// Whether it hosts a member of etcd.
    pub member: bool,
    /// The digest of the image, where the groups that its own comes after must have opened it: the image is staged, and was
    /// never proven on this node.
    pub new: Option<&'a str>,
    /// When it asks, where the windows of the policy hold for it; none where it does not reboot.
    pub moment: Option<&'a Moment>,
    /// The digest of the image that it runs, where that is known.
    pub runs: Option<&'a str>,
}

/// The list of all gates. `after` are the groups that the policy names.
fn gates(keys: &Keys, who: Passenger<'_>, after: &[Group]) -> Vec<Box<dyn Gate>> {
    let mut gates: Vec<Box<dyn Gate>> = Vec::new();
    gates.extend(who.to.map(|to| QuarantineGate::new(keys, to) as _));
    if who.member {
        gates.push(Box::new(MemberGate(keys.member_out())));
    }
    // Before the windows: a wave opens, and takes its time, also while they are closed.
    gates.extend(WaveGate::new(keys, who, after).map(|gate| Box::new(gate) as _));
    gates.push(Box::new(PolicyGate::new(keys.policy(), who.moment)));
    for (all, key) in [(true, keys.pause_all()), (false, keys.pause())] {
        gates.push(Box::new(PauseGate { all, key }));
    }
    gates
}

/// The gates of one node, before they are read.
pub struct Gateway {
    gates: Vec<Box<dyn Gate>>,
}

impl Gateway {
    /// The gates between a node and the reboot lock. `after` are the groups that its policy names, as it was read: who takes
    /// compares the policy.
    #[must_use]
    pub fn to_take(keys: &Keys, who: Passenger<'_>, after: &[Group]) -> Self {
        Self {
            gates: gates(keys, who, after),
        }
    }

    /// The gates between a node that holds the lock and its reboot.
    #[must_use]
    pub fn to_commit(keys: &Keys, who: Passenger<'_>) -> Self {
        let mut gates = gates(keys, who, &[]);
        gates.retain(|gate| gate.is_of_commit());
        Self { gates }
    }

    /// The gates between a node that soaks and the image it left.
    #[must_use]
    pub fn to_go_back(keys: &Keys, who: Passenger<'_>) -> Self {
        let mut gates = gates(keys, who, &[]);
        gates.retain(|gate| gate.is_of_way_back());
        Self { gates }
    }

    /// The keys to read.
    #[must_use]
    pub fn keys(&self) -> Vec<KeyRange> {
        self.gates.iter().flat_map(|gate| gate.keys()).collect()
    }

    /// What the gates are by what was found: `found` has one element for each of [`Self::keys`], in their order.
    #[must_use]
    pub fn read(&self, found: impl IntoIterator<Item = Vec<Found>>, accepted: i64) -> Gates {
        let mut found = found.into_iter();
        let mut read = Gates::default();
        for gate in &self.gates {
            let keys = gate.keys();
            let answers: Vec<Vec<Found>> = found.by_ref().take(keys.len()).collect();
            read.closed.extend(gate.closed(&answers, accepted));
            let readings = keys.into_iter().zip(answers);
            let reading = |(range, found)| Reading { range, found };
            read.readings.extend(readings.map(reading));
        }
        read
    }
}

impl Closed {
    /// What changes when the gate may have opened.
    #[must_use]
    pub fn watched(&self) -> KeyRange {
        match &self.by {
            ClosedBy::Wave(shut) if !shut.soaks => KeyRange::Prefix(self.key.clone()),
            _ => KeyRange::One(self.key.clone()),
        }
    }
}

impl Gates {
    /// The first closed gate that stops a node where `stops` says.
    pub fn find(&self, stops: impl Fn(Stops) -> bool) -> Option<&Closed> {
        self.closed.iter().find(|closed| stops(closed.by.stops()))
    }

    /// What was found under this key, one that the gates are read from.
    #[must_use]
    pub fn found(&self, key: &str) -> Option<&Found> {
        let mut found = self.readings.iter().flat_map(|reading| &reading.found);
        found.find(|found| found.key == key)
    }

    /// Takes the gate that this key closed for open, to be found out by the compares: the key stands no more.
    pub fn assume_open(&mut self, key: &str) {
        self.closed.retain(|closed| closed.key != key);
        for reading in &mut self.readings {
            reading.found.retain(|found| found.key != key);
        }
    }
}

/// A pause of the whole cluster or of the group.
struct PauseGate {
    all: bool,
    key: String,
}

impl Gate for PauseGate {
    fn keys(&self) -> Vec<KeyRange> {
        vec![KeyRange::One(self.key.clone())]
    }

    fn closed(&self, found: &[Vec<Found>], _accepted: i64) -> Option<Closed> {
        let found = found[0].first()?;
        Some(Closed {
            key: found.key.clone(),
            by: ClosedBy::Pause {
                all: self.all,
                pause: lenient::pause(&found.stored.value),
            },
        })
    }
}

/// The quarantines of the image a node goes to.
struct QuarantineGate {
    to: ImageId,
    keys: Vec<KeyRange>,
}

impl QuarantineGate {
    fn new(keys: &Keys, to: &ImageId) -> Box<Self> {
        let one = keys.quarantines_of(to).into_iter().map(KeyRange::One);
        // An image whose version is not known may be of any quarantined version.
        let nameless = to.digest.is_some() && to.version.is_none();
        let versions = nameless.then(|| KeyRange::Prefix(keys.quarantine_version("")));
        Box::new(Self {
            to: to.clone(),
            keys: one.chain(versions).collect(),
        })
    }
}

impl Gate for QuarantineGate {
    fn keys(&self) -> Vec<KeyRange> {
        self.keys.clone()
    }

    fn is_of_way_back(&self) -> bool {
        true
    }

    fn closed(&self, found: &[Vec<Found>], _accepted: i64) -> Option<Closed> {
        self.keys.iter().zip(found).find_map(|(range, found)| {
            let mut found = found
                .iter()
                .map(|found| (found, lenient::quarantine(&found.key, &found.stored.value)));
            let (found, quarantine, maybe) = match range {
                KeyRange::One(_) => found.next().map(|(at, said)| (at, said, None)),
                // A quarantined version whose content is known stands under its digest as well.
                KeyRange::Prefix(_) => found
                    .find(|(_, said)| said.what.digest.is_none())
                    .map(|(at, said)| (at, said, Some(self.to.clone()))),
            }?;
            Some(Closed {
                key: found.key.clone(),
                by: ClosedBy::Quarantine { quarantine, maybe },
            })
        })
    }
}

/// The node with a member of etcd that is out: of those only one may be out in the whole cluster.
struct MemberGate(String);

impl Gate for MemberGate {
    fn keys(&self) -> Vec<KeyRange> {
        vec![KeyRange::One(self.0.clone())]
    }

    fn closed(&self, found: &[Vec<Found>], accepted: i64) -> Option<Closed> {
        let found = found[0].first()?;
        Some(Closed {
            key: found.key.clone(),
            by: ClosedBy::Member {
                out: lenient::member_out(&found.stored.value),
                before_accept: found.stored.modified < accepted,
            },
        })
    }

    /// The take puts the node's own name under the key, which stands until the release.
    fn is_of_commit(&self) -> bool {
        false
    }

    /// With the soak the key went.
    fn is_of_way_back(&self) -> bool {
        true
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.by.fmt(f)
    }
}

impl fmt::Display for ClosedBy {
    /// What is closed by what, as a sentence for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pause { all, pause } => {
                let what = if *all {
                    "the whole cluster"
                } else {
                    "the group"
                };
                write!(f, "{what} is paused by {}", pause.author())?;
                if !pause.reason.is_empty() {
                    write!(f, ": {}", pause.reason)?;
                }
                Ok(())
            }
            Self::Quarantine { quarantine, maybe } => {
                let or =
                    |text: &str, other: &str| if text.is_empty() { other } else { text }.to_owned();
                let reason = or(&quarantine.reason, "no reason given");
                write!(f, "{} is quarantined: {reason}", quarantine.what)?;
                match or(&quarantine.hostname, &quarantine.node).as_str() {
                    "" => {}
                    finder => write!(f, " (found by {finder})")?,
                }
                match maybe {
                    None => Ok(()),
                    Some(image) => write!(
                        f,
                        "; this node would boot {image} next, whose version is not known here: it may be that one (clear \
                         the quarantine, or quarantine the digest in place of the version)"
                    ),
                }
            }
            Self::Policy(error) => write!(
                f,
                "the group's policy cannot be used: {error}; see: pointsman policy"
            ),
            Self::Wave(shut) => shut.fmt(f),
            Self::Window(closed) => closed.fmt(f),
            Self::Member { out, before_accept } => {
                write!(
                    f,
                    "this node hosts a member of etcd, and so does {out}, which is out of service"
                )?;
                if *before_accept {
                    let id = host::text::shell_word(&out.id);
                    write!(
                        f,
                        " (older than `store accept`; if it is in service: pointsman unlock {id})"
                    )?;
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests;
