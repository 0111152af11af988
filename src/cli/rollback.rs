//! `pointsman rollback`.

use std::{io, time::Duration};

use host::{
    bus::{self, BusError},
    duration,
    node::{Root, RootPath},
    systemd,
    update_engine::{self, Operation, UpdateEngine, conf},
};
use slots::{Slots, select};

use super::{
    Context, Exit, Failure, output,
    reboot::{self, ask},
    slots::{Dry, booted, make, open},
};
use crate::agent::bus::AgentClient;

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Undo a rollback that no reboot has followed yet: the booted slot boots next again.
    #[arg(long, conflicts_with_all = ["reboot", "force", "stay", "no_stay"])]
    undo: bool,
    /// Reboot then, through window and queue like any reboot; the other slot is next until then, whoever reboots.
    #[arg(long)]
    reboot: bool,
    /// Give a slot one try that is neither marked good nor has a try left; and go back from one that is on trial.
    #[arg(long)]
    force: bool,
    /// Keep it so: no updates (SERVER=disabled in update.conf), and update_engine stopped until the reboot.
    #[arg(long, conflicts_with = "no_stay")]
    stay: bool,
    /// Undo --stay; nothing else.
    #[arg(long, conflicts_with_all = ["reboot", "force"])]
    no_stay: bool,
    #[command(flatten)]
    dry: Dry,
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
    if slots.content(target)?.is_none() {
        return Err(Failure::new(
            Exit::Failed,
            format!("{name} holds no file system: there is nothing to go back to"),
        ));
    }
    let on_trial = !slots.slots()[from].attributes.successful();
    if on_trial && !args.force && agent_runs(&context).await {
        let back = if slots.next() == Some(from) {
            "--force does it all the same"
        } else {
            "A reboot now goes back by itself; --force does it all the same"
        };
        let from = slots.slots()[from].name();
        return Err(Failure::new(
            Exit::Refused,
            format!(
                "not rolled back: {from}, which runs, is on trial: once it is proven, the agent marks it good and puts it \
                 first, which would undo this. {back}"
            ),
        ));
    }
    let bootable = slots.slots()[target].attributes.bootable();
    if !bootable && !args.force {
        return Err(Failure::new(
            Exit::Failed,
            format!(
                "{name} is neither marked successful nor has a try left: the boot loader would skip it; --force gives it \
                 one try"
            ),
        ));
    }
    // Only of what is going to be done.
    for warning in &engine.warnings {
        output::note(format!("warning: {warning}"));
    }
    let dry = args.dry.dry_run;
    let already = slots.next() == Some(target);
    if !already {
        let change = slots.change(|all| {
            if !bootable {
                all[target] = all[target].with_tries(1);
            }
            select::prioritize(all, target);
        });
        make(&mut slots, change, args.dry)?;
    }
    if on_trial {
        output::note(format!(
            "warning: {}, which runs, is not marked good yet: the boot loader will not come back to it by itself",
            slots.slots()[from].name()
        ));
    }
    drop(slots);
    if already || !dry {
        let boots = if already { "boots already" } else { "boots" };
        output::say(format!(
            "A reboot now {boots} {name}; to undo this: {}",
            context.command("rollback --undo")
        ))?;
    }
    if args.stay {
        stay(&context, &engine, dry).await?;
    } else if engine.is_there() {
        output::say("update_engine will find the same update again: --stay keeps it from that.")?;
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
            format!(
                "found {} slots, expected two to go from one to the other; `{}` chooses",
                slots.slots().len(),
                context.command("slots prioritize SLOT")
            ),
        )
    })
}

/// Makes the booted slot the next to boot again.
pub(super) fn undo(slots: &mut Slots, dry: Dry) -> Result<(), Failure> {
    let booted = booted(slots)?;
    let name = slots.slots()[booted].name();
    if slots.next() == Some(booted) {
        return output::say(format!("Nothing to undo: a reboot now boots {name} again."));
    }
    if !slots.slots()[booted].attributes.bootable() {
        return Err(Failure::new(
            Exit::Failed,
            format!(
                "{name}, which runs, is neither marked successful nor has a try left: the boot loader would skip it"
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
                        "whether update_engine runs, and would undo this, cannot be asked: {error}"
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
                "it is not known when update_engine started; some 45s after its start it puts the booted slot first"
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
            (Operation::Downloading | Operation::Verifying | Operation::Finalizing, _) => format!(
                "update_engine is writing an update to the other slot, and will make it the next to boot; \
                 `{}` shows how far it is",
                context.command("update status")
            ),
            (Operation::UpdatedNeedReboot, _) => {
                "an update is staged: the other slot holds the new image, and not the one to go back to"
                    .to_owned()
            }
            (_, Some(age)) if *age < SETGOODROOT => format!(
                "update_engine started {} ago, and marks the booted slot good and puts it first some 45s after its start, which \
                 would undo this; try again in {}",
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
        output::say(format!("{path}: SERVER=disabled already"))?;
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

async fn no_stay(context: &Context, dry: Dry) -> Result<(), Failure> {
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
            "{path}: SERVER={} is no more what --stay has made of it, and is left",
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
    format!("as there is no system bus ({error}); where it runs: systemctl {verb} {UNIT}")
}
