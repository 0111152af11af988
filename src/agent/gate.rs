//! May this node go for a reboot now, as far as the node itself is concerned? Pure.
//!
//! A gate is one entry of `GATES`: when it is asked, and what closes it. What needs the cluster (the queue, a pause, a
//! quarantine that etcd holds) is asked by [`semaphore::gates`].

use std::{fmt, time::Duration};

use host::{bus::BusError, duration, kept::Kept, time};
use jiff::Zoned;
use semaphore::records::ImageId;
use settings::Strategy;
use windows::{Start, Windows};

use super::{
    failure::Failure,
    journal::{self, Entry, Journal, JournalError},
    next_slot::SlotFault,
    restage::{Reset, Restaged},
    situation::{Facts, Intent, Now, Rules, Update},
};

/// What the gates look at.
#[derive(Debug, Clone)]
pub struct Node<'a> {
    /// The rules.
    pub rules: &'a Rules,
    /// What is known from outside.
    pub facts: &'a Facts,
    /// The journal, or why it cannot be used.
    pub journal: Result<&'a Journal, &'a JournalError>,
    /// The windows of the group's policy, as far as the node knows them.
    pub policy_windows: Windows,
    /// The reboot that is wanted, if any.
    pub intent: Option<&'a Intent>,
    /// Why this node must not boot the image of that reboot, where it knows of a quarantine itself.
    pub quarantined: Option<FoundHere>,
    /// The staged update that has grown too old, and when update_engine has had the time to forget it, on the monotonic clock.
    pub restaged: Option<Restaged>,
    /// The last failure, and until when nothing is tried again, on the monotonic clock.
    pub hold_off: Option<&'a (Duration, Failure)>,
    /// When the time of the people logged in ends, once it has begun.
    pub grace_ends: Option<Duration>,
    /// The time.
    pub now: &'a Now,
}

/// How far a reboot has come when the gates are asked.
#[derive(Debug, Clone, Copy)]
pub enum Stage<'a> {
    /// The node is about to join the queue.
    BeforeQueue,
    /// This reboot is in the queue, or holds the lock.
    UnderWay(&'a Entry),
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gate {
    /// No reboot is wanted.
    Nothing,
    /// One is wanted and must wait: for what, and until when at the latest on the monotonic clock, where
    /// that is known.
    Closed(Closed),
    /// Now; and until when, where the window closes.
    Go {
        /// For this.
        intent: Intent,
        /// The time at which to ask again.
        until: Option<Duration>,
    },
}

/// A gate that is closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// What closes it.
    pub by: ClosedBy,
    /// The time at which to ask again, on the monotonic clock; none where an event tells.
    pub until: Option<Duration>,
}

/// What closes a gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClosedBy {
    /// The journal cannot be used: why.
    Journal(JournalError),
    /// The staged update cannot be told, or could not boot: why.
    Update(SlotFault),
    /// A newer program wrote the journal, in this version of its format.
    NewerJournal(u32),
    /// This update has waited so long that update_engine looks for a newer one first.
    Restaged(ImageId, Reset),
    /// What would boot cannot be told: why.
    NextImage(SlotFault),
    /// The strategy is `off`.
    StrategyOff,
    /// logind does not answer: why.
    Logind(Kept<BusError>),
    /// The system is going down.
    GoingDown,
    /// The reboot window; it opens then, or never again.
    Window(Option<Zoned>),
    /// What is left of the reboot window is shorter than a reboot of this node.
    WindowTooShort {
        /// How long its reboots take.
        usual: Duration,
        /// When the window closes.
        closes: Zoned,
        /// When one opens that is long enough.
        opens: Zoned,
    },
    /// Somebody blocks shutdowns.
    Inhibitor {
        /// Who.
        who: String,
        /// Why.
        why: String,
    },
    /// An earlier try failed, with this.
    Failure(Failure),
    /// People are logged in: names and terminals.
    People(Vec<(String, String)>),
    /// The image is quarantined.
    Quarantine(FoundHere),
    /// Another image would boot than the one that the reboot is for.
    OtherImage {
        /// What would boot.
        next: ImageId,
        /// What the reboot is for.
        wanted: ImageId,
    },
    /// The person who asked for the reboot of a node that is locked by hand has cancelled the request.
    Cancelled,
    /// The reboot was urgent, and is not any more.
    NotUrgent,
}

