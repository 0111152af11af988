//! What is written to a disk: steps of writes, as values.

/// Bytes for one place, in whole sectors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// Where, in bytes from the beginning of the disk.
    pub offset: u64,
    /// What.
    pub bytes: Vec<u8>,
}

/// Writes that may reach the disk in any order, and have all reached it before the next step begins.
pub type Step = Vec<Write>;
