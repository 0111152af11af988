use std::collections::BTreeSet;

use futures_util::StreamExt as _;
use pointsman_testbed::bus::{Bus, OPEN};
use zbus::{MatchRule, MessageStream, message::Type};

use super::*;

/// The policy shipped, upon a system bus that by default lets no one own or call anything.
fn shipped() -> String {
    let file = include_str!("../../../systemd/org.pointsman.Agent1.conf");
    let from = file.find("<busconfig>").unwrap() + "<busconfig>".len();
    let to = file.find("</busconfig>").unwrap();
    format!(
        r#"<policy context="default"><allow user="*"/><deny own="*"/><deny send_type="method_call"/>
        <allow send_type="signal"/><allow send_requested_reply="true" send_type="method_return"/>
        <allow send_requested_reply="true" send_type="error"/><allow receive_type="method_call"/>
        <allow receive_type="method_return"/><allow receive_type="error"/><allow receive_type="signal"/>
        <allow send_destination="org.freedesktop.DBus"/></policy>{}"#,
        &file[from..to]
    )
}

fn some() -> Published {
    Published {
        state: "idle".into(),
        node_id: "n1".into(),
        version: "0.1.0".into(),
        ..Published::default()
    }
}

/// An agent that refuses with this sentence, or takes note; it returns what it was asked.
fn answering(
    mut calls: mpsc::Receiver<Call>,
    refusal: Option<Refusal>,
) -> mpsc::UnboundedReceiver<String> {
    let (asked, seen) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(call) = calls.recv().await {
            let (what, reply) = match call {
                Call::RequestReboot { request, reply } => {
                    (format!("reboot: {}", request.shown()), reply)
                }
                Call::Cancel { reply } => ("cancel".to_owned(), reply),
                Call::EndSoak { reply } => ("end the soak".to_owned(), reply),
                Call::Quarantine {
                    what,
                    reason,
                    reply,
                } => (format!("quarantine {what:?}: {reason}"), reply),
                Call::ClearQuarantine { what, reply } => (format!("clear {what:?}"), reply),
            };
            asked.send(what).unwrap();
            reply.send(refusal.clone().map_or(Ok(()), Err)).unwrap();
        }
    });
    seen
}

#[tokio::test]
async fn bus_signals_only_changed_properties() {
    let bus = Bus::start().await;
    let (calls, _asked) = mpsc::channel(1);
    let agent = AgentBus::start(&bus.connection().await, calls)
        .await
        .unwrap();
    agent.publish(&some()).await;

    let watcher = bus.connection().await;
    let client = AgentClient::new(watcher.clone());
    assert_eq!(client.properties().await.unwrap(), some());
    let rule = MatchRule::builder()
        .msg_type(Type::Signal)
        .member("PropertiesChanged")
        .build()
        .unwrap();
    let mut signals = MessageStream::for_match_rule(rule, &watcher, None)
        .await
        .unwrap();

    agent.publish(&some()).await;
    let new = Published {
        state: "holding".into(),
        holding: true,
        ..some()
    };
    agent.publish(&new).await;
    let body = signals.next().await.unwrap().unwrap().body();
    let (interface, changed, _): (String, HashMap<String, OwnedVariant>, Vec<String>) =
        body.deserialize().unwrap();
    assert_eq!(interface, INTERFACE);
    // The publication before, which changed nothing, told nothing.
    let names: BTreeSet<_> = changed.keys().map(String::as_str).collect();
    assert_eq!(names, BTreeSet::from(["Holding", "State"]));
    assert_eq!(client.properties().await.unwrap(), new);
}

#[tokio::test]
async fn changes_follow_the_agent_to_its_end() {
    let bus = Bus::start().await;
    let serving = bus.connection().await;
    let client = AgentClient::new(bus.connection().await);
    let none = client.changes().await.map(|_| ());
    assert!(matches!(none, Err(ClientError::NotRunning)), "{none:?}");
    let none = client.properties().await;
    assert!(matches!(none, Err(ClientError::NotRunning)), "{none:?}");

    let (calls, _asked) = mpsc::channel(1);
    let agent = AgentBus::start(&serving, calls).await.unwrap();
    agent.publish(&some()).await;
    let mut changes = client.changes().await.unwrap();
    assert_eq!(changes.next().await, Some(some()));
    let mut last = some();
    for state in ["queued", "holding", "rebooting"] {
        last.state = state.into();
        agent.publish(&last).await;
    }
    serving.close().await.unwrap();
    let mut seen = Vec::new();
    while let Some(published) = changes.next().await {
        seen.push(published.state);
    }
    assert_eq!(seen, ["queued", "holding", "rebooting"]);
    assert_eq!(changes.next().await, None);
}

