//! Reading Debian's /etc/network/interfaces.

use std::net::IpAddr;

use super::{
    NetconfError,
    values::{bond_setting, prefix, route},
};
use crate::problem::{Fault, Problem};

/// An interface, all its stanzas together.
#[derive(Debug, Default)]
pub(super) struct Interface {
    pub(super) name: String,
    pub(super) dhcp4: bool,
    pub(super) dhcp6: bool,
    /// Without an address, or as `auto` of inet6 says.
    pub(super) router_advertisements: bool,
    pub(super) addresses: Vec<(IpAddr, u8)>,
    pub(super) gateways: Vec<IpAddr>,
    pub(super) routes: Vec<((IpAddr, u8), IpAddr)>,
    pub(super) nameservers: Vec<IpAddr>,
    pub(super) domains: Vec<String>,
    pub(super) mac: Option<String>,
    pub(super) mtu: Option<u32>,
    /// It carries a VLAN of this number, on this interface.
    pub(super) vlan: Option<(u16, String)>,
    /// It joins these interfaces.
    pub(super) bond: Option<Bond>,
}

#[derive(Debug, Default)]
pub(super) struct Bond {
    pub(super) slaves: Vec<String>,
    /// Keys and values of networkd's section.
    pub(super) settings: Vec<(&'static str, String)>,
}

/// A stanza that is being read.
struct Stanza {
    line: usize,
    /// The index of its interface.
    at: usize,
    method: String,
    address: Option<(IpAddr, Option<u8>)>,
    netmask: Option<u8>,
    raw_device: Option<String>,
}

/// Reads the text. Returns the interfaces, and the options that were skipped.
pub(super) fn parse(text: &str) -> Result<(Vec<Interface>, Vec<NetconfError>), NetconfError> {
    let mut reader = Reader::default();
    for (line, text) in lines(text) {
        reader.line(line, &text)?;
    }
    reader.finish_stanza()?;
    Ok((reader.interfaces, reader.skipped))
}

/// Splits into numbered lines without comments; lines continued by a backslash are joined.
fn lines(text: &str) -> Vec<(usize, String)> {
    let mut all: Vec<(usize, String)> = Vec::new();
    let mut open = false;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if !open && (line.is_empty() || line.starts_with('#')) {
            continue;
        }
        let (part, more) = match line.strip_suffix('\\') {
            Some(part) => (part, true),
            None => (line, false),
        };
        match all.last_mut().filter(|_| open) {
            Some((_, text)) => *text = format!("{text} {part}"),
            None => all.push((number + 1, part.to_owned())),
        }
        open = more;
    }
    all
}

#[derive(Default)]
struct Reader {
    interfaces: Vec<Interface>,
    skipped: Vec<NetconfError>,
    stanza: Option<Stanza>,
}

fn wrong(line: usize, found: impl Into<String>, expected: impl Into<String>) -> NetconfError {
    NetconfError {
        line,
        problem: Problem::found(found).expected(expected),
    }
}

/// The value of an option is another than it should be.
fn wrong_value(line: usize, option: &str, found: &str, expected: &str) -> NetconfError {
    NetconfError {
        line,
        problem: Problem::found(format!("{found:?}"))
            .of(option)
            .expected(expected),
    }
}

impl Reader {
    fn line(&mut self, line: usize, text: &str) -> Result<(), NetconfError> {
        let mut words = text.split_ascii_whitespace();
        let first = words.next().unwrap_or_default();
        let rest: Vec<&str> = words.collect();
        match first {
            "iface" => {
                self.finish_stanza()?;
                self.iface(line, &rest)
            }
            // All described interfaces are brought up.
            "auto" => self.finish_stanza(),
            _ if first.starts_with("allow-") => self.finish_stanza(),
            "mapping" | "source" | "source-directory" | "rename" | "template" => {
                Err(wrong(line, first, "auto or iface"))
            }
            _ => match self.stanza.take() {
                Some(mut stanza) => {
                    let read = self.option(&mut stanza, line, first, &rest);
                    self.stanza = Some(stanza);
                    read
                }
                None => Err(wrong(line, format!("{first:?}"), "auto or iface before it")),
            },
        }
    }

    fn iface(&mut self, line: usize, words: &[&str]) -> Result<(), NetconfError> {
        let [name, family, method] = words else {
            return Err(wrong(
                line,
                format!("iface {}", words.join(" ")),
                "iface NAME FAMILY METHOD",
            ));
        };
        // An alias is one more address of the same interface.
        let name = name.split(':').next().unwrap_or_default();
        let at = self.interface(line, name)?;
        let one = &mut self.interfaces[at];
        match (*family, *method) {
            ("inet" | "inet6", "static" | "manual" | "loopback") => {}
            ("inet", "dhcp") => one.dhcp4 = true,
            ("inet6", "dhcp") => one.dhcp6 = true,
            ("inet6", "auto") => one.router_advertisements = true,
            _ => {
                return Err(wrong(
                    line,
                    format!("{family} {method}"),
                    "inet or inet6 and static, dhcp, manual or loopback",
                ));
            }
        }
        self.stanza = Some(Stanza {
            line,
            at,
            method: (*method).to_owned(),
            address: None,
            netmask: None,
            raw_device: None,
        });
        Ok(())
    }

