//! The metrics of a node's agent.

use jiff::Timestamp;
use semaphore::records::{ImageId, LastReboot};

use super::{Metric, Page};
use crate::agent::machine::StateName;

/// All of them.
pub const METRICS: &[Metric] = &[
    Metric {
        name: "pointsman_build_info",
        labels: &["version"],
        help: "1, with the version of the agent.",
    },
    Metric {
        name: "pointsman_image_info",
        labels: &["version", "image", "slot", "kernel"],
        help: "1, with what the node runs.",
    },
    Metric {
        name: "pointsman_group_info",
        labels: &["group", "strategy"],
        help: "1, with the group and the strategy of the node.",
    },
    Metric {
        name: "pointsman_state",
        labels: &["state"],
        help: "1 for the state that the agent is in, 0 for the others.",
    },
    Metric {
        name: "pointsman_state_start_time_seconds",
        labels: &[],
        help: "Since when the agent is in its state, in seconds since 1970.",
    },
    Metric {
        name: "pointsman_reboot_pending_start_time_seconds",
        labels: &[],
        help: "Since when a reboot is pending, because an update is staged or a person asked for it, in seconds since 1970; missing if none is.",
    },
    Metric {
        name: "pointsman_holds_lock",
        labels: &[],
        help: "1 if the node holds the reboot lock.",
    },
    Metric {
        name: "pointsman_etcd_up",
        labels: &[],
        help: "1 if etcd answered when the agent last asked it; an idle agent does not ask.",
    },
    Metric {
        name: "pointsman_fleet_lock_up",
        labels: &[],
        help: "1 if the FleetLock server answered as one when the agent last asked it; missing with other strategies.",
    },
    Metric {
        name: "pointsman_configuration_valid",
        labels: &[],
        help: "1 if the configuration on disk is the one in use.",
    },
    Metric {
        name: "pointsman_warnings",
        labels: &[],
        help: "How many warnings `status` shows of this node.",
    },
    Metric {
        name: "pointsman_certificate_expiry_time_seconds",
        labels: &[],
        help: "When the client certificate for etcd, or for the FleetLock server, expires, if it does within 14 days, in seconds since 1970.",
    },
    Metric {
        name: "pointsman_last_reboot_info",
        labels: &["outcome", "from", "to"],
        help: "1, with how the last reboot ended; missing if none is known.",
    },
    Metric {
        name: "pointsman_last_reboot_end_time_seconds",
        labels: &[],
        help: "When the last reboot ended, in seconds since 1970.",
    },
    Metric {
        name: "pointsman_last_reboot_duration_seconds",
        labels: &[],
        help: "How long the last reboot took, from the start of its drain.",
    },
];

/// What the agent knows of itself.
#[derive(Debug, Clone)]
pub struct Figures<'a> {
    /// The version of the program.
    pub version: &'a str,
    /// What runs.
    pub runs: &'a ImageId,
    /// The slot it runs from, where the node has slots.
    pub slot: &'a str,
    /// The release of the kernel.
    pub kernel: &'a str,
    /// The group.
    pub group: &'a str,
    /// The strategy.
    pub strategy: &'a str,
    /// The state, one word.
    pub state: &'a str,
    /// Since when.
    pub since: Timestamp,
    /// Since when a reboot is pending; none where none is.
    pub pending_since: Option<Timestamp>,
    /// Whether it holds the lock.
    pub holds: bool,
    /// Whether etcd answered when it was last asked.
    pub etcd_up: bool,
    /// Whether the FleetLock server did; none with other strategies.
    pub lock_server_up: Option<bool>,
    /// Whether the configuration on disk is in use.
    pub configuration_valid: bool,
    /// How many warnings there are.
    pub warnings: usize,
    /// When the certificate expires, where that is soon.
    pub certificate_until: Option<Timestamp>,
    /// How the last reboot ended.
    pub last: Option<&'a LastReboot>,
}

/// The page with them.
#[must_use]
pub fn text(of: &Figures<'_>) -> String {
    let page = Page::new(METRICS);
    let known = |text: &Option<String>| text.clone().unwrap_or_default();
    page.is("pointsman_build_info", &[of.version], true);
    let (version, digest) = (known(&of.runs.version), known(&of.runs.digest));
    page.is(
        "pointsman_image_info",
        &[&version, &digest, of.slot, of.kernel],
        true,
    );
    page.is("pointsman_group_info", &[of.group, of.strategy], true);
    for state in StateName::ALL {
        page.is("pointsman_state", &[state.word()], false);
    }
    page.is("pointsman_state", &[of.state], true);
    page.time("pointsman_state_start_time_seconds", &[], Some(of.since));
    page.time(
        "pointsman_reboot_pending_start_time_seconds",
        &[],
        of.pending_since,
    );
    page.is("pointsman_holds_lock", &[], of.holds);
    page.is("pointsman_etcd_up", &[], of.etcd_up);
    if let Some(up) = of.lock_server_up {
        page.is("pointsman_fleet_lock_up", &[], up);
    }
    page.is("pointsman_configuration_valid", &[], of.configuration_valid);
    page.count("pointsman_warnings", &[], of.warnings);
    page.time(
        "pointsman_certificate_expiry_time_seconds",
        &[],
        of.certificate_until,
    );
    if let Some(last) = of.last {
        let outcome = last.outcome.to_string();
        let labels = [outcome.as_str(), &last.from.name(), &last.to.name()];
        page.is("pointsman_last_reboot_info", &labels, true);
        page.time("pointsman_last_reboot_end_time_seconds", &[], last.ended);
        if let Some(took) = last
            .ended
            .zip(last.began)
            .map(|(ended, began)| ended.duration_since(began))
        {
            page.set(
                "pointsman_last_reboot_duration_seconds",
                &[],
                took.as_secs_f64(),
            );
        }
    }
    page.text()
}
