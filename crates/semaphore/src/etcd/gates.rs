//! The gates in etcd: what is read of them, and what is compared by who goes through.

use etcd_client::{Compare, CompareOp, GetOptions, KeyValue, TxnOp};

use super::store::as_read;
use crate::{
    gates::{Gates, Gateway},
    stored::{KeyRange, Reading},
};

/// The requests that read these gates.
pub(super) fn gets(gateway: &Gateway) -> impl Iterator<Item = TxnOp> {
    gateway.keys().into_iter().map(|range| match range {
        KeyRange::One(key) => TxnOp::get(key, None),
        KeyRange::Prefix(prefix) => TxnOp::get(prefix, Some(GetOptions::new().with_prefix())),
    })
}

/// The gates by the answers to [`gets`]. `accepted` is the key by which a person accepted the store.
pub(super) fn read(
    gateway: &Gateway,
    answers: impl IntoIterator<Item = Vec<KeyValue>>,
    accepted: Option<&KeyValue>,
) -> Gates {
    let found = |kvs: Vec<KeyValue>| kvs.iter().map(Into::into).collect();
    gateway.read(
        answers.into_iter().map(found),
        accepted.map_or(0, KeyValue::mod_revision),
    )
}

/// "All gates stand as they were read at this revision", as compares.
pub(super) fn unchanged(gates: &Gates, read_at: i64) -> Vec<Compare> {
    let compares = |Reading { range, found }: &Reading| match range {
        KeyRange::One(key) => as_read(key, found.first().map(|found| &found.stored)),
        // A deleted key opens a gate and closes none; what a deleted one closes is compared by itself.
        KeyRange::Prefix(prefix) => {
            vec![Compare::mod_revision(prefix.clone(), CompareOp::Less, read_at + 1).with_prefix()]
        }
    };
    gates.readings.iter().flat_map(compares).collect()
}
