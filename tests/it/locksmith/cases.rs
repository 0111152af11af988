//! What holds for every `locksmithctl`.

use pointsman_testbed::etcd::Cluster;

use super::{Line, Old, check, line};

/// An address at which nobody listens, and a name that is none (RFC 6761).
const NOBODY: &str = "http://127.0.0.1:1";

const CASES: &[&[Line]] = &[
    // The first look makes the lock.
    &[line(
        "-endpoint ETCD -group GROUP status",
        0,
        "Available: 1\nMax: 1\n",
        "",
    )],
    &[
        line("-endpoint ETCD -group GROUP lock a", 0, "", ""),
        line(
            "-endpoint ETCD -group GROUP status",
            0,
            "Available: 0\nMax: 1\n\nMACHINE ID\na\n",
            "",
        ),
        line(
            "-endpoint ETCD -group GROUP lock b",
            1,
            "",
            "Error locking: semaphore is at 0\n",
        ),
        // What is left is looked at before who holds.
        line(
            "-endpoint ETCD -group GROUP lock a",
            1,
            "",
            "Error locking: semaphore is at 0\n",
        ),
        line("-endpoint ETCD -group GROUP unlock a", 0, "", ""),
        line(
            "-endpoint ETCD -group GROUP unlock a",
            1,
            "",
            "Error unlocking: holder does not exist\n",
        ),
        line(
            "-endpoint ETCD -group GROUP status",
            0,
            "Available: 1\nMax: 1\n",
            "",
        ),
    ],
    &[
        line(
            "-endpoint ETCD -group GROUP set-max 4",
            0,
            "Old-Max: 1\nMax: 4\n",
            "",
        ),
        line("-endpoint ETCD -group GROUP lock c", 0, "", ""),
        line("-endpoint ETCD -group GROUP lock a", 0, "", ""),
        line(
            "-endpoint ETCD -group GROUP lock a",
            1,
            "",
            "Error locking: holder exists\n",
        ),
        line("-endpoint ETCD -group GROUP lock b", 0, "", ""),
        line(
            "-endpoint ETCD -group GROUP status",
            0,
            "Available: 1\nMax: 4\n\nMACHINE ID\na\nb\nc\n",
            "",
        ),
        line(
            "-endpoint ETCD -group GROUP set-max 2",
            0,
            "Old-Max: 4\nMax: 2\n",
            "",
        ),
        line(
            "-endpoint ETCD -group GROUP status",
            0,
            "Available: -1\nMax: 2\n\nMACHINE ID\na\nb\nc\n",
            "",
        ),
        line(
            "-endpoint ETCD -group GROUP lock d",
            1,
            "",
            "Error locking: semaphore is at -1\n",
        ),
        line("-endpoint ETCD -group GROUP unlock b", 0, "", ""),
        line(
            "-endpoint ETCD -group GROUP lock d",
            1,
            "",
            "Error locking: semaphore is at 0\n",
        ),
        line(
            "-endpoint ETCD -group GROUP set-max 2",
            0,
            "Old-Max: 2\nMax: 2\n",
            "",
        ),
    ],
    // The default group, in the two ways to mean it; what follows an id is not looked at.
    &[
        line("-endpoint ETCD lock a b", 0, "", ""),
        line(
            "-endpoint ETCD -group '' status x",
            0,
            "Available: 0\nMax: 1\n\nMACHINE ID\na\n",
            "",
        ),
        line(
            "-endpoint ETCD -group GROUP status",
            0,
            "Available: 1\nMax: 1\n",
            "",
        ),
        line("-endpoint ETCD --group= unlock a b", 0, "", ""),
    ],
    // This machine.
    &[
        line(
            "-endpoint ETCD -group GROUP unlock",
            1,
            "",
            "Error unlocking: holder does not exist\n",
        ),
        line("-endpoint ETCD -group GROUP lock", 0, "", ""),
        line(
            "-endpoint ETCD -group GROUP lock",
            1,
            "",
            "Error locking: semaphore is at 0\n",
        ),
        line("-endpoint ETCD -group GROUP unlock", 0, "", ""),
    ],
    // Numbers.
    &[
        line(
            "-endpoint ETCD -group GROUP set-max abc",
            1,
            "",
            "Invalid maximum value: abc\n",
        ),
        line(
            "-endpoint ETCD -group GROUP set-max 1.5",
            1,
            "",
            "Invalid maximum value: 1.5\n",
        ),
        line(
            "-endpoint ETCD -group GROUP set-max 99999999999999999999",
            1,
            "",
            "Invalid maximum value: 99999999999999999999\n",
        ),
        line(
            "-endpoint ETCD -group GROUP set-max",
            1,
            "",
            "New maximum value must be set.\n",
        ),
        line(
            "-endpoint ETCD -group GROUP set-max 1 2",
            1,
            "",
            "New maximum value must be set.\n",
        ),
        line(
            "-endpoint ETCD -group GROUP set-max ++3",
            1,
            "",
            "Invalid maximum value: ++3\n",
        ),
        line(
            "-endpoint ETCD -group GROUP set-max ''",
            1,
            "",
            "Invalid maximum value: \n",
        ),
        line(
            "-endpoint ETCD -group GROUP set-max +3",
            0,
            "Old-Max: 1\nMax: 3\n",
            "",
        ),
        line(
            "-endpoint ETCD -group GROUP set-max 0",
            0,
            "Old-Max: 3\nMax: 0\n",
            "",
        ),
        line(
            "-endpoint ETCD -group GROUP lock a",
            1,
            "",
            "Error locking: semaphore is at 0\n",
        ),
    ],
    // Both dashes, both ways to give a value, and the last of several.
    &[
        line("--endpoint ETCD --group GROUP lock a", 0, "", ""),
        line(
            "-endpoint=ETCD --group=GROUP lock b",
            1,
            "",
            "Error locking: semaphore is at 0\n",
        ),
        line(
            "--endpoint=ETCD -group other -group GROUP lock b",
            1,
            "",
            "Error locking: semaphore is at 0\n",
        ),
        line(
            "-endpoint http://127.0.0.1:1 -endpoint ETCD -group GROUP -- lock b",
            1,
            "",
            "Error locking: semaphore is at 0\n",
        ),
        line("-endpoint ETCD -group GROUP unlock -- a", 0, "", ""),
        line(
            "-endpoint ETCD -group GROUP/prod/db -debug=false lock a",
            0,
            "",
            "",
        ),
        line(
            "-endpoint ETCD -group GROUP/prod/db status",
            0,
            "Available: 0\nMax: 1\n\nMACHINE ID\na\n",
            "",
        ),
    ],
    // Wrong words.
    &[
        line(
            "x",
            2,
            "locksmithctl: unknown subcommand: \"x\"\nRun 'locksmithctl help' for usage.\n",
            "",
        ),
        line(
            "-x status",
            2,
            "",
            "flag provided but not defined: -x\nUsage of locksmithctl:\n…",
        ),
        line(
            "--x=1 status",
            2,
            "",
            "flag provided but not defined: -x\n…",
        ),
        line("-group", 2, "", "flag needs an argument: -group\n…"),
        line(
            "-debug=maybe status",
            2,
            "",
            "invalid boolean value \"maybe\" for -debug: parse error\n…",
        ),
        line("---group g status", 2, "", "bad flag syntax: ---group\n…"),
        // Of two flags the wrong one counts, whatever the other asks for.
        line("-version -x", 2, "", "flag provided but not defined: -x\n…"),
        line("-h", 0, "", "Usage of locksmithctl:\n  -debug…"),
        line("--help status", 0, "", "Usage of locksmithctl:\n  -debug…"),
        line("lock -h", 2, "flag: help requested\n", "…"),
        line(
            "status -x",
            2,
            "flag provided but not defined: -x\n",
            "flag provided but not defined: -x\nUsage…",
        ),
        line(
            "set-max -1",
            2,
            "flag provided but not defined: -1\n",
            "flag provided but not defined: -1\nUsage…",
        ),
        line("help x", 1, "Unrecognized command: x\n", ""),
    ],
    // Nobody there.
    &[
        line(
            "-endpoint http://127.0.0.1:1 status",
            1,
            "",
            "Error initializing etcd client: no etcd endpoints available, tried: http://127.0.0.1:1\n…",
        ),
        line(
            "-endpoint http://127.0.0.1:1,http://127.0.0.1:2 -group GROUP lock a",
            1,
            "",
            "Error initializing etcd client: no etcd endpoints available, tried: http://127.0.0.1:1,http://127.0.0.1:2\n…",
        ),
        line(
            "-endpoint http://127.0.0.1:1 unlock a",
            1,
            "",
            "Error initializing etcd client: …",
        ),
        line(
            "-endpoint http://127.0.0.1:1 set-max 3",
            1,
            "",
            "Error initializing etcd client: …",
        ),
        line(
            "-endpoint http://127.0.0.1:1,ETCD -group GROUP status",
            0,
            "Available: 1\nMax: 1\n",
            "",
        ),
    ],
];

