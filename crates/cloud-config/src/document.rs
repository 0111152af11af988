//! What a document says, once it is read: everything in one spelling, without what was not understood.

mod parts;

use yaml::{Span, Style};

use self::parts::{Take, fields, file, items, public_keys, text, unit, user};
use super::{
    check::{Content, Field},
    content::{self, DecodeError},
    schema::{self, Kind, Section},
};

/// A cloud-config.
#[derive(Debug, Default)]
pub struct Document {
    pub(crate) hostname: Option<Text>,
    pub(crate) keys: Vec<Text>,
    pub(crate) users: Vec<User>,
    pub(crate) files: Vec<File>,
    /// /etc/hosts names this node.
    pub(crate) hosts: Option<Text>,
    pub(crate) units: Vec<Unit>,
    /// The services that are given variables, in the order in which their drop-ins are written.
    pub(crate) services: Vec<Service>,
    pub(crate) update: Update,
    pub(crate) oem: Oem,
}

/// A text and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Text {
    pub(crate) text: String,
    pub(crate) span: Span,
    pub(crate) style: Style,
}

/// A user to create.
#[derive(Debug)]
pub(crate) struct User {
    /// Where it stands in its list, those that are skipped counted.
    pub(crate) index: usize,
    pub(crate) span: Span,
    pub(crate) name: Option<Text>,
    pub(crate) passwd: Option<Text>,
    pub(crate) keys: Vec<Text>,
    pub(crate) gecos: Option<Text>,
    pub(crate) homedir: Option<Text>,
    pub(crate) no_create_home: bool,
    pub(crate) primary_group: Option<Text>,
    pub(crate) groups: Vec<Text>,
    pub(crate) no_user_group: bool,
    pub(crate) system: bool,
    pub(crate) no_log_init: bool,
    pub(crate) shell: Option<Text>,
}

/// A file to write.
#[derive(Debug)]
pub(crate) struct File {
    /// Where it stands in its list, those that are skipped counted.
    pub(crate) index: usize,
    pub(crate) span: Span,
    pub(crate) path: Option<Text>,
    pub(crate) content: Option<Text>,
    /// Neither content nor source is given, not even a wrong one.
    pub(crate) bare: bool,
    /// The content is base64 by its tag, before any encoding.
    pub(crate) binary: bool,
    pub(crate) owner: Option<Text>,
    pub(crate) permissions: Option<Text>,
    pub(crate) encoding: Option<Text>,
    pub(crate) append: bool,
    pub(crate) source: Option<Text>,
    pub(crate) sha256: Option<Text>,
}

impl File {
    /// Its bytes, unpacked; of a file without content, none.
    ///
    /// # Errors
    /// When the content is not what its encoding says, or larger than a file may be.
    pub(crate) fn bytes(&self) -> Result<Vec<u8>, DecodeError> {
        // Nothing is nothing, however it would have to be unpacked.
        let Some(Text { text, .. }) = &self.content else {
            return Ok(Vec::new());
        };
        let encoding = self
            .encoding
            .as_ref()
            .map(|encoding| encoding.text.as_str());
        content::decode(text, self.binary, encoding)
    }

    /// Its mode, 0644 unless it says otherwise.
    pub(crate) fn mode(&self) -> u32 {
        let given = self.permissions.as_ref();
        given
            .and_then(|text| schema::mode(&text.text))
            .unwrap_or(0o644)
    }
}

/// A unit and what is to be done with it.
#[derive(Debug)]
pub(crate) struct Unit {
    /// Where it stands in its list, those that are skipped counted.
    pub(crate) index: usize,
    pub(crate) name: Option<Text>,
    /// Its name is the path of a drop-in, which is all that it is.
    pub(crate) is_drop_in: bool,
    pub(crate) mask: bool,
    pub(crate) enable: bool,
    pub(crate) runtime: bool,
    pub(crate) content: Option<Text>,
    pub(crate) command: Option<Text>,
    pub(crate) drop_ins: Vec<DropIn>,
}

impl Unit {
    /// Whether it is networkd's, by its suffix.
    pub(crate) fn is_network(&self) -> bool {
        let suffix = self
            .name
            .as_ref()
            .and_then(|name| name.text.rsplit('.').next());
        matches!(suffix, Some("network" | "netdev" | "link"))
    }
}

/// A text that adds to a unit.
#[derive(Debug)]
pub(crate) struct DropIn {
    /// Where it stands in its list, those that are skipped counted.
    pub(crate) index: usize,
    pub(crate) span: Span,
    pub(crate) name: Option<Text>,
    pub(crate) content: Option<Text>,
}

