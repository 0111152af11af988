//! Which slot boots next. While an update waits for its turn the booted slot stays the next to boot, and the new slot is
//! activated only just before the reboot. So a power cut, or a reboot by somebody else, takes no node to an image that
//! nobody has cleared.

use std::{io, sync::Arc};

use host::{
    blocking,
    node::{Root, RootPath},
};
use semaphore::records::ImageId;
use settings::Config;
use slots::{Location, Slot, Slots, SlotsError, rollback, select, storage::Access};

use super::machine::{Boot, Other};

mod fault;

pub use fault::SlotFault;

/// Where the configuration says the slots are.
#[must_use]
pub fn location(config: &Config) -> Location {
    Location {
        disk: config.slots.disk.clone(),
        booted: config.slots.booted.clone(),
    }
}

/// The node's slots, and whether the booted one is pinned.
#[derive(Debug, Clone)]
pub struct NextSlot {
    root: Root,
    location: Location,
    /// Whether the booted slot is to be pinned.
    pin: bool,
}

/// The slots as the agent uses them. A disk may be slow, and its lock may be held: each operation runs on a thread of its
/// own, one after the other in the order in which they were asked for, also where nobody waits for one any more.
#[derive(Debug, Clone)]
pub struct NextSlotQueue {
    next_slot: Arc<NextSlot>,
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl NextSlotQueue {
    /// A queue for these.
    #[must_use]
    pub fn new(next_slot: NextSlot) -> Self {
        Self {
            next_slot: Arc::new(next_slot),
            turn: Arc::default(),
        }
    }

    /// Does an operation on a thread that may wait for the disk.
    pub async fn run<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&NextSlot) -> T + Send + 'static,
    ) -> T {
        // Tokio's mutex lets in first who asked first.
        let turn = self.turn.clone().lock_owned().await;
        let next_slot = self.next_slot.clone();
        blocking::run(move || {
            let _turn = turn;
            operation(&next_slot)
        })
        .await
    }
}

/// What the slots say of this boot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// The content of the booted slot; none where there are no slots.
    pub runs: Option<String>,
    /// The label of the booted slot.
    pub slot: Option<String>,
    /// The GUID of the disk.
    pub disk: Option<String>,
    /// What a boot is judged by.
    pub boot: Boot,
}

impl NextSlot {
    /// The slots of the machine under `root`; `pin` where a reboot has to be cleared by others, and the operator wants it.
    #[must_use]
    pub fn new(root: Root, location: Location, pin: bool) -> Self {
        Self {
            root,
            location,
            pin,
        }
    }

    /// Says that the booted slot is pinned, across crashes: only what this program has pinned does it unpin.
    fn mark(&self) -> RootPath {
        self.root.path("var/lib/pointsman/points-held")
    }

    fn is_pinned(&self) -> bool {
        self.mark().exists()
    }

