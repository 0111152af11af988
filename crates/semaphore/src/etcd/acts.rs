//! What people do is written down, each act in its own transaction. An agent writes none.

use etcd_client::{
    Compare, GetOptions, SortOrder, SortTarget, Txn, TxnOp, TxnOpResponse, TxnResponse,
};
use jiff::Timestamp;

use super::{Error, Semaphore, json, read};
use crate::{
    acts::{self, Act, KEPT, Person},
    records::new_nonce,
};

/// How many of the oldest acts an act deletes at most.
const AT_ONCE: i64 = 32;

/// What an act is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum About {
    /// The group.
    Group,
    /// The whole cluster.
    Cluster,
}

/// An act that is about to be done. All its tries write it under the same key: a lost reply makes no second one of it.
pub(super) struct Acting {
    /// Its key and value, and where all acts are; none where no person acts.
    note: Option<(String, String, String)>,
}

impl Acting {
    /// Nobody's, which is not written.
    pub(super) fn nobodys() -> Self {
        Self { note: None }
    }

    /// What its transaction does besides.
    pub(super) fn ops(&self) -> impl Iterator<Item = TxnOp> {
        self.put().into_iter().chain(self.list())
    }

    /// What writes it.
    pub(super) fn put(&self) -> Option<TxnOp> {
        let (key, value, _) = self.note.as_ref()?;
        Some(TxnOp::put(key.clone(), value.clone(), None))
    }

    /// What finds the oldest acts, and how many there are, for [`Semaphore::acted`].
    pub(super) fn list(&self) -> Option<TxnOp> {
        let (_, _, all) = self.note.as_ref()?;
        // Not by their keys: the clock of who wrote them may have been wrong.
        let oldest = in_order().with_keys_only().with_limit(AT_ONCE);
        Some(TxnOp::get(all.clone(), Some(oldest)))
    }
}

/// All acts, the oldest first.
fn in_order() -> GetOptions {
    GetOptions::new()
        .with_prefix()
        .with_sort(SortTarget::Create, SortOrder::Ascend)
}

impl Semaphore {
    /// The same for a person: what is done by it is written down in etcd.
    #[must_use]
    pub fn by(self, person: Person) -> Self {
        Self {
            person: Some(person),
            ..self
        }
    }

    /// Begins an act. `act` is the command, `target` what it is done to, and `reason` the one that it carries itself: without
    /// it the person's counts.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub(super) fn act(
        &self,
        doing: &'static str,
        act: &str,
        about: About,
        target: String,
        reason: &str,
    ) -> Result<Acting, Error> {
        let Some(person) = &self.person else {
            return Ok(Acting::nobodys());
        };
        let random = new_nonce().map_err(|error| Error::Machine { doing, error })?;
        let since = Timestamp::now();
        let group = self.keys.group().as_str();
        let value = Act {
            act: act.to_owned(),
            group: (about == About::Group).then(|| group.to_owned()),
            target,
            by: person.name.clone(),
            host: person.host.clone(),
            reason: match reason {
                "" => person.reason.clone(),
                reason => reason.to_owned(),
            },
            since: Some(since),
            unknown: serde_json::Map::new(),
        };
        let key = self.keys.act(&acts::key(since, &random[..16]));
        Ok(Acting {
            note: Some((key, json(&value), self.keys.acts())),
        })
    }

    /// One transaction that does an act and writes it down, if all this holds; whether it did.
    ///
    /// # Errors
    /// As [`Self::txn`].
    pub(super) async fn do_act(
        &self,
        doing: &'static str,
        compares: Vec<Compare>,
        mut then: Vec<TxnOp>,
        act: &Acting,
    ) -> Result<bool, Error> {
        then.extend(act.ops());
        let txn = Txn::new().when(compares).and_then(then);
        let response = self.txn(doing, txn).await?;
        if response.succeeded() {
            self.acted(&response).await;
        }
        Ok(response.succeeded())
    }

    /// After an act whose transaction succeeded: deletes the oldest acts, where there are more than are kept. What is left
    /// over where that fails goes with the next act.
    pub(super) async fn acted(&self, response: &TxnResponse) {
        if self.person.is_none() {
            return;
        }
        let listed = response.op_responses().into_iter().rev();
        let listed = listed.filter_map(|op| match op {
            TxnOpResponse::Get(get) => Some(get),
            _ => None,
        });
        let acts = self.keys.acts();
        let Some(oldest) = listed.into_iter().find(|get| {
            get.kvs()
                .first()
                .is_some_and(|kv| kv.key().starts_with(acts.as_bytes()))
        }) else {
            return;
        };
        let there = usize::try_from(oldest.count()).unwrap_or_default();
        let too_many = oldest.kvs().iter().take(there.saturating_sub(KEPT));
        let deletes: Vec<TxnOp> = too_many.map(|kv| TxnOp::delete(kv.key(), None)).collect();
        if deletes.is_empty() {
            return;
        }
        let txn = Txn::new().and_then(deletes);
        if let Err(error) = self.connection.call_txn("deleting old acts", txn).await {
            tracing::debug!("{error}");
        }
    }

    /// What people did, the latest last.
    ///
    /// # Errors
    /// When etcd cannot be reached or refuses.
    pub async fn acts(&self) -> Result<Vec<Act>, Error> {
        let get = TxnOp::get(self.keys.acts(), Some(in_order()));
        let response = self
            .txn("reading what people did", Txn::new().and_then(vec![get]))
            .await?;
        let found: Vec<_> = read::answers(&response).into_iter().flatten().collect();
        Ok(read::readable(&found))
    }
}
