use serde_json::{Value, json};

use super::*;
use crate::cli::{
    status::GroupStatus,
    waves::gather::{ImageShown, MissingShown},
};

fn shown(status: &Status, query: &str) -> String {
    shown_with(status, &[], query)
}

fn shown_with(status: &Status, waves: &[GroupShown], query: &str) -> String {
    let act = json!({"act": HOSTILE, "group": HOSTILE, "target": HOSTILE, "by": HOSTILE, "host": HOSTILE,
        "reason": HOSTILE, "since": "2026-11-30T11:45:00Z"});
    let look = Look {
        status,
        waves,
        file_note: None,
        away: status.etcd_error.as_deref(),
        acts: &[serde_json::from_value(act).unwrap()],
        read: "2026-11-30T11:59:00Z".parse().unwrap(),
        now: "2026-11-30T12:00:00Z".parse().unwrap(),
        zone: &TimeZone::UTC,
    };
    page(look, &Query::read(query))
}

fn group(name: &str, nodes: Value) -> GroupStatus {
    GroupStatus {
        group: name.into(),
        max: Some(1),
        available: Some(1),
        nodes: serde_json::from_value(nodes).unwrap(),
        ..GroupStatus::default()
    }
}

/// A name that ends an attribute, a tag and a title.
const HOSTILE: &str = "\"'></title></option><script>alert(1)</script>";

fn hostile_waves() -> GroupShown {
    let missing = MissingShown {
        id: HOSTILE.into(),
        hostname: HOSTILE.into(),
        since: None,
        why: HOSTILE.into(),
        command: Some(HOSTILE.into()),
    };
    let image = ImageShown {
        image: serde_json::from_value(json!({"version": HOSTILE, "digest": HOSTILE})).unwrap(),
        wave: "open",
        since: None,
        by: HOSTILE.into(),
        reason: HOSTILE.into(),
        soak_left_seconds: None,
        quarantined: None,
        proven: 0,
        missing: vec![missing],
    };
    GroupShown {
        group: HOSTILE.into(),
        after: vec![HOSTILE.into()],
        wave_soak_seconds: Some(0),
        members: 1,
        images: vec![image],
        warnings: vec![HOSTILE.into()],
    }
}

