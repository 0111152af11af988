//! Which node a person means: by its id, or by its host name.

use std::collections::BTreeSet;

use host::node;
use semaphore::etcd::{Group, HolderState, Semaphore};

use super::{Context, Exit, Failure, output};

/// What somebody wrote, to the group as it is.
#[derive(Debug, PartialEq, Eq)]
enum Meant {
    /// The id of a holder, a ticket or a node.
    Id,
    /// The host name of the node with this id.
    Host(String),
    /// The host name of several nodes.
    Several(Vec<String>),
    /// Nothing that is known.
    Unknown,
}

fn meant(given: &str, group: &Group) -> Meant {
    let mut called = BTreeSet::new();
    for (id, host) in hosts(group) {
        if id == given {
            return Meant::Id;
        }
        if host == given && !given.is_empty() {
            called.insert(id.to_owned());
        }
    }
    let mut called: Vec<String> = called.into_iter().collect();
    match called.len() {
        0 => Meant::Unknown,
        1 => Meant::Host(called.remove(0)),
        _ => Meant::Several(called),
    }
}

/// Reads the group as far as it tells what a person means by `given`: of the tickets and the nodes' records only its own where
/// it is an id, and all of them only where it is a host name.
///
/// # Errors
/// When etcd cannot be reached or refuses.
pub(super) async fn group_of(semaphore: &Semaphore, given: &str) -> Result<Group, Failure> {
    let group = semaphore.read_about(given).await?;
    Ok(match meant(given, &group) {
        Meant::Id => group,
        Meant::Host(_) | Meant::Several(_) | Meant::Unknown => semaphore.read().await?,
    })
}

/// The id that a person means by `given`, for a command that acts on who holds or waits: what is known by this word, else
/// the word itself.
///
/// # Errors
/// When several nodes have this host name, or nobody is known by what was given and it is no id.
pub(super) fn id(
    context: &Context,
    group: &Group,
    given: &str,
    command: &str,
) -> Result<String, Failure> {
    match meant(given, group) {
        // As it stands there, whoever put it there.
        Meant::Id => Ok(given.to_owned()),
        Meant::Host(id) => Ok(id),
        Meant::Several(ids) => one_of(context, group, given, ids, command),
        Meant::Unknown => checked(given),
    }
}

/// Whether something in the group is known by this id or host name.
pub(super) fn is_known(group: &Group, id: &str) -> bool {
    meant(id, group) != Meant::Unknown
}

/// The id of the node that a person wants to lock by `given`. A name that no node has is refused: a place taken under it
/// protects no node, and blocks the group. A machine id is taken, with a note where no node of the group has it.
///
/// # Errors
/// As [`id`], and when nobody is known by what was given.
pub(super) fn to_lock(context: &Context, group: &Group, given: &str) -> Result<String, Failure> {
    if meant(given, group) != Meant::Unknown {
        return id(context, group, given, "lock");
    }
    checked(given)?;
    if node::is_machine_id(given) {
        output::note(format!("note: no node of the group has the id {given}"));
        return Ok(given.to_owned());
    }
    let near = nearest(given, group);
    let near = if near.is_empty() {
        String::new()
    } else {
        format!("; similar names are {}", near.join(", "))
    };
    Err(Failure::new(
        Exit::Usage,
        format!("no node of the group is called {given}{near}"),
    )
    .remedy(
        "take a place under this name anyway, which protects no node",
        context.command(&format!("lock --as {}", output::word(given))),
    ))
}

/// A node as people know it: its host name, where that is known, then its id. On one line, whatever another tool has written.
pub(super) fn named(hostname: &str, id: &str) -> String {
    output::in_line(&match hostname {
        "" => id.to_owned(),
        host if host == id => id.to_owned(),
        host => format!("{host} ({id})"),
    })
}

/// A group as it goes on after an article: `default group`, or `group "web"`.
pub(super) fn after_article(group: &node::Group) -> String {
    match group {
        group if group.is_default() => "default group".to_owned(),
        group => format!("group {:?}", output::in_line(group.as_str())),
    }
}

/// A group as people know it: its name, on one line; `(default)` for the one without a name.
pub(super) fn group(name: &str) -> String {
    match name {
        "" => "(default)".to_owned(),
        name => output::in_line(name),
    }
}

/// A holder, by [`named`].
pub(super) fn shown(held: &HolderState) -> String {
    let host = held.entry.as_ref().map_or("", |entry| &entry.hostname);
    named(host, &held.id)
}

/// The node of this id, by [`named`], with the host name under which the group knows it.
pub(super) fn known(group: &Group, id: &str) -> String {
    let mut all = hosts(group);
    let host = all.find(|(known, host)| *known == id && !host.is_empty());
    named(host.map_or("", |(_, host)| host), id)
}

