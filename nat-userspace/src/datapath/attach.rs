//! Programs on interfaces: XDP on all of them, guards on the outside ones. Links are pinned, so what is
//! attached stays when the process ends.

use std::io;
use std::path::Path;

use aya::Ebpf;
use aya::programs::ProgramError;
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::xdp::{Xdp, XdpLink, XdpMode};
use nat_common::Side;
use nat_common::abi::program;

use super::occupant::{self, Occupant};
use super::pins::{self, Hook, Pins};
use super::{Datapath, Error, guard, sys};
use crate::control::desired::XdpChoice;
use crate::net::facts::Link;

/// How XDP runs on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpModeUsed {
    /// In the driver.
    Native,
    /// In the network stack, after an skb was made: slower, works on every interface.
    Generic,
}

impl XdpModeUsed {
    /// As in JSON and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }

    const fn flag(self) -> XdpMode {
        match self {
            Self::Native => XdpMode::Driver,
            Self::Generic => XdpMode::Skb,
        }
    }
}

impl Datapath {
    /// Attaches the program for `side` (a constant of [`Side`]), or swaps it into the link that an earlier
    /// daemon pinned, without a packet in between that meets no program.
    pub async fn attach(&mut self, link: &Link, side: u8, choice: XdpChoice) -> Result<XdpModeUsed, Error> {
        let pin = self.pins.xdp_link(&link.name);
        if is_on(&pin, link.index)? {
            let mode = occupant::program_on(link.index).await.map_or(XdpModeUsed::Native, |(mode, _)| mode);
            let wanted = match choice {
                XdpChoice::Auto => mode,
                XdpChoice::Native => XdpModeUsed::Native,
                XdpChoice::Generic => XdpModeUsed::Generic,
            };
            if mode == wanted && self.swap_xdp(&pin, link, side)? {
                return Ok(mode);
            }
        }
        pins::remove(&pin)?;
        match self.attach_as(&pin, link, side, choice) {
            Err(Error::ForeignXdp { interface, source, .. }) => {
                let occupant = Occupant::find(&interface, link.index).await.map(Box::new);
                Err(Error::ForeignXdp { interface, occupant, source })
            }
            result => result,
        }
    }

    fn attach_as(
        &mut self,
        pin: &Path,
        link: &Link,
        side: u8,
        choice: XdpChoice,
    ) -> Result<XdpModeUsed, Error> {
        match choice {
            XdpChoice::Native => self.attach_new(pin, link, side, XdpModeUsed::Native),
            XdpChoice::Generic => self.attach_new(pin, link, side, XdpModeUsed::Generic),
            XdpChoice::Auto => match self.attach_new(pin, link, side, XdpModeUsed::Native) {
                Err(Error::Attach { source, .. }) if is_unsupported(&source) => {
                    tracing::debug!(interface = link.name, error = %source, "no native XDP");
                    self.attach_new(pin, link, side, XdpModeUsed::Generic)
                }
                result => result,
            },
        }
    }

    fn attach_new(
        &mut self,
        pin: &Path,
        link: &Link,
        side: u8,
        mode: XdpModeUsed,
    ) -> Result<XdpModeUsed, Error> {
        let program = xdp(&mut self.ebpf, side)?;
        let id =
            program.attach_to_if_index(link.index, mode.flag()).map_err(|e| attach_error(link, mode, e))?;
        let fd: FdLink = program
            .take_link(id)
            .map_err(Error::program(format!("cannot attach to {}", link.name)))?
            .try_into()
            .map_err(|_| Error::NoLink { interface: link.name.clone() })?;
        fd.pin(pin).map_err(|e| Error::pin("pin the XDP link at", pin)(io::Error::other(e)))?;
        Ok(mode)
    }

    /// `false`: the interface went away under the link.
    fn swap_xdp(&mut self, pin: &Path, link: &Link, side: u8) -> Result<bool, Error> {
        let program = xdp(&mut self.ebpf, side)?;
        let old: XdpLink = open_link(pin)?
            .try_into()
            .map_err(|e| Error::pin("use the link at", pin)(io::Error::other(e)))?;
        match program.attach_to_link(old) {
            Ok(id) => {
                // Taken and dropped, only our descriptor closes: the pin keeps it attached.
                drop(program.take_link(id));
                Ok(true)
            }
            Err(e) if errno(&e) == Some(libc::ENOLINK) => Ok(false),
            Err(e) => Err(Error::program(format!("cannot replace the program on {}", link.name))(e)),
        }
    }

    /// Whether everything that was attached to an interface still is: somebody may have detached a link by force.
    /// Classic tc filters are not looked at.
    pub fn is_intact(&self, interface: &str, index: u32) -> Result<bool, Error> {
        let guards = [Hook::Egress, Hook::Ingress].map(|hook| self.pins.guard_link(hook, interface));
        for guard in guards.iter().filter(|pin| pin.exists()) {
            if !is_on(guard, index)? {
                return Ok(false);
            }
        }
        is_on(&self.pins.xdp_link(interface), index)
    }

