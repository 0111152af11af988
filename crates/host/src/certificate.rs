//! Certificates: what is wrong with a server's, in words (the one diagnosis for etcd and for HTTP), and until when each is valid.

pub mod expiry;
pub mod server;
pub mod x509;

use std::{error::Error, io};

use jiff::Timestamp;
use rustls::{CertificateError, pki_types::UnixTime};

use crate::time;

/// What is wrong with a server's certificate, for who has to say what repairs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distrust {
    /// No authority that is trusted here signed it.
    Issuer,
    /// It names an authority that is trusted here, whose key did not sign it.
    Key,
    /// It is an authority's own.
    Authority,
    /// It is for another name.
    Name,
    /// It is not valid at the time this machine's clock shows.
    Clock,
    /// Anything else.
    Other,
}

/// What rustls found wrong with the server's certificate, where that is behind this error.
fn behind<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a CertificateError> {
    let mut next = Some(error);
    while let Some(cause) = next {
        // An io::Error that wraps another error has that one's source, not itself.
        let inner = cause
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        let found = match inner {
            Some(inner) => inner.downcast_ref::<rustls::Error>(),
            None => cause.downcast_ref::<rustls::Error>(),
        };
        if let Some(rustls::Error::InvalidCertificate(why)) = found {
            return Some(why);
        }
        next = match inner {
            Some(inner) => Some(inner),
            None => cause.source(),
        };
    }
    None
}

/// What is wrong with the server's certificate and in which words people are told, where that is behind this error.
pub(crate) fn diagnosis(error: &(dyn Error + 'static)) -> Option<(Distrust, String)> {
    behind(error).map(told)
}

/// What is wrong, and in which words people are told.
fn told(error: &CertificateError) -> (Distrust, String) {
    use CertificateError as E;
    match error {
        E::UnknownIssuer => (
            Distrust::Issuer,
            // The word by which other programs and people's searches know it.
            "the server's certificate is not signed by a trusted authority (UnknownIssuer)".into(),
        ),
        E::BadSignature | E::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => (
            Distrust::Key,
            "the server's certificate names a trusted authority, but was signed with another key"
                .into(),
        ),
        E::NotValidForNameContext {
            expected,
            presented,
        } => {
            let names: Vec<&str> = presented.iter().map(|name| bare(name)).collect();
            let names = match names.as_slice() {
                [] => "no name at all (it has no subjectAltName)".into(),
                names => names.join(", "),
            };
            let text = format!(
                "the server's certificate is for {names}, expected one for {}",
                expected.to_str()
            );
            (Distrust::Name, text)
        }
        E::NotValidForName => (Distrust::Name, "the server's certificate is for another name".into()),
        E::ExpiredContext { time, not_after } => (
            Distrust::Clock,
            format!(
                "the server's certificate was valid until {}, and this machine's clock shows {}",
                shown(not_after),
                shown(time)
            ),
        ),
        E::NotValidYetContext { time, not_before } => (
            Distrust::Clock,
            format!(
                "the server's certificate is valid from {} on, and this machine's clock shows {}",
                shown(not_before),
                shown(time)
            ),
        ),
        E::Expired | E::NotValidYet => (
            Distrust::Clock,
            "the server's certificate is not valid at this time".into(),
        ),
        E::InvalidPurpose | E::InvalidPurposeContext { .. } => purpose(),
        // The verifiers' own errors are known by their names only: their types are in no interface.
        E::Other(other) => match format!("{:?}", other.0).as_str() {
            "CaUsedAsEndEntity" => (
                Distrust::Authority,
                "the server's certificate is an authority's own (CA:TRUE), expected a server's (CA:FALSE)".into(),
            ),
            "EkuError" => purpose(),
            name => unusable(name),
        },
        E::UnsupportedSignatureAlgorithmContext { .. } => (
            Distrust::Other,
            "the server's certificate is signed in a way that is not taken here, expected SHA-256 or better with RSA, \
             ECDSA or Ed25519"
                .into(),
        ),
        other => unusable(&other.to_string()),
    }
}

fn purpose() -> (Distrust, String) {
    let text = "the server's certificate is not for servers, expected one with the extended key usage serverAuth";
    (Distrust::Other, text.into())
}

fn unusable(why: &str) -> (Distrust, String) {
    let text = format!("the server's certificate cannot be used: {why}");
    (Distrust::Other, text)
}

/// A name as the verifier shows it, `DnsName("x")` or `IpAddress(x)`, without its wrapping.
fn bare(name: &str) -> &str {
    let inner = name
        .split_once('(')
        .and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.unwrap_or(name).trim_matches('"')
}

fn shown(time: &UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).ok();
    let time = seconds.and_then(|seconds| Timestamp::from_second(seconds).ok());
    time.map_or_else(|| "a time that cannot be shown".into(), time::shown_in_utc)
}
