//! Merge keys, and duplicate keys.

use std::{collections::HashSet, mem};

use super::{
    MapEntry, Value,
    error::{SyntaxError, SyntaxFault},
};

/// Replaces `<<` keys by their content. Own keys override merged ones, earlier merges later ones.
pub(super) fn merge(entries: &mut Vec<MapEntry>) {
    let mappings = |value: &Value| match value {
        Value::Map(_) => true,
        Value::List(items) => items.iter().all(|item| matches!(item.value, Value::Map(_))),
        _ => false,
    };
    let is_merge = |entry: &MapEntry| entry.key == "<<" && mappings(&entry.value.value);
    if !entries.iter().any(is_merge) {
        return;
    }
    let (merges, own): (Vec<_>, Vec<_>) = mem::take(entries).into_iter().partition(is_merge);
    let mut seen: HashSet<String> = own.iter().map(|entry| entry.key.clone()).collect();
    *entries = own;
    for entry in merges {
        let maps = match entry.value.value {
            Value::List(items) => items.into_iter().map(|item| item.value).collect(),
            value => vec![value],
        };
        for map in maps {
            let Value::Map(given) = map else { continue };
            for one in given {
                if seen.insert(one.key.clone()) {
                    entries.push(MapEntry {
                        merged: true,
                        ..one
                    });
                }
            }
        }
    }
}

/// Refuses duplicate keys.
///
/// # Errors
/// With the second key.
pub(super) fn unique(entries: &[MapEntry]) -> Result<(), SyntaxError> {
    let mut seen = HashSet::with_capacity(entries.len());
    match entries.iter().find(|entry| !seen.insert(&entry.key)) {
        Some(entry) => Err(SyntaxFault::DuplicateKey(entry.key.clone()).at(entry.at)),
        None => Ok(()),
    }
}
