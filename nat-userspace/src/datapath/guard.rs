//! Guards: tc programs that hold when the packet path is gone, one on the ingress of every managed interface and one on the egress
//! of outside ones.

use aya::programs::tc::TcAttachType;
use nat_common::Side;
use nat_common::abi::program;

use super::error::Error;
use super::links;
use super::pins::{self, Hook, Pins};
use super::programs::{Programs, guards_for};
use super::tc::{self, Place};
use super::twin;
use crate::host::facts::Link;

/// Puts its guards on an interface of `side` (a constant of [`Side`]), or swaps them into the links that are pinned.
pub(super) fn guard(programs: &mut Programs, pins: &Pins, link: &Link, side: u8) -> Result<(), Error> {
    let (egress, ingress) = guards_for(link.device.framing);
    for (hook, name, at) in
        [(Hook::Egress, egress, TcAttachType::Egress), (Hook::Ingress, ingress, TcAttachType::Ingress)]
    {
        let (pin, mark) = (pins.guard_link(hook, &link.name), pins.tc_mark(&link.name));
        if side == Side::INSIDE && hook == Hook::Egress {
            // Of an interface that was outside in an earlier run.
            pins::remove(&pin)?;
            if mark.exists() {
                tc::remove_filters(&link.name, None, at, &[name]);
            }
            continue;
        }
        // The twin decides about a packet before the guard does.
        let twin = pins.twin_link(&link.name);
        let twin = if hook == Hook::Ingress && links::is_on(&twin, link.index)? {
            Some(tc::open(&twin)?)
        } else {
            None
        };
        tc::put(programs.classifier(name)?, name, &Place { link, at, pin, mark }, twin.as_ref())?;
    }
    Ok(())
}

/// Removes what is there as classic tc filters.
pub fn detach_filters(pins: &Pins) -> Result<(), Error> {
    for interface in pins.tc_twinned()? {
        twin::detach_filter(pins, &interface, None)?;
    }
    pins.tc_guarded()?.iter().try_for_each(|interface| detach_filter(pins, interface, None))
}

/// Removes the guards of one interface, known to the pins as `interface`, if they are classic tc filters.
pub(super) fn detach_filter(pins: &Pins, interface: &str, index: Option<u32>) -> Result<(), Error> {
    let mark = pins.tc_mark(interface);
    if mark.exists() {
        tc::remove_filters(
            interface,
            index,
            TcAttachType::Egress,
            &[program::GUARD_EGRESS, program::GUARD_EGRESS_L3],
        );
        tc::remove_filters(
            interface,
            index,
            TcAttachType::Ingress,
            &[program::GUARD_INGRESS, program::GUARD_INGRESS_L3],
        );
    }
    pins::remove(&mark)
}
