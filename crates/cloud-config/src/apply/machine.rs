//! A machine that documents are applied to.

use std::{collections::HashSet, io, time::Duration};

use host::node::{self, Root};

use super::{
    accounts::Accounts,
    entry::{self},
    error::ApplyError,
    format::FOLDER,
    manager::{Manager, NETWORKD},
    record::Store,
    tree::Tree,
};
use crate::{LARGEST, plan::Step};

/// A machine, or the tree of one.
#[derive(Debug)]
pub struct Machine {
    pub(super) root: Root,
    pub(super) tree: Tree,
    /// It runs this program.
    pub(super) live: bool,
    /// It runs this program, and systemd runs it (sd_booted(3)).
    pub(super) systemd: bool,
    pub(super) boot: String,
    /// The scripts that have run.
    pub(super) scripts: HashSet<String>,
    /// Those of the units that are told something that run.
    pub(super) active: HashSet<String>,
    /// How long contents that are elsewhere may take to appear.
    pub(super) wait: Option<Duration>,
    /// What earlier documents wrote stays.
    pub(super) adds: bool,
    /// Which document is applied: the hash of its bytes.
    pub(super) document: String,
    /// How long another apply is waited for.
    pub(super) patience: Duration,
    /// The records, where nobody else may write them.
    pub(super) locked: Option<Store>,
}

impl Machine {
    /// The machine under a root.
    ///
    /// # Errors
    /// When there is no such folder.
    pub fn open(root: &Root) -> Result<Self, ApplyError> {
        let failed = |error| ApplyError::Root {
            root: root.folder().display().to_string(),
            error,
        };
        // `/mnt/..` is this machine as well; the tools for users take only whole paths.
        let folder = root.folder().canonicalize().map_err(failed)?;
        let live = folder == std::path::Path::new("/");
        let root = if live {
            Root::default()
        } else {
            Root::new(folder)
        };
        Ok(Self {
            tree: Tree::open(&root).map_err(failed)?,
            live,
            systemd: live && root.path("run/systemd/system").is_folder(),
            boot: node::boot_id(&root).unwrap_or_default(),
            scripts: HashSet::new(),
            active: HashSet::new(),
            wait: None,
            adds: false,
            document: String::new(),
            patience: Duration::ZERO,
            locked: None,
            root,
        })
    }

    /// Contents that are elsewhere may take so long to appear. Without it, what is not there is given up at once.
    #[must_use]
    pub fn waiting(self, wait: Option<Duration>) -> Self {
        Self { wait, ..self }
    }

    /// What earlier documents wrote stays, as coreos-cloudinit had it: where that program applied several documents, one
    /// after the other, each says but a part of what the machine is to have.
    #[must_use]
    pub fn adding(self, adds: bool) -> Self {
        Self { adds, ..self }
    }

    /// The document that is applied, of which some things are done once: all its bytes.
    #[must_use]
    pub fn of_document(self, bytes: &[u8]) -> Self {
        let document = entry::sha256(bytes);
        Self { document, ..self }
    }

    /// Another apply is waited for, so long.
    #[must_use]
    pub fn patient(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// The text of a file, where it is there and is text.
    #[must_use]
    pub fn text(&self, path: &str) -> Option<String> {
        let bytes = self.tree.read(path, LARGEST).ok()??;
        String::from_utf8(bytes).ok()
    }

    pub(super) fn accounts(&self) -> Accounts<'_> {
        Accounts {
            tree: &self.tree,
            live: self.live,
        }
    }

    pub(super) fn has_user(&self, name: &str) -> bool {
        self.accounts().user(name).is_ok_and(|user| user.is_some())
    }

    /// The bytes that a record has kept.
    pub(super) fn kept(&self, (record, n): (u64, u64)) -> io::Result<Vec<u8>> {
        let path = format!("{FOLDER}/{record:06}/{n}");
        let bytes = self.tree.read(&path, LARGEST + 1)?;
        bytes.ok_or_else(|| io::Error::other(format!("{path} was kept and does not exist now")))
    }

    /// The way to systemd, where it runs the machine, and what it says of the units that steps are about.
    pub(super) async fn survey(
        &mut self,
        steps: &[Step],
        store: Option<&Store>,
    ) -> Result<Option<Manager>, ApplyError> {
        if let Some(store) = store {
            self.scripts = store.scripts()?;
        }
        let told = steps.iter().filter_map(|step| match step {
            Step::Command { unit, .. } => Some(unit.as_str()),
            _ => None,
        });
        let units: HashSet<&str> = told.chain([NETWORKD]).collect();
        if !self.systemd {
            return Ok(None);
        }
        let systemd = Manager::connect(&self.root).await?;
        self.active = systemd.active(&units).await?;
        Ok(Some(systemd))
    }
}
