//! `make bench`: what a flip costs (open, lock, read, verify, change, write, sync), as a ratio to writing and syncing the
//! very same sectors plainly, one after the other in one run.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::FileExt as _,
    time::{Duration, Instant},
};

use host::node::{Root, RootPath};
use pointsman_testbed::disk::DiskImage;
use slots::{Location, Slots, select, storage::Access};

const ROUNDS: usize = 200;
const REST: Duration = Duration::from_millis(10);

fn main() {
    // On the disk, where a sync costs something, and not in memory.
    let dir = tempfile::Builder::new()
        .prefix("flip")
        .tempdir_in("target")
        .expect("a folder");
    let disk = DiskImage::new(&dir.path().join("disk.img"), "1");
    let location = Location {
        disk: Some(RootPath::named(disk.path())),
        booted: None,
    };
    let before = fs::read(disk.path()).expect("the image");
    flip(&location, 1);
    let after = fs::read(disk.path()).expect("the image");
    let changed: Vec<usize> = (0..before.len() / 512)
        .filter(|sector| before[sector * 512..][..512] != after[sector * 512..][..512])
        .collect();
    let (backup, primary): (Vec<usize>, Vec<usize>) = changed
        .iter()
        .partition(|sector| **sector > before.len() / 1024);
    let (mut flips, mut plain) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        // Out of the same quiet, both of them.
        std::thread::sleep(REST);
        let began = Instant::now();
        flip(&location, round % 2);
        flips.push(began.elapsed());
        let now = fs::read(disk.path()).expect("the image");
        std::thread::sleep(REST);
        let began = Instant::now();
        let file = OpenOptions::new()
            .write(true)
            .open(disk.path())
            .expect("the image");
        for step in [&backup, &primary] {
            for sector in step {
                let at = sector * 512;
                file.write_all_at(&now[at..at + 512], at as u64)
                    .expect("a write");
            }
            file.sync_data().expect("a sync");
        }
        plain.push(began.elapsed());
    }
    let (flip, plain) = (median(&mut flips), median(&mut plain));
    let ratio = flip.as_secs_f64() / plain.as_secs_f64();
    println!(
        "flip of the slots: median {:.2} ms; its {} sectors written and synced plainly {:.2} ms  = {ratio:.2} ({}; aim: under 1.5)",
        flip.as_secs_f64() * 1000.0,
        changed.len(),
        plain.as_secs_f64() * 1000.0,
        if ratio < 1.5 { "ok" } else { "MISSED" }
    );
}

fn flip(location: &Location, to: usize) {
    let mut slots = Slots::open(&Root::default(), location, Access::Write).expect("slots");
    let change = slots.change(|all| select::mark_good(all, to));
    slots.apply(change).expect("a flip");
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}