    /// Gives the index of the network interface with this name, and adds it if it is not there yet. Its units get its name.
    fn interface(&mut self, line: usize, name: &str) -> Result<usize, NetconfError> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        if name.is_empty() || name.len() > 15 || !name.bytes().all(plain) || name.starts_with('.') {
            return Err(wrong(line, format!("{name:?}"), "an interface's name"));
        }
        let known = self.interfaces.iter().position(|one| one.name == name);
        Ok(known.unwrap_or_else(|| {
            self.interfaces.push(Interface {
                name: name.to_owned(),
                ..Interface::default()
            });
            self.interfaces.len() - 1
        }))
    }

    fn option(
        &mut self,
        stanza: &mut Stanza,
        line: usize,
        name: &str,
        words: &[&str],
    ) -> Result<(), NetconfError> {
        let one = &mut self.interfaces[stanza.at];
        let first = words.first().copied().unwrap_or_default();
        let ip = |text: &str| {
            text.parse::<IpAddr>()
                .map_err(|_| wrong_value(line, name, text, "an address"))
        };
        match name.replace('_', "-").as_str() {
            "address" => {
                let (address, length) = match first.split_once('/') {
                    Some((address, length)) => (address, Some(length)),
                    None => (first, None),
                };
                let address = ip(address)?;
                let length = length.map(|text| prefix(text, address)).transpose();
                let length = length.map_err(|problem| NetconfError {
                    line,
                    problem: problem.of("address"),
                })?;
                stanza.address = Some((address, length));
            }
            "netmask" => {
                let any = IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED);
                let length = prefix(first, any).map_err(|problem| NetconfError {
                    line,
                    problem: problem.of("netmask"),
                })?;
                stanza.netmask = Some(length);
            }
            "gateway" => one.gateways.push(ip(first)?),
            "dns-nameservers" | "dns-nameserver" => {
                for word in words {
                    one.nameservers.push(ip(word)?);
                }
            }
            "dns-search" | "dns-domain" => {
                one.domains
                    .extend(words.iter().map(|word| (*word).to_owned()));
            }
            "hwaddress" => {
                let mac = words.last().copied().unwrap_or_default();
                let good = mac.split(':').count() == 6
                    && mac
                        .split(':')
                        .all(|pair| pair.len() == 2 && u8::from_str_radix(pair, 16).is_ok());
                if !good {
                    let expected = "ether 00:11:22:33:44:55";
                    return Err(wrong_value(line, "hwaddress", mac, expected));
                }
                one.mac = Some(mac.to_owned());
            }
            "mtu" => {
                let mtu = first
                    .parse()
                    .map_err(|_| wrong_value(line, "mtu", first, "a number of bytes"))?;
                one.mtu = Some(mtu);
            }
            "vlan-raw-device" => stanza.raw_device = Some(first.to_owned()),
            "bond-slaves" | "slaves" => {
                let slaves = words.iter().filter(|word| **word != "none");
                let bond = one.bond.get_or_insert_default();
                bond.slaves.extend(slaves.map(|word| (*word).to_owned()));
            }
            "bond-master" => {
                let (slave, at) = (one.name.clone(), self.interface(line, first)?);
                let bond = self.interfaces[at].bond.get_or_insert_default();
                bond.slaves.push(slave);
            }
            option if option.starts_with("bond-") => {
                let Some(setting) = bond_setting(option, first) else {
                    return self.skip(line, name);
                };
                let bond = one.bond.get_or_insert_default();
                bond.settings.push(setting);
            }
            "up" | "post-up" => match route(words) {
                Some(route) => one.routes.push(route),
                None => return self.skip(line, name),
            },
            // networkd removes what it has configured.
            "down" | "pre-down" | "post-down" if route(words).is_some() => {}
            // These follow from address and length.
            "network" | "broadcast" => {}
            _ => return self.skip(line, name),
        }
        Ok(())
    }

    fn skip(&mut self, line: usize, name: &str) -> Result<(), NetconfError> {
        let said = Fault::Said(format!("{name} is not converted to units"));
        let problem = said.into();
        self.skipped.push(NetconfError { line, problem });
        Ok(())
    }

    fn finish_stanza(&mut self) -> Result<(), NetconfError> {
        let Some(stanza) = self.stanza.take() else {
            return Ok(());
        };
        let Stanza { line, at, .. } = stanza;
        if let Some((address, length)) = stanza.address {
            let Some(length) = length.or(stanza.netmask) else {
                return Err(wrong(line, "an address without netmask", "both"));
            };
            if length > 32 && address.is_ipv4() {
                let problem = Problem::found(length.to_string()).of("netmask");
                return Err(NetconfError {
                    line,
                    problem: problem.expected("at most 32"),
                });
            }
            self.interfaces[at].addresses.push((address, length));
        } else if stanza.method == "static" {
            return Err(wrong(line, "static without an address", "one"));
        }
        let name = self.interfaces[at].name.clone();
        let dotted = name.rsplit_once('.');
        let number = match dotted {
            Some((_, number)) => Some(number),
            None => name
                .strip_prefix("vlan")
                .filter(|_| stanza.raw_device.is_some()),
        };
        let raw = stanza
            .raw_device
            .or_else(|| dotted.map(|(raw, _)| raw.to_owned()));
        if let Some(raw) = raw {
            let number = number.and_then(|text| text.parse().ok());
            let Some(number) = number.filter(|number| (1..4095).contains(number)) else {
                return Err(wrong(
                    line,
                    format!("{name:?} on {raw}"),
                    format!("a name such as vlan5 or {raw}.5"),
                ));
            };
            // The interface below it names it, and may not be described itself.
            self.interface(line, &raw)?;
            self.interfaces[at].vlan = Some((number, raw));
        }
        let slaves = self.interfaces[at].bond.as_ref();
        let slaves = slaves.map(|bond| bond.slaves.clone()).unwrap_or_default();
        for slave in slaves {
            self.interface(line, &slave)?;
        }
        Ok(())
    }
}
