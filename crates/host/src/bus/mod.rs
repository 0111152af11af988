//! The system bus: the way to it, calls that end, and who owns a name on it.

mod owned;

use std::{future::Future, path::PathBuf, time::Duration};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{task::JoinHandle, time::timeout};
use zbus::{Connection, DynamicType, Type, fdo};

pub use owned::{Owned, Signal};

use crate::{node::Root, remedy::Remedy};

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How long a service may take to answer a call.
pub const CALL_LIMIT: Duration = Duration::from_secs(10);

/// Why the bus, or a service on it, did not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BusError {
    /// There is no way to the bus.
    #[error("the system bus at {address} cannot be reached: {reason}")]
    Unreachable {
        /// The bus's address, in the form of the D-Bus specification.
        address: String,
        /// What happened.
        reason: String,
    },
    /// A call was answered with an error, or with something other than expected.
    #[error("{call} failed: {reason}")]
    Call {
        /// Whom and what was called.
        call: String,
        /// What was answered.
        reason: zbus::Error,
    },
    /// Only another user may make the call.
    #[error("{call}: permission denied")]
    Denied {
        /// Whom and what was called.
        call: String,
    },
    /// A call was not answered in time.
    #[error("{call} was not answered within {} s", CALL_LIMIT.as_secs())]
    TimedOut {
        /// Whom and what was called.
        call: String,
    },
    /// No service has this name.
    #[error("{name} is not on the bus; is its service running?")]
    NoOwner {
        /// The name.
        name: String,
    },
}

impl BusError {
    /// What a person can do about it, where that is known.
    #[must_use]
    pub fn remedy(&self) -> Option<Remedy> {
        let advice = match self {
            Self::Unreachable { .. } => {
                "check that dbus is running, and that DBUS_SYSTEM_BUS_ADDRESS is right if it is set"
            }
            Self::Denied { .. } => "run the command as root",
            _ => return None,
        };
        Some(Remedy::Advice(advice.into()))
    }
}

/// What may stand unescaped in the value of an address (D-Bus specification, "Server Addresses").
const OPTIONALLY_ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'/')
    .remove(b'.')
    .remove(b'*');

fn address(of_environment: Option<String>, root: &Root) -> Result<String, BusError> {
    if let Some(address) = of_environment.filter(|address| !address.is_empty()) {
        return Ok(address);
    }
    let of_socket = |path: PathBuf| {
        let bytes = path.as_os_str().as_encoded_bytes();
        format!("unix:path={}", percent_encode(bytes, OPTIONALLY_ESCAPED))
    };
    let socket = root.path("run/dbus/system_bus_socket");
    socket
        .resolved()
        .map(of_socket)
        .map_err(|error| BusError::Unreachable {
            address: of_socket(socket.shown()),
            reason: error.to_string(),
        })
}

/// Connects to the system bus: the environment's `DBUS_SYSTEM_BUS_ADDRESS`, else the socket `run/dbus/system_bus_socket`
/// of the root.
///
/// # Errors
/// [`BusError::Unreachable`], at the latest after 5 s.
pub async fn connect(root: &Root) -> Result<Connection, BusError> {
    let of_environment = std::env::var("DBUS_SYSTEM_BUS_ADDRESS").ok();
    connect_to(address(of_environment, root)?).await
}

async fn connect_to(address: String) -> Result<Connection, BusError> {
    let connecting = zbus::connection::Builder::address(address.as_str()).build();
    let reason = match timeout(CONNECT_LIMIT, connecting).await {
        Ok(Ok(connection)) => return Ok(connection),
        Ok(Err(zbus::Error::Connection(error, _))) => error.to_string(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {} s", CONNECT_LIMIT.as_secs()),
    };
    Err(BusError::Unreachable { address, reason })
}

/// Waits for the answer of the service `name` to what is called `call` in the error.
///
/// # Errors
/// [`BusError::TimedOut`] after 10 s; [`BusError::NoOwner`] where the bus knows no such service;
/// [`BusError::Call`].
pub async fn call_with_timeout<T>(
    name: &str,
    call: impl Into<String>,
    answer: impl Future<Output = zbus::Result<T>>,
) -> Result<T, BusError> {
    let call = call.into();
    match timeout(CALL_LIMIT, answer).await {
        Err(_) => Err(BusError::TimedOut { call }),
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(zbus::Error::FDO(error)))
            if matches!(
                *error,
                fdo::Error::ServiceUnknown(_) | fdo::Error::NameHasNoOwner(_)
            ) =>
        {
            Err(BusError::NoOwner { name: name.into() })
        }
        Ok(Err(reason)) if is_denied(&reason) => Err(BusError::Denied { call }),
        Ok(Err(reason)) => Err(BusError::Call { call, reason }),
    }
}

