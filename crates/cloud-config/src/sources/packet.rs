//! Packet, now Equinix Metal.

use serde::Deserialize;

use super::{Found, Metadata, Unavailable, service::Service};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Machine {
    hostname: String,
    ssh_keys: Vec<String>,
    network: Network,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Network {
    addresses: Vec<Address>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Address {
    address: String,
    public: bool,
}

pub(super) async fn fetch(service: &Service<'_>) -> Result<Found, Unavailable> {
    let machine: Machine = service.json("metadata", &[]).await?;
    let mut metadata = Metadata::default();
    metadata.name(&machine.hostname);
    metadata.keys(machine.ssh_keys.iter().map(String::as_str));
    for address in &machine.network.addresses {
        metadata.address(address.public, &address.address);
    }
    let user_data = service.optional("userdata", &[]).await?;
    Ok(Found {
        user_data: user_data.unwrap_or_default(),
        metadata,
        is_partial: false,
    })
}
