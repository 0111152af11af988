//! YAML as a tree whose every node knows its line and column, and whose scalars keep the text as written.
//!
//! The text is kept because what a scalar means depends on who asks: `0644` is the number 644 to YAML 1.2, a
//! file mode to a person, and a group may be called `on`.

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_yaml::{
    Location, MessageFormatter as _, NonFiniteFloatPolicy, Spanned, UserMessageFormatter,
};

/// A place in a file, both counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) line: u64,
    pub(super) column: u64,
}

impl From<Location> for Place {
    fn from(location: Location) -> Self {
        Self {
            line: location.line(),
            column: location.column(),
        }
    }
}

/// A node of the tree.
#[derive(Debug, PartialEq)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
}

/// What a node holds.
#[derive(Debug, PartialEq)]
pub(super) enum Value {
    Null,
    /// Text, without quotes; of a number or boolean the text as written.
    Scalar(String),
    List(Vec<Node>),
    /// Keys with the places of the keys.
    Map(Vec<(String, Place, Node)>),
}

impl Value {
    /// What it is, for error texts.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Null => "nothing".into(),
            Self::Scalar(text) => super::error::quoted(text),
            Self::List(_) => "a list".into(),
            Self::Map(_) => "a mapping".into(),
        }
    }
}

/// Parses one document. Limits that no honest configuration meets keep aliases from multiplying.
///
/// # Errors
/// The place, where there is one, and what is wrong there.
pub(super) fn parse(source: &str) -> Result<Node, (Place, String)> {
    let options = serde_yaml::options! {
        budget: serde_yaml::budget! {
            max_depth: 16,
            max_nodes: 20_000,
        },
        with_snippet: false,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
    };
    match serde_yaml::from_str_with_options::<Spanned<Raw>>(source, options) {
        Ok(raw) => Ok(node(raw, source)),
        Err(error) => {
            let place = error
                .location()
                .map_or(Place { line: 1, column: 1 }, Place::from);
            let text = UserMessageFormatter.format_message(error.without_snippet());
            Err((place, text.escape_debug().to_string()))
        }
    }
}

/// The tree as the parser has it.
enum Raw {
    Null,
    /// A number or boolean, to be looked up in the source.
    Typed,
    Text(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

fn node(raw: Spanned<Raw>, source: &str) -> Node {
    let value = match raw.value {
        Raw::Null => Value::Null,
        Raw::Text(text) => Value::Scalar(text),
        Raw::Typed => {
            let span = raw.defined.span();
            let written = span.byte_offset().zip(span.byte_len()).and_then(|(at, n)| {
                let at = usize::try_from(at).ok()?;
                source.get(at..at + usize::try_from(n).ok()?)
            });
            Value::Scalar(written.unwrap_or_default().to_owned())
        }
        Raw::List(items) => Value::List(items.into_iter().map(|n| node(n, source)).collect()),
        Raw::Map(entries) => Value::Map(
            entries
                .into_iter()
                .map(|(key, value)| (key.value, key.referenced.into(), node(value, source)))
                .collect(),
        ),
    };
    Node {
        place: raw.referenced.into(),
        value,
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Raw;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a value")
            }
            fn visit_unit<E>(self) -> Result<Raw, E> {
                Ok(Raw::Null)
            }
            fn visit_none<E>(self) -> Result<Raw, E> {
                Ok(Raw::Null)
            }
            fn visit_bool<E>(self, _: bool) -> Result<Raw, E> {
                Ok(Raw::Typed)
            }
            fn visit_i64<E>(self, _: i64) -> Result<Raw, E> {
                Ok(Raw::Typed)
            }
            fn visit_u64<E>(self, _: u64) -> Result<Raw, E> {
                Ok(Raw::Typed)
            }
            fn visit_i128<E>(self, _: i128) -> Result<Raw, E> {
                Ok(Raw::Typed)
            }
            fn visit_u128<E>(self, _: u128) -> Result<Raw, E> {
                Ok(Raw::Typed)
            }
            fn visit_f64<E>(self, _: f64) -> Result<Raw, E> {
                Ok(Raw::Typed)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Raw, E> {
                Ok(Raw::Text(text.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = access.next_element()? {
                    items.push(item);
                }
                Ok(Raw::List(items))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = access.next_entry()? {
                    entries.push(entry);
                }
                Ok(Raw::Map(entries))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_keep_their_text_and_place() {
        let written = [
            "0644",
            "01",
            "yes",
            "on",
            "1_000",
            "0o17",
            "0x1F",
            "12:30:45",
            "2001-01-01",
            ".inf",
            "5s",
            "99999999999999999999999",
        ];
        for text in written {
            let tree = parse(&format!("é: &a {text}\nb: *a\n")).unwrap();
            let Value::Map(entries) = tree.value else {
                panic!("{text}")
            };
            for ((_, key, node), places) in entries.iter().zip([[(1, 1), (1, 7)], [(2, 1), (2, 4)]])
            {
                assert_eq!(node.value, Value::Scalar(text.to_owned()));
                assert_eq!(
                    [(key.line, key.column), (node.place.line, node.place.column)],
                    places,
                    "{text}"
                );
            }
        }
        for (text, value) in [
            ("\"01\"", Value::Scalar("01".into())),
            ("'on'", Value::Scalar("on".into())),
            ("~", Value::Null),
            ("", Value::Null),
            ("[]", Value::List(vec![])),
        ] {
            assert_eq!(parse(text).unwrap().value, value, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_has_a_place() {
        let bomb = (1..12).fold("a0: &a0 lol\n".to_owned(), |text, i| {
            let ten = vec![format!("*a{}", i - 1); 10].join(", ");
            format!("{text}a{i}: &a{i} [{ten}]\n")
        });
        let deep = "[".repeat(5000);
        for (source, line, column, why) in [
            ("a: b: c\n", 1, 5, "mapping values are not allowed"),
            ("a: 1\na: 2\n", 2, 1, "duplicate mapping key `a`"),
            ("a: [1\n", 1, 4, "unclosed bracket"),
            ("a: *nope\n", 1, 4, "reference to unknown"),
            ("a: 1\n---\nb: 2\n", 3, 1, "multiple"),
            ("a: \u{1}\n", 1, 4, "unexpected character"),
            ("? [a]\n: 3\n", 1, 3, "expected string scalar"),
            ("a: &a [*a]\n", 1, 8, "Recursive"),
            (&bomb, 6, 10, "too large or too complex"),
            (&deep, 1, 256, "recursion limit"),
        ] {
            let (place, text) = parse(source).unwrap_err();
            assert_eq!((place.line, place.column), (line, column), "{text}");
            assert!(text.contains(why) && !text.contains('\n'), "{text}");
        }
    }
}
