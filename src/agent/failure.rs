//! Why the agent does not go on: what failed, and what follows from it, as values. They become sentences where they are shown.

use host::{bus::BusError, hooks::HookError, kept::Kept};
use semaphore::{
    commit,
    etcd::{self, HoldEnd, MemberFault},
    records::ImageId,
};

use super::{gate::ClosedBy, journal::JournalError, next_slot::SlotFault};

/// What failed. Nothing new is begun for a while after it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// A hook.
    #[error(transparent)]
    Hook(Kept<HookError>),
    /// The members of etcd do not let the node go.
    #[error(transparent)]
    Member(MemberFault),
    /// The node has become a host of etcd since it joined the queue.
    #[error("this node now hosts a member of etcd, and must take the reboot lock as such a node")]
    BecameMember,
    /// etcd.
    #[error(transparent)]
    Etcd(Kept<etcd::Error>),
    /// The node does not hold the reboot lock any more.
    #[error(transparent)]
    HoldEnded(HoldEnd),
    /// The commit was refused.
    #[error("{0}")]
    Commit(Kept<commit::Refusal>),
    /// The slots.
    #[error(transparent)]
    Slot(SlotFault),
    /// logind, or the bus.
    #[error(transparent)]
    Bus(Kept<BusError>),
    /// The journal.
    #[error(transparent)]
    Journal(JournalError),
    /// The reboot call.
    #[error("the reboot call failed: {0}")]
    RebootCall(Box<Self>),
    /// The call succeeded, and the system stayed up.
    #[error("no shutdown followed the reboot call")]
    NoShutdown,
    /// The system was going down, and is not any more.
    #[error("the shutdown was called off")]
    CalledOff,
    /// Whether a reboot was called is not known.
    #[error("the agent was restarted after the commit")]
    RestartedAfterCommit,
}

macro_rules! from {
    ($($source:ty => $variant:ident,)*) => {
        $(impl From<$source> for Failure {
            fn from(error: $source) -> Self {
                Self::$variant(error.into())
            }
        })*
    };
}

from! {
    HookError => Hook,
    MemberFault => Member,
    etcd::Error => Etcd,
    HoldEnd => HoldEnded,
    commit::Refusal => Commit,
    SlotFault => Slot,
    BusError => Bus,
    JournalError => Journal,
}

/// Why no reboot follows, or why what the node held is released.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// Something failed.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// A gate is closed.
    #[error("{0}")]
    Closed(ClosedBy),
    /// What the reboot was for is gone.
    #[error("no reboot is wanted any more")]
    NothingWanted,
    /// The agent was told to end.
    #[error("the agent was stopped")]
    Stopped,
    /// The agent died while it drained the node.
    #[error("the agent was restarted during the drain")]
    RestartedDuringDrain,
    /// The agent died while it released the lock.
    #[error("the agent was restarted during the release")]
    RestartedDuringRelease,
    /// The reboot is done, and proven.
    #[error("the node is back")]
    Back,
    /// The time of the soak has passed, and the last checks passed.
    #[error("the soak is over")]
    SoakOver,
    /// A person ended the soak on this node.
    #[error("the soak was ended by hand")]
    SoakEnded,
    /// The hold was ended in a soak.
    #[error("the soak is over: {0}")]
    SoakCutOff(HoldEnd),
}

/// What keeps a node that soaks from what is to come next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SoakNote {
    /// Checks that say nothing of the image: a verdict's sentence.
    #[error("its end waits: {0}")]
    End(String),
    /// A person wants the image before, and the node must not go back now.
    #[error("the way back waits: {0}")]
    WayBack(Why),
}

/// Why a boot is not proven and stays up. Verdicts are sentences, as the journal and etcd keep them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unproven {
    /// The node had slots, and they are not found.
    #[error(
        "which slot runs is not known, and so not whether it is on trial; \
         to look again: systemctl restart pointsman"
    )]
    SlotsLost,
    /// The checks do not tell yet.
    #[error("{0}")]
    Unknown(String),
    /// The checks failed, and there is no way back.
    #[error("{verdict}; {stays}")]
    Failed {
        /// What the checks found.
        verdict: String,
        /// Why there is none.
        stays: Stays,
    },
    /// The checks failed in a boot of an image that was soaking.
    #[error(
        "{0}; so the image failed its soak. To go back to the image before: pointsman rollback --reboot"
    )]
    SoakFailed(String),
    /// The checks passed, and the slot cannot be marked good.
    #[error("the slot cannot be marked good: {0}")]
    NotMarked(SlotFault),
}

/// Why a boot that failed does not roll back by itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Stays {
    /// It is no trial.
    #[error("its slot was marked good before, so the node stays up")]
    Good,
    /// There is no other slot.
    #[error("there is no other slot to roll back to, so the node stays up")]
    NoOther,
    /// The other slot cannot be read.
    #[error("it is not known what the other slot holds ({0}), so the node stays up")]
    OtherUnknown(SlotFault),
    /// The boot loader would skip the other slot.
    #[error("the other slot cannot boot, so the node stays up")]
    OtherNotBootable,
    /// The other slot holds what failed.
    #[error("the other slot holds the same image, {0}, so the node stays up")]
    SameImage(ImageId),
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(JournalError),
    /// Somebody booted it again.
    #[error("it rolled back from this image before, so the node stays up")]
    RolledBackBefore,
    /// The other slot holds a quarantined image.
    #[error(
        "the other slot holds {image}, which is quarantined as well ({reason}), so the node stays up"
    )]
    OtherQuarantined {
        /// The image.
        image: ImageId,
        /// The quarantine's reason.
        reason: String,
    },
    /// The other slot holds an image that never ran here.
    #[error("the other slot holds {0}, which is not what ran here before, so the node stays up")]
    NeverRan(ImageId),
}

/// Why the agent refuses what a person asks of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The journal cannot be read or written.
    #[error(transparent)]
    Journal(JournalError),
    /// The gate that keeps every reboot is closed.
    #[error("{0}")]
    Closed(ClosedBy),
    /// There is nothing to take back.
    #[error("{NOTHING_ASKED}")]
    NothingAsked,
    /// It is too late to take the reboot back.
    #[error("the reboot has already been called; if the system stays up, it is not tried again")]
    RebootCalled,
    /// A quarantine of this node alone would not count.
    #[error(
        "this node uses etcd, where a quarantine is valid for all nodes; to add it there: pointsman quarantine add"
    )]
    UsesEtcd,
    /// There is nothing to add.
    #[error("it is already quarantined on this node")]
    Quarantined,
    /// No soak is there to be ended.
    #[error("{NOT_SOAKING}")]
    NotSoaking,
    /// There is nothing to clear.
    #[error("{NOT_QUARANTINED}")]
    NotQuarantined,
}

/// The answer to who takes a reboot back that nobody asked for.
pub const NOTHING_ASKED: &str = "no reboot is requested";
/// The answer to who ends a soak that there is not.
pub const NOT_SOAKING: &str = "this node is not soaking";
/// The answer to who clears what is not quarantined here.
pub const NOT_QUARANTINED: &str = "it was not quarantined on this node";
