//! From steps to what each of them changes: the machine is looked at, and nothing is done.

mod acts;
mod files;
mod gone;
mod units;
mod users;

use std::io;

use self::acts::Look;
use super::{
    act::{Act, Task},
    earlier::Earlier,
    entry::{FileEntry, TreeEntry, sha256},
    machine::Machine,
    put::Put,
    state::State,
};
use crate::plan::Step;

pub(super) use self::acts::Found;

/// Looks at a machine for these tasks: all, or those up to the first that may change what the next ones find.
pub(super) fn look<'a>(
    machine: &Machine,
    state: &State,
    earlier: &Earlier,
    tasks: &[Task<'a>],
    all: bool,
) -> Found<'a> {
    machine.tree.forget();
    let mut look = Look::new(machine, state, earlier, tasks.len());
    look.tried("the list of users", Look::homes);
    let owned = state.owned.values();
    look.owned = owned.map(|owned| (look.key(&owned.place), owned)).collect();
    for task in tasks {
        match task {
            Task::Step(step) => look.step(step),
            Task::Keys {
                user,
                keys,
                optional,
            } => {
                look.tried(user, |look| look.keys(user, keys.clone(), *optional));
            }
        }
        look.tasks += 1;
        if !all && look.acts.iter().rev().take(2).any(Act::disturbs) {
            return look.found();
        }
    }
    if !machine.adds {
        look.gone();
    }
    look.tell();
    look.found()
}

impl<'a> Look<'a, '_> {
    fn step(&mut self, step: &'a Step) {
        match step {
            Step::Hostname(name) => self.tried("hostname", |look| look.hostname(name)),
            Step::File(file) => self.tried(&file.path, |look| look.file(file)),
            Step::Link { path, target } => self.tried(path, |look| {
                let (place, before) = look.before(path)?;
                look.put(Put::new(
                    place,
                    before,
                    TreeEntry::Link((*target).to_owned()),
                ));
                Ok(())
            }),
            Step::Unmask { path } => self.tried(path, |look| look.unmask(path)),
            Step::User(user) => self.tried(&user.name, |look| look.user(user)),
            Step::Enable { unit, runtime } => {
                self.tried(unit, |look| {
                    look.lift(unit)?;
                    look.enable(unit, *runtime)
                });
            }
            Step::Script(bytes) => self.script(bytes),
            Step::Command { unit, command } => self.commands.push((unit, command)),
            Step::EndBoot { unit, command } => self.last.push((unit, command)),
            // The keys of all steps are handled together; reloads follow from what changes.
            Step::Keys { .. } | Step::Reload | Step::RestartNetworkd => {}
        }
    }

    fn hostname(&mut self, name: &'a str) -> io::Result<()> {
        let (place, before) = self.before("/etc/hostname")?;
        let text = format!("{name}\n");
        let after = TreeEntry::File(FileEntry {
            mode: 0o644,
            uid: 0,
            gid: 0,
            sha256: sha256(text.as_bytes()),
        });
        self.put(Put::new(place, before, after).with(text.into_bytes().into()));
        if self.machine.live {
            let before = nix::unistd::gethostname()?.to_string_lossy().into_owned();
            self.acts.push(Act::Hostname { name, before });
        }
        Ok(())
    }

    fn script(&mut self, bytes: &'a [u8]) {
        let sha256 = sha256(bytes);
        if !self.machine.systemd {
            self.notes.push(format!(
                "the script {} is not run: systemd does not run here",
                &sha256[..12]
            ));
            return;
        }
        // coreos-cloudinit ran it each time.
        let due = self.machine.adds || !self.machine.scripts.contains(&sha256);
        self.after_script |= due;
        self.acts.push(Act::Script { bytes, sha256, due });
    }
}
