//! The names of the states: the word that people read for each, and which may follow which. One table; the diagram in
//! ARCHITECTURE.md is compared with it by a test, and every step of a debug build is checked against it.

use super::State;

/// The name of a [`State`], without what the state carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StateName {
    /// [`State::Starting`].
    Starting,
    /// [`State::Idle`].
    Idle,
    /// [`State::Waiting`].
    Waiting,
    /// [`State::Asking`].
    Asking,
    /// [`State::Queued`].
    Queued,
    /// [`State::Leaving`].
    Leaving,
    /// [`State::Taken`].
    Taken,
    /// [`State::Draining`].
    Draining,
    /// [`State::Drained`].
    Drained,
    /// [`State::Committing`].
    Committing,
    /// [`State::Committed`].
    Committed,
    /// [`State::Rebooting`].
    Rebooting,
    /// [`State::Doubting`].
    Doubting,
    /// [`State::GoingDown`].
    GoingDown,
    /// [`State::SteppingBack`].
    SteppingBack,
    /// [`State::Proving`].
    Proving,
    /// [`State::Unproven`].
    Unproven,
    /// [`State::Marking`].
    Marking,
    /// [`State::Undraining`].
    Undraining,
    /// [`State::RollingBack`].
    RollingBack,
    /// [`State::Resuming`].
    Resuming,
    /// [`State::Soaking`].
    Soaking,
    /// [`State::SoakFailed`].
    SoakFailed,
    /// [`State::Releasing`].
    Releasing,
    /// [`State::Stopped`].
    Stopped,
}

use StateName::{
    Asking, Committed, Committing, Doubting, Drained, Draining, GoingDown, Idle, Leaving, Marking,
    Proving, Queued, Rebooting, Releasing, Resuming, RollingBack, SoakFailed, Soaking, Starting,
    SteppingBack, Stopped, Taken, Undraining, Unproven, Waiting,
};

impl State {
    /// The name of this state.
    #[must_use]
    pub fn name(&self) -> StateName {
        match self {
            Self::Starting => Starting,
            Self::Idle => Idle,
            Self::Waiting { .. } => Waiting,
            Self::Asking => Asking,
            Self::Queued { .. } => Queued,
            Self::Leaving => Leaving,
            Self::Taken => Taken,
            Self::Draining { .. } => Draining,
            Self::Drained => Drained,
            Self::Committing => Committing,
            Self::Committed => Committed,
            Self::Rebooting { .. } => Rebooting,
            Self::Doubting { .. } => Doubting,
            Self::GoingDown { .. } => GoingDown,
            Self::SteppingBack { .. } => SteppingBack,
            Self::Proving => Proving,
            Self::Unproven { .. } => Unproven,
            Self::Marking => Marking,
            Self::Undraining => Undraining,
            Self::RollingBack { .. } => RollingBack,
            Self::Resuming => Resuming,
            Self::Soaking { .. } => Soaking,
            Self::SoakFailed { .. } => SoakFailed,
            Self::Releasing { .. } => Releasing,
            Self::Stopped => Stopped,
        }
    }
}

impl StateName {
    /// All of them.
    pub const ALL: [Self; 25] = [
        Starting,
        Idle,
        Waiting,
        Asking,
        Queued,
        Leaving,
        Taken,
        Draining,
        Drained,
        Committing,
        Committed,
        Rebooting,
        Doubting,
        GoingDown,
        SteppingBack,
        Proving,
        Unproven,
        Marking,
        Undraining,
        RollingBack,
        Resuming,
        Soaking,
        SoakFailed,
        Releasing,
        Stopped,
    ];

    /// The word for the state: in the log, on the bus, in the unit's status text, in `status` and in etcd.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Starting => "starting",
            Idle => "idle",
            Waiting | Asking => "waiting",
            Queued => "queued",
            Leaving => "leaving",
            Taken | Draining | Drained => "draining",
            Committing | Committed => "committing",
            Rebooting | Doubting | GoingDown => "rebooting",
            SteppingBack => "stepping-back",
            Proving | Marking | Undraining => "proving",
            Unproven => "unproven",
            RollingBack => "rolling-back",
            Resuming | Soaking => "soaking",
            SoakFailed => "soak-failed",
            Releasing => "releasing",
            Stopped => "stopped",
        }
    }

    /// The states that one step may lead to from this one, the state itself aside. A step is one event with all that
    /// follows from it at once: what it passes through on the way (`Idle` after the hooks were asked) is no state of it.
    #[must_use]
    pub fn next(self) -> &'static [Self] {
        match self {
            Starting => &[
                Idle,
                Waiting,
                Asking,
                Queued,
                Leaving,
                Doubting,
                SteppingBack,
                Proving,
                Unproven,
                RollingBack,
                Resuming,
                Releasing,
                Stopped,
            ],
            Idle => &[Waiting, Asking, Proving, Unproven, RollingBack, Stopped],
            Waiting => &[Idle, Asking, Proving, Unproven, RollingBack, Stopped],
            Asking => &[Idle, Waiting, Queued, Taken, Stopped],
            Queued => &[Waiting, Leaving, Taken],
            Leaving => &[Idle, Taken, Proving, Stopped],
            Taken => &[Draining, GoingDown, Proving, Resuming, Releasing, Stopped],
            Draining => &[Drained, GoingDown, SteppingBack],
            Drained => &[Committing, GoingDown, SteppingBack, Stopped],
            Committing => &[Committed, SteppingBack],
            Committed => &[Rebooting, GoingDown, SteppingBack, Stopped],
            Rebooting => &[Doubting, Stopped],
            Doubting => &[Rebooting, GoingDown, SteppingBack, Releasing, Stopped],
            GoingDown => &[Doubting, Stopped],
            SteppingBack => &[GoingDown, Proving, Resuming, Releasing, Stopped],
            Proving => &[Unproven, Marking, Undraining, RollingBack, Stopped],
            Unproven => &[Taken, Proving, RollingBack, Stopped],
            Marking => &[Idle, Leaving, Unproven, Undraining, Stopped],
            Undraining => &[GoingDown, Resuming, Releasing, Stopped],
            RollingBack => &[Unproven, Stopped],
            Resuming => &[Soaking, SoakFailed, Releasing, Stopped],
            Soaking => &[SoakFailed, Taken, Releasing, Stopped],
            SoakFailed => &[Taken, Releasing, Stopped],
            Releasing => &[Idle, Soaking, Stopped],
            Stopped => &[],
        }
    }
}
