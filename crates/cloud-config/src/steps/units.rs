//! The steps for a unit: its files, mask and links first, then the commands.

use super::{NewFile, Step, Steps};

/// What is to be done with one unit.
#[derive(Debug, Default)]
pub(crate) struct UnitTask {
    pub(crate) name: String,
    pub(crate) network: bool,
    pub(crate) runtime: bool,
    pub(crate) mask: bool,
    pub(crate) enable: bool,
    pub(crate) content: Option<String>,
    pub(crate) drop_ins: Vec<(String, String)>,
    /// They are secret: only root may read them.
    pub(crate) secret: bool,
    pub(crate) command: Option<String>,
}

impl Steps {
    /// Adds the steps for one unit.
    pub(crate) fn unit(&mut self, task: UnitTask) {
        let UnitTask {
            name,
            network,
            runtime,
            mask,
            enable,
            content,
            drop_ins,
            secret,
            command,
        } = task;
        let top = if runtime { "/run" } else { "/etc" };
        let kind = if network { "network" } else { "system" };
        let path = format!("{top}/systemd/{kind}/{name}");
        let before = self.all.len();
        let ends = ends_boot(&name, content.as_deref());
        // A link to /dev/null replaces the text, so that it need not be written.
        if let Some(content) = content.filter(|_| !mask) {
            self.write(NewFile::plain(&path, content));
        }
        for (drop_in, content) in drop_ins {
            self.write(NewFile::plain(format!("{path}.d/{drop_in}"), content).secret(secret));
        }
        let own = self.writes(&path);
        if mask {
            self.push(Step::Link {
                path,
                target: "/dev/null",
            });
        } else if runtime && !own {
            self.push(Step::Unmask { path });
        }
        if enable && !network {
            self.push(Step::Enable {
                unit: name.clone(),
                runtime,
            });
        }
        if self.all.len() > before {
            self.units |= !network;
            self.network |= network;
        }
        let Some(command) = command.filter(|_| !network) else {
            return;
        };
        match ends && command.contains("start") {
            true => self.last.push(Step::EndBoot {
                unit: name,
                command,
            }),
            false => self.commands.push(Step::Command {
                unit: name,
                command,
            }),
        }
    }
}

/// Units of systemd that end the boot (systemd.special(7), systemd-reboot.service(8)).
const ENDS: [&str; 6] = ["reboot", "poweroff", "halt", "kexec", "soft-reboot", "exit"];

/// Tells whether starting a unit ends this boot: one of systemd's units, or one whose program does nothing else.
fn ends_boot(name: &str, content: Option<&str>) -> bool {
    let stem = |suffix: &str| name.strip_suffix(suffix);
    let systemds = stem(".target")
        .or_else(|| stem(".service")?.strip_prefix("systemd-"))
        .is_some_and(|stem| ENDS.contains(&stem));
    let others = ["shutdown.target", "runlevel0.target", "runlevel6.target"];
    let program = |line: &str| {
        let value = line.trim().strip_prefix("ExecStart=")?;
        let mut words = value
            .trim_start_matches(['-', '@', ':', '+', '!'])
            .split_whitespace();
        let program = words.next()?.rsplit('/').next()?;
        Some(match program {
            "shutdown" => true,
            "systemctl" => words.any(|word| ENDS.contains(&word)),
            program => ENDS[..3].contains(&program),
        })
    };
    let mut programs = content.into_iter().flat_map(str::lines).filter_map(program);
    systemds || others.contains(&name) || programs.next() == Some(true)
}
