//! Images that no node may reboot into: quarantined and cleared.

use etcd_client::{GetOptions, Txn, TxnOp, TxnOpResponse};

use super::{
    Error, Semaphore, absent,
    acts::{About, Acting},
    json, read,
};
use crate::{
    keys::Keys,
    records::{ImageId, Quarantine},
};

impl Semaphore {
    /// Quarantines an image for every node, where nobody has done so before; whether nobody had.
    ///
    /// # Errors
    /// When etcd cannot be reached or refuses.
    pub async fn quarantine(&self, what: &Quarantine) -> Result<bool, Error> {
        const DOING: &str = "quarantining an image";
        let name = what.what.name();
        let act = self.act(DOING, "quarantine add", About::Cluster, name, &what.reason)?;
        let mut ops = put_by(&self.keys, what, &act);
        ops.extend(act.list());
        let response = self.txn(DOING, Txn::new().and_then(ops)).await?;
        let put = |op: &TxnOpResponse| matches!(op, TxnOpResponse::Txn(one) if one.succeeded());
        let done = response.op_responses().iter().any(put);
        if done {
            self.acted(&response).await;
        }
        Ok(done)
    }

    /// Clears the quarantines of this image or version, under all their keys; those there were.
    ///
    /// # Errors
    /// When etcd cannot be reached or refuses.
    pub async fn clear_quarantine(&self, what: &ImageId) -> Result<Vec<Quarantine>, Error> {
        const DOING: &str = "clearing a quarantine";
        let act = self.act(DOING, "quarantine clear", About::Cluster, what.name(), "")?;
        let all = GetOptions::new().with_prefix();
        let get = TxnOp::get(self.keys.quarantines(), Some(all));
        let response = self.txn(DOING, Txn::new().and_then(vec![get])).await?;
        let mut cleared = Vec::new();
        let mut deletes = Vec::new();
        for kv in read::answers(&response).into_iter().flatten() {
            let found = read::quarantine(&kv);
            if what.is_meant_by(&found.what) {
                deletes.push(TxnOp::delete(kv.key(), None));
                if !cleared.contains(&found) {
                    cleared.push(found);
                }
            }
        }
        if !deletes.is_empty() {
            self.do_act(DOING, Vec::new(), deletes, &act).await?;
        }
        Ok(cleared)
    }
}

/// Puts a quarantine where none stands: who found it first is who is asked.
pub(super) fn put_quarantine(keys: &Keys, what: &Quarantine) -> Vec<TxnOp> {
    put_by(keys, what, &Acting::nobodys())
}

/// As [`put_quarantine`], with the act of the person who does it. They name the image or the version: with the first of both
/// keys the act is written.
fn put_by(keys: &Keys, what: &Quarantine, act: &Acting) -> Vec<TxnOp> {
    let mut act = act.put();
    let put = |key: String| {
        let mut puts = vec![TxnOp::put(key.clone(), json(what), None)];
        puts.extend(act.take());
        TxnOp::txn(Txn::new().when(vec![absent(key)]).and_then(puts))
    };
    keys.quarantines_of(&what.what)
        .into_iter()
        .map(put)
        .collect()
}
