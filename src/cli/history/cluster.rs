//! `history --cluster`: what etcd knows of the past, from every node's record, and what people did.

use std::time::Duration;

use host::{duration, node, time};
use jiff::Timestamp;
use semaphore::{
    acts::Act,
    records::{ImageId, Outcome},
};
use serde::Serialize;

use super::{Args, image, latest, or_dash, timeline::Timeline};
use crate::cli::{
    Context, Exit, Failure, names, output,
    status::{self, Status},
    table::{cells, table, trimmed},
};

/// One thing that happened, the way it is shown.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(in crate::cli) struct Event {
    /// When: the end of it, where it took a while.
    pub(in crate::cli) time: Timestamp,
    /// One word: the outcome of a reboot, an act, `quarantined`, `lost`.
    pub(in crate::cli) event: String,
    /// The group; null for the whole cluster.
    pub(in crate::cli) group: Option<String>,
    /// The node, or who did it.
    pub(in crate::cli) who: String,
    /// The node's id, where it is a node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) id: Option<String>,
    /// Since when the node was out of service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) began: Option<Timestamp>,
    /// What it ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) from: Option<ImageId>,
    /// What it went to; the image that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) to: Option<ImageId>,
    /// What an act was done to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) target: Option<String>,
    /// Why.
    pub(in crate::cli) reason: String,
}

/// Shows it, the latest last.
pub(super) async fn run(
    context: &Context,
    args: &Args,
    from: Option<Timestamp>,
) -> Result<(), Failure> {
    let (status, failure) = status::gather(context, args.all_groups).await;
    if let Some(failure) = failure {
        return Err(failure);
    }
    let mut acts = context.semaphore()?.acts().await?;
    let shown = |group: Option<&String>| {
        group.is_none_or(|group| status.groups.iter().any(|it| it.group == *group))
    };
    acts.retain(|act| shown(act.group.as_ref()));
    let mut events = of_nodes(&status);
    // What a person quarantined is told by what they did.
    events.retain(|event| !acts.iter().any(|act| event.is_told_by(act)));
    events.extend(of_acts(acts));
    events.sort_by_key(|event| event.time);
    events.retain(|event| from.is_none_or(|from| event.time >= from));
    if let Some(file) = &args.svg {
        let now = Timestamp::now();
        let zone = node::time_zone(&context.config.root);
        let svg = Timeline::new(&events, &status, from, now).svg(&zone, true);
        return std::fs::write(file, svg).map_err(|error| {
            Failure::new(
                Exit::Failed,
                format!("{}: the picture cannot be written: {error}", file.display()),
            )
        });
    }
    latest(&mut events, args.limit);
    if args.json.json {
        return output::json(&events);
    }
    if events.is_empty() {
        return output::say("Nothing is recorded.");
    }
    let zone = node::time_zone(&context.config.root);
    let mut shown = table(&[
        "WHEN", "GROUP", "WHO", "EVENT", "FROM", "TO", "OUT FOR", "REASON",
    ]);
    for event in &events {
        shown.add_row(cells(vec![
            time::shown(event.time, &zone),
            event.group.as_deref().map_or("(all)".into(), names::group),
            event.who.clone(),
            event.event.clone(),
            image(event.from.as_ref()),
            match &event.target {
                Some(target) => target.clone(),
                None => image(event.to.as_ref()),
            },
            event.out_for().map_or("-".into(), duration::print),
            or_dash(&event.reason),
        ]));
    }
    output::say(trimmed(&shown))
}

impl Event {
    /// What happened to what, and why, as part of a line.
    pub(in crate::cli) fn sentence(&self) -> String {
        let to = self.target.clone();
        let to = to
            .or_else(|| self.to.as_ref().map(ToString::to_string))
            .unwrap_or_default();
        match self.reason.as_str() {
            "" => format!("{} {to}", self.event),
            why => format!("{} {to}: {why}", self.event),
        }
    }

