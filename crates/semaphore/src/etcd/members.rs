//! The members of etcd themselves: which of them is this node's, and how they are.

use std::net::IpAddr;

use etcd_client::{Client, ResponseHeader, StatusResponse};
use host::{
    etcd::{self, Connection, Local},
    kept::Kept,
};
use tokio::time::timeout;

use super::{Error, Semaphore};

mod fault;

pub use fault::{MemberFault, Unhealthy};

/// Whether this node may leave, as far as the members of etcd are concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Guard {
    /// It hosts none.
    NoMember,
    /// It hosts the one with this id, and all the others are well.
    Open(u64),
    /// It hosts one, or may host one, and must not leave: why.
    Closed(MemberFault),
}

/// A member as the cluster knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Member {
    id: u64,
    name: String,
    client_urls: Vec<String>,
    peer_urls: Vec<String>,
}

impl Member {
    fn hosts(&self) -> impl Iterator<Item = &str> {
        let urls = self.peer_urls.iter().chain(&self.client_urls);
        urls.filter_map(|url| host(url))
    }
}

impl std::fmt::Display for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.name.as_str() {
            // It gets its name from its first start.
            "" => write!(f, "{:x}, which has never started", self.id),
            name => f.write_str(name),
        }
    }
}

/// What a machine goes by in the network.
struct Names {
    hostname: String,
    /// Its addresses but those every machine has.
    addresses: Vec<IpAddr>,
}

impl Semaphore {
    /// Whether the node of this host name may leave: where it hosts a member of etcd, all the others must be well, or
    /// etcd could lose its quorum. `known` is the id of its own one, where that was found before: by now its drain may
    /// have stopped it.
    ///
    /// # Errors
    /// When etcd cannot be reached.
    pub async fn guard(
        &self,
        local: &Local,
        hostname: &str,
        known: Option<u64>,
    ) -> Result<Guard, Error> {
        if *local == Local::None {
            return Ok(Guard::NoMember);
        }
        let members = match self.members().await {
            Ok(members) if members.is_empty() || members.iter().any(|member| member.id == 0) => {
                return Ok(Guard::Closed(MemberFault::Proxy));
            }
            Ok(members) => members,
            Err(error) if error.is_unreachable() => return Err(error),
            Err(error) => {
                return Ok(Guard::Closed(MemberFault::Unlisted(error.into())));
            }
        };
        let own = match self.own(&members, local, hostname, known).await {
            Ok(Some(own)) => own,
            Ok(None) => return Ok(Guard::NoMember),
            Err(why) => return Ok(Guard::Closed(why)),
        };
        for other in members.iter().filter(|member| member.id != own.id) {
            if let Err(why) = self.health(other, &other.client_urls).await {
                return Ok(Guard::Closed(MemberFault::OtherUnhealthy {
                    own: own.to_string(),
                    other: other.to_string(),
                    why,
                }));
            }
        }
        Ok(Guard::Open(own.id))
    }

    /// Whether this node's own member is well, or why not; `Ok` where it hosts none. `known` as in [`Self::guard`].
    ///
    /// # Errors
    /// Why it is not known whether it hosts one, or which.
    pub async fn own_member(
        &self,
        local: &Local,
        hostname: &str,
        known: Option<u64>,
    ) -> Result<Result<(), MemberFault>, MemberFault> {
        let members = self.members().await.map_err(MemberFault::from)?;
        let Some(own) = self.own(&members, local, hostname, known).await? else {
            return Ok(Ok(()));
        };
        let urls = match local {
            Local::At(url) => std::slice::from_ref(url),
            _ => own.client_urls.as_slice(),
        };
        let health = self.health(own, urls).await;
        Ok(health.map_err(|why| MemberFault::OwnUnhealthy {
            own: own.to_string(),
            why,
        }))
    }

    /// The members, as all of them agree by now. The list itself is each member's own, and an older one where that lags: so
    /// the same member first serves a read that the quorum agrees to, by which it has caught up. That is what etcd does for
    /// the flag `linearizable` of the request, which 3.4 does not know.
    async fn members(&self) -> Result<Vec<Member>, Error> {
        let key = self.keys.member_out();
        let answer = self
            .connection
            .etcd()
            .call("reading etcd's members", async |client: Client| {
                let read = match client.kv_client().get(key.as_str(), None).await {
                    Ok(read) => read.header().map(ResponseHeader::member_id),
                    // An answer all the same: etcd asks for permission after the quorum has agreed.
                    Err(etcd_client::Error::GRpcStatus(status))
                        if status.code() == tonic::Code::PermissionDenied =>
                    {
                        None
                    }
                    Err(error) => return Err(error),
                };
                let list = client.cluster_client().member_list().await?;
                let listed = list.header().map(ResponseHeader::member_id);
                if read.is_some() && read != listed {
                    // Asked again elsewhere, or said.
                    return Err(etcd_client::Error::GRpcStatus(tonic::Status::unavailable(
                        "two members of etcd answer at this address in turn: list each of them in etcd.endpoints",
                    )));
                }
                Ok(list)
            })
            .await?;
        let member = |member: &etcd_client::Member| Member {
            id: member.id(),
            name: member.name().to_owned(),
            client_urls: member.client_urls().to_vec(),
            peer_urls: member.peer_urls().to_vec(),
        };
        Ok(answer.members().iter().map(member).collect())
    }

