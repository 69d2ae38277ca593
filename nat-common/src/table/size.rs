//! How large a table is.

/// Slots in which an entry may stand, counted from its home. In a table that is half full, the longest run of taken slots
/// among millions is about 80.
pub const REACH: u32 = 128;

/// Slots per flow: two entries, twice the room.
pub const SLOTS_PER_FLOW: u32 = 4;

/// Flows for which the number of slots still fits: below 2^31, because the kernel's inlined lookup compares an index with
/// the number of elements as a signed constant (kernel/bpf/arraymap.c, `array_map_gen_lookup`).
pub const MOST_FLOWS: u32 = (i32::MAX as u32 - REACH) / SLOTS_PER_FLOW;

/// Elements of a table for this many flows: the last homes need slots after them.
pub const fn slots(max_flows: u32) -> u32 {
    max_flows.saturating_mul(SLOTS_PER_FLOW).saturating_add(REACH - 1)
}

/// Flows that a table of this many elements was made for; `None` when natgw makes none of that size.
pub const fn max_flows(slots: u32) -> Option<u32> {
    match slots.checked_sub(REACH - 1) {
        Some(homes) if homes > 0 && homes.is_multiple_of(SLOTS_PER_FLOW) => Some(homes / SLOTS_PER_FLOW),
        _ => None,
    }
}

/// Slots that are the home of some key.
pub const fn homes(slots: u32) -> u32 {
    slots.saturating_sub(REACH - 1)
}

/// Entries that a table of this many elements takes: two a flow.
pub const fn capacity(slots: u32) -> u32 {
    homes(slots) / SLOTS_PER_FLOW * 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_go_both_ways() {
        assert_eq!(max_flows(slots(1_000_000)), Some(1_000_000));
        assert_eq!(max_flows(slots(1)), Some(1));
        assert_eq!((max_flows(2000), max_flows(0), max_flows(REACH - 1)), (None, None, None));
        assert_eq!(max_flows(slots(MOST_FLOWS)), Some(MOST_FLOWS));
    }
}