#[test]
fn whatever_others_wrote_there_is_only_the_markup_of_this_program() {
    let last = json!({"outcome": "rolled back", "from": {"version": HOSTILE}, "to": {"version": HOSTILE},
        "began": "2026-11-30T11:00:00Z", "ended": "2026-11-30T11:30:00Z", "reason": HOSTILE});
    let node = json!({"id": HOSTILE, "hostname": HOSTILE, "group": HOSTILE, "version": HOSTILE, "kernel": HOSTILE,
        "state": HOSTILE, "reason": HOSTILE, "last": last});
    let mut hostile = group(HOSTILE, json!([node]));
    let ticket = json!({"id": HOSTILE, "hostname": HOSTILE, "to": {"version": HOSTILE}});
    hostile.queue.push(serde_json::from_value(ticket).unwrap());
    hostile.error = Some(HOSTILE.into());
    hostile.policy_error = Some(HOSTILE.into());
    let pause = json!({"by": HOSTILE, "reason": HOSTILE});
    hostile.pause = Some(serde_json::from_value(pause.clone()).unwrap());
    let bad = json!({"version": HOSTILE, "hostname": HOSTILE, "reason": HOSTILE});
    let status = Status {
        pause_all: Some(serde_json::from_value(pause).unwrap()),
        quarantine: vec![serde_json::from_value(bad).unwrap()],
        groups: vec![hostile],
        etcd_error: Some(HOSTILE.into()),
        ..Status::default()
    };
    let query = "q=%22%3E%3Cscript%3E&state=%22%3E%3Cscript%3E&version=%22%3E%3Cscript%3E";
    let waves = [hostile_waves()];
    for query in ["", query] {
        let page = shown_with(&status, &waves, query);
        assert_eq!(page.matches("<script").count(), 1, "{page}");
        assert!(page.contains("<script src=\"assets/page.js\" defer></script>"));
        assert_eq!(page.matches("</title></option>").count(), 0);
        assert!(!page.contains("\"'>"), "{page}");
    }
    assert!(shown(&status, "").contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
    let page = shown(&status, query);
    assert!(
        page.contains("value=\"&quot;&gt;&lt;script&gt;\""),
        "{page}"
    );
}

#[test]
fn what_waits_for_its_turn_does_not_look_ill() {
    let nodes = json!([
        {"id": "a", "hostname": "a", "state": "queued", "reason": "in the queue behind b"},
        {"id": "b", "hostname": "b", "state": "waiting", "reason": "outside the reboot window"},
    ]);
    let status = Status {
        groups: vec![group("", nodes)],
        ..Status::default()
    };
    let page = shown(&status, "");
    assert!(
        !page.contains("class=\"bad\"") && !page.contains("class=\"warn\""),
        "{page}"
    );
    assert!(
        page.contains("<title>0 out, 0 waiting - pointsman</title>"),
        "{page}"
    );
    let nodes =
        json!([{"id": "a", "hostname": "a", "state": "unproven", "reason": "etcd.service failed"}]);
    let status = Status {
        groups: vec![group("web", nodes)],
        ..Status::default()
    };
    let page = shown(&status, "");
    assert!(page.contains("<title>(!) 0 out"), "{page}");
    assert!(
        page.contains("Group web: a has not passed its checks: etcd.service failed"),
        "{page}"
    );
}

#[test]
fn what_could_not_be_read_again_is_shown_as_it_was_and_said_to_be_old() {
    let mut status = Status {
        groups: vec![group("", json!([{"id": "a", "hostname": "node-a"}]))],
        ..Status::default()
    };
    assert!(!shown(&status, "").contains("data-away"));
    status.etcd_error = Some("no etcd endpoint answered".into());
    let page = shown(&status, "");
    let says = "Not live: what is shown may have changed since. no etcd endpoint answered";
    assert!(
        page.contains(says)
            && page.contains("data-away")
            && page.contains("node-a")
            && page.contains("11:59:00 UTC (1m ago)"),
        "{page}"
    );
}

#[test]
fn a_lock_by_hand_is_no_node_that_is_out() {
    let mut locked = group("", json!([]));
    let held = json!({"id": "desk", "phase": "manual"});
    let held: semaphore::records::Holder = serde_json::from_value(held).unwrap();
    locked
        .holders
        .push(HolderStatus::from(semaphore::etcd::HolderState {
            id: "desk".into(),
            entry: Some(held),
            listed: true,
            overdue: false,
            before_accept: false,
            grace: Err(semaphore::lost::Never::ByHand),
            grace_lease: None,
        }));
    locked.max = Some(0);
    let status = Status {
        groups: vec![locked],
        ..Status::default()
    };
    let page = shown(&status, "");
    assert!(
        page.contains("<title>0 out, 0 waiting, 1 locked by hand - pointsman</title>"),
        "{page}"
    );
    assert!(page.contains("stopped: max is 0"), "{page}");
}

#[test]
fn a_command_names_its_group() {
    let mut web = group("a b", json!([]));
    let ticket = json!({"id": "0123", "hostname": "n"});
    web.queue.push(serde_json::from_value(ticket).unwrap());
    let status = Status {
        groups: vec![web],
        ..Status::default()
    };
    let expected =
        "<code class=\"command\">pointsman unlock 0123 --ticket --group &#39;a b&#39;</code>";
    assert!(shown(&status, "").contains(expected));
}

#[test]
fn nodes_are_shown_as_far_as_they_are_asked_for() {
    let nodes: Vec<Value> = (0..150)
        .map(|n| {
            let version = if n % 2 == 0 { "1" } else { "2" };
            json!({"id": format!("id{n:03}"), "hostname": format!("Host{n:03}"), "version": version, "state": "idle"})
        })
        .collect();
    let status = Status {
        groups: vec![group("", json!(nodes))],
        ..Status::default()
    };
    for (query, says) in [
        ("", "100 shown of 150 that match; 150 nodes are known."),
        ("all=1", "150 shown of 150 that match; 150 nodes are known."),
        (
            "q=hOST14",
            "10 shown of 10 that match; 150 nodes are known.",
        ),
        ("q=id149", "1 shown of 1 that match; 150 nodes are known."),
        (
            "version=2",
            "75 shown of 75 that match; 150 nodes are known.",
        ),
        (
            "version=2&state=idle&q=host00",
            "5 shown of 5 that match; 150 nodes are known.",
        ),
        (
            "state=unproven",
            "0 shown of 0 that match; 150 nodes are known.",
        ),
    ] {
        let page = shown(&status, query);
        assert!(page.contains(says), "{query}: {page}");
    }
    // What is asked for stays asked for.
    assert!(shown(&status, "state=unproven").contains("<option selected>unproven</option>"));
}
