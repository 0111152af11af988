//! The first sector of a disk (MBR), which tells programs that do not know GPT that the disk is in use.

use super::geometry::Geometry;

/// Of the first sector: the code that BIOSes run, which is others' business, is before this.
const PARTITIONS: usize = 446;
const RECORD: usize = 16;
/// The type of the partition that stands for the whole disk.
const PROTECTIVE: u8 = 0xee;

/// Whether an MBR says that the disk has a GPT.
pub(super) fn is_protective(mbr: &[u8]) -> bool {
    let records = mbr[PARTITIONS..PARTITIONS + 4 * RECORD].chunks_exact(RECORD);
    mbr[510..512] == [0x55, 0xaa] && records.into_iter().any(|record| record[4] == PROTECTIVE)
}

/// The MBR with one partition over the whole disk (UEFI, "Protective MBR"); the code before it stays.
pub(super) fn protective(mbr: &[u8], geometry: Geometry) -> Vec<u8> {
    let mut mbr = mbr.to_vec();
    let size = u32::try_from(geometry.last).unwrap_or(u32::MAX);
    mbr[PARTITIONS..510].fill(0);
    let record = &mut mbr[PARTITIONS..PARTITIONS + RECORD];
    record[..8].copy_from_slice(&[0, 0, 2, 0, PROTECTIVE, 0xff, 0xff, 0xff]);
    record[8..12].copy_from_slice(&1u32.to_le_bytes());
    record[12..].copy_from_slice(&size.to_le_bytes());
    mbr[510..512].copy_from_slice(&[0x55, 0xaa]);
    mbr
}

/// Whether an MBR has partitions beside the protective one, for systems that know no GPT.
pub(super) fn is_hybrid(mbr: &[u8]) -> bool {
    let records = mbr[PARTITIONS..PARTITIONS + 4 * RECORD].chunks_exact(RECORD);
    records.into_iter().filter(|record| record[4] != 0).count() > 1
}
