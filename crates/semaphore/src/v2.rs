//! Locksmith's locks in etcd's v2 key space, which no v3 client sees: read, to be copied once.

use host::{
    http::{Http, HttpError},
    node::{Group, NodeError},
};
use serde::Deserialize;

use super::document::{Document, DocumentError};

/// Where locksmith keeps them.
pub const PREFIX: &str = "coreos.com/updateengine/rebootlock";

/// Why they cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum V2Error {
    /// Nobody answered.
    #[error("{0}")]
    Http(#[from] HttpError),
    /// Somebody answered, and not as etcd's v2 API does.
    #[error(
        "{url}: found {found}, expected etcd's v2 API; etcd up to 3.5 serves it when started with --enable-v2"
    )]
    NotV2 {
        /// What was asked.
        url: String,
        /// What it said.
        found: String,
    },
    /// A lock cannot be read.
    #[error("{key}: {error}")]
    Document {
        /// The lock's key.
        key: String,
        /// Why.
        error: DocumentError,
    },
    /// A group's name is none.
    #[error("{key}: {error}")]
    Group {
        /// The lock's key.
        key: String,
        /// Why.
        error: NodeError,
    },
}

#[derive(Deserialize)]
struct Reply {
    node: Node,
}

#[derive(Deserialize)]
struct Node {
    key: String,
    #[serde(default)]
    value: Option<String>,
    #[serde(default)]
    nodes: Vec<Node>,
}

/// Code 100: there is no such key.
#[derive(Deserialize)]
struct Refusal {
    #[serde(rename = "errorCode")]
    code: u32,
    message: String,
}

/// All locks there are: the default group's and those of the others, in the order of their keys.
///
/// # Errors
/// When nobody answers, or what is there is no lock.
pub async fn read(
    http: &Http,
    endpoint: &str,
    user: Option<&(String, String)>,
) -> Result<Vec<(Group, Document)>, V2Error> {
    let url = format!("{endpoint}/v2/keys/{PREFIX}?recursive=true&sorted=true&quorum=true");
    let answer = http.get(&url, user).await?;
    if let Ok(reply) = serde_json::from_slice::<Reply>(&answer.body) {
        return locks(&reply.node);
    }
    let found = match serde_json::from_slice::<Refusal>(&answer.body) {
        Ok(Refusal { code: 100, .. }) => return Ok(Vec::new()),
        Ok(Refusal { message, .. }) => format!("{message:?}"),
        Err(_) => format!("status {} and no such answer", answer.status),
    };
    Err(V2Error::NotV2 { url, found })
}

fn locks(node: &Node) -> Result<Vec<(Group, Document)>, V2Error> {
    let mut found = Vec::new();
    let mut todo = vec![node];
    while let Some(node) = todo.pop() {
        todo.extend(node.nodes.iter().rev());
        let rest = node.key.trim_start_matches('/').strip_prefix(PREFIX);
        let (Some(rest), Some(value)) = (rest, &node.value) else {
            continue;
        };
        let Some(of) = rest.strip_suffix("/semaphore") else {
            continue;
        };
        let key = || node.key.clone();
        let group = match of.strip_prefix("/groups/") {
            Some(name) => Group::from_escaped(name),
            None if of.is_empty() => Group::new(""),
            None => continue,
        };
        let group = group.map_err(|error| V2Error::Group { key: key(), error })?;
        let document = Document::parse(value.as_bytes())
            .map_err(|error| V2Error::Document { key: key(), error })?;
        found.push((group, document));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Vec<(String, u32, Vec<String>)>, String> {
        let node: Node = serde_json::from_str(json).unwrap();
        let locks = locks(&node).map_err(|e| e.to_string())?;
        let plain =
            |(group, lock): (Group, Document)| (group.as_str().to_owned(), lock.max, lock.holders);
        Ok(locks.into_iter().map(plain).collect())
    }

    #[test]
    fn locks_of_every_group_are_found_and_other_keys_ignored() {
        let tree = r#"{"key":"/coreos.com/updateengine/rebootlock","dir":true,"nodes":[
            {"key":"/coreos.com/updateengine/rebootlock/semaphore","value":"{\"semaphore\":1,\"max\":1,\"holders\":null}"},
            {"key":"/coreos.com/updateengine/rebootlock/note","value":"x"},
            {"key":"/coreos.com/updateengine/rebootlock/groups","dir":true,"nodes":[
              {"key":"/coreos.com/updateengine/rebootlock/groups/prod%2Fdb","dir":true,"nodes":[
                {"key":"/coreos.com/updateengine/rebootlock/groups/prod%2Fdb/semaphore",
                 "value":"{\"semaphore\":1,\"max\":3,\"holders\":[\"b\",\"a\"]}"}]}]}]}"#;
        assert_eq!(
            read(tree).unwrap(),
            [
                (String::new(), 1, vec![]),
                (
                    "prod/db".to_owned(),
                    3,
                    vec!["a".to_owned(), "b".to_owned()]
                )
            ]
        );
        let broken = r#"{"key":"/coreos.com/updateengine/rebootlock/semaphore","value":"{"}"#;
        let error = read(broken).unwrap_err();
        assert!(
            error.starts_with("/coreos.com/updateengine/rebootlock/semaphore: "),
            "{error}"
        );
    }
}
