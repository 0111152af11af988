//! `pointsman rollback`.

use std::{io, time::Duration};

use host::{
    bus::{self, BusError},
    duration,
    node::{Root, RootPath},
    remedy, systemd,
    update_engine::{self, Operation, UpdateEngine, conf},
};
use slots::{
    Slots,
    rollback::{self, Left, RollbackError},
    select,
};

use super::{
    Context, Exit, Failure,
    common::DryRunArgs,
    output,
    reboot::{self, ask},
    slots::{booted, make, open},
};
use crate::agent::bus::AgentClient;

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Cancel a rollback before the reboot: boot the running slot next time.
    #[arg(long, conflicts_with_all = ["reboot", "force", "stay", "no_stay"])]
    undo: bool,
    /// Also request a reboot, which waits for window and queue like any other (not if the node soaks). Until then every reboot
    /// boots the other slot.
    #[arg(long)]
    reboot: bool,
    /// Roll back although the other slot is not marked good and has no try left (it gets one), or the running slot is on
    /// trial.
    #[arg(long)]
    force: bool,
    /// Install no updates any more (SERVER=disabled in update.conf), and stop update_engine until the reboot.
    #[arg(long, conflicts_with = "no_stay")]
    stay: bool,
    /// Undo --stay, and do nothing else.
    #[arg(long, conflicts_with_all = ["reboot", "force"])]
    no_stay: bool,
    #[command(flatten)]
    dry: DryRunArgs,
}

/// How long after its start update_engine may still mark the booted slot good and put it first: it does so after 45 s,
/// and takes a moment.
const SETGOODROOT: Duration = Duration::from_secs(50);

const UNIT: &str = "update-engine.service";

/// Makes the other slot the next to boot; with `--undo` the booted one again. Done twice it changes nothing more.
///
/// # Errors
/// When it would not do what it says: the other slot cannot boot, or update_engine is about to change it back.
pub async fn run(context: Context, args: Args) -> Result<(), Failure> {
    if args.no_stay {
        return no_stay(&context, args.dry).await;
    }
    if args.reboot {
        context.without_fault("rollback --reboot")?;
    }
    let engine = Engine::look(&context.config.root).await?;
    engine.allows(&context)?;
    if args.reboot && !args.dry.dry_run {
        // Nothing is changed for a reboot that cannot be asked for.
        AgentClient::connect(&context.config.root).await?;
    }
    let mut slots = open(&context, args.dry.access())?;
    if args.undo {
        return undo(&mut slots, args.dry);
    }
    let target = other(&context, &slots)?;
    let (name, from) = (slots.slots()[target].name(), booted(&slots)?);
    let content = slots.content(target)?;
    let bootable = match rollback::possible(&slots.slots()[target], content) {
        Err(error @ RollbackError::Empty { .. }) => {
            return Err(Failure::new(Exit::Failed, error.to_string()));
        }
        bootable => bootable,
    };
    let on_trial = !slots.slots()[from].attributes.successful();
    if on_trial && !args.force && agent_runs(&context).await {
        let back = if slots.next() == Some(from) {
            ""
        } else {
            ". A reboot now boots the other slot without this"
        };
        let from = slots.slots()[from].name();
        return Err(Failure::new(
            Exit::Refused,
            format!(
                "not rolled back: the running slot {from} is on trial. When it has passed its checks, the agent marks it good \
                 and boots it next, which would undo the rollback{back}"
            ),
        )
        .remedy("roll back anyway", context.command("rollback --force")));
    }
    if let Err(error) = &bootable
        && !args.force
    {
        return Err(Failure::new(Exit::Failed, error.to_string())
            .remedy("give it one try", context.command("rollback --force")));
    }
    // Only of what is going to be done.
    for warning in &engine.warnings {
        output::note(format!("warning: {warning}"));
    }
    let dry = args.dry.dry_run;
    let already = slots.next() == Some(target);
    if !already {
        let change = slots.change(|all| {
            if bootable.is_err() {
                all[target] = all[target].with_tries(1);
            }
            rollback::switch(all, from, target, Left::Bootable);
        });
        make(&mut slots, change, args.dry)?;
    }
    if on_trial {
        output::note(format!(
            "warning: the running slot {} is not marked good yet: the boot loader will not return to it by itself",
            slots.slots()[from].name()
        ));
    }
    drop(slots);
    if already || !dry {
        let boots = if already { "already boots" } else { "boots" };
        output::say(format!(
            "A reboot now {boots} {name}. To undo this: {}",
            context.command("rollback --undo")
        ))?;
    }
    if args.stay {
        stay(&context, &engine, dry).await?;
    } else if engine.is_there() {
        output::say("update_engine will install the same update again. --stay prevents that.")?;
    }
    if args.reboot && !dry {
        return ask(
            context,
            reboot::Asking::once(format!("{}{name}", reboot::ROLLBACK)),
        )
        .await;
    }
    Ok(())
}

