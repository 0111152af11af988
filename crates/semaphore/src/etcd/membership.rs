//! A node as a member of its group: the key that counts it, and tells what was proven on it.

use std::collections::BTreeSet;

use etcd_client::{GetOptions, KeyValue, Txn, TxnOp, TxnOpResponse, TxnResponse};

use super::{Error, Semaphore, absent, read, waves};
use crate::{
    keys::Keys,
    records::{Member, NodeRecord},
};

impl Semaphore {
    /// What makes this node's member key say what it says, where it does not yet. What is sent may be carried out although no
    /// answer comes: what the key says is known again only by [`Self::note_member`].
    pub(super) fn member_ops(&self, node: &NodeRecord) -> Vec<TxnOp> {
        let key = self.member_key(node);
        let value = node.member.as_ref().map(Member::value);
        let mut ops = Vec::new();
        if let Some(value) = value.filter(|value| !self.memory().member_is(&key, value)) {
            ops.push(TxnOp::put(key.clone(), value, None));
            let former = self.memory().former_member(&key);
            ops.extend(former.map(|former| TxnOp::delete(former, None)));
            self.memory().doubt_member();
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

    /// Deletes the member key in the group that the node's own record, as it was read, names, where that is another group and
    /// no journal tells of which group the node was a member.
    pub(super) fn former_member_op(&self, node: &NodeRecord, record: &NodeRecord) -> Option<TxnOp> {
        let former = self.member_key(record);
        let untold = node.member.is_some() && self.memory().remembered().member.is_none();
        let another = untold && former != self.member_key(node);
        another.then(|| TxnOp::delete(former, None))
    }

    /// The member key of a node in its own group: a node that is in another group now releases where it took.
    fn member_key(&self, node: &NodeRecord) -> String {
        match host::node::Group::new(&node.group) {
            Ok(group) => Keys::new(self.keys.prefix(), group).member(&node.id),
            Err(_) => self.keys.member(&node.id),
        }
    }

    /// Notes that the member key says this.
    pub(super) fn note_member(&self, node: &NodeRecord) {
        if let Some(member) = &node.member {
            let key = self.member_key(node);
            self.memory().note_member(&key, member.value());
        }
    }

    /// Notes what the answer to [`Self::member_op_unless_held`] tells, where that was asked.
    pub(super) fn note_member_by(&self, response: &TxnResponse, node: &NodeRecord) {
        let put = response.op_responses().into_iter().any(|op| match op {
            TxnOpResponse::Txn(one) => one.succeeded(),
            _ => false,
        });
        if put {
            self.note_member(node);
        }
    }

    /// Opens the wave of the image that is proven here, where this node was the last that had to prove it, and the policy of
    /// its group, as it was read, has the group open waves.
    pub(super) async fn see_to_waves_of(&self, node: &NodeRecord, policy: Option<&KeyValue>) {
        let proven = node
            .member
            .as_ref()
            .and_then(|member| member.proven.as_deref());
        let own = node.group == self.keys.group().as_str();
        if let Some(proven) = proven
            && own
            && waves::opens_waves(policy)
        {
            let version = node.runs.version.as_deref();
            self.see_to_waves(Some(proven), version).await;
        }
    }

    /// The nodes of the group that have said something and are no members: their agents know nothing of policies.
    ///
    /// # Errors
    /// When etcd cannot be reached or refuses.
    pub async fn without_policy(&self, nodes: &[NodeRecord]) -> Result<Vec<NodeRecord>, Error> {
        let only_keys = GetOptions::new().with_prefix().with_keys_only();
        let get = TxnOp::get(self.keys.members(), Some(only_keys));
        let response = self
            .txn("reading the members", Txn::new().and_then(vec![get]))
            .await?;
        let members = read::answers(&response).into_iter().flatten();
        let prefix = self.keys.members();
        let members: BTreeSet<String> = members.map(|kv| read::after(&prefix, &kv)).collect();
        let silent = nodes.iter().filter(|node| !members.contains(&node.id));
        Ok(silent.cloned().collect())
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
