//! Virtual machines for pointsman's tests, by software emulation: a real kernel, a boot loader's choice between two
//! system partitions, a watchdog; a kernel that panics, a system that hangs, a machine that loses power.
//!
//! What a machine is made of comes from `build.sh`. Its boot loader is `files/init`, which asks `pointsman slots next
//! --boot`; an image is told by the first 4 KiB of its slot, and is bad in the way its version says.

pub mod machine;
pub mod site;

use std::{io::Write as _, path::PathBuf};

use pointsman_nodes::bed::{self, built, repository, sh};
use tokio::sync::OnceCell;

/// Whether the test is to be left out, said loudly; under CI nothing is.
pub fn skipped(test: &str) -> bool {
    let tools = [
        "qemu-system-x86_64",
        "mksquashfs",
        "busybox",
        "cpio",
        "sgdisk",
        "modprobe",
    ];
    let path = std::env::var_os("PATH").unwrap_or_default();
    let has = |tool: &&str| {
        std::env::split_paths(&path).any(|dir| dir.join(tool).exists())
            || PathBuf::from("/usr/sbin").join(tool).exists()
    };
    let mut missing: Vec<&str> = tools.iter().filter(|tool| !has(tool)).copied().collect();
    let kernel = std::fs::read_dir("/boot").is_ok_and(|mut files| {
        files.any(|file| {
            file.is_ok_and(|file| file.file_name().to_string_lossy().starts_with("vmlinuz-"))
        })
    });
    if !kernel {
        missing.push("a kernel in /boot (linux-image-amd64)");
    }
    let why = match (bed::lacks(), missing.is_empty()) {
        (Some(why), _) => why,
        (None, true) => return false,
        (None, false) => format!("not installed: {}", missing.join(", ")),
    };
    assert!(
        std::env::var_os("CI").is_none(),
        "{test} cannot run, and under CI nothing is skipped: {why}"
    );
    // Past what captures a test's output.
    let _ = writeln!(std::io::stderr(), "{test}: skipped: {why}");
    true
}

/// The folder with the kernel, the initramfs and the disk, built once.
pub async fn parts() -> &'static PathBuf {
    static PARTS: OnceCell<PathBuf> = OnceCell::const_new();
    PARTS
        .get_or_init(|| async {
            let out = repository().join("target/vm");
            let script = repository().join("tests/vm/build.sh");
            sh(&format!(
                "mkdir -p {out}; flock {out}.lock {script} {from} {out}",
                out = out.display(),
                script = script.display(),
                from = built().display(),
            ))
            .await;
            out
        })
        .await
}
