//! The programs of the object: each is loaded and pinned when something needs it, because the verifier takes longer for one
//! than everything else at start together.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use aya::Ebpf;
use aya::programs::tc::SchedClassifier;
use aya::programs::xdp::Xdp;
use aya::programs::{Program, ProgramError};
use nat_common::Side;
use nat_common::abi::program;

use super::error::Error;
use super::load;
use super::pins::{self, Pins};
use crate::model::interface::XdpMode;
use crate::model::path::Framing;

/// The object, and which of its programs are loaded.
pub(super) struct Programs {
    ebpf: Ebpf,
    pins: Pins,
    loaded: BTreeSet<&'static str>,
}

impl Programs {
    pub(super) const fn new(ebpf: Ebpf, pins: Pins) -> Self {
        Self { ebpf, pins, loaded: BTreeSet::new() }
    }

    pub(super) const fn ebpf_mut(&mut self) -> &mut Ebpf {
        &mut self.ebpf
    }

    /// Loads and pins a program, unless it is.
    pub(super) fn need(&mut self, name: &'static str) -> Result<(), Error> {
        if !self.loaded.contains(name) {
            load::program(&mut self.ebpf, name)?;
            pin(&mut self.ebpf, name, &self.pins.program(name))?;
            self.loaded.insert(name);
        }
        Ok(())
    }

    pub(super) fn xdp(&mut self, name: &'static str) -> Result<&mut Xdp, Error> {
        self.find(name)?.try_into().map_err(Error::program(format!("cannot use program {name}")))
    }

    pub(super) fn classifier(&mut self, name: &'static str) -> Result<&mut SchedClassifier, Error> {
        self.find(name)?.try_into().map_err(Error::program(format!("cannot use program {name}")))
    }

    fn find(&mut self, name: &'static str) -> Result<&mut Program, Error> {
        self.need(name)?;
        self.ebpf
            .program_mut(name)
            .ok_or_else(|| Error::BadObject { what: format!("it has no program {name}") })
    }

    /// Unpins what an earlier run needed and this one does not.
    pub(super) fn retire_others(&self) -> Result<(), Error> {
        let others = program::ALL.into_iter().filter(|name| !self.loaded.contains(name));
        others.map(|name| self.pins.program(name)).try_for_each(|pin| pins::remove(&pin))
    }
}

/// The XDP program for a side (a constant of [`Side`]).
pub(super) const fn xdp_for(side: u8) -> &'static str {
    match side {
        Side::INSIDE => program::INSIDE,
        Side::OUTSIDE => program::OUTSIDE,
        _ => program::ONEARM,
    }
}

/// The tc program for a side.
pub(super) const fn twin_for(side: u8, framing: Framing) -> &'static str {
    match (framing, side) {
        (Framing::Ip, Side::INSIDE) => program::L3_INSIDE,
        (Framing::Ip, Side::OUTSIDE) => program::L3_OUTSIDE,
        (Framing::Ip, _) => program::L3_ONEARM,
        (_, Side::INSIDE) => program::TC_INSIDE,
        (_, Side::OUTSIDE) => program::TC_OUTSIDE,
        (..) => program::TC_ONEARM,
    }
}

/// Every tc program, whatever it is for.
pub(super) const TWINS: [&str; 6] = [
    program::TC_INSIDE,
    program::TC_OUTSIDE,
    program::TC_ONEARM,
    program::L3_INSIDE,
    program::L3_OUTSIDE,
    program::L3_ONEARM,
];

/// The program that gets an interface's frames.
pub(super) const fn for_path(side: u8, framing: Framing, mode: XdpMode) -> &'static str {
    match mode {
        XdpMode::Native | XdpMode::Generic => xdp_for(side),
        XdpMode::Tc => twin_for(side, framing),
    }
}

/// The guards of an interface: at egress, and at ingress.
pub(super) const fn guards_for(framing: Framing) -> (&'static str, &'static str) {
    match framing {
        Framing::Ip => (program::GUARD_EGRESS_L3, program::GUARD_INGRESS_L3),
        Framing::Ethernet | Framing::Other => (program::GUARD_EGRESS, program::GUARD_INGRESS),
    }
}

/// Pins a program under `path`, replacing what is there in one step.
fn pin(ebpf: &mut Ebpf, name: &'static str, path: &Path) -> Result<(), Error> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push("_new");
    let temporary = PathBuf::from(temporary);
    pins::remove(&temporary)?;
    let pinned = match ebpf.program_mut(name) {
        Some(Program::Xdp(p)) => p.pin(&temporary),
        Some(Program::SchedClassifier(p)) => p.pin(&temporary),
        _ => return Err(Error::program(format!("cannot pin {name}"))(ProgramError::UnexpectedProgramType)),
    };
    pinned.map_err(|e| Error::pin("pin a program at", &temporary)(std::io::Error::other(e)))?;
    std::fs::rename(&temporary, path).map_err(Error::pin("rename a pin to", path))
}
