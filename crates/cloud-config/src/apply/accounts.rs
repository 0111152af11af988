//! Users and groups by name: those of the machine that runs, or of the tree under a root.

use std::io;

use nix::unistd::{Group, User};

use super::tree::Tree;

/// The most that /etc/passwd and its kin may hold, in bytes.
const MOST: u64 = 16 << 20;

/// Where lists of users are; the second is where Container Linux has those of its image.
const FOLDERS: [&str; 2] = ["/etc", "/usr/share/baselayout"];

/// Who is number 0 of users and groups whatever the lists say: an empty tree has none.
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
    /// The system itself is asked, which may know more than its files.
    pub(super) live: bool,
}

impl Accounts<'_> {
    /// The line of a name in a file such as passwd, its fields apart.
    fn line(&self, file: &str, name: &str) -> io::Result<Option<Vec<String>>> {
        self.line_with(file, 0, name)
    }

    /// The first line of a file such as passwd whose field of this number is this.
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

    /// The homes of all users but root, as the files of the machine list them.
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

    /// A user, by name.
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

    /// The number of a user, by name or number.
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

    /// The number of the group that a user, by name or number, logs in with.
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

    /// The number of a group, by name or number.
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

    /// The hash of a user's password.
    ///
    /// # Errors
    /// As [`Self::user`].
    pub(super) fn password(&self, name: &str) -> io::Result<Option<String>> {
        let fields = self.line("shadow", name)?;
        Ok(fields.and_then(|fields| fields.into_iter().nth(1)))
    }
}
