//! Hooks as children of a keeper.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown, symlink},
    path::PathBuf,
    time::Duration,
};

use host::{hooks::Hooks, node::Root};
use pointsman_testbed::process::Signal;

use crate::{
    agents::{Site, bin, hook, machine},
    support::eventually,
};

struct Machine(tempfile::TempDir);

impl Machine {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, path: &str) -> PathBuf {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    fn hook(&self, path: &str, script: &str) {
        let path = self.path(path);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn hooks(&self, limit: Duration) -> Hooks {
        Hooks::new(&Root::new(self.0.path()), limit).kept_by(bin().to_owned())
    }

    async fn run(&self, limit: Duration) -> Result<(), String> {
        let variables = [("POINTSMAN_TO".to_owned(), "2".to_owned())];
        self.hooks(limit)
            .run("pre-reboot.d", &variables)
            .await
            .map_err(|e| e.to_string())
    }
}

const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn hooks_run_in_order_and_etc_overrides_usr() {
    let machine = Machine::new();
    let log = machine.path("log").display().to_string();
    for (path, word) in [
        ("usr/lib/pointsman/hooks/pre-reboot.d/20-b", "vendor"),
        (
            "usr/lib/pointsman/hooks/pre-reboot.d/10-a",
            "a$POINTSMAN_TO",
        ),
        ("usr/lib/pointsman/hooks/pre-reboot.d/30-off", "off"),
        ("etc/pointsman/hooks/pre-reboot.d/20-b", "own"),
        ("etc/pointsman/hooks/pre-reboot.d/20-b~", "backup"),
        ("etc/pointsman/hooks/pre-reboot.d/.hidden", "hidden"),
        ("etc/pointsman/hooks/post-boot.d/10-other", "other"),
    ] {
        machine.hook(path, &format!("echo {word} >>{log}"));
    }
    symlink(
        "/dev/null",
        machine.path("etc/pointsman/hooks/pre-reboot.d/30-off"),
    )
    .unwrap();
    machine.run(LONG).await.unwrap();
    assert_eq!(fs::read_to_string(log).unwrap(), "a2\nown\n");
}

#[tokio::test]
async fn links_to_hooks_lead_where_they_would_on_the_machine() {
    let outside = Machine::new();
    outside.hook("10-a", "exit 9");
    let below = outside.0.path().strip_prefix("/").unwrap();
    for up in ["/", "../../../../../../../"] {
        let machine = Machine::new();
        let log = machine.path("log");
        let says = |word: &str| format!("echo {word} >>{}", log.display());
        let own = below.join("10-a");
        machine.hook(own.to_str().unwrap(), &says("inside"));
        machine.hook("opt/hooks/20-b", &says("b"));
        let target = |path: &str| format!("{up}{path}");
        // The folder, and one of its files.
        let folder = "etc/pointsman/hooks/pre-reboot.d";
        symlink(target(below.to_str().unwrap()), machine.path(folder)).unwrap();
        machine.run(LONG).await.unwrap();
        let vendors = "usr/lib/pointsman/hooks/pre-reboot.d/20-b";
        symlink(target("opt/hooks/20-b"), machine.path(vendors)).unwrap();
        machine.run(LONG).await.unwrap();
        assert_eq!(fs::read_to_string(&log).unwrap(), "inside\ninside\nb\n");
        // Nothing of that path inside: then it is no hook of the host's either.
        fs::remove_file(machine.path(folder)).unwrap();
        let file = machine.path(&format!("{folder}/10-a"));
        fs::remove_file(machine.path(own.to_str().unwrap())).unwrap();
        let target = outside.0.path().join("10-a");
        symlink(&target, &file).unwrap();
        let error = machine.run(LONG).await.unwrap_err();
        let expected = format!(
            "10-a is a link to {}, which does not exist; remove the link, or put the hook there",
            target.display()
        );
        assert!(error.contains(&expected), "{error}");
        // In a circle.
        fs::remove_file(&file).unwrap();
        symlink("10-a", &file).unwrap();
        let error = machine.run(LONG).await.unwrap_err();
        assert!(error.contains("10-a cannot be read: Too many"), "{error}");
        let folder = machine.path(folder);
        fs::remove_dir_all(&folder).unwrap();
        symlink("/etc/pointsman/hooks/other", &folder).unwrap();
        symlink("pre-reboot.d", folder.with_file_name("other")).unwrap();
        let error = machine.run(LONG).await.unwrap_err();
        assert!(
            error.contains("cannot be listed") && error.contains("Too many"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn failures_are_named_and_stop_the_rest() {
    let machine = Machine::new();
    let after = machine.path("after");
    machine.hook(
        "etc/pointsman/hooks/pre-reboot.d/20-after",
        &format!("touch {}", after.display()),
    );
    for (script, says) in [
        (
            "echo first; echo no room >&2; exit 3",
            "10-x failed with exit code 3; its last output: no room",
        ),
        ("kill -9 $$", "10-x was killed by signal 9"),
    ] {
        machine.hook("etc/pointsman/hooks/pre-reboot.d/10-x", script);
        let error = machine.run(LONG).await.unwrap_err();
        assert!(error.contains(says), "{error}");
    }
    let path = machine.path("etc/pointsman/hooks/pre-reboot.d/10-x");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(
        machine
            .run(LONG)
            .await
            .unwrap_err()
            .contains("is not executable")
    );
    fs::remove_file(&path).unwrap();
    symlink("/nowhere", &path).unwrap();
    assert!(machine.run(LONG).await.unwrap_err().contains(
        "is a link to /nowhere, which does not exist; remove the link, or put the hook there"
    ));
    assert!(!after.exists());
    assert_eq!(
        machine.hooks(LONG).run_all("pre-reboot.d", &[]).await.len(),
        1
    );
    assert!(after.exists());
}

#[tokio::test]
async fn a_hook_that_hangs_is_ended_with_all_it_started() {
    let machine = Machine::new();
    let pids = machine.path("pids");
    machine.hook(
        "etc/pointsman/hooks/pre-reboot.d/10-hang",
        &format!(
            "sleep 1000 & echo $! >{}; echo draining; wait",
            pids.display()
        ),
    );
    let error = machine.run(Duration::from_millis(500)).await.unwrap_err();
    assert!(
        error.contains("did not end within 500ms; its last output: draining"),
        "{error}"
    );
    let pid = fs::read_to_string(pids).unwrap();
    let state = || fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    // It was signalled before the error came; a zombie waits only for init.
    for _ in 0..1000 {
        if state().is_empty() || state().contains(") Z") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("its child still runs: {}", state());
}

#[tokio::test]
async fn hook_that_leaves_processes_or_prints_a_megabyte_ends_with_its_process() {
    let machine = Machine::new();
    machine.hook(
        "etc/pointsman/hooks/pre-reboot.d/10-fork",
        "(exec sleep 5) & exit 0",
    );
    machine.hook(
        "etc/pointsman/hooks/pre-reboot.d/20-loud",
        "head -c 1000000 /dev/zero | tr '\\0' x; yes | head -c 1000000",
    );
    machine.run(LONG).await.unwrap();
}

#[tokio::test]
async fn detached_processes_of_a_hook_end_with_it() {
    let machine = Machine::new();
    let pids = machine.path("pids");
    machine.hook(
        "etc/pointsman/hooks/pre-reboot.d/10-hang",
        &format!(
            "setsid sh -c 'echo $$ >{}; exec sleep 1000' & sleep 1000",
            pids.display()
        ),
    );
    machine.run(Duration::from_millis(500)).await.unwrap_err();
    let pid = fs::read_to_string(pids).unwrap();
    gone(pid.trim()).await;
}

/// Waits until a process is gone, but for a zombie that waits for init.
async fn gone(pid: &str) {
    let stat = format!("/proc/{pid}/stat");
    let state = async || fs::read_to_string(&stat).unwrap_or_default();
    eventually("it ends", state, |stat| {
        stat.is_empty() || stat.contains(") Z")
    })
    .await;
}

#[tokio::test]
async fn cancelled_hook_ends_with_all_its_processes() {
    let machine = Machine::new();
    let pids = machine.path("pids");
    let script = format!(
        "sleep 1000 & echo $! >>{0}; echo $$ >>{0}; wait",
        pids.display()
    );
    machine.hook("etc/pointsman/hooks/pre-reboot.d/10-hang", &script);
    let two = async || fs::read_to_string(&pids).unwrap_or_default();
    let all = tokio::select! {
        ended = machine.run(Duration::from_secs(1000)) => panic!("{ended:?}"),
        all = eventually("the hook runs", two, |text| text.lines().count() == 2) => all,
    };
    for pid in all.lines() {
        gone(pid).await;
    }
}

#[tokio::test]
async fn a_hook_and_all_it_started_end_with_the_agent_however_that_ends() {
    let site = Site::new("hook-orphans");
    let node = site.node("node-1", &[]).await;
    let pids = node.path("pids");
    let script = format!(
        "sleep 1000 & echo $! >>{0}; setsid sh -c 'echo $$ >>{0}; exec sleep 1000' & echo $$ >>{0}; wait",
        pids.display()
    );
    hook(&node, "pre-reboot.d/10-hang", &script);
    node.update_engine().ready("2").await;
    let three = async || fs::read_to_string(&pids).unwrap_or_default();
    let all = eventually("the hook runs", three, |text| text.lines().count() == 3).await;
    node.kill().await;
    for pid in all.lines() {
        gone(pid).await;
    }
}

#[tokio::test]
async fn hooks_get_few_variables_and_not_the_agents_environment() {
    let site = Site::new("hook-variables");
    let node = machine("node-1").await;
    let seen = node.path("seen");
    hook(
        &node,
        "may-reboot.d/10-env",
        &format!("env | cut -d= -f1 | sort >{}", seen.display()),
    );
    site.start(
        &node,
        &[("SECRET_OF_THE_AGENT", "x"), ("POINTSMAN_LOG", "info")],
    )
    .await;
    node.update_engine().ready("2").await;
    node.logind().rebooted().await;
    let seen = fs::read_to_string(seen).unwrap();
    let expected = "HOME\nLANG\nPATH\nPOINTSMAN_DEADLINE\nPOINTSMAN_FROM\nPOINTSMAN_GROUP\nPOINTSMAN_HOSTNAME\n\
                    POINTSMAN_NODE\nPOINTSMAN_PHASE\nPOINTSMAN_REASON\nPOINTSMAN_STAGE\nPOINTSMAN_TO\n";
    // What the shell itself adds.
    let seen: String = seen
        .lines()
        .filter(|name| !["PWD", "OLDPWD", "SHLVL", "_"].contains(name))
        .map(|name| format!("{name}\n"))
        .collect();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn status_names_the_running_hook_with_its_times() {
    let site = Site::new("hook-said");
    let node = site
        .node("node-1", &[("POINTSMAN_HOOK_TIMEOUT", "10m")])
        .await;
    hook(&node, "pre-reboot.d/20-drain", "exec sleep 1000");
    node.update_engine().ready("2").await;
    let said = node.wait_status(|status| status.contains("20-drain")).await;
    let said = said
        .strip_prefix("draining: the hook pre-reboot.d/20-drain runs since ")
        .unwrap();
    assert!(
        said.contains(", until ") && said.ends_with(" at the latest"),
        "{said}"
    );
    node.child().signal(Signal::SIGKILL);
}

#[tokio::test]
async fn hooks_that_others_can_write_to_or_the_kernel_cannot_execute_are_refused() {
    const HOOK: &str = "etc/pointsman/hooks/pre-reboot.d/10-x";
    let machine = Machine::new();
    machine.hook(HOOK, "exit 0");
    let path = machine.path(HOOK);
    let set = |mode: u32, path: &PathBuf| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap()
    };
    machine.run(LONG).await.unwrap();
    set(0o777, &path);
    let says = "is not run, because hooks run as root: the file ";
    let error = machine.run(LONG).await.unwrap_err();
    assert!(
        error.contains(says) && error.contains("has mode 0777") && error.contains("expected 0755"),
        "{error}"
    );
    set(0o755, &path);
    for folder in ["pre-reboot.d", "hooks", "pointsman"] {
        let folder = path
            .ancestors()
            .find(|at| at.ends_with(folder))
            .unwrap()
            .to_owned();
        set(0o757, &folder);
        let error = machine.run(LONG).await.unwrap_err();
        let names = format!("the folder {} has mode 0757", folder.display());
        assert!(error.contains(&names), "{error}");
        set(0o755, &folder);
    }
    if nix::unistd::geteuid().is_root() {
        chown(&path, Some(65534), None).unwrap();
        let error = machine.run(LONG).await.unwrap_err();
        assert!(
            error.contains("belongs to user 65534, expected root"),
            "{error}"
        );
        chown(&path, Some(0), None).unwrap();
        // The group root is root's; another is not.
        set(0o775, &path);
        machine.run(LONG).await.unwrap();
        chown(&path, None, Some(100)).unwrap();
        assert!(
            machine
                .run(LONG)
                .await
                .unwrap_err()
                .contains("has mode 0775")
        );
        set(0o755, &path);
        chown(&path, None, Some(0)).unwrap();
    }
    for (text, says) in [
        ("echo hi\n", "cannot be executed: no interpreter line"),
        ("", "cannot be executed: no interpreter line"),
        (
            "#!/bin/nosuch\n",
            "its interpreter \"/bin/nosuch\" does not exist",
        ),
        (
            "#!/bin/sh\r\necho hi\r\n",
            "the line ends with a carriage return",
        ),
    ] {
        fs::write(&path, text).unwrap();
        let error = machine.run(LONG).await.unwrap_err();
        assert!(error.contains(says), "{text:?}: {error}");
    }
    fs::copy("/bin/true", &path).unwrap();
    machine.run(LONG).await.unwrap();
}

#[tokio::test]
async fn unknown_hook_folders_are_reported_at_start_and_by_config() {
    let site = Site::new("hook-folders");
    let node = machine("node-1").await;
    for folder in ["pre-reboot", "post-boots.d", "whatever.d", "available"] {
        fs::create_dir_all(node.path("etc/pointsman/hooks").join(folder)).unwrap();
    }
    hook(&node, "health.d/10-x", "exit 0");
    fs::set_permissions(
        node.path("etc/pointsman/hooks/health.d/10-x"),
        fs::Permissions::from_mode(0o644),
    )
    .unwrap();
    site.start(&node, &[]).await;
    let config = site.command(&node, &["config"]).await;
    assert_eq!(config.code, Some(0), "{config:?}");
    for said in [node.log(), config.stderr] {
        for part in [
            "hooks/pre-reboot is not used: no hooks have this name; did you mean pre-reboot.d?",
            "hooks/post-boots.d is not used: no hooks have this name; did you mean post-boot.d?",
            "hooks/whatever.d is not used: no hooks have this name; expected may-reboot.d, ",
            "the hook health.d/10-x is not executable",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert!(!said.contains("available"), "{said}");
    }
}

#[tokio::test]
async fn carriage_return_in_hook_output_is_escaped() {
    let site = Site::new("hook-returns");
    let node = site.node("node-1", &[]).await;
    hook(
        &node,
        "may-reboot.d/10-x",
        "printf 'one\\rtwo\\342\\200\\256\\n'; exit 75",
    );
    node.update_engine().ready("2").await;
    let said = node
        .wait_status(|status| status.contains("its last output: "))
        .await;
    assert!(
        said.contains("its last output: one\\rtwo\\u{202e}; it is"),
        "{said}"
    );
    let log = node.log();
    assert!(log.contains("10-x: one\\rtwo\\u{202e}"), "{log}");
    assert!(!log.contains('\r') && !log.contains('\u{202e}'), "{log}");
}
