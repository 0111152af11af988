//! Whether the machine's clock is set by a time server, as systemd-timedated tells.

use zbus::Connection;

use crate::bus::{self, BusError};

const NAME: &str = "org.freedesktop.timedate1";
const PATH: &str = "/org/freedesktop/timedate1";

/// Whether the kernel's clock is synchronised, by whichever program. timedated asks the kernel (adjtimex(2)), so that it holds for
/// chrony as well.
///
/// # Errors
/// When timedated is not installed, or does not answer.
pub async fn is_synchronised(conn: &Connection) -> Result<bool, BusError> {
    let property = (NAME, "NTPSynchronized");
    let value: zbus::OwnedVariant = bus::call(
        conn,
        NAME,
        PATH,
        "org.freedesktop.DBus.Properties",
        "Get",
        &property,
    )
    .await?;
    bool::try_from(value).map_err(|reason| BusError::Call {
        call: format!("NTPSynchronized of {NAME}"),
        reason,
    })
}
