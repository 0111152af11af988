//! A group's policy in etcd: set and unset by a person.

use etcd_client::{GetOptions, KeyValue, Txn, TxnOp};
use jiff::Timestamp;

use super::{
    Error, RACES, Semaphore, acts::About, after::Upstream, json, read, stand_back, store::as_read,
};
use crate::{
    document::Document,
    policy::{Policy, PolicyChange, PolicyError},
    stored::Stored,
};

/// A group's policy, and what it acts on, as read at one revision.
#[derive(Debug, Clone, Default)]
pub struct PolicyState {
    /// The policy; none where the group has none.
    pub policy: Option<Result<Policy, PolicyError>>,
    /// The document, where there is one that can be read.
    pub document: Option<Document>,
    /// How many members the group has.
    pub members: u64,
}

/// What a change of a policy came to, or would come to.
#[derive(Debug, Clone)]
pub struct PolicySet {
    /// What stood there before.
    pub before: PolicyState,
    /// The policy as it is now; none where nothing is left of it.
    pub policy: Option<Policy>,
    /// The document as it is now; none where there is none.
    pub document: Option<Document>,
}

/// The stored values behind a [`PolicyState`].
struct Values {
    policy: Option<Stored>,
    document: Option<Stored>,
}

impl Semaphore {
    /// Reads the group's policy.
    ///
    /// # Errors
    /// When etcd cannot be reached or refuses.
    pub async fn policy(&self) -> Result<PolicyState, Error> {
        let (state, _) = self.read_policy("reading the policy").await?;
        Ok(state)
    }

    async fn read_policy(&self, doing: &'static str) -> Result<(PolicyState, Values), Error> {
        let keys = &self.keys;
        let gets = vec![
            TxnOp::get(keys.policy(), None),
            TxnOp::get(keys.semaphore(), None),
            read::count(keys.members()),
        ];
        let response = self.txn(doing, Txn::new().and_then(gets)).await?;
        let members = read::counted(&response);
        let mut answers = read::answers(&response).into_iter();
        let mut next = || answers.next()?.into_iter().next();
        let (policy, document) = (next(), next());
        let parsed = document.as_ref().map(|kv| Document::parse(kv.value()));
        let document_error = || parsed.clone().and_then(Result::err);
        if let Some(error) = document_error() {
            return Err(self.unusable(error));
        }
        let state = PolicyState {
            policy: policy.as_ref().map(|kv| Policy::parse(kv.value())),
            document: parsed.and_then(Result::ok),
            members,
        };
        let stored = |kv: Option<KeyValue>| kv.as_ref().map(Stored::from);
        let values = Values {
            policy: stored(policy),
            document: stored(document),
        };
        Ok((state, values))
    }

    /// Changes the group's policy, and with it the `max` of its document, in one step: who waits in the queue sees it at once.
    /// Where nothing is left of the policy it is deleted. With `dry`, nothing is written.
    ///
    /// # Errors
    /// When etcd cannot be reached or refuses, the document cannot be used, or the policy as a whole is at fault.
    pub async fn set_policy(
        &self,
        change: &PolicyChange,
        by: &str,
        dry: bool,
    ) -> Result<PolicySet, Error> {
        const DOING: &str = "writing the policy";
        let keys = &self.keys;
        let command = match change.unset.is_empty() {
            true => "policy set",
            false => "policy unset",
        };
        let act = self.act(DOING, command, About::Group, change.to_string(), "")?;
        for tries in 0..RACES {
            let (before, values) = self.read_policy(DOING).await?;
            let old = match &before.policy {
                Some(Ok(policy)) => policy.clone(),
                // Perhaps a newer program wrote it: what this one does not know would be lost.
                Some(Err(error)) if !change.replace => {
                    return Err(Error::UnusablePolicy(error.clone()));
                }
                Some(Err(_)) | None => Policy::default(),
            };
            let policy = old
                .with(change, by, Timestamp::now())
                .map_err(Error::Policy)?;
            let upstream = match &change.after {
                Some(after) => self.upstream(after, by, change.force).await?,
                None => Upstream::default(),
            };
            let document = before.document.as_ref().map(|document| {
                match (policy.max_percent, change.max_percent, old.max_percent) {
                    // A number that somebody wrote meanwhile stands until a person sets the percentage again.
                    (Some(_), None, Some(_)) => document.clone(),
                    (Some(percent), ..) => document.set_percentage(percent, before.members),
                    (None, ..) => document.without_percentage(),
                }
            });
            let document = document.or_else(|| {
                let percent = policy.max_percent?;
                Some(Document::new(1).set_percentage(percent, before.members))
            });
            let set = PolicySet {
                before,
                policy: (!policy.is_empty()).then_some(policy),
                document,
            };
            // Nothing is unset that is not set: who set it, and when, stays.
            let same = |policy: &Policy| Policy {
                by: old.by.clone(),
                since: old.since,
                ..policy.clone()
            };
            let nothing = !change.unset.is_empty()
                && set.policy.as_ref().map_or(Policy::default(), same) == old
                && set.document == set.before.document;
            if dry || nothing {
                return Ok(PolicySet {
                    policy: if nothing {
                        set.before.policy.clone().and_then(Result::ok)
                    } else {
                        set.policy
                    },
                    ..set
                });
            }
            let mut compares = as_read(&keys.policy(), values.policy.as_ref());
            compares.extend(upstream.compares);
            compares.extend(as_read(&keys.semaphore(), values.document.as_ref()));
            if values.document.is_none() {
                compares.push(super::absent(keys.holders()).with_prefix());
            }
            let mut then = vec![match &set.policy {
                Some(policy) => TxnOp::put(keys.policy(), json(policy), None),
                None => TxnOp::delete(keys.policy(), None),
            }];
            then.extend(upstream.then);
            then.extend(
                set.document
                    .iter()
                    .map(|document| TxnOp::put(keys.semaphore(), document.to_json(), None)),
            );
            then.extend(act.ops());
            let holders = GetOptions::new().with_prefix().with_keys_only();
            let txn = Txn::new().when(compares).and_then(then).or_else(vec![
                TxnOp::get(keys.semaphore(), None),
                TxnOp::get(keys.holders(), Some(holders)),
            ]);
            let response = self.txn(DOING, txn).await?;
            if response.succeeded() {
                self.acted(&response).await;
                if set
                    .policy
                    .as_ref()
                    .is_some_and(|policy| policy.wave_soak.is_some())
                {
                    self.see_to_waves(None, None).await;
                }
                for group in change.after.iter().flatten() {
                    // Its members may have proven one image long ago.
                    let before = self.keys.of_group(group.clone());
                    if let Err(error) = self.open_due_wave(&before).await {
                        tracing::warn!("whether a wave is due is not known: {error}");
                    }
                }
                return Ok(set);
            }
            self.missing(&read::answers(&response))?;
            stand_back(tries).await;
        }
        Err(Error::Contended {
            doing: DOING,
            tries: RACES,
        })
    }
}