/// A quarantine that this node has made itself, and that keeps it from an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} is quarantined: {reason} (found here){}", unsure(maybe.as_ref()))]
pub struct FoundHere {
    /// What is quarantined.
    pub what: ImageId,
    /// Why.
    pub reason: String,
    /// The image, where it may be that one, and its version is not known.
    pub maybe: Option<ImageId>,
}

fn unsure(maybe: Option<&ImageId>) -> String {
    maybe.map_or_else(String::new, |image| {
        format!("; {image}, whose version is not known here, may be that one")
    })
}

impl ClosedBy {
    /// Whether the people logged in are given their whole time again once this gate is open.
    #[must_use]
    pub fn ends_grace(&self) -> bool {
        match self {
            Self::Update(_)
            | Self::Restaged(..)
            | Self::NextImage(_)
            | Self::StrategyOff
            | Self::Logind(_)
            | Self::GoingDown
            | Self::Window(_)
            | Self::WindowTooShort { .. }
            | Self::Inhibitor { .. }
            | Self::OtherImage { .. }
            | Self::NotUrgent
            | Self::Cancelled => true,
            Self::Journal(_)
            | Self::NewerJournal(_)
            | Self::Failure(_)
            | Self::People(_)
            | Self::Quarantine(_) => false,
        }
    }
}

/// When a gate is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    /// Also where no reboot is wanted: whoever reboots the node reboots it into that.
    Always,
    /// Whenever a reboot is wanted.
    Wanted,
    /// Only before the queue.
    BeforeQueue,
    /// Only of a reboot that is under way.
    UnderWay,
}

/// A gate: what closes it, if anything does. `intent` is none only where it is asked [`When::Always`].
type Ask = fn(&Node<'_>, Stage<'_>) -> Option<Closed>;

/// All gates, in the order in which they are asked: the first that is closed is what the node waits for.
const GATES: &[(When, Ask)] = &[
    (When::Always, journal),
    (When::Always, update),
    (When::Wanted, restaged),
    (When::Wanted, next_image),
    (When::Wanted, strategy),
    (When::Wanted, logind),
    (When::Wanted, going_down),
    (When::Wanted, in_window),
    (When::Wanted, inhibitors),
    (When::Wanted, newer_journal),
    (When::BeforeQueue, failure),
    (When::BeforeQueue, people),
    (When::UnderWay, other_image),
    (When::UnderWay, cancelled),
    (When::UnderWay, not_urgent),
    (When::Wanted, quarantine),
];

/// Decides whether the node may go on to its reboot.
#[must_use]
pub fn decide(node: &Node<'_>, stage: Stage<'_>) -> Gate {
    let asked = |when: When| match (when, stage) {
        (When::Always, _) => true,
        (When::Wanted, _) => node.intent.is_some(),
        (When::BeforeQueue, Stage::BeforeQueue) | (When::UnderWay, Stage::UnderWay(_)) => {
            node.intent.is_some()
        }
        (When::BeforeQueue | When::UnderWay, _) => false,
    };
    let gates = GATES.iter().filter(|(when, _)| asked(*when));
    if let Some(closed) = gates.into_iter().find_map(|(_, ask)| ask(node, stage)) {
        return Gate::Closed(closed);
    }
    match node.intent {
        None => Gate::Nothing,
        Some(intent) => Gate::Go {
            intent: intent.clone(),
            until: window_closes(node, stage),
        },
    }
}

/// A gate that an event opens.
fn closed(by: ClosedBy) -> Closed {
    Closed { by, until: None }
}

fn journal(node: &Node<'_>, _: Stage<'_>) -> Option<Closed> {
    Some(closed(ClosedBy::Journal(node.journal.err()?.clone())))
}

/// It may be quarantined, and whoever reboots boots it.
fn update(node: &Node<'_>, _: Stage<'_>) -> Option<Closed> {
    match &node.facts.update {
        Update::Unusable(why) => Some(closed(ClosedBy::Update(why.clone()))),
        Update::Unknown(_) | Update::None(_) | Update::Staged(_) => None,
    }
}

fn restaged(node: &Node<'_>, _: Stage<'_>) -> Option<Closed> {
    let Restaged { image, why, until } = node.restaged.clone()?;
    Some(Closed {
        by: ClosedBy::Restaged(image, why),
        until: Some(until),
    })
}

