//! What the checks of a boot amount to. Pure.
//!
//! Only what is new on an image counts against it: a unit that had failed before the reboot, on an image that was proven,
//! says nothing of the image that runs now.

use host::systemd::{Trouble, Unsettled};
use serde::Serialize;

use super::baseline::Baseline;

/// What waits for the proof itself.
const AFTER_THE_PROOF: [&str; 1] = ["update-engine.service"];

/// Units that apply cloud-configs are called so: what is wrong with a document says nothing of an image.
const CLOUD_CONFIG: (&str, &str) = ("pointsman-cloud-config", ".service");

/// What the checks of a boot say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// All that are required passed; the units that fail as they did before the reboot.
    Passed(Vec<String>),
    /// One of this node's own failed, or one that needs other nodes although these were there: why.
    Failed(String),
    /// It cannot be known yet: why.
    Unknown(String),
}

/// What a unit's trouble says of the boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It is new: it counts.
    New,
    /// It was so before the reboot: it does not count.
    Before,
    /// The operator lists it in `checks.ignore-units`.
    Ignored,
    /// It waits for the proof, or applies a cloud-config: it never counts.
    Exempt,
    /// Whether it is new is not known: nobody looked before the reboot.
    Unknown,
}

/// A unit's trouble and what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// The unit.
    pub what: Unsettled,
    /// What that says.
    pub standing: Standing,
    /// Whether it needs other nodes (`checks.cluster-units`).
    pub cluster: bool,
}

/// By what units are judged.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// `checks.ignore-units`.
    pub ignore: &'a [String],
    /// `checks.cluster-units`.
    pub cluster: &'a [String],
    /// What was so in the boot before; none where nobody looked.
    pub baseline: Option<&'a Baseline>,
    /// Whether the booted slot is on trial: only then is an image at stake.
    pub trial: bool,
}

/// Judges a unit.
#[must_use]
pub fn judge(what: Unsettled, rules: &Rules<'_>) -> Judged {
    let unit = &what.unit;
    let of_cloud_config = unit.starts_with(CLOUD_CONFIG.0) && unit.ends_with(CLOUD_CONFIG.1);
    let standing = if AFTER_THE_PROOF.contains(&unit.as_str()) || of_cloud_config {
        Standing::Exempt
    } else if rules.ignore.contains(unit) {
        Standing::Ignored
    } else {
        match rules.baseline {
            Some(baseline) if baseline.has(&what) => Standing::Before,
            Some(_) => Standing::New,
            // Without a trial no image is at stake: the boot is held up until the unit is well.
            None if !rules.trial => Standing::New,
            None => Standing::Unknown,
        }
    };
    Judged {
        cluster: rules.cluster.contains(unit),
        standing,
        what,
    }
}

/// What one round of all checks found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Round {
    /// What fails of this node's own checks, units apart.
    pub own: Vec<String>,
    /// What fails of the checks that need other nodes, units apart.
    pub others: Vec<String>,
    /// The units that have failed or are still to start.
    pub units: Vec<Judged>,
}

impl Round {
    fn units(&self, standing: Standing, cluster: bool) -> impl Iterator<Item = String> {
        let units = self.units.iter();
        units
            .filter(move |unit| unit.standing == standing && unit.cluster == cluster)
            .map(|unit| unit.what.to_string())
    }

    /// What counts against the boot: of this node alone, of what needs others, and of which it is not known.
    fn faults(&self) -> [Vec<String>; 3] {
        let own = self.own.iter().cloned();
        let others = self.others.iter().cloned();
        let unknown = self.units(Standing::Unknown, false);
        [
            own.chain(self.units(Standing::New, false)).collect(),
            others.chain(self.units(Standing::New, true)).collect(),
            unknown.chain(self.units(Standing::Unknown, true)).collect(),
        ]
    }

    /// The units that are as they were before the reboot, a sentence each.
    #[must_use]
    pub fn before(&self) -> Vec<String> {
        let own = self.units(Standing::Before, false);
        own.chain(self.units(Standing::Before, true)).collect()
    }

