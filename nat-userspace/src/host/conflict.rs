//! EIPs that other hosts have, in words.

use std::{fmt, net::Ipv4Addr};

/// An EIP that another host has already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The EIP.
    pub addr: Ipv4Addr,
    /// Where the other host is.
    pub interface: String,
    /// Its Ethernet address.
    pub mac: [u8; 6],
}

/// One sentence about all of them.
pub(super) fn sentence(conflicts: &[Conflict]) -> String {
    let mut said: Vec<String> = conflicts.iter().take(SAID).map(ToString::to_string).collect();
    if let Some(more) = conflicts.len().checked_sub(SAID).filter(|n| *n > 0) {
        said.push(format!("{more} more EIPs are taken"));
    }
    said.join("; ")
}

/// Conflicts that are said one by one.
const SAID: usize = 3;

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { addr, interface, mac } = self;
        let mac: Vec<String> = mac.iter().map(|byte| format!("{byte:02x}")).collect();
        write!(f, "another host has the EIP {addr}: {} answers for it on {interface}", mac.join(":"))
    }
}
