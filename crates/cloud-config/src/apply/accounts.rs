//! Users and groups by name: of the running machine, or of the tree under a root.

use std::io;

use nix::unistd::{Group, User};

use super::tree::Tree;

/// The largest /etc/passwd or /etc/group that is read, in bytes.
const MOST: u64 = 16 << 20;

/// The folders of passwd and group; Container Linux has those of its image in the second one.
const FOLDERS: [&str; 2] = ["/etc", "/usr/share/baselayout"];

/// The name of user and group 0, whatever the lists say: an empty tree has no lists.
const ROOT: &str = "root";

/// A user of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) home: String,
}

/// The users and groups of a machine.
#[derive(Debug, Clone, Copy)]
pub(super) struct Accounts<'a> {
    pub(super) tree: &'a Tree,
    /// Asks the system itself, which may know more users than its files.
    pub(super) live: bool,
}

impl Accounts<'_> {
    /// Finds the line of a name in a file such as passwd, and splits it into fields.
    fn line(&self, file: &str, name: &str) -> io::Result<Option<Vec<String>>> {
        self.line_with(file, 0, name)
    }

    /// Finds the first line of a file such as passwd with this value in this field.
    fn line_with(&self, file: &str, field: usize, value: &str) -> io::Result<Option<Vec<String>>> {
        for folder in FOLDERS {
            let bytes = self
                .tree
                .read(&format!("{folder}/{file}"), MOST)?
                .unwrap_or_default();
            let text = String::from_utf8_lossy(&bytes);
            let found = text
                .lines()
                .find(|line| line.split(':').nth(field) == Some(value));
            if let Some(line) = found {
                return Ok(Some(line.split(':').map(str::to_owned).collect()));
            }
        }
        Ok(None)
    }

    /// Lists the homes of all users except root.
    ///
    /// # Errors
    /// When the lists cannot be read.
    pub(super) fn homes(&self) -> io::Result<Vec<String>> {
        let mut homes = Vec::new();
        for folder in FOLDERS {
            let bytes = self.tree.read(&format!("{folder}/passwd"), MOST)?;
            let bytes = bytes.unwrap_or_default();
            let text = String::from_utf8_lossy(&bytes);
            let home = |line: &str| {
                let mut fields = line.split(':').skip(2);
                let (uid, home) = (fields.next()?, fields.nth(2)?);
                (uid != "0").then(|| home.trim_end_matches('/').to_owned())
            };
            homes.extend(text.lines().filter_map(home));
        }
        homes.retain(|home| home.starts_with('/'));
        Ok(homes)
    }

    /// Finds a user by name.
    ///
    /// # Errors
    /// When the lists cannot be read.
    pub(super) fn user(&self, name: &str) -> io::Result<Option<Account>> {
        if self.live {
            let user = User::from_name(name)?;
            return Ok(user.map(|user| Account {
                uid: user.uid.as_raw(),
                gid: user.gid.as_raw(),
                home: user.dir.to_string_lossy().into_owned(),
            }));
        }
        let number = |text: &str| text.parse().ok();
        Ok(self
            .line("passwd", name)?
            .and_then(|fields| match &fields[..] {
                [_, _, uid, gid, _, home, ..] => Some(Account {
                    uid: number(uid)?,
                    gid: number(gid)?,
                    home: home.clone(),
                }),
                _ => None,
            }))
    }

    /// Finds the number of a user, by name or number.
    ///
    /// # Errors
    /// As [`Self::user`].
    pub(super) fn uid(&self, name: &str) -> io::Result<Option<u32>> {
        match name.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) if name == ROOT => Ok(Some(0)),
            Err(_) => Ok(self.user(name)?.map(|user| user.uid)),
        }
    }

    /// Finds the login group of a user, by name or number.
    ///
    /// # Errors
    /// As [`Self::user`].
    pub(super) fn login_group(&self, name: &str) -> io::Result<Option<u32>> {
        let Ok(number) = name.parse::<u32>() else {
            let user = self.user(name)?.map(|user| user.gid);
            return Ok(user.or((name == ROOT).then_some(0)));
        };
        if self.live {
            return Ok(User::from_uid(number.into())?.map(|user| user.gid.as_raw()));
        }
        let fields = self.line_with("passwd", 2, &number.to_string())?;
        let group = fields.and_then(|fields| fields.get(3)?.parse().ok());
        Ok(group.or((number == 0).then_some(0)))
    }

    /// Finds the number of a group, by name or number.
    ///
    /// # Errors
    /// As [`Self::user`].
    pub(super) fn gid(&self, name: &str) -> io::Result<Option<u32>> {
        if let Ok(number) = name.parse() {
            return Ok(Some(number));
        }
        if name == ROOT {
            return Ok(Some(0));
        }
        if self.live {
            return Ok(Group::from_name(name)?.map(|group| group.gid.as_raw()));
        }
        let fields = self.line("group", name)?;
        Ok(fields.and_then(|fields| fields.get(2)?.parse().ok()))
    }

    /// Reads the hash of a user's password.
    ///
    /// # Errors
    /// As [`Self::user`].
    pub(super) fn password(&self, name: &str) -> io::Result<Option<String>> {
        let fields = self.line("shadow", name)?;
        Ok(fields.and_then(|fields| fields.into_iter().nth(1)))
    }
}
