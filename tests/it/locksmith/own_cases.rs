//! Faults of locksmith that compatibility mode does not repeat.

use std::fs;

use host::node::Group;
use pointsman_testbed::etcd::{Cluster, Tls, shared_cluster, unique_prefix};
use semaphore::{
    keys::Keys,
    records::{Pause, Phase},
};

use super::{Line, Old, check, line};
use crate::support::{holder, on};

const CASES: &[&[Line]] = &[
    // A name that does not resolve, an address where nobody is, and then the good one.
    &[
        line(
            "-endpoint http://nowhere.invalid:2379,http://127.0.0.1:1,ETCD -group GROUP lock a",
            0,
            "",
            "",
        ),
        line(
            "-endpoint http://nowhere.invalid:2379,ETCD -group GROUP status",
            0,
            "Available: 0\nMax: 1\n\nMACHINE ID\na\n",
            "",
        ),
    ],
    // Names and numbers that are none.
    &[
        line(
            "-endpoint ETCD -group GROUP lock ''",
            1,
            "",
            "Error locking: …",
        ),
        line(
            "-endpoint ETCD -group GROUP unlock ''",
            1,
            "",
            "Error unlocking: …",
        ),
        line(
            "-endpoint ETCD -group GROUP lock a/b",
            1,
            "",
            "Error locking: …",
        ),
        line(
            "-endpoint ETCD -group GROUP set-max -- -1",
            1,
            "",
            "Invalid maximum value: -1\n",
        ),
        line(
            "-endpoint ETCD -group GROUP status",
            0,
            "Available: 1\nMax: 1\n",
            "",
        ),
    ],
    &[line(
        "-endpoint ftp://h status",
        1,
        "",
        "Error initializing etcd client: -endpoint: found \"ftp://h\", expected http(s)://…",
    )],
    &[line(
        "-endpoint ETCD -etcd-cafile /nowhere.pem status",
        1,
        "",
        "Error initializing etcd client: …",
    )],
];

#[tokio::test]
async fn own_cases_hold_in_compatibility_mode() {
    let old = Old::ours("locksmithctl");
    for lines in CASES {
        check(shared_cluster(), &old, lines).await;
    }
}

#[tokio::test]
async fn eight_at_once_with_eight_free_all_succeed() {
    let old = Old::ours("locksmithctl");
    let (group, endpoint) = (unique_prefix("eight"), shared_cluster().endpoint(0));
    let common = ["-endpoint", &endpoint, "-group", &group];
    old.run(&[&common[..], &["set-max", "8"]].concat(), &[])
        .await;
    let ids: Vec<String> = (0..8).map(|i| format!("n{i}")).collect();
    let locks = ids.iter().map(|id| {
        let args = [&common[..], &["lock", id]].concat();
        let old = &old;
        async move { old.run(&args, &[]).await }
    });
    for done in futures_util::future::join_all(locks).await {
        assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""));
    }
}

