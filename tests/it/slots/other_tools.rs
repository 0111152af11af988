//! Comparison with other tools: the table is checked by sgdisk, the order of slots by cgpt.

use std::fs;

use super::*;

async fn tool(program: &str, args: &[&str]) -> Output {
    run(program, args, &[], PATIENCE).await
}

/// Whether sgdisk finds nothing wrong; it exits 0 either way.
async fn verified(image: &str) -> Output {
    let done = tool("sgdisk", &["-v", image]).await;
    assert!(done.stdout.contains("No problems found."), "{done:?}");
    done
}

/// An image that sgdisk made: two sectors sizes cannot be, but any number of entries.
async fn by_sgdisk(dir: &tempfile::TempDir, entries: &str) -> String {
    let image = dir.path().join("sgdisk.img");
    fs::File::create(&image).unwrap().set_len(8 << 20).unwrap();
    let image = image.display().to_string();
    let kind = "5dfbf5f4-2848-4bac-aa5e-0d9a20b745a6";
    let (a, b) = (format!("3:{kind}"), format!("4:{kind}"));
    let args = [
        "-o", "-S", entries, "-n", "1:0:+1M", "-n", "3:0:+1M", "-t", &a, "-c", "3:USR-A", "-n",
        "4:0:+1M", "-t", &b, "-c", "4:USR-B", "-A", "3:set:48", "-A", "3:set:56", "-A", "4:set:49",
        "-A", "4:set:52", &image,
    ];
    let made = tool("sgdisk", &args).await;
    assert_eq!(made.code, Some(0), "{made:?}");
    image
}

#[tokio::test]
async fn sgdisk_finds_nothing_wrong_after_any_change() {
    for entries in ["4", "128", "256"] {
        let dir = scratch::dir("sgdisk");
        let image = by_sgdisk(&dir, entries).await;
        let run = async |args: &[&str]| {
            let done = tool(
                bin().to_str().unwrap(),
                &[args, &["--disk", &image, "--booted", "A"]].concat(),
            )
            .await;
            assert_eq!(done.code, Some(0), "{args:?}: {done:?}");
            done.stdout
        };
        assert_eq!(run(&["slots", "next"]).await, "USR-B\n");
        run(&["slots", "mark-good"]).await;
        verified(&image).await;
        let info = tool("sgdisk", &["-i", "3", &image]).await.stdout;
        assert!(info.contains("Attribute flags: 0102000000000000"), "{info}");
        run(&["slots", "prioritize", "B", "--force"]).await;
        run(&["slots", "next", "--boot"]).await;
        verified(&image).await;
        // Grown, and each copy damaged.
        fs::OpenOptions::new()
            .write(true)
            .open(&image)
            .unwrap()
            .set_len(9 << 20)
            .unwrap();
        assert!(
            run(&["slots", "repair"])
                .await
                .contains("the disk has grown")
        );
        verified(&image).await;
        for (at, copy) in [(512, "primary"), ((9 << 20) - 512, "backup")] {
            use std::os::unix::fs::FileExt as _;
            let file = fs::OpenOptions::new().write(true).open(&image).unwrap();
            file.write_all_at(b"gone", at).unwrap();
            assert!(
                run(&["slots", "prioritize", "A", "--force"])
                    .await
                    .contains(copy)
            );
            run(&["slots", "prioritize", "B", "--force"]).await;
            verified(&image).await;
        }
    }
}

