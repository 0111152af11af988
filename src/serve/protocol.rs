//! FleetLock, the protocol by which nodes ask over HTTP for a place: what a request asks, and what is answered. Pure.
//!
//! The protocol is that of Fedora CoreOS' update agent, Zincati. A client asks `POST …/v1/pre-reboot` before it reboots, and
//! `POST …/v1/steady-state` once it is back.

use host::{node::Group, text};
use serde::{Deserialize, Serialize};

/// The header that every request must have, with the value `true`.
pub(super) const HEADER: &str = "fleet-lock-protocol";

/// The most bytes of a body.
pub(super) const LONGEST_BODY: usize = 64 << 10;

/// FleetLock's name of the group that has none here.
pub(super) const DEFAULT_GROUP: &str = "default";

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    /// A place, before the reboot.
    PreReboot,
    /// That the place be released.
    SteadyState,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Client {
    /// Its id, of any length and characters.
    pub(super) id: String,
    /// Its group.
    pub(super) group: Group,
}

/// What comes of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is done.
    Done,
    /// The client is refused.
    Refused {
        /// Of which kind, one of a list that docs/reference/fleet-lock.md has.
        kind: &'static str,
        /// Why, for people.
        value: String,
    },
    /// The store cannot be asked, so that nothing is known.
    Away {
        /// Of which kind.
        kind: &'static str,
        /// Why, for people.
        value: String,
    },
}

/// An answer that is not a success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Problem {
    /// The status code.
    #[serde(skip)]
    pub(super) status: u16,
    /// Of which kind, one of a list that docs/reference/fleet-lock.md has.
    pub(super) kind: &'static str,
    /// Why, for people.
    pub(super) value: String,
}

#[derive(Deserialize)]
struct Body {
    client_params: Params,
}

#[derive(Deserialize)]
struct Params {
    id: String,
    group: String,
}

impl Call {
    /// The call that a path names: whatever the base that the client was given, it ends in the same way. None for another path.
    #[must_use]
    pub(super) fn of_path(path: &str) -> Option<Self> {
        [
            ("/v1/pre-reboot", Self::PreReboot),
            ("/v1/steady-state", Self::SteadyState),
        ]
        .into_iter()
        .find_map(|(end, call)| path.ends_with(end).then_some(call))
    }
}

impl Problem {
    fn new(status: u16, kind: &'static str, value: impl Into<String>) -> Self {
        Self {
            status,
            kind,
            value: value.into(),
        }
    }

    /// There is nothing under this path.
    #[must_use]
    pub(super) fn not_found(path: &str) -> Self {
        let path = text::cut(path, 200);
        Self::new(
            404,
            "not_found",
            format!(
                "found the path {path:?}, expected /, /api/v1/status, /api/v1/events, /metrics, /healthz, or one that ends in \
                 /v1/pre-reboot or /v1/steady-state"
            ),
        )
    }

    /// The path is asked with another method than it takes.
    #[must_use]
    pub(super) fn method(found: &str, expected: &str) -> Self {
        let found = text::cut(found, 40);
        Self::new(
            405,
            "method_not_allowed",
            format!("found the method {found}, expected {expected}"),
        )
    }

    /// The body is longer than [`LONGEST_BODY`].
    #[must_use]
    pub(super) fn too_large() -> Self {
        Self::new(
            400,
            "body_too_large",
            format!("found a body of more than {LONGEST_BODY} bytes, expected at most that"),
        )
    }

    /// The body has not come as a whole.
    #[must_use]
    pub(super) fn incomplete(why: &str) -> Self {
        Self::new(
            400,
            "body_incomplete",
            format!("the body is not complete: {why}"),
        )
    }

    /// What is answered to a call that came to this; none where it is done.
    #[must_use]
    pub(super) fn of(verdict: Verdict) -> Option<Self> {
        match verdict {
            Verdict::Done => None,
            Verdict::Refused { kind, value } => Some(Self::new(423, kind, value)),
            Verdict::Away { kind, value } => Some(Self::new(503, kind, value)),
        }
    }

    /// The body of the answer.
    #[must_use]
    pub(super) fn to_json(&self) -> String {
        let shown = Self {
            // What others wrote must not act on the terminal of who reads it.
            value: text::one_line(&self.value).into_owned(),
            ..self.clone()
        };
        serde_json::to_string(&shown).expect("strings always serialize")
    }
}

/// Checks the values of [`HEADER`] that a request has.
///
/// # Errors
/// When it is not there, or is not `true`.
pub(super) fn check_header<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Result<(), Problem> {
    let mut values = values.into_iter();
    let found = match (values.next(), values.next()) {
        (Some(b"true"), None) => return Ok(()),
        (None, _) => "found no header".to_owned(),
        (Some(_), Some(_)) => "found several headers".to_owned(),
        (Some(value), None) => {
            let value = String::from_utf8_lossy(value);
            format!("found {:?} in the header", text::cut(&value, 40))
        }
    };
    Err(Problem::new(
        400,
        "missing_header",
        format!("{found} {HEADER}, expected the value true"),
    ))
}

