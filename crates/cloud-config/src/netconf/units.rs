//! Interfaces as units of networkd.

use std::fmt::Write as _;

use super::interfaces::Interface;

/// Writes a `.network` for each interface, and a `.netdev` for virtual ones. The loopback needs none.
pub(super) fn write(interfaces: &[Interface]) -> Vec<(String, String)> {
    let mut units = Vec::new();
    for one in interfaces.iter().filter(|one| one.name != "lo") {
        if let Some(text) = netdev(one) {
            units.push((format!("00-{}.netdev", one.name), text));
        }
        units.push((format!("00-{}.network", one.name), network(one, interfaces)));
    }
    units
}

fn netdev(one: &Interface) -> Option<String> {
    let kind = match (&one.vlan, &one.bond) {
        (Some(_), _) => "vlan",
        (None, Some(_)) => "bond",
        (None, None) => return None,
    };
    let mut text = format!("[NetDev]\nName={}\nKind={kind}\n", one.name);
    if let Some(mac) = &one.mac {
        let _ = writeln!(text, "MACAddress={mac}");
    }
    if let Some((number, _)) = &one.vlan {
        let _ = write!(text, "\n[VLAN]\nId={number}\n");
    } else if let Some(bond) = &one.bond
        && !bond.settings.is_empty()
    {
        text += "\n[Bond]\n";
        for (key, value) in &bond.settings {
            let _ = writeln!(text, "{key}={value}");
        }
    }
    Some(text)
}

fn network(one: &Interface, all: &[Interface]) -> String {
    let mut text = format!("[Match]\nName={}\n", one.name);
    let made = one.vlan.is_some() || one.bond.is_some();
    let mac = one.mac.as_ref().filter(|_| !made);
    if one.mtu.is_some() || mac.is_some() {
        text += "\n[Link]\n";
        if let Some(mac) = mac {
            let _ = writeln!(text, "MACAddress={mac}");
        }
        if let Some(mtu) = one.mtu {
            let _ = writeln!(text, "MTUBytes={mtu}");
        }
    }
    text += "\n[Network]\n";
    match (one.dhcp4, one.dhcp6) {
        (true, true) => text += "DHCP=yes\n",
        (true, false) => text += "DHCP=ipv4\n",
        (false, true) => text += "DHCP=ipv6\n",
        (false, false) => {}
    }
    if one.router_advertisements {
        text += "IPv6AcceptRA=yes\n";
    }
    for other in all {
        if other.vlan.as_ref().is_some_and(|(_, raw)| *raw == one.name) {
            let _ = writeln!(text, "VLAN={}", other.name);
        }
        let slaves = other.bond.as_ref().map(|bond| &bond.slaves);
        if slaves.is_some_and(|slaves| slaves.contains(&one.name)) {
            let _ = writeln!(text, "Bond={}", other.name);
        }
    }
    for server in &one.nameservers {
        let _ = writeln!(text, "DNS={server}");
    }
    if !one.domains.is_empty() {
        let _ = writeln!(text, "Domains={}", one.domains.join(" "));
    }
    for gateway in &one.gateways {
        let _ = writeln!(text, "Gateway={gateway}");
    }
    for (address, length) in &one.addresses {
        let _ = write!(text, "\n[Address]\nAddress={address}/{length}\n");
    }
    for ((net, length), gateway) in &one.routes {
        let _ = write!(
            text,
            "\n[Route]\nDestination={net}/{length}\nGateway={gateway}\n"
        );
    }
    text
}
