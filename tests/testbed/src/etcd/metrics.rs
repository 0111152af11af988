//! What the members were asked, by their own count.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Requests the whole cluster has served since it started; take two and subtract ([`Requests::since`]).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// Unary requests by method: `Range`, `Txn`, `Put`, `LeaseGrant`…
    pub unary: BTreeMap<String, u64>,
    /// Messages sent on watch streams: watches created and cancelled.
    pub watch: u64,
    /// Messages sent on keep-alive streams.
    pub keep_alive: u64,
}

impl Requests {
    /// All requests and stream messages together.
    pub fn total(&self) -> u64 {
        self.unary.values().sum::<u64>() + self.watch + self.keep_alive
    }

    /// Unary requests of one method.
    pub fn of(&self, method: &str) -> u64 {
        self.unary.get(method).copied().unwrap_or(0)
    }

    /// What came in between `before` and this. Methods that were not called are left out.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let unary = self
            .unary
            .iter()
            .map(|(m, n)| (m.clone(), n.saturating_sub(before.of(m))));
        Self {
            unary: unary.filter(|(_, n)| *n > 0).collect(),
            watch: self.watch.saturating_sub(before.watch),
            keep_alive: self.keep_alive.saturating_sub(before.keep_alive),
        }
    }

    /// Adds one member's metrics. A stream counts by its messages, not by its start: a watch can live for days.
    pub(super) fn add(&mut self, metrics: &BTreeMap<String, f64>) {
        for (series, value) in metrics {
            let label = |name| label(series, name).unwrap_or_default();
            // Counters are whole numbers far below 2^53.
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let count = *value as u64;
            if count == 0 {
                continue;
            }
            if series.starts_with("grpc_server_started_total{") && label("grpc_type") == "unary" {
                *self
                    .unary
                    .entry(label("grpc_method").to_owned())
                    .or_default() += count;
            } else if series.starts_with("grpc_server_msg_received_total{") {
                match label("grpc_method") {
                    "Watch" if label("grpc_type") == "bidi_stream" => self.watch += count,
                    "LeaseKeepAlive" => self.keep_alive += count,
                    _ => {}
                }
            }
        }
    }
}

/// The value of a label in `name{label="value",…}`.
fn label<'a>(series: &'a str, name: &str) -> Option<&'a str> {
    let labels = series.split_once('{')?.1.strip_suffix('}')?;
    labels
        .split(',')
        .find_map(|l| l.strip_prefix(name)?.strip_prefix("=\"")?.strip_suffix('"'))
}

/// Prometheus' text format: series with its labels as written, and value.
pub(super) fn parse(text: &str) -> BTreeMap<String, f64> {
    let samples = text.lines().filter(|l| !l.starts_with('#'));
    samples
        .filter_map(|l| l.rsplit_once(' '))
        .filter_map(|(k, v)| Some((k.to_owned(), v.parse().ok()?)))
        .collect()
}

/// Gets `/metrics` from `address` over plain HTTP. 1.0, so that the body comes in one piece.
pub(super) async fn fetch(address: SocketAddr) -> std::io::Result<BTreeMap<String, f64>> {
    let mut stream = TcpStream::connect(address).await?;
    stream
        .write_all(format!("GET /metrics HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes())
        .await?;
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).await?;
    let reply = String::from_utf8_lossy(&reply);
    match reply.split_once("\r\n\r\n") {
        Some((head, body)) if head.split(' ').nth(1) == Some("200") => Ok(parse(body)),
        _ => Err(std::io::Error::other(format!(
            "not metrics: {}",
            reply.lines().next().unwrap_or("empty reply")
        ))),
    }
}
