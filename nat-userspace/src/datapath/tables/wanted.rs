//! What the maps are to hold: a gateway's configuration in the types of the packet path.

use std::collections::BTreeMap;

use ipnet::Ipv4Net;
use nat_common::eip::ReservedPort;
use nat_common::hash::Secret;
use nat_common::nh::HashKey;
use nat_common::ports::PortSet;
use nat_common::settings::{PROBE_BUDGET, Settings};
use nat_common::table;
use nat_common::timeouts::IdleLimits;
use nat_common::{Addr, Eip, EipState, Port};
use nix::net::if_::if_nametoindex;

use super::contents::{Prefix, Trie};
use crate::datapath::error::Error;
use crate::model::gateway::{Gateway, Pool};
use crate::model::ports::blocks;

/// Events per CPU and second: enough to notice, too few to hurt.
const EVENT_BUDGET: u32 = 10;

/// What the maps are to hold. Where in the maps EIPs and members stand is for [`super::plan`] to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Settings.
    pub settings: Settings,
    /// Destinations that are routed, not translated.
    pub exempt: Trie<Addr, u32>,
    /// Ports that are never claimed.
    pub reserved: Trie<ReservedPort, u32>,
    /// Pools, in the order of the configuration, whose numbers they have.
    pub pools: Vec<WantedPool>,
}

/// A pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WantedPool {
    /// Sources that it serves.
    pub sources: Vec<Prefix<Addr>>,
    /// Its EIPs. Slot and pool are not theirs to say.
    pub eips: Vec<Eip>,
}

impl Wanted {
    /// What `gateway` means for a flow table with so many places.
    pub fn new(gateway: &Gateway, keys: &Keys, places: u32) -> Self {
        let Keys { secret, hash, choice, placing, handover_mac } = *keys;
        let settings = Settings {
            secret,
            hash,
            choice,
            placing,
            handover_mac,
            homes: table::homes(places),
            capacity: table::capacity(places),
            timeouts: IdleLimits::from(&gateway.timeouts),
            probe_budget: PROBE_BUDGET,
            event_budget: EVENT_BUDGET,
            shared_echo: gateway.shared_echo.into(),
            answers_per_second: gateway.answers_per_second,
        };
        Self {
            settings,
            exempt: gateway.exempt.iter().map(|net| (prefix(*net), 1)).collect(),
            reserved: reserved(&gateway.pools),
            pools: gateway.pools.iter().map(WantedPool::new).collect(),
        }
    }
}

impl WantedPool {
    fn new(pool: &Pool) -> Self {
        let (first, last) = pool.ports;
        let eips = pool.eips.iter().map(|desired| Eip {
            addr: Addr::from(desired.addr),
            // Validated before; an EIP without ports takes no flows.
            ports: PortSet::new(first, last, desired.host_ports).unwrap_or_default(),
            slot: 0,
            pool: 0,
            state: EipState::Active as u8,
            shared: desired.host_ports.is_some().into(),
            reserves: (!desired.reserved.is_empty()).into(),
            bound: pool.outside.as_ref().is_some_and(|name| name != Pool::ANY).into(),
            outside: desired.outside.as_deref().map_or(0, index_of),
            ..Eip::default()
        });
        Self { sources: pool.sources.iter().map(|net| prefix(*net)).collect(), eips: eips.collect() }
    }
}

/// The index that a link has now. While it is gone, its EIPs belong to one that no packet leaves by.
fn index_of(link: &str) -> u32 {
    if_nametoindex(link).unwrap_or(u32::MAX)
}

/// What a data plane draws once and keeps for as long as its flows live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    /// Key of the random bits that port walks start from.
    pub secret: Secret,
    /// Names the home of an entry in the flow table.
    pub hash: HashKey,
    /// Chooses a client's EIP.
    pub choice: HashKey,
    /// Names the slots of a next hop.
    pub placing: HashKey,
    /// Source of frames that are handed over where a driver has no room for metadata.
    pub handover_mac: [u8; 8],
}

