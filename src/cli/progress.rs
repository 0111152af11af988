//! What goes on, on one line of a terminal that is written over; nothing where no terminal is.

use std::{io::IsTerminal as _, time::Duration};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::output;

/// How often the line is written although nothing is new: the time goes on.
const EVERY: Duration = Duration::from_millis(200);

/// What ends within this time needs no progress: a line that is there for a moment only is hard to read.
const SOON: Duration = Duration::from_secs(1);

/// The line. It is cleared when this is dropped.
#[derive(Debug)]
pub(super) struct Progress {
    bar: Option<ProgressBar>,
}

impl Progress {
    /// On standard error, where both outputs are a terminal.
    pub(super) fn new() -> Self {
        let on = std::io::stderr().is_terminal() && std::io::stdout().is_terminal();
        let bar = on.then(|| {
            let bar = ProgressBar::new_spinner();
            bar.enable_steady_tick(EVERY);
            bar
        });
        Self { bar }
    }

    /// As [`Self::new`], and it is seen only of what takes longer than [`SOON`].
    pub(super) fn of_what_may_end_soon() -> Self {
        let progress = Self::new();
        if let Some(bar) = &progress.bar {
            bar.set_draw_target(ProgressDrawTarget::hidden());
            let bar = bar.downgrade();
            // A thread: what is done may not yield for seconds.
            std::thread::spawn(move || {
                std::thread::sleep(SOON);
                if let Some(bar) = bar.upgrade() {
                    bar.set_draw_target(ProgressDrawTarget::stderr());
                }
            });
        }
        progress
    }

    /// Whether anybody sees it; else each step is better a line.
    pub(super) fn is_on(&self) -> bool {
        self.bar.is_some()
    }

    /// So much of it is done: a bar, the speed and the time left. In bytes.
    pub(super) fn bytes(&self, what: &str, done: u64, of: u64) {
        let Some(bar) = &self.bar else { return };
        // A style for each kind of line, set once.
        if bar.length() != Some(of) {
            let style =
                "{wide_msg} {bar:20} {percent:>3} % of {total_bytes}, {bytes_per_sec}, {eta} left";
            bar.set_style(ProgressStyle::with_template(style).expect("the template is valid"));
            bar.set_length(of);
            bar.reset();
        }
        bar.set_message(output::in_line(what));
        bar.set_position(done.min(of));
    }

    /// So many of its steps are done: a bar, and the time left.
    pub(super) fn steps(&self, what: &str, done: usize, of: usize) {
        let Some(bar) = &self.bar else { return };
        if bar.length() != Some(of as u64) {
            let style = "{wide_msg} {bar:20} {pos} of {len}, {eta} left";
            bar.set_style(ProgressStyle::with_template(style).expect("the template is valid"));
            bar.set_length(of as u64);
        }
        bar.set_message(output::in_line(what));
        bar.set_position(done as u64);
    }

    /// This goes on, nobody knows for how long.
    pub(super) fn doing(&self, what: &str) {
        let Some(bar) = &self.bar else { return };
        if bar.length().is_some() {
            bar.unset_length();
        }
        let style = ProgressStyle::with_template("{spinner} {wide_msg} {elapsed}");
        bar.set_style(style.expect("the template is valid"));
        bar.set_message(output::in_line(what));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
