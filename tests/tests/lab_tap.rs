//! A driver that has no room for metadata in front of a frame: the inside is a tap device, as for a virtual machine.
#![expect(clippy::unwrap_used, reason = "a test panics where it fails; helpers are part of tests")]

use std::fs::File;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use nat_tests::lab::tap::{Direction, mac_of};
use nat_tests::lab::{Gateway, Lab, Netns, Options, SRV_A, eip};
use nat_tests::packet::Packet;

const GUEST: Ipv4Addr = Ipv4Addr::new(10, 3, 0, 10);
const GUEST_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x33];

/// The guest's end of a tap device of `ns`.
fn tap(ns: &Netns, device: &str) -> File {
    const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
    let file = ns.run(|| File::options().read(true).write(true).open("/dev/net/tun")).unwrap();
    // struct ifreq: name, then flags.
    let mut request = [0u8; 40];
    request[..device.len()].copy_from_slice(device.as_bytes());
    let flags = i16::try_from(libc::IFF_TAP | libc::IFF_NO_PI).unwrap();
    request[16..18].copy_from_slice(&flags.to_ne_bytes());
    let fd = file.as_raw_fd();
    // SAFETY: an open descriptor, and a request of the size that the call reads.
    let done =
        ns.run(|| Ok::<_, std::io::Error>(unsafe { libc::ioctl(fd, TUNSETIFF, request.as_ptr()) })).unwrap();
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    file
}

/// What is too big for the way out and may be fragmented is handed over, marked in another way.
#[test]
fn what_is_handed_over_passes_the_guard_without_metadata() {
    let lab = Lab::two_armed(1).unwrap();
    let mut guest = tap(lab.gw(), "tap0");
    lab.gw().ip("link set tap0 up\naddr add 10.3.0.1/24 dev tap0\nlink set out0 mtu 1400").unwrap();
    lab.gw().ip(&format!("neigh add {GUEST} lladdr 02:00:00:00:00:33 dev tap0")).unwrap();
    let options = Options { inside: Some(vec!["tap0".to_owned()]), ..Options::one_eip() };
    let gateway = Gateway::start(&lab, &options.arg("--xdp").arg("native")).unwrap();
    let outside = lab.outside_tap().unwrap();
    let big = Packet::udp(SocketAddrV4::new(GUEST, 5000), SocketAddrV4::new(SRV_A, 53))
        .macs(GUEST_MAC, mac_of(lab.gw(), "tap0").unwrap())
        .payload(vec![7; 1450])
        .with(|p| p.df = false);
    guest.write_all(&big.build()).unwrap();
    let fragment =
        outside.wait_for(Duration::from_secs(5), |p, d| d == Direction::Received && p.src == eip(0));
    assert!(fragment.is_some(), "nothing came out: {:#}", gateway.stats().unwrap());
    assert_eq!(gateway.drops("guard").unwrap(), 0);
    assert_eq!(gateway.stats().unwrap()["internals"]["handovers"], 1);
    // Who does not know the address does not pass.
    let forged = Packet::udp(SocketAddrV4::new(eip(0), 9), SocketAddrV4::new(SRV_A, 53));
    guest.write_all(&forged.macs(GUEST_MAC, mac_of(lab.gw(), "tap0").unwrap()).build()).unwrap();
    nat_tests::lab::wait_until("the forged one to be dropped", Duration::from_secs(5), || {
        gateway.drops("spoofed_source").unwrap() == 1
    });
}
