//! The file of the history: `var/lib/pointsman/history.jsonl`, a JSON object on each line, the oldest first.

use std::{
    collections::VecDeque,
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    sync::{Arc, Mutex, PoisonError},
};

use host::node::{ReadError, Root, RootPath};
use nix::{fcntl::OFlag, sys::stat::Mode};

use super::Happened;

/// From this size on the older half of the file is removed: some thousand events.
const LARGEST: u64 = 512 * 1024;

/// The most that is read of it.
const MOST_READ: u64 = 4 * LARGEST;

/// How much of its end an agent reads at its start.
const TAIL: u64 = 32 * 1024;

/// Only root writes it, everybody may read it.
const MODE: u32 = 0o644;

/// What is read of the file.
#[derive(Debug, Default, PartialEq)]
pub struct Read {
    /// The events, the oldest first.
    pub events: Vec<Happened>,
    /// The numbers of the lines that are none, from 1.
    pub damaged: Vec<usize>,
}

/// Where the history of the machine under `root` is.
#[must_use]
pub fn path(root: &Root) -> RootPath {
    root.path("var/lib/pointsman/history.jsonl")
}

/// Reads the file; nothing where there is none.
///
/// # Errors
/// When it cannot be read, or is larger than 2 MiB, four times what it is kept to.
pub fn read(path: &RootPath) -> Result<Read, ReadError> {
    let bytes = match path.read_bounded(MOST_READ) {
        Err(ReadError::System(error)) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Read::default());
        }
        read => read?,
    };
    let mut found = Read::default();
    for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        match serde_json::from_slice(line) {
            Ok(happened) => found.events.push(happened),
            Err(_) => found.damaged.push(number + 1),
        }
    }
    Ok(found)
}

/// The last events, some hundred, the oldest first; none where the file cannot be read.
#[must_use]
pub fn tail(path: &RootPath) -> Vec<Happened> {
    let bytes = || {
        // Opening a pipe may wait for ever.
        if !path.metadata()?.is_file() {
            return Ok(Vec::new());
        }
        let file = path.open_to_read()?;
        let from = file.metadata()?.len().saturating_sub(TAIL);
        let mut bytes = Vec::new();
        let mut last = file.take(TAIL + from);
        last.get_mut().seek(SeekFrom::Start(from))?;
        last.read_to_end(&mut bytes)?;
        Ok::<_, io::Error>(bytes)
    };
    let bytes = bytes().unwrap_or_default();
    // What is cut off at the beginning is no event.
    let lines = bytes.split(|byte| *byte == b'\n');
    lines
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect()
}

/// Writes events in the background, in their order.
#[derive(Debug, Clone)]
pub struct Writer {
    path: RootPath,
    lines: Arc<Mutex<VecDeque<String>>>,
    /// Locked by who writes.
    writing: Arc<Mutex<()>>,
}

impl Writer {
    /// Of this file.
    #[must_use]
    pub fn new(path: RootPath) -> Self {
        Self {
            path,
            lines: Arc::default(),
            writing: Arc::default(),
        }
    }

    /// Adds events. It returns at once: a slow disk holds nothing up, and what cannot be written is logged and lost.
    pub fn add(&self, events: &[Happened]) {
        if events.is_empty() {
            return;
        }
        let line = |happened| {
            serde_json::to_string(happened).expect("strings and numbers always serialize")
        };
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.extend(events.iter().map(line));
        drop(lines);
        let writer = self.clone();
        tokio::task::spawn_blocking(move || {
            // What one has taken is written before another one takes.
            let _writing = writer
                .writing
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let lines =
                std::mem::take(&mut *writer.lines.lock().unwrap_or_else(PoisonError::into_inner));
            if let Err(error) = append(&writer.path, lines.into_iter()) {
                tracing::warn!("{}: the history cannot be written: {error}", writer.path);
            }
        });
    }
}

