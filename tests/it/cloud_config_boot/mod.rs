//! `cloud-config apply --at-boot`, boot after boot.

mod failures;
mod last_document;
mod sources;

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use pointsman_testbed::{
    fakes::PATIENCE,
    process::{Output, Signal, Spec, run},
    scratch,
    web::{Reply, Web},
};
use serde_json::Value;

use crate::{agents::bin, support::eventually};

/// A machine that is told by its command line where its document is.
pub(crate) struct Machine {
    pub(crate) root: tempfile::TempDir,
    pub(crate) web: Web,
    reply: Arc<Mutex<Reply>>,
}

/// A document with a file that stays and one that is gone after a boot.
pub(crate) fn document(motd: &str) -> String {
    format!(
        "#cloud-config\nwrite_files:\n  - path: /etc/site\n    content: {motd}\ncoreos:\n  flannel:\n    etcd_prefix: /{motd}\n"
    )
}

impl Machine {
    pub(crate) async fn new() -> Self {
        let root = scratch::dir("boot");
        let reply = Arc::new(Mutex::new(Reply::missing()));
        let serves = Arc::clone(&reply);
        let web = Web::serve(move |_, _| serves.lock().unwrap().clone()).await;
        let machine = Self { root, web, reply };
        fs::create_dir_all(machine.path("proc")).unwrap();
        fs::create_dir_all(machine.path("etc")).unwrap();
        let line = format!("ro cloud-config-url={}/node\n", machine.web.url());
        fs::write(machine.path("proc/cmdline"), line).unwrap();
        machine
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    pub(crate) fn serve(&self, reply: Reply) {
        *self.reply.lock().unwrap() = reply;
    }

    /// A new boot: /run is empty, and what is to be applied is.
    pub(crate) async fn boot(&self, sources: &[&str]) -> Output {
        let _ = fs::remove_dir_all(self.path("run"));
        let id = self.path("proc/sys/kernel/random/boot_id");
        fs::create_dir_all(id.parent().unwrap()).unwrap();
        let boots = fs::read(&id).unwrap_or_default().len();
        fs::write(&id, "x".repeat(boots + 1)).unwrap();
        let args = ["cloud-config", "apply", "--at-boot"];
        self.call(&[&args, sources].concat()).await
    }

    pub(crate) async fn call(&self, args: &[&str]) -> Output {
        let root = self.root.path().display().to_string();
        // Only who looks at the cluster takes an endpoint.
        let etcd: &[&str] = match args {
            ["status", ..] => &["--endpoint", "http://127.0.0.1:1"],
            _ => &[],
        };
        let args = [args, &["--root", &root], etcd].concat();
        run(bin(), args, &[("no_proxy", "127.0.0.1")], PATIENCE).await
    }

    pub(crate) fn text(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.path(path)).ok()
    }

    /// What the documents of this machine write.
    pub(crate) fn written(&self) -> (Option<String>, Option<String>) {
        (self.text("etc/site"), self.text("run/flannel/options.env"))
    }

    /// What `status` says of it: the result and the reason.
    pub(crate) async fn outcome(&self) -> (String, String) {
        let called = self.call(&["status", "--json"]).await;
        let status: Value = serde_json::from_str(&called.stdout).unwrap();
        let text = |key: &str| {
            status["cloud_config"][key]
                .as_str()
                .unwrap_or("-")
                .to_owned()
        };
        (text("result"), text("reason"))
    }
}

pub(crate) fn of(text: &str) -> (Option<String>, Option<String>) {
    let flannel = format!("FLANNELD_ETCD_PREFIX=/{text}\n");
    (Some(text.to_owned()), Some(flannel))
}

pub(crate) const MESSAGE: &str = "run/motd.d/50-pointsman-cloud-config";
