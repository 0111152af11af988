//! A group's policy: `G/policy`. Pure.
//!
//! A policy that cannot be read, or that says something this program does not know, stops the group: to go on without it
//! would be to break it silently.

use std::time::Duration;

use host::duration;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What a group's operator has set for all its nodes. Every field is optional; without any the group is as one without a policy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// How many of the group's members may be out at a time, in percent; at least one may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_percent: Option<u32>,
    /// How long a node that was proven on another image stays under observation, still holding the reboot lock. Stored as
    /// people write it (`30m`): a number would not say its unit.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "duration::optional_text"
    )]
    pub soak: Option<Duration>,
    /// Who wrote it, as `user@host`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub by: String,
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}

/// Why a policy cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{fault}; it reads: {text}")]
pub struct PolicyError {
    /// What is wrong with it, and what was expected.
    pub fault: PolicyFault,
    /// The policy as found, shortened to at most 1000 characters.
    pub text: String,
}

/// What is wrong with a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyFault {
    /// It is no JSON object with fields that this program knows.
    #[error("{0}")]
    Json(String),
    /// The percentage is none.
    #[error("max_percent is {0}, expected a whole number from 1 to 100")]
    Percent(u32),
    /// A soak that takes no time, or more than etcd's leases run.
    #[error("soak is {}, expected a duration from 1s to 365d", duration::print(*.0))]
    Soak(Duration),
}

/// The longest that a policy may have a node wait. etcd's leases run for 285 years at most; far below that, a length is a typing
/// error.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// The fields that a person sets and unsets, by the names they have in etcd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// `max_percent`.
    MaxPercent,
    /// `soak`.
    Soak,
}

impl Field {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::MaxPercent, Self::Soak];

    /// The flag that sets it, without its dashes.
    #[must_use]
    pub fn flag(self) -> &'static str {
        match self {
            Self::MaxPercent => "max",
            Self::Soak => "soak",
        }
    }
}

/// What a person changes of a policy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicyChange {
    /// A new percentage.
    pub max_percent: Option<u32>,
    /// A new length of the soak.
    pub soak: Option<Duration>,
    /// What is to be unset.
    pub unset: Vec<Field>,
    /// Whether a policy that cannot be used is replaced.
    pub replace: bool,
}

impl Policy {
    /// Reads a policy.
    ///
    /// # Errors
    /// When it is no JSON object, has a field or a value that this program does not know, or is out of range.
    pub fn parse(bytes: &[u8]) -> Result<Self, PolicyError> {
        // Not at once: a list would be taken for the fields in their order.
        let fields: Result<serde_json::Map<_, _>, _> = serde_json::from_slice(bytes);
        fields
            .and_then(|fields| serde_json::from_value::<Self>(fields.into()))
            .map_err(|error| PolicyFault::Json(error.to_string()))
            .and_then(|policy| policy.check().map(|()| policy))
            .map_err(|fault| PolicyError {
                fault,
                text: String::from_utf8_lossy(bytes).chars().take(1000).collect(),
            })
    }

    /// Checks the policy as a whole.
    ///
    /// # Errors
    /// The first fault.
    pub fn check(&self) -> Result<(), PolicyFault> {
        if let Some(percent) = self
            .max_percent
            .filter(|percent| !(1..=100).contains(percent))
        {
            return Err(PolicyFault::Percent(percent));
        }
        let lasts = Duration::from_secs(1)..=LONGEST;
        if let Some(soak) = self.soak.filter(|soak| !lasts.contains(soak)) {
            return Err(PolicyFault::Soak(soak));
        }
        Ok(())
    }

    /// The policy with a change, by this person now.
    #[must_use]
    pub fn with(&self, change: &PolicyChange, by: &str, now: Timestamp) -> Self {
        let mut policy = Self {
            max_percent: change.max_percent.or(self.max_percent),
            soak: change.soak.or(self.soak),
            by: by.to_owned(),
            since: Some(now),
        };
        for field in &change.unset {
            match field {
                Field::MaxPercent => policy.max_percent = None,
                Field::Soak => policy.soak = None,
            }
        }
        policy
    }

    /// Whether it says nothing: then there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self {
            max_percent,
            soak,
            by: _,
            since: _,
        } = self;
        max_percent.is_none() && soak.is_none()
    }
}

/// The percentage in the value of a policy; none where it has none, or cannot be used.
#[must_use]
pub fn percentage_in(policy: &[u8]) -> Option<u32> {
    Policy::parse(policy).ok()?.max_percent
}

/// How many of so many members a percentage is: rounded down, and at least one.
#[must_use]
pub fn percent_of(percent: u32, members: u64) -> u32 {
    let share = members.saturating_mul(u64::from(percent)) / 100;
    u32::try_from(share).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn percentage_is_rounded_down_and_never_less_than_one() {
        for (percent, members, max) in [
            (20, 0, 1),
            (20, 4, 1),
            (20, 9, 1),
            (20, 10, 2),
            (33, 10, 3),
            (100, 7, 7),
            (1, 5000, 50),
            (100, u64::MAX, u32::MAX),
        ] {
            assert_eq!(
                percent_of(percent, members),
                max,
                "{percent} % of {members}"
            );
        }
    }

    #[test]
    fn policy_that_is_not_understood_is_an_error_that_shows_it() {
        for (text, says) in [
            ("", "EOF"),
            ("[]", "expected"),
            (
                r#"{"max_percent":0}"#,
                "max_percent is 0, expected a whole number from 1 to 100",
            ),
            (r#"{"max_percent":101}"#, "max_percent is 101"),
            (r#"{"max_percent":"20"}"#, "invalid type: string"),
            (
                r#"{"soak":"30"}"#,
                "expected a unit after the number: 30s, 30m, 30h or 30d",
            ),
            (
                r#"{"soak":30}"#,
                "invalid type: integer `30`, expected a string",
            ),
            (
                r#"{"soak":"0s"}"#,
                "soak is 0s, expected a duration from 1s to 365d",
            ),
            (r#"{"soak":"366d"}"#, "soak is 8784h, expected a duration"),
            // Of a newer program.
            (r#"{"moon":"full"}"#, "unknown field `moon`"),
        ] {
            let error = Policy::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(says) && error.ends_with(text), "{error}");
        }
    }

    #[test]
    fn change_says_by_whom_and_nothing_is_left_of_an_unset_policy() {
        let now = Timestamp::UNIX_EPOCH;
        let set = PolicyChange {
            max_percent: Some(20),
            ..PolicyChange::default()
        };
        let policy = Policy::default().with(&set, "ann@desk", now);
        assert_eq!(
            (policy.max_percent, policy.by.as_str()),
            (Some(20), "ann@desk")
        );
        let again = policy.with(&PolicyChange::default(), "bob@desk", now);
        assert_eq!(
            (again.max_percent, again.by.as_str()),
            (Some(20), "bob@desk")
        );
        let unset = PolicyChange {
            unset: Field::ALL.to_vec(),
            ..PolicyChange::default()
        };
        assert!(policy.with(&unset, "ann@desk", now).is_empty());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            max_percent in prop::option::of(1u32..=100),
            soak in prop::option::of(1u64..=365 * 24 * 3600),
        ) {
            let soak = soak.map(Duration::from_secs);
            let change = PolicyChange { max_percent, soak, ..PolicyChange::default() };
            let policy = Policy::default().with(&change, "ann@desk", Timestamp::UNIX_EPOCH);
            let text = serde_json::to_string(&policy).unwrap();
            prop_assert_eq!(Policy::parse(text.as_bytes()), Ok(policy));
        }
    }
}
