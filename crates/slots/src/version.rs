//! The version of what a slot holds, for people: os-release(5).

use std::{path::Path, process::Stdio, time::Duration};

use host::node::Root;
use tokio::{process::Command, time::timeout};

use super::Slot;

/// What a mount and a small file may take.
const LIMIT: Duration = Duration::from_secs(10);

/// Mounts a part of a disk read-only where nobody else sees it, and prints its os-release. A slot holds `/usr` or `/`.
const READ: &str = r#"
mount -t "$1" -o "$2" "$3" /mnt || exit 1
for file in lib/os-release usr/lib/os-release etc/os-release; do
    [ -f "/mnt/$file" ] && exec cat "/mnt/$file"
done
exit 1
"#;

/// The version in an os-release: `VERSION_ID`, else `VERSION`.
#[must_use]
pub fn of_text(text: &str) -> Option<String> {
    let field = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
            .map(|value| value.trim_matches(['"', '\'']).to_owned())
    };
    field("VERSION_ID").or_else(|| field("VERSION"))
}

/// The version that runs.
#[must_use]
pub fn of_booted(root: &Root) -> Option<String> {
    let text = ["etc/os-release", "usr/lib/os-release"]
        .iter()
        .find_map(|file| root.path(file).read_text().ok())?;
    of_text(&text)
}

/// The version in a slot that does not run; none where it cannot be read, which takes root. It is read through the
/// slot's own `device` where there is one: what was written there may not be seen through the `disk`.
pub async fn of_slot(
    disk: &Path,
    slot: &Slot,
    device: Option<&Path>,
    content: Option<&str>,
) -> Option<String> {
    let kind = content.filter(|kind| *kind != "kernel")?;
    // A journal is not replayed: nothing is written to a slot to read its version.
    let journal = if kind == "ext4" { ",noload" } else { "" };
    let options = match device {
        Some(_) => format!("ro{journal}"),
        None => format!(
            "ro{journal},loop,offset={},sizelimit={}",
            slot.offset, slot.length
        ),
    };
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", READ, "sh", kind, &options])
        .arg(device.unwrap_or(disk))
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(LIMIT, output).await.ok()?.ok()?;
    of_text(&String::from_utf8_lossy(&output.stdout)).filter(|_| output.status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_number_is_preferred_to_the_version_name() {
        let text = "NAME=Flatcar\nVERSION=\"4081 (x)\"\nVERSION_ID=4081.2.0\n";
        assert_eq!(of_text(text).as_deref(), Some("4081.2.0"));
        assert_eq!(of_text("VERSION='1'").as_deref(), Some("1"));
        assert_eq!(of_text("VERSION_IDX=1"), None);
    }
}
