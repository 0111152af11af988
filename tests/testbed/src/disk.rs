//! A disk with two slots, made and read by a program that is not the one under test (the crate gptman): an image file, or
//! the block device that stands for it.

mod block;

use std::{
    fs::{File, OpenOptions},
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

pub use block::BlockDevice;

const SECTOR: u64 = 512;
/// Each slot: more than the first MiB, by which images are told apart.
const SLOT: u64 = 2 << 20;
/// What tells a test's images apart: the boot block, which file systems such as ext4 leave to others.
const HEADER: usize = 1024;
/// `USR-A`, `USR-B` on Flatcar.
const KIND: [u8; 16] = [
    0xf4, 0xf5, 0xfb, 0x5d, 0x48, 0x28, 0xac, 0x4b, 0xaa, 0x5e, 0x0d, 0x9a, 0x20, 0xb7, 0x45, 0xa6,
];

/// One of the slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// Partition 3.
    A,
    /// Partition 4.
    B,
}

impl Slot {
    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// `USR-A` or `USR-B`.
    pub fn label(self) -> &'static str {
        match self {
            Self::A => "USR-A",
            Self::B => "USR-B",
        }
    }

    /// The one of this label.
    pub fn of_label(label: &str) -> Option<Self> {
        [Self::A, Self::B]
            .into_iter()
            .find(|slot| slot.label() == label)
    }

    fn number(self) -> u32 {
        match self {
            Self::A => 3,
            Self::B => 4,
        }
    }
}

/// What the boot loader sees of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bits {
    /// 0 never boots.
    pub priority: u8,
    /// Tries left.
    pub tries: u8,
    /// Marked good.
    pub successful: bool,
}

/// The disk.
#[derive(Clone, Debug)]
pub struct DiskImage {
    path: PathBuf,
    /// Where it is a block device: it and the devices of its partitions.
    block: Option<Arc<BlockDevice>>,
}

impl DiskImage {
    /// A new one: A holds the image of this version and is good, B is empty and never boots.
    pub fn new(path: &Path, version: &str) -> Self {
        let this = Self::at(path);
        let mut file = File::create_new(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        file.set_len(2 * SLOT + (2 << 20))
            .expect("room for an image");
        let mut gpt = gptman::GPT::new_from(&mut file, SECTOR, [7; 16]).expect("a table");
        let sectors = SLOT / SECTOR;
        for (index, slot) in [(0, Slot::A), (1, Slot::B)] {
            let starting_lba = 2048 + index * sectors;
            gpt[slot.number()] = gptman::GPTPartitionEntry {
                partition_type_guid: KIND,
                unique_partition_guid: [u8::try_from(index).expect("small") + 1; 16],
                starting_lba,
                ending_lba: starting_lba + sectors - 1,
                attribute_bits: 0,
                partition_name: slot.label().into(),
            };
        }
        gptman::GPT::write_protective_mbr_into(&mut file, SECTOR).expect("an MBR");
        gpt.write_into(&mut file).expect("a table");
        this.write_image(Slot::A, version);
        this.set(
            Slot::A,
            Bits {
                priority: 1,
                tries: 0,
                successful: true,
            },
        );
        this
    }

    /// One that is there already: an image, or the device it is seen through.
    pub fn at(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            block: None,
        }
    }

    /// The same disk as a block device whose partitions have devices of their own (as root). Slot A holds a file system
    /// besides its image, and is mounted: as on a real machine, something keeps the disk open.
    pub fn attached(self) -> Self {
        let block = BlockDevice::attach(&self.path);
        let this = Self {
            path: block.path().to_owned(),
            block: Some(Arc::new(block)),
        };
        let version = this.version(Slot::A).expect("a new disk has an image in A");
        this.write_image(Slot::A, &version);
        this.mount(Slot::A);
        this
    }

    /// The block device that it is, if it is one.
    pub fn block(&self) -> Option<&BlockDevice> {
        self.block.as_deref()
    }

    /// Mounts what a slot holds, read-only, in place of what was mounted before; does nothing with an image file.
    pub fn mount(&self, slot: Slot) {
        if let Some(block) = &self.block {
            block.mount(slot.number());
        }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn open(&self) -> (File, gptman::GPT) {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&self.path)
            .unwrap_or_else(|e| panic!("{}: {e}", self.path.display()));
        let gpt = gptman::GPT::find_from(&mut file)
            .unwrap_or_else(|e| panic!("{}: {e}", self.path.display()));
        (file, gpt)
    }

    /// What the boot loader sees of a slot.
    pub fn bits(&self, slot: Slot) -> Bits {
        let (_, gpt) = self.open();
        let bits = gpt[slot.number()].attribute_bits;
        Bits {
            priority: (bits >> 48 & 0xf) as u8,
            tries: (bits >> 52 & 0xf) as u8,
            successful: bits >> 56 & 1 == 1,
        }
    }

    /// Changes that.
    pub fn set(&self, slot: Slot, bits: Bits) {
        let (mut file, mut gpt) = self.open();
        gpt[slot.number()].attribute_bits = u64::from(bits.priority) << 48
            | u64::from(bits.tries) << 52
            | u64::from(bits.successful) << 56;
        gpt.write_into(&mut file).expect("the table is written");
    }

    /// The device of a slot's partition, where the kernel has one.
    fn partition(&self, slot: Slot) -> Option<PathBuf> {
        block::partition(&self.path, slot.number())
    }

    /// Opens what a slot lies on, at its beginning: as update_engine does its partition's own device, where there is one.
    fn open_slot(&self, slot: Slot) -> File {
        let (path, at) = match self.partition(slot) {
            Some(device) => (device, 0),
            None => (
                self.path.clone(),
                self.open().1[slot.number()].starting_lba * SECTOR,
            ),
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        file.seek(SeekFrom::Start(at)).expect("within the disk");
        file
    }

    /// Writes the image of a version: what could be a file system by its first bytes, and the version; on an attached disk
    /// it is a file system.
    pub fn write_image(&self, slot: Slot, version: &str) {
        let mut bytes = vec![0u8; HEADER];
        bytes[..4].copy_from_slice(b"hsqs");
        bytes[512..512 + version.len()].copy_from_slice(version.as_bytes());
        if let Some(block) = &self.block {
            block.format(slot.number());
        }
        let mut file = self.open_slot(slot);
        file.write_all(&bytes)
            .and_then(|()| file.sync_all())
            .expect("an image is written");
    }

    /// The version of the image in a slot; none where there is none.
    pub fn version(&self, slot: Slot) -> Option<String> {
        let mut bytes = vec![0u8; HEADER];
        self.open_slot(slot)
            .read_exact(&mut bytes)
            .expect("an image is read");
        let end = bytes[512..].iter().position(|b| *b == 0).unwrap_or(0);
        let version = String::from_utf8_lossy(&bytes[512..512 + end]).into_owned();
        bytes.starts_with(b"hsqs").then_some(version)
    }

    /// What update_engine's post-install does with an update it has written to this slot: one try, and first.
    pub fn post_install(&self, slot: Slot, version: &str) {
        self.write_image(slot, version);
        self.set(
            slot,
            Bits {
                priority: 2,
                tries: 1,
                successful: false,
            },
        );
        let other = self.bits(slot.other());
        self.set(
            slot.other(),
            Bits {
                priority: 1,
                ..other
            },
        );
    }
}