    /// The member that was last taken for this node's, by its name and id; empty where none was.
    #[must_use]
    pub fn member(&self) -> String {
        self.own.borrow().clone()
    }

    /// Which of them is this node's; an error where it has one and which cannot be told.
    async fn own<'a>(
        &self,
        members: &'a [Member],
        local: &Local,
        hostname: &str,
        known: Option<u64>,
    ) -> Result<Option<&'a Member>, MemberFault> {
        let own = self.find_own(members, local, hostname, known).await?;
        let named = own.map(|own| match own.name.as_str() {
            "" => format!("{:x}", own.id),
            name => format!("{name} ({:x})", own.id),
        });
        self.own.replace(named.unwrap_or_default());
        Ok(own)
    }

    async fn find_own<'a>(
        &self,
        members: &'a [Member],
        local: &Local,
        hostname: &str,
        known: Option<u64>,
    ) -> Result<Option<&'a Member>, MemberFault> {
        let known = known.filter(|id| *id != 0);
        if let Some(own) = members.iter().find(|member| Some(member.id) == known) {
            return Ok(Some(own));
        }
        let url = match local {
            Local::None => return Ok(None),
            Local::Auto => {
                let names = Names {
                    hostname: hostname.to_owned(),
                    addresses: addresses().map_err(MemberFault::Addresses)?,
                };
                return self.by_names(members, &names).await;
            }
            Local::At(url) => url,
        };
        if let Some(own) = members
            .iter()
            .find(|member| member.client_urls.contains(url))
        {
            return Ok(Some(own));
        }
        let connection = self.connection.etcd().to(vec![url.clone()]);
        let status = status(&connection).await;
        let id = member_id(&status.map_err(|error| MemberFault::NamedSilent {
            url: url.clone(),
            error: error.into(),
        })?);
        let own = members.iter().find(|member| member.id == id);
        own.map(Some).ok_or_else(|| MemberFault::NamedForeign {
            url: url.clone(),
            id,
        })
    }

    async fn by_names<'a>(
        &self,
        members: &'a [Member],
        names: &Names,
    ) -> Result<Option<&'a Member>, MemberFault> {
        // An address is nobody else's; a short name may be.
        let by = |is: &dyn Fn(&str) -> bool| members.iter().find(|member| member.hosts().any(is));
        let address = |host: &str| as_address(host).is_some_and(|a| names.addresses.contains(&a));
        if let Some(own) = by(&address).or_else(|| by(&|host| is_named(host, &names.hostname))) {
            return Ok(Some(own));
        }
        for member in members {
            for host in member.hosts().filter(|host| as_address(host).is_none()) {
                if is_everywhere(host) {
                    continue;
                }
                let unknown = |error: Option<std::io::Error>| MemberFault::HostUnknown {
                    host: host.to_owned(),
                    member: member.to_string(),
                    error: error.map(Kept::from),
                };
                let looked = timeout(
                    self.connection.timeout(),
                    tokio::net::lookup_host((host, 0)),
                );
                match looked.await {
                    Err(_) => return Err(unknown(None)),
                    // getaddrinfo(3), EAI_AGAIN: any other failure says that there is no such name.
                    Ok(Err(error)) if error.to_string().contains("Temporary failure") => {
                        return Err(unknown(Some(error)));
                    }
                    Ok(Err(_)) => {}
                    Ok(Ok(mut found)) => {
                        if found.any(|one| names.addresses.contains(&one.ip())) {
                            return Ok(Some(member));
                        }
                    }
                }
            }
        }
        Ok(None)
    }

    /// Whether a member answers, has a leader, serves a read the whole quorum agrees to, and no alarm stands.
    async fn health(&self, member: &Member, urls: &[String]) -> Result<(), Unhealthy> {
        if urls.is_empty() {
            return Err(Unhealthy::NoUrl);
        }
        let connection = self.connection.etcd().to(urls.to_vec());
        let status = status(&connection)
            .await
            .map_err(|error| Unhealthy::Silent(error.into()))?;
        let id = member_id(&status);
        if id != member.id {
            return Err(Unhealthy::Another {
                urls: urls.to_vec(),
                found: id,
                expected: member.id,
            });
        }
        if let [error, ..] = status.errors() {
            return Err(Unhealthy::Itself(error.clone()));
        }
        // It has no vote, and serves no such read.
        if status.is_learner() {
            return Ok(());
        }
        match connection.get(&self.keys.member_out()).await {
            Ok(_) => Ok(()),
            // An answer all the same: etcd asks for permission after the quorum has agreed.
            Err(etcd::Error::Refused { .. }) => Ok(()),
            Err(error) => Err(Unhealthy::Silent(error.into())),
        }
    }
}

