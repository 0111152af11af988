//! The commands, as processes of their own.

use pointsman::semaphore::records::{Pause, Phase};
use pointsman_testbed::{
    etcd::{shared_cluster, unique_prefix},
    fakes::PATIENCE,
    process::{Output, Signal, Spec, run},
    scratch,
};
use serde_json::Value;

use crate::{
    agents::{Site, bin, machine},
    support::{claim, eventually, holder, on},
};

/// An operator at a machine without an agent and without a bus.
struct Operator {
    prefix: String,
    root: tempfile::TempDir,
}

impl Operator {
    fn new(name: &str) -> Self {
        let root = scratch::dir("operator");
        std::fs::create_dir_all(root.path().join("etc")).unwrap();
        std::fs::write(
            root.path().join("etc/machine-id"),
            "0123456789abcdef0123456789abcdef\n",
        )
        .unwrap();
        std::fs::write(root.path().join("etc/hostname"), "desk\n").unwrap();
        Self {
            prefix: unique_prefix(name),
            root,
        }
    }

    fn args<'a>(&'a self, args: &[&'a str]) -> Vec<String> {
        let root = self.root.path().display().to_string();
        let endpoints = shared_cluster().endpoints().join(",");
        let common = [
            "--root",
            &root,
            "--endpoint",
            &endpoints,
            "--key-prefix",
            &self.prefix,
        ];
        args.iter()
            .copied()
            .chain(common)
            .map(str::to_owned)
            .collect()
    }

    async fn run(&self, args: &[&str]) -> Output {
        run(bin(), self.args(args), &[], PATIENCE).await
    }

    /// Runs a command that must end with this code and say this (on the one stream or the other).
    async fn says(&self, args: &[&str], code: i32, says: &str) -> Output {
        let output = self.run(args).await;
        assert_eq!(output.code, Some(code), "{args:?}: {output:?}");
        let text = format!("{}{}", output.stdout, output.stderr);
        assert!(text.contains(says), "{args:?} should say {says:?}: {text}");
        output
    }

    async fn json(&self, args: &[&str]) -> Value {
        let output = self
            .says(&[&["status", "--json"], args].concat(), 0, "")
            .await;
        serde_json::from_str(&output.stdout).unwrap()
    }
}

#[tokio::test]
async fn lock_and_unlock_say_what_they_did_and_exit_so() {
    let op = Operator::new("lock");
    op.says(&["status"], 0, "Not used yet").await;
    op.says(&["unlock", "a"], 0, "a did not hold the semaphore")
        .await;
    op.says(
        &["lock", "a", "--reason", "new disk"],
        0,
        "a holds the semaphore",
    )
    .await;
    op.says(
        &["lock", "a"],
        0,
        "a held the semaphore already (phase manual)",
    )
    .await;
    op.says(&["lock", "b"], 3, "held by a").await;
    // Without an id it is this machine.
    op.says(
        &["lock"],
        3,
        "0123456789abcdef0123456789abcdef is not locked",
    )
    .await;
    op.says(&["status"], 0, "new disk").await;
    op.says(&["unlock", "a"], 0, "does not hold the semaphore any more")
        .await;
    op.says(&["pause", "--reason", "launch day"], 0, "paused until")
        .await;
    op.says(&["lock", "a"], 3, "launch day").await;
    op.says(&["status"], 0, "PAUSED by root@desk").await;
    op.says(&["resume", "--all"], 0, "was not paused").await;
    op.says(&["resume"], 0, "not paused any more (it was: launch day)")
        .await;
    op.says(
        &["pause", "--all", "--for", "2h", "--reason", "x"],
        0,
        "The whole cluster is paused for 2h",
    )
    .await;
    op.says(&["status"], 0, "THE WHOLE CLUSTER IS PAUSED").await;
    op.says(&["resume", "--all"], 0, "any more").await;
    // A node that is away is not unlocked by accident.
    let c = claim("away");
    let semaphore = on(shared_cluster(), &op.prefix);
    semaphore.acquire(&c, |_| {}).await;
    semaphore.commit(&c).await.unwrap();
    op.says(&["unlock", "away"], 3, "pointsman unlock --force away")
        .await;
    op.says(&["unlock", "--force", "away"], 0, "any more").await;
}

