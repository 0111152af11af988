//! systemd's list of jobs: `org.freedesktop.systemd1`. A shutdown under way is a job for `reboot.target`.

use std::sync::{Arc, Mutex};

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

struct Manager(Arc<Mutex<Vec<Job>>>);

#[interface(name = "org.freedesktop.systemd1.Manager")]
impl Manager {
    fn list_jobs(&self) -> Vec<Wire> {
        self.0
            .lock()
            .expect("nothing panics while it is locked")
            .iter()
            .map(Job::wire)
            .collect()
    }
}

/// A fake systemd that answers `ListJobs` only.
#[derive(Debug)]
pub struct Systemd {
    jobs: Arc<Mutex<Vec<Job>>>,
    presence: Presence,
}

impl Systemd {
    /// Comes up on the bus, with no job.
    pub async fn start(bus: &Bus) -> Self {
        let jobs = Arc::new(Mutex::new(Vec::new()));
        let connection = zbus::connection::Builder::address(bus.address().as_str())
            .serve_at(PATH, Manager(jobs.clone()))
            .name(NAME)
            .build()
            .await
            .unwrap_or_else(|e| panic!("the fake systemd cannot own {NAME}: {e}"));
        let systemd = Self {
            jobs,
            presence: Presence::default(),
        };
        systemd.presence.set(connection);
        systemd
    }

    /// What `ListJobs` answers from now on.
    pub fn set_jobs(&self, jobs: impl IntoIterator<Item = Job>) {
        *self.jobs.lock().expect("nothing panics while it is locked") = jobs.into_iter().collect();
    }

    /// Leaves the bus.
    pub async fn stop(&self) {
        self.presence.leave(NAME).await;
    }
}
