//! What a platform says about the node besides user data.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::Addresses;

/// What a platform says about the node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Metadata {
    /// Addresses for `$private_ipv4` and similar variables.
    pub addresses: Addresses,
    /// The host name, if no document gives one.
    pub hostname: Option<String>,
    /// Public keys of `core`, in addition to those of documents.
    pub ssh_keys: Vec<String>,
    /// The network, in the platform's format.
    pub network: Option<Vec<u8>>,
    /// Why the description of the network is missing: only some callers need it.
    pub network_lost: Option<String>,
}

impl Metadata {
    /// Takes an address of this side, of either family; the first of each counts. A text that is no address is passed
    /// over: the platform's fault must not keep a node from being configured that does not need it.
    pub(super) fn address(&mut self, public: bool, text: &str) {
        let text = text.trim();
        if text.is_empty() {
            return;
        }
        let all = &mut self.addresses;
        let slot = match (text.parse(), public) {
            (Ok(IpAddr::V4(_)), true) => &mut all.public_ipv4,
            (Ok(IpAddr::V4(_)), false) => &mut all.private_ipv4,
            (Ok(IpAddr::V6(_)), true) => &mut all.public_ipv6,
            (Ok(IpAddr::V6(_)), false) => &mut all.private_ipv6,
            (Err(_), _) => {
                tracing::warn!("the platform's metadata has {text:?} where an address is expected");
                return;
            }
        };
        slot.get_or_insert_with(|| text.to_owned());
    }

    /// Takes a name, cut of the white space around it; an empty one is none, and one that is no host's is passed over.
    pub(super) fn name(&mut self, text: &str) {
        let text = text.trim();
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-.".contains(&b);
        if !text.bytes().all(plain) || text.starts_with(['-', '.']) {
            tracing::warn!("the platform's metadata has {text:?} where a host's name is expected");
        } else if !text.is_empty() {
            self.hostname = Some(text.to_owned());
        }
    }

    /// Takes public keys, a line each, each once.
    pub(super) fn keys<'a>(&mut self, keys: impl IntoIterator<Item = &'a str>) {
        for key in keys.into_iter().flat_map(str::lines) {
            let key = key.trim();
            if !key.is_empty() && !self.ssh_keys.iter().any(|known| known == key) {
                self.ssh_keys.push(key.to_owned());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_address_of_each_kind_is_used() {
        let mut metadata = Metadata::default();
        for (public, text) in [
            (true, "192.0.2.1\n"),
            (true, "192.0.2.2"),
            (false, "10.0.0.1"),
            (false, "fd00::1"),
            (true, "2001:db8::1"),
            (true, ""),
            (false, "soon"),
        ] {
            metadata.address(public, text);
        }
        let all = metadata.addresses;
        assert_eq!(all.public_ipv4.as_deref(), Some("192.0.2.1"));
        assert_eq!(all.private_ipv4.as_deref(), Some("10.0.0.1"));
        assert_eq!(all.public_ipv6.as_deref(), Some("2001:db8::1"));
        assert_eq!(all.private_ipv6.as_deref(), Some("fd00::1"));
    }

    #[test]
    fn metadata_accepts_only_host_names_and_one_line_keys() {
        let mut metadata = Metadata::default();
        for text in ["n1\n10.0.0.9 bank", "-n1", "", " ", "n 1", ".x"] {
            metadata.name(text);
            assert_eq!(metadata.hostname, None, "{text}");
        }
        metadata.name(" n1.example.net\n");
        assert_eq!(metadata.hostname.as_deref(), Some("n1.example.net"));
        metadata.keys(["a\nb\n", " b ", "", "c"]);
        assert_eq!(metadata.ssh_keys, ["a", "b", "c"]);
    }
}