    fn unmark(&self) -> Result<(), SlotFault> {
        match self.mark().remove() {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.failed(error)),
            _ => Ok(()),
        }
    }

    /// Does what is right while an update is `staged`, or none is; one that is `quarantined` is held back on every node, also
    /// on one that otherwise leaves the next slot as update_engine sets it.
    ///
    /// # Errors
    /// When the disk cannot be read or written.
    pub fn settle(&self, staged: bool, quarantined: bool) -> Result<(), SlotFault> {
        match (staged, self.pin || quarantined) {
            (true, true) => self.keep(),
            // Held by an earlier configuration: it goes as update_engine left it.
            (true, false) if self.is_pinned() => {
                self.activate()?;
                self.unmark()
            }
            (true, false) => Ok(()),
            // Reset, or booted: what was staged is not any more.
            (false, _) => {
                self.put_back()?;
                self.unmark()
            }
        }
    }

    /// Puts the booted slot first again, where [`Self::activate`] has put the other one first: no reboot has followed. What
    /// else is first stays so.
    ///
    /// # Errors
    /// When the disk cannot be read or written.
    pub fn put_back(&self) -> Result<(), SlotFault> {
        if !self.pin {
            return Ok(());
        }
        let held = match self.mark().read_text() {
            Ok(label) => label,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(self.failed(error)),
        };
        // Let go of before it is opened to be changed.
        let name = |(slots, _, other): (Slots, usize, usize)| slots.slots()[other].name();
        if self.open(Access::Read)?.map(name) == Some(held) {
            self.keep()
        } else {
            Ok(())
        }
    }

    fn failed(&self, error: io::Error) -> SlotFault {
        SlotFault::mark(&self.mark(), error)
    }

    /// The slots, with the booted one and the other; none on a machine that has no two.
    fn open(&self, access: Access) -> Result<Option<(Slots, usize, usize)>, SlotFault> {
        let slots = match Slots::open(&self.root, &self.location, access) {
            Ok(slots) => slots,
            Err(error) => return self.none(error).map(|()| None),
        };
        Ok(slots
            .booted()
            .zip(slots.other())
            .map(|(booted, other)| (slots, booted, other)))
    }

    /// Looks at the slots as they are.
    ///
    /// # Errors
    /// When the disk cannot be read.
    pub fn survey(&self) -> Result<Survey, SlotFault> {
        let mut slots = match Slots::open(&self.root, &self.location, Access::Read) {
            Ok(slots) => slots,
            Err(error) => return self.none(error).map(|()| Survey::default()),
        };
        let Some(booted) = slots.booted() else {
            return Ok(Survey::default());
        };
        let runs = Some(slots.image(booted)?);
        let other = match slots.other() {
            Some(other) => {
                let image = Some(slots.image(other)?);
                let attributes = slots.slots()[other].attributes;
                Some(Other {
                    image: ImageId {
                        digest: image,
                        version: None,
                    },
                    successful: attributes.successful(),
                    tries: attributes.tries() > 0,
                    abandoned: attributes.priority() == 0,
                })
            }
            None => None,
        };
        let trial = !slots.slots()[booted].attributes.successful();
        Ok(Survey {
            runs,
            slot: Some(slots.slots()[booted].name()),
            disk: Some(slots.disk_guid()),
            boot: Boot { trial, other },
        })
    }

    /// The content of the slot that does not run, which holds a staged update; none on a machine without slots.
    ///
    /// # Errors
    /// When the disk cannot be read, or the slot could not boot.
    pub fn staged(&self) -> Result<Option<String>, SlotFault> {
        let Some((mut slots, _, other)) = self.open(Access::Read).map_err(SlotFault::of_staged)?
        else {
            return Ok(None);
        };
        bootable(&slots.slots()[other])?;
        slots.changeable()?;
        let image = slots.image(other);
        image
            .map(Some)
            .map_err(|error| SlotFault::Staged(error.into()))
    }

    /// Whether the slots can be read and changed, where there are any: what cannot be done is to be known before a node takes
    /// the lock and drains.
    ///
    /// # Errors
    /// Why not.
    pub fn usable(&self) -> Result<(), SlotFault> {
        match Slots::open(&self.root, &self.location, Access::Read) {
            Ok(slots) => Ok(slots.changeable()?),
            Err(error) => self.none(error),
        }
    }

    /// What the boot loader would take now, where that is not what `runs`; none on a machine without slots.
    ///
    /// # Errors
    /// When the disk cannot be read, or no slot could boot.
    pub fn next(&self, runs: &ImageId) -> Result<Option<ImageId>, SlotFault> {
        let Some((mut slots, booted, _)) = self.open(Access::Read)? else {
            return Ok(None);
        };
        let next = slots.next().ok_or(SlotFault::NoneBoots)?;
        if next == booted {
            return Ok(Some(runs.clone()));
        }
        Ok(Some(ImageId {
            digest: Some(slots.image(next)?),
            version: None,
        }))
    }

    /// Marks the booted slot good and puts it first.
    ///
    /// # Errors
    /// When the disk cannot be read or written.
    pub fn mark_good(&self) -> Result<(), SlotFault> {
        let mut slots = Slots::open(&self.root, &self.location, Access::Write)?;
        let booted = slots.booted().ok_or(SlotFault::BootedUnknown)?;
        let change = slots.change(|all| select::mark_good(all, booted));
        slots.apply(change)?;
        tracing::info!("{} is marked good", slots.slots()[booted].name());
        Ok(())
    }

    /// Puts the other slot first and takes the booted one's priority: the node rolls back to it, for good.
    ///
    /// # Errors
    /// When the disk cannot be read or written, the other slot cannot boot, or does not hold `to`.
    pub fn switch_back(&self, to: &ImageId) -> Result<(), SlotFault> {
        let (mut slots, booted, other) = self.open(Access::Write)?.ok_or(SlotFault::NoOther)?;
        let slot = slots.slots()[other].clone();
        let content = slots.content(other)?;
        rollback::possible(&slot, content)?;
        let holds = Some(slots.image(other)?);
        if holds != to.digest {
            return Err(SlotFault::OtherImage { slot: slot.name() });
        }
        let change =
            slots.change(|all| rollback::switch(all, booted, other, rollback::Left::Abandoned));
        Ok(slots.apply(change)?)
    }

    /// No slots where nobody said there are: a machine without. Anything else is an error.
    fn none(&self, error: SlotsError) -> Result<(), SlotFault> {
        let without = matches!(
            error,
            SlotsError::Find(_)
                | SlotsError::None { .. }
                | SlotsError::NotASlot { .. }
                | SlotsError::Table { .. }
        );
        if without && self.location == Location::default() {
            tracing::debug!("{error}");
            Ok(())
        } else {
            Err(error.into())
        }
    }

    /// Puts the booted slot first, where it is good and the other one would boot next.
    fn keep(&self) -> Result<(), SlotFault> {
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
        // First the mark: after a crash in between nothing is pinned and nothing lost.
        let label = slots.slots()[other].name();
        self.mark()
            .write_atomic(label.as_bytes(), 0o644)
            .map_err(|e| self.failed(e))?;
        let change = slots.change(|all| select::prioritize(all, booted));
        slots.apply(change)?;
        tracing::info!(
            "{} stays the next to boot until the reboot into {label} may happen",
            slots.slots()[booted].name()
        );
        Ok(())
    }

    /// Puts the staged slot first, where the booted one is pinned, or is to be. The mark stays: should no reboot follow, it
    /// tells who has put it first.
    ///
    /// # Errors
    /// When the disk cannot be read or written, or the staged slot cannot boot.
    pub fn activate(&self) -> Result<(), SlotFault> {
        // The mark may have gone and the table have stayed, when update_engine was reset and staged again.
        if !self.pin && !self.is_pinned() {
            return Ok(());
        }
        if let Some((mut slots, _, other)) = self.open(Access::Write)? {
            // A person has.
            if slots.next() == Some(other) && !self.is_pinned() {
                return Ok(());
            }
            let staged = slots.slots()[other].clone();
            bootable(&staged)?;
            self.mark()
                .write_atomic(staged.name().as_bytes(), 0o644)
                .map_err(|e| self.failed(e))?;
            let change = slots.change(|all| select::prioritize(all, other));
            slots.apply(change)?;
            tracing::info!("{} is the next to boot", staged.name());
        }
        Ok(())
    }
}

/// Whether a staged update could boot at all: after a reset, say, nothing gives it its try back.
fn bootable(staged: &Slot) -> Result<(), SlotFault> {
    if staged.attributes.bootable() {
        return Ok(());
    }
    Err(SlotFault::not_bootable(staged))
}
