//! The commands, as processes of their own.

mod acts;
mod by_hand;
mod config;
mod configuration_faults;
mod doctor;
mod documents;
mod drain;
mod hooks;
mod lost;
mod names;
mod nodes;
mod output;
mod policy;
mod reboot;
mod refusals;
mod scale;
mod status;
mod status_check;
mod watch;
mod windows;

pub(crate) use documents::{documented, paths};

use pointsman_testbed::{
    etcd::{Cluster, shared_cluster, unique_prefix},
    fakes::PATIENCE,
    process::{Output, Signal, Spec, run},
    scratch,
};
use semaphore::records::{Pause, Phase};
use serde_json::Value;

use crate::{
    agents::{Site, bin, hook, machine},
    support::{claim, eventually, holder, on},
};

/// An operator at a machine without an agent and without a bus.
struct Operator {
    endpoints: String,
    prefix: String,
    root: tempfile::TempDir,
}

impl Operator {
    fn new(name: &str) -> Self {
        Self::of(shared_cluster(), name)
    }

    /// One of a cluster of its own.
    fn of(cluster: &Cluster, name: &str) -> Self {
        let root = scratch::dir("operator");
        std::fs::create_dir_all(root.path().join("etc")).unwrap();
        std::fs::write(
            root.path().join("etc/machine-id"),
            "0123456789abcdef0123456789abcdef\n",
        )
        .unwrap();
        std::fs::write(root.path().join("etc/hostname"), "desk\n").unwrap();
        Self {
            endpoints: cluster.endpoints().join(","),
            prefix: unique_prefix(name),
            root,
        }
    }

    fn args<'a>(&'a self, args: &[&'a str]) -> Vec<String> {
        let root = self.root.path().display().to_string();
        let common = [
            "--root",
            &root,
            "--endpoint",
            &self.endpoints,
            "--key-prefix",
            &self.prefix,
        ];
        // For the others these flags mean nothing, and are refused.
        let asks_etcd = !args
            .first()
            .is_some_and(|command| ["slots", "update", "cancel", "hooks"].contains(command));
        let common = if asks_etcd { &common[..] } else { &common[..2] };
        args.iter()
            .copied()
            .chain(common.iter().copied())
            .map(str::to_owned)
            .collect()
    }

    async fn run(&self, args: &[&str]) -> Output {
        run(bin(), self.args(args), &[], PATIENCE).await
    }

    /// Runs a command where nobody listens at etcd's address.
    async fn run_without_etcd(&self, args: &[&str]) -> Output {
        let root = self.root.path().display().to_string();
        let away = [
            "--root",
            &root,
            "--endpoint",
            "127.0.0.1:1",
            "--timeout",
            "300ms",
        ];
        let args = args.iter().chain(&away).map(|&arg| arg.to_owned());
        run(bin(), args, &[], PATIENCE).await
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
