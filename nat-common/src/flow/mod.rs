//! A flow: its two entries, the time that they keep, the state that its segments show, and when it is over.

pub mod entry;
pub mod stamp;
pub mod tcp;
pub mod timeouts;
