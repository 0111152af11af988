use std::os::unix::fs::symlink;

use super::*;

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
        Hooks::new(&Root::new(self.0.path()), limit)
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
async fn hooks_run_in_order_and_those_of_etc_win() {
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
            "10-x failed with exit code 3; it said last: no room",
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
    assert!(
        machine
            .run(LONG)
            .await
            .unwrap_err()
            .contains("cannot be read")
    );
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
        error.contains("did not end within 500ms; it said last: draining"),
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
async fn a_hook_that_leaves_something_running_or_says_a_megabyte_is_done_when_it_ends() {
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

#[test]
fn a_hook_as_a_unit_has_its_variables_and_an_end() {
    let variables = [("POINTSMAN_REASON".to_owned(), "a b=c".to_owned())];
    let unit = unit_name("10-drain it.sh");
    assert!(unit.starts_with("pointsman-hook-10_drain_it_sh-"), "{unit}");
    assert_ne!(unit, unit_name("10-drain it.sh"));
    let command = as_unit(
        Path::new("/etc/x y"),
        "u.service",
        Duration::from_secs(300),
        &variables,
    );
    let args: Vec<_> = command
        .as_std()
        .get_args()
        .filter_map(|a| a.to_str())
        .collect();
    assert!(
        args.contains(&"--setenv=POINTSMAN_REASON=a b=c"),
        "{args:?}"
    );
    assert!(args.contains(&"--property=RuntimeMaxSec=360"), "{args:?}");
    assert_eq!(args[args.len() - 2..], ["--", "/etc/x y"]);
    // Files of tests are no machine's own: there the hooks are children.
    assert!(!Machine::new().hooks(LONG).as_units);
}
