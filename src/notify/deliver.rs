//! One notification on its way: to a program's standard input, or to a URL.

use std::{path::Path, process::Stdio, time::Duration};

use host::{
    http::{Http, HttpError, Limits},
    text,
};
use settings::{BodyFormat, Receiver, ReceiverKind};
use tokio::{io::AsyncWriteExt as _, process::Command, time::timeout};

use super::Notification;

/// The most that a receiver may take.
const LIMIT: Duration = Duration::from_secs(30);

/// The most of an answer that is read.
const ANSWER: usize = 64 * 1024;

/// Why a notification was not taken.
#[derive(Debug)]
pub(super) struct Refused {
    /// Why, a sentence.
    pub(super) why: String,
    /// Whether another try may help.
    pub(super) again: bool,
}

/// Delivers it.
pub(super) async fn deliver(receiver: &Receiver, told: &Notification) -> Result<(), Refused> {
    match &receiver.to {
        ReceiverKind::Command(path) => run(path, told).await,
        ReceiverKind::Webhook { url, format } => post(url, *format, told).await,
    }
}

async fn run(path: &Path, told: &Notification) -> Result<(), Refused> {
    let failed = |why: String| Refused { why, again: true };
    let body = serde_json::to_vec(told).expect("texts and numbers always serialize");
    let mut child = Command::new(path)
        .env("POINTSMAN_EVENT", &told.event)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(format!("it cannot be run: {error}")))?;
    let mut input = child.stdin.take();
    let runs = async {
        if let Some(input) = &mut input {
            // One that does not read it may succeed all the same.
            let _ = input.write_all(&body).await;
        }
        drop(input);
        child.wait().await
    };
    match timeout(LIMIT, runs).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(failed(format!("it ended with {status}"))),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed(format!("it has not ended within {LIMIT:?}"))),
    }
}

async fn post(url: &str, format: BodyFormat, told: &Notification) -> Result<(), Refused> {
    let body = match format {
        BodyFormat::Json => serde_json::to_value(told),
        BodyFormat::Slack => Ok(serde_json::json!({ "text": told.text })),
    };
    let body = body
        .expect("texts and numbers always serialize")
        .to_string();
    // Without the URL, which may be as good as a password.
    let refused = |error: HttpError| {
        let why = match &error {
            HttpError::NoAnswer { reason, .. } | HttpError::Tls(reason) => reason.clone(),
            HttpError::Large { most, .. } => format!("the answer has more than {most} bytes"),
        };
        Refused {
            why: text::one_line(&why).into_owned(),
            again: true,
        }
    };
    let http = Http::new(None, &Limits::one(LIMIT, ANSWER)).map_err(refused)?;
    let answer = http.post_json(url, body).await.map_err(refused)?;
    match answer.status {
        200..=299 => Ok(()),
        status => Err(Refused {
            why: format!("the answer is {status}"),
            // What is wrong with this request stays wrong with it.
            again: !(400..500).contains(&status) || matches!(status, 401 | 403 | 404 | 408 | 429),
        }),
    }
}
