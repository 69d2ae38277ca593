//! Policy: whether a packet may be translated, goes to the kernel as it is, or is dropped. Functions here return a decision; what
//! they change beside that, their documentation names.

pub mod again;
pub mod end;
pub mod group;
pub mod inbound;
pub mod kernel;
pub mod outbound;
pub mod own_nat;
pub mod own_pings;
pub mod source;
pub mod via;
