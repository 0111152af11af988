//! Where etcd listens, as people write it.

use host::etcd::Local;

use super::error::{Bad, quoted};

/// What is expected of an endpoint.
const EXPECTED: &str = "http(s)://host[:port] or host:port, and a comma between several";

/// Which member of etcd the node hosts, as people write it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Member {
    Auto,
    None,
    At(Endpoint),
}

impl Member {
    /// What it means; `tls` where the endpoint does not say it itself.
    pub(super) fn local(&self, tls: bool) -> Local {
        match self {
            Self::Auto => Local::Auto,
            Self::None => Local::None,
            Self::At(endpoint) => Local::At(endpoint.url(tls)),
        }
    }
}

/// Parses `auto`, `none` or the client URL of the node's own member.
pub(super) fn member(text: &str) -> Result<Member, Bad> {
    match text {
        "auto" => Ok(Member::Auto),
        "none" => Ok(Member::None),
        url => match list(url)?.as_slice() {
            // A word would be a host name: one of the two was misspelt.
            [one] if url.contains(':') => Ok(Member::At(one.clone())),
            _ => Err(Bad {
                found: Some(quoted(text)),
                expected: "auto, none, or the client URL of the member on this node".into(),
            }),
        },
    }
}

/// One of etcd's client URLs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// Whether TLS is spoken; none: it was not said.
    tls: Option<bool>,
    /// The host, an IPv6 address in brackets.
    host: String,
    port: u16,
}

impl Endpoint {
    /// The URL; `tls` where the endpoint does not say it itself.
    pub(super) fn url(&self, tls: bool) -> String {
        let Self { host, port, .. } = self;
        let s = if self.tls.unwrap_or(tls) { "s" } else { "" };
        format!("http{s}://{host}:{port}")
    }

    fn parse(text: &str) -> Option<Self> {
        let (tls, rest) = match text.split_once("://") {
            None => (None, text),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (Some(false), rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (Some(true), rest),
            Some(_) => return None,
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        // The colons of an IPv6 address lie within brackets.
        let port = rest.rfind(':').filter(|at| !rest[*at..].contains(']'));
        let (host, port) = match port {
            // etcd's port for clients, registered with IANA.
            None => (rest, 2379),
            Some(at) => (&rest[..at], number(&rest[at + 1..])?),
        };
        let good = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => {
                !host.is_empty()
                    && host
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
            }
        };
        good.then(|| Self {
            tls,
            host: host.to_owned(),
            port,
        })
    }
}

/// A port: digits only, where Rust's own parser takes a sign as well.
fn number(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port != 0)
}

/// Parses a list with commas. An error names the bad one, without the password somebody may have put there.
pub(super) fn list(text: &str) -> Result<Vec<Endpoint>, Bad> {
    let one = |text: &str| {
        Endpoint::parse(text).ok_or_else(|| Bad {
            found: Some(match text.rsplit_once('@') {
                Some((_, host)) => format!("\"…@{host}\" with a user name"),
                None => quoted(text),
            }),
            // URLs have no place for it that HTTP and TLS agree on; the resolver keeps it with a name.
            expected: if text.contains('%') {
                format!(
                    "{EXPECTED}. For a link-local address, write `fe80::1%eth0 NAME` into /etc/hosts, and use NAME here"
                )
            } else {
                EXPECTED.into()
            },
        })
    };
    text.split(',').map(|text| one(text.trim())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_urls_or_hosts_with_ports() {
        for (text, plain, tls) in [
            ("http://h:1", "http://h:1", "http://h:1"),
            ("HTTPS://h:1/", "https://h:1", "https://h:1"),
            ("https://h", "https://h:2379", "https://h:2379"),
            ("h:65535", "http://h:65535", "https://h:65535"),
            ("10.0.0.1", "http://10.0.0.1:2379", "https://10.0.0.1:2379"),
            ("[::1]:7", "http://[::1]:7", "https://[::1]:7"),
            ("http://[::1]", "http://[::1]:2379", "http://[::1]:2379"),
        ] {
            let found = list(text).unwrap();
            assert_eq!(
                (found[0].url(false).as_str(), found[0].url(true).as_str()),
                (plain, tls)
            );
        }
        let urls: Vec<_> = list("a:1, https://b:2")
            .unwrap()
            .iter()
            .map(|e| e.url(false))
            .collect();
        assert_eq!(urls, ["http://a:1", "https://b:2"]);
    }

    #[test]
    fn bad_endpoint_is_named_without_its_password() {
        for (text, bad) in [
            ("", "\"\""),
            ("a:1,,b:2", "\"\""),
            ("a:1,ftp://b", "\"ftp://b\""),
            ("http://", "\"http://\""),
            ("h:0", "\"h:0\""),
            ("h:+1", "\"h:+1\""),
            ("h:65536", "\"h:65536\""),
            ("h:", "\"h:\""),
            ("http://h/v2", "\"http://h/v2\""),
            ("a b", "\"a b\""),
            ("[::x]:1", "\"[::x]:1\""),
            ("http://root:s3cret@h:1", "\"…@h:1\" with a user name"),
        ] {
            let Bad { found, expected } = list(text).unwrap_err();
            assert_eq!(found.unwrap(), bad);
            assert!(expected.contains("http(s)://host[:port]"));
            assert!(!expected.contains("/etc/hosts"));
        }
        for text in ["https://[fe80::1%25eth0]:2379", "[fe80::1%eth0]"] {
            let Bad { expected, .. } = list(text).unwrap_err();
            assert!(expected.contains("write `fe80::1%eth0 NAME` into /etc/hosts"));
        }
    }
}
