//! Guards: tc programs that hold when XDP is gone, one on the ingress of every managed interface and one on the egress of
//! outside ones. TCX links where the kernel has them, else classic filters on clsact.

use std::io;
use std::path::Path;

use aya::Ebpf;
use aya::programs::LinkOrder;
use aya::programs::links::FdLink;
use aya::programs::tc::{self, SchedClassifier, SchedClassifierLink, TcAttachOptions, TcAttachType};
use nat_common::{Side, abi::program};
use nix::net::if_::if_indextoname;

use super::error::Error;
use super::links;
use super::pins::{self, Hook, Pins};
use super::sys::errno;
use crate::host::facts::Link;

/// Puts its guards on an interface of `side` (a constant of [`Side`]), or swaps them into the links that are pinned.
pub(super) fn guard(ebpf: &mut Ebpf, pins: &Pins, link: &Link, side: u8) -> Result<(), Error> {
    for (hook, name, at) in [
        (Hook::Egress, program::GUARD_EGRESS, TcAttachType::Egress),
        (Hook::Ingress, program::GUARD_INGRESS, TcAttachType::Ingress),
    ] {
        let pin = pins.guard_link(hook, &link.name);
        let mark = pins.tc_mark(&link.name);
        if side == Side::INSIDE && hook == Hook::Egress {
            // Of an interface that was outside in an earlier run.
            pins::remove(&pin)?;
            if mark.exists() {
                let _ = tc::qdisc_detach_program(&link.name, at, name);
            }
            continue;
        }
        let guard = classifier(ebpf, name)?;
        if links::is_on(&pin, link.index)? && swap_guard(guard, &pin)? {
            continue;
        }
        pins::remove(&pin)?;
        match guard.attach_with_options(&link.name, at, TcAttachOptions::TcxOrder(LinkOrder::first())) {
            Ok(id) => {
                let fd: FdLink = guard
                    .take_link(id)
                    .map_err(Error::program(format!("cannot guard {}", link.name)))?
                    .try_into()
                    .map_err(|_| Error::NoLink { interface: link.name.clone() })?;
                fd.pin(&pin).map_err(|e| Error::pin("pin the guard at", &pin)(io::Error::other(e)))?;
            }
            // Linux before 6.6 has no TCX.
            Err(e) if errno(&e) == Some(libc::EINVAL) => guard_with_filter(guard, &mark, link, at, name)?,
            Err(e) => return Err(Error::program(format!("cannot guard {}", link.name))(e)),
        }
    }
    Ok(())
}

/// Removes guards that are classic tc filters.
pub fn detach_filters(pins: &Pins) -> Result<(), Error> {
    pins.tc_guarded()?.iter().try_for_each(|interface| detach_filter(pins, interface, None))
}

/// Removes the guards of one interface, known to the pins as `interface`, if they are classic tc filters. The clsact qdisc stays: it does nothing
/// without filters, and others may have put theirs there.
pub(super) fn detach_filter(pins: &Pins, interface: &str, index: Option<u32>) -> Result<(), Error> {
    let mark = pins.tc_mark(interface);
    if mark.exists() {
        // It may have another name by now, and its filters with it.
        let renamed = index.and_then(|i| if_indextoname(i).ok()).and_then(|n| n.into_string().ok());
        let name_now = renamed.as_deref().unwrap_or(interface);
        for (name, at) in
            [(program::GUARD_EGRESS, TcAttachType::Egress), (program::GUARD_INGRESS, TcAttachType::Ingress)]
        {
            // Gone with its interface, or already removed by hand.
            let _ = tc::qdisc_detach_program(name_now, at, name);
        }
    }
    pins::remove(&mark)
}

fn guard_with_filter(
    guard: &mut SchedClassifier,
    mark: &Path,
    link: &Link,
    at: TcAttachType,
    name: &str,
) -> Result<(), Error> {
    // It may exist; attaching tells when it could not be created.
    let _ = tc::qdisc_add_clsact(&link.name);
    let _ = tc::qdisc_detach_program(&link.name, at, name);
    crate::host::private::directory(mark)?;
    let failed = || Error::program(format!("cannot guard {}", link.name));
    let id = guard
        // By default before every filter that is there, as with TCX.
        .attach_with_options(&link.name, at, TcAttachOptions::Netlink(tc::NlOptions::default()))
        .map_err(failed())?;
    // Dropping the link would remove the filter.
    std::mem::forget(guard.take_link(id).map_err(failed())?);
    Ok(())
}

/// `false`: the interface went away under the link.
fn swap_guard(guard: &mut SchedClassifier, pin: &Path) -> Result<bool, Error> {
    let old: SchedClassifierLink =
        links::open(pin)?.try_into().map_err(|e| Error::pin("use the link at", pin)(io::Error::other(e)))?;
    match guard.attach_to_link(old) {
        Ok(id) => {
            drop(guard.take_link(id));
            Ok(true)
        }
        Err(e) if errno(&e) == Some(libc::ENOLINK) => Ok(false),
        Err(e) => Err(Error::program(format!("cannot replace the guard at {}", pin.display()))(e)),
    }
}

fn classifier<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut SchedClassifier, Error> {
    ebpf.program_mut(name)
        .ok_or_else(|| Error::BadObject { what: format!("it has no program {name}") })?
        .try_into()
        .map_err(Error::program(format!("cannot use program {name}")))
}
