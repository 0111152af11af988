//! Reads values of the store so that none is lost: the key alone says the essential, and a value that cannot be read is
//! shown as it is. Pure.

use crate::records::{
    Accepted, Holder, ImageId, LostNode, MemberOut, Pause, Phase, Quarantine, Ticket,
};

/// A holder's entry. One that cannot be read still holds, as somebody unknown.
#[must_use]
pub fn holder(key: &str, value: &[u8]) -> Holder {
    serde_json::from_slice(value).unwrap_or_else(|_| Holder {
        id: last_part(key),
        hostname: String::new(),
        nonce: String::new(),
        boot_id: String::new(),
        since: None,
        from: ImageId::default(),
        to: ImageId::default(),
        phase: Phase::Other("unreadable".into()),
        deadline: None,
        reason: Some(format!("the entry contains {:?}", text(value))),
        agent: String::new(),
        grace: None,
        soaks_until: None,
        by_hand: None,
        unknown: serde_json::Map::new(),
    })
}

/// A ticket. One that cannot be read has its place all the same.
#[must_use]
pub fn ticket(key: &str, value: &[u8]) -> Ticket {
    serde_json::from_slice(value).unwrap_or_else(|_| Ticket {
        id: last_part(key),
        hostname: String::new(),
        since: None,
        to: ImageId::default(),
        unknown: serde_json::Map::new(),
    })
}

/// A pause. The key alone pauses; a value that cannot be read is shown as the reason.
#[must_use]
pub fn pause(value: &[u8]) -> Pause {
    serde_json::from_slice(value).unwrap_or_else(|_| Pause {
        by: String::new(),
        reason: text(value),
        since: None,
        until: None,
        store: None,
        unknown: serde_json::Map::new(),
    })
}

/// A quarantine. The key alone quarantines; a value that cannot be read is shown as the reason.
#[must_use]
pub fn quarantine(key: &str, value: &[u8]) -> Quarantine {
    serde_json::from_slice(value).unwrap_or_else(|_| {
        let name = last_part(key);
        let version = name.strip_prefix("version:").map(str::to_owned);
        Quarantine {
            what: ImageId {
                digest: version.is_none().then_some(name),
                version,
            },
            node: String::new(),
            hostname: String::new(),
            reason: text(value),
            since: None,
        }
    })
}

/// Which node with a member of etcd is out. The key alone says that one is.
#[must_use]
pub fn member_out(value: &[u8]) -> MemberOut {
    serde_json::from_slice(value).unwrap_or_default()
}

/// A node that others passed over. The key alone says that one is lost.
#[must_use]
pub fn lost_node(value: &[u8]) -> LostNode {
    serde_json::from_slice(value).unwrap_or_default()
}

/// How a store was accepted. One that cannot be read answers nobody.
#[must_use]
pub fn accepted(value: &[u8]) -> Accepted {
    serde_json::from_slice(value).unwrap_or_else(|_| Accepted {
        token: String::new(),
        id: String::new(),
        by: String::new(),
        reason: text(value),
        since: None,
        marks: None,
        unknown: serde_json::Map::new(),
    })
}

/// Bytes as text, what is no UTF-8 replaced.
#[must_use]
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn last_part(key: &str) -> String {
    key.rsplit('/').next().unwrap_or(key).to_owned()
}
