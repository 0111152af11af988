//! A group's policy: `G/policy`. Pure.
//!
//! A policy that cannot be read, or that says something this program does not know, stops the group: to go on without it
//! would be to break it silently.

use std::{fmt, time::Duration};

use host::{duration, node::Group};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use windows::{WindowSpec, WindowSpecError, Windows};

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
    /// How long the groups after this one wait, once all members of this one have proven an image. Without it, this group opens
    /// no waves.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "duration::optional_text"
    )]
    pub wave_soak: Option<Duration>,
    /// The groups that must have proven an image before the nodes of this one go to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<Group>,
    /// How the group goes on where a holder does not come back; without it, it waits for that node for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<Lost>,
    /// When reboots may start, beside what each node's own configuration says: both must be open. Without any, always. As the
    /// list `windows` of the configuration; a window without a zone is in that of each node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<WindowSpec>,
    /// Who wrote it, as `user@host`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub by: String,
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}

/// When others pass over a holder that does not come back, and over how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lost {
    /// How long after its deadline, in whole seconds. As text with its unit (`2h`): people read and write a policy, and a bare
    /// number does not say which unit is meant. Values that only programs write, such as a holder's deadline, are seconds.
    #[serde(with = "duration::text")]
    pub grace: Duration,
    /// How many nodes of the group may be lost at a time. Together with `max`, that is how many may be out.
    #[serde(default = "one")]
    pub budget: u32,
}

/// The budget where none is given: the second node that does not come back stops the group.
fn one() -> u32 {
    1
}

/// The longest that a policy may have a node wait. A longer time is as good as none, and a typing error; and etcd's leases have an
/// end.
const LONGEST: Duration = Duration::from_secs(365 * 86_400);

/// The most groups that one may come after: of each, two keys are compared in the take, and etcd takes 128 operations.
pub const MOST_GROUPS: usize = 16;

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
    /// A time between waves that is a typing error.
    #[error("wave_soak is {}, expected a duration of at most 365d", duration::print(*.0))]
    WaveSoak(Duration),
    /// More groups than one request to etcd can ask.
    #[error("after names {0} groups, expected at most {MOST_GROUPS}")]
    Groups(usize),
    /// A reboot window is not valid.
    #[error("windows: {0}")]
    Windows(WindowSpecError),
    /// A group twice.
    #[error("after names the group {0} twice")]
    Twice(String),
    /// The grace is none.
    #[error("lost.grace is {}, expected whole seconds, from 1s to {}", duration::print(*.0), duration::print(LONGEST))]
    Grace(Duration),
    /// The budget is none.
    #[error(
        "lost.budget is 0, expected at least 1; to wait for lost nodes for ever, unset lost-grace"
    )]
    Budget,
    /// A budget without a grace.
    #[error(
        "lost.budget is set, and lost.grace is not: expected both, for example with --lost-grace 2h"
    )]
    NoGrace,
}

/// The fields that a person sets and unsets, by the names they have in etcd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// `max_percent`.
    MaxPercent,
    /// `soak`.
    Soak,
    /// `wave_soak`.
    WaveSoak,
    /// `after`.
    After,
    /// `lost`, all of it: the budget means nothing without the grace.
    LostGrace,
    /// `lost.budget`, back to 1.
    LostBudget,
    /// `windows`, all of them.
    Windows,
}

impl Field {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::MaxPercent,
        Self::Soak,
        Self::WaveSoak,
        Self::After,
        Self::LostGrace,
        Self::LostBudget,
        Self::Windows,
    ];

    /// The flag that sets it, without its dashes.
    #[must_use]
    pub fn flag(self) -> &'static str {
        match self {
            Self::MaxPercent => "max",
            Self::Soak => "soak",
            Self::WaveSoak => "wave-soak",
            Self::After => "after",
            Self::LostGrace => "lost-grace",
            Self::LostBudget => "lost-budget",
            Self::Windows => "window",
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
    /// A new time between waves.
    pub wave_soak: Option<Duration>,
    /// The groups that this one comes after from now on.
    pub after: Option<Vec<Group>>,
    /// A new grace.
    pub lost_grace: Option<Duration>,
    /// A new budget.
    pub lost_budget: Option<u32>,
    /// The windows from now on, in place of those before.
    pub windows: Option<Vec<WindowSpec>>,
    /// What is to be unset.
    pub unset: Vec<Field>,
    /// Whether a policy that cannot be used is replaced.
    pub replace: bool,
    /// Whether groups are named although some of their agents do not say what they have proven.
    pub force: bool,
}

