//! The steps for units: their files, masks and links first, then what systemd is told.

use super::{NewFile, Step, Steps};
use crate::{
    document::{Service, Unit, Update},
    environment,
};

/// The units of the services that take variables, by their keys.
const SERVICES: [(&str, &str); 5] = [
    ("etcd", "etcd.service"),
    ("etcd2", "etcd2.service"),
    ("etcd_member", "etcd-member.service"),
    ("fleet", "fleet.service"),
    ("locksmith", "locksmithd.service"),
];

/// What is to be done with one unit.
#[derive(Default)]
struct Task {
    name: String,
    network: bool,
    runtime: bool,
    mask: bool,
    enable: bool,
    content: Option<String>,
    drop_ins: Vec<(String, String)>,
    /// They are for nobody but root.
    secret: bool,
    command: Option<String>,
}

impl Steps {
    /// The document's units in its order, then those that its services and update settings ask for.
    pub(super) fn units(&mut self, units: Vec<Unit>, services: &[Service], update: &Update) {
        let given = units.into_iter().filter_map(task);
        let services = services.iter().filter_map(service);
        for task in given.chain(services).chain(updates(update)) {
            self.unit(task);
        }
    }

    fn unit(&mut self, task: Task) {
        let Task {
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

/// Whether starting a unit ends this boot: one of systemd's own, or one whose program does nothing else.
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

fn task(unit: Unit) -> Option<Task> {
    let network = unit.is_network();
    let whole = !unit.is_drop_in;
    let drop_ins = unit.drop_ins.into_iter().filter_map(|drop_in| {
        // Without content it changes nothing.
        Some((drop_in.name?.text, drop_in.content?.text))
    });
    Some(Task {
        network,
        runtime: unit.runtime,
        mask: unit.mask && whole,
        enable: unit.enable && whole,
        content: unit.content.map(|content| content.text),
        drop_ins: drop_ins.collect(),
        secret: false,
        command: unit
            .command
            .map(|command| command.text)
            .filter(|text| !text.is_empty() && whole),
        name: unit.name?.text,
    })
}

fn service(service: &Service) -> Option<Task> {
    let (_, unit) = SERVICES.iter().find(|(key, _)| *key == service.key)?;
    (!service.variables.is_empty()).then(|| Task {
        name: (*unit).to_owned(),
        runtime: true,
        drop_ins: vec![(
            "20-cloudinit.conf".to_owned(),
            environment::drop_in(&service.variables),
        )],
        secret: environment::holds_secret(&service.variables),
        ..Task::default()
    })
}

/// The reboot manager and the updater read their settings when they start.
fn updates(update: &Update) -> impl Iterator<Item = Task> {
    let strategy = update
        .reboot_strategy
        .as_ref()
        .map(|text| text.text.as_str());
    let locksmith = strategy
        .filter(|strategy| !strategy.is_empty())
        .map(|strategy| {
            let off = strategy == "off";
            Task {
                name: "locksmithd.service".into(),
                runtime: true,
                mask: off,
                command: Some(if off { "stop" } else { "restart" }.into()),
                ..Task::default()
            }
        });
    let given = [&update.group, &update.server];
    let engine = given
        .iter()
        .any(|text| text.as_ref().is_some_and(|text| !text.text.is_empty()));
    let engine = engine.then(|| Task {
        name: "update-engine.service".into(),
        command: Some("restart".into()),
        ..Task::default()
    });
    locksmith.into_iter().chain(engine)
}
