//! Whatever bytes a disk holds: reading its table does not panic, and a flip writes a table that verifies and says what
//! was asked, or nothing.
#![no_main]

use std::{io, sync::{Arc, Mutex}};

use libfuzzer_sys::fuzz_target;
use pointsman::slots::{Slots, select, storage::Storage};

/// The bytes, shared with what looks at them afterwards.
#[derive(Clone)]
struct Memory(Arc<Mutex<Vec<u8>>>, u64);

impl Memory {
    fn with<T>(&self, offset: u64, length: usize, act: impl FnOnce(&mut [u8]) -> T) -> io::Result<T> {
        let mut bytes = self.0.lock().map_err(|_| io::ErrorKind::Other)?;
        let from = usize::try_from(offset).map_err(io::Error::other)?;
        let to = from.checked_add(length).ok_or(io::ErrorKind::UnexpectedEof)?;
        let part = bytes.get_mut(from..to).ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(act(part))
    }
}

impl Storage for Memory {
    fn sector(&self) -> u64 {
        self.1
    }
    fn size(&self) -> u64 {
        self.0.lock().map_or(0, |bytes| bytes.len() as u64)
    }
    fn read(&mut self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.with(offset, into.len(), |part| into.copy_from_slice(part))
    }
    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.with(offset, bytes.len(), |part| part.copy_from_slice(bytes))
    }
    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fuzz_target!(|input: (bool, u8, Vec<u8>)| {
    let (large, which, bytes) = input;
    let sector = if large { 4096 } else { 512 };
    let before = bytes.clone();
    let disk = Memory(Arc::new(Mutex::new(bytes)), sector);
    let open = || Slots::read("disk".into(), Box::new(disk.clone()));
    let Ok(mut slots) = open() else {
        assert!(disk.0.lock().is_ok_and(|now| *now == before), "nothing is written to what is no table");
        return;
    };
    let index = usize::from(which) % slots.slots().len();
    let change = slots.change(|all| select::mark_good(all, index));
    let nothing = change.is_nothing();
    slots.apply(change).expect("memory takes it");
    let again = open().expect("what was written verifies");
    assert_eq!(again.next(), Some(index));
    assert!(nothing || again.findings().is_empty());
});
