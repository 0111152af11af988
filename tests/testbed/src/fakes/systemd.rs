//! systemd's list of jobs: `org.freedesktop.systemd1`. A shutdown under way is a job for `reboot.target`.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use zbus::{OwnedObjectPath, interface, object_server::SignalEmitter};

use super::Presence;
use crate::bus::Bus;

const NAME: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
const TARGET: &str = "boot-complete.target";

/// One job of systemd's queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Its number.
    pub id: u32,
    /// `reboot.target`…
    pub unit: String,
    /// `start`, `stop`…
    pub kind: String,
    /// `waiting` or `running`.
    pub state: String,
}

impl Job {
    /// The job that stands while systemd takes the machine down: `reboot.target` waits to start.
    pub fn reboot() -> Self {
        Self {
            id: 1,
            unit: "reboot.target".into(),
            kind: "start".into(),
            state: "waiting".into(),
        }
    }

    fn wire(&self) -> Wire {
        let path =
            |path: String| OwnedObjectPath::try_from(path).expect("made of letters and digits");
        let job = path(format!("{PATH}/job/{}", self.id));
        let unit = path(format!("{PATH}/unit/{}", super::logind::escape(&self.unit)));
        (
            self.id,
            self.unit.clone(),
            self.kind.clone(),
            self.state.clone(),
            job,
            unit,
        )
    }
}

/// A job as `ListJobs` tells of it.
type Wire = (
    u32,
    String,
    String,
    String,
    OwnedObjectPath,
    OwnedObjectPath,
);

/// One unit as `ListUnitsFiltered` tells of it.
type Unit = (
    String,
    String,
    String,
    String,
    String,
    String,
    OwnedObjectPath,
    u32,
    String,
    OwnedObjectPath,
);

/// Which units have failed at the moment at which it is asked.
type Failed = Box<dyn Fn() -> Vec<String> + Send>;

struct State {
    jobs: Vec<Job>,
    /// What was asked of it: methods and units.
    asked: Vec<(String, String)>,
    failed: Failed,
    /// The units that have files, and whether they are enabled.
    enabled: HashMap<String, bool>,
    boot_complete: Option<BootComplete>,
    /// Whether update-engine.service was skipped by its `ExecCondition=`.
    skipped: bool,
}

/// `boot-complete.target`, and the units that it requires and waits for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct BootComplete {
    checks: Vec<String>,
    active: bool,
    /// Which checks had failed when the target was started last: they stay so until it is started again.
    failed: Vec<String>,
}

#[derive(Clone)]
struct Shared(Arc<Mutex<State>>);

impl Shared {
    fn with<T>(&self, with: impl FnOnce(&mut State) -> T) -> T {
        with(&mut self.0.lock().expect("nothing panics while it is locked"))
    }

    fn asked(&self, method: &str, unit: &str) -> OwnedObjectPath {
        let asked = (method.to_owned(), unit.to_owned());
        self.with(|state| state.asked.push(asked));
        job(77)
    }
}

fn job(number: u32) -> OwnedObjectPath {
    OwnedObjectPath::try_from(format!("{PATH}/job/{number}")).expect("a path")
}

struct Manager(Shared);

#[interface(name = "org.freedesktop.systemd1.Manager")]
impl Manager {
    fn subscribe(&self) {}

    /// The job is done when this returns: the signal that says so comes after the answer, as from systemd.
    async fn start_unit(
        &self,
        name: &str,
        _mode: &str,
        #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
    ) -> zbus::fdo::Result<OwnedObjectPath> {
        let path = self.0.asked("StartUnit", name);
        if name == TARGET {
            let reached = self.0.with(|state| {
                let failed = (state.failed)();
                let gate = state.boot_complete.as_mut()?;
                let checks = gate.checks.iter();
                let bad: Vec<String> = checks
                    .filter(|unit| failed.contains(unit))
                    .cloned()
                    .collect();
                gate.active = bad.is_empty();
                gate.failed = bad;
                Some(gate.active)
            });
            let reached = reached
                .ok_or_else(|| zbus::fdo::Error::Failed(format!("Unit {TARGET} not found.")))?;
            let result = if reached { "done" } else { "dependency" };
            let signal = Self::job_removed(&emitter, 77, job(77), name, result);
            signal.await.expect("the bus takes a signal");
        }
        Ok(path)
    }

