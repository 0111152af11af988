//! A machine that documents are applied to.

use std::{collections::HashSet, io, rc::Rc, time::Duration};

use host::node::{self, Root};

use super::{
    accounts::Accounts,
    entry::{self},
    error::ApplyError,
    follow::{Follower, Stage},
    format::FOLDER,
    manager::{Manager, NETWORKD},
    record::Store,
    tree::Tree,
};
use crate::{LARGEST, plan::Step};

/// A machine, or a tree of its files.
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
    /// The units with commands that are active.
    pub(super) active: HashSet<String>,
    /// How long to wait for files that are fetched.
    pub(super) wait: Option<Duration>,
    /// Documents add up: what earlier ones wrote stays.
    pub(super) adds: bool,
    /// Which document is applied: the hash of its bytes.
    pub(super) document: String,
    /// How long to wait for another apply.
    pub(super) patience: Duration,
    /// The records, while they are locked.
    pub(super) locked: Option<Store>,
    /// Who is told how far an apply is.
    pub(super) follower: Follower,
}

impl Machine {
    /// Opens the machine under a root.
    ///
    /// # Errors
    /// When the folder does not exist.
    pub fn open(root: &Root) -> Result<Self, ApplyError> {
        let failed = |error| ApplyError::Root {
            root: root.folder().display().to_string(),
            error,
        };
        // `/mnt/..` is this machine as well. The tools for users take only absolute paths.
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
            follower: Follower::default(),
            root,
        })
    }

    /// Sets how long to wait for files that are fetched. Without it, an unavailable file is not asked again.
    #[must_use]
    pub fn waiting(self, wait: Option<Duration>) -> Self {
        Self { wait, ..self }
    }

    /// Sets whether documents add up, as with coreos-cloudinit: where that program applied several documents, one after the other,
    /// each describes only a part of the machine.
    #[must_use]
    pub fn adding(self, adds: bool) -> Self {
        Self { adds, ..self }
    }

    /// Sets the document that is applied, by its bytes: some things are done once for each document.
    #[must_use]
    pub fn of_document(self, bytes: &[u8]) -> Self {
        let document = entry::sha256(bytes);
        Self { document, ..self }
    }

    /// Sets how long to wait for another apply.
    #[must_use]
    pub fn patient(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Sets who is told how far an apply is: before files are fetched, and before each change.
    #[must_use]
    pub fn followed_by(self, tell: impl Fn(Stage) + 'static) -> Self {
        let follower = Follower::new(Rc::new(tell));
        Self { follower, ..self }
    }

    /// Reads a text file; none if it does not exist or is not text.
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

    /// Reads the bytes that a record has kept.
    pub(super) fn kept(&self, (record, n): (u64, u64)) -> io::Result<Vec<u8>> {
        let path = format!("{FOLDER}/{record:06}/{n}");
        let bytes = self.tree.read(&path, LARGEST + 1)?;
        bytes.ok_or_else(|| io::Error::other(format!("{path} was kept and does not exist now")))
    }

    /// Connects to systemd, if it runs the machine, and reads which units of the steps are active.
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
