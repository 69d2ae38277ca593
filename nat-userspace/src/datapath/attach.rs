//! Puts on interfaces what translates their packets, and takes everything off again. Links are pinned, so what is attached stays when
//! the process ends.

use std::io;
use std::path::Path;

use aya::programs::ProgramError;
use aya::programs::links::FdLink;
use aya::programs::xdp::{self, XdpLink};

use super::error::Error;
use super::occupant::{self, Occupant};
use super::pins::{self, Hook, Pins};
use super::programs::{Programs, xdp_for};
use super::sys::errno;
use super::{guard, links, tenants, twin};
use crate::host::facts::Link;
use crate::model::gateway::XdpChoice;
use crate::model::interface::XdpMode;

/// Attaches the program for `side` (a constant of [`nat_common::Side`]) as `wanted`, or swaps it into the link that an earlier
/// daemon pinned, without a packet in between that meets no program. Where an interface changes from one path to the other, the
/// new one is there before the old one goes.
///
/// With `auto`, an interface whose driver refuses XDP gets the tc program instead.
pub(super) async fn attach(
    programs: &mut Programs,
    pins: &Pins,
    link: &Link,
    side: u8,
    wanted: XdpMode,
    choice: XdpChoice,
) -> Result<XdpMode, Error> {
    tenants::refuse(link, pins).await?;
    if wanted != XdpMode::Tc {
        match attach_xdp(programs, pins, link, side, wanted).await {
            Ok(()) => {
                twin::detach(pins, &link.name, Some(link.index))?;
                return Ok(wanted);
            }
            Err(Error::Attach { source, .. }) if choice == XdpChoice::Auto && is_unsupported(&source) => {
                tracing::info!(interface = link.name, error = %source, "its driver refuses native XDP; tc is used");
            }
            Err(e) => return Err(e),
        }
    }
    // With another natgw's XDP program before it, the twin would see what that one leaves over.
    if !links::is_on(&pins.xdp_link(&link.name), link.index)?
        && let Some(occupant) = Occupant::find(&link.name, link.index).await
        && occupant.is_natgw()
    {
        let (interface, source) = (link.name.clone(), io::Error::from_raw_os_error(libc::EBUSY));
        return Err(Error::ForeignXdp { interface, occupant: Some(Box::new(occupant)), source });
    }
    twin::attach(programs, pins, link, side)?;
    pins::remove(&pins.xdp_link(&link.name))?;
    Ok(XdpMode::Tc)
}

async fn attach_xdp(
    programs: &mut Programs,
    pins: &Pins,
    link: &Link,
    side: u8,
    wanted: XdpMode,
) -> Result<(), Error> {
    let pin = pins.xdp_link(&link.name);
    if links::is_on(&pin, link.index)? {
        let mode = occupant::program_on(link.index).await.map_or(XdpMode::Native, |(mode, _)| mode);
        if mode == wanted && swap(programs, &pin, link, side)? {
            return Ok(());
        }
    }
    pins::remove(&pin)?;
    match attach_new(programs, &pin, link, side, wanted) {
        Err(Error::ForeignXdp { interface, source, .. }) => {
            let occupant = Occupant::find(&interface, link.index).await.map(Box::new);
            Err(Error::ForeignXdp { interface, occupant, source })
        }
        result => result,
    }
}

fn attach_new(
    programs: &mut Programs,
    pin: &Path,
    link: &Link,
    side: u8,
    mode: XdpMode,
) -> Result<(), Error> {
    let program = programs.xdp(xdp_for(side))?;
    let id = program.attach_to_if_index(link.index, flag(mode)).map_err(|e| attach_error(link, mode, e))?;
    let fd: FdLink = program
        .take_link(id)
        .map_err(Error::program(format!("cannot attach to {}", link.name)))?
        .try_into()
        .map_err(|_| Error::NoLink { interface: link.name.clone() })?;
    fd.pin(pin).map_err(|e| Error::pin("pin the XDP link at", pin)(io::Error::other(e)))?;
    Ok(())
}

/// `false`: the interface went away under the link.
fn swap(programs: &mut Programs, pin: &Path, link: &Link, side: u8) -> Result<bool, Error> {
    let program = programs.xdp(xdp_for(side))?;
    let old: XdpLink =
        links::open(pin)?.try_into().map_err(|e| Error::pin("use the link at", pin)(io::Error::other(e)))?;
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

/// Detaches what translates packets from every interface of a data plane; the guards stay.
pub fn detach_paths(pins: &Pins) -> Result<(), Error> {
    pins.attached()?.iter().try_for_each(|name| {
        pins::remove(&pins.xdp_link(name))?;
        twin::detach(pins, name, None)
    })
}

/// Removes the pins of one interface, and with them whatever is still attached.
pub(super) fn detach(pins: &Pins, interface: &str, index: u32) -> Result<(), Error> {
    pins::remove(&pins.xdp_link(interface))?;
    twin::detach(pins, interface, Some(index))?;
    for hook in [Hook::Egress, Hook::Ingress] {
        pins::remove(&pins.guard_link(hook, interface))?;
    }
    guard::detach_filter(pins, interface, Some(index))
}

/// Detaches from interfaces that an earlier configuration managed and `managed` does not name.
pub(super) fn detach_others(pins: &Pins, managed: &[&str]) -> Result<Vec<String>, Error> {
    let mut gone = Vec::new();
    for name in pins.attached()? {
        if !managed.contains(&name.as_str()) {
            pins::remove(&pins.xdp_link(&name))?;
            twin::detach(pins, &name, None)?;
            gone.push(name);
        }
    }
    for name in pins.guarded()?.into_iter().filter(|n| !managed.contains(&n.as_str())) {
        for hook in [Hook::Egress, Hook::Ingress] {
            pins::remove(&pins.guard_link(hook, &name))?;
        }
    }
    for name in pins.tc_guarded()?.into_iter().filter(|n| !managed.contains(&n.as_str())) {
        guard::detach_filter(pins, &name, None)?;
    }
    Ok(gone)
}

const fn flag(mode: XdpMode) -> xdp::XdpMode {
    match mode {
        XdpMode::Native => xdp::XdpMode::Driver,
        XdpMode::Generic | XdpMode::Tc => xdp::XdpMode::Skb,
    }
}

fn attach_error(link: &Link, mode: XdpMode, error: ProgramError) -> Error {
    let source = errno(&error).map_or_else(|| io::Error::other(error), io::Error::from_raw_os_error);
    if matches!(source.raw_os_error(), Some(libc::EBUSY | libc::EEXIST)) {
        return Error::ForeignXdp { interface: link.name.clone(), occupant: None, source };
    }
    let hint = if mode == XdpMode::Native && is_unsupported(&source) {
        "; its driver or settings (MTU, channels, LRO) do not allow it: with xdp = \"auto\" natgw uses tc there"
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
