//! Keys and values as they were read from the store, for who decides by them and compares them later. Pure.

/// A value as it was read, to be compared by who rewrites it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stored {
    /// The revision of its last change.
    pub modified: i64,
    /// Its bytes.
    pub value: Vec<u8>,
}

/// One key in the store, or all keys with a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyRange {
    /// This key.
    One(String),
    /// All keys that begin so.
    Prefix(String),
}

/// A key that was found, with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The key.
    pub key: String,
    /// Its value as it was read.
    pub stored: Stored,
}

/// What was found under a range of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// The keys.
    pub range: KeyRange,
    /// What stands there.
    pub found: Vec<Found>,
}