    /// Forgets an interface: its pins go, and with them whatever is still attached.
    pub fn detach(&mut self, interface: &str, index: u32) -> Result<(), Error> {
        self.unregister(index)?;
        pins::remove(&self.pins.xdp_link(interface))?;
        for hook in [Hook::Egress, Hook::Ingress] {
            pins::remove(&self.pins.guard_link(hook, interface))?;
        }
        guard::detach_filter(&self.pins, interface, Some(index))
    }

    /// Detaches from interfaces that an earlier configuration managed and `managed` does not name.
    pub fn detach_others(&mut self, managed: &[&str], outside: &[String]) -> Result<Vec<String>, Error> {
        let mut gone = Vec::new();
        for name in self.pins.attached()? {
            if !managed.contains(&name.as_str()) {
                pins::remove(&self.pins.xdp_link(&name))?;
                gone.push(name);
            }
        }
        for name in self.pins.guarded()?.into_iter().filter(|n| !outside.contains(n)) {
            for hook in [Hook::Egress, Hook::Ingress] {
                pins::remove(&self.pins.guard_link(hook, &name))?;
            }
        }
        for name in self.pins.tc_guarded()?.into_iter().filter(|n| !outside.contains(n)) {
            guard::detach_filter(&self.pins, &name, None)?;
        }
        Ok(gone)
    }
}

/// Detaches XDP from every interface of a data plane.
pub fn detach_xdp(pins: &Pins) -> Result<(), Error> {
    pins.attached()?.iter().try_for_each(|name| pins::remove(&pins.xdp_link(name)))
}

/// Interfaces that run the data plane: a link of theirs is pinned, and they exist. Holds in whatever network
/// namespace they are.
pub fn attached(pins: &Pins) -> Result<Vec<String>, Error> {
    Ok(places(pins)?.into_iter().map(|(interface, _)| interface).collect())
}

/// [`attached`], each with its index in the network namespace it is in.
pub fn places(pins: &Pins) -> Result<Vec<(String, u32)>, Error> {
    let mut places = Vec::new();
    for interface in pins.attached()? {
        let pin = pins.xdp_link(&interface);
        if pin.exists() {
            let index = index_of(&pin)?;
            if index != 0 {
                places.push((interface, index));
            }
        }
    }
    Ok(places)
}

/// Interfaces of which a guard is pinned, while the interface no longer has both of its guards: somebody detached one
/// by force. Of an interface that was deleted, too. Classic tc filters are not looked at.
pub fn unguarded(pins: &Pins) -> Result<Vec<String>, Error> {
    let mut unguarded = Vec::new();
    for interface in pins.guarded()? {
        for pin in [Hook::Egress, Hook::Ingress].map(|hook| pins.guard_link(hook, &interface)) {
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

pub(super) fn open_link(pin: &Path) -> Result<FdLink, Error> {
    PinnedLink::from_pin(pin).map(FdLink::from).map_err(|e| Error::pin("open", pin)(io::Error::other(e)))
}

fn xdp(ebpf: &mut Ebpf, side: u8) -> Result<&mut Xdp, Error> {
    let name = match side {
        Side::INSIDE => program::INSIDE,
        Side::OUTSIDE => program::OUTSIDE,
        _ => program::ONEARM,
    };
    ebpf.program_mut(name)
        .ok_or_else(|| Error::BadObject { what: format!("it has no program {name}") })?
        .try_into()
        .map_err(Error::program(format!("cannot use program {name}")))
}

fn attach_error(link: &Link, mode: XdpModeUsed, error: ProgramError) -> Error {
    let source = errno(&error).map_or_else(|| io::Error::other(error), io::Error::from_raw_os_error);
    if matches!(source.raw_os_error(), Some(libc::EBUSY | libc::EEXIST)) {
        return Error::ForeignXdp { interface: link.name.clone(), occupant: None, source };
    }
    let hint = if mode == XdpModeUsed::Native && is_unsupported(&source) {
        "; its driver or settings (MTU, channels, LRO) do not allow it: xdp = \"auto\" falls back to generic"
    } else {
        ""
    };
    Error::Attach { interface: link.name.clone(), mode: mode.name(), hint, source }
}

/// What drivers answer that cannot run XDP, or cannot with the interface's MTU or channels.
fn is_unsupported(error: &io::Error) -> bool {
    /// The kernel-internal ENOTSUPP, which some drivers let escape.
    const ENOTSUPP: i32 = 524;
    matches!(
        error.raw_os_error(),
        Some(
            libc::EOPNOTSUPP
                | libc::EINVAL
                | libc::ERANGE
                | libc::ENOSPC
                | libc::ENOMEM
                | libc::E2BIG
                | ENOTSUPP
        )
    )
}

/// The errno at the bottom of an error, if there is one.
pub(super) fn errno(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    let mut cause = Some(error);
    while let Some(e) = cause {
        if let Some(code) = e.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
            return Some(code);
        }
        if let Some(code) = e.downcast_ref::<aya::sys::SyscallError>().and_then(|s| s.io_error.raw_os_error())
        {
            return Some(code);
        }
        cause = e.source();
    }
    None
}
