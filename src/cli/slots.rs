//! `pointsman slots`.

use host::{
    node,
    update_engine::{Operation, UpdateEngine},
};
use serde::Serialize;
use slots::{
    Change, Slots, SlotsError,
    attributes::Attributes,
    select,
    storage::{Access, DiskError},
    version,
};

use super::{
    Context, Exit, Failure,
    common::{DryRunArgs, JsonArgs},
    output,
    table::{cells, table, trimmed},
};
use crate::agent::{journal::Journal, next_slot};

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    json: JsonArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Print the label of the slot that the boot loader would boot.
    Next {
        /// Also use up one try of that slot, as the boot loader does. For programs that boot slots themselves.
        #[arg(long)]
        boot: bool,
    },
    /// Mark a slot good, and boot it next time.
    MarkGood {
        /// Letter, label or partition number of the slot. Without it: the running slot.
        slot: Option<String>,
        /// Allow a slot that holds no file system.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        dry: DryRunArgs,
    },
    /// Give a slot the highest priority. Its tries and its mark do not change.
    Prioritize {
        /// Letter, label or partition number of the slot.
        slot: String,
        /// Allow a slot that holds no file system.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        dry: DryRunArgs,
    },
    /// Exit 0 if the running slot has passed its checks, or if there are no slots; else exit 1.
    Proven,
    /// Exit 0 if the running slot has passed its checks and this node neither soaks nor goes back from a soak; else exit 1.
    /// update_engine is held back until then.
    Settled,
    /// Check the partition table. Exit 1 if it is damaged or no slot can boot.
    Check,
    /// Repair the partition table from its good copy.
    Repair {
        #[command(flatten)]
        dry: DryRunArgs,
    },
}

impl DryRunArgs {
    /// What is to be done with the disk.
    #[must_use]
    pub fn access(self) -> Access {
        if self.dry_run {
            Access::Read
        } else {
            Access::Write
        }
    }
}

/// The slots of a node.
#[derive(Debug, Clone, Serialize)]
pub struct Shown {
    /// The disk.
    pub disk: String,
    /// Whose slots they are: `flatcar`, `chromeos`, `bottlerocket`.
    pub scheme: &'static str,
    /// The slots, in the order of their partitions.
    pub slots: Vec<ShownSlot>,
    /// The label of the slot the boot loader would take; null where none can boot.
    pub next: Option<String>,
    /// What is wrong with the table.
    pub findings: Vec<String>,
    /// What a reboot would do, a sentence.
    pub reboot: String,
}

/// One slot.
#[derive(Debug, Clone, Serialize)]
pub struct ShownSlot {
    /// Its letter, where its label ends in one.
    pub slot: Option<char>,
    /// Its label.
    pub label: String,
    /// The number of its partition.
    pub partition: u32,
    /// The partition's device; null where the disk is an image.
    pub device: Option<String>,
    /// The version of what it holds, where that can be read.
    pub version: Option<String>,
    /// What tells its image from others.
    pub image: String,
    /// The file system it holds; null where it holds none.
    pub content: Option<&'static str>,
    /// The priority; 0 never boots.
    pub priority: u8,
    /// How often it may still be tried.
    pub tries: u8,
    /// Whether it is marked good.
    pub successful: bool,
    /// Whether it runs; null where that is not known.
    pub booted: Option<bool>,
    /// Whether it holds an update that waits for a reboot.
    pub staged: bool,
    /// Whether the boot loader would take it.
    pub next: bool,
}

impl From<SlotsError> for Failure {
    fn from(error: SlotsError) -> Self {
        let exit = match &error {
            SlotsError::Unknown { .. } | SlotsError::Ambiguous { .. } => Exit::Usage,
            SlotsError::Disk(DiskError::Locked { .. }) => Exit::Refused,
            _ => Exit::Failed,
        };
        Self {
            remedies: error.remedy().into_iter().collect(),
            ..Self::new(exit, error.to_string())
        }
    }
}

/// Opens the configured disk.
///
/// # Errors
/// When there are no slots.
pub fn open(context: &Context, access: Access) -> Result<Slots, Failure> {
    find(context, access)?
        .map_err(|error| Failure::new(Exit::Failed, format!("{NO_SLOTS} ({error})")))
}

/// Opens the configured disk; the inner error: there are no slots, and nobody has said that there are any.
///
/// # Errors
/// When there should be slots, and they cannot be used.
pub(super) fn find(
    context: &Context,
    access: Access,
) -> Result<Result<Slots, SlotsError>, Failure> {
    context.slots_are_certain()?;
    let config = &context.config;
    let not_named = config.slots.disk.is_none();
    match Slots::open(&config.root, &next_slot::location(config), access) {
        Err(error @ (SlotsError::Find(_) | SlotsError::Table { .. } | SlotsError::None { .. }))
            if not_named =>
        {
            Ok(Err(error))
        }
        opened => Ok(Ok(opened?)),
    }
}

/// Of a machine on which no slots are found, and no disk is named.
pub(super) const NO_SLOTS: &str = "this node has no A/B system partitions. Slots, rollback and trials do not work here; coordinated \
     reboots do";

