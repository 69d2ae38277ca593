//! The packet path as a tc program, on ingress and before the guard: for interfaces without native XDP, and those on which it
//! is slower.

use aya::programs::tc::TcAttachType;

use super::error::Error;
use super::pins::{self, Pins};
use super::programs::{Programs, TWINS, twin_for};
use super::tc::{self, Place};
use crate::host::facts::Link;

/// Attaches the twin for `side` (a constant of [`nat_common::Side`]), or swaps it into the link that an earlier daemon pinned.
pub(super) fn attach(programs: &mut Programs, pins: &Pins, link: &Link, side: u8) -> Result<(), Error> {
    let name = twin_for(side, link.device.framing);
    let (pin, mark) = (pins.twin_link(&link.name), pins.tc_twin_mark(&link.name));
    let place = Place { link, at: TcAttachType::Ingress, pin, mark };
    tc::put(programs.classifier(name)?, name, &place, None)
}

/// Takes the twin off an interface, known to the pins as `interface`.
pub(super) fn detach(pins: &Pins, interface: &str, index: Option<u32>) -> Result<(), Error> {
    pins::remove(&pins.twin_link(interface))?;
    detach_filter(pins, interface, index)
}

/// The same, if it is a classic tc filter.
pub(super) fn detach_filter(pins: &Pins, interface: &str, index: Option<u32>) -> Result<(), Error> {
    let mark = pins.tc_twin_mark(interface);
    if mark.exists() {
        tc::remove_filters(interface, index, TcAttachType::Ingress, &TWINS);
    }
    pins::remove(&mark)
}
