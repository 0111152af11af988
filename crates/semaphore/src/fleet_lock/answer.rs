//! What a node asks of a FleetLock server, and what its answers mean. Pure.

use std::time::Duration;

use host::{
    http::{Cause, Distrust},
    text,
};
use serde::{Deserialize, Serialize};

/// The header that every call has, and its value.
pub(super) const HEADER: (&str, &str) = ("fleet-lock-protocol", "true");

/// The most characters of a kind that are shown.
const LONGEST_KIND: usize = 64;

/// The most characters of a reason that are shown.
const LONGEST_REASON: usize = 500;

/// The kinds of `pointsman serve` that do not pass by themselves (docs/reference/fleet-lock.md).
const NEED_A_PERSON: [&str; 4] = [
    "needs_agent",
    "policy_unusable",
    "semaphore_missing",
    "semaphore_unusable",
];

/// A place at a FleetLock server, asked for or held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The server's base URL, with a slash at its end.
    pub url: String,
    /// The id under which the node asks.
    pub id: String,
    /// The group there; `default` for the group without a name.
    pub group: String,
}

/// A call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// Take a place; of who has one nothing changes.
    PreReboot,
    /// Release it; of who has none nothing changes.
    SteadyState,
}

impl Call {
    /// Both.
    pub const ALL: [Self; 2] = [Self::PreReboot, Self::SteadyState];

    fn path(self) -> &'static str {
        match self {
            Self::PreReboot => "v1/pre-reboot",
            Self::SteadyState => "v1/steady-state",
        }
    }

    /// Its name in the protocol.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::PreReboot => "pre-reboot",
            Self::SteadyState => "steady-state",
        }
    }

    /// What its success means, for people.
    #[must_use]
    pub fn done(self) -> &'static str {
        match self {
            Self::PreReboot => "the node has a place, and may reboot",
            Self::SteadyState => "the node has no place any more",
        }
    }

    /// Where it is posted.
    #[must_use]
    pub fn url(self, place: &Place) -> String {
        let slash = if place.url.ends_with('/') { "" } else { "/" };
        format!("{}{slash}{}", place.url, self.path())
    }
}

#[derive(Serialize)]
struct Body<'a> {
    client_params: Params<'a>,
}

#[derive(Serialize)]
struct Params<'a> {
    id: &'a str,
    group: &'a str,
}

/// What is posted, in JSON.
#[must_use]
pub(super) fn body(place: &Place) -> String {
    let client_params = Params {
        id: &place.id,
        group: &place.group,
    };
    serde_json::to_string(&Body { client_params }).unwrap_or_default()
}

/// Why a call has not succeeded, as far as the answer says it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The server says no, and why.
    #[error("answered {status} {kind}{}", after_colon(value))]
    Said {
        /// The HTTP status.
        status: u16,
        /// Of which kind, one word.
        kind: String,
        /// Why, for people.
        value: String,
    },
    /// Another place is named. A call is not repeated there: it could become another one on the way.
    #[error("redirects to {to} ({status}), which is not followed{}", base_of(to))]
    Redirected {
        /// The HTTP status.
        status: u16,
        /// Where to.
        to: String,
    },
    /// There is no such server at the URL.
    #[error("answered 404: nothing is at {url}; fleet-lock.url is what stands before v1/")]
    NotFound {
        /// The URL that was called.
        url: String,
    },
    /// A status, and nothing that says why.
    #[error("answered {0} without a reason")]
    Status(u16),
    /// No answer came in time.
    #[error("does not answer: {reason}")]
    NoAnswer {
        /// Why, for people.
        reason: String,
        /// Of which kind that is; none where nothing was asked.
        cause: Option<Cause>,
    },
}

impl Refusal {
    /// This refusal; or the one before, where only the words differ: of a certificate that is not trusted the time now is said as
    /// well, and what is said again need not be logged again.
    #[must_use]
    pub fn or_same(self, before: Option<&Self>) -> Self {
        let distrust = |refusal: &Self| match refusal {
            Self::NoAnswer {
                cause: Some(Cause::Certificate(distrust)),
                ..
            } => Some(*distrust),
            _ => None,
        };
        match before {
            Some(before) if distrust(&self).is_some() && distrust(&self) == distrust(before) => {
                before.clone()
            }
            _ => self,
        }
    }

    /// Whether somebody should look at it: no FleetLock server has answered, or it does not take calls such as this one. A server
    /// that only says no, for now, is well.
    #[must_use]
    pub fn is_trouble(&self) -> bool {
        match self {
            Self::Said { status, kind, .. } => {
                matches!(status, 400 | 401 | 403 | 404 | 405 | 503)
                    || NEED_A_PERSON.contains(&kind.as_str())
            }
            Self::Redirected { .. }
            | Self::NotFound { .. }
            | Self::Status(_)
            | Self::NoAnswer { .. } => true,
        }
    }
}

