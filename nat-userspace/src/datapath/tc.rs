//! Puts a program on a tc hook of an interface: by a TCX link, which is pinned, where the kernel has them (Linux 6.6), else by a
//! classic filter on clsact, which outlives the process by itself.

use std::io;
use std::path::PathBuf;

use aya::programs::LinkOrder;
use aya::programs::links::FdLink;
use aya::programs::tc::{self, SchedClassifier, SchedClassifierLink, TcAttachOptions, TcAttachType};
use nix::net::if_::if_indextoname;

use super::error::Error;
use super::links;
use super::pins;
use super::sys::errno;
use crate::host::facts::Link;

/// Where a program is to be.
pub(super) struct Place<'a> {
    /// The interface.
    pub(super) link: &'a Link,
    /// The hook.
    pub(super) at: TcAttachType,
    /// Where a TCX link is pinned.
    pub(super) pin: PathBuf,
    /// What tells that the program is a filter.
    pub(super) mark: PathBuf,
}

/// Puts a program there, or swaps it into the link that is pinned, without a packet in between that meets none. `before`: a program
/// of natgw's on the same hook, which is to see packets first; all of them see packets before the programs of others.
pub(super) fn put(
    program: &mut SchedClassifier,
    name: &str,
    place: &Place<'_>,
    before: Option<&SchedClassifierLink>,
) -> Result<(), Error> {
    let Place { link, at, pin, mark } = place;
    if links::is_on(pin, link.index)? && swap(program, place)? {
        return Ok(());
    }
    pins::remove(pin)?;
    let order = match before {
        Some(before) => LinkOrder::after_link(before)
            .map_err(|e| Error::bpf(format!("cannot attach {name} to {}", link.name))(io::Error::other(e)))?,
        None => LinkOrder::first(),
    };
    match program.attach_with_options(&link.name, *at, TcAttachOptions::TcxOrder(order)) {
        Ok(id) => {
            let fd: FdLink = program
                .take_link(id)
                .map_err(Error::program(format!("cannot attach {name} to {}", link.name)))?
                .try_into()
                .map_err(|_| Error::NoLink { interface: link.name.clone() })?;
            fd.pin(pin).map_err(|e| Error::pin("pin a tc link at", pin)(io::Error::other(e)))?;
            Ok(())
        }
        // Linux before 6.6 has no TCX.
        Err(e) if errno(&e) == Some(libc::EINVAL) => {
            // It may exist; attaching tells when it could not be created.
            let _ = tc::qdisc_add_clsact(&link.name);
            crate::host::private::directory(mark)?;
            let _ = tc::qdisc_detach_program(&link.name, *at, name);
            let failed = || Error::program(format!("cannot attach {name} to {}", link.name));
            let id = program
                // By default before every filter that is there, as with TCX. The twin is attached after the guard.
                .attach_with_options(&link.name, *at, TcAttachOptions::Netlink(tc::NlOptions::default()))
                .map_err(failed())?;
            // Dropping the link would remove the filter.
            std::mem::forget(program.take_link(id).map_err(failed())?);
            Ok(())
        }
        Err(e) => Err(Error::program(format!("cannot attach {name} to {}", link.name))(e)),
    }
}

/// `false`: the interface went away under the link.
fn swap(program: &mut SchedClassifier, Place { pin, .. }: &Place<'_>) -> Result<bool, Error> {
    match program.attach_to_link(open(pin)?) {
        Ok(id) => {
            // Taken and dropped, only our descriptor closes: the pin keeps it attached.
            drop(program.take_link(id));
            Ok(true)
        }
        Err(e) if errno(&e) == Some(libc::ENOLINK) => Ok(false),
        Err(e) => Err(Error::program(format!("cannot replace the program at {}", pin.display()))(e)),
    }
}

/// A TCX link, from its pin.
pub(super) fn open(pin: &std::path::Path) -> Result<SchedClassifierLink, Error> {
    links::open(pin)?.try_into().map_err(|e| Error::pin("use the link at", pin)(io::Error::other(e)))
}

/// Removes programs of these names from a hook of an interface, known to the pins as `interface`, where they are classic
/// filters. The clsact qdisc stays: it does nothing without filters, and others may have put theirs there.
pub(super) fn remove_filters(interface: &str, index: Option<u32>, at: TcAttachType, names: &[&str]) {
    // It may have another name by now, and its filters with it.
    let renamed = index.and_then(|i| if_indextoname(i).ok()).and_then(|n| n.into_string().ok());
    let name_now = renamed.as_deref().unwrap_or(interface);
    for name in names {
        // Gone with its interface, or already removed by hand.
        let _ = tc::qdisc_detach_program(name_now, at, name);
    }
}
