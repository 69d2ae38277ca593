//! By which EIP and port a flow leaves.

pub mod claim;
pub mod random;