/// Tables with ChromeOS kernels, whose order Debian's cgpt knows how to change.
#[tokio::test]
async fn slots_are_prioritized_as_cgpt_does() {
    let tables: [&[(u8, u8, u8)]; 8] = [
        &[(1, 0, 1), (2, 1, 0)],
        &[(2, 0, 1), (1, 0, 1)],
        &[(0, 0, 1), (0, 3, 0)],
        &[(5, 0, 1), (5, 1, 0), (3, 0, 0)],
        &[(15, 0, 1), (14, 0, 1), (0, 1, 0), (14, 2, 1)],
        &[(1, 0, 1), (1, 0, 1), (1, 0, 1)],
        &[(9, 1, 0)],
        &[(4, 0, 1), (3, 0, 1), (2, 0, 1), (1, 0, 1)],
    ];
    for table in tables {
        for first in 1..=table.len() {
            let dir = scratch::dir("cgpt");
            let image = dir.path().join("kernels.img");
            fs::File::create(&image).unwrap().set_len(1 << 20).unwrap();
            let image = image.display().to_string();
            let ok = async |args: &[&str]| {
                let done = tool("cgpt", args).await;
                assert_eq!(done.code, Some(0), "{args:?}: {done:?}");
                done.stdout
            };
            ok(&["create", &image]).await;
            for (index, (priority, tries, successful)) in table.iter().enumerate() {
                let (number, begin) = ((index + 1).to_string(), (100 + index * 10).to_string());
                let label = format!("KERN-{number}");
                let [p, t, s] = [priority, tries, successful].map(ToString::to_string);
                ok(&[
                    "add", "-i", &number, "-b", &begin, "-s", "8", "-t", "kernel", "-l", &label,
                    "-P", &p, "-T", &t, "-S", &s, &image,
                ])
                .await;
            }
            let ours = format!("{image}.ours");
            fs::copy(&image, &ours).unwrap();
            let number = first.to_string();
            ok(&["prioritize", "-i", &number, &image]).await;
            let done = tool(
                bin().to_str().unwrap(),
                &["slots", "prioritize", &number, "--force", "--disk", &ours],
            )
            .await;
            assert_eq!(done.code, Some(0), "{done:?}");
            for index in 1..=table.len() {
                let number = index.to_string();
                for flag in ["-P", "-T", "-S"] {
                    let theirs = ok(&["show", "-i", &number, flag, &image]).await;
                    let mine = ok(&["show", "-i", &number, flag, &ours]).await;
                    assert_eq!(mine, theirs, "{table:?}, {first} first: {flag} of {index}");
                }
            }
        }
    }
}

/// A block device over an image, gone with the test.
struct Loop(String);

impl Loop {
    async fn over(image: &str, sector: &str) -> Self {
        let made = tool(
            "losetup",
            &["--find", "--show", "--sector-size", sector, image],
        )
        .await;
        assert_eq!(made.code, Some(0), "loop devices are needed: {made:?}");
        let device = made.stdout.trim().to_owned();
        // What a killed test has left of the device's former life.
        tool("blockdev", &["--setrw", &device]).await;
        tool("partx", &["--delete", &device]).await;
        Self(device)
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        for (tool, flag) in [("partx", "--delete"), ("losetup", "--detach")] {
            let _ = std::process::Command::new(tool)
                .args([flag, &self.0])
                .output();
        }
    }
}

#[tokio::test]
async fn block_devices_of_both_sector_sizes_are_changed() {
    let kind = "5dfbf5f4-2848-4bac-aa5e-0d9a20b745a6";
    for sector in ["512", "4096"] {
        let dir = scratch::dir("loop");
        let image = dir.path().join("disk.img");
        fs::File::create(&image).unwrap().set_len(16 << 20).unwrap();
        let device = Loop::over(&image.display().to_string(), sector).await;
        let (a, b) = (format!("3:{kind}"), format!("4:{kind}"));
        let args = [
            "-o", "-n", "3:0:+2M", "-t", &a, "-c", "3:USR-A", "-n", "4:0:+2M", "-t", &b, "-c",
            "4:USR-B", "-A", "3:set:48", "-A", "3:set:56", "-A", "4:set:49", "-A", "4:set:52",
            &device.0,
        ];
        assert_eq!(tool("sgdisk", &args).await.code, Some(0));
        let partitions = tool("partx", &["--add", &device.0]).await;
        assert_eq!(partitions.code, Some(0), "{partitions:?}");
        let run = async |args: &[&str]| {
            let place = ["--disk", &device.0, "--booted", "A"];
            let done = tool(bin().to_str().unwrap(), &[args, &place].concat()).await;
            assert_eq!(done.code, Some(0), "{args:?}: {done:?}");
            done.stdout
        };
        assert_eq!(run(&["slots", "next", "--boot"]).await, "USR-B\n");
        run(&["slots", "mark-good"]).await;
        assert_eq!(run(&["slots", "next"]).await, "USR-A\n");
        let shown = run(&["slots"]).await;
        assert!(shown.contains(&format!("{}p3", device.0)), "{shown}");
        verified(&device.0).await;
    }
}
