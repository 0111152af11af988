//! pointsman.
