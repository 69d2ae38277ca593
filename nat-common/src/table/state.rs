//! What a slot of the flow table holds: two bytes of its key's second word say so.

/// State of a slot: [`Tuple::state`](crate::Tuple::state) of the key that stands in it. Numbers, because they are part of a
/// pinned layout.
pub struct SlotState;

impl SlotState {
    /// Nothing.
    pub const FREE: u16 = 0;
    /// An entry that is being written and that nobody may use yet.
    pub const PENDING: u16 = 1;
    /// The entry of a flow.
    pub const LIVE: u16 = 2;
}
