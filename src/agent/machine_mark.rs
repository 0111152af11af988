//! Which machine a journal belongs to, beyond its machine id: a copy of a disk has that as well.

use host::node::{self, Root};
use serde::{Deserialize, Serialize};

/// What tells a machine from a copy of its disk. What is not known is not compared.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineMark {
    /// The machine id (machine-id(5)).
    pub id: String,
    /// What the firmware calls the machine: the product id of SMBIOS ("System UUID", 7.2.1), else the serial number of the
    /// device tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product: Option<String>,
    /// The GUID of the disk that holds the slots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<String>,
    /// The host name. It may change, so it counts only where nothing of the hardware can be compared.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hostname: String,
}

/// Whose journal it is, as far as two marks tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// This machine's.
    Own,
    /// That of another node, by its machine id: what it says concerns that node alone.
    Node(String),
    /// That of a machine with the same id, on other hardware: what differs, a sentence.
    Copy(String),
}

impl MachineMark {
    /// The mark of the machine under `root`, whose slots lie on a disk with this GUID.
    #[must_use]
    pub fn of(root: &Root, id: &str, disk: Option<String>) -> Self {
        let product = [
            "sys/class/dmi/id/product_uuid",
            "proc/device-tree/serial-number",
        ];
        let read = |path: &str| root.path(path).read_text().ok();
        let product = product.into_iter().find_map(read);
        let trim = |text: String| {
            text.trim_matches(|c: char| c.is_whitespace() || c == '\0')
                .to_lowercase()
        };
        Self {
            id: id.to_owned(),
            product: product.map(trim).filter(|text| !says_nothing(text)),
            disk,
            hostname: node::hostname(root),
        }
    }

    /// Whose a journal with this mark is, on the machine `here`; `holds` says whether a reboot is under way by it. Only then a
    /// mere host name makes a copy: a journal without one can release nothing.
    #[must_use]
    pub fn owner(&self, here: &Self, holds: bool) -> Owner {
        if self.id != here.id {
            return Owner::Node(self.id.clone());
        }
        let differ = |what: &str, there: &Option<String>, here: &Option<String>| match (there, here)
        {
            (Some(there), Some(here)) if there != here => {
                Some(format!("{what} {there}, and this one has {here}"))
            }
            _ => None,
        };
        let product = differ("the product id", &self.product, &here.product);
        let disk = differ("the disk", &self.disk, &here.disk);
        let both =
            |there: &Option<String>, here: &Option<String>| there.is_some() && here.is_some();
        let compared = both(&self.product, &here.product) || both(&self.disk, &here.disk);
        let names = !self.hostname.is_empty() && self.hostname != here.hostname;
        let host = (holds && names && !compared).then(|| {
            format!(
                "the host name {}, and this one has {}, and nothing of the hardware can be compared",
                self.hostname, here.hostname
            )
        });
        match product.or(disk).or(host) {
            Some(what) => Owner::Copy(what),
            None => Owner::Own,
        }
    }
}

/// Whether boards are sold with this as their id.
fn says_nothing(id: &str) -> bool {
    let mut digits = id.chars().filter(char::is_ascii_alphanumeric);
    let first = digits.next();
    digits.all(|digit| Some(digit) == first)
        // The example of the specification, and what AMI's firmware has where nobody set it.
        || id.starts_with("03000200-0400-0500-0006-000700080009")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn mark(id: &str, product: Option<&str>, disk: Option<&str>) -> MachineMark {
        MachineMark {
            id: id.into(),
            product: product.map(str::to_owned),
            disk: disk.map(str::to_owned),
            hostname: String::new(),
        }
    }

    #[test]
    fn a_journal_belongs_to_the_machine_whose_hardware_it_names() {
        let here = mark("a", Some("p1"), Some("d1"));
        for (there, owner) in [
            (mark("a", Some("p1"), Some("d1")), Owner::Own),
            // Not known there, or by an older agent.
            (mark("a", None, None), Owner::Own),
            (mark("a", Some("p1"), None), Owner::Own),
            (mark("b", Some("p1"), Some("d1")), Owner::Node("b".into())),
            (
                mark("a", Some("p2"), Some("d1")),
                Owner::Copy("the product id p2, and this one has p1".into()),
            ),
            (
                mark("a", None, Some("d2")),
                Owner::Copy("the disk d2, and this one has d1".into()),
            ),
        ] {
            assert_eq!(there.owner(&here, true), owner, "{there:?}");
            // Nothing is known here.
            if there.id == "a" {
                assert_eq!(there.owner(&mark("a", None, None), true), Owner::Own);
            }
        }
    }

    #[test]
    fn a_host_name_counts_where_no_hardware_can_be_compared_and_something_is_held() {
        let named = |name: &str, disk| MachineMark {
            hostname: name.into(),
            ..mark("a", None, disk)
        };
        let there = named("n1", None);
        assert!(matches!(
            there.owner(&named("n2", None), true),
            Owner::Copy(_)
        ));
        for (there, here, holds) in [
            (named("n1", None), named("n1", None), true),
            (named("n1", None), named("n2", None), false),
            (named("n1", Some("d")), named("n2", Some("d")), true),
            (named("", None), named("n2", None), true),
        ] {
            assert_eq!(there.owner(&here, holds), Owner::Own, "{there:?}");
        }
    }

    #[test]
    fn firmware_id_is_used_where_it_is_meaningful() {
        for (text, product) in [
            (
                "4C4C4544-0042-3510-8052-B4C04F4E3132\n",
                Some("4c4c4544-0042-3510-8052-b4c04f4e3132"),
            ),
            ("00000000-0000-0000-0000-000000000000\n", None),
            ("FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF\n", None),
            ("03000200-0400-0500-0006-000700080009\n", None),
            ("\n", None),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let folder = dir.path().join("sys/class/dmi/id");
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("product_uuid"), text).unwrap();
            let found = MachineMark::of(&Root::new(dir.path()), "a", None);
            assert_eq!(found.product.as_deref(), product, "{text}");
        }
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("proc/device-tree");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("serial-number"), "10000000ABCD\0").unwrap();
        let found = MachineMark::of(&Root::new(dir.path()), "a", None);
        assert_eq!(found.product.as_deref(), Some("10000000abcd"));
    }
}
