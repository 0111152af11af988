//! The document itself: everything that is not a service's variables.

use super::{Form, Key, Kind, Section, services};

const ANY: Form = Form::Any;

/// Where a key of this name is, if there is only one such place, as `coreos.update`.
pub(crate) fn only_place(name: &str) -> Option<String> {
    fn search(section: &'static Section, place: &str, name: &str, found: &mut Vec<String>) {
        for key in section.keys {
            let mut kind = key.kind;
            let mut here = match place {
                "" => key.name.to_owned(),
                place => format!("{place}.{}", key.name),
            };
            while let Kind::List(item) = kind {
                kind = *item;
                here += "[]";
            }
            if key.name == name {
                found.push(place.to_owned());
            }
            if let Kind::Section(inner) = kind {
                search(inner, &here, name, found);
            }
        }
    }
    let mut found = Vec::new();
    search(&ROOT, "", name, &mut found);
    match found.as_slice() {
        [place] if !place.is_empty() => Some(place.clone()),
        _ => None,
    }
}

/// The whole document.
pub(crate) static ROOT: Section = Section {
    elsewhere: &[
        (
            "runcmd",
            "cloud-init's; here a unit of type oneshot runs a command",
        ),
        (
            "bootcmd",
            "cloud-init's; here a unit of type oneshot runs a command",
        ),
        (
            "packages",
            "cloud-init's; here packages are in the image, or a unit of type oneshot installs them",
        ),
        (
            "package_update",
            "cloud-init's; here packages are in the image, or a unit of type oneshot installs them",
        ),
        (
            "package_upgrade",
            "cloud-init's; here packages are in the image, or a unit of type oneshot installs them",
        ),
        (
            "apt",
            "cloud-init's; here packages are in the image, or a unit of type oneshot installs them",
        ),
        (
            "yum_repos",
            "cloud-init's; here packages are in the image, or a unit of type oneshot installs them",
        ),
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
        ("units", "it belongs under coreos"),
        ("update", "it belongs under coreos"),
        ("locksmith", "it belongs under coreos"),
        ("etcd", "it belongs under coreos"),
        ("etcd2", "it belongs under coreos"),
        ("etcd_member", "it belongs under coreos"),
        ("fleet", "it belongs under coreos"),
        ("flannel", "it belongs under coreos"),
        ("oem", "it belongs under coreos"),
    ],
    ..Section::of(&[
        Key::text(
            "hostname",
            Form::Hostname,
            "The node's name, cut at the first dot.",
        ),
        Key::new(
            "ssh_authorized_keys",
            Kind::List(&Kind::Text(Form::SshKey)),
            "Public keys that may log in as the user core.",
        ),
        Key::new(
            "users",
            Kind::List(&Kind::Section(&USER)),
            "Users to create; of one that exists, only password and keys are set.",
        ),
        Key::new(
            "write_files",
            Kind::List(&Kind::Section(&FILE)),
            "Files to write.",
        ),
        Key::text(
            "manage_etc_hosts",
            Form::OneOf(&["localhost"]),
            "Make /etc/hosts name this node: localhost.",
        ),
        Key::new(
            "coreos",
            Kind::Section(&COREOS),
            "Units, updates and the system's own services.",
        ),
    ])
};

static USER: Section = Section {
    elsewhere: &[
        ("sudo", "cloud-init's; here the group sudo gives that right"),
        (
            "uid",
            "cloud-init's; here numbers are given in the order of creation",
        ),
        (
            "ssh_import_id",
            "cloud-init's; here ssh_authorized_keys lists the keys",
        ),
        (
            "lock_passwd",
            "cloud-init's; here a user without passwd cannot log in by password",
        ),
        (
            "plain_text_passwd",
            "cloud-init's; here passwd holds a hash",
        ),
    ],
    ..Section::of(&[
        Key::text("name", Form::Account, "The login name.").required(),
        Key::text(
            "passwd",
            Form::PasswordHash,
            "Hash of the password, as openssl passwd -6 prints it.",
        ),
        Key::new(
            "ssh_authorized_keys",
            Kind::List(&Kind::Text(Form::SshKey)),
            "Public keys that may log in as this user.",
        ),
        Key::text(
            "gecos",
            Form::Gecos,
            "Full name, or what the account is for.",
        ),
        Key::text(
            "homedir",
            Form::Path,
            "Home directory instead of /home and the name.",
        ),
        Key::bool("no_create_home", "Do not make the home directory."),
        Key::text(
            "primary_group",
            Form::Account,
            "The group of the user's files, instead of one of the same name.",
        ),
        Key::new(
            "groups",
            Kind::List(&Kind::Text(Form::Account)),
            "Further groups the user is in.",
        ),
        Key::bool("no_user_group", "Do not make a group of the user's name."),
        Key::bool(
            "system",
            "A system account: a low number, no home directory.",
        ),
        Key::bool(
            "no_log_init",
            "Do not add the user to the databases of last logins.",
        ),
        Key::text("shell", Form::Path, "The login shell."),
        Key::text("coreos_ssh_import_github", ANY, "").deprecated(NO_IMPORT),
        Key::new(
            "coreos_ssh_import_github_users",
            Kind::List(&Kind::Text(ANY)),
            "",
        )
        .deprecated(NO_IMPORT),
        Key::text("coreos_ssh_import_url", ANY, "").deprecated(NO_IMPORT),
    ])
};

