//! A document: the list of its sections, its keys, and what is done with each section in turn.
//!
//! A section is a key at the top level (`write_files`) or under `coreos` (`coreos.units`). To add one, write a module in
//! `sections/` with a type that implements [`Section`], and name it in the list in this file: reading, checking,
//! planning, the JSON Schema and suggestions follow. A service whose keys become variables needs less: an entry in
//! `sections/services/table.rs`.

use super::{
    check::{Field, Item},
    report::Report,
    schema::{Key, Kind, Mapping},
    section::{CheckContext, PlanContext, PlanError, Section},
    sections::{
        hostname::Hostname,
        manage_etc_hosts::ManageEtcHosts,
        oem::Oem,
        services::{SERVICES, Service},
        ssh_authorized_keys::SshAuthorizedKeys,
        units::Units,
        users::Users,
        write_files::WriteFiles,
    },
    steps::{NodeWide, Steps},
    values::Fields,
};

/// Defines [`Document`], the tables of its keys, and what is done with each section in turn.
macro_rules! document {
    (
        top level { $($top:ident: $top_type:ty,)* }
        coreos { $($coreos:ident: $coreos_type:ty,)* }
    ) => {
        /// A cloud-config: what a document says, in one spelling, without what was not understood.
        #[derive(Debug, Default)]
        pub struct Document {
            $(pub(crate) $top: $top_type,)*
            $(pub(crate) $coreos: $coreos_type,)*
            /// The services that are given variables, in the order of their table.
            pub(crate) services: Vec<Service>,
        }

        /// The keys of a whole document.
        pub(crate) static ROOT: Mapping = Mapping {
            elsewhere: ELSEWHERE,
            ..Mapping::of(&[$(<$top_type as Section>::KEY,)* COREOS_KEY])
        };

        const COREOS_SECTIONS: &[Key] = &[$(<$coreos_type as Section>::KEY),*];

        impl Document {
            /// Builds it from what fitted the tables.
            pub(crate) fn new(root: Vec<Field>) -> Self {
                let mut document = Self::default();
                for Field { name, item } in root {
                    match name.as_ref() {
                        $(name if name == <$top_type as Section>::KEY.name => {
                            document.$top = Section::read(item);
                        })*
                        _ => document.read_coreos(item),
                    }
                }
                document
            }

            fn read_coreos(&mut self, item: Item) {
                for Field { name, item } in Fields::of(item) {
                    match name.as_ref() {
                        $(name if name == <$coreos_type as Section>::KEY.name => {
                            self.$coreos = Section::read(item);
                        })*
                        name => self.services.extend(Service::read(name, item)),
                    }
                }
                self.services.sort_by_key(Service::order);
            }

            /// Tells whether it asks for nothing at all.
            pub(crate) fn is_empty(&self) -> bool {
                $(self.$top.is_empty() &&)*
                $(self.$coreos.is_empty() &&)*
                self.services.iter().all(Service::is_empty)
            }

            /// Reports what contradicts itself between sections. The source is the text that was parsed.
            pub(crate) fn check(&self, source: &str, report: &mut Report) {
                let context = CheckContext {
                    has_hostname: !self.hostname.is_empty(),
                    source,
                };
                $(self.$top.check(&context, report);)*
                $(self.$coreos.check(&context, report);)*
                for service in &self.services {
                    service.check(report);
                }
            }

            /// Adds what the node has one of.
            pub(crate) fn describe(&self, node: &mut NodeWide) {
                $(self.$top.describe(node);)*
                $(self.$coreos.describe(node);)*
            }

            /// Adds the steps of each section in turn.
            ///
            /// # Errors
            /// When a content cannot be unpacked.
            pub(crate) fn plan(
                self,
                context: &PlanContext<'_>,
                steps: &mut Steps,
            ) -> Result<(), PlanError> {
                $(self.$top.plan(context, steps)?;)*
                $(self.$coreos.plan(context, steps)?;)*
                for service in self.services {
                    service.plan(context, steps);
                }
                Ok(())
            }
        }
    };
}

// In the order in which they are listed to people, checked and planned.
document! {
    top level {
        hostname: Hostname,
        ssh_authorized_keys: SshAuthorizedKeys,
        users: Users,
        write_files: WriteFiles,
        manage_etc_hosts: ManageEtcHosts,
    }
    coreos {
        units: Units,
        oem: Oem,
    }
}

const COREOS_KEY: Key = Key::new(
    "coreos",
    Kind::Mapping(&COREOS),
    "Units, updates and the system's own services.",
);

static COREOS: Mapping = Mapping {
    elsewhere: &[("etcd3", "etcd 3 is called etcd_member")],
    ..Mapping::of(&COREOS_KEYS)
};

/// The sections under `coreos`, then the services.
static COREOS_KEYS: [Key; COREOS_SECTIONS.len() + SERVICES.len()] = {
    let mut keys = [COREOS_SECTIONS[0]; COREOS_SECTIONS.len() + SERVICES.len()];
    let mut at = 1;
    while at < keys.len() {
        keys[at] = match at < COREOS_SECTIONS.len() {
            true => COREOS_SECTIONS[at],
            false => SERVICES[at - COREOS_SECTIONS.len()].key(),
        };
        at += 1;
    }
    keys
};

const PACKAGES: &str =
    "cloud-init's; here packages are in the image, or a unit of type oneshot installs them";
const COMMANDS: &str = "cloud-init's; here a unit of type oneshot runs a command";

/// Keys of cloud-init that have another name or none here.
const ELSEWHERE: &[(&str, &str)] = &[
    ("runcmd", COMMANDS),
    ("bootcmd", COMMANDS),
    ("packages", PACKAGES),
    ("package_update", PACKAGES),
    ("package_upgrade", PACKAGES),
    ("apt", PACKAGES),
    ("yum_repos", PACKAGES),
    (
        "mounts",
        "cloud-init's; here a unit such as var-lib-data.mount mounts",
    ),
    ("groups", "cloud-init's; here users[].groups names groups"),
    (
        "chpasswd",
        "cloud-init's; here users[].passwd holds the hash",
    ),
    (
        "timezone",
        "cloud-init's; here a link at /etc/localtime, made by a unit",
    ),
    (
        "ntp",
        "cloud-init's; here a file /etc/systemd/timesyncd.conf",
    ),
    ("fqdn", "cloud-init's; here hostname"),
    ("flatcar", "did you mean coreos?"),
];
