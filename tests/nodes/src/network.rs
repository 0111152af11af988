//! A bridge in a network namespace of its own, and one namespace for each node.

use std::net::Ipv4Addr;

use crate::bed::{Bed, sh};

/// Where everything that is no node is: 10.77.0.1.
#[derive(Debug)]
pub struct Network {
    prefix: String,
}

/// One node's end.
#[derive(Clone, Debug)]
pub struct Port {
    /// The node's namespace.
    pub namespace: String,
    /// Its address.
    pub address: Ipv4Addr,
    hub: String,
    /// The bridge's end of the node's cable.
    cable: String,
}

impl Network {
    /// With a port for each of these names.
    pub async fn new(bed: &Bed, names: &[String]) -> (Self, Vec<Port>) {
        let this = Self {
            prefix: bed.name().to_owned(),
        };
        let hub = this.hub();
        sh(&format!(
            "ip netns add {hub}
             ip -n {hub} link set lo up
             ip -n {hub} link add br0 type bridge
             ip -n {hub} addr add 10.77.0.1/24 dev br0
             ip -n {hub} link set br0 up"
        ))
        .await;
        let mut ports = Vec::new();
        for (index, name) in names.iter().enumerate() {
            let port = Port {
                namespace: format!("{}-{name}", this.prefix),
                address: Ipv4Addr::new(10, 77, 0, 11 + u8::try_from(index).expect("few nodes")),
                hub: hub.clone(),
                cable: name.clone(),
            };
            let (namespace, address) = (&port.namespace, port.address);
            sh(&format!(
                "ip netns add {namespace}
                 ip -n {namespace} link set lo up
                 ip -n {namespace} link add host0 type veth peer name {name} netns {hub}
                 ip -n {namespace} addr add {address}/24 dev host0
                 ip -n {hub} link set {name} master br0 up"
            ))
            .await;
            ports.push(port);
        }
        (this, ports)
    }

    /// The namespace of the bridge.
    pub fn hub(&self) -> String {
        format!("{}-hub", self.prefix)
    }
}

impl Port {
    /// Pulls the cable.
    pub async fn cut(&self) {
        sh(&format!("ip -n {} link set {} down", self.hub, self.cable)).await;
    }

    /// Plugs it in again.
    pub async fn plug_in(&self) {
        sh(&format!("ip -n {} link set {} up", self.hub, self.cable)).await;
    }
}