#[tokio::test]
async fn documents_of_other_tools_are_read_and_broken_ones_named() {
    let old = Old::ours("locksmithctl");
    let (group, endpoint) = (unique_prefix("wild"), shared_cluster().endpoint(0));
    let of_group = Group::new(&group).unwrap();
    let key = Keys::new("coreos.com/updateengine/rebootlock", of_group).semaphore();
    let mut client = shared_cluster().client().await;
    let mut run = async |document: &str, args: &[&str]| {
        client.put(key.clone(), document, None).await.unwrap();
        let common = ["-endpoint", &endpoint, "-group", &group];
        old.run(&[&common[..], args].concat(), &[]).await
    };
    let null = run(r#"{"semaphore":1,"max":1,"holders":null}"#, &["status"]).await;
    assert_eq!(null.stdout, "Available: 1\nMax: 1\n");
    let unsorted = r#"{"semaphore":0,"max":2,"holders":["b","a"]}"#;
    let shown = run(unsorted, &["status"]).await.stdout;
    assert_eq!(shown, "Available: 0\nMax: 2\n\nMACHINE ID\na\nb\n");
    assert_eq!(run(unsorted, &["unlock", "a"]).await.code, Some(0));
    for args in [&["status"][..], &["lock", "x"], &["set-max", "2"]] {
        let broken = run("{", args).await;
        assert_eq!(broken.code, Some(1), "{broken:?}");
        assert!(
            broken.stderr.starts_with("Error ") && broken.stderr.contains("rebuild"),
            "{broken:?}"
        );
    }
    // Gone, although somebody holds: nothing is free.
    run(r#"{"max":1}"#, &["lock", "b"]).await;
    client.delete(key.clone(), None).await.unwrap();
    for args in [&["status"][..], &["lock", "x"], &["set-max", "2"]] {
        let common = ["-endpoint", &endpoint, "-group", &group];
        let lost = old.run(&[&common[..], args].concat(), &[]).await;
        assert_eq!((lost.code, lost.stdout.as_str()), (Some(1), ""), "{lost:?}");
        assert!(
            lost.stderr.starts_with("Error ") && lost.stderr.contains("b is a holder"),
            "{lost:?}"
        );
    }
}

#[tokio::test]
async fn ca_alone_is_enough_and_a_hung_etcd_times_out() {
    let old = Old::ours("locksmithctl");
    let cluster = Cluster::builder(1).tls(Tls::ServerOnly).start().await;
    let authority = cluster.certificates().ca.display().to_string();
    fs::copy(&authority, old.root().join("ca.pem")).unwrap();
    // A path from the flag lies under the root of this machine, as all its files do.
    let args = [
        "-endpoint",
        &cluster.endpoint(0),
        "-etcd-cafile",
        "/ca.pem",
        "status",
    ];
    let done = old.run(&args, &[]).await;
    assert_eq!(done.stdout, "Available: 1\nMax: 1\n", "{done:?}");
    cluster.stop_member(0);
    let done = old.run(&args, &[("POINTSMAN_TIMEOUT", "300ms")]).await;
    cluster.cont_member(0);
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(
        done.stderr.contains("no etcd endpoints available"),
        "{done:?}"
    );
}

#[tokio::test]
async fn password_is_removed_from_the_command_line() {
    let old = Old::ours("locksmithctl");
    let cluster = Cluster::builder(1).password("s3cret").start().await;
    let endpoint = cluster.endpoint(0);
    let args = ["-endpoint", &endpoint, "-etcd-username", "root"];
    let right = [&args[..], &["-etcd-password", "s3cret", "status"]].concat();
    assert_eq!(old.run(&right, &[]).await.stdout, "Available: 1\nMax: 1\n");
    let env = [("LOCKSMITHCTL_ETCD_PASSWORD", "s3cret")];
    let by_variable = [&args[..], &["status"]].concat();
    assert_eq!(old.run(&by_variable, &env).await.code, Some(0));
    let wrong = [&args[..], &["-etcd-password=guess", "status"]].concat();
    let done = old.run(&wrong, &env).await;
    assert_eq!(done.code, Some(1), "the flag is stronger: {done:?}");
    assert!(!done.stderr.contains("guess"), "{done:?}");
    // While it waits for a hung etcd, nobody sees it.
    cluster.stop_member(0);
    let dir = old.root().join("log");
    let process = pointsman_testbed::process::Spec::new(&old.program, &dir)
        .args(&right)
        .env("POINTSMAN_ROOT", old.root())
        .spawn();
    let line = async || {
        let line = fs::read(format!("/proc/{}/cmdline", process.pid())).unwrap_or_default();
        String::from_utf8_lossy(&line).replace('\0', " ")
    };
    let seen = crate::support::eventually("it started itself again", line, |line| {
        line.contains("-etcd-username=root") && line.contains(" status")
    })
    .await;
    assert!(!seen.contains("s3cret"), "{seen}");
    cluster.cont_member(0);
    process.kill().await;
}

#[tokio::test]
async fn the_log_is_asked_for_by_flag_or_variable() {
    let old = Old::ours("locksmithctl");
    let nobody = ["-endpoint", "http://127.0.0.1:1"];
    for (variable, flag, logged) in [
        ("", "-debug", true),
        ("1", "-debug=false", false),
        ("true", "-group=g", true),
        ("0", "-group=g", false),
        ("often", "-group=g", false),
    ] {
        let args = [&nobody[..], &[flag, "status"]].concat();
        let done = old.run(&args, &[("LOCKSMITHCTL_DEBUG", variable)]).await;
        let said = (done.code, done.stderr.contains("DEBUG"));
        assert_eq!(said, (Some(1), logged), "{variable:?} {flag}: {done:?}");
    }
}

#[tokio::test]
async fn commands_without_flags_use_the_configured_group_and_etcd() {
    let old = Old::ours("locksmithctl");
    let prefix = unique_prefix("own");
    let endpoint = shared_cluster().endpoint(0);
    let folder = old.root().join("etc/pointsman");
    fs::create_dir_all(&folder).unwrap();
    let config =
        format!("{{group: mine, key-prefix: {prefix}, etcd: {{endpoints: '{endpoint}'}}}}");
    fs::write(folder.join("config.yaml"), config).unwrap();
    let conf = "GROUP=nobodys\nLOCKSMITHD_GROUP=older\nLOCKSMITHD_ENDPOINT=http://127.0.0.1:1\n";
    fs::create_dir_all(old.root().join("etc/coreos")).unwrap();
    fs::write(old.root().join("etc/coreos/update.conf"), conf).unwrap();
    assert_eq!(old.run(&["lock", "a"], &[]).await.code, Some(0));
    let held = "Available: 0\nMax: 1\n\nMACHINE ID\na\n";
    for (args, env, shown) in [
        (&["status"][..], &[][..], held),
        (&["-group", "mine", "status"], &[], held),
        (&["-group=other", "status"], &[], "Available: 1\nMax: 1\n"),
        (&["-group=", "status"], &[], "Available: 1\nMax: 1\n"),
        (
            &["status"],
            &[("LOCKSMITHCTL_GROUP", "other")],
            "Available: 1\nMax: 1\n",
        ),
        // The daemon's variable is below the file.
        (&["status"], &[("LOCKSMITHD_GROUP", "other")], held),
    ] {
        let done = old.run(args, env).await;
        assert_eq!(
            (done.code, done.stdout.as_str()),
            (Some(0), shown),
            "{args:?} {env:?}: {done:?}"
        );
    }
}

#[tokio::test]
async fn pause_is_reported_and_unlock_ignores_it() {
    let old = Old::ours("locksmithctl");
    let prefix = unique_prefix("forced");
    let semaphore = on(shared_cluster(), &prefix);
    let endpoint = shared_cluster().endpoint(0);
    let env = [("POINTSMAN_KEY_PREFIX", prefix.as_str())];
    let run = async |args: &[&str]| {
        old.run(&[&["-endpoint", &endpoint], args].concat(), &env)
            .await
    };
    let rebooting = holder("away", Phase::Rebooting);
    semaphore.lock(&rebooting).await.unwrap();
    assert!(
        run(&["status"])
            .await
            .stdout
            .ends_with("\n\nMACHINE ID\naway\n")
    );
    let done = run(&["unlock", "away"]).await;
    let said = (done.code, done.stdout.as_str(), done.stderr.as_str());
    assert_eq!(said, (Some(0), "", ""));
    assert!(semaphore.read().await.unwrap().holders.is_empty());
    for (all, words) in [(false, "the group"), (true, "the whole cluster")] {
        let pause: Pause = serde_json::from_str(r#"{"by":"ann","reason":"tea"}"#).unwrap();
        semaphore.pause(all, &pause, None, true).await.unwrap();
        let done = run(&["lock", "a"]).await;
        let expected = format!("Error locking: {words} is paused by ann: tea\n");
        assert_eq!((done.code, done.stderr), (Some(1), expected));
        semaphore.resume(all).await.unwrap();
    }
    assert_eq!(run(&["lock", "a"]).await.code, Some(0));
}