const NO_IMPORT: &str = "keys are not fetched from elsewhere: list them under ssh_authorized_keys";

static FILE: Section = Section {
    elsewhere: &[
        ("mode", "it is called permissions"),
        ("filename", "it is called path"),
        (
            "defer",
            "cloud-init's; files are written after the users are made",
        ),
    ],
    ..Section::of(&[
        Key::text("path", Form::File, "Where: an absolute path.").required(),
        Key::text("content", ANY, "What: text, or what encoding says.").empty(),
        Key::text(
            "owner",
            Form::Owner,
            "user, user:group, :group, or user: for the user's own group; root:root without it.",
        ),
        Key::text(
            "permissions",
            Form::Permissions,
            "Octal, quoted or not; 0644 without it.",
        ),
        Key::text(
            "encoding",
            Form::OneOf(&ENCODINGS),
            "How content is packed.",
        ),
        Key::bool(
            "append",
            "Add content to the end of the file, once, instead of replacing it.",
        ),
        Key::text(
            "source",
            Form::Url,
            "Fetch the content from here instead; give sha256 as well.",
        ),
        Key::text(
            "sha256",
            Form::Sha256,
            "What the fetched bytes must hash to, in hexadecimal.",
        ),
    ])
};

const ENCODINGS: [&str; 8] = [
    "b64",
    "base64",
    "gz",
    "gzip",
    "gz+b64",
    "gz+base64",
    "gzip+b64",
    "gzip+base64",
];

static COREOS: Section = Section {
    elsewhere: &[
        ("write_files", "it belongs at the top level, beside coreos"),
        ("users", "it belongs at the top level, beside coreos"),
        ("hostname", "it belongs at the top level, beside coreos"),
        (
            "ssh_authorized_keys",
            "it belongs at the top level, beside coreos",
        ),
        ("etcd3", "etcd 3 is called etcd_member"),
    ],
    ..Section::of(&[
        Key::new(
            "units",
            Kind::List(&Kind::Section(&UNIT)),
            "Units of systemd, and of its networkd.",
        ),
        Key::new(
            "etcd",
            Kind::Section(&services::ETCD),
            "etcd before version 2.",
        )
        .deprecated("etcd 0.4 is no longer shipped: etcd_member configures etcd 3"),
        Key::new("etcd2", Kind::Section(&services::ETCD2), "etcd 2.")
            .deprecated("etcd 2 is no longer shipped: etcd_member configures etcd 3"),
        Key::new(
            "etcd_member",
            Kind::Section(&services::ETCD_MEMBER),
            "etcd 3: any of its flags, with underscores.",
        ),
        Key::new("fleet", Kind::Section(&services::FLEET), "fleet.")
            .deprecated("fleet is no longer shipped"),
        Key::new(
            "flannel",
            Kind::Section(&services::FLANNEL),
            "flannel, the overlay network.",
        ),
        Key::new(
            "locksmith",
            Kind::Section(&services::LOCKSMITH),
            "The reboot manager: where etcd is, and when reboots may start.",
        ),
        Key::new(
            "update",
            Kind::Section(&UPDATE),
            "Where updates come from, and how the node reboots into them.",
        ),
        Key::new(
            "oem",
            Kind::Section(&OEM),
            "Who made the image (/etc/oem-release).",
        ),
    ])
};

static UNIT: Section = Section::of(&[
    Key::text(
        "name",
        Form::Unit,
        "The unit's name with its suffix, such as docker.service.",
    )
    .required(),
    Key::bool("mask", "Link the unit to /dev/null: nothing can start it."),
    Key::bool("enable", "Do what its [Install] section says."),
    Key::bool("runtime", "Only until the next boot: under /run."),
    Key::text("content", ANY, "The whole text of the unit."),
    Key::text(
        "command",
        Form::OneOf(&COMMANDS),
        "What to tell systemd when all is in place.",
    ),
    Key::new(
        "drop_ins",
        Kind::List(&Kind::Section(&DROP_IN)),
        "Texts that add to a unit or change it.",
    ),
]);

const COMMANDS: [&str; 7] = [
    "start",
    "stop",
    "restart",
    "reload",
    "try-restart",
    "reload-or-restart",
    "reload-or-try-restart",
];

static DROP_IN: Section = Section::of(&[
    Key::text("name", Form::DropIn, "The file's name, ending in .conf.").required(),
    Key::text("content", ANY, "Its text."),
]);

static UPDATE: Section = Section::of(&[
    Key::text(
        "reboot_strategy",
        Form::Setting(&["etcd-lock", "reboot", "off", "best-effort"]),
        "What is asked before the node reboots into an update.",
    ),
    Key::text("group", Form::Line, "The channel, such as stable."),
    Key::text("server", Form::Line, "URL of the update server."),
]);

static OEM: Section = Section::of(&[
    Key::text(
        "id",
        Form::Line,
        "Short name; without it nothing is written.",
    ),
    Key::text("name", Form::Line, "Name for people."),
    Key::text("version_id", Form::Line, "Version."),
    Key::text("home_url", Form::Line, "Where to read more."),
    Key::text("bug_report_url", Form::Line, "Where to report faults."),
]);
