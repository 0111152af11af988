//! The points are thrown last: while an update waits for its turn the booted slot stays the next to boot, and the
//! staged one becomes it right before the reboot. A power cut or somebody's own reboot then moves no node to an image
//! nobody has cleared.

use std::{fs, io, path::PathBuf};

use crate::{
    node::{Root, write_atomic},
    slots::{Place, Slots, SlotsError, select, storage::Access},
};

/// This node's points.
#[derive(Debug, Clone)]
pub struct Points {
    root: Root,
    place: Place,
    /// Whether they are to be held.
    hold: bool,
}

impl Points {
    /// Those of the machine under `root`; `hold` where a reboot has to be cleared by others, and the operator wants it.
    #[must_use]
    pub fn new(root: Root, place: Place, hold: bool) -> Self {
        Self { root, place, hold }
    }

    /// Says that they are held, across crashes: only what this program has held does it throw.
    fn mark(&self) -> PathBuf {
        self.root.path("var/lib/pointsman/points-held")
    }

    fn is_held(&self) -> bool {
        self.mark().exists()
    }

    fn unmark(&self) -> io::Result<()> {
        match fs::remove_file(self.mark()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Does what is right while this update is staged (true) or none is.
    ///
    /// # Errors
    /// A sentence: the disk cannot be read or written.
    pub fn settle(&self, staged: bool) -> Result<(), String> {
        match (staged, self.hold) {
            (true, true) => self.keep(),
            // Held by an earlier configuration: it goes as update_engine left it.
            (true, false) if self.is_held() => self.throw(),
            (true, false) => Ok(()),
            // Reset, or booted: what was staged is not any more.
            (false, _) => self.unmark().map_err(|e| self.failed(&e)),
        }
    }

    fn failed(&self, error: &io::Error) -> String {
        format!("{}: {error}", self.mark().display())
    }

    /// The slots, with the booted one and the other; none on a machine that has no two.
    fn open(&self, access: Access) -> Result<Option<(Slots, usize, usize)>, String> {
        let slots = match Slots::open(&self.root, &self.place, access) {
            Ok(slots) => slots,
            // No slots where nobody said there are: a machine without.
            Err(
                error @ (SlotsError::Find(_)
                | SlotsError::None { .. }
                | SlotsError::NotASlot { .. }),
            ) if self.place == Place::default() => {
                tracing::debug!("{error}");
                return Ok(None);
            }
            Err(error) => return Err(error.to_string()),
        };
        Ok(slots
            .booted()
            .zip(slots.other())
            .map(|(booted, other)| (slots, booted, other)))
    }

    /// Puts the booted slot first, where it is good and the other one would boot next.
    fn keep(&self) -> Result<(), String> {
        // Read without keeping others from it: mostly there is nothing to change.
        let due = |slots: &Slots, booted: usize, other: usize| {
            slots.slots()[booted].attributes.successful() && slots.next() == Some(other)
        };
        match self.open(Access::Read)? {
            Some((slots, booted, other)) if due(&slots, booted, other) => {}
            _ => return Ok(()),
        }
        let Some((mut slots, booted, other)) = self.open(Access::Write)? else {
            return Ok(());
        };
        if !due(&slots, booted, other) {
            return Ok(());
        }
        // First the mark: after a crash in between there is nothing held and nothing lost.
        let label = slots.slots()[other].name();
        write_atomic(&self.mark(), label.as_bytes(), 0o644).map_err(|e| self.failed(&e))?;
        let change = slots.change(|all| select::prioritize(all, booted));
        slots.apply(change).map_err(|e| e.to_string())?;
        tracing::info!(
            "{} stays the next to boot until the reboot into {label} is cleared",
            slots.slots()[booted].name()
        );
        Ok(())
    }

    /// Puts the staged slot first, where the points are held.
    ///
    /// # Errors
    /// A sentence: the disk cannot be read or written, or the staged slot cannot boot.
    pub fn throw(&self) -> Result<(), String> {
        if !self.is_held() {
            return Ok(());
        }
        if let Some((mut slots, _, other)) = self.open(Access::Write)? {
            let staged = slots.slots()[other].clone();
            if !staged.attributes.bootable() {
                return Err(format!(
                    "{} holds the staged update and could not boot: {}",
                    staged.name(),
                    staged.attributes
                ));
            }
            let change = slots.change(|all| select::prioritize(all, other));
            slots.apply(change).map_err(|e| e.to_string())?;
            tracing::info!("{} is the next to boot", staged.name());
        }
        self.unmark().map_err(|e| self.failed(&e))
    }
}
