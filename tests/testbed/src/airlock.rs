//! A FleetLock server as airlock is one: a full group is 500 `failed_lock` (or, as another server has it, 423 `lock_held`), another
//! path 404, both calls are idempotent. And what networks and proxies make of its answers.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
};

use serde_json::{Value, json};
use tokio::sync::watch;

use crate::web::{Reply, Request, Web};

/// What becomes of a call.
#[derive(Debug, Clone)]
pub enum Fault {
    /// The server never sees it: this is answered.
    Instead(Reply),
    /// The server does it, and this is answered.
    After(Reply),
}

/// A call that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// What stands behind `/v1/`.
    pub name: String,
    /// Whether it changed or kept a place: what the server itself says, whatever reaches the client.
    pub done: bool,
}

/// The server; it ends when dropped.
pub struct Airlock {
    web: Web,
    inner: Arc<Inner>,
}

struct Inner {
    state: Mutex<State>,
    calls: watch::Sender<Vec<Call>>,
}

#[derive(Debug, Default)]
struct State {
    max: usize,
    holders: BTreeSet<String>,
    full: Option<(u16, &'static str)>,
    /// What becomes of the next calls of this name; after that they are answered well.
    script: VecDeque<(String, Fault)>,
    /// Whether every call of this name has this fault, once the script is over.
    always: Option<(String, Fault)>,
}

impl Airlock {
    /// With so many places in the group `default`.
    pub async fn start(max: usize) -> Self {
        let inner = Arc::new(Inner {
            state: Mutex::new(State {
                max,
                ..State::default()
            }),
            calls: watch::Sender::new(Vec::new()),
        });
        let server = inner.clone();
        let web = Web::serve(move |request, _| server.answer(request)).await;
        Self { web, inner }
    }

    /// Its base URL, as airlock has none: without a slash at the end.
    #[must_use]
    pub fn url(&self) -> &str {
        self.web.url()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().expect("nobody panics with it")
    }

    /// How it says that a group is full.
    pub fn says_full(&self, status: u16, kind: &'static str) {
        self.state().full = Some((status, kind));
    }

    /// Somebody takes a place.
    pub fn take(&self, id: &str) {
        self.state().holders.insert(id.to_owned());
    }

    /// Somebody releases a place.
    pub fn release(&self, id: &str) {
        self.state().holders.remove(id);
    }

    /// Who has a place.
    #[must_use]
    pub fn holders(&self) -> Vec<String> {
        self.state().holders.iter().cloned().collect()
    }

    /// What becomes of the next calls of this name, in this order.
    pub fn script(&self, name: &str, faults: impl IntoIterator<Item = Fault>) {
        let faults = faults.into_iter().map(|fault| (name.to_owned(), fault));
        self.state().script.extend(faults);
    }

    /// What becomes of every call of this name from now on; none: it is answered well.
    pub fn always(&self, name: &str, fault: Option<Fault>) {
        self.state().always = fault.map(|fault| (name.to_owned(), fault));
    }

    /// The calls so far.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.inner.calls.borrow().clone()
    }

    /// How many calls of this name came so far.
    #[must_use]
    pub fn count(&self, name: &str) -> usize {
        let calls = self.inner.calls.borrow();
        calls.iter().filter(|call| call.name == name).count()
    }

    /// Waits until so many calls of this name have come.
    pub async fn wait_calls(&self, name: &str, least: usize) {
        let mut calls = self.inner.calls.subscribe();
        let enough = |calls: &Vec<Call>| {
            let of_it = calls.iter().filter(|call| call.name == name);
            of_it.count() >= least
        };
        let came = tokio::time::timeout(crate::fakes::PATIENCE, calls.wait_for(enough)).await;
        if came.is_err() {
            panic!("{least} calls of {name} do not come: {:?}", self.calls());
        }
    }

    /// The requests as they came.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.web.seen()
    }
}

fn refused(status: u16, kind: &str, value: &str) -> Reply {
    let body = json!({"kind": kind, "value": value}).to_string();
    Reply::Body(status, body.into_bytes())
}

impl Inner {
    fn answer(&self, request: &Request) -> Reply {
        let Some(name) = request.path.strip_prefix("/v1/") else {
            return Reply::Body(404, b"404 page not found\n".to_vec());
        };
        let mut state = self.state.lock().expect("nobody panics with it");
        let next = state.script.front().filter(|(of, _)| of == name).cloned();
        let fault = match next {
            Some((_, fault)) => {
                state.script.pop_front();
                Some(fault)
            }
            None => {
                let always = state.always.as_ref().filter(|(of, _)| of == name);
                always.map(|(_, fault)| fault.clone())
            }
        };
        let reply = match fault {
            Some(Fault::Instead(reply)) => (false, reply),
            Some(Fault::After(reply)) => (state.serve(name, request).0, reply),
            None => state.serve(name, request),
        };
        drop(state);
        let (done, reply) = reply;
        self.calls.send_modify(|calls| {
            calls.push(Call {
                name: name.to_owned(),
                done,
            });
        });
        reply
    }
}

impl State {
    /// What airlock itself does.
    fn serve(&mut self, name: &str, request: &Request) -> (bool, Reply) {
        if request.method != "POST" {
            return (false, Reply::Body(405, Vec::new()));
        }
        let header = request.headers.get("fleet-lock-protocol");
        if header.map(String::as_str) != Some("true") {
            let said = "missing required header";
            return (false, refused(400, "invalid_protocol_header", said));
        }
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let params = &body["client_params"];
        let (Some(id), Some("default")) = (params["id"].as_str(), params["group"].as_str()) else {
            return (false, refused(400, "bad_parameters", "no such group"));
        };
        match name {
            "pre-reboot" if self.holders.contains(id) => (true, Reply::ok("")),
            "pre-reboot" if self.holders.len() >= self.max => {
                let (status, kind) = self.full.unwrap_or((500, "failed_lock"));
                let said = format!("all {} semaphore slots currently locked", self.max);
                (false, refused(status, kind, &said))
            }
            "pre-reboot" => (self.holders.insert(id.to_owned()), Reply::ok("")),
            "steady-state" => {
                self.holders.remove(id);
                (true, Reply::ok(""))
            }
            _ => (false, Reply::Body(404, b"404 page not found\n".to_vec())),
        }
    }
}
