use super::after::AfterFault;
use host::{node::Group, remedy::Remedy};

use super::super::{
    document::DocumentError,
    policy::{PolicyError, PolicyFault},
};

/// Why something could not be asked of, or done in, etcd.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// etcd could not be asked, or refuses.
    #[error(transparent)]
    Etcd(#[from] host::etcd::Error),
    /// The document in etcd cannot be used.
    #[error("{}", self.with_remedy())]
    Document {
        /// Its key.
        key: String,
        /// Where the holders are from which it can be rebuilt.
        holders: String,
        /// What is wrong.
        error: DocumentError,
    },
    /// The document is gone although nodes hold the semaphore.
    #[error("{}", self.with_remedy())]
    Missing {
        /// Its key.
        key: String,
        /// The ids of the holders whose keys stand.
        holders: Vec<String>,
    },
    /// The store is not the one it was: nothing is taken, committed, released or created in it before a person accepts it.
    #[error("{doing}: {sign}; nothing is done until a person decides: pointsman store")]
    OtherStore {
        /// What was being done.
        doing: &'static str,
        /// What says so, a sentence.
        sign: String,
    },
    /// The endpoints do not lead to one cluster.
    #[error(
        "the etcd endpoints lead to different clusters, and no node joins the queue until the list is corrected{}",
        clusters.iter().map(|(endpoint, id)| format!("\n  {endpoint}: cluster {id:x}")).collect::<String>()
    )]
    Clusters {
        /// Each endpoint that answered, and the id of its cluster.
        clusters: Vec<(String, u64)>,
    },
    /// The policy that stands there cannot be used, and is not to be replaced.
    #[error("the group's policy cannot be used: {0}")]
    UnusablePolicy(PolicyError),
    /// The policy as a whole is at fault.
    #[error("the policy: {0}")]
    Policy(PolicyFault),
    /// The policy names groups that this one cannot come after.
    #[error("{0}")]
    After(#[from] AfterFault),
    /// Others changed the same thing over and over.
    #[error("{doing}: others changed it during each of {tries} tries; try again")]
    Contended {
        /// What was being done.
        doing: &'static str,
        /// How many times it was tried.
        tries: usize,
    },
    /// The kernel gave no randomness, or the like.
    #[error("{doing}: {error}")]
    Machine {
        /// What was being done.
        doing: &'static str,
        /// The system's error.
        error: std::io::Error,
    },
}

impl Error {
    /// What repairs it, where that is a command: it takes the flags by which a command finds the same etcd.
    #[must_use]
    pub fn remedy(&self) -> Option<Remedy> {
        let (key, from) = match self {
            Self::Document { key, holders, .. } => {
                (key, format!("from the holders under {holders}"))
            }
            Self::Missing { key, .. } => (key, "with these holders".to_owned()),
            _ => return None,
        };
        let purpose =
            format!("rebuild it {from}, where N nodes may be out of service at the same time");
        Some(Remedy::new(purpose, rebuild(&group_of(key))))
    }

    /// What is wrong, without what repairs it.
    #[must_use]
    pub fn what(&self) -> String {
        match self {
            Self::Document { key, error, .. } => {
                format!("the semaphore document {key} cannot be used: {error}")
            }
            Self::Missing { key, holders } => format!(
                "the semaphore document {key} is missing although {} of it; no node takes the lock",
                holders_are(holders)
            ),
            other => other.to_string(),
        }
    }

    fn with_remedy(&self) -> String {
        match self.remedy() {
            Some(remedy) => format!("{}\n{remedy}", self.what()),
            None => self.what(),
        }
    }

    /// Whether etcd could not be asked, so that the outcome of a change is unknown.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Etcd(host::etcd::Error::Unreachable { .. }))
    }
}

/// The command that rebuilds a group's document.
#[must_use]
pub fn rebuild(group: &Group) -> String {
    let flag = if group.is_default() {
        String::new()
    } else {
        format!(" --group '{}'", group.as_str().replace('\'', r"'\''"))
    };
    format!("pointsman set-max N --rebuild{flag}")
}

/// The group whose semaphore's key this is.
fn group_of(key: &str) -> Group {
    let escaped = key
        .strip_suffix("/semaphore")
        .and_then(|group| group.rsplit_once("/groups/"));
    let group = escaped.and_then(|(_, escaped)| Group::from_escaped(escaped).ok());
    group.unwrap_or_default()
}

fn holders_are(holders: &[String]) -> String {
    match holders {
        [one] => format!("{one} is a holder"),
        many => format!("{} are holders", many.join(", ")),
    }
}
