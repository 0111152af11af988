//! The first of a simulated queue passes over a holder that does not come back.

use std::time::Duration;

use semaphore::{
    document::Document,
    etcd::Claim,
    lost::{self, Decision, Entry as HolderEntry, Keeps, PassOver, Sight},
    policy::lost_in,
    queue::View,
    records::LostNode,
    stored::Found,
};

use super::{
    bugs::Bug,
    flight::Flight,
    node::Node,
    queue::{json, parse},
    release::quarantine,
    store::{Compare, Store, Write, unchanged},
};

impl Node {
    /// What passes over a holder that does not come back, where the policy lets the first of the queue do that.
    pub(super) fn pass_over(
        &self,
        claim: &Claim,
        view: &View,
        document: &Document,
        policy: &[u8],
        store: &Store,
    ) -> Option<Flight> {
        let (keys, id) = (&self.keys, self.id());
        let entry = |found: Found| {
            let id = found.key.strip_prefix(&keys.holders())?.to_owned();
            Some(HolderEntry {
                holder: serde_json::from_slice(&found.stored.value).ok()?,
                expired: store.get(&keys.expiry(&id)).is_none(),
                stored: found.stored,
                id,
            })
        };
        let holders: Vec<HolderEntry> = store
            .below(&keys.holders())
            .into_iter()
            .filter_map(entry)
            .collect();
        let decision = lost::decide(Sight {
            document,
            holders: &holders,
            lost: match store.bug {
                Some(Bug::LostNotCounted) => 0,
                _ => store.below(&keys.lost_nodes()).len() as u64,
            },
            policy: lost_in(policy)?,
            keeps: Keeps::default(),
        });
        let Decision::PassOver(PassOver { entry, suspect }) = decision else {
            return None;
        };
        let read = view.document.as_ref().map(|(_, read)| read.clone());
        let mut compares = vec![
            Compare::Created(keys.ticket(id), view.ticket?),
            Compare::AsRead(keys.expiry(&entry.id), None),
            Compare::NoneSince(keys.lost_nodes(), store.revision),
            Compare::AsRead(keys.semaphore(), read.clone()),
            Compare::AsRead(keys.holder(&entry.id), Some(entry.stored.clone())),
        ];
        compares.extend(unchanged(&view.gates, view.read_at));
        let digest = suspect.as_ref().and_then(|image| image.digest.clone());
        let proven = digest.as_ref().is_some_and(|digest| {
            let all = store.below(&keys.groups());
            all.iter()
                .any(|found| found.stored.value == digest.as_bytes())
        });
        let bad = suspect.filter(|_| !proven);
        if let (Some(_), Some(digest)) = (&bad, digest) {
            compares.push(Compare::NoneIs(keys.groups(), digest));
        }
        let now = jiff::Timestamp::UNIX_EPOCH + Duration::from_millis(store.now);
        let record = LostNode {
            hostname: entry.holder.hostname.clone(),
            since: Some(now),
            to: entry.holder.to.clone(),
            quarantined: bad.is_some(),
        };
        let document = parse(&read?).without(&entry.id);
        let mut writes = vec![
            Write::Put(keys.semaphore(), document.to_json(), None),
            Write::Delete(keys.holder(&entry.id)),
            Write::Delete(keys.deadline(&entry.id)),
            Write::Put(keys.lost_node(&entry.id), json(&record), None),
        ];
        let bad = bad.map(|image| lost::quarantine(image, &entry, &claim.holder.hostname, now));
        writes.extend(bad.iter().flat_map(|bad| quarantine(store, keys, bad)));
        Some(Flight::new(compares, writes))
    }
}
