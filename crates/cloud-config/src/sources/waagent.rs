//! The folder of Azure's agent: `CustomData`, and the addresses in `SharedConfig.xml`.

use host::node::{Root, RootPath};
use roxmltree::Document;

use super::{Found, Metadata, Retry, Unavailable, file};
use crate::{content, problem::Problem};

/// Where the agent keeps its files.
pub(super) fn usual(root: &Root) -> RootPath {
    root.path("var/lib/waagent")
}

/// The file that the agent leaves when it has set the machine up: no `CustomData` appears after it.
const DONE: &str = "provisioned";

/// Reads the folder. If both files are missing, the agent has not run yet. `CustomData` may still appear
/// while the agent runs.
pub(super) fn read(folder: &RootPath) -> Result<Found, Unavailable> {
    let custom = file::read_if_there(&folder.join("CustomData"))?;
    let path = folder.join("SharedConfig.xml");
    let shared = file::read_if_there(&path)?;
    if custom.is_none() && shared.is_none() {
        let problem = Problem::found("neither CustomData nor SharedConfig.xml")
            .of(folder.to_string())
            .expected("the folder of Azure's agent");
        return Err(Unavailable::none_here(Retry::Later, problem));
    }
    let metadata = match shared {
        Some(bytes) if !bytes.trim_ascii().is_empty() => {
            let never = |problem| Unavailable::never(problem).here();
            let text = str::from_utf8(&bytes)
                .map_err(|error| never(Problem::said(path.to_string(), error)))?;
            let no_xml = |error| Problem::said(format!("{path}: found no XML"), error);
            addresses(text).map_err(|error| never(no_xml(error)))?
        }
        _ => Metadata::default(),
    };
    let is_whole = custom.is_some() || folder.join(DONE).exists();
    Ok(Found {
        user_data: plain(custom.unwrap_or_default()),
        metadata,
        is_partial: !is_whole,
    })
}

/// Decodes base64, in which the agent stores the data by default. No user data is valid base64.
fn plain(bytes: Vec<u8>) -> Vec<u8> {
    match content::base64(&bytes) {
        Ok(unpacked) if !unpacked.is_empty() => unpacked,
        _ => bytes,
    }
}

/// Reads the addresses of this node's instance.
fn addresses(text: &str) -> Result<Metadata, roxmltree::Error> {
    let document = Document::parse(text.trim_start_matches('\u{feff}'))?;
    let all = || document.descendants();
    let incarnation = all().find(|node| node.has_tag_name("Incarnation"));
    let id = incarnation.and_then(|node| node.attribute("instance"));
    let mut metadata = Metadata::default();
    let instances = all().filter(|node| node.has_tag_name("Instance"));
    let Some(instance) = instances
        .into_iter()
        .find(|node| id.is_none() || node.attribute("id") == id)
    else {
        return Ok(metadata);
    };
    metadata.address(false, instance.attribute("address").unwrap_or_default());
    for endpoint in instance
        .descendants()
        .filter(|node| node.has_tag_name("Endpoint"))
    {
        let public = endpoint.attribute("loadBalancedPublicAddress");
        // The address has a port.
        let address = public.and_then(|text| text.rsplit_once(':'));
        metadata.address(true, address.map_or("", |(address, _)| address));
    }
    Ok(metadata)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_of_this_instance() {
        let text = r#"<?xml version="1.0" encoding="utf-8"?>
            <SharedConfig version="1.0.0.0">
              <Incarnation number="1" instance="n1"/>
              <Instances>
                <Instance id="n0" address="10.0.0.9"/>
                <Instance id="n1" address="10.0.0.4"><InputEndpoints>
                  <Endpoint name="a" address="10.0.0.4" isPublic="false"/>
                  <Endpoint name="ssh" address="10.0.0.4:22" isPublic="true" loadBalancedPublicAddress="192.0.2.4:22"/>
                </InputEndpoints></Instance>
              </Instances>
            </SharedConfig>"#;
        let known = addresses(text).unwrap().addresses;
        assert_eq!(known.private_ipv4.as_deref(), Some("10.0.0.4"));
        assert_eq!(known.public_ipv4.as_deref(), Some("192.0.2.4"));
        assert_eq!(addresses("<SharedConfig/>").unwrap(), Metadata::default());
        assert!(addresses("<SharedConfig>").is_err());
    }

    #[test]
    fn custom_data_is_unpacked_if_packed() {
        for (kept, expected) in [
            ("I2Nsb3VkLWNvbmZpZwo=", "#cloud-config\n"),
            ("I2Nsb3Vk\nLWNvbmZpZwo=\n", "#cloud-config\n"),
            ("#cloud-config\n", "#cloud-config\n"),
            ("#!/bin/sh\n", "#!/bin/sh\n"),
            ("", ""),
        ] {
            assert_eq!(plain(kept.into()), expected.as_bytes(), "{kept}");
        }
    }
}
