//! What a node says of itself, and what it sees of itself meanwhile.

use etcd_client::{KeyValue, TxnOp, TxnOpResponse, TxnResponse};

use super::{Error, Semaphore, put_node, read};
use crate::records::{Holder, NodeRecord};

impl Semaphore {
    /// Writes what a node says of itself; the entry under its id among the holders.
    ///
    /// # Errors
    /// When etcd cannot be reached or refuses.
    pub async fn publish(&self, node: &NodeRecord) -> Result<Option<Holder>, Error> {
        const DOING: &str = "saying this node's state";
        // Read before it is written over: who gives this up drops the answer, and with it whose record stood there.
        let own = TxnOp::get(self.keys.node(&node.id), None);
        let holder = TxnOp::get(self.keys.holder(&node.id), None);
        let txn = etcd_client::Txn::new().and_then(vec![own, holder, self.get_policy()]);
        let response = self.txn(DOING, txn).await?;
        let mut answers = read::answers(&response).into_iter();
        let record = answers.next().unwrap_or_default();
        let record = record.first().map(KeyValue::value);
        let record = record.and_then(|value| serde_json::from_slice::<NodeRecord>(value).ok());
        let found = answers.next();
        let policy = answers.next().unwrap_or_default();
        let mut puts = vec![put_node(&self.keys, node)];
        puts.extend(record.and_then(|record| self.former_member_op(node, &record)));
        let member = self.member_op_unless_held(node);
        let tells = member.is_some() || !self.published.replace(true);
        puts.extend(member);
        let put = etcd_client::Txn::new().and_then(puts);
        let written = self.txn(DOING, put).await?;
        self.note_member_by(&written, node);
        let revision = written.header().map_or(0, |header| header.revision());
        let memory = self.memory();
        memory.note_written(&node.boot_id, revision);
        // Once a boot: by this another machine's record is told after the next start.
        if (memory.boots_are_unkept() || memory.membership_is_unkept())
            && let Err(error) = memory.keep(DOING).await
        {
            tracing::debug!("{error}");
        }
        if tells {
            self.see_to_waves_of(node, policy.first()).await;
        }
        Ok(found
            .unwrap_or_default()
            .first()
            .map(|kv| read::holder(kv).0))
    }

    /// The record of another machine with this node's id that was seen last, once.
    #[must_use]
    pub fn twin_seen(&self) -> Option<NodeRecord> {
        self.memory().twin_seen()
    }

    /// Notes what an answer tells of an agent's own record: as it stood, or as it stood before it was written over.
    pub(super) fn note_own_record(&self, response: &TxnResponse) {
        let Some(agent) = self.memory().agent() else {
            return;
        };
        let key = self.keys.node(&agent.node.id);
        let revision = response.header().map_or(0, |header| header.revision());
        for answer in response.op_responses() {
            let (found, written) = match answer {
                // Only the record is put so that the answer tells what it replaced.
                TxnOpResponse::Put(put) => (put.prev_key().cloned(), true),
                TxnOpResponse::Get(get) => (get.kvs().first().cloned(), false),
                _ => continue,
            };
            let found = found.filter(|kv| kv.key() == key.as_bytes());
            let Some(kv) = found else { continue };
            if let Ok(record) = serde_json::from_slice::<NodeRecord>(kv.value()) {
                let memory = self.memory();
                memory.note_own_record(&agent.node.boot_id, &record, kv.mod_revision());
            }
            if written {
                self.memory().note_written(&agent.node.boot_id, revision);
            }
        }
    }
}
