//! The operations the machine asks for, done on the real parts: etcd, logind, update_engine, hooks.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use tokio::{
    sync::{Notify, mpsc},
    task::JoinSet,
    time::sleep,
};

mod fleet_lock;
mod hold;
mod look;
mod proof;
mod queue;
mod reach;

pub use fleet_lock::Answered;
pub use look::{from_engine, from_sentinels};
pub use reach::Unanswered;

use host::{
    broadcast,
    hooks::{self, HookError, Hooks},
    logind::{Logind, ShutdownBlock},
    node, systemd, time,
};
use semaphore::{
    etcd::{self, BackOff, Semaphore, Wait},
    fleet_lock::Caller,
    keys::Keys,
    records::{ImageId, LastReboot, Member, NodeRecord},
};
use settings::{Config, Strategy};

use super::{
    failure::Failure,
    journal::{Entry, Stage},
    journal_file::JournalFile,
    machine::{Boot, Event, KnownWindows, Op},
    next_slot::{NextSlot, NextSlotQueue},
    situation::Intent,
};

/// The program and its version, as it stands in etcd.
pub const AGENT: &str = concat!("pointsman ", env!("CARGO_PKG_VERSION"));

/// The real parts.
pub struct EffectRunner {
    /// The configuration.
    pub config: Config,
    /// The node's id.
    pub id: String,
    /// Its host name.
    pub hostname: String,
    /// The boot this is.
    pub boot_id: String,
    /// What runs.
    pub runs: ImageId,
    /// The slot it runs from, where there are slots.
    pub slot: Option<String>,
    /// What the slots said of it at the start.
    pub boot: Boot,
    /// The system bus.
    pub bus: zbus::Connection,
    /// Where updates come from.
    pub updates: Updates,
    /// Which slot boots next.
    pub next_slot: NextSlotQueue,
    /// Where the semaphore of the configured group is.
    pub keys: Keys,
    /// That semaphore; none where the strategy asks nobody.
    pub semaphore: RefCell<Option<Rc<Semaphore>>>,
    /// How etcd is reached, also for a claim made under other keys than the configured ones.
    pub etcd: RefCell<etcd::Options>,
    /// A changed configuration that says how etcd is reached already, while the rest of it waits.
    pub reached_by: RefCell<Option<Config>>,
    /// A changed configuration, while it waits for what is under way: by it a FleetLock server is reached already.
    pub newest: RefCell<Option<Config>>,
    /// Makes the calls to a FleetLock server, also those of a runner before this one.
    pub calls: Caller,
    /// What that server answered last.
    pub answered: RefCell<Answered>,
    /// What the cluster has been told is bad, in this run: told once, it is for people to clear.
    pub told: RefCell<Vec<ImageId>>,
    /// The journal's file, and what is remembered of etcd.
    pub journal: Arc<JournalFile>,
    /// Told when a person has accepted a store that was not the one it was.
    pub store_accepted: Arc<Notify>,
    /// Whether the journal could not be told that this node writes of itself in this boot. Then what it writes names no boot:
    /// after the next one it would be taken for another machine's.
    pub unknown_boot: Cell<bool>,
    /// The digest of the image that was proven here last, where the node is not on its way to another.
    pub proven: RefCell<Option<String>>,
    /// How this node's last reboot ended, for its record.
    pub last: RefCell<Option<LastReboot>>,
    /// What the node knows of reboot windows from its past.
    pub known_windows: RefCell<KnownWindows>,
    /// What blocks the shutdowns of others, where it is to.
    pub block: RefCell<Option<ShutdownBlock>>,
    /// What ends memberships that do not count any more.
    pub ending: RefCell<JoinSet<()>>,
    /// The member of etcd that was last taken for this node's; empty where none was.
    pub member: RefCell<String>,
    /// Where operations say what they wait for.
    pub notes: mpsc::UnboundedSender<Event>,
}

/// Where a node learns that an update waits for a reboot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Updates {
    /// From update_engine.
    Engine,
    /// From files, by their paths on the machine, where there is no update_engine.
    Sentinels(Vec<host::node::RootPath>),
}

impl EffectRunner {
    /// How long to wait between tries while something cannot be reached.
    #[must_use]
    pub fn back_off(config: &Config) -> BackOff {
        BackOff {
            min: config.timings.retry_min,
            max: config.timings.retry_max,
        }
    }

