//! OpenStack: `meta_data.json`, on a drive or from its service.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{
    Found, Metadata, Unavailable,
    service::{Service, object},
};
use crate::problem::Problem;

/// The fields of `meta_data.json` that are used.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Said {
    hostname: Option<String>,
    public_keys: Option<BTreeMap<String, String>>,
    network_config: Option<NetworkConfig>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NetworkConfig {
    content_path: Option<String>,
}

/// Reads `meta_data.json`. Also returns the path of the network's configuration below `openstack/`.
pub(super) fn meta_data(
    bytes: &[u8],
    name: &str,
) -> Result<(Metadata, Option<String>), Unavailable> {
    let said: Said = object(bytes).map_err(|error| {
        let what = format!("{name}: found no JSON of OpenStack");
        Unavailable::never(Problem::said(what, error))
    })?;
    let mut metadata = Metadata::default();
    metadata.name(said.hostname.as_deref().unwrap_or_default());
    let keys = said.public_keys.unwrap_or_default();
    metadata.keys(keys.values().map(String::as_str));
    let content = said.network_config.and_then(|config| config.content_path);
    Ok((metadata, content.filter(|path| !path.is_empty())))
}

/// Tells whether a path stays below its folder.
pub(super) fn stays_below(path: &str) -> bool {
    !path.split('/').any(|part| part == "..")
}

/// Asks the service: its own interface, and for addresses the one that is compatible with EC2.
pub(super) async fn fetch(service: &Service<'_>) -> Result<Found, Unavailable> {
    let path = "openstack/latest/meta_data.json";
    let said = service.needed(path, &[]).await?;
    let (mut metadata, content) = meta_data(&said, &service.name(path))?;
    if let Some(content) = content.filter(|path| stays_below(path)) {
        let path = format!("openstack/{}", content.trim_start_matches('/'));
        metadata.network = service.optional(&path, &[]).await?;
    }
    for (public, path) in [
        (true, "latest/meta-data/public-ipv4"),
        (false, "latest/meta-data/local-ipv4"),
    ] {
        let address = service.text(path, &[]).await?;
        metadata.address(public, &address.unwrap_or_default());
    }
    let user_data = service.optional("openstack/latest/user_data", &[]).await?;
    Ok(Found {
        user_data: user_data.unwrap_or_default(),
        metadata,
        is_partial: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openstack_meta_data_is_read() {
        let text = r#"{
            "hostname": "n1.example.net", "uuid": "x",
            "public_keys": {"b": "ssh-ed25519 B b\nssh-ed25519 C c", "a": "ssh-ed25519 A a\n"},
            "network_config": {"name": "network_config", "content_path": "/content/0000"}
        }"#;
        let (metadata, content) = meta_data(text.as_bytes(), "x").unwrap();
        assert_eq!(metadata.hostname.as_deref(), Some("n1.example.net"));
        assert_eq!(
            metadata.ssh_keys,
            ["ssh-ed25519 A a", "ssh-ed25519 B b", "ssh-ed25519 C c"]
        );
        assert_eq!(content.as_deref(), Some("/content/0000"));
        for text in [
            "{}",
            r#"{"hostname": null, "public_keys": null, "network_config": {}}"#,
        ] {
            let said = meta_data(text.as_bytes(), "x").unwrap();
            assert_eq!(said, (Metadata::default(), None));
        }
        let broken = meta_data(br#"{"hostname": "n1", }"#, "drive/meta_data.json").unwrap_err();
        assert!(
            broken.to_string().starts_with("drive/meta_data.json: ")
                && broken.to_string().contains("line 1 column 20"),
            "{broken}"
        );
    }
}
