//! What the machine is told, what it answers, and where it stands.

use std::time::Duration;

use host::systemd::Unsettled;
use jiff::Zoned;
use semaphore::{
    etcd::{HoldEnd, Wait},
    records::ImageId,
};

use super::Other;
use crate::agent::{
    baseline::Baseline,
    failure::{Failure, Refusal, SoakNote, Unproven, Why},
    gate::ClosedBy,
    health::Verdict,
    journal::{Claim, Entry, Journal, JournalError, OwnQuarantine},
    next_slot::SlotFault,
    restage::Reset,
    situation::{Facts, Intent, Request},
};

/// Where the agent stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Started; update_engine or logind has not been heard yet.
    Starting,
    /// No reboot is wanted.
    Idle,
    /// A reboot is wanted, and something on this node keeps it.
    Waiting {
        /// What it waits for.
        waits_for: ClosedBy,
        /// When to ask again, on the monotonic clock.
        until: Option<Duration>,
    },
    /// The hooks that may say "not now" are asked.
    Asking,
    /// In the queue for the semaphore.
    Queued {
        /// When the window closes.
        until: Option<Duration>,
    },
    /// Leaving the queue; perhaps the semaphore was won at the last moment.
    Leaving,
    /// Holding; the node is looked at once more before the drain.
    Taken,
    /// Holding; the drain hooks run.
    Draining {
        /// When the window closes.
        until: Option<Duration>,
    },
    /// Holding; the node is looked at once more before the commit.
    Drained,
    /// The commit is being made.
    Committing,
    /// Committed; the node is looked at a last time.
    Committed,
    /// The reboot has been called.
    Rebooting {
        /// When to see whether the node is going down at all.
        until: Duration,
    },
    /// Nothing was seen of a shutdown in time, or the call failed: is the node going down?
    Doubting {
        /// Why it is asked.
        why: Failure,
    },
    /// The node is going down by somebody else's will while this agent holds the semaphore: the next boot
    /// releases it.
    GoingDown {
        /// When to see whether it still does.
        until: Duration,
    },
    /// The drain is being undone; no reboot follows.
    SteppingBack {
        /// Why.
        why: Why,
    },
    /// A boot that must pass its checks: one made while holding, or one from a slot that is not marked good.
    Proving,
    /// It has not passed them, and stays up: it is checked again.
    Unproven {
        /// Why, and why it does not roll back.
        why: Unproven,
        /// When to check again, on the monotonic clock.
        until: Duration,
    },
    /// It has passed them: its slot is being marked good.
    Marking,
    /// It has passed them: the undrain hooks run.
    Undraining,
    /// A trial that failed: the other slot is made next, and the node reboots into it.
    RollingBack {
        /// What the checks found, as the journal has it.
        verdict: String,
        /// Why the try before failed, where there was one.
        failed: Option<Failure>,
        /// When to try again, should the node still be up.
        until: Duration,
    },
    /// Holding; the cluster is told that the node soaks on, after a way back that did not come about.
    Resuming,
    /// Holding; the image is proven, and stays under observation.
    Soaking {
        /// When to look again, on the monotonic clock.
        until: Duration,
        /// When the soak is over, on the wall clock, for people.
        over_at: Zoned,
        /// What keeps its end off, or a way back that was asked for.
        note: Option<SoakNote>,
    },
    /// Holding; the image has failed its soak. A person decides.
    SoakFailed {
        /// Why.
        why: String,
        /// What keeps a way back that was asked for.
        note: Option<SoakNote>,
        /// When to try that again, on the monotonic clock.
        until: Option<Duration>,
    },
    /// Giving the semaphore back.
    Releasing {
        /// Why it still is.
        why: Why,
    },
    /// The agent ends.
    Stopped,
}

