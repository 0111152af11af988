//! VMware: the properties of an OVF environment, saved to a file, as `guestinfo` names them.

use std::{collections::HashMap, fmt, path::Path};

use host::{http::Http, node::RootPath};
use roxmltree::Document;

use super::{Found, Metadata, Retry, Unavailable, file, source, url};
use crate::{UserDataError, content, problem::Problem};

/// The prefix of the properties for the guest.
const PREFIX: &str = "guestinfo.";

/// The prefix of Ignition's properties. Ignition runs before this program.
const IGNITION: &str = "ignition.config.";

/// The most interfaces, and addresses of one, that are read.
const MOST: usize = 64;

/// Reads the file, and fetches what it names by URL.
pub(super) async fn read<'a>(
    path: &Path,
    http: impl FnOnce() -> Result<&'a Http, Unavailable>,
) -> Result<Found, Unavailable> {
    let at = RootPath::named(path.to_owned());
    let bytes = file::apart(move || file::read(&at)).await?;
    let name = path.display();
    let never = |problem| Unavailable::never(problem).here();
    // The error of a property, or of the whole file.
    let bad =
        |of: &str, error: &dyn fmt::Display| never(Problem::said(format!("{name}{of}"), error));
    let text = str::from_utf8(&bytes).map_err(|error| bad("", &error))?;
    let said = properties(text).map_err(|error| bad(": found no XML", &error))?;
    let get = |key: &str| {
        said.get(key)
            .map(String::as_str)
            .filter(|text| !text.is_empty())
    };
    let metadata = metadata(&said).map_err(|problem| bad("", &problem))?;
    let user_data = match (get("coreos.config.data"), get("coreos.config.url")) {
        (Some(data), _) => {
            let encoding = get("coreos.config.data.encoding");
            content::decode(data, false, encoding)
                .map_err(|error| bad(": guestinfo.coreos.config.data", &error))?
        }
        (None, Some(at)) => {
            let of = format!(": guestinfo.coreos.config.url {at:?}");
            let document = source::Document::parse(at).map_err(|fault| bad(&of, &fault))?;
            url::fetch(&document, http()?).await?
        }
        (None, None) => {
            let ignition = said
                .iter()
                .filter(|(key, value)| key.starts_with(IGNITION) && !value.is_empty());
            if let Some(key) = ignition.map(|(key, _)| key).min() {
                return Err(bad(&format!(": {PREFIX}{key}"), &UserDataError::Ignition));
            }
            if metadata == Metadata::default() {
                let found =
                    "no guestinfo.coreos.config.data, no .url and nothing else about this node";
                let problem = Problem::found(found).of(name.to_string()).expected("one");
                return Err(Unavailable::none_here(Retry::Later, problem));
            }
            Vec::new()
        }
    };
    Ok(Found {
        user_data,
        metadata,
        is_partial: false,
    })
}

/// Reads the properties for the guest, without the prefix.
fn properties(text: &str) -> Result<HashMap<String, String>, roxmltree::Error> {
    let document = Document::parse(text.trim_start_matches('\u{feff}'))?;
    let property = |node: roxmltree::Node<'_, '_>| {
        if node.tag_name().name() != "Property" {
            return None;
        }
        // In any namespace: tools differ.
        let attribute = |name: &str| {
            let found = node.attributes().find(|attribute| attribute.name() == name);
            found.map(|attribute| attribute.value().to_owned())
        };
        let key = attribute("key")?.strip_prefix(PREFIX)?.to_owned();
        Some((key, attribute("value").unwrap_or_default()))
    };
    Ok(document.descendants().filter_map(property).collect())
}

/// Reads the host name, and the addresses of the interfaces that have a role.
fn metadata(said: &HashMap<String, String>) -> Result<Metadata, Problem> {
    let mut metadata = Metadata::default();
    let get = |key: String| said.get(&key).map_or("", String::as_str);
    metadata.name(get("hostname".into()));
    for interface in 0..MOST {
        let public = match get(format!("interface.{interface}.role")) {
            "" => continue,
            "public" => true,
            "private" => false,
            other => {
                return Err(Problem::found(format!("{other:?}"))
                    .of(format!("guestinfo.interface.{interface}.role"))
                    .expected("public or private"));
            }
        };
        for number in 0..MOST {
            let address = get(format!("interface.{interface}.ip.{number}.address"));
            if address.is_empty() {
                break;
            }
            // The address has the length of the network's prefix.
            metadata.address(public, address.split('/').next().unwrap_or_default());
        }
    }
    Ok(metadata)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
        <Environment xmlns="http://schemas.dmtf.org/ovf/environment/1" xmlns:oe="http://schemas.dmtf.org/ovf/environment/1" oe:id="">
          <PropertySection>
            <Property oe:key="guestinfo.hostname" oe:value="n1"/>
            <Property oe:key="guestinfo.coreos.config.data" oe:value="I2Nsb3VkLWNvbmZpZwo="/>
            <Property oe:key="guestinfo.coreos.config.data.encoding" oe:value="base64"/>
            <Property oe:key="guestinfo.interface.0.role" oe:value="private"/>
            <Property oe:key="guestinfo.interface.0.ip.0.address" oe:value="10.0.0.4/24"/>
            <Property oe:key="guestinfo.interface.2.role" oe:value="public"/>
            <Property oe:key="guestinfo.interface.2.ip.0.address" oe:value="192.0.2.4/24"/>
            <Property oe:key="guestinfo.interface.2.ip.1.address" oe:value="2001:db8::4/64"/>
            <Property oe:key="other" oe:value="x"/>
          </PropertySection>
        </Environment>"#;

    #[tokio::test]
    async fn the_guests_properties_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ovf-env.xml");
        std::fs::write(&path, TEXT).unwrap();
        let http = Http::new(None, &super::super::LIMITS).unwrap();
        let found = read(&path, || Ok(&http)).await.unwrap();
        assert_eq!(found.user_data, b"#cloud-config\n");
        let known = &found.metadata;
        assert_eq!(known.hostname.as_deref(), Some("n1"));
        assert_eq!(known.addresses.private_ipv4.as_deref(), Some("10.0.0.4"));
        assert_eq!(known.addresses.public_ipv4.as_deref(), Some("192.0.2.4"));
        assert_eq!(known.addresses.public_ipv6.as_deref(), Some("2001:db8::4"));
        assert_eq!(known.addresses.private_ipv6, None);
        for (from, to, words) in [
            (
                "\"private\"",
                "\"middle\"",
                "guestinfo.interface.0.role: found \"middle\"",
            ),
            (
                "=\"base64\"",
                "=\"rot13\"",
                "guestinfo.coreos.config.data: unknown encoding",
            ),
            ("</Environment>", "", "found no XML"),
        ] {
            std::fs::write(&path, TEXT.replace(from, to)).unwrap();
            let unavailable = read(&path, || Ok(&http)).await.unwrap_err();
            assert!(unavailable.to_string().contains(words), "{unavailable}");
        }
    }
}
