//! The steps in which a machine is changed, and the list of them that a plan builds.

mod list;
mod units;

pub(crate) use self::{
    list::{NodeWide, Steps},
    units::UnitTask,
};

/// One step. Steps are done in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Name the node.
    Hostname(String),
    /// Let these keys log in as this user; those of an earlier apply go.
    Keys {
        /// The user.
        user: String,
        /// The public keys, a line each.
        keys: Vec<String>,
        /// A platform alone gives them: a machine without that user goes without.
        optional: bool,
    },
    /// Create a user, or of one that exists set password and keys.
    User(NewUser),
    /// Write a file.
    File(NewFile),
    /// Put a link, in place of a file if need be.
    Link {
        /// Where.
        path: String,
        /// To what.
        target: &'static str,
    },
    /// Remove what masks a unit: an empty file or a link to /dev/null. Anything else stays.
    Unmask {
        /// Where it would be.
        path: String,
    },
    /// Enable a unit.
    Enable {
        /// The unit.
        unit: String,
        /// Until the next boot only.
        runtime: bool,
    },
    /// Run a script, once for each content.
    Script(Vec<u8>),
    /// Let systemd read its units again, if a step before this one changed any.
    Reload,
    /// Restart systemd-networkd, if a step before this one changed a file of its.
    RestartNetworkd,
    /// Tell systemd to do something with a unit, job mode `replace`.
    Command {
        /// The unit.
        unit: String,
        /// `start`, `stop` and so on.
        command: String,
    },
    /// Tell systemd to do something with a unit that ends this boot: once for each document, when all else is done and
    /// on record.
    EndBoot {
        /// The unit.
        unit: String,
        /// `start` and its kin.
        command: String,
    },
}

/// A file to write. Its parents are made as needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewFile {
    /// Where: absolute, without doubled slashes and dots.
    pub path: String,
    /// Permissions, setuid, setgid and sticky bit included.
    pub mode: u32,
    /// Whose it is; root's where not given.
    pub owner: NewOwner,
    /// What.
    pub content: NewContent,
}

/// Whose a file is to be, as chown(1) is told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewOwner {
    /// The user by name or number; root where not given.
    pub user: Option<String>,
    /// The group.
    pub group: NewGroup,
}

/// Which group a file is to have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum NewGroup {
    /// root's: `user`.
    #[default]
    Root,
    /// By name or number: `user:group`, `:group`.
    Named(String),
    /// The one that the user logs in with: `user:`.
    Login,
}

/// Where a file's bytes come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NewContent {
    /// They are here.
    Bytes(Vec<u8>),
    /// They come after what the file holds, unless it ends with them.
    Append(Vec<u8>),
    /// They are fetched.
    Fetch {
        /// From here.
        url: String,
        /// And have this SHA-256, in hexadecimal.
        sha256: Option<String>,
        /// They are added to what the file holds.
        append: bool,
        /// They are packed so.
        encoding: Option<String>,
    },
}

/// A user to create.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewUser {
    /// The login name.
    pub name: String,
    /// The password's hash: `*`, no password, where none is given.
    pub passwd: Option<String>,
    /// Public keys.
    pub keys: Vec<String>,
    /// Arguments of `useradd` but for the name.
    pub arguments: Vec<String>,
}

impl NewFile {
    /// A file that all may read, root's.
    pub(crate) fn plain(path: impl Into<String>, text: impl Into<Vec<u8>>) -> Self {
        Self {
            path: path.into(),
            mode: 0o644,
            owner: NewOwner::default(),
            content: NewContent::Bytes(text.into()),
        }
    }

    /// For nobody but its owner, if it is a secret.
    pub(crate) fn secret(mut self, secret: bool) -> Self {
        if secret {
            self.mode = 0o600;
        }
        self
    }
}

impl NewUser {
    /// Where the user's home will be.
    pub(crate) fn home(&self) -> String {
        let given = self.option("--home-dir");
        given.map_or_else(|| format!("/home/{}", self.name), str::to_owned)
    }

    /// Returns what an option of `useradd` is given.
    pub(crate) fn option(&self, name: &str) -> Option<&str> {
        let mut arguments = self.arguments.iter();
        arguments.find(|argument| *argument == name)?;
        arguments.next().map(String::as_str)
    }
}