#[tokio::test]
async fn max_is_set_and_shown() {
    let op = Operator::new("max");
    op.says(&["set-max", "4"], 0, "Max: 4").await;
    op.says(&["lock", "a"], 0, "").await;
    op.says(
        &["set-max", "0"],
        0,
        "Old-Max: 4\nMax: 0\nThe group is stopped",
    )
    .await;
    op.says(&["status"], 0, "Available: -1\nMax: 0").await;
    op.says(&["lock", "b"], 3, "the group is stopped").await;
    op.says(&["set-max", "4294967295"], 0, "Max: 4294967295")
        .await;
}

#[tokio::test]
async fn what_is_no_command_line_is_refused_with_its_name() {
    let op = Operator::new("usage");
    for (args, says) in [
        (&["set-max", "abc"][..], "abc"),
        (&["set-max", "-1"], "-1"),
        (&["set-max", "4294967296"], "4294967296"),
        (&["set-max"], "<N>"),
        (&["lock", ""], "the node id \"\" is empty"),
        (&["lock", "a/b"], "a/b"),
        (&["unlock", "a b"], "a b"),
        (&["status", "--group", "a\nb"], "control characters"),
        (&["pause"], "--reason"),
        (&["pause", "--reason", "x", "--for", "soon"], "soon"),
        (&["pause", "--reason", "x", "--for", "10ms"], "at least 1s"),
        (&["lock", "a", "--wait", "-5s"], "-5"),
        (&["status", "--timeout", "never"], "never"),
        (&["explode"], "explode"),
        (&["status", "--endpoint", "ftp://h"], "ftp://h"),
        (&[], "Usage"),
    ] {
        op.says(args, 2, says).await;
    }
    let none = Operator::new("no-id");
    std::fs::remove_file(none.root.path().join("etc/machine-id")).unwrap();
    none.says(
        &["lock"],
        2,
        &none
            .root
            .path()
            .join("etc/machine-id")
            .display()
            .to_string(),
    )
    .await;
}

#[tokio::test]
async fn lock_waits_its_turn_or_leaves_the_line() {
    let op = Operator::new("wait");
    let semaphore = on(shared_cluster(), &op.prefix);
    let line = async || semaphore.read().await.unwrap().queue.len();
    op.says(&["lock", "a"], 0, "").await;
    op.says(
        &["lock", "b", "--wait", "300ms"],
        3,
        "did not come within 300ms",
    )
    .await;
    assert_eq!(line().await, 0, "no ticket is left");
    let dir = scratch::dir("wait");
    for (signal, code) in [(Some(Signal::SIGINT), 3), (None, 0)] {
        let waiting = Spec::new(bin(), dir.path().join("log"))
            .args(op.args(&["lock", "b", "--wait", "1m"]))
            .spawn();
        eventually("its ticket", line, |n| *n == 1).await;
        op.says(
            &["lock", "b", "--wait", "1s"],
            3,
            "waits in the queue already",
        )
        .await;
        match signal {
            Some(signal) => waiting.signal(signal),
            None => drop(op.says(&["unlock", "a"], 0, "").await),
        }
        assert_eq!(
            waiting.wait_timeout(PATIENCE).await.unwrap().code(),
            Some(code),
            "{}",
            waiting.log()
        );
        eventually("the line is empty", line, |n| *n == 0).await;
    }
    op.says(&["lock", "b"], 0, "held the semaphore already")
        .await;
}

#[tokio::test]
async fn eight_at_once_with_eight_free_all_succeed() {
    let op = Operator::new("eight");
    op.says(&["set-max", "8"], 0, "").await;
    let ids: Vec<String> = (0..8).map(|i| format!("n{i}")).collect();
    let locks = ids.iter().map(|id| {
        let op = &op;
        async move { op.says(&["lock", id], 0, "holds the semaphore").await }
    });
    futures_util::future::join_all(locks).await;
    op.says(&["status"], 0, "Available: 0\nMax: 8").await;
}

