//! What the server answers under which path.

use std::{net::IpAddr, time::Duration};

use axum::{
    Extension, Router,
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::{HeaderValue, Method, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use tokio::time::timeout;

use super::{
    protocol::{Call, Client, HEADER, LONGEST_BODY, Problem, check_header, client},
    worker::{Asked, Desk},
};

/// Where a request came from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) Option<IpAddr>);

/// What the answers need.
#[derive(Clone)]
struct Parts {
    desk: Desk,
    /// The most until a body has come.
    wait: Duration,
}

/// The paths. `wait` is the most until a body has come.
pub(super) fn router(desk: Desk, wait: Duration) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/api/v1/status", get(status))
        .method_not_allowed_fallback(async |request: Request| {
            answer(
                &Problem::method(request.method().as_str(), "GET"),
                "GET, HEAD",
            )
        })
        .fallback(fleet_lock)
        .with_state(Parts { desk, wait })
}

/// Answers what `status --json --all-groups` prints of the cluster; 503 with what is left of it where etcd is away.
async fn status(State(Parts { desk, .. }): State<Parts>) -> Response {
    let (code, body) = match desk.status().await {
        Some(Ok(json)) => (StatusCode::OK, json),
        Some(Err(json)) => (StatusCode::SERVICE_UNAVAILABLE, json),
        None => (StatusCode::SERVICE_UNAVAILABLE, Bytes::new()),
    };
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (code, headers, body).into_response()
}

/// Answers a call of FleetLock, under whatever base.
async fn fleet_lock(
    State(Parts { desk, wait }): State<Parts>,
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
