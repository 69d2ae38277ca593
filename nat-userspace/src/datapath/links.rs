//! What is pinned of an interface's programs, and whether it is still on the interface.

use std::io;
use std::path::Path;

use aya::programs::links::{FdLink, PinnedLink};
use nix::net::if_::if_nametoindex;

use super::error::Error;
use super::pins::{self, Hook, Pins};
use super::sys;

/// Interfaces that run the data plane: a link of theirs is pinned, and they exist. Holds in whatever network
/// namespace they are.
pub fn attached(pins: &Pins) -> Result<Vec<String>, Error> {
    Ok(places(pins)?.into_iter().map(|(interface, _)| interface).collect())
}

/// [`attached`], each with its index in the network namespace it is in.
pub fn places(pins: &Pins) -> Result<Vec<(String, u32)>, Error> {
    let mut places = Vec::new();
    for interface in pins.attached()? {
        let mut index = 0;
        for pin in [pins.xdp_link(&interface), pins.twin_link(&interface)] {
            if index == 0 && pin.exists() {
                index = index_of(&pin)?;
            }
        }
        if index == 0 && pins.tc_twin_mark(&interface).exists() {
            index = if_nametoindex(interface.as_str()).unwrap_or(0);
        }
        if index != 0 {
            places.push((interface, index));
        }
    }
    Ok(places)
}

/// Interfaces of which a guard is pinned, while one that they need is not on them: somebody detached it by force, or the
/// interface was deleted. Ones that `is_outside` need both. Classic tc filters are not looked at.
pub fn unguarded(pins: &Pins, is_outside: impl Fn(&str) -> bool) -> Result<Vec<String>, Error> {
    let mut unguarded = Vec::new();
    for interface in pins.guarded()? {
        let needed =
            if is_outside(&interface) { &[Hook::Egress, Hook::Ingress][..] } else { &[Hook::Ingress] };
        for pin in needed.iter().map(|hook| pins.guard_link(*hook, &interface)) {
            if !unguarded.contains(&interface) && (!pin.exists() || index_of(&pin)? == 0) {
                unguarded.push(interface.clone());
            }
        }
    }
    Ok(unguarded)
}

/// Whether a link is pinned and still on the interface with this index. One of an interface that was renamed or
/// replaced has another.
pub(super) fn is_on(pin: &Path, index: u32) -> Result<bool, Error> {
    if !pin.exists() {
        return Ok(false);
    }
    Ok(index_of(pin)? == index)
}

/// The interface that a pinned link is on; 0 when that was deleted, or when something else has the pin's name.
fn index_of(pin: &Path) -> Result<u32, Error> {
    if pins::found(pin)? != Some(pins::LINK) {
        return Ok(0);
    }
    let link = sys::object_get(pin).map_err(Error::pin("open", pin))?;
    Ok(sys::link_info(&link).map_err(Error::pin("inspect", pin))?.interface())
}

pub(super) fn open(pin: &Path) -> Result<FdLink, Error> {
    PinnedLink::from_pin(pin).map(FdLink::from).map_err(|e| Error::pin("open", pin)(io::Error::other(e)))
}

/// Whether everything that was attached to an interface still is: somebody may have detached a link by force.
/// Classic tc filters are not looked at.
pub(super) fn is_intact(pins: &Pins, interface: &str, index: u32) -> Result<bool, Error> {
    let guards = [Hook::Egress, Hook::Ingress].map(|hook| pins.guard_link(hook, interface));
    for guard in guards.iter().filter(|pin| pin.exists()) {
        if !is_on(guard, index)? {
            return Ok(false);
        }
    }
    Ok(is_on(&pins.xdp_link(interface), index)?
        || is_on(&pins.twin_link(interface), index)?
        || pins.tc_twin_mark(interface).exists())
}
