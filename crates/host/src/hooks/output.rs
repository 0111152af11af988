//! What a hook says: its lines in the log, and the last of them for its error.

use futures_util::FutureExt as _;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, BufReader},
    task::unconstrained,
};

/// How much of one hook's output is logged, in bytes.
const OUTPUT: usize = 64 * 1024;
/// How much a pipe holds, and the buffer that reads it (pipe(7)).
const PIPE: usize = 64 * 1024 + 8 * 1024;

/// The last line a hook said, and how much it has said.
#[derive(Default)]
pub(super) struct Lines {
    pub(super) text: String,
    logged: usize,
}

impl Lines {
    pub(super) fn take(&mut self, hook: &str, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        let line = line.trim_end();
        if line.is_empty() {
            return;
        }
        if self.logged < OUTPUT {
            tracing::info!("{hook}: {line}");
            if self.logged + line.len() >= OUTPUT {
                tracing::warn!("{hook} says more than {OUTPUT} bytes; the rest is not logged");
            }
        }
        self.logged += line.len();
        self.text = line.chars().take(500).collect();
    }
}

impl Lines {
    /// What stands in a pipe of a hook that has ended: all it has said by then, and no more than a pipe holds.
    pub(super) fn take_rest(
        &mut self,
        hook: &str,
        from: &mut Option<BufReader<impl AsyncRead + Unpin>>,
        mut line: Vec<u8>,
    ) {
        let mut left = PIPE;
        while left > 0
            && let Some(true) = unconstrained(read(from, &mut line)).now_or_never()
        {
            left = left.saturating_sub(line.len().max(1));
            self.take(hook, &line);
            line.clear();
        }
        self.take(hook, &line);
    }
}

/// Reads one line, or 8 KiB of a longer one; false at the end.
pub(super) async fn read(
    from: &mut Option<BufReader<impl AsyncRead + Unpin>>,
    line: &mut Vec<u8>,
) -> bool {
    let Some(from) = from else {
        return std::future::pending().await;
    };
    loop {
        let Ok(buffer) = from.fill_buf().await else {
            return false;
        };
        if buffer.is_empty() {
            return !line.is_empty();
        }
        let end = buffer.iter().position(|b| *b == b'\n');
        let taken = end.map_or(buffer.len(), |end| end + 1);
        line.extend_from_slice(&buffer[..taken]);
        from.consume(taken);
        if end.is_some() || line.len() > 8192 {
            return true;
        }
    }
}
