use host::{etcd, kept::Kept};

use crate::etcd::Error;

/// Why a node must not leave, or why it is not known whether it may, as far as the members of etcd are concerned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MemberFault {
    /// What answers does not say who the members are.
    #[error(
        "whether this node hosts a member of etcd is not known: a proxy answers for etcd, and does not \
         say who the members are; name them in etcd.endpoints, or, where this node hosts none, set \
         etcd.member to none"
    )]
    Proxy,
    /// etcd refuses to list the members.
    #[error(
        "whether this node hosts a member of etcd is not known: {0}; \
         where it hosts none, set etcd.member to none"
    )]
    Unlisted(Kept<Error>),
    /// The members could not be asked for.
    #[error("{0}")]
    Etcd(Kept<Error>),
    /// The addresses by which the node knows its own member cannot be read.
    #[error("the addresses of this node cannot be read: {0}")]
    Addresses(nix::Error),
    /// `etcd.member` names a URL at which nobody answers.
    #[error(
        "it is not known which member of etcd is this node's: etcd.member is {url}; {}",
        in_a_line(error)
    )]
    NamedSilent {
        /// The URL.
        url: String,
        /// What happened.
        error: Kept<etcd::Error>,
    },
    /// `etcd.member` names the URL of a member of another cluster.
    #[error(
        "it is not known which member of etcd is this node's: etcd.member is {url}; \
         {id:x} answers there, which is not a member of this cluster"
    )]
    NamedForeign {
        /// The URL.
        url: String,
        /// The id of the member that answers.
        id: u64,
    },
    /// A name that a member advertises cannot be looked up.
    #[error(
        "whether this node hosts a member of etcd is not known: {host}, which {member} advertises, \
         cannot be looked up ({})", looked_up(error.as_ref())
    )]
    HostUnknown {
        /// The name.
        host: String,
        /// The member, for people.
        member: String,
        /// What the resolver says; none where it did not answer in time.
        error: Option<Kept<std::io::Error>>,
    },
    /// Another member is not well.
    #[error(
        "this node hosts a member of etcd ({own}), and another one ({other}) is not healthy: {why}"
    )]
    OtherUnhealthy {
        /// The node's own member, for people.
        own: String,
        /// The other one, for people.
        other: String,
        /// What is wrong with it.
        why: Unhealthy,
    },
    /// The node's own member is not well.
    #[error("this node's member of etcd ({own}): {why}")]
    OwnUnhealthy {
        /// The member, for people.
        own: String,
        /// What is wrong with it.
        why: Unhealthy,
    },
}

impl From<Error> for MemberFault {
    fn from(error: Error) -> Self {
        Self::Etcd(error.into())
    }
}

/// What is wrong with a member of etcd.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unhealthy {
    /// It advertises no client URL.
    #[error("it advertises no client URL")]
    NoUrl,
    /// It does not answer, or not as a member of a quorum does.
    #[error("{}", in_a_line(.0))]
    Silent(Kept<etcd::Error>),
    /// Another member answers in its place.
    #[error("another member answers at {} ({found:x}, expected {expected:x})", urls.join(", "))]
    Another {
        /// Where.
        urls: Vec<String>,
        /// The id of the member that answers.
        found: u64,
        /// The id of the one that was asked.
        expected: u64,
    },
    /// It says itself what is wrong.
    #[error("{0}")]
    Itself(String),
}

/// Why a member does not answer, as part of a sentence.
fn in_a_line(error: &etcd::Error) -> String {
    let etcd::Error::Unreachable { reasons, .. } = error else {
        return error.to_string();
    };
    let reasons: Vec<String> = reasons
        .iter()
        .map(|(endpoint, reason)| format!("{endpoint}: {reason}"))
        .collect();
    reasons.join("; ")
}

fn looked_up(error: Option<&Kept<std::io::Error>>) -> String {
    error.map_or_else(|| "no answer in time".to_owned(), Kept::to_string)
}