fn keys(value: &Value) -> Vec<&str> {
    value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

#[tokio::test]
async fn the_json_has_the_shape_that_is_documented() {
    let op = Operator::new("json");
    let semaphore = on(shared_cluster(), &op.prefix);
    op.says(&["set-max", "2"], 0, "").await;
    let mut late = claim("late");
    late.holder.deadline = Some(1);
    semaphore.acquire(&late, |_| {}).await;
    // Taken by another tool: only the document knows.
    let mut client = shared_cluster().client().await;
    let text = r#"{"semaphore":0,"max":2,"holders":["foreign","late"]}"#;
    client
        .put(semaphore.keys().semaphore(), text, None)
        .await
        .unwrap();
    let left = serde_json::to_string(&holder("left", Phase::Draining)).unwrap();
    client
        .put(semaphore.keys().holder("left"), left, None)
        .await
        .unwrap();
    client
        .put(
            semaphore.keys().quarantine_version("2"),
            r#"{"version":"2","reason":"no"}"#,
            None,
        )
        .await
        .unwrap();
    let pause: Pause = serde_json::from_str(r#"{"by":"ann","reason":"tea"}"#).unwrap();
    semaphore.pause(false, &pause, None).await.unwrap();
    for id in ["first", "second"] {
        let ticket = format!(r#"{{"id":"{id}","hostname":"h"}}"#);
        client
            .put(semaphore.keys().ticket(id), ticket, None)
            .await
            .unwrap();
    }
    let overdue = async || op.json(&[]).await["groups"][0]["holders"][1]["overdue"].clone();
    eventually("overdue", overdue, |o| *o == Value::Bool(true)).await;

    let status = op.json(&[]).await;
    assert_eq!(keys(&status), ["groups", "node", "pause_all", "quarantine"]);
    let group = &status["groups"][0];
    assert_eq!(
        keys(group),
        [
            "available",
            "group",
            "holders",
            "max",
            "nodes",
            "pause",
            "queue"
        ]
    );
    assert_eq!(
        (group["max"].as_u64(), group["available"].as_i64()),
        (Some(2), Some(0))
    );
    let phases: Vec<_> = group["holders"]
        .as_array()
        .unwrap()
        .iter()
        .map(|h| (h["id"].as_str().unwrap(), h["phase"].as_str().unwrap()))
        .collect();
    assert_eq!(
        phases,
        [
            ("foreign", "foreign"),
            ("late", "draining"),
            ("left", "leftover")
        ]
    );
    assert_eq!(
        keys(&group["holders"][1]),
        [
            "from", "hostname", "id", "overdue", "phase", "reason", "since", "to"
        ]
    );
    assert_eq!(group["queue"][0]["id"], "first");
    assert_eq!(group["queue"][1]["id"], "second");
    assert_eq!(group["pause"]["reason"], "tea");
    assert_eq!(group["nodes"][0]["state"], "draining");
    assert_eq!(status["quarantine"][0]["reason"], "no");
    assert_eq!(status["node"], Value::Null);
    let table = op.says(&["status"], 0, "draining OVERDUE").await.stdout;
    assert!(
        table.find("first") < table.find("second")
            && table.contains("leftover")
            && table.contains("QUARANTINED"),
        "{table}"
    );

    // Other groups are there when asked for.
    op.says(&["set-max", "1", "--group", "prod/db"], 0, "")
        .await;
    let all = op.json(&["--all-groups"]).await;
    let names: Vec<_> = all["groups"]
        .as_array()
        .unwrap()
        .iter()
        .map(|g| g["group"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["", "prod/db"]);
}

#[tokio::test]
async fn status_with_an_agent_shows_this_node_also_when_etcd_is_away() {
    let site = Site::new("status-agent");
    site.lock().await;
    let node = site.node("node-1", &[]).await;
    node.update_engine().ready("2").await;
    site.until("its ticket", |group| group.queue.len() == 1)
        .await;
    node.wait_status(|status| status.contains("first in the queue"))
        .await;
    let output = site.command(&node, &["status"]).await;
    for says in [
        "is queued since",
        "waits for: first in the queue",
        "update: staged",
        "to: 2",
        node.machine_id(),
    ] {
        assert!(output.stdout.contains(says), "{says}: {}", output.stdout);
    }
    let args = ["status", "--json", "--endpoint", "http://127.0.0.1:1"];
    let output = node.run(bin(), &args).await;
    assert_eq!(output.code, Some(4), "{output:?}");
    let status: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(status["node"]["state"], "queued");
    assert_eq!(
        keys(&status["node"]),
        [
            "holding", "id", "reason", "request", "since", "state", "strategy", "to", "update"
        ]
    );
    assert!(
        status["etcd_error"]
            .as_str()
            .unwrap()
            .contains("127.0.0.1:1")
    );
}

#[tokio::test]
async fn a_reboot_is_asked_for_followed_and_taken_back() {
    let site = Site::new("asked");
    let node = site.node("node-1", &[]).await;
    let nothing = site.command(&node, &["cancel"]).await;
    assert_eq!(
        (
            nothing.code,
            nothing.stdout.contains("Nothing to take back")
        ),
        (Some(0), true),
        "{nothing:?}"
    );
    site.lock().await;
    let asked = site
        .command(&node, &["reboot", "--reason", "new disk"])
        .await;
    assert_eq!(asked.code, Some(0), "{asked:?}");
    let status = site.command(&node, &["status"]).await.stdout;
    assert!(status.contains("asked for: new disk"), "{status}");
    site.until("its ticket", |group| group.queue.len() == 1)
        .await;
    let back = site.command(&node, &["cancel"]).await;
    assert_eq!(back.stdout, "Taken back.\n", "{back:?}");
    site.until("no ticket", |group| group.queue.is_empty())
        .await;
    assert!(node.logind().asked().is_empty());
    // And one that is followed to its end.
    site.unlock("operator").await;
    node.auto_reboot(pointsman_testbed::node::AutoReboot::default());
    let followed = site
        .command(&node, &["reboot", "--wait", "--reason", "again"])
        .await;
    assert_eq!(followed.code, Some(0), "{followed:?}");
    assert!(followed.stdout.contains("rebooting"), "{}", followed.stdout);
    node.logind().wait_reboots(1).await;
    node.wait_status(|status| status == "idle").await;
    site.free().await;
}

#[tokio::test]
async fn without_an_agent_the_reboot_is_done_in_the_foreground() {
    let site = Site::new("foreground");
    let node = machine("node-1").await;
    let endpoints = shared_cluster().endpoints().join(",");
    // Ctrl-C takes the request back, and leaves nothing.
    site.lock().await;
    let root = node.root().display().to_string();
    let address = node.bus().address();
    let log = node.path("foreground.log");
    let args = [
        "reboot",
        "--root",
        &root,
        "--endpoint",
        &endpoints,
        "--key-prefix",
        &site.prefix,
    ];
    let once = || {
        Spec::new(bin(), &log)
            .args(args)
            .env("DBUS_SYSTEM_BUS_ADDRESS", &address)
            .spawn()
    };
    let process = once();
    site.until("its ticket", |group| group.queue.len() == 1)
        .await;
    process.signal(Signal::SIGINT);
    process.wait_timeout(PATIENCE).await.unwrap();
    site.until("no ticket", |group| group.queue.is_empty())
        .await;
    let journal = std::fs::read_to_string(node.path("var/lib/pointsman/journal.json")).unwrap();
    assert!(!journal.contains("request"), "{journal}");
    // And with a turn of its own it reboots, holding.
    site.unlock("operator").await;
    let process = once();
    node.logind().rebooted().await;
    site.phase(&node, Phase::Rebooting).await;
    process.signal(Signal::SIGTERM);
    process.wait_timeout(PATIENCE).await.unwrap();
    // The next boot's agent gives back.
    node.come_up().await;
    site.start(&node, &[]).await;
    site.free().await;
    // Nobody else may.
    let mut nobody = vec![
        "--reuid=65534".to_owned(),
        "--clear-groups".to_owned(),
        bin().display().to_string(),
    ];
    nobody.extend(args.map(str::to_owned));
    node.stop().await;
    let env = [("DBUS_SYSTEM_BUS_ADDRESS", address.as_str())];
    let refused = run("setpriv", &nobody, &env, PATIENCE).await;
    assert!(refused.code != Some(0), "{refused:?}");
}

#[test]
fn the_documents_name_every_command_flag_and_setting() {
    use clap::CommandFactory as _;
    let commands = include_str!("../../docs/commands.md");
    let configuration = include_str!("../../docs/configuration.md");
    for command in pointsman::cli::Cli::command().get_subcommands() {
        assert!(
            commands.contains(&format!("`{}", command.get_name())),
            "{}",
            command.get_name()
        );
        for flag in command
            .get_arguments()
            .filter(|a| !a.is_global_set())
            .filter_map(clap::Arg::get_long)
        {
            assert!(
                commands.contains(&format!("--{flag}")),
                "--{flag} of {}",
                command.get_name()
            );
        }
    }
    for setting in pointsman::config::SETTINGS {
        let key = setting.key.rsplit('.').next().unwrap();
        assert!(
            configuration.contains(&format!("`{key}`")),
            "{}",
            setting.key
        );
        if let Some(variable) = setting.variable {
            assert!(
                configuration.contains(&format!("`{variable}`")),
                "{variable}"
            );
        }
    }
    for flag in pointsman::cli::Cli::command()
        .get_arguments()
        .filter_map(clap::Arg::get_long)
    {
        assert!(
            configuration.contains(&format!("`--{flag}`")) || ["help", "version"].contains(&flag),
            "--{flag}"
        );
    }
}
