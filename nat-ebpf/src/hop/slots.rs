//! The table of next hops: what flows with the same next hop share. `nat_common::hop` tells the rules.
//!
//! Functions that loop, or that are long, are *global* functions in the kernel's terms (`extern "C"`, not inlined): the verifier
//! checks each once and by itself, instead of again on every path that leads to it.

use aya_ebpf::helpers::generated::bpf_get_prandom_u32;
use nat_common::{
    Addr, HopStamp,
    hop::{HOP_SLOTS, HOP_WAYS, HopSlot, NextHop, slot_of},
};

use crate::{
    budget,
    kernel::memory::{Shared, barrier, part},
    maps,
    work::route::Hop,
};

/// How often a stamp is bumped anew because the daemon bumped it at the same moment.
const ATTEMPTS: u32 = 4;

/// A hop that may change while it is looked at.
#[derive(Clone, Copy)]
pub struct Current(Shared<Hop>);

/// What a flow with this stamp uses; `None` when it must resolve its hop.
#[inline(always)]
pub fn current(stamp: HopStamp) -> Option<Current> {
    let slot = maps::hop(stamp.slot())?;
    if part!(slot, stamp).get() == stamp { Some(Current(hop_of(slot))) } else { None }
}

/// Whose slot it is. As good as the rest of what a flow with this stamp uses, see [`Current::is_still`].
#[inline(always)]
pub fn next(stamp: HopStamp) -> Option<NextHop> {
    maps::hop(stamp.slot()).map(|slot| part!(slot, next).get())
}

/// The beginning of a slot, which `work::route` asserts to be a [`Hop`].
#[inline(always)]
fn hop_of(slot: Shared<HopSlot>) -> Shared<Hop> {
    // SAFETY: valid and aligned for as long as the slot, which is longer and no less aligned.
    unsafe { Shared::field(slot.as_ptr().cast()) }
}

impl Current {
    /// The hop of the packet at hand, which only this CPU changes.
    #[inline(always)]
    pub fn own(hop: *const Hop) -> Self {
        // SAFETY: the caller's hop, never null, and only read.
        Self(unsafe { Shared::field(hop.cast_mut()) })
    }

    /// Largest packet.
    #[inline(always)]
    pub fn mtu(self) -> u16 {
        part!(self.0, mtu).get()
    }

    /// Devmap index, or `EGRESS_KERNEL`.
    #[inline(always)]
    pub fn egress(self) -> u16 {
        part!(self.0, egress).get()
    }

    /// Next hop's and egress interface's address.
    #[inline(always)]
    pub fn macs(self) -> [u32; 3] {
        part!(self.0, macs).get()
    }

    /// All of it.
    #[inline(always)]
    pub fn read(self) -> Hop {
        self.0.get()
    }

    /// Whether it is still what a flow with this stamp uses. Ask after the last look at it: a new stamp comes before
    /// any change.
    #[inline(always)]
    pub fn is_still(self, stamp: HopStamp) -> bool {
        barrier();
        part!(self.0, stamp).get() == stamp
    }
}

/// The slot of a next hop with this MTU; when it has none, a free one; when there is none, one that it may be given.
#[inline(always)]
pub fn slot(next: &NextHop, mtu: u16) -> u32 {
    slot_of_next(next.ifindex, next.addr.be, u32::from(mtu))
}

#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn slot_of_next(ifindex: u32, addr: u32, mtu: u32) -> u32 {
    let next = NextHop { ifindex, addr: Addr { be: addr } };
    let Some(settings) = maps::settings() else { return HOP_SLOTS };
    let first = slot_of(&settings.placing, &next, 0);
    let mut free = HOP_SLOTS;
    for way in 0..HOP_WAYS {
        let candidate = (first + way) & (HOP_SLOTS - 1);
        let Some(slot) = maps::hop(candidate) else { break };
        if is_of(slot, &next) && u32::from(part!(slot, mtu).get()) == mtu {
            return candidate;
        }
        if free == HOP_SLOTS && part!(slot, next).get().ifindex == 0 {
            free = candidate;
        }
    }
    // Which of those in use goes is drawn: one that is given away again and again would be the same few flows'.
    if free != HOP_SLOTS {
        return free;
    }
    // SAFETY: the helper takes no arguments.
    let drawn = unsafe { bpf_get_prandom_u32() };
    (first + (drawn & (HOP_WAYS - 1))) & (HOP_SLOTS - 1)
}