/// Where updates come from.
#[derive(Debug, Default)]
pub(crate) struct Update {
    pub(crate) reboot_strategy: Option<Text>,
    pub(crate) group: Option<Text>,
    pub(crate) server: Option<Text>,
}

/// Who made the image.
#[derive(Debug, Default)]
pub(crate) struct Oem {
    pub(crate) id: Option<Text>,
    pub(crate) name: Option<Text>,
    pub(crate) version_id: Option<Text>,
    pub(crate) home_url: Option<Text>,
    pub(crate) bug_report_url: Option<Text>,
}

/// A service of the coreos section that takes variables.
#[derive(Debug)]
pub(crate) struct Service {
    /// Its key: `etcd2`.
    pub(crate) key: &'static str,
    pub(crate) variables: Vec<Variable>,
}

/// A variable of a service.
#[derive(Debug)]
pub(crate) struct Variable {
    /// The key it comes from.
    pub(crate) key: String,
    pub(crate) name: String,
    pub(crate) value: String,
    pub(crate) span: Span,
}

impl Document {
    /// From what fitted the tables.
    pub(super) fn new(root: Vec<Field>) -> Self {
        let mut document = Self::default();
        for Field { name, item } in root {
            match name.as_ref() {
                "hostname" => document.hostname = text(item),
                "ssh_authorized_keys" => document.keys = public_keys(item),
                "manage_etc_hosts" => document.hosts = text(item),
                "users" => document.users = items(item).map(user).collect(),
                "write_files" => document.files = items(item).map(file).collect(),
                "coreos" => document.coreos(fields(item)),
                _ => {}
            }
        }
        document
    }

    /// Whether it asks for nothing at all.
    pub(super) fn is_empty(&self) -> bool {
        let Self {
            hostname,
            keys,
            users,
            files,
            hosts,
            units,
            services,
            update,
            oem,
        } = self;
        let texts = [
            hostname,
            hosts,
            &update.reboot_strategy,
            &update.group,
            &update.server,
            &oem.id,
        ];
        texts.iter().all(|text| text.is_none())
            && keys.is_empty()
            && users.is_empty()
            && files.is_empty()
            && units.is_empty()
            && services.iter().all(|service| service.variables.is_empty())
    }

    fn coreos(&mut self, given: Vec<Field>) {
        for Field { name, item } in given {
            match name.as_ref() {
                "units" => self.units = items(item).map(unit).collect(),
                "update" => {
                    let mut take = Take(fields(item));
                    self.update = Update {
                        reboot_strategy: take.text("reboot_strategy"),
                        group: take.text("group"),
                        server: take.text("server"),
                    };
                }
                "oem" => {
                    let mut take = Take(fields(item));
                    self.oem = Oem {
                        id: take.text("id"),
                        name: take.text("name"),
                        version_id: take.text("version_id"),
                        home_url: take.text("home_url"),
                        bug_report_url: take.text("bug_report_url"),
                    };
                }
                other => {
                    let Some(section) = section(other) else {
                        continue;
                    };
                    self.services.push(Service {
                        key: section.0,
                        variables: variables(section.1, fields(item)),
                    });
                }
            }
        }
        let order = |key: &str| SERVICES.iter().position(|known| *known == key);
        self.services.sort_by_key(|service| order(service.key));
    }
}

/// The services in the order in which they are configured.
const SERVICES: [&str; 6] = [
    "etcd",
    "etcd2",
    "etcd_member",
    "fleet",
    "locksmith",
    "flannel",
];

/// The table of a key of the coreos section.
fn section(name: &str) -> Option<(&'static str, &'static Section)> {
    let Kind::Section(coreos) = schema::ROOT.key("coreos")?.kind else {
        return None;
    };
    let key = coreos.key(name)?;
    match key.kind {
        Kind::Section(section) => Some((key.name, section)),
        _ => None,
    }
}

/// The variables that keys become, in the order of the table, others after them as they come.
fn variables(section: &Section, given: Vec<Field>) -> Vec<Variable> {
    let variable = |Field { name, item }| {
        let value = match item.content {
            Content::Text { text, .. } if !text.is_empty() => text,
            // Nought writes no variable, as the services' own default may be another.
            Content::Number(number) if number != "0" && number != "-0" => number,
            Content::Flag(true) => "true".into(),
            _ => return None,
        };
        Some(Variable {
            name: section.variable(&name)?,
            key: name.into_owned(),
            value,
            span: item.span,
        })
    };
    let mut variables: Vec<Variable> = given.into_iter().filter_map(variable).collect();
    let order = |key: &str| section.keys.iter().position(|k| k.name == key);
    variables.sort_by_key(|variable| order(&variable.key).unwrap_or(usize::MAX));
    variables
}