#[tokio::test]
async fn every_case_of_locksmithctl_holds() {
    let cluster = Cluster::builder(1).v2().start().await;
    let old = Old::under_test();
    for lines in CASES {
        check(&cluster, &old, lines).await;
    }
}

#[tokio::test]
async fn missing_command_prints_help_and_version() {
    let old = Old::under_test();
    for args in [&[][..], &["help"], &["help", "lock"]] {
        let done = old.run(args, &[]).await;
        assert_eq!(done.code, Some(0), "{done:?}");
        assert!(
            done.stdout.contains("lock") && done.stderr.is_empty(),
            "{done:?}"
        );
    }
    for flag in ["-version", "--version", "-version=true"] {
        let done = old.run(&[flag, "x"], &[]).await;
        assert_eq!(done.code, Some(0), "{done:?}");
        assert!(done.stdout.starts_with("locksmithctl version "), "{done:?}");
    }
}

#[tokio::test]
async fn variables_apply_where_no_flag_is_given() {
    let cluster = Cluster::builder(1).v2().start().await;
    let old = Old::under_test();
    let endpoint = cluster.endpoint(0);
    let env = [
        ("LOCKSMITHCTL_ENDPOINT", endpoint.as_str()),
        ("LOCKSMITHCTL_GROUP", "of-the-environment"),
        ("LOCKSMITHCTL_ETCD_CAFILE", ""),
    ];
    assert_eq!(old.run(&["lock", "a"], &env).await.code, Some(0));
    let held = "Available: 0\nMax: 1\n\nMACHINE ID\na\n";
    assert_eq!(old.run(&["status"], &env).await.stdout, held);
    let flag = ["-group", "of-the-flag", "status"];
    assert_eq!(old.run(&flag, &env).await.stdout, "Available: 1\nMax: 1\n");
    let flag = ["-endpoint", NOBODY, "status"];
    assert_eq!(old.run(&flag, &env).await.code, Some(1));
}
