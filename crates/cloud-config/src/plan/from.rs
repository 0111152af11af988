//! From a document's parts to what is planned of them.

use super::{NewContent, NewFile, NewGroup, NewOwner, NewUser, PlanError, line};
use crate::{
    DecodeError,
    document::{File, Oem, Text, User},
    environment,
    schema::normal,
};

pub(super) fn new_file(mut file: File) -> Result<Option<NewFile>, PlanError> {
    let Some(path) = &file.path else {
        return Ok(None);
    };
    let path = normal(&path.text);
    let mode = file.mode();
    let content = match &file.source {
        Some(source) => NewContent::Fetch {
            url: source.text.clone(),
            sha256: file
                .sha256
                .as_ref()
                .map(|hash| hash.text.to_ascii_lowercase()),
            append: file.append,
            encoding: file.encoding.as_ref().map(|encoding| encoding.text.clone()),
        },
        None => match (bytes(&mut file), file.append) {
            (Ok(bytes), false) => NewContent::Bytes(bytes),
            (Ok(bytes), true) => NewContent::Append(bytes),
            (Err(error), _) => return Err(PlanError { path, error }),
        },
    };
    let owner = file
        .owner
        .map(|owner| self::owner(&owner.text))
        .unwrap_or_default();
    Ok(Some(NewFile {
        path,
        mode,
        owner,
        content,
    }))
}

fn owner(text: &str) -> NewOwner {
    let (user, group) = match text.split_once(':') {
        None => (text, NewGroup::Root),
        Some(("", "")) => ("", NewGroup::Root),
        Some((user, "")) => (user, NewGroup::Login),
        Some((user, group)) => (user, NewGroup::Named(group.to_owned())),
    };
    NewOwner {
        user: (!user.is_empty()).then(|| user.to_owned()),
        group,
    }
}

/// Its bytes; text that is its own bytes is not copied.
fn bytes(file: &mut File) -> Result<Vec<u8>, DecodeError> {
    let plain = !file.binary && file.encoding.is_none();
    match file.content.take_if(|_| plain) {
        Some(content) => Ok(content.text.into_bytes()),
        None => file.bytes(),
    }
}

pub(super) fn new_user(user: User) -> Option<NewUser> {
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
        keys: user.keys.iter().map(line).collect(),
        arguments,
    })
}

/// The text of /etc/oem-release, as os-release(5) is written; none without an id.
pub(super) fn oem_release(oem: &Oem) -> Option<String> {
    let text = |text: &Option<Text>| text.as_ref().map_or("", |text| &text.text).to_owned();
    let id = text(&oem.id);
    (!id.is_empty()).then(|| {
        let quoted = |given| environment::shell_escape(&text(given));
        format!(
            "ID={id}\nVERSION_ID={}\nNAME=\"{}\"\nHOME_URL=\"{}\"\nBUG_REPORT_URL=\"{}\"\n",
            text(&oem.version_id),
            quoted(&oem.name),
            quoted(&oem.home_url),
            quoted(&oem.bug_report_url),
        )
    })
}