/// Shows a change, and makes it unless it is only to be shown.
///
/// # Errors
/// When the disk refuses.
pub fn make(slots: &mut Slots, change: Change, dry: DryRunArgs) -> Result<(), Failure> {
    if change.is_nothing() {
        return output::say("Nothing to change.");
    }
    let verb = match dry.dry_run {
        true => "would be repaired",
        false => "repaired",
    };
    for finding in &change.repaired {
        output::say(format!("{verb}: {finding}"))?;
    }
    for line in &change.lines {
        output::say(line)?;
    }
    if dry.dry_run {
        return output::say("Nothing was changed: --dry-run.");
    }
    slots.apply(change)?;
    Ok(())
}

/// Does it.
///
/// # Errors
/// When there are no slots, or the disk refuses.
pub async fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    match &args.command {
        None => show(context, args.json.json).await,
        Some(Command::Next { boot }) => next(context, *boot),
        Some(Command::MarkGood { slot, force, dry }) => {
            let mut slots = open(context, dry.access())?;
            let index = match slot {
                Some(name) => named(&mut slots, name, *force)?,
                None => booted(&slots)?,
            };
            put(&mut slots, *dry, |all| select::mark_good(all, index))
        }
        Some(Command::Prioritize { slot, force, dry }) => {
            let mut slots = open(context, dry.access())?;
            let index = named(&mut slots, slot, *force)?;
            put(&mut slots, *dry, |all| select::prioritize(all, index))
        }
        Some(Command::Proven) => proven(context),
        Some(Command::Settled) => settled(context),
        Some(Command::Check) => check(context),
        Some(Command::Repair { dry }) => {
            let mut slots = open(context, dry.access())?;
            let change = slots.repair();
            make(&mut slots, change, *dry)
        }
    }
}

/// The slot of this name, if the boot loader would find something there: an empty one that is marked good and first is
/// taken at every boot, and nothing gets the machine out of that.
fn named(slots: &mut Slots, name: &str, force: bool) -> Result<usize, Failure> {
    let index = slots.by_name(name)?;
    if slots.content(index)?.is_none() && !force {
        let name = slots.slots()[index].name();
        return Err(Failure::new(
            Exit::Failed,
            format!("{name} holds no file system, so it cannot boot. --force allows this"),
        ));
    }
    Ok(index)
}

/// Changes the slots, and says what a reboot does then.
fn put(
    slots: &mut Slots,
    dry: DryRunArgs,
    change: impl FnOnce(&mut [Attributes]),
) -> Result<(), Failure> {
    let change = slots.change(change);
    make(slots, change, dry)?;
    if dry.dry_run {
        return Ok(());
    }
    output::say(reboot(slots))
}

/// The booted slot.
///
/// # Errors
/// When it is not known.
pub fn booted(slots: &Slots) -> Result<usize, Failure> {
    slots.booted().ok_or_else(|| {
        Failure::new(
            Exit::Usage,
            format!(
                "it is not known which slot of {} is running. Give --booted SLOT",
                slots.disk().display()
            ),
        )
    })
}

fn next(context: &Context, boot: bool) -> Result<(), Failure> {
    let access = if boot { Access::Write } else { Access::Read };
    let mut slots = open(context, access)?;
    let Some(next) = slots.next() else {
        return Err(Failure::new(Exit::Failed, nothing_boots(&slots)));
    };
    if boot {
        let change = slots.change(|all| {
            select::boot(all);
        });
        for finding in &change.repaired {
            output::note(format!("repaired: {finding}"));
        }
        slots.apply(change)?;
    }
    output::say(slots.slots()[next].name())
}

fn nothing_boots(slots: &Slots) -> String {
    let each: Vec<String> = slots
        .slots()
        .iter()
        .map(|slot| format!("{}: {}", slot.name(), slot.attributes))
        .collect();
    format!(
        "no slot can boot. Expected one with a priority above 0 that is marked successful or has a try left; found {}",
        each.join("; ")
    )
}

fn proven(context: &Context) -> Result<(), Failure> {
    let slots = match open(context, Access::Read) {
        Ok(slots) => slots,
        // No trial that anybody knows of: who waits must not wait for ever.
        Err(failure) => {
            output::note(failure);
            return Ok(());
        }
    };
    match slots.booted().map(|booted| &slots.slots()[booted]) {
        Some(slot) if !slot.attributes.successful() => Err(Failure::new(
            Exit::Failed,
            format!("{} is on trial: {}", slot.name(), slot.attributes),
        )),
        _ => Ok(()),
    }
}

fn settled(context: &Context) -> Result<(), Failure> {
    proven(context)?;
    let root = &context.config.root;
    let asked = Journal::load(&Journal::path(root))
        .map_err(|error| error.to_string())
        .and_then(|journal| {
            let boot_id = node::boot_id(root).map_err(|error| error.to_string())?;
            Ok(journal.holds_updates_back(&boot_id))
        });
    match asked {
        Ok(false) => Ok(()),
        Ok(true) => Err(Failure::new(
            Exit::Failed,
            "this node still holds the reboot lock for the image that it runs: it may have to go back to the other slot",
        )),
        // Who waits must not wait for ever.
        Err(error) => {
            output::note(error);
            Ok(())
        }
    }
}

