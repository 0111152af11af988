//! A TCP proxy before one address, for trouble on the way.

mod frames;
mod link;
#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What the proxy does with bytes and connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Hands everything on.
    #[default]
    Pass,
    /// Refuses new connections (nobody listens) and cuts the ones there are.
    Refuse,
    /// Accepts connections and swallows every byte, both ways. A connection that has lost bytes so is cut when the mode
    /// changes.
    BlackHole,
    /// Hands each piece on so much later, each way.
    Delay(Duration),
}

/// Which request is meant, by what it writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aim {
    /// The next one, whatever it does.
    Any,
    /// The next one that writes or compares a JSON value: a record, an entry, a ticket, the document.
    Write,
    /// The one that takes the lock: it puts an entry in the phase `draining`.
    Take,
    /// The one that commits to the reboot: it puts the phase `rebooting`.
    Commit,
    /// The one that ends what a node has under way, as a release does: it puts the node's state `idle`.
    ToIdle,
    /// The one whose body has this text.
    Text(&'static str),
}

impl Aim {
    fn hits(self, body: &[u8]) -> bool {
        let text = match self {
            Self::Any => return true,
            Self::Write => "{\"",
            Self::Take => "\"phase\":\"draining\"",
            Self::Commit => "\"phase\":\"rebooting\"",
            Self::ToIdle => "\"state\":\"idle\"",
            Self::Text(text) => text,
        };
        body.windows(text.len()).any(|part| part == text.as_bytes())
    }
}

/// A running proxy on 127.0.0.1. Dropping it cuts everything. It lives on the runtime that started it.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    listener: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    target: SocketAddr,
    mode: watch::Sender<Mode>,
    /// Counts up: every connection older than its value is cut.
    cuts: watch::Sender<usize>,
    /// Whether somebody listens, by the listening task's own word.
    listening: watch::Sender<bool>,
    /// Armed by [`Proxy::lose_reply_to`]: the request to strike.
    lose: Mutex<Option<Aim>>,
    lost: watch::Sender<usize>,
    /// Armed by [`Proxy::hold`]: the request to hold.
    hold: Mutex<Option<Aim>>,
    held: watch::Sender<Hold>,
    connections: AtomicUsize,
}

/// How far the request is that [`Proxy::hold`] means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hold {
    Awaited,
    Held,
    /// It may go on.
    Released,
    /// The server has answered it, or the client has cancelled it.
    Ended,
}

impl Shared {
    /// Claims the one reply to lose for the request of which this much of the body has come.
    fn strikes(&self, body: &[u8]) -> bool {
        let mut lose = self.lose.lock().expect("nothing panics while it is locked");
        lose.take_if(|aim| aim.hits(body)).is_some()
    }

    /// Claims the one request to hold, of which this much of the body has come.
    fn holds(&self, body: &[u8]) -> bool {
        let mut hold = self.hold.lock().expect("nothing panics while it is locked");
        hold.take_if(|aim| aim.hits(body)).is_some()
    }
}

