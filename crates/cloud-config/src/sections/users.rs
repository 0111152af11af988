//! `users`: accounts to create.

use std::collections::{HashMap, HashSet};

use crate::{
    check::Item,
    diagnostic::Level,
    report::Report,
    schema::{Form, Key, Kind, Mapping},
    section::{CheckContext, PlanContext, PlanError, Section},
    steps::{NewUser, Step, Steps},
    values::{Fields, Text, items, public_keys},
};
use yaml::Span;

/// The users to create.
#[derive(Debug, Default)]
pub(crate) struct Users(Vec<User>);

/// A user to create.
#[derive(Debug)]
struct User {
    /// Its index in the list, skipped items counted.
    index: usize,
    span: Span,
    name: Option<Text>,
    passwd: Option<Text>,
    keys: Vec<Text>,
    gecos: Option<Text>,
    homedir: Option<Text>,
    no_create_home: bool,
    primary_group: Option<Text>,
    groups: Vec<Text>,
    no_user_group: bool,
    system: bool,
    no_log_init: bool,
    shell: Option<Text>,
}

const USER: Mapping = Mapping {
    elsewhere: &[
        ("sudo", "cloud-init's; here the group sudo gives this right"),
        (
            "uid",
            "cloud-init's; here user numbers are assigned in the order of creation",
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
    ..Mapping::of(&[
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
            "Full name, or the purpose of the account.",
        ),
        Key::text(
            "homedir",
            Form::Path,
            "Home directory; /home and the name by default.",
        ),
        Key::bool("no_create_home", "Do not create the home directory."),
        Key::text(
            "primary_group",
            Form::Account,
            "Primary group; by default a new group of the same name.",
        ),
        Key::new(
            "groups",
            Kind::List(&Kind::Text(Form::Account)),
            "Further groups of the user.",
        ),
        Key::bool("no_user_group", "Do not create a group of the user's name."),
        Key::bool(
            "system",
            "A system account: a low number, no home directory.",
        ),
        Key::bool(
            "no_log_init",
            "Do not add the user to the databases of last logins.",
        ),
        Key::text("shell", Form::Path, "The login shell."),
        Key::text("coreos_ssh_import_github", Form::Any, "").deprecated(NO_IMPORT),
        Key::new(
            "coreos_ssh_import_github_users",
            Kind::List(&Kind::Text(Form::Any)),
            "",
        )
        .deprecated(NO_IMPORT),
        Key::text("coreos_ssh_import_url", Form::Any, "").deprecated(NO_IMPORT),
    ])
};

const NO_IMPORT: &str =
    "keys are not fetched from other servers: list them under ssh_authorized_keys";

impl Section for Users {
    const KEY: Key = Key::new(
        "users",
        Kind::List(&Kind::Mapping(&USER)),
        "Users to create; of one that exists, only password and keys are set.",
    );

    fn read(item: Item) -> Self {
        Self(items(item).map(User::read).collect())
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn check(&self, _context: &CheckContext<'_>, report: &mut Report) {
        let mut seen = HashMap::new();
        for user in &self.0 {
            let path = format!("users[{}]", user.index);
            let Some(name) = &user.name else { continue };
            if let Some(line) = seen.insert(&name.text, name.span.place.line) {
                let message = format!("the user {:?} is also on line {line}", name.text);
                report.add(Level::Warning, name.span, format!("{path}.name"), message);
            }
            repeated(&user.groups, &format!("{path}.groups"), report);
            if user.passwd.is_none() && user.keys.is_empty() && !user.system {
                let message =
                    "without passwd and ssh_authorized_keys nobody can log in as this user";
                report.add(Level::Info, user.span, &path, message);
            }
        }
    }

    fn plan(self, _context: &PlanContext<'_>, steps: &mut Steps) -> Result<(), PlanError> {
        for user in self.0.into_iter().filter_map(User::planned) {
            steps.push(Step::User(user));
        }
        Ok(())
    }
}

/// Reports what stands twice in a list of words.
fn repeated(words: &[Text], path: &str, report: &mut Report) {
    let mut seen = HashSet::new();
    for (index, word) in words.iter().enumerate() {
        if !seen.insert(&word.text) {
            let message = format!("{:?} is in this list already", word.text);
            report.add(Level::Info, word.span, format!("{path}[{index}]"), message);
        }
    }
}

impl User {
    fn read(item: Item) -> Self {
        let (span, index) = (item.span, item.index);
        let mut fields = Fields::of(item);
        Self {
            index,
            span,
            name: fields.text("name"),
            passwd: fields.text("passwd"),
            keys: fields
                .item("ssh_authorized_keys")
                .map_or_else(Vec::new, public_keys),
            gecos: fields.text("gecos"),
            homedir: fields.text("homedir"),
            no_create_home: fields.flag("no_create_home"),
            primary_group: fields.text("primary_group"),
            groups: fields.texts("groups"),
            no_user_group: fields.flag("no_user_group"),
            system: fields.flag("system"),
            no_log_init: fields.flag("no_log_init"),
            shell: fields.text("shell"),
        }
    }

    fn planned(self) -> Option<NewUser> {
        let user = self;
        let mut arguments = Vec::new();
        let mut flag = |given: bool, name: &str| arguments.extend(given.then(|| name.to_owned()));
        flag(!user.no_create_home && !user.system, "--create-home");
        flag(user.no_create_home, "--no-create-home");
        flag(user.no_user_group, "--no-user-group");
        flag(user.system, "--system");
        flag(user.no_log_init, "--no-log-init");
        let groups: Vec<&str> = user
            .groups
            .iter()
            .map(|group| group.text.as_str())
            .collect();
        let groups = (!groups.is_empty()).then(|| groups.join(","));
        let text = |text: Option<Text>| text.map(|text| text.text).filter(|text| !text.is_empty());
        for (name, value) in [
            ("--comment", text(user.gecos)),
            ("--home-dir", text(user.homedir)),
            ("--gid", text(user.primary_group)),
            ("--groups", groups),
            ("--shell", text(user.shell)),
        ] {
            if let Some(value) = value {
                arguments.extend([name.to_owned(), value]);
            }
        }
        Some(NewUser {
            name: user.name?.text,
            passwd: text(user.passwd),
            keys: user
                .keys
                .iter()
                .map(|key| key.text.trim().to_owned())
                .collect(),
            arguments,
        })
    }
}