fn append(path: &RootPath, lines: impl Iterator<Item = String>) -> io::Result<()> {
    let mut text = String::new();
    for line in lines {
        text += &line;
        text.push('\n');
    }
    if text.is_empty() {
        return Ok(());
    }
    path.parent().make_folder()?;
    // Opening a pipe that nobody reads may wait for ever.
    let flags = OFlag::O_WRONLY
        | OFlag::O_APPEND
        | OFlag::O_CREAT
        | OFlag::O_CLOEXEC
        | OFlag::O_NOFOLLOW
        | OFlag::O_NONBLOCK;
    let file = path.open(flags, Mode::from_bits_truncate(MODE))?;
    let mut file = std::fs::File::from(file);
    let length = file.metadata()?.len();
    // A line that was cut off by a power cut stays one of its own.
    if length > 0 && !ends_with_a_line(path, length) {
        text.insert(0, '\n');
    }
    file.write_all(text.as_bytes())?;
    file.sync_data()?;
    if length + text.len() as u64 > LARGEST {
        keep_half(path)?;
    }
    Ok(())
}

fn ends_with_a_line(path: &RootPath, length: u64) -> bool {
    use std::os::unix::fs::FileExt as _;
    let mut last = [0];
    let read = path
        .open_to_read()
        .and_then(|file| file.read_exact_at(&mut last, length - 1));
    read.is_err() || last == *b"\n"
}

/// Keeps the newer lines, half of what the file may have.
fn keep_half(path: &RootPath) -> io::Result<()> {
    let bytes = path.read_bounded(MOST_READ).map_err(io::Error::other)?;
    let half = usize::try_from(LARGEST / 2).unwrap_or(usize::MAX);
    let from = bytes.len().saturating_sub(half);
    let line = bytes[from..].iter().position(|byte| *byte == b'\n');
    let newer = &bytes[line.map_or(from, |line| from + line + 1)..];
    path.write_atomic(newer, MODE)
}

#[cfg(test)]
mod tests {
    use host::node::Root;

    use super::{super::Kind, *};

    fn happened(reason: &str) -> Happened {
        Happened {
            time: "2026-11-30T01:02:03Z".parse().unwrap(),
            event: Kind::SteppedBack,
            boot_id: "boot-1".into(),
            from: None,
            to: None,
            reason: reason.into(),
            seconds: None,
        }
    }

    fn line(happened: &Happened) -> String {
        serde_json::to_string(happened).unwrap()
    }

    #[test]
    fn damaged_lines_are_named_and_the_others_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = path(&Root::new(dir.path()));
        assert_eq!(read(&path).unwrap(), Read::default());
        let (a, b) = (happened("a"), happened("b"));
        append(&path, [line(&a)].into_iter()).unwrap();
        // Cut off in the middle of a line.
        let file = dir.path().join("var/lib/pointsman/history.jsonl");
        let whole = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, format!("{whole}{{\"time\":\"2026-1")).unwrap();
        append(&path, [line(&b)].into_iter()).unwrap();
        let found = read(&path).unwrap();
        assert_eq!((found.events, found.damaged), (vec![a, b.clone()], vec![2]));
        assert_eq!(tail(&path).last(), Some(&b));
    }

    #[test]
    fn the_file_keeps_the_newest_events_and_does_not_grow_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let path = path(&Root::new(dir.path()));
        let padding = "x".repeat(900);
        let all: Vec<Happened> = (0..1500)
            .map(|n| happened(&format!("{n} {padding}")))
            .collect();
        for some in all.chunks(50) {
            append(&path, some.iter().map(line)).unwrap();
            assert!(path.metadata().unwrap().len() <= LARGEST);
        }
        let found = read(&path).unwrap();
        assert!(found.damaged.is_empty());
        let kept = found.events.len();
        assert!(kept > 200, "{kept}");
        assert_eq!(found.events, all[all.len() - kept..]);
        let last = tail(&path);
        assert!(!last.is_empty() && all.ends_with(&last), "{}", last.len());
    }

    #[tokio::test]
    async fn events_are_written_in_their_order() {
        let dir = tempfile::tempdir().unwrap();
        let path = path(&Root::new(dir.path()));
        let writer = Writer::new(path.clone());
        let all: Vec<Happened> = (0..200).map(|n| happened(&n.to_string())).collect();
        for one in &all {
            writer.add(std::slice::from_ref(one));
        }
        while Arc::strong_count(&writer.lines) > 1 {
            tokio::task::yield_now().await;
        }
        assert_eq!(read(&path).unwrap().events, all);
    }
}