    /// Does an operation; the event that it ends with.
    pub async fn run(self: Rc<Self>, op: Op) -> Event {
        match op {
            Op::May(intent) => {
                let answer = match self.may(&intent).await {
                    // Better known now than when the node holds the semaphore.
                    Ok(()) => self.hooks().check("pre-reboot.d"),
                    no => no,
                };
                let answer = answer.map_err(Failure::from);
                // A person may have changed which slot is next, and nothing signals that.
                Event::Allowed(answer, self.look().await)
            }
            Op::Acquire(entry) => self.acquire(&entry).await,
            Op::Leave(entry) => self.leave(&entry).await,
            Op::Look => Event::Looked(self.look().await),
            Op::Drain(entry) => {
                // The wait in the queue may have been long: whoever may say no is asked once more.
                let asked = async {
                    self.may(&entry.intent).await?;
                    self.etcd_members_allow_reboot(&entry).await?;
                    self.way_back_is_open(&entry).await
                };
                if let Err(why) = asked.await {
                    return Event::Refused(why);
                }
                // Before the drain, which may stop what runs.
                let before = match systemd::unsettled(&self.bus).await {
                    Ok(units) => units,
                    Err(error) => {
                        tracing::warn!(
                            "it is not known which units had failed before the reboot: {error}"
                        );
                        None
                    }
                };
                if is_drained(&entry) {
                    return Event::Drained(Ok(()), before);
                }
                let env = self.environment(&entry, "draining");
                let hooks = self.hooks();
                tokio::select! {
                    drained = hooks.run("pre-reboot.d", &env) => {
                        Event::Drained(drained.map_err(Failure::from), before)
                    }
                    why = self.hold_ends(&entry) => Event::Drained(Err(why.into()), None),
                }
            }
            Op::Undo(entry) => {
                self.block_others().await;
                self.put_next_slot_back(&entry).await;
                self.undrain(&entry, "stepping-back").await;
                Event::Undone
            }
            Op::Prove {
                entry,
                baseline,
                trial,
            } => self.prove(entry.as_ref(), baseline.as_ref(), trial).await,
            Op::Mark => Event::Marked(self.mark().await),
            Op::Undrain(entry) => {
                self.undrain(&entry, "proving").await;
                Event::Undone
            }
            Op::RollBack { verdict, to } => Event::RolledBack(self.roll_back(&verdict, &to).await),
            Op::Commit(entry) => self.commit(&entry).await,
            Op::Reboot(entry) => self.reboot(&entry).await,
            Op::Resume(entry, left) => self.resume(&entry, left).await,
            Op::Watch(entry) => Event::HoldEnded(self.soak_is_cut_off(&entry).await),
            Op::CheckSoak { entry, baseline } => self.check_soak(&entry, baseline.as_ref()).await,
            Op::Release(entry, owed) => self.release(&entry, owed.as_ref()).await,
        }
    }

    /// Tells the people logged in.
    pub async fn tell(&self, message: &str) {
        if let Ok(sessions) = Logind::new(&self.bus).sessions().await {
            let ttys: Vec<String> = sessions.into_iter().map(|s| s.tty).collect();
            broadcast::tell(&self.config.root, &ttys, message);
        }
    }

    /// What this node says of itself in etcd.
    #[must_use]
    pub fn record(&self, state: &str, waits_for: &str) -> NodeRecord {
        NodeRecord {
            id: self.id.clone(),
            hostname: self.hostname.clone(),
            group: self.config.group.as_str().to_owned(),
            runs: self.runs.clone(),
            kernel: node::kernel(&self.config.root),
            slot: self.slot.clone(),
            boot_id: match self.unknown_boot.get() {
                true => String::new(),
                false => self.boot_id.clone(),
            },
            state: state.to_owned(),
            waits_for: waits_for.to_owned(),
            agent: AGENT.to_owned(),
            since: Some(Timestamp::now()),
            // A node that asks nobody is no member, also while it still releases what it held.
            member: (self.config.strategy == Strategy::EtcdLock).then(|| Member {
                proven: self.proven.borrow().clone(),
            }),
            last: self.last.borrow().clone(),
            knew: None,
        }
    }

    /// When something is tried again, for people.
    #[must_use]
    pub fn again_in(&self, wait: Duration) -> String {
        let zone = node::time_zone(&self.config.root);
        Timestamp::now().saturating_add(wait).map_or_else(
            |_| "it is tried again".to_owned(),
            |at| format!("it is tried again at {}", time::shown(at, &zone)),
        )
    }

    fn note(&self, why: String) {
        // The driver outlives its operations.
        let _ = self.notes.send(Event::WaitsFor(Wait {
            waits_for: why,
            ..Wait::default()
        }));
    }