/// What can happen.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Something outside changed.
    Facts(Facts),
    /// A time that was waited for has come.
    Tick,
    /// A person asks for a reboot.
    Asked(Request),
    /// A person takes that back.
    Cancelled,
    /// A person ends the soak.
    SoakEnded,
    /// A person of this node quarantines an image, where no etcd is asked.
    QuarantinedByHand {
        /// The image or version.
        what: ImageId,
        /// Their reason.
        reason: String,
    },
    /// A person of this node clears what it has found to be bad.
    Cleared(ImageId),
    /// The operation says what it waits for.
    WaitsFor(Wait),
    /// The operation says what it waits for, and that it asks again after this time.
    AsksAgain {
        /// A sentence.
        waits_for: String,
        /// How long from now.
        after: Duration,
    },
    /// The operation says which hook runs now, since when, and until when at the latest.
    HookRuns(String),
    /// [`Op::May`] ended: nothing is against it, or what is; and how things are since.
    Allowed(Result<(), Failure>, Facts),
    /// [`Op::Acquire`] ended: the semaphore is held, by this claim as it was taken.
    Acquired(Claim),
    /// [`Op::Leave`] ended: held after all, by this claim, or gone from the queue.
    Left(Option<Claim>),
    /// A person has cleared this image in etcd, which failed its soak on this node.
    SoakCleared(ImageId),
    /// [`Op::Look`] ended.
    Looked(Facts),
    /// [`Op::Drain`] ended before anything was drained: who may say no did so, and why.
    Refused(Failure),
    /// [`Op::Drain`] ended: well, or with a reason; and the units that had failed or were starting before it, where systemd
    /// told.
    Drained(Result<(), Failure>, Option<Vec<Unsettled>>),
    /// [`Op::Undo`] ended; what failed of it has been reported.
    Undone,
    /// [`Op::Commit`] ended: committed, or the reason why not.
    CommitEnded(Result<(), Failure>),
    /// [`Op::Reboot`] ended: the call was accepted, or failed.
    RebootCalled(Result<(), Failure>),
    /// [`Op::Prove`] ended; and what the slot that does not run holds by now, or why that cannot be told.
    Checked(Verdict, Result<Option<Other>, SlotFault>),
    /// [`Op::Mark`] ended.
    Marked(Result<(), SlotFault>),
    /// [`Op::RollBack`] ended: the reboot call was accepted, or why not.
    RolledBack(Result<(), Failure>),
    /// [`Op::Release`] ended: it is released; and what the cluster was told to be bad in the same step.
    Released(Option<ImageId>),
    /// [`Op::Release`] ended: the group's policy has the node soak for so long.
    Soaks(Duration),
    /// [`Op::Resume`] ended: the cluster knows that the node soaks.
    Resumed,
    /// The node does not hold any more: why.
    HoldEnded(HoldEnd),
    /// The cluster knows that this image is bad.
    Reported(ImageId),
    /// A person accepted a store that is not the one it was: it may not have what this node told the one before.
    StoreAccepted,
    /// The journal could not be written; the effects after it were not done.
    JournalFailed(JournalError),
    /// The agent is told to end.
    Stop,
}

/// An operation that takes time. One runs at a time; a new one ends the one before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Ask the `may-reboot.d` hooks whether the node may go there.
    May(Intent),
    /// Wait in the queue until the claim holds the semaphore.
    Acquire(Entry),
    /// Leave the queue, and find out whether it was won meanwhile.
    Leave(Entry),
    /// Ask update_engine and logind again.
    Look,
    /// Ask once more who may say no, and run the drain hooks.
    Drain(Entry),
    /// Run the undrain hooks.
    Undo(Entry),
    /// Make the commit.
    Commit(Entry),
    /// Tell the people logged in, and ask logind to reboot.
    Reboot(Entry),
    /// Run the checks of this boot; whether it was made while holding, so that the rest of the cluster was there.
    Prove {
        /// The claim it was made with, to look at meanwhile what a release will find.
        entry: Option<Entry>,
        /// What had failed before this boot; none where nobody looked.
        baseline: Option<Baseline>,
        /// Whether the booted slot is on trial.
        trial: bool,
    },
    /// Mark the booted slot good, and let update_engine in.
    Mark,
    /// Run the undrain hooks of a boot that is proven.
    Undrain(Entry),
    /// Make the other slot next, where it still holds what ran before, and reboot.
    RollBack {
        /// What the checks found.
        verdict: String,
        /// What it must hold.
        to: ImageId,
    },
    /// Tell the cluster that the node soaks on, with the images of this entry and so much left.
    Resume(Entry, Duration),
    /// Wait until the node does not hold any more.
    Watch(Entry),
    /// Run the checks of a node that soaks, and wait until it does not hold any more.
    CheckSoak {
        /// The reboot that the soak is the end of.
        entry: Entry,
        /// What had failed before that reboot; none where nobody looked.
        baseline: Option<Baseline>,
    },
    /// Give the semaphore back, with what this node owes the others. At the stage `Soaking` the group's policy is asked whether
    /// the node soaks first.
    Release(Entry, Option<OwnQuarantine>),
}

/// What the driver is to do, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Write the journal. If it fails, the effects after it are dropped, and [`Event::JournalFailed`] comes.
    Journal(Journal),
    /// Write the journal too, but nothing depends on it: a failure is only said.
    Remember(Journal),
    /// Begin an operation.
    Run(Op),
    /// Stop update_engine, which was let in: the node soaks by a policy that was set since it took the lock.
    HoldUpdatesBack,
    /// Start update_engine, which was held back until the image is proven and its soak over.
    LetUpdatesIn,
    /// Have update_engine forget the staged update, so that it looks for a better one.
    Reset(Reset),
    /// Tell the people logged in that a reboot waits for them.
    Announce(Duration),
    /// Answer the person who asked: accepted, or the reason why not.
    Answer(Result<(), Refusal>),
    /// Step again, with [`Event::Tick`]: now that the effects before this one are done.
    Again,
    /// End.
    Exit,
}
