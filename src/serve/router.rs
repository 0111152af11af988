//! What the server answers under which path.

use std::{convert::Infallible, net::IpAddr, time::Duration};

use axum::{
    Extension, Router,
    body::{Body, Bytes, to_bytes},
    extract::{RawQuery, Request, State},
    http::{HeaderValue, Method, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use futures_util::{StreamExt as _, stream};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use super::{
    feed::Form,
    protocol::{Call, Client, HEADER, LONGEST_BODY, Problem, check_header, client},
    worker::{Asked, Desk},
};
use crate::metrics::publish::CONTENT_TYPE;

/// Where a request came from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) Option<IpAddr>);

/// What the answers need.
#[derive(Clone)]
struct Parts {
    desk: Desk,
    /// The most until a body has come.
    wait: Duration,
    /// Becomes true when the server must end.
    ends: watch::Receiver<bool>,
}

/// The files of the page.
const CSS: &str = include_str!("assets/page.css");
const JS: &str = include_str!("assets/page.js");

/// What the page may do: load its own files and ask its own server. Nothing that stands in it is run.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'self'; \
                      base-uri 'none'; frame-ancestors 'none'";

/// How often those who follow are told that the connection stands.
const STILL_HERE: Duration = Duration::from_secs(15);

/// The paths. `wait` is the most until a body has come.
pub(super) fn router(desk: Desk, wait: Duration, ends: watch::Receiver<bool>) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/", get(page))
        .route(
            "/assets/page.css",
            get(async || asset("text/css; charset=utf-8", CSS)),
        )
        .route(
            "/assets/page.js",
            get(async || asset("text/javascript; charset=utf-8", JS)),
        )
        .route("/metrics", get(metrics))
        .route("/api/v1/status", get(status))
        .route("/api/v1/events", get(events))
        .method_not_allowed_fallback(async |request: Request| {
            answer(
                &Problem::method(request.method().as_str(), "GET"),
                "GET, HEAD",
            )
        })
        .fallback(fleet_lock)
        .with_state(Parts { desk, wait, ends })
}

fn code(away: bool) -> StatusCode {
    match away {
        false => StatusCode::OK,
        true => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// Answers what `status --json --all-groups` prints of the cluster; 503 with what is left of it where the store is away.
async fn status(State(Parts { desk, .. }): State<Parts>) -> Response {
    let (away, body) = desk.show(Form::Json).await;
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (code(away), headers, body).into_response()
}

/// Answers the page.
async fn page(State(Parts { desk, .. }): State<Parts>, RawQuery(query): RawQuery) -> Response {
    let (away, body) = desk.show(Form::Page(query.unwrap_or_default())).await;
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
    ];
    (code(away), headers, body).into_response()
}

/// Answers the metrics of the cluster, also where the store is away: they say so.
async fn metrics(State(Parts { desk, .. }): State<Parts>) -> Response {
    let (_, body) = desk.show(Form::Metrics).await;
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], body).into_response()
}

fn asset(kind: &'static str, content: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-cache"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, content).into_response()
}

/// Tells of changes as they happen (server-sent events): each is a number, and what there is then is asked for as ever.
async fn events(State(Parts { desk, ends, .. }): State<Parts>) -> Response {
    let begun = stream::once(async { Ok(Bytes::from_static(b"retry: 1000\n\n")) });
    let changes = stream::unfold((desk.follow(), ends), async |(mut heard, mut ends)| {
        let told = tokio::select! {
            changed = heard.changed() => {
                changed.ok()?;
                format!("data: {}\n\n", *heard.borrow_and_update())
            }
            () = sleep(STILL_HERE) => ": still here\n\n".to_owned(),
            _ = ends.wait_for(|ends| *ends) => return None,
        };
        Some((Ok::<_, Infallible>(Bytes::from(told)), (heard, ends)))
    });
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, Body::from_stream(begun.chain(changes))).into_response()
}

/// Answers a call of FleetLock, under whatever base.
async fn fleet_lock(
    State(Parts { desk, wait, .. }): State<Parts>,
    Extension(Peer(from)): Extension<Peer>,
    request: Request,
) -> Response {
    let Some(call) = Call::of_path(request.uri().path()) else {
        return answer(&Problem::not_found(request.uri().path()), "");
    };
    if request.method() != Method::POST {
        return answer(&Problem::method(request.method().as_str(), "POST"), "POST");
    }
    match read(request, wait).await {
        Ok(client) => {
            let asked = Asked { call, client, from };
            match Problem::of(desk.call(asked).await) {
                None => StatusCode::OK.into_response(),
                Some(problem) => answer(&problem, ""),
            }
        }
        Err(problem) => answer(&problem, ""),
    }
}

async fn read(request: Request, wait: Duration) -> Result<Client, Problem> {
    let values = request.headers().get_all(HEADER);
    check_header(values.iter().map(HeaderValue::as_bytes))?;
    let announced = request.headers().get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > LONGEST_BODY as u64) {
        return Err(Problem::too_large());
    }
    let body = to_bytes(request.into_body(), LONGEST_BODY);
    let body = timeout(wait, body).await.map_err(|_| {
        let limit = host::duration::print(wait);
        Problem::incomplete(&format!("it did not come within {limit}"))
    })?;
    let body = body.map_err(|error| {
        let mut causes = std::iter::successors(Some(&error as &dyn std::error::Error), |error| {
            error.source()
        });
        // The limit is the only error that is not the connection's.
        match causes.any(|error| error.to_string().contains("length limit")) {
            true => Problem::too_large(),
            false => Problem::incomplete(&host::text::with_causes(&error)),
        }
    })?;
    client(&body)
}

/// The answer that says what is wrong. `allow` are the methods that the path takes, where that is the matter.
fn answer(problem: &Problem, allow: &'static str) -> Response {
    let mut response = Response::new(Body::from(problem.to_json()));
    *response.status_mut() =
        StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    if !allow.is_empty() {
        headers.insert(header::ALLOW, HeaderValue::from_static(allow));
    }
    response
}
