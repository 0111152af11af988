//! Whose slots these are: the types of partition by which boot loaders know them, as data.

use std::fmt;

/// A GUID as it lies in a table: the first three fields little-endian (UEFI, "GUID and Time Formats").
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Guid(pub [u8; 16]);

impl Guid {
    /// From the five fields of its text.
    const fn new(a: u32, b: u16, c: u16, d: u16, e: u64) -> Self {
        let (a, b, c) = (a.to_le_bytes(), b.to_le_bytes(), c.to_le_bytes());
        let (d, e) = (d.to_be_bytes(), e.to_be_bytes());
        Self([
            a[0], a[1], a[2], a[3], b[0], b[1], c[0], c[1], d[0], d[1], e[2], e[3], e[4], e[5],
            e[6], e[7],
        ])
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let b = self.0;
        write!(
            f,
            "{:08x}-{:04x}-{:04x}-{:02x}{:02x}-",
            u32::from_le_bytes([b[0], b[1], b[2], b[3]]),
            u16::from_le_bytes([b[4], b[5]]),
            u16::from_le_bytes([b[6], b[7]]),
            b[8],
            b[9]
        )?;
        b[10..].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A family of systems.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scheme {
    /// Its name.
    pub name: &'static str,
    /// The type of its slots' partitions.
    pub slot: Guid,
    /// Whether a slot holds a file system, rather than a kernel.
    pub file_system: bool,
}

/// The schemes known; where a disk has slots of several, the first counts.
pub const SCHEMES: [Scheme; 3] = [
    Scheme {
        name: "flatcar",
        slot: Guid::new(0x5dfb_f5f4, 0x2848, 0x4bac, 0xaa5e, 0x0d9a_20b7_45a6),
        file_system: true,
    },
    Scheme {
        name: "chromeos",
        slot: Guid::new(0xfe3a_2a5d, 0x4f32, 0x41a7, 0xb725, 0xaccc_3285_a309),
        file_system: false,
    },
    Scheme {
        name: "bottlerocket",
        slot: Guid::new(0x6b63_6168, 0x7420, 0x6568, 0x2070, 0x6c61_6e65_7421),
        file_system: true,
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partition_types_are_written_in_the_usual_form() {
        let texts: Vec<String> = SCHEMES.iter().map(|s| s.slot.to_string()).collect();
        assert_eq!(
            texts,
            [
                "5dfbf5f4-2848-4bac-aa5e-0d9a20b745a6",
                "fe3a2a5d-4f32-41a7-b725-accc3285a309",
                "6b636168-7420-6568-2070-6c616e657421"
            ]
        );
    }
}