impl fmt::Display for PolicyChange {
    /// What is set, by the names and in the form of the flags; or the names of what is unset.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            max_percent,
            soak,
            wave_soak,
            after,
            lost_grace,
            lost_budget,
            windows,
            unset,
            replace: _,
            force: _,
        } = self;
        let set = [
            max_percent.map(|percent| (Field::MaxPercent, format!("{percent}%"))),
            soak.map(|soak| (Field::Soak, duration::print(soak))),
            wave_soak.map(|soak| (Field::WaveSoak, duration::print(soak))),
            after.as_ref().map(|groups| {
                let names: Vec<&str> = groups.iter().map(Group::as_str).collect();
                (Field::After, names.join(" "))
            }),
            lost_grace.map(|grace| (Field::LostGrace, duration::print(grace))),
            lost_budget.map(|budget| (Field::LostBudget, budget.to_string())),
        ];
        let windows = windows.iter().flatten();
        let windows = windows.map(|window| (Field::Windows, window.to_string()));
        let set = set.into_iter().flatten().chain(windows);
        let set = set.map(|(field, value)| format!("{} {value}", field.flag()));
        let unset = unset.iter().map(|field| field.flag().to_owned());
        f.write_str(&set.chain(unset).collect::<Vec<_>>().join(", "))
    }
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
        if let Some(percent) = self.max_percent
            && !(1..=100).contains(&percent)
        {
            return Err(PolicyFault::Percent(percent));
        }
        let lasts = Duration::from_secs(1)..=LONGEST;
        if let Some(soak) = self.soak.filter(|soak| !lasts.contains(soak)) {
            return Err(PolicyFault::Soak(soak));
        }
        if let Some(wave_soak) = self.wave_soak.filter(|wave_soak| *wave_soak > LONGEST) {
            return Err(PolicyFault::WaveSoak(wave_soak));
        }
        if self.after.len() > MOST_GROUPS {
            return Err(PolicyFault::Groups(self.after.len()));
        }
        let before = |at: usize| &self.after[..at];
        let twice =
            |(at, group): (usize, &Group)| before(at).contains(group).then(|| group.clone());
        if let Some(group) = self.after.iter().enumerate().find_map(twice) {
            return Err(PolicyFault::Twice(format!("{:?}", group.as_str())));
        }
        Windows::of(None, &self.windows).map_err(PolicyFault::Windows)?;
        self.lost.map_or(Ok(()), |lost| lost.check())
    }

    /// The policy with a change, by this person now.
    ///
    /// # Errors
    /// The first fault of the policy that it comes to.
    pub fn with(
        &self,
        change: &PolicyChange,
        by: &str,
        now: Timestamp,
    ) -> Result<Self, PolicyFault> {
        let mut policy = Self {
            max_percent: change.max_percent.or(self.max_percent),
            soak: change.soak.or(self.soak),
            wave_soak: change.wave_soak.or(self.wave_soak),
            after: change.after.clone().unwrap_or_else(|| self.after.clone()),
            lost: change.lost(self.lost)?,
            windows: change
                .windows
                .clone()
                .unwrap_or_else(|| self.windows.clone()),
            by: by.to_owned(),
            since: Some(now),
        };
        for field in &change.unset {
            match field {
                Field::MaxPercent => policy.max_percent = None,
                Field::Soak => policy.soak = None,
                Field::WaveSoak => policy.wave_soak = None,
                Field::After => policy.after.clear(),
                Field::LostGrace => policy.lost = None,
                Field::LostBudget => policy.lost.iter_mut().for_each(|lost| lost.budget = one()),
                Field::Windows => policy.windows.clear(),
            }
        }
        policy.check().map(|()| policy)
    }

    /// Whether it says nothing: then there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self {
            max_percent,
            soak,
            wave_soak,
            after,
            lost,
            windows,
            by: _,
            since: _,
        } = self;
        let waves = wave_soak.is_some() || !after.is_empty();
        let numbers = max_percent.is_some() || soak.is_some() || lost.is_some();
        !(numbers || waves || !windows.is_empty())
    }
}

impl Lost {
    fn check(self) -> Result<(), PolicyFault> {
        let whole = self.grace.subsec_nanos() == 0 && !self.grace.is_zero();
        if !whole || self.grace > LONGEST {
            return Err(PolicyFault::Grace(self.grace));
        }
        if self.budget == 0 {
            return Err(PolicyFault::Budget);
        }
        Ok(())
    }
}

impl PolicyChange {
    /// What this change makes of `lost`.
    fn lost(&self, old: Option<Lost>) -> Result<Option<Lost>, PolicyFault> {
        let budget = self.lost_budget.or(old.map(|old| old.budget));
        match self.lost_grace.or(old.map(|old| old.grace)) {
            Some(grace) => Ok(Some(Lost {
                grace,
                budget: budget.unwrap_or_else(one),
            })),
            None if budget.is_some() => Err(PolicyFault::NoGrace),
            None => Ok(None),
        }
    }
}

/// What the value of a policy says of lost nodes; none where it says nothing, or cannot be used.
#[must_use]
pub fn lost_in(policy: &[u8]) -> Option<Lost> {
    Policy::parse(policy).ok()?.lost
}

/// The groups that a policy with this value comes after; none where it cannot be used.
#[must_use]
pub fn after_in(policy: &[u8]) -> Vec<Group> {
    Policy::parse(policy).map_or_else(|_| Vec::new(), |policy| policy.after)
}

/// The reboot windows in the value of a policy; none where it cannot be used.
#[must_use]
pub fn windows_in(policy: &[u8]) -> Option<Vec<WindowSpec>> {
    Policy::parse(policy).ok().map(|policy| policy.windows)
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
mod tests;
