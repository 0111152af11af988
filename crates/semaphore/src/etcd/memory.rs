//! What is remembered of the store across requests, connections and, by an agent's journal, its restarts: by it every
//! answer is judged.

use std::{
    pin::Pin,
    sync::{Mutex, MutexGuard, PoisonError},
};

use etcd_client::ResponseHeader;

use super::Error;
use crate::{
    document::Document,
    keys::Keys,
    records::{Accepted, NodeRecord},
    store::{Remembered, Reply, Sign, Taken},
};

/// The journal being written; or why it cannot be.
pub type Keeping =
    Pin<Box<dyn Future<Output = Result<(), Box<dyn std::error::Error + Send + Sync>>> + Send>>;

/// What an agent's memory needs of the agent.
pub struct Agent {
    /// Its keys.
    pub keys: Keys,
    /// What the node says of itself, the state and the reason not filled in.
    pub node: NodeRecord,
    /// Writes what is remembered to the journal.
    pub keep: Box<dyn Fn() -> Keeping + Send + Sync>,
    /// Called when a person has accepted the store, and this agent goes on with it.
    pub accepted: Box<dyn Fn() + Send + Sync>,
}

/// What is remembered of the store under one key prefix.
#[derive(Default)]
pub struct Memory {
    state: Mutex<State>,
    agent: Mutex<Option<std::sync::Arc<Agent>>>,
}

#[derive(Default)]
struct State {
    remembered: Remembered,
    /// As it was kept last.
    kept: Option<Remembered>,
    /// That the store is not the one it was, until a person accepts it.
    sign: Option<Sign>,
    /// The record of another machine with this node's id, until the agent has been told.
    twin: Option<NodeRecord>,
    /// The value of its member key, as this run of the agent has written it.
    member: Option<String>,
}

impl Memory {
    /// The memory of an agent whose journal had this.
    #[must_use]
    pub fn new(remembered: Remembered) -> Self {
        let state = State {
            kept: Some(remembered.clone()),
            remembered,
            sign: None,
            twin: None,
            member: None,
        };
        Self {
            state: Mutex::new(state),
            agent: Mutex::default(),
        }
    }

    /// Has it remember this instead.
    pub fn recall(&self, remembered: Remembered) {
        self.state().remembered = remembered;
    }

    /// Makes it an agent's: a sign then stops the cluster, and is answered by a person's accept. The node's record is written
    /// in its boot from now on; whether the journal knows that already.
    pub fn serve(&self, agent: Agent) -> bool {
        self.note(|remembered| {
            let record = remembered.record.get_or_insert_default();
            record.begin(&agent.node.boot_id);
        });
        let mut place = self.agent.lock().unwrap_or_else(PoisonError::into_inner);
        *place = Some(std::sync::Arc::new(agent));
        drop(place);
        !self.boots_are_unkept()
    }

    /// Whether the journal has not yet in which boots the node's record was written, or may have been, or that it was.
    pub(super) fn boots_are_unkept(&self) -> bool {
        let state = self.state();
        let boots = |remembered: &Remembered| {
            let record = remembered.record.as_ref();
            record.map(|record| (record.boots.clone(), record.revision > 0))
        };
        boots(&state.remembered) != state.kept.as_ref().and_then(boots)
    }

    /// Whether the journal has not yet of which group the node is a member.
    pub(super) fn membership_is_unkept(&self) -> bool {
        let state = self.state();
        let kept = state.kept.as_ref().and_then(|kept| kept.member.as_ref());
        state.remembered.member.as_ref() != kept
    }

