//! Telling people at their terminals.

use std::{
    fs::File,
    io::{self, Write as _},
    os::unix::fs::FileTypeExt as _,
    path::{Component, Path},
};

use jiff::Timestamp;
use nix::{fcntl::OFlag, sys::stat::Mode};

use crate::{
    node::{self, Root},
    text, time,
};

/// Writes a message to these terminals (names under `dev`, such as `tty1` or `pts/0`), as wall(1) does.
///
/// A terminal that is gone, or whose person holds its output (Ctrl-S), is passed over: nobody's terminal keeps
/// a reboot waiting.
pub fn tell(root: &Root, ttys: &[String], message: &str) {
    // A reason a person gave must not steer other people's terminals.
    let message: String = message.chars().filter(|c| !text::acts(*c)).collect();
    let broadcast = format!(
        "\r\nBroadcast message from pointsman@{} ({}):\r\n\r\n{message}\r\n",
        node::hostname(root),
        time::shown(Timestamp::now(), &node::time_zone(root))
    );
    for tty in ttys {
        let name = Path::new(tty);
        // The name comes over the bus.
        if !name
            .components()
            .all(|part| matches!(part, Component::Normal(_)))
        {
            tracing::warn!("{tty:?} is no terminal's name; nothing is written there");
            continue;
        }
        let path = root.path(Path::new("dev").join(name));
        // `sda` is a name under dev as well.
        let written = path
            .metadata()
            .and_then(|found| {
                if found.file_type().is_block_device() {
                    return Err(io::Error::other("it is a disk"));
                }
                let flags = OFlag::O_WRONLY | OFlag::O_NOCTTY | OFlag::O_NONBLOCK;
                path.open(flags, Mode::empty())
            })
            .and_then(|terminal| File::from(terminal).write_all(broadcast.as_bytes()));
        if let Err(error) = written {
            tracing::debug!("{tty} is not told: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn only_terminals_under_dev_are_written_to() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("dev/pts")).unwrap();
        for file in ["dev/tty1", "dev/pts/0", "secret"] {
            fs::write(dir.path().join(file), "").unwrap();
        }
        let ttys = ["tty1", "pts/0", "gone", "../secret", "/secret", ""].map(str::to_owned);
        tell(&Root::new(dir.path()), &ttys, "Reboot \x1b[2Jpending");
        for (file, told) in [("dev/tty1", true), ("dev/pts/0", true), ("secret", false)] {
            let text = fs::read_to_string(dir.path().join(file)).unwrap();
            assert_eq!(text.contains("Reboot [2Jpending"), told, "{file}");
        }
        assert!(!dir.path().join("dev/gone").exists());
    }
}
