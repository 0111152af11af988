//! What a node says of itself, and what it sees of itself meanwhile.

use etcd_client::{PutOptions, TxnOp, TxnOpResponse};

use super::{Error, Semaphore, json, read};
use crate::records::{Holder, NodeRecord};

/// What etcd says of a node when that writes its record.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Seen {
    /// The record that another machine with this machine id had written; none where none did, as far as is known.
    pub twin: Option<NodeRecord>,
    /// The entry under its id among the holders.
    pub holder: Option<Holder>,
}

impl Semaphore {
    /// Writes what a node says of itself, and looks for who else goes by its id, in one request.
    ///
    /// # Errors
    /// When etcd cannot be reached or refuses.
    pub async fn publish(&self, node: &NodeRecord) -> Result<Seen, Error> {
        const DOING: &str = "saying this node's state";
        let memory = self.memory();
        let known = memory.remembered().record.unwrap_or_default();
        let replaced = PutOptions::new().with_prev_key();
        let put = TxnOp::put(self.keys.node(&node.id), json(node), Some(replaced));
        let holder = TxnOp::get(self.keys.holder(&node.id), None);
        let txn = etcd_client::Txn::new().and_then(vec![put, holder]);
        let response = self.txn(DOING, txn).await?;
        let revision = response.header().map_or(0, |header| header.revision());
        let mut seen = Seen::default();
        for answer in response.op_responses() {
            match answer {
                TxnOpResponse::Put(put) => {
                    let before = put.prev_key().and_then(|kv| {
                        let record: NodeRecord = serde_json::from_slice(kv.value()).ok()?;
                        Some((record, kv.mod_revision()))
                    });
                    seen.twin = before
                        .filter(|(record, modified)| {
                            record.boot_id != node.boot_id && known.is_of_another(record, *modified)
                        })
                        .map(|(record, _)| record);
                }
                TxnOpResponse::Get(get) => {
                    seen.holder = get.kvs().first().map(|kv| read::holder(kv).0);
                }
                _ => {}
            }
        }
        memory.note(|remembered| {
            let record = remembered.record.get_or_insert_default();
            record.written(&node.boot_id, revision);
        });
        Ok(seen)
    }
}
