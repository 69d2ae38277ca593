//! The lab's addresses (documentation prefixes, RFC 5737, and 10/8).

use std::net::Ipv4Addr;

/// Address of client `n`, from 0.
pub const fn client_addr(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, 10 + n)
}

/// The gateway's inside address.
pub const GW_INSIDE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// The gateway's own outside address (a *shared* EIP when used as one).
pub const GW_OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 100);
/// The router that the gateway's default route points to.
pub const WAN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 254);
/// The same router at the second outside link.
pub const WAN2: Ipv4Addr = Ipv4Addr::new(192, 0, 3, 254);
/// First server.
pub const SRV_A: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 10);
/// First server's second address.
pub const SRV_A2: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 11);
/// Second server.
pub const SRV_B: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
/// A host that no client ever contacts.
pub const EVIL: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 66);
/// Client of the second inside network.
pub const CLIENT_Z: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 10);
/// The host behind the gateway's unmanaged interface.
pub const DMZ: Ipv4Addr = Ipv4Addr::new(172, 30, 0, 5);
/// The gateway's address there.
pub const GW_DMZ: Ipv4Addr = Ipv4Addr::new(172, 30, 0, 1);

/// EIP number `n`, from 0: 192.0.2.1 to 192.0.2.8, on the outside link, dedicated.
pub const fn eip(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, 1 + n)
}

/// Whether the address belongs to an inside network of the lab.
pub const fn is_inside(addr: Ipv4Addr) -> bool {
    addr.octets()[0] == 10
}