fn after_colon(value: &str) -> String {
    match value {
        "" => String::new(),
        value => format!(": {value}"),
    }
}

/// What to set, where another place is named that looks like a FleetLock server.
fn base_of(to: &str) -> String {
    let mut calls = Call::ALL.iter();
    let base = calls.find_map(|call| to.strip_suffix(call.path()));
    base.map_or_else(String::new, |base| {
        format!("; if that is the server: fleet-lock.url {base}")
    })
}

/// The body of an answer that is no success.
#[derive(Deserialize)]
struct Problem {
    kind: String,
    #[serde(default)]
    value: String,
}

/// What an answer means: any status from 200 to 299 is a success, whatever the body says.
///
/// # Errors
/// When it is none: why.
pub(super) fn read(
    url: &str,
    status: u16,
    location: Option<&str>,
    body: &[u8],
) -> Result<(), Refusal> {
    let shown = |text: &str, most| text::one_line(&text::cut(text, most)).into_owned();
    match status {
        200..300 => return Ok(()),
        300..400 => {
            let to = location.unwrap_or("a place that it does not name");
            return Err(Refusal::Redirected {
                status,
                to: shown(to, LONGEST_REASON),
            });
        }
        _ => {}
    }
    Err(match (serde_json::from_slice::<Problem>(body), status) {
        (Ok(problem), _) if !problem.kind.is_empty() => Refusal::Said {
            status,
            kind: shown(&problem.kind, LONGEST_KIND),
            value: shown(&problem.value, LONGEST_REASON),
        },
        (_, 404) => Refusal::NotFound {
            url: shown(url, LONGEST_REASON),
        },
        _ => Refusal::Status(status),
    })
}

/// Which setting to look at, where no answer came for this reason; empty where that is not known. `url` is the one that was
/// called; `shows_certificate`: the node has one of its own.
#[must_use]
pub(super) fn hint(url: &str, shows_certificate: bool, reason: &str, cause: Cause) -> &'static str {
    let says = |texts: &[&str]| texts.iter().any(|text| reason.contains(text));
    match cause {
        Cause::Certificate(Distrust::Issuer | Distrust::Key) => {
            "; fleet-lock.cafile names who is trusted"
        }
        Cause::Certificate(_) => "",
        _ if says(&["CertificateRequired"]) && !shows_certificate => {
            "; the server wants a client certificate: fleet-lock.certfile and fleet-lock.keyfile"
        }
        _ if says(&["InvalidContentType", "tls handshake eof"]) && url.starts_with("https:") => {
            "; perhaps the server has no TLS: fleet-lock.url with http://"
        }
        _ if says(&[
            "connection closed before message completed",
            "invalid HTTP version",
        ]) && url.starts_with("http:") =>
        {
            "; perhaps the server wants TLS: fleet-lock.url with https://"
        }
        _ => "",
    }
}

