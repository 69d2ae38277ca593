//! Who may: decides, and writes nothing but what its signatures say.

pub mod again;
pub mod group;
pub mod inbound;
pub mod kernel;
pub mod outbound;
pub mod own_pings;
pub mod source;
pub mod via;
