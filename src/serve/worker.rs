//! Carries out the calls of clients: the connections only wait for the answer.
//!
//! What asks etcd stays on one thread, and the HTTP server wants futures that may move; so the two talk by a channel.

use std::{net::IpAddr, rc::Rc, time::Duration};

use axum::body::Bytes;
use futures_util::future::LocalBoxFuture;
use tokio::{
    sync::{Semaphore, mpsc, oneshot, watch},
    task::spawn_local,
    time::timeout,
};

use super::{
    feed::{Feed, Followers, Form, Source},
    protocol::{Call, Client, Verdict},
};

/// How many calls are carried out at a time: the others wait. Each is a few requests to the store.
const AT_ONCE: usize = 64;
/// The most that a call takes. Then the client is told that nothing is known, and asks again some minutes later.
const PATIENCE: Duration = Duration::from_secs(15);

/// A call of a client.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    /// What it asks.
    pub(super) call: Call,
    /// Who asks.
    pub(super) client: Client,
    /// From which address, where that is known.
    pub(super) from: Option<IpAddr>,
}

/// What the HTTP server asks of the worker.
enum Job {
    Call(Asked, oneshot::Sender<Verdict>),
    Show(Form, oneshot::Sender<(bool, Bytes)>),
}

/// The HTTP server's end of the channel.
#[derive(Clone)]
pub(super) struct Desk {
    jobs: mpsc::Sender<Job>,
    followers: Followers,
}

/// The store of the places.
pub(super) trait Store: 'static {
    /// Carries out a call. It may be dropped at any await: what it has done then is found by the next call of the same client.
    fn call<'a>(&'a self, asked: &'a Asked) -> LocalBoxFuture<'a, Verdict>;
}

impl Desk {
    /// Starts the worker, on this thread's local set.
    pub(super) fn open(store: Rc<dyn Store>, source: Box<dyn Source>) -> Self {
        let (jobs, mut inbox) = mpsc::channel(AT_ONCE);
        let permits = Rc::new(Semaphore::new(AT_ONCE));
        let feed = Rc::new(Feed::new(source));
        let followers = feed.followers();
        let running = Rc::clone(&feed);
        spawn_local(async move { running.run().await });
        spawn_local(async move {
            while let Some(job) = inbox.recv().await {
                let (store, permits) = (Rc::clone(&store), Rc::clone(&permits));
                let feed = Rc::clone(&feed);
                spawn_local(async move {
                    match job {
                        Job::Show(form, reply) => {
                            let _ = reply.send(feed.show(form).await);
                        }
                        Job::Call(asked, reply) => {
                            let done = async {
                                // It is never closed.
                                let _permit = permits.acquire().await;
                                store.call(&asked).await
                            };
                            let verdict = timeout(PATIENCE, done).await;
                            let verdict = verdict.unwrap_or_else(|_| too_slow());
                            log(&asked, &verdict);
                            // A client that has left asks again.
                            let _ = reply.send(verdict);
                        }
                    }
                });
            }
        });
        Self { jobs, followers }
    }

    /// Has a call carried out.
    pub(super) async fn call(&self, asked: Asked) -> Verdict {
        let (reply, answer) = oneshot::channel();
        match self.jobs.send(Job::Call(asked, reply)).await {
            Ok(()) => answer.await.unwrap_or_else(|_| too_slow()),
            Err(_) => too_slow(),
        }
    }
}

impl Desk {
    /// What the cluster does, in this form, and whether the store could not be read.
    pub(super) async fn show(&self, form: Form) -> (bool, Bytes) {
        let (reply, answer) = oneshot::channel();
        // Where it cannot be asked, this server is about to end.
        match self.jobs.send(Job::Show(form, reply)).await {
            Ok(()) => answer.await.unwrap_or((true, Bytes::new())),
            Err(_) => (true, Bytes::new()),
        }
    }

    /// Hears of changes from now on.
    pub(super) fn follow(&self) -> watch::Receiver<u64> {
        self.followers.follow()
    }
}

fn too_slow() -> Verdict {
    Verdict::Away {
        kind: "storage_unavailable",
        value: format!(
            "the store did not answer within {}",
            host::duration::print(PATIENCE)
        ),
    }
}

/// Notes what became of a call. Clients that are refused ask every few minutes: that is no news.
fn log(asked: &Asked, verdict: &Verdict) {
    let id = host::text::one_line(&asked.client.id);
    let id = host::text::cut(&id, 200);
    let group = asked.client.group.as_str();
    let from = asked.from.map(tracing::field::display);
    match (asked.call, verdict) {
        (Call::PreReboot, Verdict::Done) => tracing::info!(group, from, "{id} has a place"),
        (Call::SteadyState, Verdict::Done) => {
            tracing::info!(group, from, "{id} is in service")
        }
        (_, Verdict::Refused { kind, .. } | Verdict::Away { kind, .. }) => {
            tracing::debug!(group, from, "{id} is refused: {kind}");
        }
    }
}