async fn agent_runs(context: &Context) -> bool {
    match AgentClient::connect(&context.config.root).await {
        Ok(client) => client.properties().await.is_ok(),
        Err(_) => false,
    }
}

/// The slot that does not run.
fn other(context: &Context, slots: &Slots) -> Result<usize, Failure> {
    // Which one runs has to be known.
    booted(slots)?;
    slots.other().ok_or_else(|| {
        Failure::new(
            Exit::Failed,
            format!("found {} slots, expected two", slots.slots().len()),
        )
        .remedy("choose a slot", context.command("slots prioritize SLOT"))
    })
}

/// Makes the booted slot the next to boot again.
pub(super) fn undo(slots: &mut Slots, dry: DryRunArgs) -> Result<(), Failure> {
    let booted = booted(slots)?;
    let name = slots.slots()[booted].name();
    if slots.next() == Some(booted) {
        return output::say(format!("Nothing to undo: a reboot now boots {name} again."));
    }
    if !slots.slots()[booted].attributes.bootable() {
        return Err(Failure::new(
            Exit::Failed,
            format!(
                "the running slot {name} is not marked successful and has no try left: the boot loader would skip it"
            ),
        ));
    }
    let change = slots.change(|all| select::prioritize(all, booted));
    make(slots, change, dry)?;
    if dry.dry_run {
        return Ok(());
    }
    output::say(format!("Undone: a reboot now boots {name} again."))
}

/// What update_engine is about, as far as it could undo a rollback.
struct Engine {
    /// None: it does not run.
    running: Option<(Operation, Option<Duration>)>,
    bus: Option<zbus::Connection>,
    /// What is not known of it.
    warnings: Vec<String>,
}

