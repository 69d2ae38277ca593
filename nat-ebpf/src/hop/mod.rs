//! Where a frame goes next.

pub mod handover;
pub mod resolve;
pub mod slots;
