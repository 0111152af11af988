use super::*;
use crate::fakes::Status;

/// Not written by the test: a file just written cannot be executed while some child forked meanwhile has it open.
fn agent() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/node/agent.sh")
}

#[tokio::test]
async fn an_agent_is_started_told_apart_and_ended() {
    let node = Node::new("node-1").await;
    assert_eq!(
        fs::read_to_string(node.path("etc/machine-id")).unwrap(),
        format!("{}\n", node.machine_id())
    );
    assert_eq!(node.machine_id().len(), 32);
    node.start(&agent(), &["wait"], &[]).await;
    node.wait_ready().await;
    assert_eq!(
        node.wait_status(|s| s.starts_with("waiting")).await,
        "waiting for nothing"
    );
    assert_eq!(node.notified().messages.len(), 2);
    assert!(node.log().contains("started agent --root "));
    assert_eq!(node.stop().await.code(), Some(0));
    assert!(node.log().contains("terminated"));
    node.start_again();
    assert_eq!(node.status(), "", "the last agent's word is not this one's");
    node.wait_ready().await;
    node.kill().await;
    assert!(!node.child().is_running());
}

#[tokio::test]
async fn a_command_finds_the_root_and_the_bus() {
    let node = Node::new("node-1").await;
    let script = "echo $0 $1 $DBUS_SYSTEM_BUS_ADDRESS; exit 3";
    let out = node
        .run_plain(Path::new("sh"), &["-c", script, "a", "b"], &[])
        .await;
    assert_eq!(
        (out.code, out.stdout),
        (Some(3), format!("a b {}\n", node.bus().address()))
    );
    let out = node.run(Path::new("echo"), &["status", "--json"]).await;
    assert_eq!(
        out.stdout,
        format!("status --root {} --json\n", node.root().display())
    );
}

#[tokio::test]
async fn a_reboot_asked_of_logind_is_a_death_and_a_new_boot() {
    let history = History::new();
    let nodes = [Node::new("node-1").await, Node::new("node-2").await];
    for (node, death) in nodes.iter().zip([Death::Kill, Death::Term]) {
        node.auto_reboot(AutoReboot {
            death,
            delay: Duration::from_millis(20),
            history: history.clone(),
        });
        node.logind().log_in("1", "core", "pts/0").await;
        node.update_engine().set_silently(Status::ready("2.0.0"));
        let boot = node.boot_id();
        node.start(&agent(), &["reboot"], &[]).await;
        history.wait_reboots(history.reboots() + 1, PATIENCE).await;
        node.wait_ready().await;
        assert_ne!(node.boot_id(), boot);
        assert_eq!(node.update_engine().status(), Status::idle());
        assert!(
            fs::read_to_string(node.path("etc/os-release"))
                .unwrap()
                .contains("VERSION_ID=2.0.0")
        );
        assert_eq!(node.log().matches("started").count(), 2);
        assert!(!node.logind().is_preparing());
        assert_eq!((node.reboots(), node.logind().reboots().len()), (1, 1));
    }
    assert!(!nodes[0].log().contains("terminated"));
    assert!(nodes[1].log().contains("terminated"));
    assert_eq!(history.order(), ["node-1", "node-2"]);
    assert_eq!(history.max_out_at_once(), 1);
}

#[tokio::test]
async fn what_lies_under_run_does_not_outlive_a_reboot_and_state_does() {
    let node = Node::new("node-1").await;
    node.write("run/lock", "");
    node.write("var/lib/pointsman/journal", "kept");
    let boot = node.boot_id();
    node.reboot(Death::Kill).await;
    assert_ne!(node.boot_id(), boot);
    assert!(node.path("run").is_dir() && !node.path("run/lock").exists());
    assert!(node.path("var/lib/pointsman/journal").exists());
}
