//! Units: the links that enable them, and the commands for systemd.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    io,
};

use super::{
    super::{
        act::Act,
        earlier::Earlier,
        entry::{TreeEntry, TreePath},
        install,
        put::Put,
        state::State,
    },
    acts::Look,
};
use crate::problem::Problem;

/// The folders of units, the most important first.
const FOLDERS: [&str; 5] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

/// The largest unit that is read, in bytes.
const MOST: u64 = 1 << 20;

/// How many links from one unit to another are followed.
const LINKS: usize = 8;

impl<'a> Look<'a, '_> {
    /// Enables a unit, and those that its `[Install]` section names with it.
    pub(super) fn enable(&mut self, unit: &'a str, runtime: bool) -> io::Result<()> {
        let top = if runtime { FOLDERS[1] } else { FOLDERS[0] };
        let mut open = vec![unit.to_owned()];
        let mut seen: Vec<String> = Vec::new();
        let mut due = false;
        while let Some(name) = open.pop() {
            if seen.contains(&name) {
                continue;
            }
            let Some((path, texts)) = self.unit(&name)? else {
                if name == unit && !self.after_script {
                    return self.cannot_enable(unit, runtime, "the unit does not exist");
                } else {
                    self.notes.push(format!(
                        "{name}, which is enabled with {unit}, does not exist"
                    ));
                }
                seen.push(name);
                continue;
            };
            if texts.is_empty() {
                return self.cannot_enable(unit, runtime, &format!("{path} masks it"));
            }
            let install = install::read(&name, &texts);
            if name == unit && install == install::Install::default() {
                self.notes.push(format!(
                    "{unit} has no [Install] section: there is nothing to enable"
                ));
            }
            if install.lacks_instance && install.links.is_empty() {
                self.notes.push(format!(
                    "{name} is a template without DefaultInstance= in [Install]: there is nothing to enable"
                ));
            }
            for unknown in &install.unknown {
                self.notes
                    .push(format!("{name}: {unknown} is expanded by systemd only"));
            }
            for link in &install.links {
                due |= self.link(&format!("{top}/{link}"), &path)?;
            }
            open.extend(install.also);
            seen.push(name);
        }
        self.acts.push(Act::Enable { unit, runtime, due });
        Ok(())
    }

    /// Refuses the document because a unit cannot be enabled. In compatibility mode only this request is refused,
    /// by systemd.
    fn cannot_enable(&mut self, unit: &'a str, runtime: bool, why: &str) -> io::Result<()> {
        let problem = Problem::said(format!("{unit} cannot be enabled"), why);
        match self.machine.adds {
            true => self.notes.push(problem.to_string()),
            false => self.refused.push(problem),
        }
        self.acts.push(Act::Enable {
            unit,
            runtime,
            due: self.machine.systemd,
        });
        Ok(())
    }

    /// Adds a link to a unit, unless it leads there already.
    fn link(&mut self, link: &str, target: &str) -> io::Result<bool> {
        let (place, before) = self.before(link)?;
        let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
        let after = match &before {
            TreeEntry::Link(there) if name(there) == name(target) => before.clone(),
            _ => TreeEntry::Link(target.to_owned()),
        };
        let due = before != after;
        self.put(Put::new(place, before, after));
        Ok(due)
    }

    /// Finds a unit and its texts: its own and those of its drop-ins; no text if it is masked.
    fn unit(&self, name: &str) -> io::Result<Option<(String, Vec<String>)>> {
        let template = install::template(name);
        for name in [Some(name), template.as_deref()].into_iter().flatten() {
            let mut name = name.to_owned();
            // A unit that is a link to another one is an alias of it.
            for _ in 0..LINKS {
                match self.unit_file(&name)? {
                    None => break,
                    Some((path, Unit::Text(text))) => {
                        let mut texts = vec![text];
                        texts.extend(self.drop_ins(&name)?);
                        return Ok(Some((path, texts)));
                    }
                    Some((path, Unit::Masked)) => return Ok(Some((path, Vec::new()))),
                    Some((path, Unit::Elsewhere(target))) => {
                        let next = target.rsplit('/').next().unwrap_or_default().to_owned();
                        if next == name {
                            let bytes = self.machine.tree.read(&path, MOST)?.unwrap_or_default();
                            let text = String::from_utf8_lossy(&bytes).into_owned();
                            return Ok(Some((path, vec![text])));
                        }
                        name = next;
                    }
                }
            }
        }
        Ok(None)
    }

    fn unit_file(&self, name: &str) -> io::Result<Option<(String, Unit)>> {
        for folder in FOLDERS {
            let path = format!("{folder}/{name}");
            let (entry, bytes) = self.at(&path)?;
            let unit = match entry {
                TreeEntry::Link(target) if target == "/dev/null" => Unit::Masked,
                TreeEntry::Link(target) => Unit::Elsewhere(target),
                TreeEntry::File(_) if bytes.is_empty() => Unit::Masked,
                TreeEntry::File(_) => Unit::Text(String::from_utf8_lossy(&bytes).into_owned()),
                _ => continue,
            };
            return Ok(Some((path, unit)));
        }
        Ok(None)
    }

    /// Reads what will be at a path when the acts so far are done.
    fn at(&self, path: &str) -> io::Result<(TreeEntry, Cow<'_, [u8]>)> {
        let place = TreePath::from(path);
        if let Some(put) = self.planned(&place) {
            return Ok((put.after.clone(), Cow::Borrowed(&put.bytes)));
        }
        let entry = match self.machine.tree.look(&place) {
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => TreeEntry::Absent,
            other => other?,
        };
        let bytes = match entry {
            TreeEntry::File(_) => self.machine.tree.read(path, MOST)?.unwrap_or_default(),
            _ => Vec::new(),
        };
        Ok((entry, Cow::Owned(bytes)))
    }

    fn drop_ins(&self, name: &str) -> io::Result<Vec<String>> {
        let mut found: BTreeMap<String, String> = BTreeMap::new();
        // The least important first: a later one of the same name replaces it.
        for folder in FOLDERS.iter().rev() {
            let folder = format!("{folder}/{name}.d");
            let mut names = self.machine.tree.names(&folder)?;
            let planned = self.wanted.range(format!("{folder}/")..);
            names.extend(
                planned
                    .map_while(|path| path.strip_prefix(&format!("{folder}/")))
                    .map(str::to_owned),
            );
            for name in names.into_iter().filter(|name| name.ends_with(".conf")) {
                let (entry, bytes) = self.at(&format!("{folder}/{name}"))?;
                if matches!(entry, TreeEntry::File(_) | TreeEntry::Link(_)) {
                    found.insert(name, String::from_utf8_lossy(&bytes).into_owned());
                }
            }
        }
        Ok(found.into_values().collect())
    }

    /// Adds the commands for systemd that follow when all files are written.
    pub(super) fn tell(&mut self) {
        if !self.machine.systemd {
            self.commands.append(&mut self.last);
            let left = match self.commands.len() {
                0 => return,
                1 => "1 command to a unit is not run".to_owned(),
                left => format!("{left} commands to units are not run"),
            };
            let commands: Vec<String> = self
                .commands
                .iter()
                .map(|(unit, command)| format!("{command} {unit}"))
                .collect();
            self.notes.push(format!(
                "{left}: systemd does not run here ({})",
                commands.join(", ")
            ));
            return;
        }
        let mut so_far = Earlier {
            wanted: BTreeSet::new(),
            disabled: BTreeSet::new(),
            ..*self.earlier
        };
        so_far.take(&self.acts);
        if so_far.units {
            self.acts.push(Act::Reload);
        }
        if so_far.network {
            self.acts.push(Act::RestartNetworkd);
        }
        for (unit, command) in std::mem::take(&mut self.commands) {
            let done = &self.state.commands;
            let again = so_far.files
                || done.boot != self.machine.boot
                || !done.done.iter().any(|(u, c)| u == unit && c == command);
            let active = self.machine.active.contains(unit);
            let due = again
                && match command {
                    "start" => !active,
                    "stop" | "try-restart" | "reload-or-try-restart" => active,
                    _ => true,
                };
            self.acts.push(Act::Command {
                unit,
                command,
                active,
                due,
            });
        }
        for (unit, command) in std::mem::take(&mut self.last) {
            let told = State::end_of_boot(&self.machine.document, unit, command);
            self.acts.push(Act::EndBoot {
                unit,
                command,
                due: !self.state.ended.contains(&told),
            });
        }
    }
}

enum Unit {
    Text(String),
    Masked,
    Elsewhere(String),
}