impl Engine {
    async fn look(root: &Root) -> Result<Self, Failure> {
        // Without a bus no update_engine runs: an image on a desk, a rescue system.
        let bus = match bus::connect(root).await {
            Ok(bus) => bus,
            Err(error) => {
                return Ok(Self {
                    running: None,
                    bus: None,
                    warnings: vec![format!(
                        "it is not known whether update_engine runs, and would undo this: {}",
                        remedy::in_line(&error, &error.remedy())
                    )],
                });
            }
        };
        let running = match UpdateEngine::new(&bus).get_status().await {
            Ok(status) => Some((status.operation, age(&bus, root).await)),
            Err(BusError::NoOwner { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let mut warnings = Vec::new();
        if let Some((_, None)) = running {
            warnings.push(
                "it is not known when update_engine started. About 45s after its start it makes the running slot the next to boot"
                    .to_owned(),
            );
        }
        Ok(Self {
            running,
            bus: Some(bus),
            warnings,
        })
    }

    fn is_there(&self) -> bool {
        self.running.is_some()
    }

    /// Whether what is changed now stays.
    fn allows(&self, context: &Context) -> Result<(), Failure> {
        let Some((operation, age)) = &self.running else {
            return Ok(());
        };
        let why = match (operation, age) {
            (Operation::Downloading | Operation::Verifying | Operation::Finalizing, _) => {
                return Err(Failure::new(
                    Exit::Refused,
                    "not rolled back: update_engine is writing an update to the other slot, and will make it the next to boot",
                )
                .remedy("see its progress", context.command("update status")));
            }
            (Operation::UpdatedNeedReboot, _) => {
                "an update is staged: the other slot holds the new image, and not the one to roll back to"
                    .to_owned()
            }
            (_, Some(age)) if *age < SETGOODROOT => format!(
                "update_engine started {} ago. About 45s after its start it marks the running slot good and makes it the next to \
                 boot, which would undo this. Try again in {}",
                duration::print(Duration::from_secs(age.as_secs())),
                duration::print(Duration::from_secs((SETGOODROOT - *age).as_secs() + 1))
            ),
            _ => return Ok(()),
        };
        Err(Failure::new(
            Exit::Refused,
            format!("not rolled back: {why}"),
        ))
    }
}

/// How long update_engine's process has run, by proc_pid_stat(5).
async fn age(bus: &zbus::Connection, root: &Root) -> Option<Duration> {
    let name = "org.freedesktop.DBus";
    let path = "/org/freedesktop/DBus";
    let call = bus::call(
        bus,
        name,
        path,
        name,
        "GetConnectionUnixProcessID",
        &update_engine::NAME,
    );
    let pid: u32 = call.await.ok()?;
    let stat = root.path(format!("proc/{pid}/stat")).read_text().ok()?;
    // The name, in brackets, may have blanks; the start is the 22nd field, in hundredths of a second since boot.
    let started: u64 = stat
        .rsplit_once(')')?
        .1
        .split_whitespace()
        .nth(19)?
        .parse()
        .ok()?;
    let uptime = root.path("proc/uptime").read_text().ok()?;
    let uptime: f64 = uptime.split_whitespace().next()?.parse().ok()?;
    let started = Duration::from_millis(started.saturating_mul(10));
    Some(
        Duration::try_from_secs_f64(uptime)
            .ok()?
            .saturating_sub(started),
    )
}

fn kept(root: &Root) -> RootPath {
    root.path("var/lib/pointsman/server-before-stay")
}

fn unwritable(path: &RootPath) -> impl Fn(io::Error) -> Failure {
    move |error| Failure::new(Exit::Failed, format!("{path}: {error}"))
}

/// No updates from now on, and no update_engine until the reboot.
async fn stay(context: &Context, engine: &Engine, dry: bool) -> Result<(), Failure> {
    let root = &context.config.root;
    let path = conf::path(root);
    let text = conf::read(&path).map_err(unwritable(&path))?;
    let server = conf::get(&text, "SERVER");
    if server == Some("disabled") {
        output::say(format!("{path}: SERVER is already disabled"))?;
    } else {
        output::say(format!(
            "{path}: SERVER={} → disabled",
            server.unwrap_or("(none)")
        ))?;
        if !dry {
            let kept = kept(root);
            kept.parent().make_folder().map_err(unwritable(&kept))?;
            // First what --no-stay needs.
            kept.write_atomic(server.unwrap_or_default().as_bytes(), 0o644)
                .map_err(unwritable(&kept))?;
            conf::change(&path, &[("SERVER", Some("disabled"))]).map_err(unwritable(&path))?;
        }
    }
    if engine.is_there() {
        output::say(format!("{UNIT}: stopped until the reboot"))?;
        if let (false, Some(bus)) = (dry, &engine.bus) {
            systemd::unit(bus, "StopUnit", UNIT).await?;
        }
    }
    Ok(())
}

async fn no_stay(context: &Context, dry: DryRunArgs) -> Result<(), Failure> {
    let root = &context.config.root;
    let (path, kept) = (conf::path(root), kept(root));
    let before = match kept.read_text() {
        Ok(before) => before,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return output::say("Nothing to undo: `rollback --stay` was not used.");
        }
        Err(error) => return Err(unwritable(&kept)(error)),
    };
    let value = Some(before.as_str()).filter(|value| !value.is_empty());
    let text = conf::read(&path).map_err(unwritable(&path))?;
    let now = conf::get(&text, "SERVER");
    let stays = now == Some("disabled");
    if stays {
        output::say(format!(
            "{path}: SERVER=disabled → {}",
            value.unwrap_or("(none)")
        ))?;
    } else {
        output::say(format!(
            "{path}: SERVER={} was changed since --stay, and is kept",
            now.unwrap_or("(none)")
        ))?;
    }
    let bus = bus::connect(root).await;
    match &bus {
        Ok(_) => output::say(format!("{UNIT}: started"))?,
        Err(error) => output::say(format!(
            "{UNIT}: not started here, {}",
            by_hand("start", error)
        ))?,
    }
    if dry.dry_run {
        return output::say("Nothing was changed: --dry-run.");
    }
    if stays {
        conf::change(&path, &[("SERVER", value)]).map_err(unwritable(&path))?;
    }
    if let Ok(bus) = &bus {
        systemd::unit(bus, "StartUnit", UNIT).await?;
    }
    // Last: who is cut off before it does all of it again.
    kept.remove().map_err(unwritable(&kept))
}

/// What is to be done to update_engine where no systemd is on the bus: an image on a desk, a container.
pub(super) fn by_hand(verb: &str, error: &BusError) -> String {
    format!(
        "because there is no system bus ({}). Run it where update_engine runs: systemctl {verb} {UNIT}",
        remedy::in_line(error, &error.remedy())
    )
}