    pub(super) fn agent(&self) -> Option<std::sync::Arc<Agent>> {
        let agent = self.agent.lock().unwrap_or_else(PoisonError::into_inner);
        agent.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is remembered now.
    #[must_use]
    pub fn remembered(&self) -> Remembered {
        self.state().remembered.clone()
    }

    /// The sign that stands.
    #[must_use]
    pub fn sign(&self) -> Option<Sign> {
        self.state().sign.clone()
    }

    /// Judges an answer by what was remembered when the request was sent, and takes over what it adds.
    pub(super) fn judge(&self, sent: &Remembered, reply: &Reply) -> Result<(), Sign> {
        let mut state = self.state();
        match sent.judge(reply) {
            None => {
                // An answer from before a sign was found, or from after, is of a store that is judged apart.
                if state.sign.is_none() {
                    state.remembered.note(reply);
                }
                Ok(())
            }
            Some(sign) => {
                // The store was accepted while the answer was on its way.
                if state.sign.is_none() && state.remembered.tokens == sent.tokens {
                    tracing::error!("{sign}");
                    state.sign = Some(sign.clone());
                }
                Err(sign)
            }
        }
    }

    /// Judges how the store was accepted, as an answer tells, by what was remembered when the request was sent; and remembers
    /// it.
    pub(super) fn judge_accept(
        &self,
        sent: &Remembered,
        accepted: Option<&Accepted>,
        reply: &Reply,
    ) -> Result<(), Sign> {
        let mut state = self.state();
        match sent.judge_accept(accepted, reply) {
            None => {
                if let (None, Some(accepted)) = (&state.sign, accepted) {
                    state.remembered.note_token(&accepted.token);
                }
                Ok(())
            }
            Some(sign) => {
                if state.sign.is_none() && state.remembered.tokens == sent.tokens {
                    tracing::error!("{sign}");
                    state.sign = Some(sign.clone());
                }
                Err(sign)
            }
        }
    }

    /// Takes back a sign that another cluster answered, where the one that is remembered answers again and nothing else speaks
    /// against it; whether it did.
    pub(super) fn is_back(&self, reply: &Reply, accepted: Option<&Accepted>) -> bool {
        let mut state = self.state();
        let remembered = &state.remembered;
        let known = remembered.marks.as_ref().map(|marks| marks.cluster);
        let back = matches!(state.sign, Some(Sign::Cluster { .. }))
            && known == Some(reply.cluster)
            && remembered.judge(reply).is_none()
            && remembered.judge_accept(accepted, reply).is_none();
        if back {
            state.sign = None;
        }
        back
    }

    /// Whether nothing of it was ever kept.
    pub(super) fn is_new(&self) -> bool {
        let state = self.state();
        let kept = state.kept.as_ref().and_then(|kept| kept.marks.as_ref());
        kept.is_none() && state.remembered.marks.is_some()
    }

    /// Notes that the hold of this claim is gone, where that is a sign.
    pub(super) fn hold_is_gone(&self, nonce: &str, document: Option<i64>) -> Result<(), Sign> {
        let mut state = self.state();
        match state.remembered.hold_gone(nonce, document) {
            None => Ok(()),
            Some(sign) => {
                if state.sign.is_none() {
                    tracing::error!("{sign}");
                }
                state.sign.get_or_insert(sign.clone());
                Err(sign)
            }
        }
    }

    /// Notes what was read or done. Nothing is noted while a sign stands.
    pub(super) fn note(&self, change: impl FnOnce(&mut Remembered)) {
        let mut state = self.state();
        if state.sign.is_none() {
            change(&mut state.remembered);
        }
    }

    pub(super) fn note_document(&self, key: &str, document: Option<&Document>) {
        self.note(|remembered| {
            if !remembered.documents.contains(key) {
                remembered.documents.insert(key.to_owned());
            }
            if let Some(document) = document {
                remembered.known.max = Some(document.max);
                remembered.known.holders.clone_from(&document.holders);
            }
        });
    }

    /// Notes the record that stood under this node's id, which is now in the boot `boot`.
    pub(super) fn note_own_record(&self, boot: &str, record: &NodeRecord, modified: i64) {
        let mut state = self.state();
        let known = state.remembered.record.as_ref();
        let another = known.is_some_and(|known| known.is_of_another(record, modified));
        if another && state.sign.is_none() && record.boot_id != boot {
            state.twin = Some(record.clone());
        }
    }

    /// Notes that this node wrote its record in the boot `boot`, at this revision.
    pub(super) fn note_written(&self, boot: &str, revision: i64) {
        self.note(|remembered| {
            let record = remembered.record.get_or_insert_default();
            record.written(boot, revision);
        });
    }

    /// Notes that the node's member key has this value.
    pub(super) fn note_member(&self, key: &str, value: &str) {
        let mut state = self.state();
        state.member = Some(value.to_owned());
        if state.remembered.member.as_deref() != Some(key) {
            state.remembered.member = Some(key.to_owned());
        }
    }

    /// Notes that it is not known what the node's member key says.
    pub(super) fn doubt_member(&self) {
        self.state().member = None;
    }

    /// Whether the node's member key is known to have this value.
    pub(super) fn member_is(&self, key: &str, value: &str) -> bool {
        let state = self.state();
        state.member.as_deref() == Some(value) && state.remembered.member.as_deref() == Some(key)
    }

    /// The key by which the node was a member of another group.
    pub(super) fn former_member(&self, key: &str) -> Option<String> {
        let member = self.state().remembered.member.clone();
        member.filter(|former| former != key)
    }

    pub(super) fn twin_seen(&self) -> Option<NodeRecord> {
        self.state().twin.take()
    }

    pub(super) fn note_take(&self, nonce: &str, revision: i64) {
        self.note(|remembered| {
            remembered.known.holding = true;
            remembered.taken = Some(Taken {
                nonce: nonce.to_owned(),
                revision,
            });
        });
    }

    pub(super) fn note_release(&self, nonce: &str) {
        self.note(|remembered| {
            remembered.taken.take_if(|taken| taken.nonce == nonce);
            remembered.known.holding = remembered.taken.is_some();
        });
    }

    /// Goes on with a store that was accepted by this token.
    pub(super) fn accept(&self, token: &str, reply: &Reply) {
        let mut state = self.state();
        state.remembered.accept(token, reply);
        // The new store does not know the member: its key is written again, with the next record.
        state.member = None;
        state.sign = None;
    }

    /// Has an agent's journal hold what is remembered, where it does not yet.
    ///
    /// # Errors
    /// When it cannot be written: the step it was for must not be taken.
    pub(super) async fn keep(&self, doing: &'static str) -> Result<(), Error> {
        let Some(agent) = self.agent() else {
            return Ok(());
        };
        let now = {
            let state = self.state();
            if state.kept.as_ref() == Some(&state.remembered) {
                return Ok(());
            }
            state.remembered.clone()
        };
        (agent.keep)().await.map_err(|why| Error::Machine {
            doing,
            error: std::io::Error::other(why),
        })?;
        self.state().kept = Some(now);
        Ok(())
    }

    /// Notes that the journal holds this.
    pub fn kept(&self, remembered: Remembered) {
        self.state().kept = Some(remembered);
    }
}

/// What the header of an answer to a linearizable request says of the store.
pub(super) fn reply(header: Option<&ResponseHeader>) -> Reply {
    Reply {
        cluster: header.map_or(0, ResponseHeader::cluster_id),
        revision: header.map_or(0, ResponseHeader::revision),
        difference: None,
    }
}
