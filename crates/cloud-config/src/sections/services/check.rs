//! What the variables of a service must agree on.

use windows::Window;

use super::{
    etcd_flags,
    table::{Destination, Rule, ServiceEntry},
    variables::Variable,
};
use crate::{diagnostic::Level, report::Report, substitute};

/// Reports what cannot be written as a variable, and what the service's rules forbid.
pub(super) fn check(entry: &ServiceEntry, variables: &[Variable], report: &mut Report) {
    for variable in variables {
        value(entry, variable, report);
    }
    for rule in entry.rules {
        match rule {
            Rule::WholeWindow => window(entry, variables, report),
            Rule::KnownEtcdFlags => etcd_flags::check(entry, variables, report),
            Rule::NoBestEffort => best_effort(entry, variables, report),
        }
    }
}

fn value(entry: &ServiceEntry, variable: &Variable, report: &mut Report) {
    let Variable {
        key, value, span, ..
    } = variable;
    let path = entry.path(key);
    let has_specifiers = matches!(entry.destination, Destination::DropIn(_));
    if has_specifiers && key.ends_with("password") && value.contains('%') {
        let message = "systemd reads % and the letter after it as a specifier (%H is the host name); write %% for a % sign";
        report.add(Level::Warning, *span, &path, message);
    }
    // systemd accepts tabs and line breaks in a variable, and no other control characters.
    let bad = value
        .chars()
        .find(|c| c.is_ascii_control() && !matches!(c, '\t' | '\n'));
    if let Some(bad) = bad {
        let message =
            format!("found the control character {bad:?}, expected a variable without it");
        report.add(Level::Error, *span, path, message);
    }
}

fn find<'a>(variables: &'a [Variable], key: &str) -> Option<&'a Variable> {
    variables.iter().find(|variable| variable.key == key)
}

fn best_effort(entry: &ServiceEntry, variables: &[Variable], report: &mut Report) {
    let key = "reboot_strategy";
    if let Some(strategy) = find(variables, key)
        && strategy.value == "best-effort"
    {
        let message = "deprecated: the agent reads best-effort as etcd-lock; expected etcd-lock, reboot or off";
        report.add(Level::Warning, strategy.span, entry.path(key), message);
    }
}

/// The reboot manager takes both halves of a window or none.
fn window(entry: &ServiceEntry, variables: &[Variable], report: &mut Report) {
    let pair = (
        find(variables, "window_start"),
        find(variables, "window_length"),
    );
    match pair {
        (Some(start), Some(length)) => {
            let given = [&start.value, &length.value];
            if given.iter().any(|text| substitute::mentions(text)) {
                return;
            }
            let each = [
                Window::parse(given[0], "1h"),
                Window::parse("Mon 00:00", given[1]),
            ];
            if each.iter().any(Result::is_err) {
                return; // Its own key has been reported.
            }
            if let Err(error) = Window::parse(given[0], given[1]) {
                report.refuse(length.span, entry.path(&length.key), error.to_string());
            }
        }
        (Some(one), None) | (None, Some(one)) => {
            let other = match pair.0 {
                Some(_) => "window_length",
                None => "window_start",
            };
            let message = format!("without {other} there is no window, expected both or neither");
            report.refuse(one.span, entry.path(&one.key), message);
        }
        (None, None) => {}
    }
}
