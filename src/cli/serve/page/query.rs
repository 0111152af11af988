//! Which nodes are asked for, as the address of the page says it. Pure.

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use semaphore::records::NodeRecord;

/// Which nodes are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::cli::serve) struct Query {
    /// What stands in a node's host name, id, version or group, whatever the case.
    pub(super) text: String,
    /// The state of its agent; empty: any.
    pub(super) state: String,
    /// The version it runs; empty: any.
    pub(super) version: String,
    /// Whether all are shown, however many.
    pub(super) all: bool,
}

impl Query {
    /// Reads the part of the address after the question mark. What it does not know is left out.
    pub(in crate::cli::serve) fn read(query: &str) -> Self {
        let mut read = Self::default();
        for part in query.split('&') {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let value = value.replace('+', " ");
            let value = percent_decode_str(&value)
                .decode_utf8_lossy()
                .trim()
                .to_owned();
            match name {
                "q" => read.text = value,
                "state" => read.state = value,
                "version" => read.version = value,
                "all" => read.all = value == "1",
                _ => {}
            }
        }
        read
    }

    /// The same, with all nodes, as it stands in an address.
    pub(super) fn with_all(&self) -> String {
        let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        format!(
            "q={}&state={}&version={}&all=1",
            encoded(&self.text),
            encoded(&self.state),
            encoded(&self.version)
        )
    }

    /// Whether this node is asked for.
    pub(super) fn wants(&self, node: &NodeRecord) -> bool {
        let text = self.text.to_lowercase();
        let has = |field: &str| field.to_lowercase().contains(&text);
        let version = node.runs.version.as_deref().unwrap_or_default();
        let found = text.is_empty()
            || [&node.hostname, &node.id, &node.group]
                .into_iter()
                .any(|field| has(field))
            || has(version);
        found
            && (self.state.is_empty() || node.state == self.state)
            && (self.version.is_empty() || version == self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_and_written() {
        let query = Query::read("q=a+b%26%C3%BC%3C&state=idle&version=1.2&x=y&all=1");
        let expected = Query {
            text: "a b&ü<".into(),
            state: "idle".into(),
            version: "1.2".into(),
            all: true,
        };
        assert_eq!(query, expected);
        assert_eq!(Query::read(&query.with_all()), expected);
        assert_eq!(Query::read(""), Query::default());
        assert_eq!(Query::read("q=%ff&&=&q").text, "");
    }
}
