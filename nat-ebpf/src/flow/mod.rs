//! The life of a flow: birth, freshness, revival, and the state that its segments show.

pub mod life;
pub mod tcp;