    /// What keeps the boot from passing, a sentence; none where nothing does.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        let all = self.faults().concat();
        (!all.is_empty()).then(|| all.join("; "))
    }

    /// What it says of the boot now, to a person who does not wait: what is only starting may still come up.
    #[must_use]
    pub fn verdict_now(&self, held: bool) -> Verdict {
        let starting = |unit: &&Judged| unit.what.trouble == Trouble::Starting;
        let units = self.units.iter().filter(|unit| !starting(unit)).cloned();
        let settled = Self {
            units: units.collect(),
            ..self.clone()
        };
        match (settled.verdict(held), self.fault()) {
            (Verdict::Passed(_), Some(why)) => Verdict::Unknown(why),
            (verdict, _) => verdict,
        }
    }

    /// What it says of the boot, were this the last round. `held`: this boot was made while holding the reboot lock, so
    /// that the rest of the cluster was there: only then does a check that needs it say anything.
    #[must_use]
    pub fn verdict(&self, held: bool) -> Verdict {
        let [own, others, _] = self.faults();
        let Some(why) = self.fault() else {
            return Verdict::Passed(self.before());
        };
        if !own.is_empty() || (held && !others.is_empty()) {
            return Verdict::Failed(why);
        }
        let needs_others =
            !others.is_empty() || self.units(Standing::Unknown, true).next().is_some();
        Verdict::Unknown(if !needs_others {
            format!(
                "{why} (whether that was so before this boot is not known: it is not held against the image; \
                 repair it, or name it in checks.ignore-units)"
            )
        } else {
            format!("{why} (this needs other nodes, which may be starting as well)")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(unit: &str) -> Unsettled {
        Unsettled {
            unit: unit.into(),
            trouble: Trouble::Failed,
        }
    }

    fn starting(unit: &str) -> Unsettled {
        Unsettled {
            trouble: Trouble::Starting,
            ..failed(unit)
        }
    }

    fn baseline(units: &[Unsettled]) -> Baseline {
        Baseline {
            boot_id: "before".into(),
            of: Some("now".into()),
            units: units.to_vec(),
        }
    }

    #[test]
    fn only_units_that_failed_since_the_reboot_count() {
        let before = baseline(&[failed("old.service"), starting("slow.service")]);
        let ignore = ["ignored.service".to_owned()];
        let cluster = ["etcd.service".to_owned()];
        for (unit, baseline, trial, standing) in [
            (failed("new.service"), Some(&before), true, Standing::New),
            (starting("new.service"), Some(&before), true, Standing::New),
            (failed("old.service"), Some(&before), true, Standing::Before),
            (
                starting("old.service"),
                Some(&before),
                true,
                Standing::Before,
            ),
            (
                starting("slow.service"),
                Some(&before),
                true,
                Standing::Before,
            ),
            // It was starting when somebody looked, and may well have come up then.
            (failed("slow.service"), Some(&before), true, Standing::New),
            (failed("old.service"), None, true, Standing::Unknown),
            (failed("old.service"), None, false, Standing::New),
            (failed("ignored.service"), None, true, Standing::Ignored),
            (
                starting("update-engine.service"),
                None,
                true,
                Standing::Exempt,
            ),
            (
                failed("pointsman-cloud-config.service"),
                Some(&before),
                true,
                Standing::Exempt,
            ),
            (
                failed("pointsman-cloud-config-early.service"),
                None,
                false,
                Standing::Exempt,
            ),
            (
                failed("pointsman-cloud-configuration.mount"),
                None,
                true,
                Standing::Unknown,
            ),
        ] {
            let rules = Rules {
                ignore: &ignore,
                cluster: &cluster,
                baseline,
                trial,
            };
            let judged = judge(unit.clone(), &rules);
            assert_eq!(judged.standing, standing, "{unit} {baseline:?} {trial}");
            assert!(!judged.cluster);
        }
        let rules = Rules {
            ignore: &[],
            cluster: &cluster,
            baseline: None,
            trial: true,
        };
        assert!(judge(failed("etcd.service"), &rules).cluster);
    }

    #[test]
    fn a_verdict_follows_from_the_gravest_fault() {
        let unit = |standing, cluster| Judged {
            what: failed("a.service"),
            standing,
            cluster,
        };
        let round = |own: bool, others: bool, units: &[Judged]| Round {
            own: own.then(|| "own".to_owned()).into_iter().collect(),
            others: others.then(|| "others".to_owned()).into_iter().collect(),
            units: units.to_vec(),
        };
        #[derive(Debug, PartialEq)]
        enum Word {
            Passed,
            Failed,
            Unknown,
        }
        use Word::{Failed, Passed, Unknown};
        for (round, alone, held) in [
            (round(false, false, &[]), Passed, Passed),
            (round(true, false, &[]), Failed, Failed),
            (round(false, true, &[]), Unknown, Failed),
            (round(true, true, &[]), Failed, Failed),
            (
                round(false, false, &[unit(Standing::New, false)]),
                Failed,
                Failed,
            ),
            (
                round(false, false, &[unit(Standing::New, true)]),
                Unknown,
                Failed,
            ),
            (
                round(false, false, &[unit(Standing::Unknown, false)]),
                Unknown,
                Unknown,
            ),
            (
                round(false, false, &[unit(Standing::Unknown, true)]),
                Unknown,
                Unknown,
            ),
            (
                round(false, false, &[unit(Standing::Before, false)]),
                Passed,
                Passed,
            ),
            (
                round(false, false, &[unit(Standing::Ignored, false)]),
                Passed,
                Passed,
            ),
            (
                round(false, false, &[unit(Standing::Exempt, true)]),
                Passed,
                Passed,
            ),
            (
                round(true, false, &[unit(Standing::Unknown, false)]),
                Failed,
                Failed,
            ),
        ] {
            for (is_held, expected) in [(false, alone), (true, held)] {
                let word = match round.verdict(is_held) {
                    Verdict::Passed(_) => Passed,
                    Verdict::Failed(_) => Failed,
                    Verdict::Unknown(_) => Unknown,
                };
                assert_eq!(word, expected, "{round:?} held {is_held}");
            }
        }
        let slow = Judged {
            what: starting("slow.service"),
            ..unit(Standing::New, false)
        };
        let slow = round(false, false, &[slow]);
        assert!(matches!(slow.verdict(false), Verdict::Failed(_)));
        assert!(matches!(slow.verdict_now(false), Verdict::Unknown(_)));
        let new = round(false, false, &[unit(Standing::New, false)]);
        assert_eq!(new.verdict_now(false), new.verdict(false));
        let before = round(false, false, &[unit(Standing::Before, false)]);
        assert_eq!(
            before.verdict(true),
            Verdict::Passed(vec!["a.service has failed".into()])
        );
    }
}
