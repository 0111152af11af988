//! Which node a person means: by its id, or by its host name.

use std::collections::BTreeSet;

use super::{Context, Exit, Failure, output};
use crate::{node, semaphore::etcd::Group};

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
    let holders = group.holders.iter().map(|held| {
        let host = held.entry.as_ref().map_or("", |entry| &entry.hostname);
        (held.id.as_str(), host)
    });
    let tickets = group.queue.iter();
    let tickets = tickets.map(|ticket| (ticket.id.as_str(), ticket.hostname.as_str()));
    let nodes = group.nodes.iter();
    let nodes = nodes.map(|node| (node.id.as_str(), node.hostname.as_str()));
    let mut called = BTreeSet::new();
    for (id, host) in holders.chain(tickets).chain(nodes) {
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

/// The id of what was given to `command`; said where it is another word.
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
        Meant::Host(id) => {
            output::say(format!("{given} is the host name of {id}."))?;
            Ok(id)
        }
        Meant::Several(ids) => Err(Failure::new(
            Exit::Usage,
            format!(
                "{given} is the host name of {} nodes: {}; to say which: {}",
                ids.len(),
                ids.join(", "),
                context.command(&format!("{command} ID"))
            ),
        )),
        Meant::Unknown => node::check_id(given)
            .map(|()| given.to_owned())
            .map_err(|error| Failure::new(Exit::Usage, error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::semaphore::etcd::HolderState;

    fn group() -> Group {
        let held = |id: &str, entry: Option<&str>| HolderState {
            id: id.into(),
            entry: entry.map(|text| serde_json::from_str(text).unwrap()),
            listed: true,
            overdue: false,
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
}
