//! Why an endpoint did not serve a request: from errors made for programmers to words for people. Pure.
//!
//! What TLS and HTTP/2 found wrong is kept in errors of crates behind crates, whose types are not part of
//! anybody's interface. Their words are all there is to go by; what is not recognised is passed on as it is.

use std::error::Error as StdError;

use tonic::Code;

/// What a failed attempt means for the request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Another endpoint may serve it.
    Endpoint(String),
    /// No endpoint will.
    Final(String),
}

/// etcd's name for "the watch or the member has lost its leader".
const NO_LEADER: &str = "no leader";

impl From<etcd_client::Error> for Failure {
    fn from(error: etcd_client::Error) -> Self {
        let etcd_client::Error::GRpcStatus(status) = &error else {
            return Self::Endpoint(explain(&error));
        };
        let said = status.message();
        match status.code() {
            // Users or roles have just been changed, or the member is behind: a matter of a moment.
            _ if said.contains("auth store is old") || said.contains("too many requests") => {
                Self::Endpoint(said.to_owned())
            }
            // Bad user or password, a missing permission, a lease or revision that is gone.
            Code::InvalidArgument
            | Code::PermissionDenied
            | Code::FailedPrecondition
            | Code::NotFound
            | Code::OutOfRange
            | Code::ResourceExhausted => Self::Final(with_cure(said)),
            Code::Unimplemented => Self::Endpoint(NOT_ETCD.to_owned()),
            Code::Unavailable if said.contains(NO_LEADER) => Self::Endpoint(
                "the member has no leader (the cluster has no quorum, or it is cut off)".into(),
            ),
            _ => match status.source() {
                Some(cause) => Self::Endpoint(format!("{said}: {}", explain(cause))),
                None => Self::Endpoint(said.to_owned()),
            },
        }
    }
}

/// etcd's refusal, and what mends it where that is known.
fn with_cure(said: &str) -> String {
    let cures = [
        (
            "database space exceeded",
            "it takes no writes until its history is compacted and defragmented and the alarm disarmed: \
             etcdctl compact, etcdctl defrag, etcdctl alarm disarm",
        ),
        (
            "permission denied",
            "the user needs a role that may read and write every key under the key prefix: \
             etcdctl role grant-permission --prefix=true ROLE readwrite PREFIX",
        ),
        (
            "authentication failed",
            "pointsman config shows which user and which file with the password are meant (etcd.username, etcd.password-file)",
        ),
        (
            "authentication is not enabled",
            "it has no users: take etcd.username and etcd.password-file away",
        ),
        (
            "user name is empty",
            "it asks for a user and a password: --etcd-username, --etcd-password-file",
        ),
    ];
    let cure = cures.iter().find(|(sign, _)| said.contains(sign));
    cure.map_or_else(|| said.to_owned(), |(_, cure)| format!("{said}; {cure}"))
}

/// What is said of a server that is there but does not speak etcd's v3 protocol.
const NOT_ETCD: &str = "it answers, but not as etcd does with its v3 API (gRPC); \
     etcd 3.4 or newer is needed at this address";

/// An error with the causes behind it, since the outermost are only "transport error" and the like.
pub(super) fn explain(error: &(dyn StdError + 'static)) -> String {
    let mut texts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        if !texts.last().is_some_and(|last| last.contains(&text)) {
            texts.push(text);
        }
        next = error.source();
    }
    texts.join(": ")
}

/// The reason as a person is told it: what was found at this URL and what mends it, then the words it was
/// found from.
pub(super) fn in_words(url: &str, reason: &str) -> String {
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
    let words = if any(&["UnknownIssuer", "BadSignature"]) {
        "its certificate is not signed by a trusted authority (--etcd-cafile names the one to trust)"
    } else if any(&["certificate expired"]) {
        "its certificate has expired, or this machine's clock is wrong"
    } else if any(&["not valid for name"]) {
        "its certificate is for another name than this address"
    } else if tls && any(&["handshake eof", "InvalidContentType", "corrupt message"]) {
        "it does not speak TLS (is it http:// rather than https://?)"
    } else if tls && (closed || any(&["fatal alert"])) {
        "it closed the connection; perhaps it asks for a client certificate of an authority it trusts \
         (--etcd-certfile, --etcd-keyfile), or does not speak TLS (is it http:// rather than https://?)"
    } else if closed {
        "it closed the connection; if it speaks TLS, its address begins with https://"
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
    fn what_another_endpoint_may_serve_is_told_from_what_none_will() {
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
    fn what_is_not_recognised_is_passed_on() {
        assert_eq!(in_words("http://h:1", "transport error: odd"), "odd");
        assert_eq!(
            in_words("https://h:1", "no reply within 9 ms"),
            "no reply within 9 ms"
        );
    }
}
