//! What can happen to the model's node.

use proptest::{
    prelude::{Just, any, prop},
    prop_oneof,
    strategy::Strategy as Generator,
};

/// What happens to the node next.
#[derive(Debug, Clone)]
pub(super) enum Happening {
    /// The operation under way ends: well (true), or as badly as it can.
    Ends(bool),
    /// An update is staged, or no more.
    Staged(Option<u8>),
    /// update_engine is away.
    EngineGone,
    /// Somebody logs in or out.
    Person(bool),
    /// Somebody blocks or unblocks shutdowns.
    Inhibited(bool),
    /// Time passes, in minutes.
    Minutes(u16),
    /// A person asks for a reboot, or takes it back.
    Asked(bool),
    /// A person makes the other slot next, or this one again.
    Rollback,
    /// A person quarantines this image on this node, or clears it.
    Judged(u8, bool),
    /// A person unlocks this node; once it has committed that needs force, and is theirs to answer for.
    Unlocked,
    /// The agent dies and is started again.
    Dies,
    /// The agent is told to end, and is started again once it has.
    Stops,
    /// systemd is told directly to shut down, or that it shall not after all; nobody signals either.
    Shutdown(bool),
    /// The machine loses power, or is rebooted by somebody.
    Reboots,
    /// The journal cannot be written from now on, or can again.
    Disk(bool),
    /// etcd is told of what was found to be bad.
    Report,
}

pub(super) fn happening() -> impl Generator<Value = Happening> {
    use Happening::*;
    prop_oneof![
        12 => any::<bool>().prop_map(Ends),
        6 => Just(Ends(true)),
        4 => prop::option::weighted(0.8, 1u8..6).prop_map(Staged),
        1 => Just(EngineGone),
        1 => any::<bool>().prop_map(Person),
        1 => any::<bool>().prop_map(Inhibited),
        4 => (0u16..200).prop_map(Minutes),
        1 => any::<bool>().prop_map(Asked),
        1 => Just(Rollback),
        1 => (1u8..6, any::<bool>()).prop_map(|(version, bad)| Judged(version, bad)),
        1 => Just(Unlocked),
        1 => Just(Dies),
        1 => Just(Stops),
        1 => any::<bool>().prop_map(Shutdown),
        1 => Just(Reboots),
        1 => prop::bool::weighted(0.7).prop_map(Disk),
        1 => Just(Report),
    ]
}
