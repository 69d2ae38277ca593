//! Loading the BPF object: maps created or taken over by their pins, programs through the verifier.

use aya::programs::{Program, ProgramError};
use aya::util::KernelVersion;
use aya::{Btf, Ebpf, EbpfLoader};
use nat_common::abi;
use nat_common::conntrack::Conntrack;

use super::error::Error;
use super::kfuncs;
use super::object;
use super::pins::Pins;

/// Whether the packet path's slow paths log. Off, the verifier removes the log calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    /// No log calls in the loaded programs.
    #[default]
    Off,
    /// Slow-path diagnostics.
    Debug,
}

/// What is fixed once programs are loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadOptions {
    /// Flows that the table holds.
    pub max_flows: u32,
    /// 1: some interface is inside and outside at once.
    pub one_armed: u8,
    /// 1: there are several inside interfaces.
    pub several_inside: u8,
    /// 1: what is sent back by `XDP_TX` arrives.
    pub transmits: u8,
    /// [`abi::RODATA_LOST`]; zeros when nothing is to be counted there.
    pub lost_at: [u32; 4],
    /// Whether some EIP is an address of the host's, too.
    pub shares: bool,
    /// Logging.
    pub log: LogLevel,
}

/// Lines of the verifier's log that an error shows.
const LOG_LINES: usize = 15;

/// Makes the object's maps. Those that are pinned are reused *unchecked* ([`super::adopt`] checks), others are created and pinned.
/// Programs wait for [`program`].
pub(super) fn open(pins: &Pins, options: LoadOptions) -> Result<Ebpf, Error> {
    let bytes = object::bytes()?;
    let log_level: u8 = match options.log {
        LogLevel::Off => 0,
        LogLevel::Debug => aya_log::Level::Debug as u8,
    };
    let redirects_frags: u8 = KernelVersion::current().is_ok_and(|v| v >= KernelVersion::new(6, 3, 0)).into();
    let places = nat_common::table::slots(options.max_flows);
    let btf = Btf::from_sys_fs().ok();
    let (bytes, conntrack) = kfuncs::resolve(bytes, btf.as_ref());
    if conntrack == Conntrack::Silent && options.shares {
        tracing::warn!(
            "this kernel's connection tracking is a module, and natgw cannot ask it: on an EIP that is the host's own address, \
             every port that natgw never takes is left to the host, scans included; what the kernel forwards to containers from \
             other ports belongs in [reserved]"
        );
    }
    let conntrack = conntrack as u8;
    let mut loader = EbpfLoader::new();
    loader.btf(btf.as_ref());
    for name in abi::map::ALL {
        loader.map_pin_path(name, pins.map(name));
    }
    loader
        .map_max_entries(abi::map::FLOWS, places)
        .override_global(abi::RODATA_ONE_ARMED, &options.one_armed, true)
        .override_global(abi::RODATA_SEVERAL_INSIDE, &options.several_inside, true)
        .override_global(abi::RODATA_TRANSMITS, &options.transmits, true)
        .override_global(abi::conntrack::RODATA_CONNTRACK, &conntrack, true)
        .override_global(abi::RODATA_REDIRECT_FRAGS, &redirects_frags, true)
        .override_global(abi::RODATA_LOST, &options.lost_at, true)
        // An object without log calls has no such variable.
        .override_global(aya_log::LEVEL, &log_level, false);
    loader.load(&bytes).map_err(|source| Error::Maps {
        max_flows: options.max_flows,
        mib: (u64::from(places) * size_of::<nat_common::FlowEntry>() as u64) >> 20,
        source: Box::new(source),
    })
}

/// Gives one program to the verifier.
pub(super) fn program(ebpf: &mut Ebpf, name: &'static str) -> Result<(), Error> {
    let program = ebpf
        .program_mut(name)
        .ok_or_else(|| Error::BadObject { what: format!("it has no program {name}") })?;
    match program {
        Program::Xdp(p) => p.load(),
        Program::SchedClassifier(p) => p.load(),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
    .map_err(|e| refused(name, e))
}

fn refused(program: &'static str, error: ProgramError) -> Error {
    match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            Error::Program { program, log: last_lines(&verifier_log.to_string()), source: io_error }
        }
        e => Error::program(format!("cannot load program {program}"))(e),
    }
}

fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().filter(|l| !l.trim().is_empty()).collect();
    let skip = lines.len().saturating_sub(LOG_LINES);
    if lines.is_empty() {
        return String::new();
    }
    let mut text = String::from(" The verifier says:");
    for line in &lines[skip..] {
        text.push_str("\n    ");
        text.push_str(line);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_the_log_is_shown() {
        let lines: Vec<String> = (0..100).map(|i| format!("{i}: insn\n")).collect();
        let log = lines.join("\n");
        let text = last_lines(&log);
        assert!(text.ends_with("99: insn") && !text.contains("\n    84: insn"), "{text}");
        assert_eq!(last_lines(" \n"), "");
    }
}
