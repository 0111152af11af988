//! Unit files as systemd reads them (its conf-parser): sections, assignments, comments, continued lines.

use super::directives::misspelled;
use crate::diagnostic::{Level, nearest};

/// A diagnostic about a line, counted from 0.
#[derive(Debug, PartialEq)]
pub(super) struct Note {
    pub(super) level: Level,
    pub(super) line: usize,
    pub(super) message: String,
}

/// The assignments of a unit with its drop-ins.
#[derive(Debug, Default)]
pub(super) struct UnitText {
    sections: Vec<String>,
    assignments: Vec<(String, String, String)>,
    /// It includes another file, which may have what is missing.
    pub(super) includes: bool,
}

/// The longest line that systemd reads, in bytes.
const LONGEST: usize = 1 << 20;

impl UnitText {
    pub(super) fn extend(&mut self, more: Self) {
        self.sections.extend(more.sections);
        self.assignments.extend(more.assignments);
        self.includes |= more.includes;
    }

    pub(super) fn has_section(&self, name: &str) -> bool {
        self.sections.iter().any(|section| section == name)
    }

    /// Returns the values of a key as systemd reads them: an empty one clears those before it.
    pub(super) fn values(&self, section: &str, key: &str) -> Vec<&str> {
        let mut values = Vec::new();
        for (in_section, name, value) in &self.assignments {
            if in_section == section && name == key {
                if value.is_empty() {
                    values.clear();
                } else {
                    values.push(value.as_str());
                }
            }
        }
        values
    }

    /// Tells whether any of these keys has a value.
    pub(super) fn any(&self, section: &str, keys: &[&str]) -> bool {
        keys.iter().any(|key| !self.values(section, key).is_empty())
    }
}

/// Reads a unit's text.
pub(super) fn parse(text: &str, suffix: &str) -> (UnitText, Vec<Note>) {
    let mut unit = UnitText::default();
    let mut notes = Vec::new();
    let mut section: Option<String> = None;
    for (line, written) in logical_lines(text) {
        let mut note = |level, message: String| {
            notes.push(Note {
                level,
                line,
                message,
            })
        };
        if written.len() > LONGEST {
            note(
                Level::Error,
                format!("found a line of more than {LONGEST} bytes, which systemd does not read"),
            );
            continue;
        }
        let content = written.trim();
        if content.contains('\0') {
            note(Level::Error, "found a NUL character, expected text".into());
        } else if let Some(rest) = content.strip_prefix('[') {
            let Some(name) = rest.strip_suffix(']') else {
                note(
                    Level::Error,
                    "found a section name without its closing bracket; systemd refuses the whole file"
                        .into(),
                );
                continue;
            };
            if let Some(message) = unknown_section(name, suffix) {
                note(Level::Warning, message);
            }
            unit.sections.push(name.to_owned());
            section = Some(name.to_owned());
        } else {
            if let Some(rest) = content.strip_prefix(".include")
                && (rest.is_empty() || rest.starts_with([' ', '\t']))
            {
                let file = rest.trim().rsplit('/').next().unwrap_or_default();
                let message = format!(
                    "systemd does not read .include, so {} is not in this unit; give only what differs, as `drop-ins: [{{name: 10-own.conf, content: …}}]` of it",
                    if file.is_empty() {
                        "the other file"
                    } else {
                        file
                    }
                );
                note(Level::Error, message);
                unit.includes = true;
                continue;
            }
            let Some((key, value)) = content.split_once('=') else {
                note(Level::Warning, "found a line without =, which systemd ignores; expected Key=value, [Section] or # comment".into());
                continue;
            };
            let Some(section) = &section else {
                note(
                    Level::Warning,
                    "found an assignment before any [Section], which systemd ignores".into(),
                );
                continue;
            };
            let (key, value) = (key.trim_end(), value.trim_start());
            if let Some(near) = misspelled(section, key) {
                note(
                    Level::Warning,
                    format!(
                        "systemd does not know {key}= in [{section}] and ignores it; did you mean {near}=?"
                    ),
                );
            }
            if key.starts_with("Exec")
                && matches!(section.as_str(), "Service" | "Socket" | "Mount" | "Swap")
                && let Some(message) = command(value)
            {
                note(Level::Error, format!("{key}=: {message}"));
            }
            if matches!(key, "Environment" | "PassEnvironment" | "UnsetEnvironment")
                && let Some(open) = open_quote(value)
            {
                note(
                    Level::Warning,
                    format!(
                        "{key}=: found a quote {open} without its end; systemd ignores the line"
                    ),
                );
            }
            unit.assignments
                .push((section.clone(), key.to_owned(), value.to_owned()));
        }
    }
    (unit, notes)
}

/// Joins continued lines, each with the number of its first line; skips comments and empty lines.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    let mut open = false;
    for (number, line) in text.lines().enumerate() {
        // A comment is skipped even between continued lines.
        if line.trim_start().starts_with(['#', ';']) {
            continue;
        }
        let continues = line.len() - line.trim_end_matches('\\').len();
        let continues = continues % 2 == 1;
        let body = if continues {
            &line[..line.len() - 1]
        } else {
            line
        };
        match lines.last_mut().filter(|_| open) {
            Some((_, whole)) => {
                whole.push(' ');
                whole.push_str(body);
            }
            None => lines.push((number, body.to_owned())),
        }
        open = continues;
    }
    lines.retain(|(_, line)| !line.trim().is_empty());
    lines
}

