//! The semaphore in etcd.
//!
//! Every change of who holds the lock is one transaction that compares what it was decided on; what a node writes of itself
//! alone (its ticket, its record) may be repeated. So a request may be made twice
//! (its reply was lost), late, or by a node that lost touch meanwhile: it then changes nothing, and what
//! the store says afterwards tells what happened.

mod accept;
mod acquire;
mod acts;
mod after;
mod by_hand;
mod changes;
mod connection;
mod error;
mod forget;
mod gates;
mod hold;
mod lease;
mod lost;
mod members;
mod membership;
mod memory;
mod pause;
mod policy;
mod poller;
mod publish;
mod quarantine;

mod read;
mod release;
mod remove;
mod rollout;
mod store;
mod watch;
mod waves;
mod way_back;
mod windows;

use std::{
    cell::{Cell, RefCell},
    sync::Arc,
    time::Duration,
};

use ::windows::WindowSpec;
use backon::BackoffBuilder as _;
use jiff::Timestamp;

pub use accept::{Accept, StoreLook};
pub use after::AfterFault;
pub use by_hand::{Before, Imported, Locked, SetMax, Unlocked};
pub use changes::Changes;
pub use connection::Connection;
pub use error::{Error, rebuild};
pub use forget::{Forgotten, NodeState};
pub use hold::{Committed, Left, Owner, Released};
pub use host::etcd::{Local, Options, Tls};
pub use members::{Guard, MemberFault, Unhealthy};
pub use memory::{Agent, Keeping, Memory};
pub use pause::{Paused, Resumed};
pub use policy::{PolicySet, PolicyState};
pub use read::{Group, HolderState};
pub use rollout::Rollout;
pub use watch::HoldEnd;
pub use windows::{Clock, NodeWindows};

use super::{
    acts::Person,
    gates::{Moment, Passenger},
    keys::Keys,
    queue::Asker,
    records::{Holder, NodeRecord},
    stored::Stored,
};

/// A group's semaphore in etcd.
pub struct Semaphore {
    connection: Connection,
    keys: Keys,
    back_off: BackOff,
    /// The person who acts by it; none where an agent does.
    person: Option<Person>,
    /// Whose release is near, and what it will find.
    expected: RefCell<Option<(String, hold::Held)>>,
    /// The member of etcd that was last taken for this node's.
    own: RefCell<String>,
    /// As its claim was last found to hold: under a lock by hand, whether the node was drained with that.
    under_lock: Cell<Option<bool>>,
    /// Whether that claim was taken as one of a node with a member of etcd.
    took_as_member: Cell<bool>,
    /// Whether the policy that the last take was made by has a node soak.
    took_with_soak: Cell<bool>,
    /// Whether this run has said anything of its node yet.
    published: Cell<bool>,
}

/// How long to wait between tries while etcd cannot be reached; doubling from `min` to `max`.
#[derive(Debug, Clone, Copy)]
pub struct BackOff {
    /// The first wait.
    pub min: Duration,
    /// The longest wait.
    pub max: Duration,
}

impl BackOff {
    /// The waits, one after the other, without end; each drawn a little at random, so that nodes that failed
    /// together do not all come back together.
    #[must_use]
    pub fn waits(self) -> backon::ExponentialBackoff {
        backon::ExponentialBuilder::default()
            .with_min_delay(self.min)
            .with_max_delay(self.max)
            .with_jitter()
            .without_max_times()
            .build()
    }
}

/// What a claim waits for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wait {
    /// A sentence.
    pub waits_for: String,
    /// Where it stands meanwhile.
    pub position: QueuePosition,
    /// Where it waits for a wave: the other images that are open to it, by digest.
    pub open_waves: Vec<String>,
    /// The windows of the group's policy, where they are others than the node knew of: this alone is told then.
    pub policy_windows: Option<Vec<WindowSpec>>,
}

/// Where a claim stands while it waits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum QueuePosition {
    /// In the queue, or as good as there: whether its ticket stands cannot be asked now.
    #[default]
    Unknown,
    /// In the queue: nothing is against its going once its turn has come.
    InQueue,
    /// Outside, until what blocks it is gone.
    Outside,
    /// Outside, while the lock is held under the node's id: by a person, or by another machine.
    Held,
    /// Outside, until the quarantine of what it wants to boot is cleared.
    Quarantined,
}

/// One taking of the semaphore by one node, from the ticket to the release. What is needed to find it again
/// after a crash is its nonce, the node's id and the [`Keys`].
#[derive(Debug, Clone)]
pub struct Claim {
    /// The entry to put; its nonce names this claim.
    pub holder: Holder,
    /// How long the ticket outlives a silent node, in whole seconds.
    pub ticket_lease: u64,
    /// Whether the node hosts a member of etcd: of those only one may be out in the whole cluster.
    pub member: bool,
    /// Whether a person asked for the reboot: it goes also under the lock that a person took for the node by hand.
    pub by_person: bool,
    /// Whether the image is staged, and was never proven on this node: then the groups that its own comes after must have
    /// opened it.
    pub new_image: bool,
    /// How it waits for a wave.
    pub waves: WaveWait,
    /// The node's own reboot windows and clock: those of the policy must be open as well. None for a claim that no reboot
    /// follows, and for an urgent reboot.
    pub windows: Option<NodeWindows>,
    /// What the node says of itself, the state filled in by the step that is taken. None for a claim made
    /// by hand, whose id need not be a node's.
    pub node: Option<NodeRecord>,
}

