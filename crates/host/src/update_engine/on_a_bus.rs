use std::{
    fs,
    sync::{Arc, Mutex},
    time::Duration,
};

use pointsman_testbed::bus::Bus;

use super::*;

const IDLE: &str = "UPDATE_STATUS_IDLE";
const NEED_REBOOT: &str = "UPDATE_STATUS_UPDATED_NEED_REBOOT";

#[derive(Default)]
struct Facts {
    wire: status::Wire,
    reads: usize,
    resets: usize,
    attempts: usize,
    /// What `GetStatus` fails with, if it does.
    broken: Option<&'static str>,
}

/// A service that says what the test puts into it.
#[derive(Clone, Default)]
struct Fake(Arc<Mutex<Facts>>);

#[zbus::interface(name = "com.coreos.update1.Manager")]
impl Fake {
    fn get_status(&self) -> fdo::Result<status::Wire> {
        let mut facts = self.0.lock().unwrap();
        facts.reads += 1;
        match facts.broken {
            Some(why) => Err(fdo::Error::Failed(why.into())),
            None => Ok(facts.wire.clone()),
        }
    }

    fn attempt_update(&self) {
        self.0.lock().unwrap().attempts += 1;
    }

    fn reset_status(&self) {
        let mut facts = self.0.lock().unwrap();
        facts.resets += 1;
        facts.wire = wire(IDLE, "0.0.0");
    }
}

fn wire(operation: &str, version: &str) -> status::Wire {
    (5, 0.0, operation.into(), version.into(), 0)
}

impl Fake {
    fn set(&self, operation: &str, version: &str) {
        self.0.lock().unwrap().wire = wire(operation, version);
    }

    fn reads(&self) -> usize {
        self.0.lock().unwrap().reads
    }

    /// Comes up on the bus; goes with the connection.
    async fn up(&self, bus: &Bus) -> Connection {
        let conn = bus.connection().await;
        conn.object_server().at(PATH, self.clone()).await.unwrap();
        conn.request_name(NAME).await.unwrap();
        conn
    }
}

/// Emits `StatusUpdate` from this connection, to all or to one.
async fn emit(from: &Connection, to: Option<&Connection>, path: &str) {
    let to = to.map(|to| to.unique_name().unwrap().clone());
    let said = wire(NEED_REBOOT, "6.6.6");
    from.emit_signal(
        to.as_ref().map(|name| name.as_str()),
        path,
        INTERFACE,
        "StatusUpdate",
        &said,
    )
    .await
    .unwrap();
}

/// Waits until everything the bus was given before has reached this connection.
async fn settle(from: &Connection, conn: &Connection) {
    for conn in [from, conn] {
        let bus = fdo::DBusProxy::new(conn).await.unwrap();
        bus.get_id().await.unwrap();
    }
    // The follower's task has its turn before the watch's.
    for _ in 0..32 {
        tokio::task::yield_now().await;
    }
}

async fn next(watch: &mut Watch) -> Change {
    tokio::time::timeout(Duration::from_secs(20), watch.next())
        .await
        .expect("a change is told")
        .expect("the connection lives")
}

fn status(operation: &str, version: &str) -> Change {
    Change::Status(wire(operation, version).into())
}

#[tokio::test]
async fn the_status_is_read_at_once_and_after_each_genuine_signal() {
    let bus = Bus::start().await;
    let (fake, conn) = (Fake::default(), bus.connection().await);
    fake.set(IDLE, "0.0.0");
    let service = fake.up(&bus).await;
    let mut watch = UpdateEngine::new(&conn).watch();
    let Change::Status(first) = next(&mut watch).await else {
        panic!("it is there");
    };
    assert_eq!((first.operation, first.version), (Operation::Idle, None));
    // What it says when asked counts, not what the signal said.
    fake.set("UPDATE_STATUS_DISABLED", "1.2.3");
    emit(&service, None, PATH).await;
    let Change::Status(second) = next(&mut watch).await else {
        panic!("it is there");
    };
    let unknown = Operation::Unknown("UPDATE_STATUS_DISABLED".into());
    assert_eq!(
        (second.operation, second.version.as_deref()),
        (unknown, Some("1.2.3"))
    );
    // One sent only to this connection is as genuine.
    fake.set(NEED_REBOOT, "0.0.0.0");
    emit(&service, Some(&conn), PATH).await;
    assert_eq!(next(&mut watch).await, status(NEED_REBOOT, ""));
}

#[tokio::test]
async fn a_reset_is_silent_and_seen_at_the_next_signal() {
    let bus = Bus::start().await;
    let (fake, conn) = (Fake::default(), bus.connection().await);
    fake.set(NEED_REBOOT, "1.2.3");
    let service = fake.up(&bus).await;
    let engine = UpdateEngine::new(&conn);
    let mut watch = engine.watch();
    assert_eq!(next(&mut watch).await, status(NEED_REBOOT, "1.2.3"));
    engine.reset_status().await.unwrap();
    assert_eq!(
        engine.get_status().await.unwrap().operation,
        Operation::Idle
    );
    settle(&service, &conn).await;
    assert!(watch.told.try_recv().is_err());
    emit(&service, None, PATH).await;
    assert_eq!(next(&mut watch).await, status(IDLE, ""));
    engine.attempt_update().await.unwrap();
    let facts = fake.0.lock().unwrap();
    assert_eq!((facts.resets, facts.attempts), (1, 1));
}

