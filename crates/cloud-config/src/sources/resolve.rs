//! All sources are asked at once, and the first available one in order is used.
//!
//! A source that answers that it is not available does not delay the others: with a drive and a service, the machine uses
//! the one that it has. A source that may appear is asked again, with growing pauses, for as long as the caller waits.

use std::{fmt, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::time::sleep;

use super::{Clients, Fetched, Found, Options, Retry, RetrySchedule, Source, Unavailable};
use crate::problem::Fault;

/// No source gave anything.
#[derive(Debug, thiserror::Error)]
pub struct NoSource {
    /// Each source in order, as people name it, and why.
    pub reasons: Vec<(String, Unavailable)>,
}

impl NoSource {
    /// Tells whether nothing is wrong: the machine has none of the sources.
    #[must_use]
    pub fn none_here(&self) -> bool {
        self.reasons
            .iter()
            .all(|(_, unavailable)| unavailable.none_here)
    }
}

impl NoSource {
    /// Tells whether each source may be available another time.
    #[must_use]
    pub fn may_return(&self) -> bool {
        let may =
            |unavailable: &Unavailable| unavailable.none_here || unavailable.retry != Retry::Never;
        self.reasons.iter().all(|(_, unavailable)| may(unavailable))
    }
}

impl fmt::Display for NoSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = |name: &str, unavailable: &Unavailable| {
            // Most problems name the file or URL already.
            let what = unavailable.problem.what.as_ref();
            match what.is_some_and(|what| what.starts_with(name)) {
                true => unavailable.to_string(),
                false => format!("{name}: {unavailable}"),
            }
        };
        match self.reasons.as_slice() {
            [(name, unavailable)] => f.write_str(&said(name, unavailable)),
            reasons => {
                f.write_str("none of the sources is available:")?;
                reasons.iter().try_for_each(|(name, unavailable)| {
                    write!(f, "\n  {}", said(name, unavailable))
                })
            }
        }
    }
}

/// Asks all sources, and uses the first available one in order.
///
/// A source is not asked again when it can never appear, or has not appeared within [`Options::wait`]. A request that was
/// sent before is waited for, within [`Options::limits`].
///
/// # Errors
/// With the problem of each source, when none is available.
pub async fn resolve(sources: &[Source], options: &Options<'_>) -> Result<Fetched, NoSource> {
    let none = |reasons: Vec<Option<Unavailable>>| NoSource {
        reasons: reasons
            .into_iter()
            .zip(sources)
            .map(|(unavailable, source)| {
                let unavailable = unavailable
                    .unwrap_or_else(|| Unavailable::never(Fault::Said("not asked".into())));
                (source.to_string(), unavailable)
            })
            .collect(),
    };
    let clients = Clients::new(options);
    let asked = async |index: usize, pause: Duration, schedule: RetrySchedule| {
        sleep(pause).await;
        tracing::debug!("{}: asked", sources[index]);
        let answer = clients.ask(&sources[index]).await;
        (index, answer, schedule)
    };
    let mut asking: FuturesUnordered<_> = (0..sources.len())
        .map(|index| asked(index, Duration::ZERO, RetrySchedule::new(options.wait)))
        .collect();
    let mut there: Vec<Option<Found>> = sources.iter().map(|_| None).collect();
    let mut reasons: Vec<Option<Unavailable>> = vec![None; sources.len()];
    while let Some((index, answer, mut schedule)) = asking.next().await {
        match answer {
            Ok(found) => {
                let more = match found.is_partial {
                    true => schedule.again(Retry::Later),
                    false => None,
                };
                match more {
                    Some(pause) => asking.push(asked(index, pause, schedule)),
                    None => there[index] = Some(found),
                }
            }
            Err(unavailable) => {
                if let Some(pause) = schedule.again(unavailable.retry) {
                    tracing::debug!("{}: {unavailable}; asked again", sources[index]);
                    asking.push(asked(index, pause, schedule));
                }
                reasons[index] = Some(unavailable);
            }
        }
        let first = there.iter().position(Option::is_some);
        let Some(first) = first.filter(|first| reasons[..*first].iter().all(Option::is_some))
        else {
            continue;
        };
        let Some(Found {
            user_data,
            metadata,
            ..
        }) = there.swap_remove(first)
        else {
            continue;
        };
        let size = user_data.len();
        tracing::debug!("{}: taken, {size} bytes of user data", sources[first]);
        reasons.truncate(first);
        return Ok(Fetched {
            user_data,
            metadata,
            origin: sources[first].to_string(),
            passed: none(reasons).reasons,
        });
    }
    Err(none(reasons))
}
