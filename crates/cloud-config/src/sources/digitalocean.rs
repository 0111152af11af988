//! DigitalOcean.

use serde::Deserialize;

use super::{Found, Metadata, Unavailable, service::Service};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Droplet {
    hostname: String,
    public_keys: Vec<String>,
    interfaces: Interfaces,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Interfaces {
    public: Vec<Interface>,
    private: Vec<Interface>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Interface {
    ipv4: Option<Address>,
    ipv6: Option<Address>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Address {
    ip_address: String,
}

pub(super) async fn fetch(service: &Service<'_>) -> Result<Found, Unavailable> {
    let droplet: Droplet = service.json("metadata/v1.json", &[]).await?;
    let mut metadata = Metadata::default();
    metadata.name(&droplet.hostname);
    metadata.keys(droplet.public_keys.iter().map(String::as_str));
    for (public, interfaces) in [
        (true, &droplet.interfaces.public),
        (false, &droplet.interfaces.private),
    ] {
        for address in interfaces.iter().flat_map(|i| [&i.ipv4, &i.ipv6]).flatten() {
            metadata.address(public, &address.ip_address);
        }
    }
    let user_data = service.optional("metadata/v1/user-data", &[]).await?;
    Ok(Found {
        user_data: user_data.unwrap_or_default(),
        metadata,
        is_partial: false,
    })
}
