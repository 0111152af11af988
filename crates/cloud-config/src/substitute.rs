//! The four variables for addresses: `$private_ipv4` and similar.
//!
//! They are replaced before the text is parsed, as documents expect. Positions are reported in the text
//! as its author sees it.

use std::{borrow::Cow, collections::HashSet, ops::Range};

use serde::{Deserialize, Serialize};
use yaml::Span;

/// The variables that stand for an address in a document.
pub const VARIABLES: [&str; 4] = ["public_ipv4", "private_ipv4", "public_ipv6", "private_ipv6"];

/// The known addresses, in the order of [`VARIABLES`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Addresses {
    /// For `$public_ipv4`.
    pub public_ipv4: Option<String>,
    /// For `$private_ipv4`.
    pub private_ipv4: Option<String>,
    /// For `$public_ipv6`.
    pub public_ipv6: Option<String>,
    /// For `$private_ipv6`.
    pub private_ipv6: Option<String>,
}

impl Addresses {
    /// Reads the addresses in the environment (`COREOS_PUBLIC_IPV4` and so on). An empty one counts as unknown.
    #[must_use]
    pub fn from_environment(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let [public_ipv4, private_ipv4, public_ipv6, private_ipv6] = VARIABLES.map(|name| {
            lookup(&format!("COREOS_{}", name.to_ascii_uppercase())).filter(|text| !text.is_empty())
        });
        Self {
            public_ipv4,
            private_ipv4,
            public_ipv6,
            private_ipv6,
        }
    }

    /// Fills unknown addresses from another set.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            public_ipv4: self.public_ipv4.or(other.public_ipv4),
            private_ipv4: self.private_ipv4.or(other.private_ipv4),
            public_ipv6: self.public_ipv6.or(other.public_ipv6),
            private_ipv6: self.private_ipv6.or(other.private_ipv6),
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        match name {
            "public_ipv4" => self.public_ipv4.as_deref(),
            "private_ipv4" => self.private_ipv4.as_deref(),
            "public_ipv6" => self.public_ipv6.as_deref(),
            "private_ipv6" => self.private_ipv6.as_deref(),
            _ => None,
        }
    }
}

/// A text with its variables replaced.
#[derive(Debug)]
pub(super) struct Substituted<'a> {
    pub(super) text: Cow<'a, str>,
    /// The variables whose address is not known. They are not replaced.
    pub(super) unknown: Vec<Open>,
    /// The text as it was written.
    pub(super) written: &'a str,
    edits: Vec<Edit>,
}

/// A variable whose address is not known.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) name: &'static str,
    /// Where its `$` is in the text as it was written, in bytes.
    pub(super) at: usize,
    /// Its position in the text with the other variables replaced, without line and column.
    pub(super) span: Span,
}

/// A replaced piece: its range before and after, in bytes.
#[derive(Debug)]
struct Edit {
    old: (usize, usize),
    new: (usize, usize),
}

/// Replaces the variables. `\$private_ipv4` is the text `$private_ipv4`; a longer name is another name.
pub(super) fn substitute<'a>(written: &'a str, addresses: &Addresses) -> Substituted<'a> {
    without(written, addresses, &HashSet::new())
}

/// Replaces the variables, and removes those at these offsets.
pub(super) fn without<'a>(
    written: &'a str,
    addresses: &Addresses,
    blank: &HashSet<usize>,
) -> Substituted<'a> {
    let mut edits = Vec::new();
    let mut unknown = Vec::new();
    let mut text = String::new();
    let mut done = 0;
    for (at, name) in occurrences(written) {
        let end = at + 1 + name.len();
        let escaped = written[..at].ends_with('\\');
        let (from, replacement) = match addresses.get(name) {
            _ if escaped => (at - 1, &written[at..end]),
            Some(address) => (at, address),
            None if blank.contains(&at) => (at, ""),
            None => {
                let start = text.len() + at - done;
                let span = Span {
                    start,
                    end: start + end - at,
                    ..Span::default()
                };
                unknown.push(Open { name, at, span });
                continue;
            }
        };
        text.push_str(&written[done..from]);
        let new = (text.len(), text.len() + replacement.len());
        text.push_str(replacement);
        edits.push(Edit {
            old: (from, end),
            new,
        });
        done = end;
    }
    let text = if edits.is_empty() {
        Cow::Borrowed(written)
    } else {
        text.push_str(&written[done..]);
        Cow::Owned(text)
    };
    Substituted {
        text,
        unknown,
        written,
        edits,
    }
}

