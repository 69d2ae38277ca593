//! What the host's firewall does with packets that the kernel forwards, as nf_tables tells it (iptables-nft included).

use std::io;

use rtnetlink::sys::{Socket, SocketAddr, constants::NETLINK_NETFILTER};

/// `NFNL_SUBSYS_NFTABLES << 8`, and messages: include/uapi/linux/netfilter/nf_tables.h.
const NFTABLES: u16 = 10 << 8;
const NEWCHAIN: u16 = NFTABLES | 3;
const GETCHAIN: u16 = NFTABLES | 4;
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
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

/// A chain, as `table chain`, that sees what the kernel forwards and drops it by default.
pub(super) fn forward_drop() -> io::Result<Option<String>> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut request = Vec::with_capacity(HEAD + FAMILY);
    request.extend(((HEAD + FAMILY) as u32).to_ne_bytes());
    request.extend(GETCHAIN.to_ne_bytes());
    request.extend(REQUEST_DUMP.to_ne_bytes());
    request.extend([0; 8 + FAMILY]);
    socket.send(&request, 0)?;
    let mut found = None;
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        let mut rest = &datagram[..];
        if rest.is_empty() {
            return Ok(found);
        }
        while let Some((kind, body, next)) = message(rest) {
            match kind {
                DONE | ERROR => return Ok(found),
                NEWCHAIN => found = found.or_else(|| dropping(body)),
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
    if !FAMILIES.contains(body.first()?) {
        return None;
    }
    let attributes = body.get(FAMILY..)?;
    let text = |kind| {
        let bytes = attribute(attributes, kind)?;
        Some(String::from_utf8_lossy(bytes.split(|b| *b == 0).next()?).into_owned())
    };
    let number = |data, kind| Some(u32::from_be_bytes(attribute(data, kind)?.try_into().ok()?));
    let hook = number(attribute(attributes, CHAIN_HOOK)?, HOOK_NUMBER)?;
    if hook != FORWARD || number(attributes, CHAIN_POLICY)? != DROP {
        return None;
    }
    Some(format!("{} {}", text(CHAIN_TABLE)?, text(CHAIN_NAME)?))
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
        let whole = chain(1, FORWARD, DROP);
        for length in 0..whole.len() {
            let _ = dropping(&whole[..length]);
        }
    }
}
