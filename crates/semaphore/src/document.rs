//! The semaphore's document, `{"semaphore":1,"max":1,"holders":[]}`: reading and changing it, as values.
//!
//! The document is locksmith's, field for field, because people and other tools read and write it
//! too. It therefore decides who holds: what it says is respected even where no holder key of ours
//! stands beside it.

use serde_json::{Map, Value};

use super::policy::percent_of;

/// Who may be out of service at a time, and who is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// How many nodes of the group may be out of service at a time. 0 stops the group.
    pub max: u32,
    /// The ids of those that are, sorted, each once.
    pub holders: Vec<String>,
    /// The `max` that was computed last from the policy's percentage; another `max` was written by somebody since.
    pub percent_max: Option<u32>,
    /// Fields this program does not know, kept when the document is rewritten.
    unknown: Map<String, Value>,
}

/// Why a document cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}; it contains: {text}")]
pub struct DocumentError {
    /// What is wrong with it, and what was expected.
    pub problem: String,
    /// The document as found, shortened to at most 1000 characters.
    pub text: String,
}

/// Why a node cannot be added to the holders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// As many hold it as may.
    Full,
    /// The node is a holder already.
    Held,
}

impl Document {
    /// A semaphore nobody holds.
    #[must_use]
    pub fn new(max: u32) -> Self {
        Self {
            max,
            holders: Vec::new(),
            percent_max: None,
            unknown: Map::new(),
        }
    }

    /// A semaphore held by these, whether or not that is more than `max`.
    #[must_use]
    pub fn held_by(max: u32, ids: impl Iterator<Item = String>) -> Self {
        let mut document = Self::new(max);
        document.holders.extend(ids);
        document.holders.sort();
        document.holders.dedup();
        document
    }