    /// Whether the hooks let the node go; one may say not now, without being at fault.
    async fn may(&self, intent: &Intent) -> Result<(), HookError> {
        let version = |image: &ImageId| image.version.clone().unwrap_or_default();
        let (from, to) = (version(&self.runs), version(&intent.to));
        let variables = self.variables(&from, &to, &intent.reason, "asking");
        let asked = self.hooks().run("may-reboot.d", &variables).await;
        asked.inspect_err(|error| {
            if error.code != Some(hooks::NOT_NOW) {
                tracing::error!("{error}");
            }
        })
    }

    async fn reboot(&self, entry: &Entry) -> Event {
        self.tell(&format!("The system reboots now: {}.", entry.intent.reason))
            .await;
        tracing::info!("rebooting: {}", entry.intent.reason);
        // Only where another image is what was cleared: a person's reboot of what runs stays on it, and a file that asks for
        // a reboot says nothing of slots.
        if self.updates == Updates::Engine
            && !entry.intent.to.is(&entry.from)
            && let Err(why) = self.next_slot.run(NextSlot::activate).await
        {
            return Event::RebootCalled(Err(why.into()));
        }
        // From systemd 257 on it would keep root as well.
        self.block.replace(None);
        let called = Logind::new(&self.bus).reboot().await;
        Event::RebootCalled(called.map_err(Failure::from))
    }

    /// Blocks the shutdowns of others, where that is configured and not so yet. They learn by it who reboots this node.
    pub async fn block_others(&self) {
        let wanted = self.config.block_other_reboots && self.config.strategy != Strategy::Off;
        if !wanted || self.block.borrow().is_some() {
            return;
        }
        let why = "reboots of this node take turns with other nodes; instead: pointsman reboot";
        match Logind::new(&self.bus).block_shutdowns(why).await {
            Ok(block) => drop(self.block.replace(Some(block))),
            Err(error) => tracing::warn!("the shutdowns of others are not blocked: {error}"),
        }
    }

    /// Before anything is released: whoever reboots the node afterwards asks nobody. Whether update_engine still says
    /// that something is staged does not matter.
    async fn put_next_slot_back(&self, entry: &Entry) {
        let activated = entry.stage == Stage::Committing && entry.boot_id == self.boot_id;
        let mut waits = EffectRunner::back_off(&self.config).waits();
        while activated && let Err(why) = self.next_slot.run(NextSlot::put_back).await {
            tracing::error!("the other slot is still the next to boot: {why}");
            self.note(format!(
                "no reboot follows, and the other slot is still the next to boot: {why}"
            ));
            sleep(waits.next().unwrap_or(self.config.timings.retry_max)).await;
        }
    }

    fn hooks(&self) -> Hooks {
        let notes = self.notes.clone();
        let hooks = Hooks::new(&self.config.root, self.config.timings.hook_timeout);
        hooks.telling(move |which| {
            // The driver outlives its operations.
            let _ = notes.send(Event::HookRuns(which));
        })
    }

    async fn undrain(&self, entry: &Entry, phase: &str) {
        if is_drained(entry) {
            return;
        }
        let env = self.environment(entry, phase);
        for error in self.hooks().run_all("post-boot.d", &env).await {
            tracing::error!("{error}");
        }
    }

    fn environment(&self, entry: &Entry, phase: &str) -> Vec<(String, String)> {
        let version = |image: &ImageId| image.version.clone().unwrap_or_default();
        let (from, to) = (version(&entry.from), version(&entry.intent.to));
        self.variables(&from, &to, &entry.intent.reason, phase)
    }

    fn variables(&self, from: &str, to: &str, reason: &str, phase: &str) -> Vec<(String, String)> {
        let values = [
            ("NODE", self.id.as_str()),
            ("HOSTNAME", &self.hostname),
            ("GROUP", self.config.group.as_str()),
            ("FROM", from),
            ("TO", to),
            ("PHASE", phase),
            ("REASON", reason),
        ];
        variables(&self.config, values)
    }
}

/// Whether a person has drained the node with the lock under which it reboots: that lock's end undoes it.
fn is_drained(entry: &Entry) -> bool {
    entry.in_etcd().is_some_and(|claim| claim.drained)
}

/// The variables that hooks get: these, and how long this node may be out, in seconds.
pub fn variables(config: &Config, values: [(&str, &str); 7]) -> Vec<(String, String)> {
    let deadline = config.timings.reboot_deadline.as_secs().to_string();
    let named = |(name, value): (&str, &str)| (format!("POINTSMAN_{name}"), value.to_owned());
    let all = values.into_iter().chain([("DEADLINE", deadline.as_str())]);
    all.map(named).collect()
}
