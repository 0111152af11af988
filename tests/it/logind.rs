//! What logind and systemd say on a real bus: logins, inhibitors, a shutdown under way; and who may say it.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use host::{
    bus::BusError,
    logind::{Inhibitor, Logind, Session, Watch},
    systemd,
};
use pointsman_testbed::{
    bus::{Bus, OPEN},
    fakes::{Job, Logind as Fake, OnReboot, PATIENCE, Systemd},
};
use tokio::time::timeout;
use zbus::{Connection, OwnedObjectPath, fdo};

use crate::support::eventually;

const NAME: &str = "org.freedesktop.login1";
const PATH: &str = "/org/freedesktop/login1";
const MANAGER: &str = "org.freedesktop.login1.Manager";

async fn wake(watch: &mut Watch) {
    let woken = timeout(PATIENCE, watch.next()).await;
    woken
        .expect("the change wakes")
        .expect("the connection lives");
}

async fn sleeps(watch: &mut Watch) -> bool {
    timeout(Duration::from_millis(50), watch.next())
        .await
        .is_err()
}

/// Waits until everything the bus was given by the first has reached the second.
async fn settle(from: &Connection, to: &Connection) {
    for conn in [from, to] {
        let bus = fdo::DBusProxy::new(conn).await.unwrap();
        bus.get_id().await.unwrap();
    }
}

#[tokio::test]
async fn logins_and_logouts_are_seen() {
    let bus = Bus::start().await;
    let (fake, conn) = (Fake::start(&bus).await, bus.connection().await);
    let (logind, mut watch) = (Logind::new(&conn), Watch::new(&conn).await.unwrap());
    assert_eq!(logind.sessions().await.unwrap(), []);
    fake.log_in("1", "ada", "pts/0").await;
    wake(&mut watch).await;
    let ada = Session {
        id: "1".into(),
        user: "ada".into(),
        tty: "pts/0".into(),
    };
    let only_ada = std::slice::from_ref(&ada);
    assert_eq!(logind.sessions().await.unwrap(), only_ada);
    // Neither people at a terminal, nor logged in.
    fake.log_in("2", "bob", "").await;
    fake.log_in_as("3", "gdm", "tty1", "greeter").await;
    wake(&mut watch).await;
    assert_eq!(logind.sessions().await.unwrap(), only_ada);
    fake.log_out("1").await;
    wake(&mut watch).await;
    assert_eq!(logind.sessions().await.unwrap(), []);
}

#[tokio::test]
async fn only_those_who_block_a_shutdown_count() {
    let bus = Bus::start().await;
    let (fake, conn) = (Fake::start(&bus).await, bus.connection().await);
    let (logind, mut watch) = (Logind::new(&conn), Watch::new(&conn).await.unwrap());
    fake.inhibit("db", "flush", "delay").await;
    fake.inhibit_what("sleep:idle", "player", "film", "block")
        .await;
    let upgrade = fake
        .inhibit_what("idle:shutdown", "apt", "upgrade", "block")
        .await;
    wake(&mut watch).await;
    let apt = Inhibitor {
        who: "apt".into(),
        why: "upgrade".into(),
    };
    assert_eq!(logind.block_inhibitors().await.unwrap(), [apt]);
    settle(&conn, &conn).await;
    while !sleeps(&mut watch).await {}
    fake.uninhibit(upgrade).await;
    wake(&mut watch).await;
    assert_eq!(logind.block_inhibitors().await.unwrap(), []);
}

#[tokio::test]
async fn a_reboot_is_asked_for_and_its_shutdown_seen() {
    let bus = Bus::start().await;
    let (fake, conn) = (Fake::start(&bus).await, bus.connection().await);
    let (logind, mut watch) = (Logind::new(&conn), Watch::new(&conn).await.unwrap());
    assert!(!logind.preparing_for_shutdown().await.unwrap());
    fake.on_reboot(OnReboot::Fail("no".into()));
    let error = logind.reboot().await.unwrap_err().to_string();
    assert!(
        error.contains("Reboot of org.freedesktop.login1"),
        "{error}"
    );
    assert!(!logind.preparing_for_shutdown().await.unwrap());
    fake.on_reboot(OnReboot::Hang);
    logind.reboot().await.unwrap();
    wake(&mut watch).await;
    assert!(logind.preparing_for_shutdown().await.unwrap());
    fake.cancel_shutdown().await;
    wake(&mut watch).await;
    assert!(!logind.preparing_for_shutdown().await.unwrap());
    assert_eq!(fake.asked().len(), 2);
}

#[tokio::test]
async fn logind_is_followed_over_late_start_and_restart() {
    let bus = Bus::start().await;
    let conn = bus.connection().await;
    let (logind, mut watch) = (Logind::new(&conn), Watch::new(&conn).await.unwrap());
    for error in [
        logind.sessions().await.unwrap_err(),
        logind.block_inhibitors().await.unwrap_err(),
        logind.preparing_for_shutdown().await.unwrap_err(),
        logind.reboot().await.unwrap_err(),
    ] {
        assert!(
            matches!(&error, BusError::NoOwner { name } if name == NAME),
            "{error}"
        );
    }
    let fake = Fake::start(&bus).await;
    wake(&mut watch).await;
    assert_eq!(logind.sessions().await.unwrap(), []);
    fake.log_in("1", "ada", "tty1").await;
    wake(&mut watch).await;
    fake.restart().await;
    wake(&mut watch).await;
    // Those of the new owner count.
    settle(&conn, &conn).await;
    while !sleeps(&mut watch).await {}
    fake.log_out("1").await;
    wake(&mut watch).await;
    assert_eq!(logind.sessions().await.unwrap(), []);
    bus.kill().await;
    let end = timeout(PATIENCE, async { while watch.next().await.is_some() {} });
    end.await.expect("the end of the bus is the end");
}

