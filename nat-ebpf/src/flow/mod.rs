//! The life of a flow: birth, freshness, revival, and the state that its segments show. Death is the reaper's
//! (`control/reap.rs`).

pub mod birth;
pub mod freshness;
pub mod revival;
pub mod state;