impl Keys {
    /// Those of a data plane that is there already; `None` when it has none yet.
    pub fn of(settings: &Settings) -> Option<Self> {
        let Settings { secret, hash, choice, placing, handover_mac, .. } = *settings;
        (hash != HashKey::default()).then_some(Self { secret, hash, choice, placing, handover_mac })
    }

    /// New ones.
    pub fn draw() -> Result<Self, Error> {
        let mut keys =
            Self { secret: draw()?, hash: draw()?, choice: draw()?, placing: draw()?, handover_mac: draw()? };
        // Of one station, and locally administered (IEEE 802, 8.2): no device has it.
        keys.handover_mac[0] = keys.handover_mac[0] & 0xfc | 0x02;
        for key in [&mut keys.hash, &mut keys.choice, &mut keys.placing] {
            key.multiplier |= 1;
        }
        Ok(keys)
    }
}

/// MTUs of routes as the packet path looks them up.
pub fn route_mtus(mtus: &BTreeMap<Ipv4Net, u32>) -> Trie<Addr, u32> {
    mtus.iter().map(|(net, mtu)| (prefix(*net), *mtu)).collect()
}

fn prefix(net: Ipv4Net) -> Prefix<Addr> {
    (u32::from(net.prefix_len()), Addr::from(net.network()))
}

/// The keys of `RESERVED`.
fn reserved(pools: &[Pool]) -> Trie<ReservedPort, u32> {
    let mut keys = Trie::new();
    for eip in pools.iter().flat_map(|p| &p.eips) {
        for range in &eip.reserved {
            for block in blocks(range.ports.first, range.ports.last) {
                let port = ReservedPort {
                    addr: Addr::from(eip.addr),
                    proto: range.proto as u8,
                    spare: 0,
                    port: Port::new(block.first),
                };
                keys.insert((ReservedPort::BITS - 16 + u32::from(block.bits), port), 1);
            }
        }
    }
    keys
}

/// Random bytes.
fn draw<T: bytemuck::Pod>() -> Result<T, Error> {
    let mut drawn = T::zeroed();
    let bytes = bytemuck::bytes_of_mut(&mut drawn);
    // SAFETY: the buffer is writable for its whole length.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    if usize::try_from(got).ok() == Some(bytes.len()) {
        Ok(drawn)
    } else {
        Err(Error::Random(std::io::Error::last_os_error()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::gateway::DesiredEip;

    #[test]
    fn keys_of_reserved_ports_have_address_and_protocol_whole_and_the_port_as_far_as_its_block() {
        let eip = DesiredEip {
            addr: [203, 0, 113, 10].into(),
            host_ports: None,
            of: None,
            outside: None,
            reserved: ["udp/4789", "tcp/5000-5009"].map(|r| r.parse().unwrap()).to_vec(),
        };
        let pool = Pool {
            name: "a".into(),
            eips: vec![eip],
            follows: vec![],
            outside: None,
            sources: vec![],
            ports: (1024, 65535),
        };
        let keys = reserved(&[pool]);
        let mut bytes: Vec<(u32, [u8; 8])> =
            keys.keys().map(|(bits, port)| (*bits, bytemuck::cast(*port))).collect();
        bytes.sort_unstable();
        let key = |proto, port: u16| {
            let [high, low] = port.to_be_bytes();
            [203, 0, 113, 10, proto, 0, high, low]
        };
        assert_eq!(bytes, [(61, key(6, 5000)), (63, key(6, 5008)), (64, key(17, 4789))]);
    }

    #[test]
    fn keys_are_kept_where_there_are_any() {
        let none: Settings = bytemuck::Zeroable::zeroed();
        assert_eq!(Keys::of(&none), None);
        let keys = Keys::draw().unwrap();
        assert_eq!(keys.handover_mac[0] & 3, 2, "locally administered, of one station");
        let Keys { secret, hash, choice, placing, handover_mac } = keys;
        assert_eq!(Keys::of(&Settings { secret, hash, choice, placing, handover_mac, ..none }), Some(keys));
    }
}
