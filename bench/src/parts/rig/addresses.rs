//! Addresses of the two ends and of every gateway between them.

use std::net::Ipv4Addr;

/// The generator's end, to which answers go.
pub const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x0a];
/// Every gateway's inside interface.
pub const INSIDE_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// Every gateway's outside interface.
pub const OUTSIDE_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// The far end: every gateway's default router.
pub const ROUTER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0xfe];
/// Address of every gateway's outside interface; nftables translates to it.
pub const OUTSIDE: &str = "192.0.2.1";
/// natgw's EIP.
pub const EIP: &str = "192.0.2.100";
/// Address of the far end.
pub const ROUTER: &str = "192.0.2.254";
/// The one inside host.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
