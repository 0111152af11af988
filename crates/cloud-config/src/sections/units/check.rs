//! Units: contradictions and requests without effect, and text that systemd would not load.

use std::collections::HashMap;

use yaml::{Position, Span, Style, quoted};

use super::{
    text::{self, Note, UnitText},
    unit::Unit,
    verify,
};
use crate::{diagnostic::Level, report::Report, substitute, values::Text};

pub(super) fn check(units: &[Unit], source: &str, report: &mut Report) {
    let mut seen: HashMap<(&str, bool), u64> = HashMap::new();
    for unit in units {
        let path = format!("coreos.units[{}]", unit.index);
        let at = |key: &str| format!("{path}.{key}");
        if let Some(name) = &unit.name {
            let line = name.span.place.line;
            if let Some(line) = seen.insert((&name.text, unit.runtime), line) {
                // Documents do so to stop a unit, write a file that it reads, and start it.
                let message = format!(
                    "the unit {:?} is also on line {line}; both are carried out, one after the other",
                    name.text
                );
                report.add(Level::Info, name.span, at("name"), message);
            }
        }
        wishes(unit, &path, report);
        drop_ins(unit, &path, report);
        texts(unit, &path, source, report);
    }
}

/// Reports keys that contradict each other, or have no effect beside others.
fn wishes(unit: &Unit, path: &str, report: &mut Report) {
    let Some(name) = &unit.name else { return };
    if unit.is_drop_in {
        let asked = [
            ("mask", unit.mask),
            ("enable", unit.enable),
            ("command", unit.command.is_some()),
        ];
        for (key, _) in asked.iter().filter(|(_, asked)| *asked) {
            let message = format!(
                "{key} has no effect on a drop-in and is ignored; give it to {}",
                name.text
            );
            report.add(Level::Warning, name.span, format!("{path}.{key}"), message);
        }
        return;
    }
    let refused = report.refused();
    let mut add = |level, key: &str, span, message: &str| {
        report.add(level, span, format!("{path}.{key}"), message)
    };
    if unit.mask {
        if unit.content.is_some() {
            add(
                Level::Warning,
                "mask",
                name.span,
                "the unit is masked: a link to /dev/null replaces its content",
            );
        }
        if unit.enable {
            add(
                refused,
                "enable",
                name.span,
                "the unit is masked, so it cannot be enabled",
            );
        }
        if let Some(command) = unit
            .command
            .as_ref()
            .filter(|command| command.text != "stop")
        {
            add(
                refused,
                "command",
                command.span,
                "the unit is masked, so it can only be stopped",
            );
        }
    }
    if unit.is_network() {
        if let Some(command) = &unit.command {
            add(
                Level::Warning,
                "command",
                command.span,
                "files of networkd take no commands: networkd is restarted when one of them changes",
            );
        }
        if unit.enable {
            add(
                Level::Warning,
                "enable",
                name.span,
                "files of networkd are not enabled: networkd reads all of them",
            );
        }
    }
    let stem = name.text.rsplit_once('.').map_or("", |(stem, _)| stem);
    if let (true, Some(command)) = (stem.ends_with('@'), &unit.command) {
        add(
            refused,
            "command",
            command.span,
            "this unit is a template; a command needs an instance such as name@1.service",
        );
    }
    let idle = !unit.mask && !unit.enable && unit.content.is_none() && unit.command.is_none();
    if idle && unit.drop_ins.is_empty() && !unit.runtime {
        add(
            Level::Info,
            "name",
            name.span,
            "this unit has no effect: nothing is to be done with it",
        );
    }
}

fn drop_ins(unit: &Unit, path: &str, report: &mut Report) {
    let mut seen = HashMap::new();
    for drop_in in &unit.drop_ins {
        let path = format!("{path}.drop_ins[{}]", drop_in.index);
        if let Some(name) = &drop_in.name
            && let Some(line) = seen.insert(&name.text, name.span.place.line)
        {
            let message = format!("this drop-in is also on line {line}; the later one wins");
            report.add(Level::Warning, name.span, format!("{path}.name"), message);
        }
        if drop_in.content.is_none() {
            report.add(
                Level::Info,
                drop_in.span,
                path,
                "a drop-in without content changes nothing",
            );
        }
    }
}

fn texts(unit: &Unit, path: &str, source: &str, report: &mut Report) {
    let Some(name) = &unit.name else { return };
    let Some((stem, suffix)) = name.text.rsplit_once('.') else {
        return;
    };
    let mut all = UnitText::default();
    let mut open = false;
    let own = unit
        .content
        .iter()
        .map(|text| (text, format!("{path}.content")));
    let added = unit.drop_ins.iter().filter_map(|drop_in| {
        Some((
            drop_in.content.as_ref()?,
            format!("{path}.drop_ins[{}].content", drop_in.index),
        ))
    });
    for (text, path) in own.chain(added) {
        open |= substitute::mentions(&text.text);
        let (parsed, notes) = text::parse(&text.text, suffix);
        for Note {
            level,
            line,
            message,
        } in notes
        {
            let at = line_of(text, line, source);
            // If the lines of the text are not those of the document, the message quotes the line.
            let message = match text.style {
                Style::Folded | Style::Quoted | Style::Plain => {
                    let written = text.text.lines().nth(line).unwrap_or_default();
                    format!("in the line {}: {message}", quoted(written.trim()))
                }
                Style::Literal => message,
            };
            match level {
                Level::Error => report.refuse(at, &path, message),
                level => report.add(level, at, &path, message),
            }
        }
        all.extend(parsed);
    }
    // What is missing is known only for a unit that the document has as a whole.
    let Some(content) = &unit.content else { return };
    if content.text.trim().is_empty() {
        let path = format!("{path}.content");
        report.add(
            Level::Warning,
            content.span,
            path,
            "systemd treats an empty unit as masked",
        );
        return;
    }
    if open || unit.mask {
        return;
    }
    if let Some(message) = verify::refusal(&all, stem, suffix).filter(|_| !all.includes) {
        // A unit that is only written may be completed by somebody else, or never be started.
        let level = match unit.enable || unit.command.is_some() {
            true => report.refused(),
            false => Level::Warning,
        };
        report.add(level, content.span, format!("{path}.content"), message);
    }
    if unit.enable && !unit.is_network() {
        let message = if !all.has_section("Install") {
            "without an [Install] section, enabling the unit does nothing"
        } else if stem.ends_with('@') && !all.any("Install", &["DefaultInstance"]) {
            "without DefaultInstance= in [Install], enabling this template does nothing; enable an instance such as name@1.service"
        } else {
            return;
        };
        let path = format!("{path}.enable");
        report.add(Level::Warning, content.span, path, message);
    }
}

/// Finds a line of a text in the document, counted from 0: the line itself in a block that keeps its lines,
/// else the whole text.
fn line_of(text: &Text, line: usize, source: &str) -> Span {
    let leading = text.text.chars().take_while(|c| *c == '\n').count();
    let Some(below) = line
        .checked_sub(leading)
        .filter(|_| text.style == Style::Literal)
    else {
        return text.span;
    };
    let block = source.get(text.span.start..).unwrap_or_default();
    let start: usize = block.split_inclusive('\n').take(below).map(str::len).sum();
    let written = block[start..].lines().next().unwrap_or_default();
    let indent = written.len() - written.trim_start().len();
    let column = if below == 0 {
        text.span.place.column
    } else {
        1
    };
    Span {
        place: Position {
            line: text.span.place.line + below as u64,
            column: column + written[..indent].chars().count() as u64,
        },
        start: text.span.start + start + indent,
        end: text.span.start + start + written.trim_end().len(),
    }
}
