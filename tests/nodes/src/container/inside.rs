//! What is done on a system that is up: commands, the agent's word, an update that is staged.

use std::{fs, path::Path, time::Duration};

use pointsman_testbed::process::{Output, Signal, Spec};
use tokio::time::Instant;

use super::{Container, PATIENCE};

impl Container {
    /// Runs a command inside, when there is an inside.
    pub async fn try_exec(&self, args: &[&str]) -> Option<Output> {
        let child = self.state().running?;
        let nspawn = child.pid();
        let leader = fs::read_to_string(format!("/proc/{nspawn}/task/{nspawn}/children")).ok()?;
        let leader = leader.split_whitespace().next()?;
        let dir = pointsman_testbed::scratch::dir("exec");
        let (out, err) = (dir.path().join("out"), dir.path().join("err"));
        let entering = Spec::new("nsenter", &out)
            .stderr(&err)
            .args(["-t", leader, "-m", "-u", "-i", "-n", "-p", "-r", "-w", "--"])
            .args(args)
            .spawn();
        let until = Instant::now() + PATIENCE;
        loop {
            tokio::select! {
                status = entering.wait() => {
                    let text = |path: &Path| fs::read(path).map(|b| String::from_utf8_lossy(&b).into_owned());
                    return Some(Output {
                        code: status.code(),
                        stdout: text(&out).unwrap_or_default(),
                        stderr: text(&err).unwrap_or_default(),
                    });
                }
                // A shutdown stops all processes for a moment, and nsenter with the one it waits for; it would never go on.
                () = tokio::time::sleep(Duration::from_millis(200)) => entering.signal(Signal::SIGCONT),
            }
            assert!(
                Instant::now() < until,
                "{}: {args:?} does not end",
                self.name()
            );
        }
    }

    /// Runs a command inside.
    pub async fn exec(&self, args: &[&str]) -> Output {
        let said = self.try_exec(args).await;
        said.unwrap_or_else(|| panic!("{} is not there to run {args:?}", self.name()))
    }

    /// Runs a script inside, for its output; panics where it fails.
    pub async fn sh(&self, script: &str) -> String {
        let said = self.exec(&["sh", "-euc", script]).await;
        assert_eq!(said.code, Some(0), "{}: {script}\n{said:?}", self.name());
        said.stdout
    }

    /// Waits until a script inside succeeds.
    pub async fn until(&self, script: &str) {
        let until = Instant::now() + PATIENCE;
        loop {
            let said = self.try_exec(&["sh", "-euc", script]).await;
            if said.as_ref().is_some_and(|said| said.code == Some(0)) {
                return;
            }
            assert!(
                Instant::now() < until,
                "{}: not in time: {script}\n{said:?}\n{}",
                self.name(),
                self.tail()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until systemd has started what it was told to, and the agent is there.
    pub async fn up(&self) {
        self.until("systemctl is-active --quiet multi-user.target pointsman.service")
            .await;
    }

    /// What the agent says: `State` or another of its properties; nothing where there is no agent.
    pub async fn agent(&self, property: &str) -> String {
        let name = "org.pointsman.Agent1";
        let path = "/org/pointsman/Agent1";
        let args = ["busctl", "get-property", name, path, name, property];
        let said = self.try_exec(&args).await;
        let said = said.map(|said| said.stdout).unwrap_or_default();
        let value = said.trim().split_once(' ').map_or("", |(_, value)| value);
        value.trim_matches('"').to_owned()
    }

    /// Waits until the agent is in this state.
    pub async fn agent_is(&self, state: &str) {
        let until = Instant::now() + PATIENCE;
        loop {
            let found = self.agent("State").await;
            if found == state {
                return;
            }
            assert!(
                Instant::now() < until,
                "{} is not {state} but {found:?}: {}\n{}",
                self.name(),
                self.agent("Reason").await,
                self.tail()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until the agent's reason says this.
    pub async fn says(&self, what: &str) {
        let until = Instant::now() + PATIENCE;
        loop {
            let found = self.agent("Reason").await;
            if found.contains(what) {
                return;
            }
            assert!(
                Instant::now() < until,
                "{} does not say {what:?} but {found:?}\n{}",
                self.name(),
                self.tail()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// update_engine stages an update, once it is there.
    pub async fn stage(&self, version: &str) {
        let name = "com.coreos.update1";
        self.until(&format!("busctl status {name} >/dev/null"))
            .await;
        let call = format!("busctl call {name} /com/coreos/update1 {name}.Test Stage s {version}");
        self.sh(&call).await;
    }
}
