//! Packets as bytes: the only pointer arithmetic on frames.

pub mod answer;
pub mod options;
pub mod packet;
pub mod tags;
