//! The places of clients that only poll (FleetLock).

use etcd_client::{GetOptions, SortOrder, SortTarget, TxnOp};
use host::{
    fleet_lock,
    node::{Group, is_machine_id},
};
use windows::Windows;

use super::{
    Error, RACES, Semaphore, absent, gates, hold::Held, read, stand_back, store::as_read, unchanged,
};
use crate::{
    gates::{Gates, Gateway, Moment, Passenger},
    policy::percentage_in,
    poller::{Decision, Poller, PollerTaken, Sight, decide, key_id, may_release},
    records::{Holder, NodeRecord, Ticket, new_nonce},
};

/// How many holders are read, to be named where there is no place.
const NAMED: i64 = 100;

/// What is read for one client.
struct Seen {
    held: Held,
    gates: Gates,
    holders: Vec<Holder>,
    first: Option<Ticket>,
    percentage: Option<(u32, u64)>,
    policy: Option<Vec<u8>>,
}

impl Seen {
    fn sight<'a>(&'a self, id: &'a str, group: &'a Group) -> Sight<'a> {
        Sight {
            id,
            group,
            document: self.held.document.as_ref().map(|(document, _)| document),
            entry: self.held.entry.as_ref().map(|(entry, _)| entry),
            holders: &self.holders,
            first: self.first.as_ref(),
            gates: &self.gates,
            policy: self.policy.as_deref(),
            percentage: self.percentage,
        }
    }
}

impl Semaphore {
    /// Takes a place for a client that polls, at once or not at all; nothing is done where it has one.
    ///
    /// One transaction puts the place. It compares what it was decided on: the document, the entry under the client's id, that
    /// nobody is in the queue, and the pauses and the policy.
    ///
    /// # Errors
    /// When etcd cannot be reached (the place may then have been taken, and asking again tells), refuses, or is not the one it was.
    pub async fn take_for_poller(&self, poller: &Poller) -> Result<PollerTaken, Error> {
        const DOING: &str = "taking the reboot lock for a client of FleetLock";
        self.trust_accepted().await?;
        let keys = &self.keys;
        let id = key_id(&poller.client);
        let moment = Moment {
            own: Windows::default().on_node(&id),
            usual: None,
            now: poller.now.clone(),
        };
        // It names no image, and is counted as no member of etcd.
        let gateway = Gateway::to_take(
            keys,
            Passenger {
                to: None,
                member: false,
                new: None,
                moment: Some(&moment),
                runs: None,
            },
            &[],
        );
        let mut holder = None;
        for tries in 0..RACES {
            let seen = self.seen_by_poller(DOING, &id, &gateway).await?;
            let document = match decide(seen.sight(&id, keys.group())) {
                Decision::Held => return Ok(PollerTaken::Taken),
                Decision::Refuse(refusal) => return Ok(PollerTaken::Refused(refusal)),
                Decision::Take(document) => document,
            };
            let holder = match &mut holder {
                Some(holder) => holder,
                none => {
                    // The answers so far do not tell a store that was restored and has overtaken the one before.
                    self.probe().await?;
                    none.insert(self.poller_entry(DOING, poller).await?)
                }
            };
            let Held {
                document: read,
                entry,
                revision,
                ..
            } = &seen.held;
            let left_over = entry.as_ref().map(|(_, stored)| stored);
            let mut compares = as_read(&keys.holder(&id), left_over);
            compares.push(absent(keys.queue()).with_prefix());
            compares.extend(gates::unchanged(&seen.gates, *revision));
            compares.extend(as_read(
                &keys.semaphore(),
                read.as_ref().map(|(_, stored)| stored),
            ));
            let leases = self.deadline_leases(DOING, holder).await?;
            let puts = self.holder_puts(holder, &document, leases);
            let txn = etcd_client::Txn::new().when(compares).and_then(puts);
            if self.txn(DOING, txn).await?.succeeded() {
                return Ok(PollerTaken::Taken);
            }
            stand_back(tries).await;
        }
        Err(Error::Contended {
            doing: DOING,
            tries: RACES,
        })
    }

    /// Releases the place of a client that polls. Where it has none nothing is done; what an agent, a person or another tool
    /// holds under its id is left alone.
    ///
    /// # Errors
    /// When etcd cannot be reached (the place may then have been released, and asking again tells), refuses, or is not the one it
    /// was; when the client has a place and the document cannot be used.
    pub async fn release_for_poller(&self, client: &str) -> Result<(), Error> {
        const DOING: &str = "releasing the reboot lock for a client of FleetLock";
        self.trust_accepted().await?;
        let keys = &self.keys;
        let id = key_id(client);
        for tries in 0..RACES {
            let held = self.held(DOING, &id, vec![self.get_store()]).await?;
            self.note_token(held.more.first().and_then(|found| found.first()));
            let Some((entry, stored)) = &held.entry else {
                return Ok(());
            };
            if !may_release(Some(entry)) {
                return Ok(());
            }
            let compares = unchanged(keys.holder(&id), stored);
            let (compares, then) = self.removal(&id, &entry.nonce, &held, compares)?;
            let txn = etcd_client::Txn::new().when(compares).and_then(then);
            if self.txn(DOING, txn).await?.succeeded() {
                return Ok(());
            }
            stand_back(tries).await;
        }
        Err(Error::Contended {
            doing: DOING,
            tries: RACES,
        })
    }

