//! What a policy that names groups before its own is checked against, and changes in theirs.

use std::collections::{BTreeMap, BTreeSet};

use etcd_client::{Compare, CompareOp, GetOptions, KeyValue, Txn, TxnOp};
use host::node::{Group, named_group};
use jiff::Timestamp;

use super::{Error, Semaphore, json, read, store::as_read};
use crate::{keys::Keys, policy::Policy, records::NodeRecord, stored::Stored, waves::upstream};

/// The most groups that may come before one, over all steps. The write compares the policy of each, those that it names twice
/// (revision and value), and etcd takes 128 operations.
const MOST: usize = 100;

/// Why a group cannot come after others.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AfterFault {
    /// It would come after itself.
    #[error(
        "{} would come after itself: {}", named_group(.own), chain(.own, .through)
    )]
    Circle {
        /// The group.
        own: String,
        /// The groups by which it would, those that it names first.
        through: Vec<String>,
    },
    /// Nobody would ever prove an image there.
    #[error("{} has no members: no image would ever be open to this group", named_group(.0))]
    Empty(String),
    /// Agents that tell nothing of what they have proven: their nodes have no member key.
    #[error(
        "older agents, which know nothing of waves, run on {} of these groups: {}. Waves do not wait for these nodes, and these \
         nodes wait for no wave; --force allows this", count(.0.len()), host::text::few(.0)
    )]
    Silent(Vec<String>),
    /// More groups than one request to etcd can compare.
    #[error(
        "more than {most} groups would come before {}, by way of one another: expected at most {most}", named_group(.0), most = MOST
    )]
    TooMany(String),
    /// The policy of a group on the way cannot be read.
    #[error("the policy of {} cannot be used, and so it is not known which groups come before it", named_group(.0))]
    Unknown(String),
}

fn count(nodes: usize) -> String {
    match nodes {
        1 => "1 node".to_owned(),
        many => format!("{many} nodes"),
    }
}

fn chain(own: &str, through: &[String]) -> String {
    let names = std::iter::once(own).chain(through.iter().map(String::as_str));
    let names: Vec<String> = names.map(|name| format!("{name:?}")).collect();
    format!("{} lead to it", names.join(", "))
}

/// What goes into the transaction that writes the policy.
#[derive(Default)]
pub(super) struct Upstream {
    pub(super) compares: Vec<Compare>,
    pub(super) then: Vec<TxnOp>,
}

impl Semaphore {
    /// Checks the groups that this one is to come after; what the write compares, and writes into their policies: a group that
    /// proves images for others has a time between waves. With `force` it does not matter that some agents say nothing.
    ///
    /// # Errors
    /// When etcd cannot be reached or refuses, or [`AfterFault`].
    pub(super) async fn upstream(
        &self,
        after: &[Group],
        by: &str,
        force: bool,
    ) -> Result<Upstream, Error> {
        let own = self.keys.group();
        let mut policies: BTreeMap<Group, (Policy, Option<Stored>)> = BTreeMap::new();
        let mut ask: BTreeSet<Group> = after.iter().cloned().collect();
        while !ask.is_empty() {
            if policies.len() + ask.len() > MOST {
                return Err(AfterFault::TooMany(own.as_str().to_owned()).into());
            }
            for (group, stored) in self.policies_of(&ask).await? {
                let parsed = stored.as_ref().map(|stored| Policy::parse(&stored.value));
                let policy = match parsed.transpose() {
                    Ok(policy) => policy.unwrap_or_default(),
                    Err(_) if group == *own => Policy::default(),
                    Err(_) => {
                        return Err(AfterFault::Unknown(group.as_str().to_owned()).into());
                    }
                };
                policies.insert(group, (policy, stored));
            }
            let named = policies.values().flat_map(|(policy, _)| &policy.after);
            ask = named
                .filter(|group| !policies.contains_key(*group))
                .cloned()
                .collect();
        }
        let known = policies
            .iter()
            .map(|(group, (policy, _))| (group.as_str().to_owned(), policy.after.clone()));
        let before = upstream(after, &known.collect());
        if before.contains(own.as_str()) {
            return Err(AfterFault::Circle {
                own: own.as_str().to_owned(),
                through: before
                    .into_iter()
                    .filter(|group| group != own.as_str())
                    .collect(),
            }
            .into());
        }
        self.have_members(after, force).await?;
        let mut found = Upstream::default();
        for (group, (policy, stored)) in policies {
            let key = self.keys.of_group(group.clone()).policy();
            if !after.contains(&group) {
                // It is not written: that nobody has written it since is enough.
                let modified = stored.map_or(0, |stored| stored.modified);
                let unchanged = Compare::mod_revision(key, CompareOp::Equal, modified);
                found.compares.push(unchanged);
                continue;
            }
            found.compares.extend(as_read(&key, stored.as_ref()));
            if policy.wave_soak.is_none() {
                let opens = Policy {
                    wave_soak: Some(std::time::Duration::ZERO),
                    by: by.to_owned(),
                    since: Some(Timestamp::now()),
                    ..policy
                };
                found.then.push(TxnOp::put(key, json(&opens), None));
            }
        }
        Ok(found)
    }

    /// The policies of these groups as they stand.
    async fn policies_of(
        &self,
        groups: &BTreeSet<Group>,
    ) -> Result<Vec<(Group, Option<Stored>)>, Error> {
        let keys = |group: &Group| self.keys.of_group(group.clone());
        let gets = groups
            .iter()
            .map(|group| TxnOp::get(keys(group).policy(), None));
        let asked = Txn::new().and_then(gets.collect::<Vec<_>>());
        let response = self
            .txn("reading the policies of the groups", asked)
            .await?;
        let answers = read::answers(&response);
        let stored = |kvs: &Vec<KeyValue>| kvs.first().map(Stored::from);
        Ok(groups
            .iter()
            .cloned()
            .zip(answers.iter().map(stored))
            .collect())
    }

    /// Each of these groups has members, and all nodes of theirs and of this one are members.
    async fn have_members(&self, after: &[Group], force: bool) -> Result<(), Error> {
        let all = GetOptions::new().with_prefix();
        let groups: Vec<Keys> = after
            .iter()
            .chain([self.keys.group()])
            .map(|group| self.keys.of_group(group.clone()))
            .collect();
        let mut gets = vec![TxnOp::get(self.keys.nodes(), Some(all.clone()))];
        let members = |keys: &Keys| TxnOp::get(keys.members(), Some(all.clone().with_keys_only()));
        gets.extend(groups.iter().map(members));
        let asked = Txn::new().and_then(gets);
        let response = self.txn("reading the members of the groups", asked).await?;
        let mut answers = read::answers(&response).into_iter();
        let nodes: Vec<NodeRecord> = read::readable(&answers.next().unwrap_or_default());
        let mut silent = Vec::new();
        for (keys, found) in groups.iter().zip(answers) {
            let name = keys.group().as_str();
            if found.is_empty() && keys.group() != self.keys.group() {
                return Err(AfterFault::Empty(name.to_owned()).into());
            }
            let members: BTreeSet<String> = found
                .iter()
                .map(|kv| read::after(&keys.members(), kv))
                .collect();
            let says_nothing =
                |node: &&NodeRecord| node.group == name && !members.contains(&node.id);
            silent.extend(
                nodes
                    .iter()
                    .filter(says_nothing)
                    .map(|node| match &*node.hostname {
                        "" => node.id.clone(),
                        host => host.to_owned(),
                    }),
            );
        }
        match silent.is_empty() || force {
            true => Ok(()),
            false => Err(AfterFault::Silent(silent).into()),
        }
    }
}
