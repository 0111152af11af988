//! Why an endpoint did not serve a request: from errors made for programmers to words for people. Pure.
//!
//! What TLS and HTTP/2 found wrong is kept in errors of crates behind crates, whose types are not part of
//! anybody's interface. Their words are all there is to go by; what is not recognised is passed on as it is.

use std::error::Error as StdError;

use tonic::Code;

use crate::{
    certificate::{self, Distrust},
    text,
};

/// What a failed attempt means for the request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Another endpoint may serve it.
    Endpoint(Reason),
    /// No endpoint will.
    Final(String),
}

impl Failure {
    /// Of an endpoint to which no connection came about.
    pub(super) fn of_connection(error: &tonic::transport::Error) -> Self {
        Self::Endpoint(behind(error))
    }
}

/// etcd's name for "the watch or the member has lost its leader".
const NO_LEADER: &str = "no leader";

impl From<etcd_client::Error> for Failure {
    fn from(error: etcd_client::Error) -> Self {
        let etcd_client::Error::GRpcStatus(status) = &error else {
            return Self::Endpoint(behind(&error));
        };
        let said = status.message();
        match status.code() {
            // Users or roles have just been changed, or the member is behind: a matter of a moment.
            _ if said.contains("auth store is old") || said.contains("too many requests") => {
                Self::Endpoint(said.to_owned().into())
            }
            // Bad user or password, a missing permission, a lease or revision that is gone.
            Code::InvalidArgument
            | Code::PermissionDenied
            | Code::FailedPrecondition
            | Code::NotFound
            | Code::OutOfRange
            | Code::ResourceExhausted => Self::Final(with_remedy(said)),
            Code::Unimplemented => Self::Endpoint(NOT_ETCD.to_owned().into()),
            Code::Unavailable if said.contains(NO_LEADER) => Self::Endpoint(
                "the member has no leader (the cluster has no quorum, or the member is cut off)"
                    .to_owned()
                    .into(),
            ),
            _ => match status.source() {
                Some(cause) => Self::Endpoint(match behind(cause) {
                    Reason::Raw(why) => Reason::Raw(format!("{said}: {why}")),
                    told => told,
                }),
                None => Self::Endpoint(said.to_owned().into()),
            },
        }
    }
}

/// etcd's refusal, and what repairs it where that is known.
fn with_remedy(said: &str) -> String {
    let cures = [
        (
            "database space exceeded",
            "etcd accepts no writes until its history is compacted and defragmented and the alarm is disarmed: \
             etcdctl compact, etcdctl defrag, etcdctl alarm disarm",
        ),
        (
            "permission denied",
            "the user needs a role with read and write access to all keys under the key prefix: \
             etcdctl role grant-permission --prefix=true ROLE readwrite PREFIX",
        ),
        (
            "authentication failed",
            "`pointsman config` shows which user and password file are used (etcd.username, etcd.password-file)",
        ),
        (
            "authentication is not enabled",
            "remove etcd.username and etcd.password-file from the configuration",
        ),
        (
            "user name is empty",
            "etcd requires a user and a password: --etcd-username, --etcd-password-file",
        ),
    ];
    let cure = cures.iter().find(|(sign, _)| said.contains(sign));
    cure.map_or_else(|| said.to_owned(), |(_, cure)| format!("{said}; {cure}"))
}

/// What is said of a server that is there but does not speak etcd's v3 protocol.
const NOT_ETCD: &str = "it answers, but not as etcd's v3 API (gRPC) does; \
     this address must be one of etcd 3.4 or newer";

/// Why an endpoint did not serve.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// Its certificate: in words for people.
    Certificate(String),
    /// In the words of the libraries.
    Raw(String),
}

impl From<String> for Reason {
    fn from(raw: String) -> Self {
        Self::Raw(raw)
    }
}

/// What is behind an error.
fn behind(error: &(dyn StdError + 'static)) -> Reason {
    let Some((distrust, told)) = certificate::diagnosis(error) else {
        return Reason::Raw(text::with_causes(error));
    };
    let cure = match distrust {
        Distrust::Issuer | Distrust::Key => {
            "; give the CA certificate that signed it: --etcd-cafile"
        }
        Distrust::Authority | Distrust::Other => "",
        Distrust::Name => "; use an address that the certificate is for",
        Distrust::Clock => "; check this machine's clock: timedatectl",
    };
    Reason::Certificate(format!("{told}{cure}"))
}

/// The reason as a person is told it: what was found at this URL and what repairs it, then the words it was
/// found from.
pub(super) fn in_words(url: &str, reason: &Reason) -> String {
    let reason = match reason {
        Reason::Certificate(told) => return told.clone(),
        Reason::Raw(raw) => raw,
    };
    let tls = url.starts_with("https:");
    let any = |signs: &[&str]| signs.iter().any(|sign| reason.contains(sign));
    let closed = any(&[
        "broken pipe",
        "Broken pipe",
        "connection reset",
        "Connection reset",
        "connection closed",
        "unexpected end of file",
        "close_notify",
    ]);
    let words = if tls && any(&["handshake eof", "InvalidContentType", "corrupt message"]) {
        "it does not use TLS (does its address begin with http://?)"
    } else if tls && (closed || any(&["fatal alert"])) {
        "it closed the connection; perhaps it requires a client certificate (--etcd-certfile, --etcd-keyfile), or does not \
         use TLS (does its address begin with http://?)"
    } else if closed {
        "it closed the connection; if it uses TLS, its address begins with https://"
    } else if any(&[
        "http2 error",
        "frame with invalid size",
        "PROTOCOL_ERROR",
        "invalid HTTP",
    ]) {
        NOT_ETCD
    } else {
        return reason
            .strip_prefix("transport error: ")
            .unwrap_or(reason)
            .to_owned();
    };
    format!("{words} [{reason}]")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(code: Code, said: &str) -> Failure {
        etcd_client::Error::GRpcStatus(tonic::Status::new(code, said)).into()
    }

    #[test]
    fn error_of_one_endpoint_is_told_from_error_of_all() {
        for (code, said) in [
            (Code::Unavailable, "etcdserver: no leader"),
            (Code::Unavailable, "etcdserver: request timed out"),
            (Code::Unimplemented, "unknown service etcdserverpb.KV"),
            (
                Code::InvalidArgument,
                "etcdserver: revision of auth store is old",
            ),
            (Code::ResourceExhausted, "etcdserver: too many requests"),
            (Code::Unauthenticated, "etcdserver: invalid auth token"),
        ] {
            let failure = failure(code, said);
            assert!(
                matches!(failure, Failure::Endpoint(_)),
                "{said}: {failure:?}"
            );
        }
        for (code, said) in [
            (Code::PermissionDenied, "etcdserver: permission denied"),
            (
                Code::InvalidArgument,
                "etcdserver: authentication failed, invalid user ID or password",
            ),
            (
                Code::ResourceExhausted,
                "etcdserver: mvcc: database space exceeded",
            ),
            (Code::NotFound, "etcdserver: requested lease not found"),
        ] {
            let failure = failure(code, said);
            assert!(
                matches!(&failure, Failure::Final(words) if words.starts_with(said)),
                "{said}: {failure:?}"
            );
        }
    }

    #[test]
    fn unknown_error_is_shown_as_it_is() {
        let words = |url, raw: &str| in_words(url, &Reason::Raw(raw.to_owned()));
        assert_eq!(words("http://h:1", "transport error: odd"), "odd");
        assert_eq!(
            words("https://h:1", "no reply within 9 ms"),
            "no reply within 9 ms"
        );
    }
}