    fn stop_unit(&self, name: &str, _mode: &str) -> OwnedObjectPath {
        self.0.asked("StopUnit", name)
    }

    fn restart_unit(&self, name: &str, _mode: &str) -> OwnedObjectPath {
        self.0.asked("RestartUnit", name)
    }

    fn load_unit(&self, name: &str) -> OwnedObjectPath {
        let path = format!("{PATH}/unit/{}", super::logind::escape(name));
        OwnedObjectPath::try_from(path).expect("made of letters and digits")
    }

    /// Of the states it may be asked for there is only one here.
    fn list_units_filtered(&self, states: Vec<String>) -> Vec<Unit> {
        let failed = self.0.with(|state| {
            let mut failed = (state.failed)();
            let gate = state.boot_complete.iter();
            for unit in gate.flat_map(|gate| &gate.failed) {
                if !failed.contains(unit) {
                    failed.push(unit.clone());
                }
            }
            failed
        });
        let path = || OwnedObjectPath::try_from(PATH).expect("a path");
        let unit = |name: &String| {
            let [load, active, sub] = ["loaded", "failed", "failed"].map(str::to_owned);
            let no = String::new;
            (
                name.clone(),
                no(),
                load,
                active,
                sub,
                no(),
                path(),
                0,
                no(),
                path(),
            )
        };
        let asked = states.iter().any(|state| state == "failed");
        failed.iter().filter(|_| asked).map(unit).collect()
    }

    /// Of a unit without a file it answers with the bus's own error for files, as systemd does.
    fn get_unit_file_state(&self, unit: &str) -> zbus::fdo::Result<&'static str> {
        let enabled = self.0.with(|state| state.enabled.get(unit).copied());
        match enabled {
            Some(true) => Ok("enabled"),
            Some(false) => Ok("disabled"),
            None => Err(zbus::fdo::Error::FileNotFound(
                "No such file or directory".into(),
            )),
        }
    }

    fn list_jobs(&self) -> Vec<Wire> {
        self.0
            .with(|state| state.jobs.iter().map(Job::wire).collect())
    }

    #[zbus(signal)]
    async fn job_removed(
        emitter: &SignalEmitter<'_>,
        id: u32,
        job: OwnedObjectPath,
        unit: &str,
        result: &str,
    ) -> zbus::Result<()>;
}

/// `update-engine.service` as an object of its own.
struct Service(Shared);

#[interface(name = "org.freedesktop.systemd1.Service")]
impl Service {
    #[zbus(property)]
    fn result(&self) -> &'static str {
        match self.0.with(|state| state.skipped) {
            true => "exec-condition",
            false => "success",
        }
    }
}

/// `boot-complete.target` as an object of its own.
struct Target(Shared);

#[interface(name = "org.freedesktop.systemd1.Unit")]
impl Target {
    #[zbus(property)]
    fn load_state(&self) -> &'static str {
        if self.0.with(|state| state.boot_complete.is_some()) {
            "loaded"
        } else {
            "not-found"
        }
    }

    #[zbus(property)]
    fn active_state(&self) -> &'static str {
        let active =
            |state: &mut State| state.boot_complete.as_ref().is_some_and(|gate| gate.active);
        if self.0.with(active) {
            "active"
        } else {
            "inactive"
        }
    }

    #[zbus(property)]
    fn requires(&self) -> Vec<String> {
        let checks = |state: &mut State| state.boot_complete.clone().unwrap_or_default().checks;
        let mut requires = self.0.with(checks);
        // Required, and not ordered before it: no check.
        requires.push("sysinit.target".into());
        requires
    }

    #[zbus(property)]
    fn after(&self) -> Vec<String> {
        let checks = |state: &mut State| state.boot_complete.clone().unwrap_or_default().checks;
        let mut after = self.0.with(checks);
        // Ordered before it, and not required.
        after.push("wanted.service".into());
        after
    }

    #[zbus(property)]
    fn job(&self) -> (u32, OwnedObjectPath) {
        (0, OwnedObjectPath::try_from("/").expect("a path"))
    }
}

