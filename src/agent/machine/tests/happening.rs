//! What can happen to the model's node.

use proptest::{
    prelude::{Just, any, prop},
    prop_oneof,
    strategy::Strategy as Generator,
};

/// What happens to the node next.
#[derive(Debug, Clone)]
pub(super) enum Happening {
    /// The operation under way ends: well (true), or as badly as it can. Where none is, the machine goes down that is
    /// going down.
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
    /// It passes until the window opens.
    Window,
    /// The wall clock is set, by so many minutes.
    Clock(i16),
    /// etcd is away from now on (false), or there again.
    Etcd(bool),
    /// logind answers no more, or again.
    Logind(bool),
    /// The disk with the slots cannot be read, or can again.
    Slots(bool),
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
    /// As that, and what boots next does not come up.
    ComesNot,
    /// The machine is broken, whatever it runs, or is mended.
    Broken(bool),
    /// A person clears this image in etcd.
    Pardoned(u8),
    /// The configuration is read again, and names the other strategy.
    Strategy,
    /// A newer program has run here for a while.
    Newer,
    /// The journal cannot be written from now on, or can again.
    Disk(bool),
    /// etcd is told of what was found to be bad.
    Report,
}

pub(super) fn happening() -> impl Generator<Value = Happening> {
    use Happening::*;
    prop_oneof![
        8 => any::<bool>().prop_map(Ends),
        24 => Just(Ends(true)),
        4 => prop::option::weighted(0.8, 1u8..6).prop_map(Staged),
        1 => Just(EngineGone),
        1 => any::<bool>().prop_map(Person),
        1 => any::<bool>().prop_map(Inhibited),
        2 => (0u16..200).prop_map(Minutes),
        4 => Just(Window),
        1 => (-300i16..300).prop_map(Clock),
        1 => prop::bool::weighted(0.7).prop_map(Etcd),
        1 => prop::bool::weighted(0.7).prop_map(Logind),
        1 => prop::bool::weighted(0.7).prop_map(Slots),
        1 => any::<bool>().prop_map(Asked),
        1 => Just(Rollback),
        1 => (1u8..6, any::<bool>()).prop_map(|(version, bad)| Judged(version, bad)),
        1 => Just(Unlocked),
        1 => Just(Dies),
        1 => Just(Stops),
        1 => any::<bool>().prop_map(Shutdown),
        1 => Just(Reboots),
        2 => Just(ComesNot),
        1 => prop::bool::weighted(0.3).prop_map(Broken),
        1 => (1u8..6).prop_map(Pardoned),
        1 => prop::bool::weighted(0.3).prop_map(|other| if other { Strategy } else { Window }),
        1 => prop::bool::weighted(0.1).prop_map(|newer| if newer { Newer } else { Window }),
        1 => prop::bool::weighted(0.7).prop_map(Disk),
        1 => Just(Report),
    ]
}
