//! Leases: under a ticket, and under a holder's deadline.

use std::time::Duration;

use etcd_client::{Client, LeaseGrantResponse};
use tokio::time::{Instant, sleep_until};

use super::{Claim, Error, Semaphore};
use crate::records::Holder;

/// The lease under a ticket. It is not revoked when the ticket is gone: it ends by itself, without a request.
pub(super) struct TicketLease {
    id: i64,
    renew: Instant,
    /// A third of its length, so that two renewals may fail.
    every: Duration,
}

impl TicketLease {
    /// One just granted, of this length.
    pub(super) fn new(id: i64, seconds: u64) -> Self {
        let every = Duration::from_secs(seconds) / 3;
        Self {
            id,
            renew: Instant::now() + every,
            every,
        }
    }
}

/// A deadline's lease granted before the take, so that no hand-over waits for it. It is longer than the deadline by
/// the ticket's lease, and renewed with the ticket: while it is [fresh](Self::is_fresh) a take on it makes the
/// deadline end late by that much at most, and never early.
pub(super) struct SpareLease {
    pub(super) id: i64,
    /// When it was last asked for; it counts from then at the earliest.
    since: Instant,
    more: Duration,
}

impl SpareLease {
    /// One for this claim's deadline; none where it names none.
    pub(super) async fn grant(semaphore: &Semaphore, claim: &Claim) -> Result<Option<Self>, Error> {
        let Some(deadline) = claim.holder.deadline else {
            return Ok(None);
        };
        let since = Instant::now();
        let seconds = deadline.saturating_add(claim.ticket_lease);
        let id = semaphore.grant("waiting as the first", seconds).await?;
        let more = Duration::from_secs(claim.ticket_lease);
        Ok(Some(Self { id, since, more }))
    }

    /// Whether the whole deadline is left of it at a take that comes through `within` this time from `now`.
    pub(super) fn is_fresh(&self, now: Instant, within: Duration) -> bool {
        now + within <= self.since + self.more
    }
}

impl Semaphore {
    pub(super) async fn grant(&self, doing: &'static str, seconds: u64) -> Result<i64, Error> {
        let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
        let granted: LeaseGrantResponse = self
            .connection
            .etcd()
            .call(doing, async |mut client: Client| {
                client.lease_grant(seconds, None).await
            })
            .await?;
        Ok(granted.id())
    }

    /// A new lease for the deadline of this holder; none where it names none.
    pub(super) async fn deadline_lease(
        &self,
        doing: &'static str,
        holder: &Holder,
    ) -> Result<Option<i64>, Error> {
        match holder.deadline {
            Some(seconds) => self.grant(doing, seconds).await.map(Some),
            None => Ok(None),
        }
    }

    /// Whether the lease was there to be renewed.
    async fn renew(&self, id: i64) -> Result<bool, Error> {
        let renewed = self
            .connection
            .etcd()
            .call(
                "keeping the ticket",
                async |mut client: Client| match client.lease_keep_alive(id).await {
                    Ok(_) => Ok(true),
                    Err(etcd_client::Error::LeaseKeepAliveError(_)) => Ok(false),
                    Err(error) => Err(error),
                },
            )
            .await;
        Ok(renewed?)
    }
}

/// Renews the ticket's lease, for as long as it can be, and the spare one with it: returns when the ticket's is gone.
/// Waits for ever where there is none.
pub(super) async fn keep_alive(
    semaphore: &Semaphore,
    lease: Option<&mut TicketLease>,
    spare: &mut Option<SpareLease>,
) -> Result<(), Error> {
    let Some(lease) = lease else {
        return std::future::pending().await;
    };
    loop {
        sleep_until(lease.renew).await;
        // The spare one first. The take compares the ticket, so also on a machine that was suspended, whose clock
        // stood still meanwhile, it succeeds only where both were renewed no longer ago than the ticket lives.
        if let Some(kept) = spare {
            let since = Instant::now();
            if semaphore.renew(kept.id).await? {
                kept.since = since;
            } else {
                *spare = None;
            }
        }
        if !semaphore.renew(lease.id).await? {
            return Ok(());
        }
        lease.renew = Instant::now() + lease.every;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spare_lease_is_used_only_while_the_whole_deadline_is_left_of_it() {
        let since = Instant::now();
        let spare = SpareLease {
            id: 1,
            since,
            more: Duration::from_secs(60),
        };
        let request = Duration::from_secs(5);
        for (age, fresh) in [(0, true), (55, true), (56, false), (3600, false)] {
            let now = since + Duration::from_secs(age);
            assert_eq!(spare.is_fresh(now, request), fresh, "{age}");
        }
    }
}