impl Proxy {
    /// Listens on a port of its own and hands on to `target` ([`crate::etcd::Cluster::address`]).
    pub async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("127.0.0.1 has a free port");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            target,
            mode: watch::Sender::default(),
            cuts: watch::Sender::default(),
            listening: watch::Sender::new(true),
            lose: Mutex::default(),
            lost: watch::Sender::default(),
            hold: Mutex::default(),
            held: watch::Sender::new(Hold::Ended),
            connections: AtomicUsize::new(0),
        });
        let task = tokio::spawn(listen(listener, address, shared.clone()));
        Self {
            address,
            shared,
            listener: task,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://` and where it listens.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Changes the mode for every connection; when it returns, new connections are already accepted or refused as the
    /// mode says.
    pub async fn set(&self, mode: Mode) {
        self.shared.mode.send_replace(mode);
        if mode == Mode::Refuse {
            self.cut();
        }
        let mut listening = self.shared.listening.subscribe();
        listening
            .wait_for(|l| *l == (mode != Mode::Refuse))
            .await
            .expect("the sender lives as long as self");
    }

    /// Cuts all connections there are; new ones are accepted.
    pub fn cut(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Loses one reply: that to the next unary gRPC request that is meant. The request goes through; when the reply comes, the
    /// server has done the work, and the connection is cut in its place. Only for plain HTTP/2: through TLS no reply can be
    /// seen.
    pub fn lose_reply_to(&self, aim: Aim) {
        *self
            .shared
            .lose
            .lock()
            .expect("nothing panics while it is locked") = Some(aim);
    }

    /// How many replies have been lost.
    pub fn lost(&self) -> usize {
        *self.shared.lost.borrow()
    }

    /// Waits until so many replies have been lost in all; panics after [`PATIENCE`](crate::fakes::PATIENCE).
    pub async fn wait_lost(&self, at_least: usize) {
        let mut lost = self.shared.lost.subscribe();
        let waited =
            tokio::time::timeout(crate::fakes::PATIENCE, lost.wait_for(|n| *n >= at_least)).await;
        assert!(
            waited.is_ok(),
            "{} replies lost, not {at_least}",
            self.lost()
        );
    }

    /// Holds the next unary gRPC request that is meant, and all that the client sends after it on the same connection, until
    /// [`Proxy::go_on`]. Only for plain HTTP/2.
    pub fn hold(&self, aim: Aim) {
        self.shared.held.send_replace(Hold::Awaited);
        let mut hold = self.shared.hold.lock();
        **hold.as_mut().expect("nothing panics while it is locked") = Some(aim);
    }

    /// Waits until the request that [`Proxy::hold`] meant has come; panics after [`PATIENCE`](crate::fakes::PATIENCE).
    pub async fn wait_held(&self) {
        self.wait_hold(Hold::Held).await;
    }

    /// Lets the request that is held go on, and waits until the server has answered it or the client has cancelled it; panics
    /// after [`PATIENCE`](crate::fakes::PATIENCE).
    pub async fn go_on(&self) {
        self.shared.held.send_replace(Hold::Released);
        self.wait_hold(Hold::Ended).await;
    }

    async fn wait_hold(&self, state: Hold) {
        let mut held = self.shared.held.subscribe();
        let reached = held.wait_for(|now| *now == state);
        let waited = tokio::time::timeout(crate::fakes::PATIENCE, reached).await;
        let now = *self.shared.held.borrow();
        assert!(
            waited.is_ok(),
            "the request to hold is {now:?}, not {state:?}"
        );
    }

    /// How many connections it has accepted.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listener.abort();
        self.cut();
    }
}

/// Accepts, except while the mode is [`Mode::Refuse`]: then nobody listens.
async fn listen(first: TcpListener, address: SocketAddr, shared: Arc<Shared>) {
    let mut listener = Some(first);
    let mut mode = shared.mode.subscribe();
    loop {
        let now = *mode.borrow_and_update();
        if now == Mode::Refuse {
            listener = None;
            shared.listening.send_replace(false);
            if mode.changed().await.is_err() {
                return;
            }
            continue;
        }
        let open = match listener.take() {
            Some(open) => open,
            None => match TcpListener::bind(address).await {
                Ok(open) => open,
                // Somebody's outgoing connection has the port for a moment.
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                }
            },
        };
        shared.listening.send_replace(true);
        tokio::select! {
            Ok((client, _)) = open.accept() => {
                shared.connections.fetch_add(1, Ordering::SeqCst);
                // Subscribed here, not in the task: a cut that follows must reach it.
                let cuts = shared.cuts.subscribe();
                tokio::spawn(link::serve(client, shared.clone(), cuts));
            }
            _ = mode.changed() => {}
        }
        listener = Some(open);
    }
}
