//! The agent.
pub mod gate;
pub mod journal;
pub mod machine;
