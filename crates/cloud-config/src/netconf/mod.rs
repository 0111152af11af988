//! Converting a platform's description of the network to units of systemd-networkd. Pure.
//!
//! - `interfaces`: Debian's /etc/network/interfaces (interfaces(5)), which OpenStack's drives hold; `values`: its options
//! - `units`: the units of networkd (systemd.network(5), systemd.netdev(5))

mod interfaces;
mod units;
mod values;

use crate::problem::Problem;

/// Why a description cannot be converted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct NetconfError {
    /// The line, from 1.
    pub line: usize,
    /// What was found and what was expected.
    pub problem: Problem,
}

/// The units, and what of the description is not in them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Converted {
    /// File names and texts.
    pub units: Vec<(String, String)>,
    /// Options that were skipped, with their lines.
    pub skipped: Vec<NetconfError>,
}

/// Converts an /etc/network/interfaces to units.
///
/// # Errors
/// When a stanza cannot be read: with half of its network, the node could be unreachable.
pub fn debian(text: &str) -> Result<Converted, NetconfError> {
    let (interfaces, skipped) = interfaces::parse(text)?;
    Ok(Converted {
        units: units::write(&interfaces),
        skipped,
    })
}

#[cfg(test)]
mod tests;
