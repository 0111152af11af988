//! What systemd refuses in a complete unit (`*_verify` of its service, mount, timer and so on).

use super::text::UnitText;

/// Finds why systemd would refuse a unit.
pub(super) fn refusal(unit: &UnitText, stem: &str, suffix: &str) -> Option<String> {
    let lacks = |section: &str, keys: &[&str]| {
        (!unit.any(section, keys)).then(|| {
            format!(
                "systemd refuses it: [{section}] has none of {}",
                keys.join("=, ") + "="
            )
        })
    };
    match suffix {
        "service" => service(unit),
        "timer" => lacks(
            "Timer",
            &[
                "OnCalendar",
                "OnActiveSec",
                "OnBootSec",
                "OnStartupSec",
                "OnUnitActiveSec",
                "OnUnitInactiveSec",
                "OnTimezoneChange",
                "OnClockChange",
            ],
        ),
        "socket" => lacks(
            "Socket",
            &[
                "ListenStream",
                "ListenDatagram",
                "ListenSequentialPacket",
                "ListenFIFO",
                "ListenSpecial",
                "ListenNetlink",
                "ListenMessageQueue",
                "ListenUSBFunction",
            ],
        ),
        "path" => lacks(
            "Path",
            &[
                "PathExists",
                "PathExistsGlob",
                "PathChanged",
                "PathModified",
                "DirectoryNotEmpty",
            ],
        ),
        "mount" => {
            lacks("Mount", &["What"]).or_else(|| place(unit, "Mount", "Where", stem, suffix))
        }
        "automount" => place(unit, "Automount", "Where", stem, suffix),
        "swap" => lacks("Swap", &["What"]),
        "netdev" => lacks("NetDev", &["Name"]).or_else(|| lacks("NetDev", &["Kind"])),
        _ => None,
    }
}

fn service(unit: &UnitText) -> Option<String> {
    let last = |section: &str, key: &str| unit.values(section, key).last().copied();
    let starts = unit.values("Service", "ExecStart").len();
    let kind = last("Service", "Type").unwrap_or("simple");
    let oneshot = kind == "oneshot";
    let success = last("Unit", "SuccessAction").is_some_and(|action| action != "none");
    let refused = |why: &str| Some(format!("systemd refuses it: {why}"));
    if starts == 0 && !oneshot {
        return refused("[Service] has no ExecStart=, which only Type=oneshot may lack");
    }
    if starts == 0 && !success {
        if !unit.any("Service", &["ExecStop"]) {
            return refused("[Service] has neither ExecStart= nor ExecStop=");
        }
        let remains = last("Service", "RemainAfterExit").is_some_and(|word| {
            ["yes", "true", "1", "on", "y", "t"].contains(&word.to_ascii_lowercase().as_str())
        });
        if !remains {
            return refused("[Service] has no ExecStart=, which needs RemainAfterExit=yes");
        }
    }
    if starts > 1 && !oneshot {
        return refused("[Service] has more than one ExecStart=, which only Type=oneshot may have");
    }
    if oneshot && matches!(last("Service", "Restart"), Some("always" | "on-success")) {
        return refused("Type=oneshot cannot have Restart=always or on-success");
    }
    if kind == "dbus" && !unit.any("Service", &["BusName"]) {
        return refused("Type=dbus needs BusName=");
    }
    None
}

/// Checks that the name of a mount unit matches its path.
fn place(unit: &UnitText, section: &str, key: &str, stem: &str, suffix: &str) -> Option<String> {
    let values = unit.values(section, key);
    let path = values.last()?.trim();
    // Specifiers are known to systemd only.
    if path.contains('%') {
        return None;
    }
    let expected = escape_path(path);
    (expected != stem).then(|| {
        format!("systemd refuses it: {key}={path} needs the unit to be called {expected}.{suffix}")
    })
}

/// Escapes a path for a unit's name, as `systemd-escape --path` does.
fn escape_path(path: &str) -> String {
    let parts: Vec<&str> = path
        .split('/')
        .filter(|part| !matches!(*part, "" | "."))
        .collect();
    if parts.is_empty() {
        return "-".into();
    }
    let mut name = String::new();
    for (index, byte) in parts.join("/").bytes().enumerate() {
        match byte {
            b'/' => name.push('-'),
            b'.' if index == 0 => name.push_str("\\x2e"),
            b if b.is_ascii_alphanumeric() || b":_.".contains(&b) => name.push(b as char),
            b => name.push_str(&format!("\\x{b:02x}")),
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::{super::text, *};

    #[test]
    fn incomplete_units_are_refused() {
        for (name, text, why) in [
            ("a.service", "[Service]\nExecStart=/a", ""),
            ("a.service", "[Unit]\nDescription=x", "no ExecStart="),
            ("a.service", "[Service]\nType=oneshot", "neither"),
            (
                "a.service",
                "[Service]\nType=oneshot\nExecStop=/a",
                "RemainAfterExit",
            ),
            (
                "a.service",
                "[Service]\nType=oneshot\nExecStop=/a\nRemainAfterExit=yes",
                "",
            ),
            (
                "a.service",
                "[Service]\nType=oneshot\nExecStart=/a\nExecStart=/b",
                "",
            ),
            (
                "a.service",
                "[Service]\nExecStart=/a\nExecStart=/b",
                "more than one",
            ),
            (
                "a.service",
                "[Service]\nExecStart=/a\nExecStart=\nExecStart=/b",
                "",
            ),
            (
                "a.service",
                "[Service]\nType=oneshot\nExecStart=/a\nRestart=always",
                "Restart",
            ),
            ("a.service", "[Service]\nType=dbus\nExecStart=/a", "BusName"),
            (
                "a.service",
                "[Unit]\nSuccessAction=reboot\n[Service]\nType=oneshot",
                "",
            ),
            ("a.timer", "[Timer]\nUnit=b.service", "OnCalendar="),
            ("a.timer", "[Timer]\nOnBootSec=1", ""),
            ("a.socket", "[Socket]\nAccept=yes", "ListenStream="),
            ("a.path", "[Path]\nUnit=b.service", "PathExists="),
            (
                "media-data.mount",
                "[Mount]\nWhat=/dev/sda\nWhere=/media/data",
                "",
            ),
            (
                "media-data.mount",
                "[Mount]\nWhat=/dev/sda\nWhere=/media//data/",
                "",
            ),
            (
                "data.mount",
                "[Mount]\nWhat=/dev/sda\nWhere=/media/data",
                "called media-data.mount",
            ),
            (
                "a.mount",
                "[Mount]\nWhat=/dev/sda\nWhere=/a-b",
                "called a\\x2db.mount",
            ),
            ("data.mount", "[Mount]\nWhere=/data", "What="),
            (
                "data.automount",
                "[Automount]\nWhere=/date",
                "called date.automount",
            ),
            ("a.netdev", "[NetDev]\nName=a", "Kind="),
            ("a.target", "[Unit]\nDescription=x", ""),
            ("a.network", "[Match]\nName=eth0", ""),
        ] {
            let (stem, suffix) = name.rsplit_once('.').unwrap();
            let (unit, notes) = text::parse(text, suffix);
            assert_eq!(notes, [], "{text}");
            let found = refusal(&unit, stem, suffix);
            assert_eq!(found.is_none(), why.is_empty(), "{name} {text}: {found:?}");
            assert!(
                found.is_none_or(|found| found.contains(why)),
                "{name} {text}"
            );
        }
    }
}
