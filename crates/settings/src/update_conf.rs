//! `update.conf`, which update_engine and locksmith share: read as systemd reads a file of variables
//! (systemd.exec(5), `EnvironmentFile=`), and of it what is locksmith's.

use std::{os::unix::fs::PermissionsExt as _, path::Path, sync::Arc};

use host::{
    node::{Root, RootPath},
    remedy::Remedy,
};

use super::{
    environment::{Meaning, daemons_names, of_daemon, set_locksmiths},
    error::{ConfigError, Faults, Origin, or_fault},
    file::content_if_any,
    settings::Partial,
};

/// Where it may lie; an earlier one wins, setting by setting.
const FILES: [&str; 4] = [
    "etc/flatcar/update.conf",
    "etc/coreos/update.conf",
    "usr/share/flatcar/update.conf",
    "usr/share/coreos/update.conf",
];

/// The layer of all of them.
pub(super) fn read(root: &Root, faults: &mut Faults) -> Partial {
    let mut layer = Partial::default();
    for file in FILES {
        let path = root.path(file);
        if let Some(bytes) = or_fault(content_if_any(&path), faults) {
            layer = layer.over(parse(&path, &bytes, faults));
        }
    }
    layer
}

fn parse(path: &RootPath, bytes: &[u8], faults: &mut Faults) -> Partial {
    let file: Arc<Path> = path.shown().into();
    let (mut bare, mut prefixed) = (Partial::default(), Partial::default());
    for (line, bytes) in (1..).zip(bytes.split(|b| *b == b'\n')) {
        let origin = || Origin::File {
            path: file.clone(),
            line,
            column: 1,
        };
        let bytes = bytes.trim_ascii();
        // What is not locksmith's is others' business, whatever it holds.
        let Some(equals) = bytes.iter().position(|b| *b == b'=') else {
            continue;
        };
        let Ok(name) = str::from_utf8(bytes[..equals].trim_ascii()) else {
            continue;
        };
        let key = match of_daemon(name) {
            Meaning::Foreign | Meaning::Nothing => continue,
            Meaning::Unknown => {
                faults.push(ConfigError::Unknown {
                    origin: origin(),
                    key: name.to_owned(),
                    expected: daemons_names(),
                });
                continue;
            }
            Meaning::Setting(key) => key,
        };
        let layer = if name.starts_with("REBOOT_") {
            &mut bare
        } else {
            &mut prefixed
        };
        let value = str::from_utf8(bytes[equals + 1..].trim_ascii());
        let value = value.map_err(|_| ConfigError::Shape {
            origin: origin(),
            found: format!("bytes that are not UTF-8 for {name}"),
            expected: "text in UTF-8".into(),
        });
        let set = value.and_then(|value| {
            if name.ends_with("ETCD_PASSWORD") {
                only_the_owners(path, name)?;
            }
            set_locksmiths(layer, name, key, unquoted(value), origin())
        });
        or_fault(set, faults);
    }
    prefixed.over(bare)
}

fn unquoted(text: &str) -> &str {
    ['"', '\'']
        .into_iter()
        .find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote))
        .unwrap_or(text)
}

/// Refuses a file with a password in it that others can read.
fn only_the_owners(path: &RootPath, name: &str) -> Result<(), ConfigError> {
    let metadata = path.metadata().map_err(|error| ConfigError::Read {
        path: path.shown(),
        error,
    })?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(ConfigError::File {
        path: path.shown(),
        found: format!("{name} in a file of mode {mode:04o}, with which other users can read the password"),
        expected: "mode 0600, or the password in a file of its own: etcd.password-file in /etc/pointsman/config.yaml"
            .into(),
        remedy: Some(Remedy::new("set the mode", format!("chmod 600 {path}"))),
    })
}
