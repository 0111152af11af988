//! The opening of waves in etcd: by whoever sees that it is due, or by a person.

use etcd_client::{Compare, CompareOp, GetOptions, KeyValue, PutOptions, Txn, TxnOp};
use jiff::Timestamp;

use super::{
    Error, RACES, Semaphore, absent, acts::About, json, read, stand_back, store::as_read, unchanged,
};
use crate::{
    keys::Keys,
    policy::Policy,
    stored::Stored,
    waves::{Wave, too_old},
};

impl Semaphore {
    /// Opens an image to the groups that come after the group with these keys, where that is due: all its members have proven
    /// the image, its policy says how long they wait then, and nobody has opened it. Whether it was opened now. Anybody may
    /// run this at any time: where it is not due, etcd answers from one compare and nothing is read.
    ///
    /// # Errors
    /// When etcd cannot be reached or refuses.
    pub async fn open_wave(
        &self,
        keys: &Keys,
        digest: &str,
        version: Option<&str>,
    ) -> Result<bool, Error> {
        const DOING: &str = "opening a wave";
        // What no member has proven is nobody's to open; and where there are none, etcd's compare over the range is false.
        if digest.is_empty() {
            return Ok(false);
        }
        let due = || {
            let all = Compare::value(keys.members(), CompareOp::Equal, digest).with_prefix();
            vec![all, absent(keys.wave(digest))]
        };
        for tries in 0..RACES {
            let asked = Txn::new().when(due()).and_then(vec![
                TxnOp::get(keys.policy(), None),
                TxnOp::get(keys.store(), None),
                waves(keys),
            ]);
            let response = self.txn(DOING, asked).await?;
            if !response.succeeded() {
                return Ok(false);
            }
            let answers = read::answers(&response);
            let Some(policy) = answers[0].first() else {
                return Ok(false);
            };
            let Some(soak) = Policy::parse(policy.value()).ok().and_then(|p| p.wave_soak) else {
                return Ok(false);
            };
            let accepted = answers[1].first();
            let mut compares = due();
            compares.extend(unchanged(keys.policy(), &Stored::from(policy)));
            compares.extend(as_read(&keys.store(), accepted.map(Stored::from).as_ref()));
            let mut otherwise = Vec::new();
            if let Some(accepted) = accepted {
                // What was said before a person accepted the store may be long past.
                let since = accepted.mod_revision();
                let newer = Compare::mod_revision(keys.members(), CompareOp::Greater, since);
                compares.push(newer.with_prefix());
                let old = GetOptions::new()
                    .with_prefix()
                    .with_keys_only()
                    .with_max_mod_revision(since)
                    .with_limit(1);
                otherwise.push(TxnOp::get(keys.members(), Some(old)));
            }
            let wave = Wave {
                version: version.map(str::to_owned),
                since: Some(Timestamp::now()),
                ..Wave::default()
            };
            let mut then = opening(keys, digest, &wave, &answers[2]);
            let seconds = soak.as_secs() + u64::from(soak.subsec_nanos() > 0);
            if seconds > 0 {
                let lease = self.grant(DOING, seconds).await?;
                let options = PutOptions::new().with_lease(lease);
                then.push(TxnOp::put(keys.wave_soak(digest), "", Some(options)));
            }
            let txn = Txn::new().when(compares).and_then(then).or_else(otherwise);
            let response = self.txn(DOING, txn).await?;
            if response.succeeded() {
                let group = keys.group().as_str();
                tracing::info!(
                    group,
                    "all members have proven {digest}: it is open to the groups after this one"
                );
                return Ok(true);
            }
            if read::answers(&response).iter().any(|old| !old.is_empty()) {
                return Ok(false);
            }
            stand_back(tries).await;
        }
        Err(Error::Contended {
            doing: DOING,
            tries: RACES,
        })
    }

    /// Opens the wave of the image that the members of the group have proven, where all have proven the same.
    ///
    /// # Errors
    /// As [`Self::open_wave`].
    pub async fn open_due_wave(&self, keys: &Keys) -> Result<bool, Error> {
        let one = GetOptions::new().with_prefix().with_limit(1);
        let asked = Txn::new().and_then(vec![TxnOp::get(keys.members(), Some(one))]);
        let response = self.txn("opening a wave", asked).await?;
        let answers = read::answers(&response);
        match answers[0].first() {
            Some(member) => {
                let digest = read::text(member.value());
                self.open_wave(keys, &digest, None).await
            }
            None => Ok(false),
        }
    }

    /// Opens an image to the groups that come after this one, whoever has proven it, and at once: a person's act.
    ///
    /// # Errors
    /// When etcd cannot be reached or refuses.
    pub async fn open_wave_by_hand(&self, digest: &str, wave: &Wave) -> Result<(), Error> {
        const DOING: &str = "opening a wave";
        let keys = &self.keys;
        let image = wave.version.as_deref().unwrap_or(digest);
        let act = self.act(
            DOING,
            "waves open",
            About::Group,
            image.to_owned(),
            &wave.reason,
        )?;
        let asked = Txn::new().and_then(vec![waves(keys)]);
        let response = self.txn(DOING, asked).await?;
        let standing = read::answers(&response).remove(0);
        let mut then = opening(keys, digest, wave, &standing);
        then.push(TxnOp::delete(keys.wave_soak(digest), None));
        self.do_act(DOING, Vec::new(), then, &act).await?;
        Ok(())
    }

    /// After a change that may have made a wave due: opens it. That it cannot be is only logged, since others see to it as well.
    pub(super) async fn see_to_waves(&self, digest: Option<&str>, version: Option<&str>) {
        let opened = match digest {
            Some(digest) => self.open_wave(&self.keys, digest, version).await,
            None => self.open_due_wave(&self.keys).await,
        };
        if let Err(error) = opened {
            tracing::warn!("whether a wave is due is not known: {error}");
        }
    }
}

/// The waves that stand, without their values.
fn waves(keys: &Keys) -> TxnOp {
    let only_keys = GetOptions::new().with_prefix().with_keys_only();
    TxnOp::get(keys.waves(), Some(only_keys))
}

/// The put of a wave, and the end of those that are too old, where these stand.
fn opening(keys: &Keys, digest: &str, wave: &Wave, standing: &[KeyValue]) -> Vec<TxnOp> {
    let others = standing.iter().filter_map(|kv| {
        let other = read::after(&keys.waves(), kv);
        (other != digest).then(|| (other, kv.mod_revision()))
    });
    let old = too_old(&others.collect::<Vec<_>>());
    let mut then = vec![TxnOp::put(keys.wave(digest), json(wave), None)];
    for old in old {
        then.push(TxnOp::delete(keys.wave(&old), None));
        then.push(TxnOp::delete(keys.wave_soak(&old), None));
    }
    then
}

/// Whether a policy has its group open waves.
pub(super) fn opens_waves(policy: Option<&KeyValue>) -> bool {
    let policy = policy.and_then(|kv| Policy::parse(kv.value()).ok());
    policy.and_then(|policy| policy.wave_soak).is_some()
}
