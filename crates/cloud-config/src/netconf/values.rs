//! The values of options of interfaces.

use std::net::{IpAddr, Ipv4Addr};

use crate::problem::Problem;

const MODES: [&str; 7] = [
    "balance-rr",
    "active-backup",
    "balance-xor",
    "broadcast",
    "802.3ad",
    "balance-tlb",
    "balance-alb",
];

/// Reads the length of a network's prefix: a number, or an IPv4 mask.
pub(super) fn prefix(text: &str, address: IpAddr) -> Result<u8, Problem> {
    let most = if address.is_ipv4() { 32 } else { 128 };
    if let Ok(mask) = text.parse::<Ipv4Addr>() {
        let bits = mask.to_bits();
        if bits.leading_ones() + bits.trailing_zeros() == 32 || bits == 0 {
            return Ok(bits.leading_ones() as u8);
        }
    }
    text.parse()
        .ok()
        .filter(|length| *length <= most)
        .ok_or_else(|| {
            let expected = format!("a length of at most {most}, or a mask");
            Problem::found(format!("{text:?}")).expected(expected)
        })
}

/// Reads a route from `route add -net NET [netmask MASK] gw GATEWAY` or `ip route add NET via GATEWAY`.
pub(super) fn route(words: &[&str]) -> Option<((IpAddr, u8), IpAddr)> {
    let after = |name: &str| {
        let at = words.iter().position(|word| *word == name)?;
        words.get(at + 1).copied()
    };
    let (net, gateway) = match words {
        ["route", "add" | "del", ..] => (after("-net").or_else(|| after("-host"))?, after("gw")?),
        ["ip", "route" | "r", "add" | "del" | "replace", net, ..] => (*net, after("via")?),
        _ => return None,
    };
    let gateway: IpAddr = gateway.parse().ok()?;
    if net == "default" {
        let any = match gateway {
            IpAddr::V4(_) => "0.0.0.0".parse(),
            IpAddr::V6(_) => "::".parse(),
        };
        return Some(((any.ok()?, 0), gateway));
    }
    let (address, length) = match net.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (net, after("netmask")),
    };
    let address: IpAddr = address.parse().ok()?;
    let whole = if address.is_ipv4() { 32 } else { 128 };
    let length = match length {
        Some(length) => prefix(length, address).ok()?,
        None => whole,
    };
    Some(((address, length), gateway))
}

/// Returns networkd's name of an option of a bond.
pub(super) fn bond_setting(option: &str, value: &str) -> Option<(&'static str, String)> {
    let word = |known: &[&str]| {
        let by_number = value
            .parse::<usize>()
            .ok()
            .and_then(|at| known.get(at).copied());
        let word = by_number.or_else(|| known.iter().copied().find(|known| *known == value));
        word.map(str::to_owned)
    };
    let milliseconds = || value.parse::<u32>().ok().map(|ms| format!("{ms}ms"));
    Some(match option {
        "bond-mode" => ("Mode", word(&MODES)?),
        "bond-miimon" => ("MIIMonitorSec", milliseconds()?),
        "bond-updelay" => ("UpDelaySec", milliseconds()?),
        "bond-downdelay" => ("DownDelaySec", milliseconds()?),
        "bond-lacp-rate" => ("LACPTransmitRate", word(&["slow", "fast"])?),
        "bond-xmit-hash-policy" => (
            "TransmitHashPolicy",
            word(&["layer2", "layer3+4", "layer2+3", "encap2+3", "encap3+4"])?,
        ),
        _ => return None,
    })
}
