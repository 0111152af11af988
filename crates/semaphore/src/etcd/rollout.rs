//! All groups under the prefix as they are in etcd, as far as waves are concerned: for people.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use etcd_client::{GetOptions, KeyValue, Txn, TxnOp};
use host::node::Group;

use super::{Error, Semaphore, read};
use crate::{
    keys::Keys,
    lenient,
    policy::Policy,
    records::{NodeRecord, Quarantine},
    rollout::GroupView,
};

/// All groups at one revision.
#[derive(Debug, Clone, Default)]
pub struct Rollout {
    /// The groups, by name.
    pub groups: BTreeMap<Group, GroupView>,
    /// What all nodes last said of themselves.
    pub nodes: Vec<NodeRecord>,
    /// What no node may boot.
    pub quarantine: Vec<Quarantine>,
}

impl Semaphore {
    /// Reads all groups under the prefix.
    ///
    /// # Errors
    /// When etcd cannot be reached or refuses.
    pub async fn rollout(&self) -> Result<Rollout, Error> {
        let default = self.keys.of_group(Group::default());
        let below = |prefix: String| TxnOp::get(prefix, Some(GetOptions::new().with_prefix()));
        let one = |key: String| TxnOp::get(key, None);
        let parts = [
            below(self.keys.groups()),
            one(default.policy()),
            below(default.members()),
            below(default.holders()),
            below(default.queue()),
            below(default.lost_nodes()),
            below(default.waves()),
            below(default.wave_soak("")),
            below(self.keys.nodes()),
            below(self.keys.quarantines()),
        ];
        let asked = Txn::new().and_then(parts);
        let response = self.txn("reading the groups", asked).await?;
        let mut answers = read::answers(&response);
        let quarantine = answers.pop().unwrap_or_default();
        let nodes = read::readable(&answers.pop().unwrap_or_default());
        let mut rollout = Rollout {
            quarantine: quarantine.iter().map(read::quarantine).collect(),
            nodes,
            ..Rollout::default()
        };
        let in_use = |node: &NodeRecord| Group::new(&node.group).ok();
        for group in rollout.nodes.iter().filter_map(in_use).collect::<Vec<_>>() {
            rollout.groups.entry(group).or_default();
        }
        let prefix = self.keys.groups();
        for kv in answers.iter().flatten() {
            let key = read::text(kv.key());
            let group = match key.strip_prefix(&prefix) {
                None => Some(Group::default()),
                Some(rest) => rest
                    .split_once('/')
                    .and_then(|(escaped, _)| Group::from_escaped(escaped).ok()),
            };
            if let Some(group) = group {
                let keys = self.keys.of_group(group.clone());
                note(rollout.groups.entry(group).or_default(), &keys, &key, kv);
            }
        }
        Ok(rollout)
    }

    /// The images that a group has opened to those that come after it, by their digests.
    ///
    /// # Errors
    /// When etcd cannot be reached or refuses.
    pub async fn open_images(&self, group: &Group) -> Result<BTreeSet<String>, Error> {
        let waves = self.keys.of_group(group.clone()).waves();
        let names = GetOptions::new().with_prefix().with_keys_only();
        let asked = Txn::new().and_then(vec![TxnOp::get(waves.clone(), Some(names))]);
        let response = self.txn("reading the waves", asked).await?;
        let found = read::answers(&response).into_iter().flatten();
        Ok(found.map(|kv| read::after(&waves, &kv)).collect())
    }

    /// How long the wave of an image still soaks, by its lease; none where it does not.
    ///
    /// # Errors
    /// When etcd cannot be reached or refuses.
    pub async fn soak_left(
        &self,
        view: &GroupView,
        digest: &str,
    ) -> Result<Option<Duration>, Error> {
        match view.soaks.get(digest) {
            Some(lease) => self.time_left(*lease).await,
            None => Ok(None),
        }
    }
}

/// Takes over one key of a group.
fn note(view: &mut GroupView, keys: &Keys, key: &str, kv: &KeyValue) {
    let after = |prefix: String| key.strip_prefix(&prefix).map(str::to_owned);
    if key == keys.policy() {
        view.policy = Some(Policy::parse(kv.value()));
    } else if let Some(id) = after(keys.members()) {
        view.members.insert(id, read::text(kv.value()));
    } else if let Some(id) = after(keys.holders()) {
        view.holders.insert(id, read::holder(kv).0);
    } else if let Some(id) = after(keys.queue()) {
        view.queue.insert(id, read::ticket(kv));
    } else if let Some(id) = after(keys.lost_nodes()) {
        view.lost.insert(id, lenient::lost_node(kv.value()));
    } else if let Some(digest) = after(keys.wave_soak("")) {
        view.soaks.insert(digest, kv.lease());
    } else if let Some(digest) = after(keys.waves()) {
        // That it stands is what counts.
        let wave = serde_json::from_slice(kv.value()).unwrap_or_default();
        view.waves.insert(digest, wave);
    }
}
