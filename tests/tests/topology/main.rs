//! The interfaces that users have, as they have them: nothing about offloads, drivers or modes is set unless the test's name
//! says so, and natgw gets `--inside`, `--outside` and `--eip`, no more. Real programs' traffic goes both ways, whole; nothing
//! unasked-for comes in; natgw's counters say the same as the hosts.
//!
//! Tests called `vm_*` need devices that many kernels lack (VLAN, bond, `WireGuard`, VRF, real drivers): `cargo xtask vm` runs
//! them in a virtual machine. What they have in common with the others is here.
#![expect(clippy::unwrap_used, reason = "a test panics where it fails; helpers are part of tests")]

mod bond;
mod bridge;
mod devices;
mod ground;
mod host;
mod nic;
mod one_armed;
mod speed;
mod tap;
mod traffic;
mod tunnel;
mod veth;
mod vlan;

use std::net::{Ipv4Addr, SocketAddrV4};

fn at(addr: Ipv4Addr, port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(addr, port)
}