    /// Reads a document.
    ///
    /// Tolerated, because they are found in the wild: `holders` null or missing (locksmith's first
    /// value), unsorted, or naming one node twice; a `semaphore` that does not fit the rest (it is
    /// derived from `max` and `holders`, which alone count).
    ///
    /// # Errors
    /// When it is not a JSON object, `max` is not a whole number from 0 to 4294967295, or a holder is
    /// not a non-empty string.
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        let fail = |problem: String| DocumentError {
            problem,
            text: String::from_utf8_lossy(bytes).chars().take(1000).collect(),
        };
        let value: Value =
            serde_json::from_slice(bytes).map_err(|e| fail(format!("it is not JSON ({e})")))?;
        let Value::Object(mut fields) = value else {
            return Err(fail(format!(
                "it is not a JSON object but {}",
                kind(&value)
            )));
        };
        fields.remove("semaphore");
        let max = match fields.remove("max") {
            None => return Err(fail("it has no `max`".into())),
            Some(max) => max
                .as_u64()
                .and_then(|max| u32::try_from(max).ok())
                .ok_or_else(|| {
                    fail(format!(
                        "its `max` is {max}, expected a whole number from 0 to {}",
                        u32::MAX
                    ))
                })?,
        };
        let mut holders = match fields.remove("holders") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(list)) => list
                .into_iter()
                .map(|holder| match holder {
                    Value::String(id) if !id.is_empty() => Ok(id),
                    other => Err(fail(format!(
                        "its `holders` has {other}, expected non-empty strings"
                    ))),
                })
                .collect::<Result<_, _>>()?,
            Some(other) => {
                return Err(fail(format!(
                    "its `holders` is {}, expected a list of strings",
                    kind(&other)
                )));
            }
        };
        holders.sort();
        holders.dedup();
        // One that is no number is somebody else's field.
        let percent_max = fields.get("percent_max").and_then(Value::as_u64);
        let percent_max = percent_max.and_then(|max| u32::try_from(max).ok());
        if percent_max.is_some() {
            fields.remove("percent_max");
        }
        Ok(Self {
            max,
            holders,
            percent_max,
            unknown: fields,
        })
    }

    /// The document as it is stored, in locksmith's order of fields.
    #[must_use]
    pub fn to_json(&self) -> String {
        #[derive(serde::Serialize)]
        struct Stored<'a> {
            semaphore: i64,
            max: u32,
            holders: &'a [String],
            #[serde(skip_serializing_if = "Option::is_none")]
            percent_max: Option<u32>,
            #[serde(flatten)]
            unknown: &'a Map<String, Value>,
        }
        serde_json::to_string(&Stored {
            semaphore: self.available(),
            max: self.max,
            holders: &self.holders,
            percent_max: self.percent_max,
            unknown: &self.unknown,
        })
        .expect("strings and numbers always serialize")
    }

    /// How many more may hold it; negative after `max` was set below the number of holders.
    #[must_use]
    pub fn available(&self) -> i64 {
        i64::from(self.max) - i64::try_from(self.holders.len()).unwrap_or(i64::MAX)
    }

    /// Whether `id` is a holder.
    #[must_use]
    pub fn holds(&self, id: &str) -> bool {
        self.holders
            .binary_search_by(|h| h.as_str().cmp(id))
            .is_ok()
    }

    /// The document with `id` among the holders.
    ///
    /// # Errors
    /// [`Refusal::Held`] when it is one, else [`Refusal::Full`] when no more may hold it.
    pub fn with(&self, id: &str) -> Result<Self, Refusal> {
        let Err(place) = self.holders.binary_search_by(|h| h.as_str().cmp(id)) else {
            return Err(Refusal::Held);
        };
        if self.available() <= 0 {
            return Err(Refusal::Full);
        }
        let mut next = self.clone();
        next.holders.insert(place, id.to_owned());
        Ok(next)
    }

    /// The document without `id` among the holders.
    #[must_use]
    pub fn without(&self, id: &str) -> Self {
        let mut next = self.clone();
        next.holders.retain(|h| h != id);
        next
    }

    /// Whether the policy's percentage decides how many may be out: nobody has written another `max` since.
    #[must_use]
    pub fn follows_percentage(&self) -> bool {
        // A 0 that somebody wrote stops the group, whatever stands beside it.
        self.percent_max == Some(self.max) && self.max > 0
    }

    /// The document with the `max` that is computed from a percentage of so many members; as it is where somebody wrote
    /// another number, such as an emergency's 0.
    #[must_use]
    pub fn with_percentage(&self, percent: u32, members: u64) -> Self {
        if self.follows_percentage() {
            self.set_percentage(percent, members)
        } else {
            self.clone()
        }
    }

    /// The document that follows a percentage from now on.
    #[must_use]
    pub fn set_percentage(&self, percent: u32, members: u64) -> Self {
        let max = percent_of(percent, members);
        Self {
            max,
            percent_max: Some(max),
            ..self.without_percentage()
        }
    }

    /// The document that follows no percentage any more: `max` stays the number it is.
    #[must_use]
    pub fn without_percentage(&self) -> Self {
        let mut unknown = self.unknown.clone();
        // One that was no number.
        unknown.remove("percent_max");
        Self {
            percent_max: None,
            unknown,
            ..self.clone()
        }
    }

    /// The document with another `max`, which no percentage changes. The holders stay, also where they are more than that.
    #[must_use]
    pub fn with_max(&self, max: u32) -> Self {
        Self {
            max,
            ..self.without_percentage()
        }
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Document, String> {
        Document::parse(text.as_bytes()).map_err(|e| e.problem)
    }

    #[test]
    fn documents_of_other_tools_are_read() {
        for (text, max, holders) in [
            (r#"{"semaphore":1,"max":1,"holders":null}"#, 1, vec![]),
            (r#"{"semaphore":1,"max":1,"holders":[]}"#, 1, vec![]),
            (r#"{"semaphore":1,"max":1}"#, 1, vec![]),
            (
                r#"{"semaphore":0,"max":3,"holders":["c","a","b"]}"#,
                3,
                vec!["a", "b", "c"],
            ),
            (
                r#"{"semaphore":1,"max":2,"holders":["a","a"]}"#,
                2,
                vec!["a"],
            ),
            (
                r#"{"semaphore":-1,"max":1,"holders":["a","b"]}"#,
                1,
                vec!["a", "b"],
            ),
            (r#" {"max":0,"semaphore":"odd"} "#, 0, vec![]),
        ] {
            let doc = parse(text).unwrap();
            assert_eq!(
                (doc.max, doc.holders),
                (max, holders.iter().map(|h| (*h).to_owned()).collect()),
                "{text}"
            );
        }
    }

    #[test]
    fn error_of_a_bad_document_has_reason_and_content() {
        for (text, problem) in [
            (
                "",
                "it is not JSON (EOF while parsing a value at line 1 column 0)",
            ),
            ("[]", "it is not a JSON object but a list"),
            ("{}", "it has no `max`"),
            (
                r#"{"max":-1}"#,
                "its `max` is -1, expected a whole number from 0 to 4294967295",
            ),
            (
                r#"{"max":1.5}"#,
                "its `max` is 1.5, expected a whole number from 0 to 4294967295",
            ),
            (
                r#"{"max":"1"}"#,
                "its `max` is \"1\", expected a whole number from 0 to 4294967295",
            ),
            (
                r#"{"max":1,"holders":{}}"#,
                "its `holders` is an object, expected a list of strings",
            ),
            (
                r#"{"max":1,"holders":[1]}"#,
                "its `holders` has 1, expected non-empty strings",
            ),
            (
                r#"{"max":1,"holders":[""]}"#,
                "its `holders` has \"\", expected non-empty strings",
            ),
        ] {
            let error = Document::parse(text.as_bytes()).unwrap_err();
            assert_eq!(
                (error.problem.as_str(), error.text.as_str()),
                (problem, text)
            );
        }
    }

    #[test]
    fn unknown_fields_are_kept() {
        let doc = parse(r#"{"max":2,"holders":[],"semaphore":2,"note":{"a":[1]}}"#).unwrap();
        assert_eq!(
            doc.with("n").unwrap().to_json(),
            r#"{"semaphore":1,"max":2,"holders":["n"],"note":{"a":[1]}}"#
        );
    }

    proptest! {
        #[test]
        fn holders_never_exceed_max(max in 0u32..5, ids in prop::collection::vec("[a-e]", 0..20)) {
            let mut doc = Document::new(max);
            for id in &ids {
                match doc.with(id) {
                    Ok(next) => {
                        prop_assert!(next.holders.len() <= max as usize);
                        prop_assert!(next.holds(id) && !doc.holds(id));
                        prop_assert_eq!(next.without(id), doc.clone());
                        doc = next;
                    }
                    Err(Refusal::Held) => {
                        prop_assert!(doc.holds(id));
                        doc = doc.without(id);
                        prop_assert!(!doc.holds(id));
                    }
                    Err(Refusal::Full) => prop_assert_eq!(doc.available(), 0),
                }
                prop_assert_eq!(&Document::parse(doc.to_json().as_bytes()).unwrap(), &doc);
            }
        }
    }
}
