//! Carrying steps out on a machine, and undoing them.
//!
//! - `tree`: the files under a root, by paths that cannot leave it; `entry`: what is at one; `accounts`: its users
//! - `fetch`: files from servers; `look`: what each step changes (nothing is done); `act`, `put`, `install`: what it finds
//! - `run`: making the changes, by `tools`, systemd (`manager`) and update-ssh-keys (`keys`)
//! - `record`, `journal`, `format`, `state`, `progress`: the record of each apply; `undo`: undoing from it
//! - `show`: plans and records for people and programs; `follow`: how far an apply is

mod accounts;
mod act;
mod earlier;
mod entry;
mod error;
mod fetch;
mod follow;
mod format;
mod install;
mod journal;
mod keys;
mod look;
mod machine;
mod manager;
mod progress;
mod put;
mod record;
mod run;
mod show;
mod state;
mod tools;
mod tree;
mod undo;

use std::time::Duration;

use tokio::time::{Instant, sleep};

pub use error::{ApplyError, RecordDamage};
pub use follow::Stage;
pub use format::{End, FOLDER};
pub use machine::Machine;
pub use show::{Outline, Past, PlannedChange, print};

use self::{
    act::{Act, tasks},
    earlier::Earlier,
    look::look,
    manager::Manager,
    record::{History, Record, RecordSummary, Store},
    run::Run,
    undo::Left,
};
use super::plan::Step;

/// How often to check whether another apply has ended.
const ASKED_AGAIN: Duration = Duration::from_millis(200);

impl Machine {
    /// Runs the commands that end the boot, which an apply leaves until everything is recorded.
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

    /// Finds what the steps would change.
    ///
    /// # Errors
    /// When the records cannot be read, or the steps cannot be done here.
    pub async fn outline(&mut self, steps: &[Step]) -> Result<Outline, ApplyError> {
        let store = Store::look(&self.tree)?;
        let History {
            state, interrupted, ..
        } = match &store {
            Some(store) => store.history()?,
            None => History::default(),
        };
        let steps = fetch::all(&self.tree, steps, self.wait).await?;
        self.survey(&steps, store.as_ref()).await?;
        let tasks = tasks(&steps, state.keys.keys().map(String::as_str));
        let found = look(self, &state, &Earlier::default(), &tasks, true);
        let mut outline = show::outline(self, &found, true)?;
        if let Some(interrupted) = interrupted {
            let at = interrupted.begin.at;
            outline.notes.push(format!(
                "the apply of {at} was interrupted; it is undone first"
            ));
            outline.interrupted = true;
        }
        Ok(outline)
    }

    /// Carries the steps out. The text names the document.
    ///
    /// # Errors
    /// When a step fails: what was done before it is then undone.
    pub async fn apply(&mut self, steps: &[Step], source: &str) -> Result<Outline, ApplyError> {
        self.lock().await?;
        let store = self.locked.take().expect("locked right before");
        let History {
            state,
            mut old,
            interrupted,
        } = store.history()?;
        let mut notes = Vec::new();
        if let Some(interrupted) = interrupted {
            let systemd = self.survey(&[], None).await?;
            let left = self
                .undo_interrupted(&store, systemd.as_ref(), &interrupted)
                .await?;
            notes.push(format!(
                "the apply of {} was interrupted and is undone",
                interrupted.begin.at
            ));
            notes.extend(left);
        }
        self.follower.tell(|| Stage::Fetching);
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
            changes: outline.due(),
            notes: Vec::new(),
            last: Vec::new(),
            failed: Vec::new(),
        };
        // One look is enough, unless an act changes what the rest of the look would find.
        let first = (!found.acts.iter().any(Act::disturbs)).then_some(found);
        let ended = match run.all(state, &tasks, first).await {
            Ok(state) => {
                let this = RecordSummary::new(run.journal.number, Some(&state));
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
                // If something is not undone, the record is not ended: the next apply or revert tries again.
                if !failed && let Err(error) = run.journal.end_with(End::Undone, None, left.clone())
                {
                    left.push(error.to_string());
                }
                old.push(RecordSummary::new(run.journal.number, None));
                store.prune(&old);
                Err(ApplyError::Undone {
                    failure: Box::new(failure),
                    left,
                })
            }
        }
    }

    /// Locks the records until the next apply has ended. Call it before reading anything that the steps
    /// are made from.
    ///
    /// # Errors
    /// When somebody else holds the lock for longer than this waits.
    pub async fn lock(&mut self) -> Result<(), ApplyError> {
        if self.locked.is_some() {
            return Ok(());
        }
        let limit = Instant::now() + self.patience;
        self.locked = loop {
            match Store::open(&self.tree) {
                // A blocking flock(2) cannot be cancelled, so the lock is polled.
                Err(ApplyError::Busy) if Instant::now() < limit => sleep(ASKED_AGAIN).await,
                done => break Some(done?),
            }
        };
        Ok(())
    }

    /// Undoes an interrupted apply and returns what could not be undone.
    async fn undo_interrupted(
        &self,
        store: &Store,
        systemd: Option<&Manager>,
        interrupted: &Record,
    ) -> Result<Vec<String>, ApplyError> {
        let mut journal = store.resume(interrupted.number)?;
        let left = undo::undo(self, systemd, &journal, &interrupted.will, false)
            .await
            .texts;
        journal.end_with(End::Undone, None, left.clone())?;
        Ok(left)
    }

    /// Undoes the last apply.
    ///
    /// # Errors
    /// When there is none, somebody has changed what it wrote (unless `force`), or a step fails.
    pub async fn revert(&mut self, force: bool) -> Result<Past, ApplyError> {
        let store = Store::open(&self.tree)?;
        let record = store.last()?;
        // An interrupted apply is undone as far as possible.
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

    /// Lists the applies so far, oldest first.
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