fn unknown_section(name: &str, suffix: &str) -> Option<String> {
    // Files of networkd have many sections, and new ones in every release.
    let own = match suffix {
        "service" => "Service",
        "socket" => "Socket",
        "timer" => "Timer",
        "mount" => "Mount",
        "automount" => "Automount",
        "path" => "Path",
        "slice" => "Slice",
        "swap" => "Swap",
        "scope" => "Scope",
        "target" | "device" => "Unit",
        _ => return None,
    };
    let known = ["Unit", "Install", own];
    if known.contains(&name) || name.starts_with("X-") {
        return None;
    }
    let hint = nearest(name, known.into_iter()).map_or_else(
        || format!("expected one of [Unit], [{own}], [Install]"),
        |near| format!("did you mean [{near}]?"),
    );
    Some(format!(
        "systemd does not know the section [{name}] in a .{suffix} and ignores it; {hint}"
    ))
}

/// Finds why systemd would refuse a command line.
fn command(value: &str) -> Option<String> {
    let bare = value.trim_start_matches(['@', '-', ':', '+', '!', '|']);
    let program = bare.split_whitespace().next().unwrap_or_default();
    let unquoted = program.trim_start_matches(['"', '\'']);
    if unquoted.contains('/') && !unquoted.starts_with('/') && !unquoted.starts_with(['%', '$']) {
        return Some(format!(
            "found {program:?}, expected an absolute path or a plain name; systemd refuses the whole unit"
        ));
    }
    open_quote(value).map(|open| {
        format!(
            "found a quote {open} without its end; systemd refuses the whole unit (\"bad unit file setting\")"
        )
    })
}

/// Finds a quote without an end.
fn open_quote(value: &str) -> Option<char> {
    let mut quote = None;
    let mut escaped = false;
    for c in value.chars() {
        match quote {
            _ if escaped => escaped = false,
            _ if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            // systemd also accepts a quote inside a word.
            None => quote = Some(c).filter(|c| matches!(c, '"' | '\'')),
        }
    }
    quote
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notes(text: &str) -> Vec<(usize, Level, String)> {
        let (_, notes) = parse(text, "service");
        notes
            .into_iter()
            .map(|n| (n.line, n.level, n.message))
            .collect()
    }

    #[test]
    fn well_formed_unit_text_has_no_notes() {
        let text = "# about\n; more\n[Unit]\nDescription=a = b\n\n[Service]\nExecStart=/bin/sh -c \"a \\\n# not this\n  b 'c'\"\n\
                    ExecStartPre=-/bin/true\nExecStop=docker stop it\\'s\nMemoryMax=1G\n[X-Fleet]\nanything=1\n[Install]\nWantedBy = multi-user.target\n";
        assert_eq!(notes(text), []);
        let (unit, _) = parse(text, "service");
        assert_eq!(
            unit.values("Service", "ExecStart"),
            ["/bin/sh -c \"a    b 'c'\""]
        );
        assert_eq!(unit.values("Install", "WantedBy"), ["multi-user.target"]);
        assert!(unit.has_section("X-Fleet") && !unit.has_section("Fleet"));
    }

    #[test]
    fn empty_value_clears_earlier_ones() {
        let (unit, _) = parse(
            "[Service]\nExecStart=/a\nExecStart=\nExecStart=/b\n",
            "service",
        );
        assert_eq!(unit.values("Service", "ExecStart"), ["/b"]);
    }

    #[test]
    fn unit_mistakes_are_reported_with_their_line() {
        for (text, line, level, why) in [
            ("[Unit]\n[Service\n", 1, Level::Error, "closing bracket"),
            ("\nDescription=x\n", 1, Level::Warning, "before any"),
            (
                "[Service]\nExecStart /bin/true\n",
                1,
                Level::Warning,
                "without =",
            ),
            ("[Servce]\n", 0, Level::Warning, "did you mean [Service]?"),
            (
                "[Socket]\n",
                0,
                Level::Warning,
                "expected one of [Unit], [Service]",
            ),
            (
                "[Service]\nExecStrat=/a\n",
                1,
                Level::Warning,
                "did you mean ExecStart=?",
            ),
            (
                "[Install]\nWantedby=x\n",
                1,
                Level::Warning,
                "did you mean WantedBy=?",
            ),
            (
                "[Service]\nExecStart=./a\n",
                1,
                Level::Error,
                "absolute path",
            ),
            (
                "[Service]\nExecStart=/bin/sh -c \"a\n",
                1,
                Level::Error,
                "without its end",
            ),
            (
                "[Service]\nExecStart=/bin/echo it's\n",
                1,
                Level::Error,
                "without its end",
            ),
        ] {
            let found = notes(text);
            assert_eq!(found.len(), 1, "{text}: {found:?}");
            assert_eq!((found[0].0, found[0].1), (line, level), "{text}");
            assert!(found[0].2.contains(why), "{}", found[0].2);
        }
    }
}
