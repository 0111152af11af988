//! The end of a group that nobody uses.

use etcd_client::{Compare, CompareOp, DeleteOptions, Txn, TxnOp};

use super::{Error, Group, RACES, Semaphore, acts::About, read, stand_back, unchanged};

impl Semaphore {
    /// Deletes the group's document, its policy, its pause, and what is left of members, deadlines and lost nodes; false where there was no document. Nothing is
    /// deleted unless `unused` says of the group as it was read that nobody uses it: who takes the semaphore meanwhile changes
    /// the document, and it is read again.
    ///
    /// # Errors
    /// When etcd cannot be reached or refuses, and what `unused` says against it.
    pub async fn remove_group<E: From<Error>>(
        &self,
        unused: impl Fn(&Group) -> Result<(), E>,
    ) -> Result<bool, E> {
        const DOING: &str = "removing the group";
        let keys = &self.keys;
        let act = self.act(DOING, "set-max --remove", About::Group, String::new(), "")?;
        for tries in 0..RACES {
            let get = Txn::new().and_then(vec![TxnOp::get(keys.semaphore(), None)]);
            let response = self.connection.txn(DOING, get).await?;
            let read_at = response.header().map_or(0, |header| header.revision());
            let found = read::answers(&response).into_iter().flatten().next();
            let Some(document) = found else {
                return Ok(false);
            };
            // Read after it: what comes between changes the document.
            unused(&self.read().await?)?;
            let below = || Some(DeleteOptions::new().with_prefix());
            let mut compares = unchanged(keys.semaphore(), &(&document).into());
            // A node that joins meanwhile changes no document.
            let members = Compare::mod_revision(keys.members(), CompareOp::Less, read_at + 1);
            compares.push(members.with_prefix());
            let then = vec![
                TxnOp::delete(keys.semaphore(), None),
                TxnOp::delete(keys.policy(), None),
                TxnOp::delete(keys.members(), below()),
                TxnOp::delete(keys.pause(), None),
                TxnOp::delete(keys.deadlines(), below()),
                TxnOp::delete(keys.expiries(), below()),
                TxnOp::delete(keys.lost_nodes(), below()),
            ];
            if self.do_act(DOING, compares, then, &act).await? {
                return Ok(true);
            }
            stand_back(tries).await;
        }
        Err(Error::Contended {
            doing: DOING,
            tries: RACES,
        }
        .into())
    }
}
