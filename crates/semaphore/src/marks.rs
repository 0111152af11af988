//! The marks by which a store is known again, as they are written down. Pure.

use serde::{Deserialize, Serialize};

/// The marks of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marks {
    /// The cluster's id.
    #[serde(with = "hex_id")]
    pub cluster: u64,
    /// The highest revision seen.
    pub revision: i64,
    /// The smallest `revision - raft index` seen, or a number above it where that is all that is known; none where no member
    /// has told its raft index. Every entry of the raft log raises the revision by one or not at all, so this never rises in
    /// a store's life. A restored store begins a new log and keeps the revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub difference: Option<i64>,
}

/// The id of a cluster as etcd's own tools print it: hexadecimal.
mod hex_id {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(crate) fn serialize<S: Serializer>(id: &u64, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&format!("{id:x}"))
    }

    pub(crate) fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<u64, D::Error> {
        let text = String::deserialize(from)?;
        u64::from_str_radix(&text, 16).map_err(D::Error::custom)
    }
}