fn check(context: &Context) -> Result<(), Failure> {
    let slots = open(context, Access::Read)?;
    let mut wrong: Vec<String> = slots.findings().iter().map(ToString::to_string).collect();
    if slots.next().is_none() {
        wrong.push(nothing_boots(&slots));
    }
    if wrong.is_empty() {
        return output::say(format!("{}: no problem found", slots.disk().display()));
    }
    let failure = Failure::new(
        Exit::Failed,
        format!("{}: {}", slots.disk().display(), wrong.join("\n")),
    );
    Err(match slots.findings() {
        [] => failure,
        _ => failure.remedy("repair it", context.command("slots repair")),
    })
}

/// Whether update_engine has an update staged; false where it is not there to say so.
async fn staged(context: &Context) -> bool {
    let Ok(bus) = host::bus::connect(&context.config.root).await else {
        return false;
    };
    let status = UpdateEngine::new(&bus).get_status().await;
    status.is_ok_and(|status| status.operation == Operation::UpdatedNeedReboot)
}

async fn show(context: &Context, json: bool) -> Result<(), Failure> {
    let mut slots = open(context, Access::Read)?;
    let staged = staged(context).await;
    let (booted, other, next) = (slots.booted(), slots.other(), slots.next());
    let mut shown = Shown {
        disk: slots.disk().display().to_string(),
        scheme: slots.scheme().name,
        slots: Vec::new(),
        next: next.map(|next| slots.slots()[next].name()),
        findings: slots.findings().iter().map(ToString::to_string).collect(),
        reboot: reboot(&slots),
    };
    for index in 0..slots.slots().len() {
        let (image, content) = (slots.image(index)?, slots.content(index)?);
        let slot = slots.slots()[index].clone();
        let device = slots.device(index);
        let mut version = version::of_slot(slots.disk(), &slot, device.as_deref(), content).await;
        // What runs here is known without it; of a disk that a flag names nobody knows whether it is this machine's,
        // whichever slot is said to be booted.
        let here = !context.names_the_disk() || !context.config.root.is_host();
        if version.is_none() && booted == Some(index) && here {
            version = version::of_booted(&context.config.root);
        }
        shown.slots.push(ShownSlot {
            slot: slot.letter,
            partition: slot.number,
            device: device.map(|device| device.display().to_string()),
            version,
            image,
            content,
            priority: slot.attributes.priority(),
            tries: slot.attributes.tries(),
            successful: slot.attributes.successful(),
            booted: booted.map(|booted| booted == index),
            staged: staged && other == Some(index),
            next: next == Some(index),
            label: slot.label,
        });
    }
    if json {
        return output::json(&shown);
    }
    let mut lines = table(&[
        "SLOT",
        "LABEL",
        "DEVICE",
        "VERSION",
        "IMAGE",
        "PRIORITY",
        "TRIES",
        "SUCCESSFUL",
        "IS",
    ]);
    for slot in &shown.slots {
        let is = [
            (slot.booted == Some(true), "booted"),
            (slot.staged, "staged"),
            (slot.next, "next"),
            (slot.content.is_none(), "empty"),
        ];
        let is: Vec<&str> = is
            .iter()
            .filter(|(is, _)| *is)
            .map(|(_, word)| *word)
            .collect();
        lines.add_row(cells(vec![
            slot.slot.map_or("-".into(), String::from),
            slot.label.clone(),
            slot.device
                .clone()
                .unwrap_or_else(|| format!("partition {}", slot.partition)),
            slot.version.clone().unwrap_or_else(|| "-".into()),
            slot.image.chars().take("sha256:".len() + 12).collect(),
            slot.priority.to_string(),
            slot.tries.to_string(),
            if slot.successful { "yes" } else { "no" }.into(),
            is.join(", "),
        ]));
    }
    output::say(format!("{}\n\n{}", trimmed(&lines), shown.reboot))?;
    for finding in &shown.findings {
        let repair = context.command("slots repair");
        output::say(format!("{finding}. To repair it: {repair}"))?;
    }
    Ok(())
}

/// What a reboot would do.
fn reboot(slots: &Slots) -> String {
    let Some(next) = slots.next() else {
        return format!("A reboot now would fail: {}.", nothing_boots(slots));
    };
    let slot = &slots.slots()[next];
    let name = slot.name();
    let trial = if slot.attributes.successful() {
        ""
    } else {
        ", on trial: if it is not marked good, the reboot after that boots another slot"
    };
    match slots.booted() {
        Some(booted) if booted == next => format!("A reboot now boots {name} again{trial}."),
        Some(booted) if !slots.slots()[booted].attributes.bootable() => format!(
            "A reboot now boots {name}: the running slot {} has no try left and is not marked good.",
            slots.slots()[booted].name()
        ),
        Some(booted) => format!(
            "A reboot now boots {name} instead of {}{trial}.",
            slots.slots()[booted].name()
        ),
        None => format!("A reboot now boots {name}{trial}."),
    }
}