/// Tells whether a text has one of the variables.
pub(super) fn mentions(text: &str) -> bool {
    occurrences(text).next().is_some()
}

/// Finds a variable: the position of its `$`, and its name.
fn occurrences(text: &str) -> impl Iterator<Item = (usize, &'static str)> {
    text.match_indices('$').filter_map(move |(at, _)| {
        let rest = &text[at + 1..];
        let name = VARIABLES.into_iter().find(|name| rest.starts_with(name))?;
        let longer = rest[name.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '_');
        (!longer).then_some((at, name))
    })
}

impl Substituted<'_> {
    /// Converts a range to the text as it was written.
    pub(super) fn written_at(&self, span: Span) -> Range<usize> {
        let start = self.before(span.start, false);
        start..self.before(span.end, true).max(start)
    }

    /// Converts an offset to the text before substitution.
    fn before(&self, offset: usize, end: bool) -> usize {
        let next = self
            .edits
            .partition_point(|edit| edit.new.0 < offset + usize::from(!end));
        match next.checked_sub(1).map(|last| &self.edits[last]) {
            None => offset,
            Some(edit) if offset >= edit.new.1 => offset - edit.new.1 + edit.old.1,
            Some(edit) if end => edit.old.1,
            Some(edit) => edit.old.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses() -> Addresses {
        Addresses::from_environment(|name| {
            let address = match name {
                "COREOS_PUBLIC_IPV4" => "192.0.2.1",
                "COREOS_PRIVATE_IPV4" => "10.0.0.1",
                "COREOS_PUBLIC_IPV6" => "2001:db8::1",
                _ => "",
            };
            Some(address.to_owned())
        })
    }

    #[test]
    fn addresses_are_replaced_and_longer_names_are_not() {
        for (written, expected) in [
            ("", ""),
            ("a $private_ipv4:80", "a 10.0.0.1:80"),
            ("$private_ipv4$public_ipv4", "10.0.0.1192.0.2.1"),
            ("$private_ipv4,$private_ipv4", "10.0.0.1,10.0.0.1"),
            ("[$public_ipv6]", "[2001:db8::1]"),
            (
                "$private_ipv4_x $private_ipv4x $private_ipv45 $private_ipv4é",
                "$private_ipv4_x $private_ipv4x $private_ipv45 $private_ipv4é",
            ),
            ("\\$private_ipv4 $private_ipv4", "$private_ipv4 10.0.0.1"),
            ("\\\\$private_ipv4", "\\$private_ipv4"),
            ("$$private_ipv4", "$10.0.0.1"),
            ("${private_ipv4} $private", "${private_ipv4} $private"),
            ("$private_ipv6", "$private_ipv6"),
        ] {
            assert_eq!(substitute(written, &addresses()).text, expected);
        }
    }

    #[test]
    fn unknown_address_is_reported_with_its_position() {
        let done = substitute("é\né $private_ipv6 \\$private_ipv6", &addresses());
        let [Open { name, at, span }] = &done.unknown[..] else {
            panic!()
        };
        assert_eq!((*name, *at), ("private_ipv6", 6));
        assert_eq!(done.written_at(*span), 6..19);
        assert_eq!(done.text, "é\né $private_ipv6 $private_ipv6");
    }

    #[test]
    fn positions_are_those_of_the_written_text() {
        let written = "a: 1\nb: [$private_ipv4, $public_ipv6, here]\nc: é\n";
        let done = substitute(written, &addresses());
        for (text, shown) in [
            ("10.0.0.1", "$private_ipv4"),
            ("2001:db8::1", "$public_ipv6"),
            ("here", "here"),
            ("1", "1"),
            ("é", "é"),
        ] {
            let start = done.text.find(text).unwrap();
            let end = start + text.len();
            let span = Span {
                start,
                end,
                ..Span::default()
            };
            assert_eq!(&written[done.written_at(span)], shown);
        }
    }
}
