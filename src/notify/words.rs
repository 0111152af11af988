//! A notification in words.

use std::time::Duration;

use host::duration;

use super::Notification;
use crate::agent::history::Kind;

/// The word of an event in the history.
pub(super) fn word(kind: &Kind) -> String {
    match serde_json::to_value(kind) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

/// The whole in one sentence, with the node's name.
pub(super) fn sentence(told: &Notification) -> String {
    let group = match told.group.as_str() {
        "" => String::new(),
        group => format!(" (group {group})"),
    };
    let image = |image: &Option<_>| {
        let image: Option<&semaphore::records::ImageId> = image.as_ref();
        image.map_or_else(|| "an unknown image".to_owned(), ToString::to_string)
    };
    let (from, to) = (image(&told.from), image(&told.to));
    let took = told
        .seconds
        .map(|seconds| duration::print(Duration::from_secs(seconds)));
    let after = took
        .as_ref()
        .map_or_else(String::new, |took| format!(" after {took}"));
    let what = match told.event.as_str() {
        "staged" => format!("{to} is installed and waits for a reboot"),
        "requested" => "a reboot was requested".into(),
        "draining" => format!("it is drained, to reboot from {from} into {to}"),
        "stepped-back" => "its reboot was given up".into(),
        "rebooting" => format!("it reboots from {from} into {to}"),
        "proven" => format!("{to} is proven{after}"),
        "unproven" => format!("{to} has not passed its checks, and stays"),
        "rolling-back" => "it rolls back to its previous image".into(),
        "fell-back" => format!("it fell back from {to}"),
        "quarantined" => format!("{to} is quarantined"),
        "soaking" => format!(
            "{to} stays under observation for {}",
            took.unwrap_or_default()
        ),
        "soak-failed" => format!("{to} failed its soak; a person must decide"),
        "soak-ended" => format!("the soak of {to} is over"),
        "etcd-unreachable" => "etcd cannot be used, and no reboot is coordinated".into(),
        "etcd-reachable" => "etcd answers again".into(),
        "fleet-lock-unreachable" => {
            "the FleetLock server cannot be used, and this node does not reboot by itself".into()
        }
        "fleet-lock-reachable" => "the FleetLock server answers again".into(),
        "configuration-fault" => "the configuration on disk is not used".into(),
        "same-machine-id" => "another machine has its machine id".into(),
        "lock-unknown" => "it holds the reboot lock, and its journal does not know that".into(),
        other => other.to_owned(),
    };
    let why = match told.reason.as_str() {
        "" => String::new(),
        reason => format!(": {}", host::text::one_line(reason)),
    };
    format!("{}{group}: {what}{why}", told.hostname)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_that_a_receiver_may_be_told_has_words() {
        for event in settings::NOTIFY_EVENTS {
            let told = Notification {
                version: 1,
                event: event.into(),
                text: String::new(),
                time: jiff::Timestamp::UNIX_EPOCH,
                node: "0a".into(),
                hostname: "web-1".into(),
                group: "prod".into(),
                from: None,
                to: None,
                reason: "so".into(),
                seconds: None,
            };
            let says = sentence(&told);
            assert!(says.starts_with("web-1 (group prod): "), "{says}");
            assert!(says.ends_with(": so"), "{says}");
            assert!(!says.contains(event) || !event.contains('-'), "{says}");
        }
    }

    #[test]
    fn events_of_the_history_are_those_that_a_receiver_may_be_told() {
        let kinds = Kind::ALL;
        for kind in kinds {
            let word = word(&kind);
            assert!(settings::NOTIFY_EVENTS.contains(&word.as_str()), "{word}");
        }
    }
}
