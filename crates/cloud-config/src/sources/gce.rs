//! Google Compute Engine.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Found, Metadata, Unavailable, service::Service};
use crate::{content, problem::Problem};

/// The service requires this header, which a browser does not send.
const FLAVOR: [(&str, &str); 1] = [("metadata-flavor", "Google")];

/// The user whose keys are used.
const USER: &str = "core";

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Instance {
    attributes: Map<String, Value>,
    hostname: String,
    network_interfaces: Vec<Interface>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Interface {
    ip: String,
    access_configs: Vec<Access>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Access {
    external_ip: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Project {
    attributes: Map<String, Value>,
}

pub(super) async fn fetch(service: &Service<'_>) -> Result<Found, Unavailable> {
    let path = "computeMetadata/v1/instance/?recursive=true";
    let instance: Instance = service.json(path, &FLAVOR).await?;
    let project: Project = service
        .json("computeMetadata/v1/project/?recursive=true", &FLAVOR)
        .await?;
    let mut metadata = Metadata::default();
    metadata.name(&instance.hostname);
    for interface in &instance.network_interfaces {
        metadata.address(false, &interface.ip);
        for access in &interface.access_configs {
            metadata.address(true, &access.external_ip);
        }
    }
    let text = |attributes: &Map<String, Value>, name: &str| {
        let value = attributes.get(name).and_then(Value::as_str);
        value.map(str::to_owned)
    };
    for attributes in [&instance.attributes, &project.attributes] {
        let keys = text(attributes, "ssh-keys").unwrap_or_default();
        metadata.keys(keys_of(&keys, USER));
    }
    let user_data = text(&instance.attributes, "user-data").unwrap_or_default();
    let packed = text(&instance.attributes, "user-data-encoding");
    let user_data = match packed.as_deref() {
        Some("base64") => content::base64(user_data.as_bytes()).map_err(|error| {
            let what = format!("{}: user-data", service.name(path));
            Unavailable::never(Problem::said(what, error))
        })?,
        _ => user_data.into_bytes(),
    };
    Ok(Found {
        user_data,
        metadata,
        is_partial: false,
    })
}

/// Finds the keys of a user in lines `user:key`.
fn keys_of<'a>(text: &'a str, user: &str) -> impl Iterator<Item = &'a str> {
    text.lines().filter_map(move |line| {
        let (name, key) = line.trim().split_once(':')?;
        (name == user).then_some(key)
    })
}
