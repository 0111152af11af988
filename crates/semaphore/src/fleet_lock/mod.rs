//! A place at a FleetLock server, the HTTP protocol of Fedora CoreOS' update agent: the side that asks.

mod answer;

use std::{sync::Arc, time::Duration};

use host::{
    etcd::Tls,
    http::{Http, HttpError, Limits},
};
use tokio::sync::Mutex;

pub use answer::{Call, Place, Refusal, poll_wait};

/// The most bytes of an answer that are read.
const LONGEST_BODY: usize = 16 << 10;

/// The most until there is a connection.
const CONNECT: Duration = Duration::from_secs(10);

/// Makes calls, one at a time: a release never overtakes a take whose answer nobody waits for any more.
#[derive(Debug, Clone, Default)]
pub struct Caller {
    busy: Arc<Mutex<()>>,
}

impl Caller {
    /// Makes a call, of at most `timeout`. A redirect is not followed.
    ///
    /// Where the future is dropped, a call that was begun goes on to its end, and the next one waits for that. It must run within a
    /// `LocalSet`.
    ///
    /// # Errors
    /// When it has not succeeded, or that is not known. Repeated, a call changes nothing more.
    pub async fn call(
        &self,
        call: Call,
        place: &Place,
        tls: Option<Tls>,
        timeout: Duration,
    ) -> Result<(), Refusal> {
        let (busy, place) = (self.busy.clone(), place.clone());
        let turn = busy.lock_owned().await;
        let asked = tokio::task::spawn_local(async move {
            let answered = ask(call, &place, tls.as_ref(), timeout).await;
            drop(turn);
            answered
        });
        match asked.await {
            Ok(answered) => answered,
            Err(error) => Err(Refusal::NoAnswer {
                reason: error.to_string(),
                cause: None,
            }),
        }
    }
}

async fn ask(
    call: Call,
    place: &Place,
    tls: Option<&Tls>,
    timeout: Duration,
) -> Result<(), Refusal> {
    let limits = Limits {
        connect: timeout.min(CONNECT),
        ..Limits::one(timeout, LONGEST_BODY)
    };
    let url = call.url(place);
    let asked = async {
        let http = Http::new(tls, &limits)?;
        let body = answer::body(place);
        http.post_for_status(&url, &[answer::HEADER], body).await
    };
    let answer = asked.await.map_err(|error| match error {
        HttpError::NoAnswer { reason, cause, .. } => {
            let shows = tls.is_some_and(|tls| tls.identity.is_some());
            let hint = answer::hint(&url, shows, &reason, cause);
            Refusal::NoAnswer {
                reason: reason + hint,
                cause: Some(cause),
            }
        }
        other => Refusal::NoAnswer {
            reason: other.to_string(),
            cause: None,
        },
    })?;
    answer::read(
        &url,
        answer.status,
        answer.location.as_deref(),
        &answer.body,
    )
}