/// A fake systemd that answers `ListJobs`, and writes down which units it is to start, stop and restart.
pub struct Systemd {
    shared: Shared,
    presence: Presence,
}

impl std::fmt::Debug for Systemd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Systemd").finish_non_exhaustive()
    }
}

impl Systemd {
    /// Comes up on the bus, with no job, and without a `boot-complete.target`.
    pub async fn start(bus: &Bus) -> Self {
        let shared = Shared(Arc::new(Mutex::new(State {
            jobs: Vec::new(),
            asked: Vec::new(),
            failed: Box::new(Vec::new),
            enabled: HashMap::from([("pointsman.service".to_owned(), true)]),
            boot_complete: None,
            skipped: false,
        })));
        let target = format!("{PATH}/unit/{}", super::logind::escape(TARGET));
        let service = format!(
            "{PATH}/unit/{}",
            super::logind::escape("update-engine.service")
        );
        let connection = zbus::connection::Builder::address(bus.address().as_str())
            .serve_at(PATH, Manager(shared.clone()))
            .serve_at(target, Target(shared.clone()))
            .serve_at(service, Service(shared.clone()))
            .name(NAME)
            .build()
            .await
            .unwrap_or_else(|e| panic!("the fake systemd cannot own {NAME}: {e}"));
        let systemd = Self {
            shared,
            presence: Presence::default(),
        };
        systemd.presence.set(connection);
        systemd
    }

    /// What `ListJobs` answers from now on.
    pub fn set_jobs(&self, jobs: impl IntoIterator<Item = Job>) {
        self.shared
            .with(|state| state.jobs = jobs.into_iter().collect());
    }

    /// `update-engine.service` was skipped by its `ExecCondition=`.
    pub fn skip_update_engine(&self) {
        self.shared.with(|state| state.skipped = true);
    }

    /// Which units have failed, from now on.
    pub fn set_failed(&self, units: impl IntoIterator<Item = &'static str>) {
        let units: Vec<&str> = units.into_iter().collect();
        self.fail(move || units.clone());
    }

    /// Which units have failed, each time it is asked.
    pub fn fail(&self, units: impl Fn() -> Vec<&'static str> + Send + 'static) {
        let units = move || units().into_iter().map(str::to_owned).collect();
        self.shared.with(|state| state.failed = Box::new(units));
    }

    /// There is a `boot-complete.target` from now on, which requires these units and is ordered after them; it is reached
    /// when it is started and none of them has failed.
    pub fn set_boot_complete(&self, checks: impl IntoIterator<Item = &'static str>) {
        let checks = checks.into_iter().map(str::to_owned).collect();
        let gate = BootComplete {
            checks,
            active: false,
            failed: Vec::new(),
        };
        self.shared.with(|state| state.boot_complete = Some(gate));
    }

    /// There is a file of this unit from now on, and it is enabled or not. There is one of the agent's, which is.
    pub fn set_enabled(&self, unit: &str, enabled: bool) {
        self.shared.with(|state| {
            state.enabled.insert(unit.to_owned(), enabled);
        });
    }

    /// Which units it was to start, stop and restart: methods and units, in order.
    pub fn asked(&self) -> Vec<(String, String)> {
        self.shared.with(|state| state.asked.clone())
    }

    /// Leaves the bus.
    pub async fn stop(&self) {
        self.presence.leave(NAME).await;
    }
}
