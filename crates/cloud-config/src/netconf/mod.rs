//! A platform's description of the network, turned into units of systemd-networkd. Pure.
//!
//! - `interfaces`: Debian's /etc/network/interfaces (interfaces(5)), which OpenStack's drives hold; `values`: its options
//! - `units`: what of it networkd is told (systemd.network(5), systemd.netdev(5))

mod interfaces;
mod units;
mod values;

/// Why a description cannot be turned into units.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct NetconfError {
    /// The line, from 1.
    pub line: usize,
    /// What was found and what was expected.
    pub reason: String,
}

/// Units, and what of the description is not in them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Converted {
    /// File names and texts.
    pub units: Vec<(String, String)>,
    /// Options that were passed over, with their lines.
    pub passed_over: Vec<NetconfError>,
}

/// Turns the text of an /etc/network/interfaces into units.
///
/// # Errors
/// When a stanza cannot be understood: a network set up by half would cut the node off.
pub fn debian(text: &str) -> Result<Converted, NetconfError> {
    let (interfaces, passed_over) = interfaces::parse(text)?;
    Ok(Converted {
        units: units::write(&interfaces),
        passed_over,
    })
}

#[cfg(test)]
mod tests;
