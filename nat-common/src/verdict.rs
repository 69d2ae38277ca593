//! Why a packet was dropped: one list shared by the packet path, the counters and every text.

/// Reasons for a drop. Append-only: the number is an index into a pinned counter array.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Reason {
    /// From outside to an EIP, and no flow, forward or socket wants it.
    UnsolicitedInbound = 0,
    /// No free port towards this destination on any EIP of the pool.
    PortExhausted = 1,
    /// The flow table is full.
    TableFull = 2,
    /// A protocol or ICMP type that cannot be translated.
    UnsupportedProto = 3,
    /// Malformed or truncated IPv4 or transport header.
    BadHeader = 4,
    /// A checksum that must be right is not.
    BadChecksum = 5,
    /// An IPv4 fragment.
    Fragment = 6,
    /// From inside, belongs to no flow and may not start one (TCP without SYN, an echo reply).
    NoFlow = 7,
    /// From outside, and its TTL ends here.
    Ttl = 8,
    /// From outside, larger than the inside link, and may not be fragmented.
    Mtu = 9,
    /// The driver or devmap refused the frame.
    RedirectError = 10,
    /// Translated, but the kernel has no route for it.
    NoRoute = 11,
    /// Refused by configuration.
    Policy = 12,
    /// The client is over its quota.
    Quota = 13,
    /// A source that cannot be genuine on this side, or that no pool serves.
    SpoofedSource = 14,
    /// Belongs to a flow that is past its deadline.
    Expired = 15,
    /// Stopped by a tc guard on its way around the XDP program.
    Guard = 16,
    /// VLAN-tagged and from an inside source: routing between VLANs is not supported.
    Vlan = 17,
    /// Unicast IPv4 in a link-layer broadcast or multicast frame.
    GroupMac = 18,
    /// From outside, neither for this host nor for an EIP.
    Transit = 19,
    /// Another CPU was in the way of a birth; the next packet tries again.
    Contended = 20,
    /// Carries an IPv4 source route option.
    SourceRoute = 21,
}

impl Reason {
    /// Every reason, in the order of their numbers.
    pub const ALL: [Self; 22] = [
        Self::UnsolicitedInbound,
        Self::PortExhausted,
        Self::TableFull,
        Self::UnsupportedProto,
        Self::BadHeader,
        Self::BadChecksum,
        Self::Fragment,
        Self::NoFlow,
        Self::Ttl,
        Self::Mtu,
        Self::RedirectError,
        Self::NoRoute,
        Self::Policy,
        Self::Quota,
        Self::SpoofedSource,
        Self::Expired,
        Self::Guard,
        Self::Vlan,
        Self::GroupMac,
        Self::Transit,
        Self::Contended,
        Self::SourceRoute,
    ];

    /// Name in JSON and metric labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UnsolicitedInbound => "unsolicited_inbound",
            Self::PortExhausted => "port_exhausted",
            Self::TableFull => "table_full",
            Self::UnsupportedProto => "unsupported_proto",
            Self::BadHeader => "bad_header",
            Self::BadChecksum => "bad_checksum",
            Self::Fragment => "fragment",
            Self::NoFlow => "no_flow",
            Self::Ttl => "ttl",
            Self::Mtu => "mtu",
            Self::RedirectError => "redirect_error",
            Self::NoRoute => "no_route",
            Self::Policy => "policy",
            Self::Quota => "quota",
            Self::SpoofedSource => "spoofed_source",
            Self::Expired => "expired",
            Self::Guard => "guard",
            Self::Vlan => "vlan",
            Self::GroupMac => "group_mac",
            Self::Transit => "transit",
            Self::Contended => "contended",
            Self::SourceRoute => "source_route",
        }
    }

    /// One line for a person who wonders about the counter.
    pub const fn text(self) -> &'static str {
        match self {
            Self::UnsolicitedInbound => "from outside, to an EIP, and nobody inside asked for it",
            Self::PortExhausted => "no free port towards this destination; add an EIP to the pool",
            Self::TableFull => "the flow table is full; raise max_flows",
            Self::UnsupportedProto => "a protocol or ICMP type that natgw does not translate",
            Self::BadHeader => "malformed or truncated IPv4, TCP, UDP or ICMP header",
            Self::BadChecksum => "wrong checksum where it matters",
            Self::Fragment => "IPv4 fragment",
            Self::NoFlow => "from inside, belongs to no flow and may not start one",
            Self::Ttl => "from outside, TTL used up",
            Self::Mtu => "from outside, too big for the inside link, DF set",
            Self::RedirectError => "the driver refused the frame",
            Self::NoRoute => "no route after translation",
            Self::Policy => "refused by configuration",
            Self::Quota => "client over its quota",
            Self::SpoofedSource => "source cannot be genuine on this side, or no pool serves it",
            Self::Expired => "its flow is past its deadline",
            Self::Guard => "stopped by a tc guard: it tried to pass around the XDP program",
            Self::Vlan => "VLAN-tagged from an inside source",
            Self::GroupMac => "unicast packet in a link-layer broadcast or multicast frame",
            Self::Transit => "from outside, neither for this host nor for an EIP",
            Self::Contended => "another CPU was in the way; the next packet tries again",
            Self::SourceRoute => "carries an IPv4 source route option",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_indices_and_names_are_unique() {
        let mut names = std::collections::HashSet::new();
        for (i, r) in Reason::ALL.iter().enumerate() {
            assert_eq!(*r as usize, i);
            assert!(names.insert(r.name()));
            assert!(!r.text().is_empty());
        }
    }

    /// Counters are pinned and dashboards are built on the names: append, never reorder.
    #[test]
    fn contract_order() {
        let names: Vec<_> = Reason::ALL.iter().take(16).map(|r| r.name()).collect();
        assert_eq!(
            names.join(" "),
            "unsolicited_inbound port_exhausted table_full unsupported_proto bad_header bad_checksum \
             fragment no_flow ttl mtu redirect_error no_route policy quota spoofed_source expired"
        );
    }
}