    /// Whether it is the quarantine that this act made.
    fn is_told_by(&self, act: &Act) -> bool {
        let what = self.to.as_ref().map(ImageId::name).unwrap_or_default();
        let apart = act.since.map(|since| since.duration_since(self.time).abs());
        self.event == "quarantined"
            && act.act == "quarantine add"
            && act.target == what
            && apart.is_some_and(|apart| apart.as_secs() < 5)
    }

    /// How long the node was out of service.
    fn out_for(&self) -> Option<Duration> {
        let out = self.time.duration_since(self.began?);
        Some(Duration::from_secs(u64::try_from(out.as_secs()).ok()?))
    }
}

fn host(hostname: &str, id: &str) -> String {
    if hostname.is_empty() {
        id.to_owned()
    } else {
        hostname.to_owned()
    }
}

/// What people did.
pub(in crate::cli) fn of_acts(acts: Vec<Act>) -> impl Iterator<Item = Event> {
    acts.into_iter().filter_map(|act| {
        Some(Event {
            time: act.since?,
            event: act.act,
            group: act.group,
            who: format!("{}@{}", act.by, act.host),
            id: None,
            began: None,
            from: None,
            to: None,
            target: Some(act.target).filter(|target| !target.is_empty()),
            reason: act.reason,
        })
    })
}

/// What the nodes say of their last reboots, what is quarantined, and who is lost.
pub(in crate::cli) fn of_nodes(status: &Status) -> Vec<Event> {
    let mut events = Vec::new();
    for group in &status.groups {
        for node in &group.nodes {
            let Some(last) = &node.last else { continue };
            let Some(ended) = last.ended else { continue };
            events.push(Event {
                time: ended,
                event: last.outcome.to_string(),
                group: Some(group.group.clone()),
                who: host(&node.hostname, &node.id),
                id: Some(node.id.clone()),
                // What was given up was never out of service for long, but its drain ran.
                began: last.began.filter(|_| last.outcome != Outcome::SteppedBack),
                from: Some(last.from.clone()),
                to: Some(last.to.clone()),
                target: None,
                reason: last.reason.clone(),
            });
        }
        for lost in &group.lost {
            let Some(since) = lost.node.since else {
                continue;
            };
            events.push(Event {
                time: since,
                event: "lost".into(),
                group: Some(group.group.clone()),
                who: host(&lost.node.hostname, &lost.id),
                id: Some(lost.id.clone()),
                began: None,
                from: None,
                to: Some(lost.node.to.clone()),
                target: None,
                reason: "it did not come back, and was passed over".into(),
            });
        }
    }
    for bad in &status.quarantine {
        let Some(since) = bad.since else { continue };
        events.push(Event {
            time: since,
            event: "quarantined".into(),
            group: None,
            who: host(&bad.hostname, &bad.node),
            id: Some(bad.node.clone()).filter(|id| !id.is_empty()),
            began: None,
            from: None,
            to: Some(bad.what.clone()),
            target: None,
            reason: bad.reason.clone(),
        });
    }
    events
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarantine_by_hand_is_told_once() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let quarantined = |second| Event {
            time: at(second),
            event: "quarantined".into(),
            group: None,
            who: "desk".into(),
            id: None,
            began: None,
            from: None,
            to: Some(ImageId {
                digest: None,
                version: Some("2".into()),
            }),
            target: None,
            reason: "slow".into(),
        };
        let act = |act: &str, target: &str| Act {
            act: act.into(),
            target: target.into(),
            since: Some(at(100)),
            ..Act::default()
        };
        assert!(quarantined(100).is_told_by(&act("quarantine add", "2")));
        // By a node, of another version, or another time.
        for (event, act) in [
            (quarantined(100), act("quarantine clear", "2")),
            (quarantined(100), act("quarantine add", "3")),
            (quarantined(200), act("quarantine add", "2")),
        ] {
            assert!(!event.is_told_by(&act), "{act:?}");
        }
    }
}
