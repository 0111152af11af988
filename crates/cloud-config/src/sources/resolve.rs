//! All sources are asked at once, and the first in order that is there is taken.
//!
//! A source before it holds nothing up once it has said that it is not there: who names a drive and a service takes
//! whichever the machine has. A source that may appear is asked again, less and less often, for as long as is waited.

use std::{fmt, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::time::sleep;

use super::{Absent, Fetched, Found, Hope, Options, Patience, Source, Ways};

/// No source gave anything.
#[derive(Debug, thiserror::Error)]
pub struct NoneThere {
    /// Each source in order, as people name it, and why.
    pub reasons: Vec<(String, Absent)>,
}

impl NoneThere {
    /// Whether nothing is wrong: the machine has none of the things that were named.
    #[must_use]
    pub fn none_here(&self) -> bool {
        self.reasons.iter().all(|(_, absent)| absent.none_here)
    }
}

impl NoneThere {
    /// Whether each source may be there another time: nothing is wrong with what was named.
    #[must_use]
    pub fn may_return(&self) -> bool {
        let may = |absent: &Absent| absent.none_here || absent.hope != Hope::Never;
        self.reasons.iter().all(|(_, absent)| may(absent))
    }
}

impl fmt::Display for NoneThere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = |name: &str, absent: &Absent| {
            // Most reasons name the file or URL already.
            match absent.reason.starts_with(name) {
                true => absent.reason.clone(),
                false => format!("{name}: {}", absent.reason),
            }
        };
        match self.reasons.as_slice() {
            [(name, absent)] => f.write_str(&said(name, absent)),
            reasons => {
                f.write_str("none of the sources is there:")?;
                reasons
                    .iter()
                    .try_for_each(|(name, absent)| write!(f, "\n  {}", said(name, absent)))
            }
        }
    }
}

/// Asks all sources, and takes the first in order that is there.
///
/// A source is given up when it can never appear, and else when it has not within [`Options::wait`]: what was asked
/// before then is waited for, as long as [`Options::limits`] let it take.
///
/// # Errors
/// With every source's reason, when none is there.
pub async fn resolve(sources: &[Source], options: &Options<'_>) -> Result<Fetched, NoneThere> {
    let none = |reasons: Vec<Option<Absent>>| NoneThere {
        reasons: reasons
            .into_iter()
            .zip(sources)
            .map(|(absent, source)| {
                let absent = absent.unwrap_or_else(|| Absent::never("not asked"));
                (source.to_string(), absent)
            })
            .collect(),
    };
    let ways = Ways::new(options);
    let asked = async |index: usize, pause: Duration, patience: Patience| {
        sleep(pause).await;
        tracing::debug!("{}: asked", sources[index]);
        let answer = ways.ask(&sources[index]).await;
        (index, answer, patience)
    };
    let mut asking: FuturesUnordered<_> = (0..sources.len())
        .map(|index| asked(index, Duration::ZERO, Patience::new(options.wait)))
        .collect();
    let mut there: Vec<Option<Found>> = sources.iter().map(|_| None).collect();
    let mut reasons: Vec<Option<Absent>> = vec![None; sources.len()];
    while let Some((index, answer, mut patience)) = asking.next().await {
        match answer {
            Ok(found) => {
                let more = match found.is_partial {
                    true => patience.again(Hope::Later),
                    false => None,
                };
                match more {
                    Some(pause) => asking.push(asked(index, pause, patience)),
                    None => there[index] = Some(found),
                }
            }
            Err(absent) => {
                if let Some(pause) = patience.again(absent.hope) {
                    tracing::debug!("{}: {absent}; asked again", sources[index]);
                    asking.push(asked(index, pause, patience));
                }
                reasons[index] = Some(absent);
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
