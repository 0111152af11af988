//! The steps that change a machine, and the list of them that a plan builds.

mod list;
mod units;

pub(crate) use self::{
    list::{NodeWide, Steps},
    units::UnitTask,
};

/// One step. Steps are done in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Set the host name.
    Hostname(String),
    /// Set the public keys of a user; those of an earlier apply are removed.
    Keys {
        /// The user.
        user: String,
        /// The public keys, a line each.
        keys: Vec<String>,
        /// Only a platform gives them: on a machine without that user they are ignored.
        optional: bool,
    },
    /// Create a user; if the user exists, set only password and keys.
    User(NewUser),
    /// Write a file.
    File(NewFile),
    /// Create a link, which may replace a file.
    Link {
        /// Its path.
        path: String,
        /// Its target.
        target: &'static str,
    },
    /// Remove what masks a unit: an empty file or a link to /dev/null. Other files are not removed.
    Unmask {
        /// Its path.
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
    /// Reload systemd's units, if a step before this one changed any.
    Reload,
    /// Restart systemd-networkd, if a step before this one changed one of its files.
    RestartNetworkd,
    /// Run a command of systemd for a unit, with job mode `replace`.
    Command {
        /// The unit.
        unit: String,
        /// `start`, `stop` and so on.
        command: String,
    },
    /// Run a command of systemd that ends this boot: once for each document, when everything else is done and
    /// recorded.
    EndBoot {
        /// The unit.
        unit: String,
        /// `start`, `restart` and so on.
        command: String,
    },
}

/// A file to write. Missing parent folders are created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewFile {
    /// Its path: absolute, without doubled slashes and dots.
    pub path: String,
    /// Permissions, setuid, setgid and sticky bit included.
    pub mode: u32,
    /// Its owner; root by default.
    pub owner: NewOwner,
    /// Its content.
    pub content: NewContent,
}

/// The owner of a file, as for chown(1).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewOwner {
    /// The user by name or number; root by default.
    pub user: Option<String>,
    /// The group.
    pub group: NewGroup,
}

/// The group of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum NewGroup {
    /// The group root: `user`.
    #[default]
    Root,
    /// By name or number: `user:group`, `:group`.
    Named(String),
    /// The login group of the user: `user:`.
    Login,
}

/// Where a file's bytes come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NewContent {
    /// From the document.
    Bytes(Vec<u8>),
    /// Appended to the present content, unless it ends with them.
    Append(Vec<u8>),
    /// From a server.
    Fetch {
        /// The URL.
        url: String,
        /// The SHA-256 that they must have, in hexadecimal.
        sha256: Option<String>,
        /// They are appended to the present content.
        append: bool,
        /// How they are packed.
        encoding: Option<String>,
    },
}

/// A user to create.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewUser {
    /// The login name.
    pub name: String,
    /// The hash of the password; none or `*` for no password.
    pub passwd: Option<String>,
    /// Public keys.
    pub keys: Vec<String>,
    /// Arguments of `useradd`, without the name.
    pub arguments: Vec<String>,
}

impl NewFile {
    /// Creates a file of root that everybody may read.
    pub(crate) fn plain(path: impl Into<String>, text: impl Into<Vec<u8>>) -> Self {
        Self {
            path: path.into(),
            mode: 0o644,
            owner: NewOwner::default(),
            content: NewContent::Bytes(text.into()),
        }
    }

    /// Makes it readable for its owner only, if it is a secret.
    pub(crate) fn secret(mut self, secret: bool) -> Self {
        if secret {
            self.mode = 0o600;
        }
        self
    }
}

impl NewUser {
    /// Returns the path of the user's home.
    pub(crate) fn home(&self) -> String {
        let given = self.option("--home-dir");
        given.map_or_else(|| format!("/home/{}", self.name), str::to_owned)
    }

    /// Returns the value of an option of `useradd`.
    pub(crate) fn option(&self, name: &str) -> Option<&str> {
        let mut arguments = self.arguments.iter();
        arguments.find(|argument| *argument == name)?;
        arguments.next().map(String::as_str)
    }
}