/// How the member that answers is.
async fn status(connection: &Connection) -> Result<StatusResponse, etcd::Error> {
    let asked = connection.call("asking a member how it is", async |client: Client| {
        client.maintenance_client().status().await
    });
    asked.await
}

fn member_id(status: &StatusResponse) -> u64 {
    status.header().map_or(0, ResponseHeader::member_id)
}

/// The addresses of this machine that tell it from others.
fn addresses() -> nix::Result<Vec<IpAddr>> {
    let all = nix::ifaddrs::getifaddrs()?.filter_map(|one| {
        let address = one.address?;
        let v4 = address.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))
    });
    Ok(all.filter(|one| !one.is_loopback()).collect())
}

/// The host in a URL; an IPv6 address in its brackets.
fn host(url: &str) -> Option<&str> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split('/').next()?;
    let end = match authority.strip_prefix('[') {
        Some(rest) => rest.find(']')? + 2,
        None => authority.rfind(':').unwrap_or(authority.len()),
    };
    authority.get(..end).filter(|host| !host.is_empty())
}

fn as_address(host: &str) -> Option<IpAddr> {
    let inner = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    inner.unwrap_or(host).parse().ok()
}

/// Whether every machine goes by this name (RFC 6761).
fn is_everywhere(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost" || name.starts_with("localhost.") || name.ends_with(".localhost")
}

/// Whether a name is this host name, or begins with it as its first label.
fn is_named(name: &str, hostname: &str) -> bool {
    if is_everywhere(name) {
        return false;
    }
    let label = name.split('.').next().unwrap_or(name);
    name.eq_ignore_ascii_case(hostname) || label.eq_ignore_ascii_case(hostname)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_is_read_from_a_member_url() {
        for (url, expected) in [
            ("http://10.0.0.5:2380", Some("10.0.0.5")),
            ("https://[fd00::1]:2379/", Some("[fd00::1]")),
            ("https://etcd-1.example.com", Some("etcd-1.example.com")),
            ("http://:2380", None),
            ("http://[fd00::1", None),
        ] {
            assert_eq!(host(url), expected, "{url}");
        }
        assert_eq!(as_address("[fd00::1]"), "fd00::1".parse().ok());
        assert_eq!(as_address("10.0.0.5"), "10.0.0.5".parse().ok());
        assert_eq!(as_address("n1"), None);
    }

    #[tokio::test]
    async fn a_member_is_found_by_what_it_advertises() {
        let member = |id, peer: &str, client: &str| Member {
            id,
            name: format!("m{id}"),
            peer_urls: vec![peer.into()],
            client_urls: vec![client.into()],
        };
        let members = [
            member(1, "http://10.0.0.1:2380", "http://10.0.0.1:2379"),
            member(2, "http://n2.site.example:2380", "http://localhost:2379"),
            // What it advertises to clients leads each of them to itself.
            member(3, "http://[fd00::3]:2380", "http://localhost:2379"),
        ];
        let semaphore = Semaphore::new(
            super::super::Options {
                timeout: std::time::Duration::from_secs(5),
                ..super::super::Options::default()
            },
            crate::keys::Keys::new("p", host::node::Group::default()),
            super::super::BackOff {
                min: std::time::Duration::ZERO,
                max: std::time::Duration::ZERO,
            },
        );
        for (hostname, address, own) in [
            ("a", "10.0.0.1", Some(1)),
            ("n2", "10.0.0.9", Some(2)),
            ("N2.site.example", "10.0.0.9", Some(2)),
            ("c", "fd00::3", Some(3)),
            ("n2", "10.0.0.1", Some(1)),
        ] {
            let names = Names {
                hostname: hostname.into(),
                addresses: vec![address.parse().unwrap()],
            };
            let found = semaphore.by_names(&members, &names).await.unwrap();
            assert_eq!(found.map(|member| member.id), own, "{hostname} {address}");
        }
        let nobody = Names {
            hostname: "localhost".into(),
            addresses: vec!["10.0.0.4".parse().unwrap()],
        };
        let found = semaphore.by_names(&members[2..], &nobody).await;
        assert_eq!(found, Ok(None), "every machine is localhost");
        assert!(!addresses().unwrap().iter().any(IpAddr::is_loopback));
    }
}
