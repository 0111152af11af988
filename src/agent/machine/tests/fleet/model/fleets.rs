//! The fleets that are explored: a table. Each is small enough to be explored to its end, and all together have every kind of
//! failure and every act of a person.

use super::{
    super::{BAD, GOOD},
    fleet::{Fleet, GroupOf},
    moves::Fault,
    people::Act,
};

const TWO: &[GroupOf] = &[("", 1, &["a", "b"], "")];
const THREE: &[GroupOf] = &[("", 2, &["a", "b", "c"], "")];

const PLAIN: Fleet = Fleet {
    name: "",
    groups: TWO,
    newest: GOOD,
    last: GOOD,
    faults: &[],
    acts: &[],
    forced: false,
    always: false,
};

/// The table.
pub(super) const FLEETS: &[Fleet] = &[
    Fleet {
        name: "kill",
        faults: &[(Fault::Crash, 1)],
        always: true,
        ..PLAIN
    },
    Fleet {
        name: "kill twice",
        faults: &[(Fault::Crash, 2)],
        ..PLAIN
    },
    Fleet {
        name: "power",
        faults: &[(Fault::Cut, 1), (Fault::Crash, 1)],
        ..PLAIN
    },
    Fleet {
        name: "no shutdown",
        faults: &[(Fault::NoShutdown, 1), (Fault::Crash, 1)],
        always: true,
        ..PLAIN
    },
    Fleet {
        name: "replies",
        faults: &[(Fault::LostReply, 1), (Fault::Delay, 1)],
        always: true,
        ..PLAIN
    },
    Fleet {
        name: "late and killed",
        faults: &[(Fault::Delay, 1), (Fault::Crash, 1)],
        ..PLAIN
    },
    Fleet {
        name: "leases",
        faults: &[(Fault::Lease, 2), (Fault::Delay, 1)],
        acts: &[Act::UnlockTicket("", "a")],
        always: true,
        ..PLAIN
    },
    Fleet {
        name: "two of three",
        groups: THREE,
        ..PLAIN
    },
    Fleet {
        name: "two of three, kill",
        groups: THREE,
        faults: &[(Fault::Crash, 1)],
        ..PLAIN
    },
    Fleet {
        name: "pause",
        acts: &[Act::Pause("")],
        always: true,
        ..PLAIN
    },
    Fleet {
        name: "pause, kill",
        faults: &[(Fault::Crash, 1)],
        acts: &[Act::Pause("")],
        ..PLAIN
    },
    Fleet {
        name: "quarantine",
        acts: &[Act::Quarantine(GOOD)],
        always: true,
        ..PLAIN
    },
    Fleet {
        name: "quarantine, replies",
        faults: &[(Fault::LostReply, 1), (Fault::Delay, 1)],
        acts: &[Act::Quarantine(GOOD)],
        ..PLAIN
    },
    Fleet {
        name: "bad image",
        newest: BAD,
        acts: &[Act::Publish(GOOD)],
        always: true,
        ..PLAIN
    },
    Fleet {
        name: "bad image, kill",
        newest: BAD,
        faults: &[(Fault::Crash, 1)],
        acts: &[Act::Publish(GOOD)],
        ..PLAIN
    },
    Fleet {
        name: "bad image, power",
        newest: BAD,
        faults: &[(Fault::Cut, 1)],
        acts: &[Act::Publish(GOOD)],
        ..PLAIN
    },
    Fleet {
        name: "set-max",
        groups: THREE,
        acts: &[Act::Max("", 1, 2)],
        ..PLAIN
    },
    Fleet {
        name: "stop, replies",
        faults: &[(Fault::LostReply, 1), (Fault::Delay, 1)],
        acts: &[Act::Max("", 0, 1)],
        ..PLAIN
    },
    Fleet {
        name: "stop",
        acts: &[Act::Max("", 0, 1)],
        always: true,
        ..PLAIN
    },
    Fleet {
        name: "unlock",
        faults: &[(Fault::Delay, 1)],
        acts: &[Act::Unlock("", "a")],
        forced: true,
        always: true,
        ..PLAIN
    },
    Fleet {
        name: "unlock, kill",
        faults: &[(Fault::Delay, 1), (Fault::Crash, 1)],
        acts: &[Act::Unlock("", "a")],
        forced: true,
        ..PLAIN
    },
    Fleet {
        name: "soak",
        groups: &[("", 1, &["a", "b"], r#"{"soak":"10m"}"#)],
        faults: &[(Fault::Crash, 1)],
        always: true,
        ..PLAIN
    },
    Fleet {
        name: "soak, power",
        groups: &[("", 1, &["a", "b"], r#"{"soak":"10m"}"#)],
        faults: &[(Fault::Cut, 1), (Fault::LostReply, 1)],
        ..PLAIN
    },
    Fleet {
        name: "soak from now on",
        acts: &[Act::Policy("", r#"{"soak":"10m"}"#)],
        always: true,
        ..PLAIN
    },
    Fleet {
        name: "soak on and off",
        faults: &[(Fault::Crash, 1)],
        acts: &[
            Act::Policy("", r#"{"soak":"10m"}"#),
            Act::Policy("", r#"{"wave_soak":"0s"}"#),
        ],
        ..PLAIN
    },
    Fleet {
        name: "waves",
        groups: &[
            ("canary", 1, &["a"], r#"{"wave_soak":"30m"}"#),
            ("web", 1, &["b"], r#"{"after":["canary"]}"#),
        ],
        faults: &[(Fault::Crash, 1)],
        always: true,
        ..PLAIN
    },
    Fleet {
        name: "waves, replies",
        groups: &[
            ("canary", 1, &["a"], r#"{"wave_soak":"30m"}"#),
            ("web", 1, &["b"], r#"{"after":["canary"]}"#),
        ],
        faults: &[(Fault::LostReply, 1), (Fault::Delay, 1)],
        ..PLAIN
    },
    Fleet {
        name: "waves of a bad image",
        groups: &[
            ("canary", 1, &["a"], r#"{"wave_soak":"0s"}"#),
            ("web", 1, &["b"], r#"{"after":["canary"]}"#),
        ],
        newest: BAD,
        acts: &[Act::Publish(GOOD)],
        ..PLAIN
    },
    Fleet {
        name: "waves, soak",
        groups: &[
            (
                "canary",
                2,
                &["a", "b"],
                r#"{"wave_soak":"30m","soak":"10m"}"#,
            ),
            ("web", 1, &["c"], r#"{"after":["canary"]}"#),
        ],
        always: true,
        ..PLAIN
    },
    Fleet {
        name: "after from now on",
        groups: &[
            ("canary", 1, &["a"], r#"{"wave_soak":"0s"}"#),
            ("web", 1, &["b"], ""),
        ],
        faults: &[(Fault::Delay, 1)],
        acts: &[Act::Policy("web", r#"{"after":["canary"]}"#)],
        ..PLAIN
    },
    Fleet {
        name: "four nodes, two groups",
        groups: &[
            ("canary", 1, &["a", "b"], r#"{"wave_soak":"0s"}"#),
            ("web", 2, &["c", "d"], r#"{"after":["canary"]}"#),
        ],
        always: true,
        ..PLAIN
    },
    Fleet {
        name: "four nodes, kill",
        groups: &[
            ("canary", 1, &["a", "b"], r#"{"wave_soak":"0s"}"#),
            ("web", 2, &["c", "d"], r#"{"after":["canary"]}"#),
        ],
        faults: &[(Fault::Crash, 1)],
        ..PLAIN
    },
    Fleet {
        name: "gone, unlocked",
        faults: &[(Fault::Gone, 1), (Fault::Crash, 1)],
        acts: &[Act::Unlock("", "a"), Act::Unlock("", "b")],
        always: true,
        ..PLAIN
    },
    Fleet {
        name: "lost",
        groups: LOST,
        faults: &[(Fault::Gone, 1)],
        acts: &[Act::Clear(GOOD)],
        always: true,
        ..PLAIN
    },
    Fleet {
        name: "lost, kill",
        groups: LOST,
        faults: &[(Fault::Gone, 1), (Fault::Crash, 1)],
        acts: &[Act::Clear(GOOD)],
        ..PLAIN
    },
    Fleet {
        name: "lost, late",
        groups: LOST,
        acts: &[Act::Clear(GOOD)],
        faults: &[(Fault::Late, 1), (Fault::Crash, 1)],
        ..PLAIN
    },
    Fleet {
        name: "lost, late, replies",
        groups: LOST,
        acts: &[Act::Clear(GOOD)],
        faults: &[(Fault::Late, 1), (Fault::Delay, 1), (Fault::LostReply, 1)],
        ..PLAIN
    },
    Fleet {
        name: "lost, one late and one gone",
        groups: LOST,
        acts: &[Act::Clear(GOOD)],
        faults: &[(Fault::Late, 1), (Fault::Gone, 1)],
        always: true,
        ..PLAIN
    },
    Fleet {
        name: "lost over the budget",
        groups: &[(
            "",
            1,
            &["a", "b", "c"],
            r#"{"lost":{"grace":"1h","budget":1}}"#,
        )],
        faults: &[(Fault::Gone, 2)],
        acts: &[
            Act::Clear(GOOD),
            Act::Forget("", "a"),
            Act::Forget("", "b"),
            Act::Forget("", "c"),
        ],
        ..PLAIN
    },
    Fleet {
        name: "lost from now on",
        faults: &[(Fault::Gone, 1)],
        acts: &[
            Act::Clear(GOOD),
            Act::Policy("", r#"{"lost":{"grace":"1h","budget":1}}"#),
            Act::Unlock("", "a"),
            Act::Unlock("", "b"),
        ],
        ..PLAIN
    },
    Fleet {
        name: "gone before the wave",
        groups: &[
            (
                "canary",
                1,
                &["a", "b"],
                r#"{"wave_soak":"0s","lost":{"grace":"1h","budget":1}}"#,
            ),
            ("web", 1, &["c"], r#"{"after":["canary"]}"#),
        ],
        faults: &[(Fault::Gone, 1)],
        acts: &[
            Act::Clear(GOOD),
            Act::Forget("canary", "a"),
            Act::Forget("canary", "b"),
            Act::Unlock("web", "c"),
        ],
        always: true,
        ..PLAIN
    },
    Fleet {
        name: "half of four",
        groups: &[("", 1, &["a", "b", "c", "d"], r#"{"max_percent":50}"#)],
        ..PLAIN
    },
    Fleet {
        name: "percentage from now on",
        groups: THREE,
        acts: &[Act::Policy("", r#"{"max_percent":34}"#)],
        ..PLAIN
    },
];

const LOST: &[GroupOf] = &[("", 1, &["a", "b"], r#"{"lost":{"grace":"1h","budget":1}}"#)];
