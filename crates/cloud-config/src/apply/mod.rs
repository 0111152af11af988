//! Steps carried out on a machine, and taken back.
//!
//! - `tree`: the files under a root, by paths that cannot leave it; `entry`: what is at one; `accounts`: its users
//! - `fetch`: contents that are elsewhere; `look`: what each step changes (nothing is done); `act`, `put`, `install`: the things it finds
//! - `run`: doing them, by `tools`, systemd (`manager`) and update-ssh-keys (`keys`)
//! - `record`, `journal`, `state`: what every apply leaves behind; `undo`: taking back from it
//! - `show`: what a person or a program sees of it

mod accounts;
mod act;
mod entry;
mod error;
mod fetch;
mod install;
mod journal;
mod keys;
mod look;
mod manager;
mod put;
mod record;
mod run;
mod show;
mod state;
mod tools;
mod tree;
mod undo;

use std::{collections::HashSet, io, time::Duration};

use tokio::time::{Instant, sleep};

pub use error::ApplyError;
pub use record::{End, FOLDER};
pub use show::{Change, Outline, Past, print};

use host::node::{self, Root};

use self::{
    accounts::Accounts,
    act::{Act, tasks},
    look::{Earlier, look},
    manager::{Manager, NETWORKD},
    record::{Old, Record, SoFar, Store},
    run::Run,
    tree::Tree,
    undo::Left,
};
use super::plan::Step;

/// The pause between two looks whether another apply has ended.
const ASKED_AGAIN: Duration = Duration::from_millis(200);

/// A machine, or the tree of one.
#[derive(Debug)]
pub struct Machine {
    root: Root,
    tree: Tree,
    /// It runs this program.
    live: bool,
    /// It runs this program, and systemd runs it (sd_booted(3)).
    systemd: bool,
    boot: String,
    /// The scripts that have run.
    scripts: HashSet<String>,
    /// Those of the units that are told something that run.
    active: HashSet<String>,
    /// How long contents that are elsewhere may take to appear.
    wait: Option<Duration>,
    /// What earlier documents wrote stays.
    adds: bool,
    /// Which document is applied: the hash of its bytes.
    document: String,
    /// How long another apply is waited for.
    patience: Duration,
    /// The records, where nobody else may write them.
    locked: Option<Store>,
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

    /// Tells systemd what ends the boot: what an apply left for the end, once all is on record.
    ///
    /// # Errors
    /// When systemd refuses.
    pub async fn end_boot(&self, outline: &Outline) -> Result<(), ApplyError> {
        if outline.last.is_empty() {
            return Ok(());
        }
        let systemd = Manager::connect(&self.root).await?;
        for (unit, command) in &outline.last {
            systemd.ask(unit, command).await?;
        }
        Ok(())
    }

    /// Another apply is waited for, so long.
    #[must_use]
    pub fn patient(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// The text of a file, where it is there and is text.
    #[must_use]
    pub fn text(&self, path: &str) -> Option<String> {
        let bytes = self.tree.read(path, super::LARGEST).ok()??;
        String::from_utf8(bytes).ok()
    }

    fn accounts(&self) -> Accounts<'_> {
        Accounts {
            tree: &self.tree,
            live: self.live,
        }
    }

    fn has_user(&self, name: &str) -> bool {
        self.accounts().user(name).is_ok_and(|user| user.is_some())
    }

    /// The bytes that a record has kept.
    fn kept(&self, (record, n): (u64, u64)) -> io::Result<Vec<u8>> {
        let path = format!("{FOLDER}/{record:06}/{n}");
        let bytes = self.tree.read(&path, super::LARGEST + 1)?;
        bytes.ok_or_else(|| io::Error::other(format!("{path}, which was kept, is gone")))
    }