#[tokio::test]
async fn forged_signals_are_dropped_and_a_flood_of_them_stops_nothing() {
    let bus = Bus::start().await;
    let (fake, conn) = (Fake::default(), bus.connection().await);
    fake.set(IDLE, "");
    let service = fake.up(&bus).await;
    let mut watch = UpdateEngine::new(&conn).watch();
    assert_eq!(next(&mut watch).await, status(IDLE, ""));
    let forger = bus.connection().await;
    for _ in 0..600 {
        emit(&forger, None, PATH).await;
        emit(&forger, Some(&conn), PATH).await;
    }
    // That the service is gone, says one who is not the bus.
    let gone = (NAME, service.unique_name().unwrap().as_str(), "");
    let to = conn.unique_name().unwrap().as_str();
    let dbus = "org.freedesktop.DBus";
    let path = "/org/freedesktop/DBus";
    forger
        .emit_signal(Some(to), path, dbus, "NameOwnerChanged", &gone)
        .await
        .unwrap();
    // From the right sender, of another object.
    emit(&service, None, "/com/coreos/update1/Manager").await;
    settle(&forger, &conn).await;
    settle(&service, &conn).await;
    assert!(watch.told.try_recv().is_err());
    assert_eq!(fake.reads(), 1, "no forged signal leads to a call");
    fake.set(NEED_REBOOT, "1.2.3");
    emit(&service, None, PATH).await;
    assert_eq!(next(&mut watch).await, status(NEED_REBOOT, "1.2.3"));
    assert_eq!(fake.reads(), 2);
}

#[tokio::test]
async fn update_engine_is_followed_over_late_start_and_restart() {
    let bus = Bus::start().await;
    let (fake, conn) = (Fake::default(), bus.connection().await);
    let engine = UpdateEngine::new(&conn);
    let mut watch = engine.watch();
    assert_eq!(next(&mut watch).await, Change::Gone);
    let error = engine.get_status().await.unwrap_err();
    assert!(matches!(&error, BusError::NoOwner { name } if name == NAME));
    for version in ["1.2.3", "1.2.4"] {
        fake.set(NEED_REBOOT, version);
        let service = fake.up(&bus).await;
        assert_eq!(next(&mut watch).await, status(NEED_REBOOT, version));
        service.close().await.unwrap();
        assert_eq!(next(&mut watch).await, Change::Gone);
    }
    // Another takes the name over before the first is gone: the owner changes, and the name always has one.
    let first = bus.connection().await;
    let other = Fake::default();
    other.set(IDLE, "7.7.7");
    first.object_server().at(PATH, other.clone()).await.unwrap();
    use zbus::fdo::RequestNameFlags as Flags;
    let flags = Flags::ALLOW_REPLACEMENT;
    first.request_name_with_flags(NAME, flags).await.unwrap();
    assert_eq!(next(&mut watch).await, status(IDLE, "7.7.7"));
    let second = bus.connection().await;
    second.object_server().at(PATH, fake).await.unwrap();
    let flags = Flags::REPLACE_EXISTING;
    second.request_name_with_flags(NAME, flags).await.unwrap();
    assert_eq!(next(&mut watch).await, status(NEED_REBOOT, "1.2.4"));
    // What was genuine before the change is forged now.
    emit(&first, None, PATH).await;
    settle(&first, &conn).await;
    assert!(watch.told.try_recv().is_err());
    // The end of the bus is the end of the watch.
    bus.kill().await;
    let end = tokio::time::timeout(Duration::from_secs(20), watch.next()).await;
    assert_eq!(end.unwrap(), None);
}

#[tokio::test]
async fn failed_read_is_reported_and_retried() {
    let bus = Bus::start().await;
    let (fake, conn) = (Fake::default(), bus.connection().await);
    fake.set(IDLE, "");
    fake.0.lock().unwrap().broken = Some("out of order");
    let _service = fake.up(&bus).await;
    let mut watch = UpdateEngine::new(&conn).watch();
    let Change::Failed(why) = next(&mut watch).await else {
        panic!("it fails");
    };
    let why = why.to_string();
    assert!(
        why.contains("GetStatus") && why.contains("out of order"),
        "{why}"
    );
    fake.0.lock().unwrap().broken = None;
    assert_eq!(next(&mut watch).await, status(IDLE, ""));
}

#[tokio::test]
async fn update_engine_is_installed_where_its_unit_or_name_exists() {
    let bus = Bus::start().await;
    let conn = bus.connection().await;
    let dir = tempfile::tempdir().unwrap();
    let root = Root::new(dir.path());
    assert!(!installed(&conn, &root).await);
    let service = Fake::default().up(&bus).await;
    assert!(installed(&conn, &root).await);
    service.release_name(NAME).await.unwrap();
    assert!(!installed(&conn, &root).await);
    for folder in ["etc", "usr/lib"] {
        let folder = root.path(folder).shown().join("systemd/system");
        fs::create_dir_all(&folder).unwrap();
        let unit = folder.join("update-engine.service");
        fs::write(&unit, "").unwrap();
        assert!(installed(&conn, &root).await);
        fs::remove_file(unit).unwrap();
    }
    assert!(!installed(&conn, &root).await);
}
