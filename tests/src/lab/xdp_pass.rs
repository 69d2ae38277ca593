//! A two-instruction XDP program that passes everything, for the far end of a veth.
//!
//! `XDP_TX` on a veth puts the frame into its peer's ring, but wakes the peer only if that has an XDP program
//! (drivers/net/veth.c, `veth_xdp_flush`); GRO, which is enough for `XDP_REDIRECT`, is not. Without it the
//! frames of a one-armed gateway lie in the ring until something else, an ARP, comes by.

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use anyhow::{Context as _, Result};

use super::netns::Netns;

const PROG_LOAD: i32 = 5;
const LINK_CREATE: i32 = 28;
const PROG_TYPE_XDP: u32 = 6;
const ATTACH_TYPE_XDP: u32 = 37;
const HAS_FRAGS: u32 = 1 << 5;
const DRIVER_MODE: u32 = 1 << 2;
/// `r0 = XDP_PASS; exit`, as `struct bpf_insn` in little-endian order.
const PASS: [u64; 2] = [0x0000_0002_0000_00b7, 0x0000_0000_0000_0095];

/// The head of the kernel's `union bpf_attr` for `BPF_PROG_LOAD`.
#[repr(C)]
#[derive(Default)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log: [u64; 2],
    kern_version: u32,
    prog_flags: u32,
}

/// The head of the kernel's `union bpf_attr` for `BPF_LINK_CREATE`.
#[repr(C)]
struct LinkCreate {
    prog_fd: u32,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
}

/// Attaches the program to `device` of `ns` until the returned link is dropped.
pub fn attach(ns: &Netns, device: &str) -> Result<OwnedFd> {
    attach_program(ns, device, &PASS)
}

/// The same with a program that puts `metadata` in front of every frame.
pub fn attach_with_metadata(ns: &Netns, device: &str, metadata: [u32; 4]) -> Result<OwnedFd> {
    // struct bpf_insn: code, registers (source << 4 | destination), offset, immediate.
    let insn = |code: u64, registers: u64, offset: u16, value: u32| {
        code | registers << 8 | u64::from(offset) << 16 | u64::from(value) << 32
    };
    let store = |n: usize| insn(0x62, 2, 4 * n as u16, metadata[n]);
    attach_program(
        ns,
        device,
        &[
            insn(0xbf, 0x16, 0, 0),                 // r6 = r1
            insn(0xb7, 2, 0, 16u32.wrapping_neg()), // r2 = -16
            insn(0x85, 0, 0, 54),                   // bpf_xdp_adjust_meta
            insn(0x61, 0x62, 8, 0),                 // r2 = data_meta
            insn(0x61, 0x63, 0, 0),                 // r3 = data
            insn(0xbf, 0x24, 0, 0),                 // r4 = r2
            insn(0x07, 4, 0, 16),                   // r4 += 16
            insn(0x2d, 0x34, 4, 0),                 // if r4 > r3 goto pass
            store(0),
            store(1),
            store(2),
            store(3),
            PASS[0],
            PASS[1],
        ],
    )
}

fn attach_program(ns: &Netns, device: &str, program: &[u64]) -> Result<OwnedFd> {
    let load = ProgLoad {
        prog_type: PROG_TYPE_XDP,
        insn_cnt: u32::try_from(program.len())?,
        insns: program.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        prog_flags: HAS_FRAGS,
        ..ProgLoad::default()
    };
    let program = bpf(PROG_LOAD, &load).context("load an XDP program")?;
    ns.run(|| {
        let create = LinkCreate {
            prog_fd: program.as_raw_fd().cast_unsigned(),
            target_ifindex: nix::net::if_::if_nametoindex(device)?,
            attach_type: ATTACH_TYPE_XDP,
            flags: DRIVER_MODE,
        };
        bpf(LINK_CREATE, &create).with_context(|| format!("attach to {device}"))
    })
}

fn bpf<T>(command: i32, attr: &T) -> Result<OwnedFd> {
    // SAFETY: `attr` is a prefix of union bpf_attr of the size given; pointers in it outlive the call. Both
    // commands return a descriptor that nobody else owns, or -1.
    unsafe {
        let fd = libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attr), size_of::<T>());
        if fd < 0 {
            return Err(io::Error::last_os_error().into());
        }
        Ok(OwnedFd::from_raw_fd(i32::try_from(fd)?))
    }
}
