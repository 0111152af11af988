//! systemd's list of jobs: `org.freedesktop.systemd1`. A shutdown under way is a job for `reboot.target`.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use zbus::{OwnedObjectPath, interface};

use super::Presence;
use crate::bus::Bus;

const NAME: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";

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

type Wire = (
    u32,
    String,
    String,
    String,
    OwnedObjectPath,
    OwnedObjectPath,
);

/// What was asked of it: the method and the unit.
type Asked = Arc<Mutex<Vec<(String, String)>>>;

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

struct Manager(
    Arc<Mutex<Vec<Job>>>,
    Asked,
    Arc<Mutex<Vec<String>>>,
    Arc<AtomicBool>,
);

impl Manager {
    fn asked(&self, method: &str, unit: &str) -> OwnedObjectPath {
        let asked = (method.to_owned(), unit.to_owned());
        self.1
            .lock()
            .expect("nothing panics while it is locked")
            .push(asked);
        OwnedObjectPath::try_from(format!("{PATH}/job/77")).expect("a path")
    }
}

#[interface(name = "org.freedesktop.systemd1.Manager")]
impl Manager {
    fn start_unit(&self, name: &str, _mode: &str) -> OwnedObjectPath {
        self.asked("StartUnit", name)
    }

    fn stop_unit(&self, name: &str, _mode: &str) -> OwnedObjectPath {
        self.asked("StopUnit", name)
    }

    fn restart_unit(&self, name: &str, _mode: &str) -> OwnedObjectPath {
        self.asked("RestartUnit", name)
    }

    /// Of the states it may be asked for there is only one here.
    fn list_units_filtered(&self, states: Vec<String>) -> Vec<Unit> {
        let failed = self.2.lock().expect("nothing panics while it is locked");
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

    /// Every unit there is here is enabled, or none.
    fn get_unit_file_state(&self, _unit: &str) -> &'static str {
        if self.3.load(Ordering::SeqCst) {
            "enabled"
        } else {
            "disabled"
        }
    }

    fn list_jobs(&self) -> Vec<Wire> {
        self.0
            .lock()
            .expect("nothing panics while it is locked")
            .iter()
            .map(Job::wire)
            .collect()
    }
}

/// A fake systemd that answers `ListJobs`, and writes down which units it is to start, stop and restart.
#[derive(Debug)]
pub struct Systemd {
    jobs: Arc<Mutex<Vec<Job>>>,
    asked: Asked,
    failed: Arc<Mutex<Vec<String>>>,
    enabled: Arc<AtomicBool>,
    presence: Presence,
}

impl Systemd {
    /// Comes up on the bus, with no job.
    pub async fn start(bus: &Bus) -> Self {
        let jobs = Arc::new(Mutex::new(Vec::new()));
        let asked = Asked::default();
        let failed = Arc::new(Mutex::new(Vec::new()));
        let enabled = Arc::new(AtomicBool::new(true));
        let manager = Manager(jobs.clone(), asked.clone(), failed.clone(), enabled.clone());
        let connection = zbus::connection::Builder::address(bus.address().as_str())
            .serve_at(PATH, manager)
            .name(NAME)
            .build()
            .await
            .unwrap_or_else(|e| panic!("the fake systemd cannot own {NAME}: {e}"));
        let systemd = Self {
            jobs,
            asked,
            failed,
            enabled,
            presence: Presence::default(),
        };
        systemd.presence.set(connection);
        systemd
    }

    /// What `ListJobs` answers from now on.
    pub fn set_jobs(&self, jobs: impl IntoIterator<Item = Job>) {
        *self.jobs.lock().expect("nothing panics while it is locked") = jobs.into_iter().collect();
    }

    /// Which units have failed, from now on.
    pub fn set_failed(&self, units: impl IntoIterator<Item = &'static str>) {
        let mut failed = self
            .failed
            .lock()
            .expect("nothing panics while it is locked");
        *failed = units.into_iter().map(str::to_owned).collect();
    }

    /// Whether units are enabled, from now on.
    pub fn set_enabled(&self, enabled: bool) {
        self.enabled.store(enabled, Ordering::SeqCst);
    }

    /// Which units it was to start, stop and restart: methods and units, in order.
    pub fn asked(&self) -> Vec<(String, String)> {
        self.asked
            .lock()
            .expect("nothing panics while it is locked")
            .clone()
    }

    /// Leaves the bus.
    pub async fn stop(&self) {
        self.presence.leave(NAME).await;
    }
}