const _: () = assert!(HOP_WAYS.is_power_of_two());

#[inline(always)]
fn is_of(slot: Shared<HopSlot>, next: &NextHop) -> bool {
    let theirs = part!(slot, next).get();
    theirs.ifindex == next.ifindex && theirs.addr == next.addr
}

/// The slot's stamp, if the slot holds the hop `hop` of `next`.
#[inline(always)]
pub fn agrees(slot: u32, next: &NextHop, hop: &Hop) -> Option<HopStamp> {
    resolved(slot_agrees(slot, next.ifindex, next.addr.be, hop))
}

#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn slot_agrees(slot: u32, ifindex: u32, addr: u32, hop: *const Hop) -> u32 {
    // SAFETY: null, or the caller's hop.
    let (Some(slot), Some(hop)) = (maps::hop(slot), unsafe { hop.as_ref() }) else {
        return HopStamp::UNRESOLVED.word;
    };
    let stamp = part!(slot, stamp).get();
    barrier();
    let theirs = part!(hop_of(slot), macs).get();
    let same = part!(slot, filled).get() == stamp
        && is_of(slot, &NextHop { ifindex, addr: Addr { be: addr } })
        && part!(slot, mtu).get() == hop.mtu
        && part!(slot, egress).get() == hop.egress
        && theirs[0] == hop.macs[0]
        && theirs[1] == hop.macs[1]
        && theirs[2] == hop.macs[2];
    barrier();
    if same && part!(slot, stamp).get() == stamp { stamp.word } else { HopStamp::UNRESOLVED.word }
}

/// Holds a slot for `next`; the generation that a lookup from now on may stand for. `None` when another CPU holds it, or
/// when it is in use and may not be given away now.
///
/// A slot in use gets a new generation, so that whoever uses it resolves anew. One that nobody can be using, because it was
/// never filled for its current generation, keeps it.
#[inline(always)]
pub fn hold(slot: u32, next: &NextHop) -> Option<HopStamp> {
    resolved(slot_hold(slot, next.ifindex, next.addr.be))
}

#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn slot_hold(slot: u32, ifindex: u32, addr: u32) -> u32 {
    hold_for(slot, NextHop { ifindex, addr: Addr { be: addr } }).unwrap_or(HopStamp::UNRESOLVED).word
}

#[inline(always)]
fn hold_for(slot: u32, next: NextHop) -> Option<HopStamp> {
    let slot = maps::hop(slot)?;
    let filled = part!(slot, filled).get();
    let in_use = filled == part!(slot, stamp).get() && part!(slot, next).get().ifindex != 0;
    if filled == HopStamp::UNRESOLVED || in_use && !budget::take_takeover() {
        return None;
    }
    if !part!(slot, filled).word().replace(filled.word, HopStamp::UNRESOLVED.word) {
        return None;
    }
    for _ in 0..ATTEMPTS {
        let stamp = part!(slot, stamp).get();
        // Only the generation that it is filled for can be in use.
        let held = if stamp == filled { stamp.bump() } else { stamp };
        if part!(slot, stamp).word().replace(stamp.word, held.word) {
            part!(slot, next).set(next);
            barrier();
            return Some(held);
        }
    }
    part!(slot, filled).set(filled);
    None
}

/// Fills a slot that is held with `hop`, and lets go of it.
#[inline(always)]
pub fn fill(slot: u32, held: HopStamp, hop: &Hop) {
    let Some(slot) = maps::hop(slot) else { return };
    part!(slot, egress).set(hop.egress);
    part!(slot, mtu).set(hop.mtu);
    part!(hop_of(slot), macs).set(hop.macs);
    barrier();
    part!(slot, filled).set(held);
}

/// Lets go of a slot that is held, with nothing to put into it. It stays unfilled for its generation.
#[inline(always)]
pub fn abandon(slot: u32, held: HopStamp) {
    let Some(slot) = maps::hop(slot) else { return };
    barrier();
    part!(slot, filled).set(held.of_another_slot());
}

#[inline(always)]
fn resolved(word: u32) -> Option<HopStamp> {
    let stamp = HopStamp { word };
    if stamp == HopStamp::UNRESOLVED { None } else { Some(stamp) }
}