/// Whether the bus's policy, the service or polkit lets only others make the call.
fn is_denied(error: &zbus::Error) -> bool {
    const NAMES: [&str; 3] = [
        "org.freedesktop.DBus.Error.AccessDenied",
        "org.freedesktop.DBus.Error.AuthFailed",
        "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired",
    ];
    // Root is told what was said: it could do no more.
    if nix::unistd::geteuid().is_root() {
        return false;
    }
    match error {
        zbus::Error::FDO(error) => {
            use zbus::DBusError as _;
            NAMES.contains(&error.name().as_str())
        }
        zbus::Error::MethodError(name, ..) => NAMES.contains(&name.as_str()),
        _ => false,
    }
}

/// What the bus itself is asked, or told, which has errors of its own: 10 s, then it counts as gone.
pub async fn in_time<T>(asked: impl Future<Output = zbus::Result<T>>) -> zbus::Result<T> {
    let late = || std::io::Error::new(std::io::ErrorKind::TimedOut, "the bus does not answer");
    timeout(CALL_LIMIT, asked)
        .await
        .unwrap_or_else(|_| Err(late().into()))
}

/// Calls a method of the service `name` (a well-known or a unique name) and reads its answer.
///
/// # Errors
/// As [`call_with_timeout`]; [`BusError::Call`] too where the answer has another type.
pub async fn call<B, R>(
    conn: &Connection,
    name: &str,
    path: &str,
    interface: &str,
    method: &str,
    body: &B,
) -> Result<R, BusError>
where
    B: Serialize + DynamicType,
    R: DeserializeOwned + Type,
{
    call_with_timeout(name, format!("{method} of {name}"), async {
        conn.call_method(Some(name), path, Some(interface), method, body)
            .await?
            .body()
            .deserialize()
    })
    .await
}

/// A task that ends with the value.
#[derive(Debug)]
pub(crate) struct Task(JoinHandle<()>);

impl Task {
    pub(crate) fn spawn(future: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(future))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bus_address_of_the_environment_precedes_the_roots() {
        let dir = tempfile::Builder::new().prefix("a b,c").tempdir().unwrap();
        let root = Root::new(dir.path());
        let escaped = dir.path().display().to_string();
        let escaped = escaped.replace(' ', "%20").replace(',', "%2C");
        let socket = format!("unix:path={escaped}/run/dbus/system_bus_socket");
        for (of_environment, expected) in [
            (Some("unix:path=/x"), "unix:path=/x"),
            (Some(""), &*socket),
            (None, &*socket),
        ] {
            let found = address(of_environment.map(str::to_owned), &root);
            assert_eq!(found.unwrap(), expected);
        }
    }

    #[tokio::test]
    async fn a_bus_out_of_reach_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let address = address(None, &Root::new(dir.path())).unwrap();
        let error = connect_to(address.clone()).await.unwrap_err();
        let text = error.to_string();
        assert!(
            matches!(error, BusError::Unreachable { address: named, .. } if named == address)
                && text.contains(&address)
                && text.contains("No such file"),
            "{text}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn calls_to_a_silent_bus_or_service_time_out() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("socket");
        let _silent = tokio::net::UnixListener::bind(&socket).unwrap();
        let error = connect_to(format!("unix:path={}", socket.display()))
            .await
            .unwrap_err();
        assert!(
            error.to_string().contains("no answer within 5 s"),
            "{error}"
        );
        let answer = std::future::pending::<zbus::Result<()>>();
        let error = call_with_timeout("x.y", "Z of x.y", answer)
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), "Z of x.y was not answered within 10 s");
        let error = in_time(std::future::pending::<zbus::Result<()>>()).await;
        let text = error.unwrap_err().to_string();
        assert!(text.contains("the bus does not answer"), "{text}");
    }
}
