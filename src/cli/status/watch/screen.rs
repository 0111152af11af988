//! The status over the whole screen of a terminal.

use std::{io, time::Duration};

use host::{node, text, time};
use jiff::{Timestamp, tz::TimeZone};
use ratatui::{
    DefaultTerminal, Frame,
    crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers},
    layout::{Constraint, Layout},
    style::{Color, Modifier, Style},
    text::{Line, Text},
    widgets::Paragraph,
};
use tokio::sync::mpsc;

use super::{Look, ended};
use crate::cli::{
    Context, Exit, Failure,
    history::cluster::of_nodes,
    output,
    status::{Queue, nodes, render},
};

/// How many of the last results are shown.
const RESULTS: usize = 10;

/// How many columns a key moves.
const COLUMNS: u16 = 16;

/// What of it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum View {
    Status,
    Nodes,
}

/// What the screen shows, and from which line on.
struct Screen {
    /// The last look at which etcd answered.
    look: Option<Look>,
    /// Why etcd does not answer, and since when; none where it does.
    away: Option<(String, Timestamp)>,
    view: View,
    scroll: u16,
    /// How many columns are out of sight on the left.
    shift: u16,
    zone: TimeZone,
    colours: bool,
}

/// Shows it until q, Esc or Ctrl-C is pressed, or the program is told to end; the terminal is as before then.
pub(super) async fn show(
    context: &Context,
    mut looks: mpsc::Receiver<Look>,
) -> Result<(), Failure> {
    let failed = |error: io::Error| {
        Failure::new(
            Exit::Failed,
            format!("the terminal cannot be used: {error}"),
        )
    };
    let mut screen = Screen {
        look: None,
        away: None,
        view: View::Status,
        scroll: 0,
        shift: 0,
        zone: node::time_zone(&context.config.root),
        // <https://no-color.org>: set and not empty.
        colours: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
    };
    let mut keys = keys();
    // It also restores the terminal when the program panics.
    let mut terminal = ratatui::try_init().map_err(failed)?;
    let shown = async {
        let mut ended = std::pin::pin!(ended());
        let mut every_second = tokio::time::interval(Duration::from_secs(1));
        loop {
            terminal
                .draw(|frame| screen.draw(frame, Timestamp::now()))
                .map_err(failed)?;
            tokio::select! {
                look = looks.recv() => match look {
                    Some(look) => screen.take(look),
                    None => return Ok(()),
                },
                event = keys.recv() => match event {
                    Some(event) if screen.handle(&event, &terminal) => {}
                    _ => return Ok(()),
                },
                // "42s ago" goes on.
                _ = every_second.tick() => {}
                ended = &mut ended => return ended,
            }
        }
    };
    let shown = shown.await;
    ratatui::try_restore().map_err(failed)?;
    shown
}

/// Keys and changes of the size, from a thread that ends with the program: a terminal can only be waited for.
fn keys() -> mpsc::UnboundedReceiver<Event> {
    let (send, receive) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            if send.send(event).is_err() {
                return;
            }
        }
    });
    receive
}

impl Screen {
    fn take(&mut self, look: Look) {
        match &look.status.etcd_error {
            Some(why) if self.look.is_some() => {
                let since = self
                    .away
                    .take()
                    .map_or_else(Timestamp::now, |(_, since)| since);
                self.away = Some((why.clone(), since));
            }
            _ => {
                self.away = None;
                self.look = Some(look);
            }
        }
    }