    /// The way to systemd, where it runs the machine, and what it says of the units that steps are about.
    async fn survey(
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

    /// What the steps would change.
    ///
    /// # Errors
    /// When the records cannot be read, or the steps cannot be done here.
    pub async fn outline(&mut self, steps: &[Step]) -> Result<Outline, ApplyError> {
        let store = Store::look(&self.tree)?;
        let SoFar { state, cut, .. } = match &store {
            Some(store) => store.so_far()?,
            None => SoFar::default(),
        };
        let steps = fetch::all(&self.tree, steps, self.wait).await?;
        self.survey(&steps, store.as_ref()).await?;
        let tasks = tasks(&steps, state.keys.keys().map(String::as_str));
        let found = look(self, &state, &Earlier::default(), &tasks, true);
        let mut outline = show::outline(self, &found, true)?;
        if let Some(cut) = cut {
            let at = cut.begin.at;
            outline
                .notes
                .push(format!("the apply of {at} was cut off; it is undone first"));
            outline.cut = true;
        }
        Ok(outline)
    }

    /// Carries the steps out. The text says which document it is.
    ///
    /// # Errors
    /// When a step fails: what was done before it is then undone.
    pub async fn apply(&mut self, steps: &[Step], source: &str) -> Result<Outline, ApplyError> {
        self.lock().await?;
        let store = self.locked.take().expect("locked right before");
        let SoFar {
            state,
            mut old,
            cut,
        } = store.so_far()?;
        let mut notes = Vec::new();
        if let Some(cut) = cut {
            let systemd = self.survey(&[], None).await?;
            let left = self.mend(&store, systemd.as_ref(), &cut).await?;
            notes.push(format!(
                "the apply of {} was cut off and is undone",
                cut.begin.at
            ));
            notes.extend(left);
        }
        // Before anything is done: it may fail.
        let steps = fetch::all(&self.tree, steps, self.wait).await?;
        let systemd = self.survey(&steps, Some(&store)).await?;
        let users: Vec<String> = match self.adds {
            true => Vec::new(),
            false => state.keys.keys().cloned().collect(),
        };
        let tasks = tasks(&steps, users.iter().map(String::as_str));
        let found = look(self, &state, &Earlier::default(), &tasks, true);
        let mut outline = show::outline(self, &found, false)?;
        outline.notes.splice(0..0, notes);
        for change in outline
            .changes
            .iter()
            .filter(|change| change.change == "same")
        {
            tracing::debug!("{} {}: as it should be", change.kind, change.name);
        }
        if !outline.is_due() {
            return Ok(outline);
        }
        let mut run = Run {
            journal: store.begin(source, &self.boot, &old)?,
            machine: self,
            store: &store,
            systemd: systemd.as_ref(),
            done: Vec::new(),
            notes: Vec::new(),
            last: Vec::new(),
            failed: Vec::new(),
        };
        // Looked at once, unless something that is done changes what the rest finds.
        let first = (!found.acts.iter().any(Act::disturbs)).then_some(found);
        let ended = match run.all(state, &tasks, first).await {
            Ok(state) => {
                let this = Old::new(run.journal.number, Some(&state));
                let ended = run.journal.end(End::Applied, Some(state));
                ended.map(|()| this)
            }
            Err(failure) => Err(failure),
        };
        match ended {
            Ok(this) => {
                old.push(this);
                store.prune(&old);
                outline.notes.append(&mut run.notes);
                outline.last = run.last;
                outline.fatal = run.failed.iter().any(ApplyError::is_refusal);
                let failed = run
                    .failed
                    .iter()
                    .map(|error| error.to_string().trim_end().to_owned());
                outline.failed = failed.collect();
                Ok(outline)
            }
            Err(failure) => {
                let Left {
                    texts: mut left,
                    failed,
                } = undo::undo(self, systemd.as_ref(), &run.journal, &run.done, false).await;
                // What is not undone is not on record as undone: the next apply or revert tries once more.
                if !failed && let Err(error) = run.journal.end_with(End::Undone, None, left.clone())
                {
                    left.push(error.to_string());
                }
                old.push(Old::new(run.journal.number, None));
                store.prune(&old);
                Err(ApplyError::Undone {
                    failure: Box::new(failure),
                    left,
                })
            }
        }
    }

    /// Sees to it that nobody else applies or reverts until the next apply of this one has ended: before anything is read
    /// that steps are made of.
    ///
    /// # Errors
    /// When somebody else does so, for longer than is waited.
    pub async fn lock(&mut self) -> Result<(), ApplyError> {
        if self.locked.is_some() {
            return Ok(());
        }
        let limit = Instant::now() + self.patience;
        self.locked = loop {
            match Store::open(&self.tree) {
                // A lock that is asked for can no longer be left alone, so it is not waited for in flock(2).
                Err(ApplyError::Busy) if Instant::now() < limit => sleep(ASKED_AGAIN).await,
                done => break Some(done?),
            }
        };
        Ok(())
    }

    /// Undoes an apply that never came to its end; what could not be undone.
    async fn mend(
        &self,
        store: &Store,
        systemd: Option<&Manager>,
        cut: &Record,
    ) -> Result<Vec<String>, ApplyError> {
        let mut journal = store.resume(cut.number)?;
        let left = undo::undo(self, systemd, &journal, &cut.will, false)
            .await
            .texts;
        journal.end_with(End::Undone, None, left.clone())?;
        Ok(left)
    }

    /// Takes the last apply back.
    ///
    /// # Errors
    /// When there is none, somebody has changed what it wrote (unless `force`), or a step fails.
    pub async fn revert(&mut self, force: bool) -> Result<Past, ApplyError> {
        let store = Store::open(&self.tree)?;
        let record = store.last()?;
        // One that was cut off is undone as far as it can be.
        let whole = record.end.is_some();
        if whole && !force {
            let changed = undo::changed(self, &record)?;
            if !changed.is_empty() {
                return Err(ApplyError::Changed(changed));
            }
        }
        let systemd = self.survey(&[], None).await?;
        let mut journal = store.resume(record.number)?;
        let left = undo::undo(self, systemd.as_ref(), &journal, &record.will, force).await;
        run::sync(&self.tree, &record.will)?;
        if !left.failed {
            let how = if whole { End::Reverted } else { End::Undone };
            journal.end_with(how, None, left.texts.clone())?;
        }
        Ok(Past {
            left: left.texts,
            failed: left.failed,
            ..show::past(&record)
        })
    }

    /// The applies so far, oldest first.
    ///
    /// # Errors
    /// When the records cannot be read.
    pub fn history(&self) -> Result<Vec<Past>, ApplyError> {
        let store = Store::look(&self.tree)?;
        let Some(store) = store else {
            return Ok(Vec::new());
        };
        let past = |record: Result<Record, _>| Ok(show::past(&record?));
        store.records()?.map(past).collect()
    }
}