fn next_image(node: &Node<'_>, _: Stage<'_>) -> Option<Closed> {
    match (&node.facts.next, &node.facts.update) {
        (Ok(_), _) | (_, Update::Staged(_)) => None,
        (Err(why), _) => Some(closed(ClosedBy::NextImage(why.clone()))),
    }
}

fn strategy(node: &Node<'_>, _: Stage<'_>) -> Option<Closed> {
    (node.rules.strategy == Strategy::Off).then(|| closed(ClosedBy::StrategyOff))
}

fn logind(node: &Node<'_>, _: Stage<'_>) -> Option<Closed> {
    let why = node.facts.logind.as_ref().err()?;
    Some(closed(ClosedBy::Logind(why.clone())))
}

fn going_down(node: &Node<'_>, _: Stage<'_>) -> Option<Closed> {
    let logins = node.facts.logind.as_ref().ok()?;
    logins.going_down.then(|| closed(ClosedBy::GoingDown))
}

fn in_window(node: &Node<'_>, stage: Stage<'_>) -> Option<Closed> {
    if is_free_of_windows(node, stage) {
        return None;
    }
    let usual = usual_duration(node, stage);
    match own_windows(node, usual) {
        Start::Closed { opens } => Some(Closed {
            until: Some(look_at(node.now, opens.as_ref())),
            by: ClosedBy::Window(opens),
        }),
        Start::TooShort { closes, opens } => Some(Closed {
            until: Some(look_at(node.now, Some(&opens))),
            by: ClosedBy::WindowTooShort {
                usual: usual?,
                closes,
                opens,
            },
        }),
        Start::Open { .. } => None,
    }
}

/// Whether the node's own windows are open. Those of the policy, which may have changed, are asked in the queue; but they tell
/// whether there is a window at all that is long enough.
fn own_windows(node: &Node<'_>, usual: Option<Duration>) -> Start {
    let (own, policy) = (&node.rules.windows, &node.policy_windows);
    windows::decide_own(own, policy, usual, &node.now.wall)
}

/// Whether no window keeps the node: on the way back from a soak it is out already, and an urgent reboot is for now.
fn is_free_of_windows(node: &Node<'_>, stage: Stage<'_>) -> bool {
    let way_back = matches!(stage, Stage::UnderWay(entry) if entry.way_back);
    way_back || node.intent.is_some_and(|intent| intent.urgent)
}

/// How long the reboots of this node take. Once its drain has begun it does not matter any more.
fn usual_duration(node: &Node<'_>, stage: Stage<'_>) -> Option<Duration> {
    match stage {
        Stage::UnderWay(entry) if entry.stage != journal::Stage::Queued => None,
        _ => node.journal.ok()?.usual_duration(),
    }
}

/// When it is too late for the window that is open now.
fn window_closes(node: &Node<'_>, stage: Stage<'_>) -> Option<Duration> {
    if is_free_of_windows(node, stage) {
        return None;
    }
    let usual = usual_duration(node, stage);
    match own_windows(node, usual) {
        Start::Open { until } => until.map(|until| look_at(node.now, Some(&until))),
        Start::Closed { .. } | Start::TooShort { .. } => None,
    }
}

fn inhibitors(node: &Node<'_>, _: Stage<'_>) -> Option<Closed> {
    let logins = node.facts.logind.as_ref().ok()?;
    let (who, why) = logins.inhibitors.first()?.clone();
    Some(closed(ClosedBy::Inhibitor { who, why }))
}

fn newer_journal(node: &Node<'_>, _: Stage<'_>) -> Option<Closed> {
    let journal = node.journal.ok().filter(|journal| journal.is_newer())?;
    Some(closed(ClosedBy::NewerJournal(journal.version)))
}

fn failure(node: &Node<'_>, _: Stage<'_>) -> Option<Closed> {
    let (until, why) = node
        .hold_off
        .filter(|(until, _)| node.now.monotonic < *until)?;
    Some(Closed {
        by: ClosedBy::Failure(why.clone()),
        until: Some(*until),
    })
}

/// People logged in are given their time before the queue, not after it: by then others would wait for them.
fn people(node: &Node<'_>, _: Stage<'_>) -> Option<Closed> {
    let people = &node.facts.logind.as_ref().ok()?.people;
    let over = node.grace_ends.is_some_and(|end| node.now.monotonic >= end);
    if people.is_empty() || over || node.rules.login_grace.is_zero() {
        return None;
    }
    Some(Closed {
        by: ClosedBy::People(people.clone()),
        until: node.grace_ends,
    })
}