    /// Does what a key is for; whether to go on.
    fn handle(&mut self, event: &Event, terminal: &DefaultTerminal) -> bool {
        // A new size is drawn by the next round.
        let Event::Key(key) = event else { return true };
        if key.kind == KeyEventKind::Release {
            return true;
        }
        let page = terminal
            .size()
            .map_or(1, |size| size.height.saturating_sub(2))
            .max(1);
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return false,
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return false,
            KeyCode::Up | KeyCode::Char('k') => self.scroll = self.scroll.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.scroll = self.scroll.saturating_add(1),
            KeyCode::Left | KeyCode::Char('h') => self.shift = self.shift.saturating_sub(COLUMNS),
            KeyCode::Right | KeyCode::Char('l') => self.shift = self.shift.saturating_add(COLUMNS),
            KeyCode::PageUp => self.scroll = self.scroll.saturating_sub(page),
            KeyCode::PageDown | KeyCode::Char(' ') => {
                self.scroll = self.scroll.saturating_add(page)
            }
            KeyCode::Home | KeyCode::Char('g') => self.scroll = 0,
            KeyCode::End | KeyCode::Char('G') => self.scroll = u16::MAX,
            KeyCode::Tab | KeyCode::Char('n') => {
                self.view = match self.view {
                    View::Status => View::Nodes,
                    View::Nodes => View::Status,
                };
                self.scroll = 0;
            }
            _ => {}
        }
        true
    }

    fn draw(&mut self, frame: &mut Frame<'_>, now: Timestamp) {
        let rows = [
            Constraint::Length(1),
            Constraint::Fill(1),
            Constraint::Length(1),
        ];
        let [top, middle, bottom] = Layout::vertical(rows).areas(frame.area());
        let bar = Style::new().add_modifier(Modifier::REVERSED);
        frame.render_widget(Paragraph::new(self.headline(now)).style(bar), top);
        let text = self.text(now);
        let lines = u16::try_from(text.lines().count()).unwrap_or(u16::MAX);
        self.scroll = self.scroll.min(lines.saturating_sub(middle.height));
        let columns = text.lines().map(|line| line.chars().count()).max();
        let columns = u16::try_from(columns.unwrap_or_default()).unwrap_or(u16::MAX);
        self.shift = self.shift.min(columns.saturating_sub(middle.width));
        let wider = columns > middle.width.saturating_add(self.shift);
        let lines: Vec<Line<'_>> = text
            .lines()
            .map(|line| Line::styled(line, self.style(line)))
            .collect();
        frame.render_widget(
            Paragraph::new(Text::from(lines)).scroll((self.scroll, self.shift)),
            middle,
        );
        let more = if self.scroll.saturating_add(middle.height) < lines_of(&text) {
            "  (more below)"
        } else {
            ""
        };
        let other = match self.view {
            View::Status => "n nodes",
            View::Nodes => "n status",
        };
        let right = if wider { "  (more at the right)" } else { "" };
        let keys = format!(" q quit  {other}  arrows scroll{more}{right}");
        frame.render_widget(Paragraph::new(keys).style(bar), bottom);
    }

    fn headline(&self, now: Timestamp) -> String {
        let at = time::shown(now, &self.zone);
        let state = match (&self.look, &self.away) {
            (None, _) => "asking etcd".to_owned(),
            (Some(_), None) => "live".to_owned(),
            (Some(look), Some((why, since))) => format!(
                "NOT LIVE since {}, shown as of {}: {}",
                time::shown(*since, &self.zone),
                time::shown(look.at, &self.zone),
                text::in_a_sentence(why)
            ),
        };
        format!(" pointsman  {at}  {state}")
    }

    fn text(&self, now: Timestamp) -> String {
        let Some(look) = &self.look else {
            return String::new();
        };
        if self.view == View::Nodes {
            let all = nodes::Filter::default().nodes(&look.status);
            return nodes::render(&all, &look.status, &now, &self.zone);
        }
        let mut text = String::new();
        if let Some(error) = &look.status.etcd_error {
            text += &format!("{}\n\n", text::in_a_sentence(error));
        }
        text += &render(&look.status, Queue::Whole, &now, &self.zone);
        if !look.waves.is_empty() {
            text += &format!("\nWaves\n{}\n", look.waves);
        }
        let mut results = of_nodes(&look.status);
        results.sort_by_key(|event| std::cmp::Reverse(event.time));
        if !results.is_empty() {
            text += "\nLast results\n";
        }
        for event in results.iter().take(RESULTS) {
            let at = time::shown(event.time, &self.zone);
            let line = format!("{at}  {}  {}", event.who, event.sentence());
            text += &format!("{}\n", output::in_line(&line));
        }
        text::visible(&text).into_owned()
    }

    /// Headings bold, and what needs a person in colour.
    fn style(&self, line: &str) -> Style {
        let begins = |words: &[&str]| words.iter().any(|word| line.starts_with(word));
        let bold = Style::new().add_modifier(Modifier::BOLD);
        let colour = |colour| if self.colours { bold.fg(colour) } else { bold };
        if line.contains(" OVERDUE ")
            || begins(&["ALL NODES ARE STOPPED", "POLICY cannot", "LOST "])
        {
            colour(Color::Red)
        } else if begins(&["PAUSED ", "THE WHOLE CLUSTER IS PAUSED", "QUARANTINED "]) {
            colour(Color::Yellow)
        } else if begins(&[
            "Group: ",
            "HOLDER ",
            "QUEUE ",
            "HOST ",
            "This node: ",
            "Roll-out of ",
            "Waves",
            "Last results",
        ]) {
            bold
        } else {
            Style::new()
        }
    }
}

fn lines_of(text: &str) -> u16 {
    u16::try_from(text.lines().count()).unwrap_or(u16::MAX)
}
