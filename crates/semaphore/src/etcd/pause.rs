//! What people stop: pause and resume.

use etcd_client::{PutOptions, Txn, TxnOp};

use super::{
    Error, RACES, Semaphore, acts::About, json, read, stand_back, store::as_read, unchanged,
};
use crate::{records::Pause, stored::Stored};

/// How a `pause` ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Paused {
    /// Paused; and the pause that was replaced.
    Done(Option<Pause>),
    /// Somebody else has paused, and it stays as it was.
    ByAnother(Pause),
}

/// How a `resume` ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Resumed {
    /// There is no pause any more; the one there was.
    Done(Option<Pause>),
    /// An agent found that etcd is not the one it was: only accepting the store ends that pause.
    Store(Pause),
}

impl Semaphore {
    /// Stops all takes and commits: of the whole cluster (`all`) or the group; for `seconds`, or until
    /// [`Semaphore::resume`]. A pause by the same person is replaced, one by another only where `replace` says so.
    ///
    /// # Errors
    /// When etcd cannot be reached or refuses.
    pub async fn pause(
        &self,
        all: bool,
        pause: &Pause,
        seconds: Option<u64>,
        replace: bool,
    ) -> Result<Paused, Error> {
        const DOING: &str = "pausing";
        let mut options = None;
        let (key, about) = self.pause_key(all);
        let command = if all { "pause --all" } else { "pause" };
        let target = pause.until.map(|until| format!("until {until:.0}"));
        let act = self.act(
            DOING,
            command,
            about,
            target.unwrap_or_default(),
            &pause.reason,
        )?;
        for tries in 0..RACES {
            let get = TxnOp::get(key.clone(), None);
            let response = self.txn(DOING, Txn::new().and_then(vec![get])).await?;
            let answers = read::answers(&response);
            let there = answers[0].first();
            let before = there.map(read::pause);
            let stopped = |before: &Pause| before.store.is_some();
            if let Some(before) = &before
                && (stopped(before) || (before.by != pause.by && !replace))
            {
                return Ok(Paused::ByAnother(before.clone()));
            }
            // Not before it is of use: nobody would end a lease that holds nothing.
            if let (Some(seconds), None) = (seconds, &options) {
                let lease = self.grant(DOING, seconds).await?;
                options = Some(PutOptions::new().with_lease(lease));
            }
            let read = there.map(Stored::from);
            let same = as_read(&key, read.as_ref());
            let put = TxnOp::put(key.clone(), json(pause), options.clone());
            if self.do_act(DOING, same, vec![put], &act).await? {
                return Ok(Paused::Done(before));
            }
            stand_back(tries).await;
        }
        Err(Error::Contended {
            doing: DOING,
            tries: RACES,
        })
    }

    /// Ends a pause, unless only accepting the store does.
    ///
    /// # Errors
    /// When etcd cannot be reached or refuses.
    pub async fn resume(&self, all: bool) -> Result<Resumed, Error> {
        const DOING: &str = "resuming";
        let (key, about) = self.pause_key(all);
        let command = if all { "resume --all" } else { "resume" };
        let act = self.act(DOING, command, about, String::new(), "")?;
        let mut tried = None;
        for tries in 0..RACES {
            let get = TxnOp::get(key.clone(), None);
            let response = self.txn(DOING, Txn::new().and_then(vec![get])).await?;
            let answers = read::answers(&response);
            let Some(there) = answers[0].first() else {
                // After a try, it is gone because of that try or of somebody who did the same.
                return Ok(Resumed::Done(tried));
            };
            let pause = read::pause(there);
            if pause.store.is_some() {
                return Ok(Resumed::Store(pause));
            }
            let same = unchanged(key.clone(), &Stored::from(there));
            let then = vec![TxnOp::delete(key.clone(), None)];
            if self.do_act(DOING, same, then, &act).await? {
                return Ok(Resumed::Done(Some(pause)));
            }
            tried = Some(pause);
            stand_back(tries).await;
        }
        Err(Error::Contended {
            doing: DOING,
            tries: RACES,
        })
    }

    fn pause_key(&self, all: bool) -> (String, About) {
        if all {
            (self.keys.pause_all(), About::Cluster)
        } else {
            (self.keys.pause(), About::Group)
        }
    }
}
