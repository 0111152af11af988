//! Waves: an image goes to the groups that come after another one once that group has proven it. Pure.

use std::collections::{BTreeMap, BTreeSet};

use host::node::Group;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How many open waves of a group are kept. A node compares only those of its own image; the rest tell it, and people, that a
/// newer image has been proven.
pub const KEPT: usize = 16;

/// An image that is open to the groups after this one: `G/waves/<digest>`. Also used where all that is known is that it stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wave {
    /// The image's version, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Since when, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Who opened it, as `user@host`; empty where all members of the group had proven the image.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub by: String,
    /// Why, where a person opened it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// The waves to delete when one is added: the oldest ones over [`KEPT`]. `standing` are digests with the revisions at which they
/// were put.
#[must_use]
pub fn too_old(standing: &[(String, i64)]) -> Vec<String> {
    let mut by_age: Vec<_> = standing.iter().collect();
    by_age.sort_by_key(|(_, put)| std::cmp::Reverse(*put));
    let old = by_age.into_iter().skip(KEPT - 1);
    old.map(|(digest, _)| digest.clone()).collect()
}

/// The groups that a group comes after, over all steps, as far as they are known: what a policy that names `after` leads to.
/// `policies` are the groups that each known group comes after.
#[must_use]
pub fn upstream(after: &[Group], policies: &BTreeMap<String, Vec<Group>>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut ask: Vec<&str> = after.iter().map(Group::as_str).collect();
    while let Some(group) = ask.pop() {
        if found.insert(group.to_owned()) {
            let further = policies.get(group).into_iter().flatten();
            ask.extend(further.map(Group::as_str));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn group(name: &str) -> Group {
        Group::new(name).unwrap()
    }

    #[test]
    fn groups_that_a_group_comes_after_are_found_over_all_steps_and_circles() {
        let after = |names: &[&str]| names.iter().copied().map(group).collect::<Vec<_>>();
        let policies = BTreeMap::from([
            ("b".to_owned(), after(&["c", ""])),
            ("c".to_owned(), after(&["a"])),
            (String::new(), after(&["b"])),
        ]);
        let found = |names: &[&str]| {
            let found = upstream(&after(names), &policies);
            found.into_iter().collect::<Vec<_>>().join(",")
        };
        assert_eq!(found(&[]), "");
        assert_eq!(found(&["a"]), "a");
        assert_eq!(found(&["b"]), ",a,b,c", "the default group among them");
    }

    proptest! {
        #[test]
        fn the_youngest_waves_are_kept(revisions in prop::collection::hash_set(1i64..1000, 0..40)) {
            let standing: Vec<_> = revisions.iter().map(|at| (format!("sha256:{at}"), *at)).collect();
            let old = too_old(&standing);
            prop_assert_eq!(standing.len() - old.len() + 1, (standing.len() + 1).min(KEPT));
            let kept = standing.iter().filter(|(digest, _)| !old.contains(digest));
            let oldest = kept.map(|(_, at)| *at).min().unwrap_or(i64::MAX);
            let gone = |digest: &String| digest["sha256:".len()..].parse::<i64>().unwrap();
            prop_assert!(old.iter().all(|digest| gone(digest) < oldest));
        }
    }
}
