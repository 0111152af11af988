//! Files whose content is fetched.

use std::{borrow::Cow, time::Duration};

use host::http::{Http, Limits, Method, Url, shown};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::sleep,
};

use super::{
    entry::{TreeEntry, TreePath, sha256},
    error::ApplyError,
    tree::Tree,
};
use crate::{
    LARGEST, content,
    plan::{NewContent, NewFile, Step},
    problem::Problem,
    sources::{RetrySchedule, Unavailable},
};

/// The limits for one file. Like a document, it may come through a proxy or by redirects.
const LIMITS: Limits = Limits {
    connect: Duration::from_secs(10),
    idle: Duration::from_secs(30),
    total: Duration::from_secs(300),
    most: LARGEST as usize,
    redirects: 5,
    proxies: true,
};

/// Fetches the contents of all files. An unavailable server is asked again, as for documents, for as long as `wait` says.
///
/// # Errors
/// With each source that cannot be fetched, or has the wrong content.
pub(super) async fn all<'s>(
    tree: &Tree,
    steps: &'s [Step],
    wait: Option<Duration>,
) -> Result<Cow<'s, [Step]>, ApplyError> {
    let elsewhere = |step: &Step| matches!(step, Step::File(file) if matches!(file.content, NewContent::Fetch { .. }));
    if !steps.iter().any(elsewhere) {
        return Ok(Cow::Borrowed(steps));
    }
    let steps = fetched(tree, steps, wait);
    if wait.is_none() {
        return steps.await.map(Cow::Owned);
    }
    // Nothing is done yet. SIGTERM ends the wait: at boot systemd sends it at the unit's TimeoutStartSec=.
    let mut told = signal(SignalKind::terminate())
        .map_err(|error| ApplyError::Refused(vec![Problem::said("SIGTERM", error)]))?;
    tokio::select! {
        steps = steps => steps.map(Cow::Owned),
        _ = told.recv() => Err(ApplyError::Terminated),
    }
}

async fn fetched(
    tree: &Tree,
    steps: &[Step],
    wait: Option<Duration>,
) -> Result<Vec<Step>, ApplyError> {
    let http = Http::new(None, &LIMITS)
        .map_err(|error| ApplyError::Refused(vec![Unavailable::from(error).problem]))?;
    let (mut steps, mut refused) = (steps.to_vec(), Vec::new());
    for step in &mut steps {
        // After one failure nothing is waited for: the others are asked only to report all failures.
        let wait = if refused.is_empty() {
            wait
        } else {
            Some(Duration::ZERO)
        };
        if let Step::File(file) = step
            && let Err(problem) = one(&http, tree, file, RetrySchedule::new(wait)).await
        {
            refused.push(Problem::said(&file.path, problem));
        }
    }
    if refused.is_empty() {
        Ok(steps)
    } else {
        Err(ApplyError::Refused(refused))
    }
}

async fn one(
    http: &Http,
    tree: &Tree,
    file: &mut NewFile,
    schedule: RetrySchedule,
) -> Result<(), Problem> {
    let NewContent::Fetch {
        url,
        sha256: wanted,
        append,
        encoding,
    } = &file.content
    else {
        return Ok(());
    };
    // A file that has the right content is not fetched, so that a node boots without that server.
    let plain = !*append && encoding.as_deref().unwrap_or_default().is_empty();
    if let (true, Some(wanted)) = (plain, wanted) {
        let place = TreePath::from(file.path.as_str());
        let there = tree.look(&place);
        if matches!(there, Ok(TreeEntry::File(there)) if there.sha256 == *wanted)
            && let Ok(Some(bytes)) = tree.read_at(&place, LARGEST)
        {
            file.content = NewContent::Bytes(bytes);
            return Ok(());
        }
    }
    let name = url
        .parse::<Url>()
        .map_or_else(|_| url.clone(), |url| shown(&url));
    let body = body(http, url, &name, schedule).await?;
    let found = sha256(&body);
    if let Some(wanted) = wanted.as_ref().filter(|wanted| **wanted != found) {
        return Err(Problem::found(format!("content with the SHA-256 {found}"))
            .of(name)
            .expected(wanted));
    }
    let bytes =
        content::unpack(body, encoding.as_deref()).map_err(|error| Problem::said(name, error))?;
    file.content = if *append {
        NewContent::Append(bytes)
    } else {
        NewContent::Bytes(bytes)
    };
    Ok(())
}

/// Fetches a URL, which is shown to people under this name.
async fn body(
    http: &Http,
    url: &str,
    name: &str,
    mut schedule: RetrySchedule,
) -> Result<Vec<u8>, Problem> {
    loop {
        let unavailable = match http.ask(Method::GET, url, &[]).await {
            Ok(answer) if answer.status == 200 => return Ok(answer.body),
            Ok(answer) => Unavailable::answer(name, &answer),
            Err(error) => error.into(),
        };
        let Some(pause) = schedule.again(unavailable.retry) else {
            return Err(unavailable.problem);
        };
        tracing::debug!("{unavailable}; it is asked again");
        sleep(pause).await;
    }
}