/// How long a node waits until it asks again: `interval`, and up to a tenth more, so that nodes that were refused together do not
/// all come back together. `random` is any number.
#[must_use]
pub fn poll_wait(interval: Duration, random: u64) -> Duration {
    // Of a thousand steps, 0 to 100.
    let steps = u32::try_from(random % 101).unwrap_or_default();
    interval + interval / 1000 * steps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(url: &str) -> Place {
        Place {
            url: url.into(),
            id: "978a225b3d7b40e9acd7ce9b62f68444".into(),
            group: "default".into(),
        }
    }

    #[test]
    fn a_call_keeps_every_part_of_the_base_url() {
        for (base, url) in [
            ("http://h/", "http://h/v1/pre-reboot"),
            ("http://h", "http://h/v1/pre-reboot"),
            (
                "https://h:8/fleet/lock/",
                "https://h:8/fleet/lock/v1/pre-reboot",
            ),
            ("https://h/fleet", "https://h/fleet/v1/pre-reboot"),
        ] {
            assert_eq!(Call::PreReboot.url(&place(base)), url);
        }
        let url = Call::SteadyState.url(&place("http://h/"));
        assert_eq!(url, "http://h/v1/steady-state");
    }

    #[test]
    fn a_call_posts_id_and_group() {
        assert_eq!(
            body(&place("http://h/")),
            r#"{"client_params":{"id":"978a225b3d7b40e9acd7ce9b62f68444","group":"default"}}"#
        );
    }

    #[test]
    fn only_a_status_of_success_is_a_success() {
        for status in [200, 201, 202, 204, 299] {
            for body in [&b""[..], br#"{"kind":"failed_lock","value":"x"}"#, b"\xff{"] {
                assert_eq!(read("u", status, None, body), Ok(()), "{status}");
            }
        }
        for status in [
            100, 199, 300, 301, 302, 303, 304, 307, 308, 400, 404, 423, 500, 503, 599,
        ] {
            assert!(read("u", status, None, b"").is_err(), "{status}");
        }
    }

    #[test]
    fn every_refusal_has_a_sentence() {
        let long = "x".repeat(2000);
        let long = format!(r#"{{"kind":"{long}","value":"{long}"}}"#);
        for (status, location, body, says) in [
            (
                423,
                None,
                r#"{"kind":"semaphore_full","value":"the only place is taken by b"}"#,
                "answered 423 semaphore_full: the only place is taken by b",
            ),
            (
                500,
                None,
                r#"{"kind":"failed_lock","value":"all 1 semaphore slots currently locked"}"#,
                "answered 500 failed_lock: all 1 semaphore slots currently locked",
            ),
            (
                423,
                None,
                r#"{"kind":"lock_held"}"#,
                "answered 423 lock_held",
            ),
            (
                400,
                None,
                r#"{"kind":"a\u001b[2J","value":"b\nc"}"#,
                r"answered 400 a\u{1b}[2J: b\nc",
            ),
            (
                423,
                None,
                r#"{"kind":"semaphore_missing","value":"x"}"#,
                "answered 423 semaphore_missing: x",
            ),
            (
                503,
                None,
                r#"{"kind":"storage_unavailable"}"#,
                "answered 503 storage_unavailable",
            ),
            (500, None, "<html>", "answered 500 without a reason"),
            (
                500,
                None,
                r#"{"kind":"","value":"x"}"#,
                "answered 500 without a reason",
            ),
            (502, None, r#"{"kind":7}"#, "answered 502 without a reason"),
            (
                404,
                None,
                "404 page not found",
                "answered 404: nothing is at http://h/v1/pre-reboot; fleet-lock.url is what stands before v1/",
            ),
            (
                404,
                None,
                r#"{"kind":"not_found","value":"no such path"}"#,
                "answered 404 not_found: no such path",
            ),
            (
                301,
                Some("https://other/fleet/v1/pre-reboot"),
                "",
                "redirects to https://other/fleet/v1/pre-reboot (301), which is not followed; if that is the server: fleet-lock.url \
                 https://other/fleet/",
            ),
            (
                307,
                Some("https://login/\u{1b}"),
                "",
                r"redirects to https://login/\u{1b} (307), which is not followed",
            ),
            (
                302,
                None,
                "",
                "redirects to a place that it does not name (302), which is not followed",
            ),
        ] {
            let refusal = read("http://h/v1/pre-reboot", status, location, body.as_bytes());
            let refusal = refusal.unwrap_err();
            assert_eq!(refusal.to_string(), says);
            // Who is full, or has lost its store, says so.
            let says_no = matches!(&refusal, Refusal::Said { status, .. } if [423, 500].contains(status))
                && !says.contains("missing");
            assert_eq!(refusal.is_trouble(), !says_no, "{says}");
        }
        let bounded = read("u", 423, None, long.as_bytes())
            .unwrap_err()
            .to_string();
        assert!((500..700).contains(&bounded.len()), "{}", bounded.len());
    }

    #[test]
    fn other_words_for_the_same_are_the_same() {
        let lost = |reason: &str, cause| Refusal::NoAnswer {
            reason: reason.into(),
            cause,
        };
        let first = lost(
            "expired, and it is 1 o'clock",
            Some(Cause::Certificate(Distrust::Clock)),
        );
        let second = lost(
            "expired, and it is 2 o'clock",
            Some(Cause::Certificate(Distrust::Clock)),
        );
        assert_eq!(second.clone().or_same(Some(&first)), first);
        assert_eq!(second.clone().or_same(None), second);
        for other in [
            lost("x", Some(Cause::Connect)),
            lost("x", None),
            Refusal::Status(500),
        ] {
            assert_eq!(other.clone().or_same(Some(&first)), other);
            assert_eq!(first.clone().or_same(Some(&other)), first);
        }
    }

    #[test]
    fn the_wait_between_polls_has_up_to_a_tenth_more() {
        let interval = Duration::from_secs(300);
        let waits = |random| poll_wait(interval, random);
        assert_eq!(waits(0), interval);
        assert_eq!(waits(100), Duration::from_secs(330));
        for random in [1, 7, 50, 99, u64::MAX] {
            assert!((interval..=Duration::from_secs(330)).contains(&waits(random)));
        }
        assert_eq!(
            poll_wait(Duration::from_millis(10), 100),
            Duration::from_millis(11)
        );
    }
}