fn other_image(node: &Node<'_>, stage: Stage<'_>) -> Option<Closed> {
    let (Stage::UnderWay(entry), Some(intent)) = (stage, node.intent) else {
        return None;
    };
    let other = || ClosedBy::OtherImage {
        next: intent.to.clone(),
        wanted: entry.intent.to.clone(),
    };
    (!intent.to.is(&entry.intent.to)).then(|| closed(other()))
}

/// Something else may want the reboot as well; but only a person reboots a node that is locked by hand.
fn cancelled(node: &Node<'_>, stage: Stage<'_>) -> Option<Closed> {
    let (Stage::UnderWay(entry), Some(intent)) = (stage, node.intent) else {
        return None;
    };
    let by_hand = entry.in_etcd().is_some_and(|claim| claim.by_hand);
    (by_hand && !intent.by_person).then(|| closed(ClosedBy::Cancelled))
}

/// A reboot that took the lock outside the windows, and whose request was cancelled or replaced since, has no right to go on.
/// In the queue it keeps its place, with the windows.
fn not_urgent(node: &Node<'_>, stage: Stage<'_>) -> Option<Closed> {
    let (Stage::UnderWay(entry), Some(intent)) = (stage, node.intent) else {
        return None;
    };
    let holds = entry.stage != journal::Stage::Queued;
    (holds && entry.intent.urgent && !intent.urgent).then(|| closed(ClosedBy::NotUrgent))
}

fn quarantine(node: &Node<'_>, _: Stage<'_>) -> Option<Closed> {
    Some(closed(ClosedBy::Quarantine(node.quarantined.clone()?)))
}

/// When to look whether that time of the window has come.
fn look_at(now: &Now, then: Option<&Zoned>) -> Duration {
    now.monotonic + windows::look_in(then, &now.wall)
}

fn shown(at: &Zoned) -> String {
    time::shown(at.timestamp(), at.time_zone())
}

impl fmt::Display for ClosedBy {
    /// What the node waits for, as a sentence for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Journal(why) => why.fmt(f),
            Self::Update(why) => why.fmt(f),
            Self::Failure(why) => why.fmt(f),
            Self::Quarantine(why) => why.fmt(f),
            Self::NewerJournal(version) => write!(
                f,
                "a newer pointsman wrote the journal (version {version}), so this one starts no reboot"
            ),
            Self::Restaged(image, Reset::NewerWave) => write!(
                f,
                "another image than {image} is open to this group: update_engine looks for a newer update first"
            ),
            Self::Restaged(image, _) => write!(
                f,
                "{image} has been staged for long: update_engine looks for a newer update first"
            ),
            Self::NextImage(why) => write!(f, "it is not known what would boot: {why}"),
            Self::StrategyOff => {
                f.write_str("the strategy is `off`: this node does not reboot by itself")
            }
            Self::Logind(why) => write!(f, "logind cannot be asked to reboot: {why}"),
            Self::GoingDown => f.write_str("the system is already going down"),
            Self::Window(None) => f.write_str("outside the reboot window, and none is to come"),
            Self::Window(Some(opens)) => {
                write!(f, "outside the reboot window; it opens {}", shown(opens))
            }
            Self::WindowTooShort {
                usual,
                closes,
                opens,
            } => write!(
                f,
                "a reboot of this node takes {}, and the reboot window closes {}; waiting for the one that opens {}",
                duration::print(*usual),
                shown(closes),
                shown(opens)
            ),
            Self::Inhibitor { who, why } => write!(f, "{who} blocks shutdowns: {why}"),
            Self::People(people) => {
                let names = people.iter().map(|(who, tty)| format!("{who} ({tty})"));
                write!(
                    f,
                    "{} logged in: waiting until they had time to finish",
                    names.collect::<Vec<_>>().join(", ")
                )
            }
            Self::OtherImage { next, wanted } => {
                write!(f, "{next} would boot now, not {wanted}")
            }
            Self::NotUrgent => f.write_str(
                "the reboot is not urgent any more: its request was cancelled or replaced",
            ),
            Self::Cancelled => {
                f.write_str("the reboot request was cancelled, and this node is locked by hand")
            }
        }
    }
}

#[cfg(test)]
mod tests;