/// Reads who asks.
///
/// # Errors
/// When the body is no such JSON, the id is empty, or the group is not one of FleetLock's.
pub(super) fn client(body: &[u8]) -> Result<Client, Problem> {
    let Body { client_params } = serde_json::from_slice(body).map_err(|error| {
        let expected = r#"{"client_params":{"id":"…","group":"…"}}"#;
        Problem::new(
            400,
            "decode_error",
            format!("the body cannot be read: {error}; expected {expected}"),
        )
    })?;
    let Params { id, group } = client_params;
    if id.is_empty() {
        return Err(Problem::new(
            400,
            "bad_id",
            "client_params.id: found an empty text, expected the id of a node",
        ));
    }
    let good = |b: u8| b.is_ascii_alphanumeric() || b == b'.' || b == b'-';
    let fits = !group.is_empty() && group.bytes().all(good);
    let own = match group.as_str() {
        DEFAULT_GROUP => Ok(Group::default()),
        name => Group::new(name),
    };
    match own {
        Ok(group) if fits => Ok(Client { id, group }),
        _ => Err(Problem::new(
            400,
            "bad_group",
            format!(
                "client_params.group: found {:?}, expected 1 to 255 letters, digits, dots and hyphens",
                text::cut(&group, 300)
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(body: &str) -> (u16, &'static str, String) {
        let problem = client(body.as_bytes()).unwrap_err();
        (problem.status, problem.kind, problem.value)
    }

    #[test]
    fn a_request_names_a_client() {
        let read = client(br#"{"client_params":{"group":"default","id":"c1"}}"#).unwrap();
        assert_eq!((read.id.as_str(), read.group), ("c1", Group::default()));
        let read = client(
            br#" {"client_params":{"id":"../\u0000 \u00fc","group":"Web-1.eu","x":1},"y":[]}"#,
        );
        let read = read.unwrap();
        assert_eq!(
            (read.id.as_str(), read.group.as_str()),
            ("../\0 ü", "Web-1.eu")
        );
    }

    #[test]
    fn a_body_that_is_not_right_says_what_was_found() {
        for body in [
            "",
            "{}",
            "[]",
            "null",
            r#"{"client_params":{}}"#,
            r#"{"client_params":{"id":"a"}}"#,
            r#"{"client_params":{"group":"a"}}"#,
            r#"{"client_params":{"id":null,"group":"a"}}"#,
            r#"{"client_params":{"id":7,"group":"a"}}"#,
            r#"{"client_params":{"id":"a","group":["a"]}}"#,
            r#"{"client_params":{"id":"a","id":"b","group":"a"}}"#,
            r#"{"client_params":{"id":"a","group":"a"}}x"#,
            "\u{feff}{}",
        ] {
            let (status, kind, value) = kind(body);
            assert_eq!((status, kind), (400, "decode_error"), "{body}");
            assert!(value.contains("expected {\"client_params\""), "{value}");
        }
        assert_eq!(
            client(b"{\"client_params\":{\"id\":\"\xff\",\"group\":\"a\"}}")
                .unwrap_err()
                .kind,
            "decode_error"
        );
        let (status, kind_, value) = kind(r#"{"client_params":{"id":"","group":"a"}}"#);
        assert_eq!((status, kind_), (400, "bad_id"), "{value}");
        for group in ["", "a b", "a/b", "a_b", "ü", "a\\n", &"x".repeat(256)] {
            let (status, kind, value) = kind(&format!(
                r#"{{"client_params":{{"id":"a","group":"{group}"}}}}"#
            ));
            assert_eq!((status, kind), (400, "bad_group"), "{value}");
        }
    }

    #[test]
    fn the_header_must_say_true_once() {
        let check = |values: &[&'static str]| {
            check_header(values.iter().map(|value| value.as_bytes()))
                .map_err(|problem| problem.value)
        };
        assert_eq!(check(&["true"]), Ok(()));
        for (values, says) in [
            (
                &[][..],
                "found no header fleet-lock-protocol, expected the value true",
            ),
            (
                &["false"],
                "found \"false\" in the header fleet-lock-protocol, expected the value true",
            ),
            (
                &["True"],
                "found \"True\" in the header fleet-lock-protocol, expected the value true",
            ),
            (
                &["true", "true"],
                "found several headers fleet-lock-protocol, expected the value true",
            ),
        ] {
            assert_eq!(check(values).unwrap_err(), says);
        }
    }

    #[test]
    fn a_path_ends_in_the_call_whatever_its_base() {
        for (path, call) in [
            ("/v1/pre-reboot", Some(Call::PreReboot)),
            ("/v1/steady-state", Some(Call::SteadyState)),
            ("/fleet/lock/v1/steady-state", Some(Call::SteadyState)),
            ("//v1/pre-reboot", Some(Call::PreReboot)),
            ("/v1/pre-reboot/", None),
            ("/v1/pre-rebootx", None),
            ("/xv1/pre-reboot", None),
            ("/v2/pre-reboot", None),
            ("/", None),
        ] {
            assert_eq!(Call::of_path(path), call, "{path}");
        }
    }

    #[test]
    fn an_answer_is_a_kind_and_a_text_that_acts_on_no_terminal() {
        let refused = Problem::of(Verdict::Refused {
            kind: "semaphore_full",
            value: "by \u{1b}[2J\u{202e}x".into(),
        });
        let refused = refused.unwrap();
        assert_eq!(refused.status, 423);
        assert_eq!(
            refused.to_json(),
            r#"{"kind":"semaphore_full","value":"by \\u{1b}[2J\\u{202e}x"}"#
        );
        assert_eq!(Problem::of(Verdict::Done), None);
    }
}
