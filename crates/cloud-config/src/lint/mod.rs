//! What is wrong between the parts of a document, though each of them fits its key.

mod etcd;
mod files;
mod unit_keys;
mod unit_text;
mod unit_verify;
mod units;

use std::collections::{HashMap, HashSet};

use settings::window::Window;

use super::{
    document::{Document, Service, Text, User, Variable},
    finding::Level,
    report::Report,
    substitute,
};

/// Looks at the whole document. The source is the text that was parsed.
pub(super) fn document(document: &Document, source: &str, report: &mut Report) {
    users(&document.users, report);
    files::check(&document.files, report);
    units::check(&document.units, source, report);
    for service in &document.services {
        variables(service, report);
        match service.key {
            "locksmith" => window(service, report),
            "etcd_member" => etcd::flags(service, report),
            _ => {}
        }
    }
    if let Some(strategy) = &document.update.reboot_strategy
        && strategy.text == "best-effort"
    {
        let message = "deprecated, and taken as etcd-lock by this program's agent; expected etcd-lock, reboot or off";
        report.add(
            Level::Warning,
            strategy.span,
            "coreos.update.reboot_strategy",
            message,
        );
    }
    if let (Some(hosts), None) = (&document.hosts, &document.hostname) {
        let message =
            "the document gives no hostname: /etc/hosts names what the node is called then";
        report.add(Level::Info, hosts.span, "manage_etc_hosts", message);
    }
}

fn users(users: &[User], report: &mut Report) {
    let mut seen = HashMap::new();
    for user in users {
        let path = format!("users[{}]", user.index);
        let Some(name) = &user.name else { continue };
        if let Some(line) = seen.insert(&name.text, name.span.place.line) {
            let message = format!("the user {:?} is on line {line} already", name.text);
            report.add(Level::Warning, name.span, format!("{path}.name"), message);
        }
        repeated(&user.groups, &format!("{path}.groups"), report);
        if user.passwd.is_none() && user.keys.is_empty() && !user.system {
            let message = "without passwd and ssh_authorized_keys nobody can log in as this user";
            report.add(Level::Info, user.span, &path, message);
        }
    }
}

/// Names what stands twice in a list of words.
fn repeated(words: &[Text], path: &str, report: &mut Report) {
    let mut seen = HashSet::new();
    for (index, word) in words.iter().enumerate() {
        if !seen.insert(&word.text) {
            let message = format!("{:?} stands in this list already", word.text);
            report.add(Level::Info, word.span, format!("{path}[{index}]"), message);
        }
    }
}

fn variables(service: &Service, report: &mut Report) {
    for Variable {
        key, value, span, ..
    } in &service.variables
    {
        if key.ends_with("password") && service.key != "flannel" && value.contains('%') {
            let path = format!("coreos.{}.{key}", service.key);
            let message = "systemd reads % and the letter after it as a specifier (%H is the host's name); a % itself is written %%";
            report.add(Level::Warning, *span, path, message);
        }
        // systemd takes tabs and line breaks in a variable, and no other control character.
        let bad = value
            .chars()
            .find(|c| c.is_ascii_control() && !matches!(c, '\t' | '\n'));
        if let Some(bad) = bad {
            let message =
                format!("the control character {bad:?} cannot stand in a service's variable");
            let path = format!("coreos.{}.{key}", service.key);
            report.add(Level::Error, *span, path, message);
        }
    }
}

/// The reboot manager takes both halves of a window or none.
fn window(service: &Service, report: &mut Report) {
    let find = |key: &str| {
        service
            .variables
            .iter()
            .find(|variable| variable.key == key)
    };
    let pair = (find("window_start"), find("window_length"));
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
                return; // Said already, of the one or the other.
            }
            if let Err(error) = Window::parse(given[0], given[1]) {
                let path = "coreos.locksmith.window_length";
                report.refuse(length.span, path, error.to_string());
            }
        }
        (Some(one), None) | (None, Some(one)) => {
            let other = if pair.0.is_some() {
                "window_length"
            } else {
                "window_start"
            };
            let path = format!("coreos.locksmith.{}", one.key);
            let message = format!("without {other} there is no window, expected both or neither");
            report.refuse(one.span, path, message);
        }
        (None, None) => {}
    }
}
