//! What the host's firewall does with packets that the kernel forwards, as `nf_tables` tells it (iptables-nft included).

use std::io;

use rtnetlink::sys::{Socket, SocketAddr, constants::NETLINK_NETFILTER};

/// `NFNL_SUBSYS_NFTABLES << 8`, and messages: `include/uapi/linux/netfilter/nf_tables.h`.
const NFTABLES: u16 = 10 << 8;
const NEWCHAIN: u16 = NFTABLES | 3;
const GETCHAIN: u16 = NFTABLES | 4;
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
const CHAIN_TYPE: u16 = 7;
const HOOK_NUMBER: u16 = 1;
/// `NF_INET_FORWARD`, `NF_DROP`.
const FORWARD: u32 = 2;
const DROP: u32 = 0;
/// `NFPROTO_INET`, `NFPROTO_IPV4`.
const FAMILIES: [u8; 2] = [1, 2];

const REQUEST_DUMP: u16 = 0x301;
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// Bytes of `struct nlmsghdr`, of `struct nfgenmsg`, and of `struct nlattr`.
const HEAD: usize = 16;
const FAMILY: usize = 4;
const ATTRIBUTE: usize = 4;

/// Chains, as `table chain`, that matter to a gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Firewall {
    /// Sees what the kernel forwards, and drops it by default.
    pub(super) forward_drop: Option<String>,
    /// Does NAT.
    pub(super) nat: Option<String>,
}

/// Asks `nf_tables` for them.
pub(super) fn read() -> io::Result<Firewall> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut request = Vec::with_capacity(HEAD + FAMILY);
    request.extend(((HEAD + FAMILY) as u32).to_ne_bytes());
    request.extend(GETCHAIN.to_ne_bytes());
    request.extend(REQUEST_DUMP.to_ne_bytes());
    request.extend([0; 8 + FAMILY]);
    socket.send(&request, 0)?;
    let mut found = Firewall::default();
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        let mut rest = &datagram[..];
        if rest.is_empty() {
            return Ok(found);
        }
        while let Some((kind, body, next)) = message(rest) {
            match kind {
                DONE | ERROR => return Ok(found),
                NEWCHAIN => {
                    found.forward_drop = found.forward_drop.or_else(|| dropping(body));
                    found.nat = found.nat.or_else(|| natting(body));
                }
                _ => {}
            }
            rest = next;
        }
    }
}

/// Kind and body of the first message, and what follows it.
fn message(data: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = u32::from_ne_bytes(data.get(..4)?.try_into().ok()?) as usize;
    let kind = u16::from_ne_bytes(data.get(4..6)?.try_into().ok()?);
    let body = data.get(HEAD..length)?;
    Some((kind, body, data.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

/// The name of a chain, if it drops what is forwarded.
fn dropping(body: &[u8]) -> Option<String> {
    let attributes = of_ipv4(body)?;
    let number = |data, kind| Some(u32::from_be_bytes(attribute(data, kind)?.try_into().ok()?));
    let hook = number(attribute(attributes, CHAIN_HOOK)?, HOOK_NUMBER)?;
    if hook != FORWARD || number(attributes, CHAIN_POLICY)? != DROP {
        return None;
    }
    name(attributes)
}

/// The name of a chain, if it is a base chain for NAT.
fn natting(body: &[u8]) -> Option<String> {
    let attributes = of_ipv4(body)?;
    if text(attributes, CHAIN_TYPE)? == "nat" { name(attributes) } else { None }
}

/// The attributes of a chain that sees IPv4.
fn of_ipv4(body: &[u8]) -> Option<&[u8]> {
    if FAMILIES.contains(body.first()?) { body.get(FAMILY..) } else { None }
}

fn name(attributes: &[u8]) -> Option<String> {
    Some(format!("{} {}", text(attributes, CHAIN_TABLE)?, text(attributes, CHAIN_NAME)?))
}

fn text(attributes: &[u8], kind: u16) -> Option<String> {
    let bytes = attribute(attributes, kind)?;
    Some(String::from_utf8_lossy(bytes.split(|b| *b == 0).next()?).into_owned())
}

/// What an attribute holds.
fn attribute(mut data: &[u8], wanted: u16) -> Option<&[u8]> {
    /// Flags in the kind: nested, and network byte order.
    const FLAGS: u16 = 0xc000;
    loop {
        let length = usize::from(u16::from_ne_bytes(data.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(data.get(2..4)?.try_into().ok()?) & !FLAGS;
        let value = data.get(ATTRIBUTE..length)?;
        if kind == wanted {
            return Some(value);
        }
        data = data.get(length.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attr(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = ((ATTRIBUTE + value.len()) as u16).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn chain(family: u8, hook: u32, policy: u32) -> Vec<u8> {
        let parts = [
            vec![family, 0, 0, 0],
            attr(CHAIN_TABLE, b"filter\0"),
            attr(CHAIN_NAME, b"FORWARD\0"),
            attr(CHAIN_HOOK | 0x8000, &attr(HOOK_NUMBER, &hook.to_be_bytes())),
            attr(CHAIN_POLICY, &policy.to_be_bytes()),
        ];
        parts.concat()
    }

    #[test]
    fn a_chain_that_drops_what_is_forwarded_is_named() {
        assert_eq!(dropping(&chain(2, FORWARD, DROP)).as_deref(), Some("filter FORWARD"));
        for other in [chain(2, FORWARD, 1), chain(2, 1, DROP), chain(10, FORWARD, DROP)] {
            assert_eq!(dropping(&other), None);
        }
        let nat = [chain(2, 4, 1), attr(CHAIN_TYPE, b"nat\0")].concat();
        assert_eq!((natting(&nat).as_deref(), natting(&chain(2, 4, 1))), (Some("filter FORWARD"), None));
        let whole = chain(1, FORWARD, DROP);
        for length in 0..whole.len() {
            let _ = dropping(&whole[..length]);
        }
    }
}
