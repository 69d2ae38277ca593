//! Who may: decides, and writes nothing.

pub mod egress;
pub mod group;
pub mod ingress;
pub mod ping;
pub mod source;
pub mod via;
