//! What a node says where etcd knows another machine by its id, or a hold that its journal does not know. Pure.

use host::time;
use semaphore::{
    queue,
    records::{Holder, NodeRecord, Phase},
};

/// That another machine wrote the record of the node with this machine id.
#[must_use]
pub fn twin(record: &NodeRecord, id: &str) -> String {
    let host = match record.hostname.as_str() {
        "" => "one without a host name",
        host => host,
    };
    let since = record
        .since
        .map(|since| format!(", at {}", time::shown_in_utc(since)))
        .unwrap_or_default();
    format!(
        "another machine has this machine's id {id}: {host} wrote its record in its boot {}{since} (or this machine did, before \
         it was restored to an earlier state). Two machines must not have one id: on one of them remove /etc/machine-id, run \
         systemd-machine-id-setup, and reboot",
        record.boot_id
    )
}

/// That this entry makes the node with this machine id a holder, of which its journal knows nothing; none where a person
/// locked it.
#[must_use]
pub fn lost_hold(entry: &Holder, id: &str) -> Option<String> {
    if entry.phase == Phase::Manual {
        return None;
    }
    let since = entry
        .since
        .map(|since| format!(" since {}", time::shown_in_utc(since)))
        .unwrap_or_default();
    let held = Holder {
        id: id.to_owned(),
        ..entry.clone()
    };
    // The command ends both.
    let under = match &entry.by_hand {
        Some(_) => ", under a lock by hand, which ends with it",
        None => "",
    };
    Some(format!(
        "etcd says that this node holds the reboot lock ({}{since}{under}), and its journal knows nothing of that: the journal was \
         lost, or another machine has this machine id. Nobody releases it by itself. If no other machine has this id: {}",
        entry.phase,
        queue::unlock(&held)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_hold_under_a_lock_by_hand_warns_that_the_lock_ends_too() {
        let lock = serde_json::json!({"id": "x", "phase": "manual", "reason": "disk"});
        let entry = serde_json::json!({"id": "x", "phase": "rebooting", "by_hand": lock});
        let said = lost_hold(&serde_json::from_value(entry).unwrap(), "me").unwrap();
        assert!(
            said.contains("(rebooting, under a lock by hand, which ends with it)"),
            "{said}"
        );
    }

    #[test]
    fn a_lost_hold_names_the_command_that_ends_it() {
        let entry = |phase: &str| {
            let entry =
                serde_json::json!({"id": "x", "phase": phase, "since": "2026-11-30T02:35:00Z"});
            serde_json::from_value::<Holder>(entry).unwrap()
        };
        for (phase, ends) in [
            ("draining", Some("pointsman unlock me")),
            ("rebooting", Some("pointsman unlock me --force")),
            ("proving", Some("pointsman unlock me --force")),
            ("manual", None),
        ] {
            let said = lost_hold(&entry(phase), "me");
            assert_eq!(said.is_some(), ends.is_some(), "{phase}");
            if let (Some(said), Some(ends)) = (said, ends) {
                assert!(said.ends_with(ends), "{said}");
                assert!(said.contains(&format!("({phase} since 2026-")), "{said}");
            }
        }
    }
}
