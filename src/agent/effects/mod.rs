//! The operations the machine asks for, done on the real parts: etcd, logind, update_engine, hooks.

use std::{
    cell::{Cell, RefCell},
    pin::pin,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use tokio::{
    sync::{Notify, mpsc},
    time::sleep,
};

mod hold;
mod look;
mod queue;

pub use look::{from_engine, from_sentinel};

use host::{
    blocking, broadcast,
    hooks::{self, Hooks},
    logind::Logind,
    node, systemd, text,
};
use semaphore::{
    etcd::{self, BackOff, QueuePosition, Semaphore, Wait},
    keys::Keys,
    records::{Image, NodeRecord, Quarantine},
};
use settings::{Config, Strategy};

use super::{
    checks::{self, Checks},
    health::{self, Baseline},
    journal::{Entry, OwnQuarantine, Stage},
    journal_file::JournalFile,
    machine::{Boot, Event, Op},
    points::{Points, PointsQueue},
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
    pub runs: Image,
    /// The slot it runs from, where there are slots.
    pub slot: Option<String>,
    /// What the slots said of it at the start.
    pub boot: Boot,
    /// The system bus.
    pub bus: zbus::Connection,
    /// Where updates come from.
    pub updates: Updates,
    /// Which slot boots next.
    pub points: PointsQueue,
    /// Where the semaphore of the configured group is.
    pub keys: Keys,
    /// That semaphore; none where the strategy asks nobody.
    pub semaphore: RefCell<Option<Rc<Semaphore>>>,
    /// How etcd is reached, also for a claim made under other keys than the configured ones.
    pub etcd: RefCell<etcd::Options>,
    /// A changed configuration that says how etcd is reached already, while the rest of it waits.
    pub reached_by: RefCell<Option<Config>>,
    /// What the cluster has been told is bad, in this run: told once, it is for people to clear.
    pub told: RefCell<Vec<Image>>,
    /// The journal's file, and what is remembered of etcd.
    pub journal: Arc<JournalFile>,
    /// Told when a person has accepted a store that was not the one it was.
    pub store_accepted: Arc<Notify>,
    /// Whether the journal could not be told that this node writes of itself in this boot. Then what it writes names no boot:
    /// after the next one it would be taken for another machine's.
    pub unknown_boot: Cell<bool>,
    /// The member of etcd that was last taken for this node's; empty where none was.
    pub member: RefCell<String>,
    /// Where operations say what they wait for.
    pub notes: mpsc::UnboundedSender<Wait>,
}

/// Where a node learns that an update waits for a reboot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Updates {
    /// From update_engine.
    Engine,
    /// From a file, by its path on the machine, where there is no update_engine.
    Sentinel(host::node::RootPath),
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
                    Ok(()) => {
                        let drain = self.hooks().check("pre-reboot.d");
                        drain.map_err(|error| error.to_string())
                    }
                    no => no,
                };
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
                    self.etcd_members_allow_reboot(&entry).await
                };
                if let Err(why) = asked.await {
                    return Event::Refused(why);
                }
                // Before the drain, which may stop what runs.
                let before = match systemd::unsettled(&self.bus).await {
                    Ok(units) => units,
                    Err(error) => {
                        tracing::warn!(
                            "which units have failed before the reboot is not known: {error}"
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
                        Event::Drained(drained.map_err(|e| e.to_string()), before)
                    }
                    why = self.hold_ends(&entry) => Event::Drained(Err(why), None),
                }
            }
            Op::Undo(entry) => {
                self.put_points_back(&entry).await;
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
            Op::RollBack { why, to } => Event::RolledBack(self.roll_back(&why, &to).await),
            Op::Commit(entry) => self.commit(&entry).await,
            Op::Reboot(entry) => self.reboot(&entry).await,
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

    /// The semaphore of the configured group, as etcd is reached now; none where the strategy asks nobody.
    #[must_use]
    pub fn own_semaphore(&self) -> Option<Rc<Semaphore>> {
        self.semaphore.borrow().clone()
    }

    fn semaphore(&self, keys: &Keys) -> Rc<Semaphore> {
        match self.own_semaphore() {
            Some(semaphore) if semaphore.keys() == keys => semaphore,
            // Taken under another configuration: given back where it was taken.
            _ => self.reached(keys).0,
        }
    }

    /// The semaphore there, and whether the journal knows already that this node writes of itself in this boot.
    fn reached(&self, keys: &Keys) -> (Rc<Semaphore>, bool) {
        let memory = self.journal.memory(keys.prefix());
        let (journal, accepted) = (self.journal.clone(), self.store_accepted.clone());
        let known = memory.serve(etcd::Agent {
            keys: keys.clone(),
            node: NodeRecord {
                boot_id: self.boot_id.clone(),
                ..self.record("", "")
            },
            keep: Box::new(move || {
                let journal = journal.clone();
                Box::pin(blocking::run(move || journal.keep()))
            }),
            accepted: Box::new(move || accepted.notify_one()),
        });
        let semaphore = Semaphore::new(
            self.etcd.borrow().clone(),
            keys.clone(),
            Self::back_off(&self.config),
        );
        (Rc::new(semaphore.with_memory(memory)), known)
    }

    /// Makes the semaphore of the configured group its own, where the strategy asks somebody. Before the node writes of itself
    /// in a new boot the journal knows that boot: by it the node's own record is told from another machine's.
    pub async fn begin(&self) {
        if self.config.strategy != Strategy::EtcdLock {
            return;
        }
        let (semaphore, known) = self.reached(&self.keys);
        self.semaphore.replace(Some(semaphore));
        let journal = self.journal.clone();
        if !known && let Err(why) = blocking::run(move || journal.keep()).await {
            tracing::debug!("{why}");
            // One that cannot be read knows no boot at all, and may be a copy, which is to be seen.
            self.unknown_boot.set(self.journal.is_loaded());
        }
    }

    /// Reaches etcd in another way from now on, with the next request of what is under way as well. What it asks for, and
    /// under which keys, is as before.
    pub fn reach_by(&self, config: &Config, etcd: etcd::Options) {
        self.reached_by.replace(Some(config.clone()));
        self.reach(etcd);
    }

    fn reach(&self, etcd: etcd::Options) {
        self.etcd.replace(etcd);
        if self.own_semaphore().is_some() {
            self.semaphore.replace(Some(self.reached(&self.keys).0));
        }
    }

    /// Reads certificates and password again from their files: they may have been renewed there since. What waits for etcd
    /// goes on with the new ones.
    pub fn read_credentials_again(&self) {
        let read = match &*self.reached_by.borrow() {
            Some(newer) => newer.etcd_options(),
            None => self.config.etcd_options(),
        };
        match read {
            Ok(etcd) if etcd != *self.etcd.borrow() => {
                // Endpoints and the like may have been changed by a reload; only the credentials are renewed.
                let now = etcd::Options {
                    tls: etcd.tls,
                    user: etcd.user,
                    ..self.etcd.borrow().clone()
                };
                if now != *self.etcd.borrow() {
                    tracing::info!(
                        "certificates or password of etcd have changed, and are used from now on"
                    );
                    self.reach(now);
                }
            }
            Ok(_) => {}
            Err(error) => tracing::debug!("{error}"),
        }
    }

    /// What kept etcd from answering, with what the certificate's dates have to do with it.
    #[must_use]
    pub fn explain(&self, error: &etcd::Error) -> String {
        let said = text::in_a_sentence(&error.to_string());
        match self.config.certificate_warning(Timestamp::now()) {
            Some(warning) if error.is_unreachable() => format!("{said}; {warning}"),
            _ => said,
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
            knew: None,
        }
    }

    /// When something is tried again, for people.
    #[must_use]
    pub fn again_in(&self, wait: Duration) -> String {
        let zone = node::time_zone(&self.config.root);
        let at = Timestamp::now()
            .saturating_add(wait)
            .map(|at| at.to_zoned(zone));
        at.map_or_else(
            |_| "it is tried again".to_owned(),
            |at| format!("it is tried again at {}", at.strftime("%H:%M:%S %Z")),
        )
    }

    fn note(&self, why: String) {
        // The driver outlives its operations.
        let _ = self.notes.send(Wait {
            waits_for: why,
            position: QueuePosition::Unknown,
        });
    }

    /// Asks until there is an answer.
    async fn until_known<T>(&self, ask: impl AsyncFn() -> Result<T, etcd::Error>) -> T {
        let Config { timings, .. } = &self.config;
        let mut waits = EffectRunner::back_off(&self.config).waits();
        loop {
            match ask().await {
                Ok(answer) => return answer,
                Err(error) => {
                    let why = self.explain(&error);
                    let wait = waits.next().unwrap_or(timings.retry_max);
                    tracing::warn!("{why}; {}", self.again_in(wait));
                    self.note(format!("{why}; {}", self.again_in(wait)));
                    sleep(wait).await;
                    self.read_credentials_again();
                }
            }
        }
    }

    /// Whether the hooks let the node go; one may say not now, without being at fault.
    async fn may(&self, intent: &Intent) -> Result<(), String> {
        let version = |image: &Image| image.version.clone().unwrap_or_default();
        let (from, to) = (version(&self.runs), version(&intent.to));
        let variables = self.variables(&from, &to, &intent.reason, "asking");
        let asked = self.hooks().run("may-reboot.d", &variables).await;
        asked.map_err(|error| {
            if error.code != Some(hooks::NOT_NOW) {
                tracing::error!("{error}");
            }
            error.to_string()
        })
    }

    async fn prove(
        &self,
        entry: Option<&Entry>,
        baseline: Option<&Baseline>,
        trial: bool,
    ) -> Event {
        let hooks = self.hooks();
        let variables = match entry {
            Some(entry) => self.environment(entry, "proving"),
            None => self.variables("", "", "", "proving"),
        };
        let timings = &self.config.timings;
        let claim = entry.and_then(|entry| entry.claim.as_ref());
        let greenboot = checks::greenboot(&self.config.root, &self.bus, timings.hook_timeout).await;
        let checks = Checks {
            root: &self.config.root,
            bus: &self.bus,
            rules: health::Rules {
                ignore: &self.config.ignore_units,
                cluster: &self.config.cluster_units,
                baseline,
                trial,
            },
            hooks: &hooks,
            greenboot: greenboot.as_ref(),
            variables: &variables,
            limit: timings.proving,
            waits: BackOff {
                max: timings.retry_max.min(Duration::from_secs(30)),
                ..EffectRunner::back_off(&self.config)
            },
        };
        let note = |why: &str| self.note(why.to_owned());
        let member = async || self.own_member(claim).await;
        let verdict = match claim {
            Some(key) => {
                let node = self.record("", "");
                let tell = async || {
                    let semaphore = self.semaphore(&key.keys);
                    let told = semaphore.proving(&key.id, &key.nonce, Some(&node)).await;
                    told.inspect_err(|error| tracing::debug!("{error}"))
                };
                while_telling(
                    checks.run(true, member, note),
                    tell,
                    EffectRunner::back_off(&self.config),
                )
                .await
            }
            None => checks.run(false, member, note).await,
        };
        let survey = self.points.run(Points::survey).await;
        let other = survey.map(|survey| survey.boot.other);
        Event::Checked(verdict, other)
    }

    /// Marks the slot good, and lets update_engine in, which was held back until then.
    async fn mark(&self) -> Result<(), String> {
        self.points.run(Points::mark_good).await?;
        if self.updates == Updates::Engine {
            let started = systemd::unit(&self.bus, "StartUnit", "update-engine.service").await;
            // Where no systemd is on the bus nobody has held it back.
            if let Err(error) = started {
                tracing::debug!("update_engine is not started: {error}");
            }
        }
        Ok(())
    }

    async fn roll_back(&self, why: &str, to: &Image) -> Result<(), String> {
        let image = to.clone();
        self.points
            .run(move |points| points.go_back(&image))
            .await?;
        tracing::error!("going back to the other slot: {why}");
        self.tell("The system goes back to its former image and reboots now.")
            .await;
        let called = Logind::new(&self.bus).reboot().await;
        called.map_err(|e| e.to_string())
    }

    /// What the cluster is told of a bad image.
    #[must_use]
    pub fn quarantine(&self, quarantined: &OwnQuarantine) -> Quarantine {
        Quarantine {
            what: quarantined.what.clone(),
            node: self.id.clone(),
            hostname: self.hostname.clone(),
            reason: quarantined.reason.clone(),
            since: Some(Timestamp::now()),
        }
    }

    async fn reboot(&self, entry: &Entry) -> Event {
        self.tell(&format!("The system reboots now: {}.", entry.intent.reason))
            .await;
        tracing::info!("rebooting: {}", entry.intent.reason);
        // Only where another image is what was cleared: a person's reboot of what runs stays on it, and a file that asks for
        // a reboot says nothing of slots.
        if self.updates == Updates::Engine
            && !entry.intent.to.is(&entry.from)
            && let Err(why) = self.points.run(Points::throw).await
        {
            return Event::RebootCalled(Err(why));
        }
        let called = Logind::new(&self.bus).reboot().await;
        Event::RebootCalled(called.map_err(|e| e.to_string()))
    }

    /// Before anything is given back: whoever reboots the node afterwards asks nobody. Whether update_engine still says
    /// that something is staged does not matter.
    async fn put_points_back(&self, entry: &Entry) {
        let thrown = entry.stage == Stage::Committing && entry.boot_id == self.boot_id;
        let mut waits = EffectRunner::back_off(&self.config).waits();
        while thrown && let Err(why) = self.points.run(Points::put_back).await {
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
        hooks.telling(move |why| {
            // The driver outlives its operations.
            let _ = notes.send(Wait {
                waits_for: why,
                position: QueuePosition::Unknown,
            });
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
        let version = |image: &Image| image.version.clone().unwrap_or_default();
        let (from, to) = (version(&entry.from), version(&entry.intent.to));
        self.variables(&from, &to, &entry.intent.reason, phase)
    }

    fn variables(&self, from: &str, to: &str, reason: &str, phase: &str) -> Vec<(String, String)> {
        variables([
            ("NODE", self.id.as_str()),
            ("HOSTNAME", &self.hostname),
            ("GROUP", self.config.group.as_str()),
            ("FROM", from),
            ("TO", to),
            ("PHASE", phase),
            ("REASON", reason),
        ])
    }
}

/// Whether a person has drained the node with the lock under which it reboots: that lock's end undoes it.
fn is_drained(entry: &Entry) -> bool {
    entry.claim.as_ref().is_some_and(|claim| claim.drained)
}

/// The variables that hooks get.
pub fn variables(values: [(&str, &str); 7]) -> Vec<(String, String)> {
    let named = |(name, value): (&str, &str)| (format!("POINTSMAN_{name}"), value.to_owned());
    values.into_iter().map(named).collect()
}

/// Does something, and meanwhile tells the cluster so: once for certain, and again only as long as it lasts.
async fn while_telling<T, E>(
    doing: impl Future<Output = T>,
    tell: impl AsyncFn() -> Result<(), E>,
    back_off: BackOff,
) -> T {
    let mut doing = pin!(doing);
    let mut first = pin!(tell());
    let told = tokio::select! {
        done = &mut doing => {
            let _ = first.await;
            return done;
        }
        told = &mut first => told,
    };
    let again = async {
        if told.is_err() {
            for wait in back_off.waits() {
                sleep(wait).await;
                if tell().await.is_ok() {
                    break;
                }
            }
        }
        std::future::pending().await
    };
    tokio::select! {
        done = &mut doing => done,
        never = again => never,
    }
}