/// Each id in the group with its host name, which may be empty.
fn hosts(group: &Group) -> impl Iterator<Item = (&str, &str)> {
    let holders = group.holders.iter().map(|held| {
        let host = held.entry.as_ref().map_or("", |entry| &entry.hostname);
        (held.id.as_str(), host)
    });
    let tickets = group.queue.iter();
    let tickets = tickets.map(|ticket| (ticket.id.as_str(), ticket.hostname.as_str()));
    let nodes = group.nodes.iter();
    let nodes = nodes.map(|node| (node.id.as_str(), node.hostname.as_str()));
    let lost = group.lost.iter();
    let lost = lost.map(|(id, node)| (id.as_str(), node.hostname.as_str()));
    holders.chain(tickets).chain(nodes).chain(lost)
}

fn checked(given: &str) -> Result<String, Failure> {
    node::check_id(given)
        .map(|()| given.to_owned())
        .map_err(|error| Failure::new(Exit::Usage, error.to_string()))
}

/// Which of the nodes of one host name is meant: to unlock, the only one that holds; else this machine itself, whose
/// other records are of earlier installations of it.
fn one_of(
    context: &Context,
    group: &Group,
    given: &str,
    ids: Vec<String>,
    command: &str,
) -> Result<String, Failure> {
    let root = &context.config.root;
    let holding: Vec<&String> = ids
        .iter()
        .filter(|id| group.holders.iter().any(|held| held.id == **id))
        .collect();
    if let (&[one], "unlock") = (holding.as_slice(), command) {
        return Ok(one.clone());
    }
    // Whoever forgets means the machine that was there before, and seldom the one that asks.
    if let Ok(own) = node::machine_id(root)
        && command != "forget"
        && node::hostname(root) == given
        && ids.contains(&own)
    {
        return Ok(own);
    }
    let seen = ids.iter().map(|id| {
        let since = group
            .nodes
            .iter()
            .find(|node| node.id == *id)
            .and_then(|node| node.since);
        since.map_or_else(
            || format!("{id} (last seen at an unknown time)"),
            |since| format!("{id} (last seen {})", context.time(since)),
        )
    });
    Err(Failure::new(
        Exit::Usage,
        format!(
            "{given} is the host name of {} nodes: {}",
            ids.len(),
            seen.collect::<Vec<_>>().join(", "),
        ),
    )
    .remedy("say which one", context.command(&format!("{command} ID"))))
}

/// The host names and ids of the group that look like this one, the nearest first, at most three.
fn nearest(given: &str, group: &Group) -> Vec<String> {
    let holders = group.holders.iter().map(|held| {
        let host = held.entry.as_ref().map_or("", |entry| &entry.hostname);
        (held.id.as_str(), host)
    });
    let nodes = group.nodes.iter();
    let nodes = nodes.map(|node| (node.id.as_str(), node.hostname.as_str()));
    let names = holders
        .chain(nodes)
        .map(|(id, host)| if host.is_empty() { id } else { host });
    let mut near: Vec<(usize, &str)> = names
        .collect::<BTreeSet<_>>()
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(given, name), name))
        .filter(|(apart, name)| *apart <= 1 + given.chars().count() / 3 || name.contains(given))
        .collect();
    near.sort_unstable();
    near.into_iter()
        .take(3)
        .map(|(_, name)| name.to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group() -> Group {
        let held = |id: &str, entry: Option<&str>| HolderState {
            id: id.into(),
            entry: entry.map(|text| serde_json::from_str(text).unwrap()),
            listed: true,
            overdue: false,
            before_accept: false,
            grace: Err(semaphore::lost::Never::NoGrace),
            grace_lease: None,
        };
        let node = |id: &str, host: &str| {
            let text = format!(r#"{{"id":"{id}","hostname":"{host}"}}"#);
            serde_json::from_str(&text).unwrap()
        };
        Group {
            holders: vec![
                held("1", Some(r#"{"id":"1","hostname":"n1","phase":"manual"}"#)),
                held("a b/c", None),
                held("n3", None),
            ],
            queue: vec![serde_json::from_str(r#"{"id":"2","hostname":"n2"}"#).unwrap()],
            nodes: vec![
                node("1", "n1"),
                node("2", "n2"),
                node("3", "n3"),
                node("4", "twin"),
                node("5", "twin"),
                node("6", ""),
            ],
            ..Group::default()
        }
    }

    #[test]
    fn a_host_name_means_its_node_unless_it_is_an_id_itself() {
        for (given, expected) in [
            ("1", Meant::Id),
            ("a b/c", Meant::Id),
            ("n1", Meant::Host("1".into())),
            ("n2", Meant::Host("2".into())),
            // Held under that very name.
            ("n3", Meant::Id),
            ("twin", Meant::Several(vec!["4".into(), "5".into()])),
            ("n4", Meant::Unknown),
            ("", Meant::Unknown),
        ] {
            assert_eq!(meant(given, &group()), expected, "{given}");
        }
    }

    #[test]
    fn the_nearest_names_are_few_and_near() {
        for (given, expected) in [
            ("n33", &["n3", "n1", "n2"][..]),
            ("twni", &["twin"]),
            ("web-proxy", &[]),
        ] {
            assert_eq!(nearest(given, &group()), expected, "{given}");
        }
    }
}