#[tokio::test]
async fn calls_of_root_are_answered() {
    let bus = Bus::with_policy(&shipped()).await;
    let (calls, asked) = mpsc::channel(1);
    let _agent = AgentBus::start(&bus.connection().await, calls)
        .await
        .unwrap();
    let mut seen = answering(asked, None);
    let client = AgentClient::new(bus.connection().await);
    client.request_reboot("new kernel").await.unwrap();
    client.request_urgent_reboot("a hole").await.unwrap();
    client.cancel().await.unwrap();
    client.end_soak().await.unwrap();
    assert_eq!(seen.recv().await.unwrap(), "reboot: new kernel");
    assert_eq!(seen.recv().await.unwrap(), "reboot: urgent: a hole");
    assert_eq!(seen.recv().await.unwrap(), "cancel");
    assert_eq!(seen.recv().await.unwrap(), "end the soak");
    let image = |image: &str, version: &str| ImageId {
        digest: Some(image.into()).filter(|_| !image.is_empty()),
        version: Some(version.into()).filter(|_| !version.is_empty()),
    };
    client.quarantine(&image("", "2"), "bad").await.unwrap();
    client
        .clear_quarantine(&image("sha256:1", ""))
        .await
        .unwrap();
    let said = format!("quarantine {:?}: bad", image("", "2"));
    assert_eq!(seen.recv().await.unwrap(), said);
    let said = format!("clear {:?}", image("sha256:1", ""));
    assert_eq!(seen.recv().await.unwrap(), said);
    let nothing = client.clear_quarantine(&image("", "")).await.unwrap_err();
    assert!(nothing.to_string().contains("both are empty"), "{nothing}");
    let blank = client.request_reboot(" ").await.unwrap_err();
    assert!(blank.to_string().contains("blank"), "{blank}");
    let long = client.request_reboot(&"x".repeat(1001)).await.unwrap_err();
    assert!(
        long.to_string()
            .contains("found 1001 bytes, expected a reason of at most 1000"),
        "{long}"
    );
    assert!(seen.try_recv().is_err());
}

#[tokio::test]
async fn a_refusal_arrives_as_the_agents_sentence() {
    let bus = Bus::start().await;
    let (calls, asked) = mpsc::channel(1);
    let _agent = AgentBus::start(&bus.connection().await, calls)
        .await
        .unwrap();
    let _seen = answering(asked, Some(Refusal::NothingAsked));
    let client = AgentClient::new(bus.connection().await);
    let refused = client.request_reboot("x").await;
    assert!(
        matches!(&refused, Err(ClientError::Refused(why)) if why == "no reboot is requested"),
        "{refused:?}"
    );
}

#[tokio::test]
async fn calls_fail_when_the_agent_ends() {
    let bus = Bus::start().await;
    let (calls, asked) = mpsc::channel(1);
    let _agent = AgentBus::start(&bus.connection().await, calls)
        .await
        .unwrap();
    drop(asked);
    let failed = AgentClient::new(bus.connection().await).cancel().await;
    assert!(matches!(failed, Err(ClientError::Bus(_))), "{failed:?}");
}

const ASK: [&str; 6] = ["call", NAME, PATH, INTERFACE, "RequestReboot", "s"];

/// Other users: the agent itself says no on a bus without policy, and the policy says no too.
#[tokio::test]
async fn only_root_may_ask() {
    // busctl has words of its own for an error of this name.
    for policy in [OPEN, &shipped()] {
        let bus = Bus::with_policy(policy).await;
        let (calls, asked) = mpsc::channel(1);
        let agent = AgentBus::start(&bus.connection().await, calls)
            .await
            .unwrap();
        agent.publish(&some()).await;
        let mut seen = answering(asked, None);
        for call in [
            [&ASK[..], &["x"]].concat(),
            vec!["call", NAME, PATH, INTERFACE, "Cancel"],
            vec!["call", NAME, PATH, INTERFACE, "EndSoak"],
        ] {
            let (done, text) = bus.busctl_as_nobody(&call).await;
            assert!(!done && text.contains("Access denied"), "{text}");
        }
        let (done, text) = bus
            .busctl_as_nobody(&["get-property", NAME, PATH, INTERFACE, "State"])
            .await;
        assert!(done && text.contains("\"idle\""), "{text}");
        let (done, text) = bus.busctl_as_nobody(&["introspect", NAME, PATH]).await;
        assert!(done && text.contains("RequestReboot"), "{text}");
        assert!(seen.try_recv().is_err());
    }
}

#[tokio::test]
async fn taken_or_forbidden_bus_name_is_reported() {
    let bus = Bus::with_policy(&shipped()).await;
    let (calls, _asked) = mpsc::channel(1);
    let first = bus.connection().await;
    let _agent = AgentBus::start(&first, calls.clone()).await.unwrap();
    let taken = AgentBus::start(&bus.connection().await, calls.clone()).await;
    assert!(matches!(taken, Err(AgentBusError::Taken)), "{taken:?}");

    let closed = OPEN.replace(r#"<allow own="*"/>"#, r#"<deny own="*"/>"#);
    let bus = Bus::with_policy(&closed).await;
    let forbidden = AgentBus::start(&bus.connection().await, calls).await;
    let text = forbidden.map(|_| ()).unwrap_err().to_string();
    assert!(text.contains(POLICY), "{text}");
}
