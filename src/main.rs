//! pointsman.
fn main() {}