/// How a node waits for a wave.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WaveWait {
    /// How often it sees to it that a wave opens which is due.
    pub retry: Duration,
    /// Over how long the nodes that waited spread when it has opened.
    pub spread: Duration,
}

impl Claim {
    fn id(&self) -> &str {
        &self.holder.id
    }

    fn nonce(&self) -> &str {
        &self.holder.nonce
    }

    /// Who asks for the next step in the queue.
    #[must_use]
    pub fn asker(&self) -> Asker<'_> {
        Asker {
            id: self.id(),
            hostname: &self.holder.hostname,
            nonce: self.nonce(),
            by_person: self.by_person,
        }
    }

    /// Whom the gates are asked for: a quarantine concerns only a node that goes to another image than it runs.
    #[must_use]
    pub fn passenger<'a>(&'a self, moment: Option<&'a Moment>) -> Passenger<'a> {
        let Holder { from, to, .. } = &self.holder;
        let to = (!to.is(from)).then_some(to);
        Passenger {
            to,
            member: self.member,
            new: to
                .and_then(|to| to.digest.as_deref())
                .filter(|_| self.new_image),
            moment,
            runs: from.digest.as_deref(),
        }
    }
}

impl Semaphore {
    /// The semaphore of the group whose keys these are; nothing is asked of the network yet.
    #[must_use]
    pub fn new(options: Options, keys: Keys, back_off: BackOff) -> Self {
        Self {
            connection: Connection::new(options),
            keys,
            back_off,
            person: None,
            expected: RefCell::new(None),
            own: RefCell::default(),
            under_lock: Cell::default(),
            took_as_member: Cell::default(),
            took_with_soak: Cell::default(),
            published: Cell::default(),
        }
    }

    /// The same, with this memory of the store.
    #[must_use]
    pub fn with_memory(self, memory: Arc<Memory>) -> Self {
        Self {
            connection: self.connection.with_memory(memory),
            ..self
        }
    }

    /// Another group's semaphore, over the same connection and with the same memory of the store.
    #[must_use]
    pub fn of_group(&self, group: host::node::Group) -> Self {
        Self {
            connection: self.connection.clone(),
            keys: self.keys.of_group(group),
            back_off: self.back_off,
            person: self.person.clone(),
            expected: RefCell::default(),
            own: RefCell::default(),
            under_lock: Cell::default(),
            took_as_member: Cell::default(),
            took_with_soak: Cell::default(),
            published: Cell::default(),
        }
    }

    pub(super) fn memory(&self) -> &Memory {
        self.connection.memory()
    }

    /// Whether the node was drained with the lock by hand under which the claim was taken that was last found to hold; none
    /// where it was taken under no lock.
    #[must_use]
    pub fn under_lock(&self) -> Option<bool> {
        self.under_lock.get()
    }

    /// Whether the claim that [`Self::leave`] found to hold was taken as one of a node with a member of etcd.
    #[must_use]
    pub fn took_as_member(&self) -> bool {
        self.took_as_member.get()
    }

    /// Whether the policy has a node soak by which the claim was taken that was last found to hold.
    #[must_use]
    pub fn took_with_soak(&self) -> bool {
        self.took_with_soak.get()
    }

    fn note_lock(&self, entry: &Holder) {
        let lock = entry.by_hand.as_ref();
        self.under_lock.set(lock.map(|lock| lock.is_drained()));
    }

    /// The keys of the group.
    #[must_use]
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The connection, to close it while nothing is to be asked.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.connection
    }
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("records have string keys and plain values")
}

/// The answer tells which record it replaced.
fn put_node(keys: &Keys, node: &NodeRecord) -> etcd_client::TxnOp {
    let replaced = etcd_client::PutOptions::new().with_prev_key();
    etcd_client::TxnOp::put(keys.node(&node.id), json(node), Some(replaced))
}

/// The node's record in another state, as of now.
fn put_state(keys: &Keys, node: Option<&NodeRecord>, state: &str) -> Option<etcd_client::TxnOp> {
    node.map(|node| {
        let now = NodeRecord {
            state: state.to_owned(),
            waits_for: String::new(),
            since: Some(Timestamp::now()),
            ..node.clone()
        };
        put_node(keys, &now)
    })
}

/// "This key does not stand", as a compare.
fn absent(key: impl Into<Vec<u8>>) -> etcd_client::Compare {
    etcd_client::Compare::create_revision(key, etcd_client::CompareOp::Equal, 0)
}

/// "This key stands as it was read", as compares: by its revision, and by its value, since in a restored store the same
/// revision may be that of another value.
fn unchanged(key: impl Into<Vec<u8>>, read: &Stored) -> Vec<etcd_client::Compare> {
    let key = key.into();
    let equal = etcd_client::CompareOp::Equal;
    vec![
        etcd_client::Compare::mod_revision(key.clone(), equal, read.modified),
        etcd_client::Compare::value(key, equal, read.value.clone()),
    ]
}

/// A lost race is tried again this often before it is reported. Each loss means that somebody else won, so
/// even hundreds at once come through.
const RACES: usize = 1000;

/// A moment of random length before a lost race is run again, so that the losers do not all meet again.
async fn stand_back(tries: usize) {
    let mut byte = [0u8; 2];
    // Without randomness the wait is still right, only less spread.
    let _ = getrandom::fill(&mut byte);
    let spread = u64::from(u16::from_le_bytes(byte)) * (1 + tries.min(20) as u64) * 5 / 0xffff;
    tokio::time::sleep(Duration::from_millis(spread)).await;
}
