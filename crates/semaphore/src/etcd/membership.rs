//! A node as a member of its group: the key that counts it, and tells what was proven on it.

use etcd_client::{Txn, TxnOp};

use super::{Error, Semaphore, absent};
use crate::records::{Member, NodeRecord};

impl Semaphore {
    /// What makes this node's member key say what it says, where it does not yet.
    pub(super) fn member_ops(&self, node: &NodeRecord) -> Vec<TxnOp> {
        let key = self.keys.member(&node.id);
        let value = node.member.as_ref().map(Member::value);
        let mut ops = Vec::new();
        if let Some(value) = value.filter(|value| !self.memory().member_is(&key, value)) {
            ops.push(TxnOp::put(key.clone(), value, None));
            let former = self.memory().former_member(&key);
            ops.extend(former.map(|former| TxnOp::delete(former, None)));
        }
        ops
    }

    /// As [`Self::member_ops`], unless the node holds the reboot lock: then what it does with the lock says it, in its order.
    pub(super) fn member_op_unless_held(&self, node: &NodeRecord) -> Option<TxnOp> {
        let ops = self.member_ops(node);
        let unless_held = || {
            let txn = Txn::new().when(vec![absent(self.keys.holder(&node.id))]);
            TxnOp::txn(txn.and_then(ops.clone()))
        };
        (!ops.is_empty()).then(unless_held)
    }

    /// Notes that the member key says this.
    pub(super) fn note_member(&self, node: &NodeRecord) {
        if let Some(member) = &node.member {
            let key = self.keys.member(&node.id);
            self.memory().note_member(&key, member.value());
        }
    }

    /// Ends the membership of a node that takes no part any more; false where it was no member.
    ///
    /// # Errors
    /// When etcd cannot be reached or refuses.
    pub async fn end_membership(&self) -> Result<bool, Error> {
        let Some(key) = self.memory().remembered().member else {
            return Ok(false);
        };
        let txn = Txn::new().and_then(vec![TxnOp::delete(key, None)]);
        self.txn("ending the membership", txn).await?;
        self.memory().note(|remembered| remembered.member = None);
        Ok(true)
    }
}
