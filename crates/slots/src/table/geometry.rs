//! Where the sectors of a disk are.

/// The sectors of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Geometry {
    /// The size of a sector in bytes.
    pub(super) sector: u64,
    /// The last sector.
    pub(super) last: u64,
}