/// Lists two sessions; what those are is up to the objects at their paths.
struct Lists;

#[zbus::interface(name = "org.freedesktop.login1.Manager")]
impl Lists {
    fn list_sessions(&self) -> Vec<(String, u32, String, String, OwnedObjectPath)> {
        ["a", "b"]
            .map(|id| {
                let path = format!("{PATH}/session/{id}").try_into().unwrap();
                (id.into(), 1000, format!("user-{id}"), "seat0".into(), path)
            })
            .into()
    }
}

struct Sealed(bool);

#[zbus::interface(name = "org.freedesktop.login1.Session")]
impl Sealed {
    #[zbus(property)]
    fn class(&self) -> fdo::Result<String> {
        match self.0 {
            true => Err(fdo::Error::AccessDenied("sealed".into())),
            false => Ok("user".into()),
        }
    }

    #[zbus(property, name = "TTY")]
    fn tty(&self) -> String {
        "tty1".into()
    }
}

#[tokio::test]
async fn a_session_that_ended_is_left_out_and_one_that_cannot_be_read_is_an_error() {
    let bus = Bus::start().await;
    let (service, conn) = (bus.connection().await, bus.connection().await);
    let server = service.object_server();
    server.at(PATH, Lists).await.unwrap();
    let b = format!("{PATH}/session/b");
    server.at(b.as_str(), Sealed(false)).await.unwrap();
    service.request_name(NAME).await.unwrap();
    let logind = Logind::new(&conn);
    let ids = |sessions: Vec<Session>| sessions.into_iter().map(|s| s.id).collect::<Vec<_>>();
    assert_eq!(ids(logind.sessions().await.unwrap()), ["b"]);
    // Somebody may be there whom nobody sees: not the same as nobody.
    let a = format!("{PATH}/session/a");
    server.at(a.as_str(), Sealed(true)).await.unwrap();
    let error = logind.sessions().await.unwrap_err().to_string();
    assert!(error.contains("sealed"), "{error}");
}

/// What is logged, in the test's own thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn senders_of_forged_signals_are_named_once() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_max_level(tracing::Level::WARN)
        .with_writer(move || writer.clone())
        .finish();
    let _logging = tracing::subscriber::set_default(subscriber);

    let bus = Bus::start().await;
    let (fake, conn) = (Fake::start(&bus).await, bus.connection().await);
    let mut watch = Watch::new(&conn).await.unwrap();
    let emit = async |from: &Connection, to: Option<&str>, path: &str| {
        let changed = HashMap::from([("BlockInhibited", zbus::Variant::from("x"))]);
        let body = (MANAGER, changed, Vec::<&str>::new());
        let properties = "org.freedesktop.DBus.Properties";
        from.emit_signal(to, path, properties, "PropertiesChanged", &body)
            .await
            .unwrap();
    };
    let own = conn.unique_name().unwrap().as_str();
    // Any service may say that properties of its own objects changed.
    let other = bus.connection().await;
    emit(&other, None, "/org/freedesktop/systemd1/unit/a").await;
    let forger = bus.connection().await;
    for to in [None, Some(own), None, Some(own)] {
        emit(&forger, to, PATH).await;
    }
    settle(&other, &conn).await;
    settle(&forger, &conn).await;
    let forger = forger.unique_name().unwrap().as_str();
    let text = eventually(
        "the forger is named",
        async || log.text(),
        |text| text.contains("PropertiesChanged"),
    )
    .await;
    assert!(sleeps(&mut watch).await, "nothing genuine was said");
    assert!(text.contains(&format!("{forger} (user 0)")), "{text}");
    assert_eq!(log.text().lines().count(), 1, "{}", log.text());
    fake.log_in("1", "ada", "tty1").await;
    wake(&mut watch).await;
}

#[tokio::test]
async fn a_shutdown_is_a_job_of_systemd() {
    // As Debian's package has it: installed is activatable, running or not.
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("org.freedesktop.systemd1.service"),
        "[D-BUS Service]\nName=org.freedesktop.systemd1\nExec=/bin/false\nUser=root\n",
    )
    .unwrap();
    let services = format!("<servicedir>{}</servicedir>{OPEN}", dir.path().display());
    for bus in [Bus::start().await, Bus::with_policy(&services).await] {
        let conn = bus.connection().await;
        assert_eq!(systemd::shutdown_job(&conn).await.unwrap(), None);
        let fake = Systemd::start(&bus).await;
        assert_eq!(systemd::shutdown_job(&conn).await.unwrap(), None);
        let job = |unit: &str, kind: &str| Job {
            unit: unit.into(),
            kind: kind.into(),
            ..Job::reboot()
        };
        fake.set_jobs([
            job("cron.service", "start"),
            job("reboot.target", "verify-active"),
        ]);
        assert_eq!(systemd::shutdown_job(&conn).await.unwrap(), None);
        for unit in ["reboot.target", "soft-reboot.target", "kexec.target"] {
            fake.set_jobs([job("cron.service", "stop"), job(unit, "start")]);
            let found = systemd::shutdown_job(&conn).await.unwrap();
            assert_eq!(found.as_deref(), Some(unit));
        }
    }
}
