//! Where a frame goes next.

pub mod resolve;
pub mod slots;
pub mod way;
