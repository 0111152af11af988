//! Slots: the commands on image files, judged by other programs.

mod block;
mod other_tools;
mod rollback;
mod show;
mod update;

use pointsman_testbed::{
    disk::DiskImage,
    fakes::PATIENCE,
    process::{Output, run},
    scratch,
};

use crate::agents::bin;

/// An image on a desk: no bus, no update_engine.
pub(super) struct Desk {
    pub(super) dir: tempfile::TempDir,
    pub(super) disk: DiskImage,
}

impl Desk {
    pub(super) fn new() -> Self {
        let dir = scratch::dir("slots");
        let disk = DiskImage::new(&dir.path().join("disk.img"), "1");
        Self { dir, disk }
    }

    /// A command on the image; A runs.
    pub(super) async fn run(&self, args: &[&str]) -> Output {
        let root = self.dir.path().display().to_string();
        let common = ["--root", &root, "--disk", "/disk.img", "--booted", "A"];
        run(bin(), [args, &common].concat(), &[], PATIENCE).await
    }

    pub(super) async fn says(&self, args: &[&str], code: i32, says: &str) -> Output {
        let done = self.run(args).await;
        assert_eq!(done.code, Some(code), "{args:?}: {done:?}");
        let text = format!("{}{}", done.stdout, done.stderr);
        assert!(text.contains(says), "{args:?} should say {says:?}: {text}");
        done
    }
}
