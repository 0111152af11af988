//! The hooks `podman` and `docker`, with the real podman.

use super::*;

/// What ends at once when it is told to, and what waits to be killed.
const WILLING: &str = "trap 'exit 0' TERM; while :; do sleep 0.1; done";
const STUBBORN: &str = "trap '' TERM; while :; do sleep 0.1; done";

/// A podman of its own.
struct Podman {
    dir: tempfile::TempDir,
}

impl Podman {
    /// One with the image `image`, which has a shell and sleep.
    async fn new() -> Self {
        let podman = Self {
            // Podman refuses longer paths.
            dir: tempfile::Builder::new()
                .prefix("podman-")
                .tempdir_in("/tmp")
                .unwrap(),
        };
        let make = "tar -chf image.tar -C / bin/sh bin/sleep \
                    $(ldd /bin/sh /bin/sleep | grep -o '/[^ :]*' | grep '\\.so' | sort -u | sed 's|^/||')";
        podman.sh(make).await;
        podman.call("import image.tar image").await;
        podman
    }

    /// The call of it, with its options.
    fn command(&self) -> String {
        let at = |name: &str| self.dir.path().join(name).display().to_string();
        format!(
            "podman --root {} --runroot {} --tmpdir {} --runtime=runc --cgroup-manager=cgroupfs --storage-driver vfs \
             --events-backend=file",
            at("root"),
            at("run"),
            at("tmp")
        )
    }

    async fn sh(&self, line: &str) -> String {
        let line = format!("cd {} && {line}", self.dir.path().display());
        let output = run("sh", ["-c", &line], &[], PATIENCE).await;
        output.must(0).trim().to_owned()
    }

    async fn call(&self, line: &str) -> String {
        self.sh(&format!("{} {line}", self.command())).await
    }

    async fn start(&self, name: &str, script: &str) {
        let limits = "--ulimit nofile=1024:1024 --ulimit nproc=1024:1024 --network=none";
        self.call(&format!(
            "run -d {limits} --name {name} image sh -c \"{script}\""
        ))
        .await;
    }

    /// Which containers run, the oldest first.
    async fn running(&self) -> String {
        let names = self.call("ps --sort created --format '{{.Names}}'").await;
        names.replace('\n', " ")
    }

    fn hook(&self, name: &str, settings: &str) -> Hook {
        let command = self.command();
        Hook::new(name, &format!("COMMAND='{command}'\n{settings}\n"))
    }
}

impl Drop for Podman {
    /// A test that fails may leave a container that podman does not end any more (it is `stopping`): its process is killed.
    fn drop(&mut self) {
        let podman = self.command();
        let line = format!(
            "for pid in $({podman} ps -a --format '{{{{.Pid}}}}'); do [ $pid = 0 ] || kill -KILL $pid; done; \
             {podman} rm -f -t 0 -a"
        );
        let _ = std::process::Command::new("sh")
            .args(["-c", &line])
            .stdout(std::process::Stdio::null())
            .status();
    }
}

#[tokio::test]
async fn containers_are_stopped_in_order_and_started_again() {
    let podman = Podman::new().await;
    for name in ["db", "web", "other"] {
        podman.start(name, WILLING).await;
    }
    podman.start("off", WILLING).await;
    podman.call("stop off").await;
    let hook = podman.hook("podman", "CONTAINERS='web off db' STOP_TIMEOUT=5");
    hook.says("health", 0, "").await;
    let said = hook.says("pre-reboot", 0, "").await;
    assert_eq!(said, "podman: stopped web\npodman: stopped db\n");
    assert_eq!(podman.running().await, "other");
    hook.says("post-boot", 0, "").await;
    assert_eq!(podman.running().await, "db web other");
    let order = "inspect --format '{{.State.StartedAt}}' db web";
    let started = podman.call(order).await;
    let (db, web) = started.split_once('\n').unwrap();
    assert!(db < web, "{started}");
    // Nothing is owed any more.
    podman.call("stop web").await;
    hook.says("post-boot", 0, "").await;
    assert_eq!(podman.running().await, "db other");

    // All that run, the youngest first, also by the name of docker.
    let hook = podman.hook("docker", "STOP_TIMEOUT=5");
    let said = hook.says("pre-reboot", 0, "").await;
    assert_eq!(said, "docker: stopped other\ndocker: stopped db\n");
    assert_eq!(hook.says("pre-reboot", 0, "").await, "");
    // After the boot: one runs by itself, one was removed.
    podman.call("start other").await;
    podman.call("rm db").await;
    hook.says("post-boot", 1, "not running, or not healthy: db\n")
        .await;
    assert_eq!(podman.running().await, "other");
}

#[tokio::test]
async fn a_container_that_takes_too_long_keeps_the_node_and_what_was_stopped_starts_again() {
    let podman = Podman::new().await;
    podman.start("web", WILLING).await;
    podman.start("lazy", STUBBORN).await;
    podman.start("db", STUBBORN).await;
    let hook = podman.hook(
        "podman",
        "CONTAINERS='web lazy db' STOP_TIMEOUT=2 TIMEOUT=3",
    );
    let says = "s are left of TIMEOUT=3, and db may take STOP_TIMEOUT=2 s";
    hook.says("pre-reboot", 1, says).await;
    // As the agent does when it steps back.
    hook.says("post-boot", 0, "").await;
    assert_eq!(podman.running().await, "web lazy db");

    // As a hook leaves it that is killed while it stops one.
    let note = hook.path("state/podman-stopped");
    fs::write(note, "web\ndb\n").unwrap();
    podman.call("stop web").await;
    let stop = format!("timeout -s KILL 0.5 {} stop -t 60 db", podman.command());
    podman.sh(&format!("{{ {stop} || true; }}")).await;
    let state = podman.call("inspect --format '{{.State.Status}}' db").await;
    assert_eq!(state, "stopping");
    hook.says("post-boot", 0, "").await;
    assert_eq!(podman.running().await, "web lazy db");

    hook.configure("COMMAND=false\n");
    hook.says("health", 1, "podman does not answer").await;
    hook.says("pre-reboot", 1, "cannot be listed").await;
    hook.configure(&format!(
        "COMMAND='{}'\nCONTAINERS=nosuch\n",
        podman.command()
    ));
    hook.says("pre-reboot", 1, "there is no container nosuch")
        .await;
}
