use std::time::Duration;

use futures_util::StreamExt;
use zbus::{MatchRule, MessageStream};

use super::*;
use crate::{bus::Bus, process::run};

const LIMIT: Duration = Duration::from_secs(20);

/// `busctl call …` as an operator would, its answer without the line's end.
async fn busctl(bus: &Bus, args: &str) -> Result<String, String> {
    let address = format!("--address={}", bus.address());
    let args = std::iter::once(address.as_str()).chain(args.split(' '));
    let out = run("busctl", args, &[], LIMIT).await;
    if out.code == Some(0) {
        Ok(out.stdout.trim().to_owned())
    } else {
        Err(out.stderr)
    }
}

async fn signals(bus: &Bus, member: &'static str) -> MessageStream {
    let rule = MatchRule::builder()
        .msg_type(zbus::message::Type::Signal)
        .member(member)
        .build()
        .unwrap();
    MessageStream::for_match_rule(rule, &bus.connection().await, None)
        .await
        .unwrap()
}

async fn next(stream: &mut MessageStream) -> zbus::Message {
    tokio::time::timeout(LIMIT, stream.next())
        .await
        .expect("a signal")
        .unwrap()
        .unwrap()
}

#[tokio::test]
async fn update_engine_answers_and_signals() {
    let bus = Bus::start().await;
    let engine = UpdateEngine::start(&bus).await;
    let manager = "com.coreos.update1 /com/coreos/update1 com.coreos.update1.Manager";
    let mut updates = signals(&bus, "StatusUpdate").await;
    engine.ready("4230.2.1").await;
    let signal = next(&mut updates).await;
    assert_eq!(signal.body().signature().to_string_no_parens(), "xdssx");
    let staged = r#"xdssx 1700000000 0 "UPDATE_STATUS_UPDATED_NEED_REBOOT" "4230.2.1" 0"#;
    assert_eq!(
        busctl(&bus, &format!("call {manager} GetStatus"))
            .await
            .unwrap(),
        staged
    );
    engine.restart().await;
    assert_eq!(engine.status(), Status::ready("0.0.0"));
    let reset = engine.wait_for_call("ResetStatus");
    busctl(&bus, &format!("call {manager} ResetStatus"))
        .await
        .unwrap();
    reset.await;
    assert_eq!(engine.status(), Status::idle());
    busctl(&bus, &format!("call {manager} AttemptUpdate"))
        .await
        .unwrap();
    engine.wait_for_calls("AttemptUpdate", 1).await;
    engine.set_silently(Status::new("UPDATE_STATUS_DOWNLOADING", ""));
    assert!(
        busctl(&bus, &format!("call {manager} ResetStatus"))
            .await
            .unwrap_err()
            .contains("returned FALSE but did not set error")
    );
    engine.stop().await;
    assert!(
        busctl(&bus, &format!("call {manager} GetStatus"))
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_forged_signal_comes_from_somebody_else() {
    let bus = Bus::start().await;
    let engine = UpdateEngine::start(&bus).await;
    let dbus = zbus::fdo::DBusProxy::new(&bus.connection().await)
        .await
        .unwrap();
    let owner = dbus
        .get_name_owner("com.coreos.update1".try_into().unwrap())
        .await
        .unwrap()
        .to_string();
    let mut updates = signals(&bus, "StatusUpdate").await;
    forge(&bus, &Status::ready("6.6.6")).await;
    let signal = next(&mut updates).await;
    assert_ne!(signal.header().sender().unwrap().as_str(), owner);
    assert_eq!(
        signal.header().path().unwrap().as_str(),
        "/com/coreos/update1"
    );
    assert_eq!(engine.status(), Status::idle());

    // A unicast signal arrives without any match rule.
    let victim = bus.connection().await;
    let mut all = MessageStream::from(&victim);
    forge_to(
        &bus,
        victim.unique_name().unwrap().as_str(),
        &Status::ready("6.6.6"),
    )
    .await;
    loop {
        let message = next(&mut all).await;
        if message
            .header()
            .member()
            .is_some_and(|m| m.as_str() == "StatusUpdate")
        {
            break;
        }
    }
}

#[tokio::test]
async fn logind_lists_sessions_and_inhibitors() {
    let bus = Bus::start().await;
    let logind = Logind::start(&bus).await;
    let manager = "org.freedesktop.login1 /org/freedesktop/login1 org.freedesktop.login1.Manager";
    let mut new = signals(&bus, "SessionNew").await;
    logind.log_in("1", "core", "pts/0").await;
    next(&mut new).await;
    assert_eq!(
        busctl(&bus, &format!("call {manager} ListSessions"))
            .await
            .unwrap(),
        r#"a(susso) 1 "1" 500 "core" "" "/org/freedesktop/login1/session/_31""#
    );
    let session =
        "org.freedesktop.login1 /org/freedesktop/login1/session/_31 org.freedesktop.login1.Session";
    let properties = busctl(
        &bus,
        &format!("get-property {session} Id Name Class TTY State User"),
    )
    .await
    .unwrap();
    let expected = [
        "s \"1\"",
        "s \"core\"",
        "s \"user\"",
        "s \"pts/0\"",
        "s \"active\"",
        "(uo) 500 \"/org/freedesktop/login1/user/_500\"",
    ];
    assert_eq!(properties.lines().collect::<Vec<_>>(), expected);
    logind.log_out("1").await;
    assert_eq!(
        busctl(&bus, &format!("call {manager} ListSessions"))
            .await
            .unwrap(),
        "a(susso) 0"
    );
    assert!(
        busctl(&bus, &format!("get-property {session} Id"))
            .await
            .is_err()
    );

    let mut changes = signals(&bus, "PropertiesChanged").await;
    let block = logind.inhibit("backup", "nightly", "block").await;
    let change = next(&mut changes).await;
    assert_eq!(change.body().signature().to_string_no_parens(), "sa{sv}as");
    logind.inhibit("logger", "flush", "delay").await;
    let inhibited = format!("get-property {manager} BlockInhibited");
    assert_eq!(busctl(&bus, &inhibited).await.unwrap(), "s \"shutdown\"");
    let list = busctl(&bus, &format!("call {manager} ListInhibitors"))
        .await
        .unwrap();
    assert!(
        list.starts_with(r#"a(ssssuu) 2 "shutdown" "backup" "nightly" "block" 0 "#),
        "{list}"
    );
    logind.uninhibit(block).await;
    assert_eq!(busctl(&bus, &inhibited).await.unwrap(), "s \"\"");
}

#[tokio::test]
async fn logind_reboots_fails_hangs_or_does_nothing() {
    let bus = Bus::start().await;
    let logind = Logind::start(&bus).await;
    let manager = "org.freedesktop.login1 /org/freedesktop/login1 org.freedesktop.login1.Manager";
    let reboot = format!("call {manager} Reboot b false");
    let preparing = format!("get-property {manager} PreparingForShutdown");
    let mut prepare = signals(&bus, "PrepareForShutdown").await;

    logind.on_reboot(OnReboot::Fail("no way".into()));
    assert!(busctl(&bus, &reboot).await.unwrap_err().contains("no way"));
    logind.on_reboot(OnReboot::Nothing);
    busctl(&bus, &reboot).await.unwrap();
    assert_eq!(busctl(&bus, &preparing).await.unwrap(), "b false");
    assert_eq!(logind.asked().len(), 2);

    logind.on_reboot(OnReboot::Hang);
    busctl(&bus, &reboot).await.unwrap();
    // The first announcement is this one: neither of the calls before made any.
    assert!(
        next(&mut prepare)
            .await
            .body()
            .deserialize::<bool>()
            .unwrap()
    );
    assert_eq!(busctl(&bus, &preparing).await.unwrap(), "b true");
    assert!(
        busctl(&bus, &reboot)
            .await
            .unwrap_err()
            .contains("already a shutdown")
    );
    assert!(logind.reboots().is_empty());
    logind.cancel_shutdown().await;
    assert!(
        !next(&mut prepare)
            .await
            .body()
            .deserialize::<bool>()
            .unwrap()
    );

    logind.on_reboot(OnReboot::Succeed);
    busctl(&bus, &format!("call {manager} RebootWithFlags t 1"))
        .await
        .unwrap();
    assert_eq!(logind.rebooted().await.flags, Some(1));
    assert!(logind.is_preparing());
    logind.log_in("c2", "core", "").await;
    logind.reset().await;
    assert_eq!(busctl(&bus, &preparing).await.unwrap(), "b false");
    assert_eq!(
        busctl(&bus, &format!("call {manager} ListSessions"))
            .await
            .unwrap(),
        "a(susso) 0"
    );
}

#[tokio::test]
async fn systemd_lists_jobs() {
    let bus = Bus::start().await;
    let systemd = Systemd::start(&bus).await;
    let list = "call org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager ListJobs";
    assert_eq!(busctl(&bus, list).await.unwrap(), "a(usssoo) 0");
    systemd.set_jobs([Job::reboot()]);
    assert_eq!(
        busctl(&bus, list).await.unwrap(),
        r#"a(usssoo) 1 1 "reboot.target" "start" "waiting" "/org/freedesktop/systemd1/job/1" "/org/freedesktop/systemd1/unit/reboot_2etarget""#
    );
    systemd.stop().await;
    assert!(busctl(&bus, list).await.is_err());
}

#[tokio::test]
async fn the_fakes_come_back_after_the_bus_died() {
    let bus = Bus::start().await;
    let engine = UpdateEngine::start(&bus).await;
    let logind = Logind::start(&bus).await;
    logind.log_in("1", "core", "pts/0").await;
    bus.restart().await;
    tokio::time::timeout(LIMIT, engine.restart()).await.unwrap();
    tokio::time::timeout(LIMIT, logind.restart()).await.unwrap();
    let list = "call org.freedesktop.login1 /org/freedesktop/login1 org.freedesktop.login1.Manager ListSessions";
    assert!(
        busctl(&bus, list)
            .await
            .unwrap()
            .starts_with(r#"a(susso) 1 "1""#)
    );
}
