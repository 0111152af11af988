//! What update_engine says of itself. Pure.

use std::fmt;

use crate::text;

/// The answer of `GetStatus`, on the wire `xdssx`.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// When it last looked for an update: seconds since 1970; 0 before the first time.
    pub last_checked: i64,
    /// How far a download is: 0 to 1.
    pub progress: f64,
    /// What it does.
    pub operation: Operation,
    /// The new version, where known. It often is not, even when an update is staged: update_engine has it in
    /// memory only, and starts with `0.0.0`.
    pub version: Option<String>,
    /// The new image's size: bytes.
    pub size: i64,
}

/// A status as it is on the wire: in order, the fields of [`Status`].
pub(super) type Wire = (i64, f64, String, String, i64);

/// The most characters of a version or an operation: more is a mistake, and would go to etcd with every ticket.
const LONGEST: usize = 128;

impl From<Wire> for Status {
    fn from((last_checked, progress, operation, version, size): Wire) -> Self {
        Self {
            last_checked,
            progress,
            operation: text::cut(&operation, LONGEST).into_owned().into(),
            version: Some(text::cut(&version, LONGEST).into_owned())
                .filter(|v| !["", "0.0.0", "0.0.0.0"].contains(&v.as_str())),
            size,
        }
    }
}

macro_rules! operations {
    ($($(#[$doc:meta])+ $name:ident = $word:literal,)+) => {
        /// What update_engine does. `Display` gives the word it has on D-Bus.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Operation {
            $($(#[$doc])+ $name,)+
            /// Something this program does not know; newer versions may have more.
            Unknown(String),
        }

        impl From<String> for Operation {
            fn from(word: String) -> Self {
                match word.as_str() {
                    $($word => Self::$name,)+
                    _ => Self::Unknown(word),
                }
            }
        }

        impl fmt::Display for Operation {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(match self {
                    $(Self::$name => $word,)+
                    Self::Unknown(word) => word,
                })
            }
        }
    };
}

operations! {
    /// Nothing.
    Idle = "UPDATE_STATUS_IDLE",
    /// It asks the server.
    CheckingForUpdate = "UPDATE_STATUS_CHECKING_FOR_UPDATE",
    /// There is an update.
    UpdateAvailable = "UPDATE_STATUS_UPDATE_AVAILABLE",
    /// It writes the update to the other slot.
    Downloading = "UPDATE_STATUS_DOWNLOADING",
    /// It checks what it wrote.
    Verifying = "UPDATE_STATUS_VERIFYING",
    /// It makes the other slot the next to boot.
    Finalizing = "UPDATE_STATUS_FINALIZING",
    /// An update is staged; it looks for no newer one until it is reset or the node boots.
    UpdatedNeedReboot = "UPDATE_STATUS_UPDATED_NEED_REBOOT",
    /// It tells the server of a failure.
    ReportingErrorEvent = "UPDATE_STATUS_REPORTING_ERROR_EVENT",
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(operation: &str, version: &str) -> Status {
        (7, 0.5, operation.to_owned(), version.to_owned(), 9).into()
    }

    #[test]
    fn operations_keep_their_documented_names() {
        for (word, operation) in [
            ("UPDATE_STATUS_IDLE", Operation::Idle),
            (
                "UPDATE_STATUS_CHECKING_FOR_UPDATE",
                Operation::CheckingForUpdate,
            ),
            ("UPDATE_STATUS_UPDATE_AVAILABLE", Operation::UpdateAvailable),
            ("UPDATE_STATUS_DOWNLOADING", Operation::Downloading),
            ("UPDATE_STATUS_VERIFYING", Operation::Verifying),
            ("UPDATE_STATUS_FINALIZING", Operation::Finalizing),
            (
                "UPDATE_STATUS_UPDATED_NEED_REBOOT",
                Operation::UpdatedNeedReboot,
            ),
            (
                "UPDATE_STATUS_REPORTING_ERROR_EVENT",
                Operation::ReportingErrorEvent,
            ),
            (
                "UPDATE_STATUS_DISABLED",
                Operation::Unknown("UPDATE_STATUS_DISABLED".into()),
            ),
            ("", Operation::Unknown(String::new())),
        ] {
            let found = status(word, "").operation;
            assert_eq!(found, operation);
            assert_eq!(found.to_string(), word);
        }
    }

    #[test]
    fn a_version_of_two_megabytes_is_cut() {
        let long = "9".repeat(2 << 20);
        let found = status(&long, &long);
        assert_eq!(found.version.unwrap().chars().count(), LONGEST + 1);
        assert_eq!(found.operation.to_string().chars().count(), LONGEST + 1);
    }

    #[test]
    fn empty_versions_are_none() {
        for (text, version) in [
            ("", None),
            ("0.0.0", None),
            ("0.0.0.0", None),
            ("4230.2.1", Some("4230.2.1")),
            ("0.0.1", Some("0.0.1")),
        ] {
            let found = status("UPDATE_STATUS_IDLE", text);
            assert_eq!(found.version.as_deref(), version);
            assert_eq!(
                (found.last_checked, found.progress, found.size),
                (7, 0.5, 9)
            );
        }
    }
}