    /// Remembers by which marks etcd is known again, before anything is taken in it.
    ///
    /// # Errors
    /// When etcd cannot be asked, or is not the one it was.
    pub async fn remember_store(&self) -> Result<(), Error> {
        self.probe().await
    }

    fn get_store(&self) -> TxnOp {
        TxnOp::get(self.keys.store(), None)
    }

    async fn seen_by_poller(
        &self,
        doing: &'static str,
        id: &str,
        gateway: &Gateway,
    ) -> Result<Seen, Error> {
        let keys = &self.keys;
        let first = GetOptions::new()
            .with_prefix()
            .with_sort(SortTarget::Create, SortOrder::Ascend)
            .with_limit(1);
        let some = GetOptions::new().with_prefix().with_limit(NAMED);
        let mut asked = vec![
            self.get_store(),
            TxnOp::get(keys.queue(), Some(first)),
            TxnOp::get(keys.holders(), Some(some)),
        ];
        asked.extend(gates::gets(gateway));
        asked.push(read::count(keys.members()));
        let mut held = self.held(doing, id, asked).await?;
        let mut answers = std::mem::take(&mut held.more).into_iter();
        let mut next = || answers.next().unwrap_or_default();
        let (store, queue, holders) = (next(), next(), next());
        self.note_token(store.first());
        let gates = gates::read(gateway, answers, store.first());
        let policy = gates.found(&keys.policy());
        let policy = policy.map(|found| found.stored.value.clone());
        let percent = policy.as_deref().and_then(percentage_in);
        let beginning = keys.holders();
        // By the ids of their keys: the values may say anything.
        let holder = |kv: &etcd_client::KeyValue| Holder {
            id: read::after(&beginning, kv),
            ..read::holder(kv).0
        };
        Ok(Seen {
            percentage: percent.map(|percent| (percent, held.counted)),
            holders: holders.iter().map(holder).collect(),
            first: queue.first().map(read::ticket),
            policy,
            gates,
            held,
        })
    }

    /// The entry of a client that polls.
    async fn poller_entry(&self, doing: &'static str, poller: &Poller) -> Result<Holder, Error> {
        let nonce = new_nonce().map_err(|error| Error::Machine { doing, error })?;
        let hostname = self.host_of_client(doing, &poller.client).await?;
        Ok(poller.entry(nonce, hostname))
    }

    /// The host name of a client, where some node has said something of itself whose machine id gives the client's id; else
    /// empty. Only a take asks this: the entry has the name from then on.
    async fn host_of_client(&self, doing: &'static str, client: &str) -> Result<String, Error> {
        let keys = &self.keys;
        if !is_machine_id(client) {
            return Ok(String::new());
        }
        let ids = GetOptions::new().with_prefix().with_keys_only();
        let ops = vec![TxnOp::get(keys.nodes(), Some(ids))];
        let response = self
            .txn(doing, etcd_client::Txn::new().and_then(ops))
            .await?;
        let nodes = read::answers(&response).into_iter().flatten();
        let prefix = keys.nodes();
        let mut ids = nodes.map(|kv| read::after(&prefix, &kv));
        let is_client =
            |id: &String| id == client || fleet_lock::client_id(id).as_deref() == Some(client);
        let Some(id) = ids.find(is_client) else {
            return Ok(String::new());
        };
        let ops = vec![TxnOp::get(keys.node(&id), None)];
        let response = self
            .txn(doing, etcd_client::Txn::new().and_then(ops))
            .await?;
        let found: Vec<_> = read::answers(&response).into_iter().flatten().collect();
        let records = read::readable::<NodeRecord>(&found);
        Ok(records
            .into_iter()
            .next()
            .map(|node| node.hostname)
            .unwrap_or_default())
    }

    /// Continues with a store that is not the one it was, where a person has accepted it since. Who serves others does not stop the
    /// cluster for a sign: the agents do.
    async fn trust_accepted(&self) -> Result<(), Error> {
        if self.memory().sign().is_none() {
            return Ok(());
        }
        let looked = self.look_at_store(self.get_store()).await?;
        self.go_on_with(&looked);
        Ok(())
    }
}
