//! The maps that the daemon writes.
//!
//! [`wanted`] says what they are to hold, [`contents`] what they hold. [`plan`] compares the two and says what to change,
//! in which order; it is a pure function. [`apply`] reads the maps, and makes the changes. A first start, an adoption, a
//! reload and the fixtures of the tests go the same way; they differ only in what the maps hold to begin with.

pub mod apply;
pub mod choices;
pub mod contents;
pub mod plan;
pub mod wanted;
