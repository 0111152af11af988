//! On and off: what boot loader and initramfs do, reboots, power cuts.

use std::sync::{Arc, atomic::Ordering};

use pointsman_testbed::{
    disk::Slot,
    process::{Child, Spec, run},
};

use super::{Container, PATIENCE, State};
use crate::bed::{built, sh};

/// systemd-nspawn's exit code when the system inside wants to be started again.
const REBOOT: i32 = 133;

impl Container {
    /// Switches it on.
    pub fn start(&self) {
        assert!(!self.state().on(), "{} is on already", self.name());
        self.0.comes_back.store(true, Ordering::SeqCst);
        let this = self.clone();
        let task = tokio::spawn(async move {
            loop {
                let child = this.boot().await;
                let status = child.wait().await;
                this.emptied().await;
                let again = status.code() == Some(REBOOT);
                if !again || !this.0.comes_back.load(Ordering::SeqCst) {
                    this.0.state.send_modify(|state| state.running = None);
                    return;
                }
            }
        });
        *self.0.machine.lock().expect("nothing panics with it") = Some(task);
    }

    /// What boot loader and initramfs do.
    async fn boot(&self) -> Arc<Child> {
        let program = built().join("pointsman").display().to_string();
        let args = ["slots", "next", "--boot", "--disk", &self.0.device];
        let said = run(program, args, &[], PATIENCE).await;
        let label = said.stdout.trim().to_owned();
        let slot = Slot::of_label(&label).unwrap_or_else(|| panic!("no slot boots: {said:?}"));
        let version = self.disk().version(slot).expect("an image");
        self.write("etc/booted-slot", &format!("{label}\n"));
        self.write(
            "etc/pointsman/config.d/90-booted.yaml",
            &format!("slots: {{booted: {label}}}\n"),
        );
        self.write(
            "usr/lib/os-release",
            &format!("ID=test\nNAME=test\nPRETTY_NAME=\"test {version}\"\nVERSION_ID={version}\n"),
        );
        // nspawn makes its group of processes where it is: each system needs one of its own.
        let script = format!(
            r#"for tree in /sys/fs/cgroup/unified /sys/fs/cgroup/systemd /sys/fs/cgroup; do
                   [ -e $tree/cgroup.procs ] || continue
                   mkdir -p $tree/{cgroup} && echo $$ >$tree/{cgroup}/cgroup.procs
               done
               exec systemd-nspawn --quiet --directory={root} --machine={name} --register=no --keep-unit \
                   --capability=CAP_NET_ADMIN --link-journal=no --resolv-conf=off --timezone=off --network-namespace-path=/run/netns/{namespace} \
                   --bind={device}:/dev/disk-ab --bind={device}p3 --bind={device}p4 --console=read-only --boot"#,
            cgroup = self.0.cgroup,
            root = self.0.root.display(),
            name = self.0.name,
            namespace = self.0.port.namespace,
            device = self.0.device,
        );
        let child = Spec::new("sh", &self.0.log).args(["-euc", &script]).spawn();
        let child = Arc::new(child);
        self.0.state.send_modify(|state| {
            state.running = Some(child.clone());
            state.boots.push(slot);
        });
        child
    }

    /// Waits until no process of it is left.
    async fn emptied(&self) {
        let script = format!(
            "for i in $(seq 100); do
                 left=$(find /sys/fs/cgroup/{0} /sys/fs/cgroup/*/{0} -name cgroup.procs -exec cat {{}} + 2>/dev/null || true)
                 [ -n \"$left\" ] || exit 0
                 kill -9 $left 2>/dev/null || true
                 sleep 0.1
             done; exit 1",
            self.0.cgroup
        );
        sh(&script).await;
    }

    /// From now on a reboot ends in the machine being off.
    pub fn stays_away(&self) {
        self.0.comes_back.store(false, Ordering::SeqCst);
    }

    /// Pulls its plug.
    pub async fn cut_power(&self) {
        self.stays_away();
        if let Some(child) = self.state().running {
            child.kill().await;
        }
        self.off().await;
    }

    /// Waits until it is off.
    pub async fn off(&self) {
        self.await_state("it is off", |state| !state.on()).await;
    }

    /// Waits until it has been booted so often.
    pub async fn booted(&self, times: usize) {
        self.await_state("a boot", |state| state.boots.len() >= times)
            .await;
    }

    async fn await_state(&self, what: &str, is: impl FnMut(&State) -> bool) {
        let mut state = self.0.state.subscribe();
        let waited = tokio::time::timeout(PATIENCE, state.wait_for(is)).await;
        if waited.is_err() {
            panic!(
                "{}: not in time: {what}; it {:?}\n{}",
                self.name(),
                self.state(),
                self.tail()
            );
        }
    }
}
