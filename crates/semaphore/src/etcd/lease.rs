//! Leases: under a ticket, and under a holder's deadline and grace.

use std::time::Duration;

use etcd_client::{Client, LeaseGrantResponse, PutOptions, TxnOp};
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

/// The leases of a holder.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct HoldLeases {
    /// Under its deadline; none where it names none.
    deadline: Option<i64>,
    /// Under its grace, which begins at the deadline; none where it has none.
    grace: Option<i64>,
}

/// The leases of a holder, granted before the take, so that no hand-over waits for them. They are longer than asked for by
/// the ticket's lease, and renewed with the ticket: while it is [fresh](Self::is_fresh) a take on it makes the
/// deadline end late by that much at most, and never early.
pub(super) struct SpareLease {
    pub(super) leases: HoldLeases,
    /// For which grace, in seconds.
    grace: Option<u64>,
    /// When it was last asked for; it counts from then at the earliest.
    since: Instant,
    more: Duration,
}

impl SpareLease {
    /// One for this claim's deadline and this grace; none where it names no deadline.
    pub(super) async fn grant(
        semaphore: &Semaphore,
        claim: &Claim,
        grace: Option<u64>,
    ) -> Result<Option<Self>, Error> {
        let Some(deadline) = claim.holder.deadline else {
            return Ok(None);
        };
        let since = Instant::now();
        let deadline = deadline.saturating_add(claim.ticket_lease);
        let leases = semaphore.leases("waiting as the first", deadline, grace);
        let leases = leases.await?;
        let more = Duration::from_secs(claim.ticket_lease);
        Ok(Some(Self {
            leases,
            grace,
            since,
            more,
        }))
    }

    /// Whether it is for this grace.
    pub(super) fn is_for(&self, grace: Option<u64>) -> bool {
        self.grace == grace
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

    /// New leases for the deadline and the grace of this holder; none where it names no deadline.
    pub(super) async fn deadline_leases(
        &self,
        doing: &'static str,
        holder: &Holder,
    ) -> Result<HoldLeases, Error> {
        match holder.deadline {
            Some(deadline) => self.leases(doing, deadline, holder.grace).await,
            None => Ok(HoldLeases::default()),
        }
    }

    async fn leases(
        &self,
        doing: &'static str,
        deadline: u64,
        grace: Option<u64>,
    ) -> Result<HoldLeases, Error> {
        let until = grace.map(|grace| deadline.saturating_add(grace));
        Ok(HoldLeases {
            deadline: Some(self.grant(doing, deadline).await?),
            grace: match until {
                Some(seconds) => Some(self.grant(doing, seconds).await?),
                None => None,
            },
        })
    }

    /// The puts of a holder's deadline, and of its grace with it: whoever puts the one puts both, each on a new lease. So a
    /// holder whose deadline is put again has its whole grace again.
    pub(super) fn deadline_puts(&self, holder: &Holder, leases: HoldLeases) -> Vec<TxnOp> {
        let keys = &self.keys;
        let on = |lease| Some(PutOptions::new().with_lease(lease));
        let deadline = holder.deadline.zip(leases.deadline);
        let deadline = deadline.map(|(seconds, lease)| {
            TxnOp::put(keys.deadline(&holder.id), seconds.to_string(), on(lease))
        });
        let grace = leases
            .grace
            .map(|lease| TxnOp::put(keys.expiry(&holder.id), "", on(lease)));
        deadline.into_iter().chain(grace).collect()
    }

    /// What is left of a lease, to the second; none where it has ended.
    ///
    /// # Errors
    /// When etcd cannot be reached or refuses.
    pub async fn time_left(&self, lease: i64) -> Result<Option<Duration>, Error> {
        let left = self
            .connection
            .etcd()
            .call("asking for a lease", async |mut client: Client| {
                client.lease_time_to_live(lease, None).await
            })
            .await?;
        Ok(u64::try_from(left.ttl()).ok().map(Duration::from_secs))
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
            let HoldLeases { deadline, grace } = kept.leases;
            let mut stands = true;
            for lease in [deadline, grace].into_iter().flatten() {
                stands = stands && semaphore.renew(lease).await?;
            }
            if stands {
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
            leases: HoldLeases::default(),
            grace: None,
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
