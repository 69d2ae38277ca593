//! What a reader must know to believe the figures, or not to.

use std::time::Duration;

use super::cpus::{Cpus, Times};
use super::measure::Outcome;
use super::verify::SAMPLE;

/// Paragraphs for the head of the section.
pub fn all(outcomes: &[Outcome]) -> Vec<String> {
    let mut notes: Vec<String> = TEXT.iter().map(|t| (*t).to_owned()).collect();
    notes.push(format!(
        "Before each series, every gateway had to prove that it does its job: {SAMPLE} packets, caught whole by a \
         packet socket at the far end, must have arrived in full number, with the right length, payload, IP and UDP \
         checksum, destination, and (routers and NATs) TTL 63 and the next hop's Ethernet address, (NATs) the \
         translated source and one mapping per flow; the answers to them must come back to the client translated \
         back. After each series the receiver's device must have counted as many packets as the receiver, natgw and \
         conntrack must hold exactly the flows that they should, and natgw must have dropped nothing. Otherwise the \
         run fails."
    ));
    notes.extend(quietness(outcomes));
    notes
}

const TEXT: [&str; 8] = [
    "Every gateway has a network namespace of its own between two veths, g-i on the inside and o-s on the outside; \
     all are set up once, and take turns: a warm-up of 100 ms (60 with --quick), then a window in which packets are counted where they \
     arrive. Another gateway begins in every round. Ratios are those of the same round, and of these the median.",
    "The generator is an XDP program under BPF_PROG_TEST_RUN with live frames, 64 frames at a time, redirected into \
     g. It writes all 42 bytes of Ethernet, IPv4 and UDP headers anew in every frame, from a list prepared with all \
     checksums: one inside host, 15,625 source ports by 64 destinations. Random order is one fixed shuffle of all \
     flows, walked again and again, so no flow comes twice before all have come; the list itself is read in \
     sequence (16 bytes a packet), so that the generator misses no cache. Lengths are those of Ethernet frames \
     without check sequence; IMIX is 7:4:1 of 64, 570 and 1514 bytes. The receiver is an XDP program on s that \
     counts in a per-CPU array and drops.",
    "Rows. Generator ceiling: the receiver's program sits on i itself; nothing is forwarded. XDP redirect: i redirects \
     every frame to o through a devmap, unread; no gateway can be faster. XDP forwarding with FIB lookup: what the \
     kernel's samples/bpf/xdp_fwd does: bpf_fib_lookup per packet, TTL, header checksum, both MACs, devmap; \
     BPF_FIB_LOOKUP_DIRECT makes no difference here. XDP hash lookup only: parse, look up a 16-byte tuple in the kernel's \
     preallocated hash, which has room for a million flows like natgw's table: two entries each, with 64-byte values; \
     it is filled with both directions of the same flows in the same order; redirect to the devmap index that the \
     value holds. Nothing is rewritten or counted. natgw's first version kept its flows in such a table. natgw: `natgw run` as shipped, native mode, max_flows at its default of one million, daemon and \
     collector running, one EIP.",
    "Kernel forwarding: ip_forward with rp_filter and early demux off. nftables: the same plus `oif masquerade` and a \
     forward chain `ct state established,related accept; iif ct state new accept; policy drop`; conntrack sized for \
     two million entries with two million buckets, its checksum verification off (a NIC would do it), timeouts of \
     12 hours, every flow answered before the measurement, so that packets match the chain's first rule. Both get \
     the fastest input that was found: a program that passes everything on i, for the sake of NAPI, and GRO off \
     there (on, they are 3 to 8 % slower). Their packets end in the same XDP receiver: dropping them in an nftables \
     ingress hook on s instead, without XDP, is 11 to 19 % slower. rx-udp-gro-forwarding is off, as by default: on, \
     it lifts nftables at one flow by a third, for it merges packets of one flow that come in a row, and lowers it at \
     50,000. There is no row for a flowtable: the kernel of the test machine has none.",
    "Which CPU does what: generator, gateway and receiver share CPU 0, each batch of 64 being forwarded and received \
     before the next is made. So a gateway's time per packet adds to that of the generator and the receiver; nothing \
     is lost, and what is sent is what is delivered. The ceiling shows how little of it is the generator, and the \
     table of own work takes off what all have in common. One table has gateway and receiver on a CPU of their own \
     (threaded NAPI of i, pinned): there the generator sends more than any gateway can take and the excess is lost in \
     i's ring of 256 frames. It is not the main arrangement because moving a frame's cache lines between two CPUs of \
     a virtual machine costs more than forwarding it, which is no part of any gateway and unlike a NIC, and because \
     its results vary more.",
    "A trap for those who check with another live-frame generator: each test run of a program that is attached \
     nowhere puts it into the kernel's XDP dispatcher and takes it out again, which patches code and waits for all \
     CPUs, some 15 ms per system call. Short runs then show about 2,600 kpps whatever the gateway does, and all \
     ratios near 1. Here the generator is also attached to a device that carries nothing, and the wait is gone.",
    "Cross-check: a packet socket (sendmmsg, PACKET_QDISC_BYPASS) in place of the generator and the far device's counter \
     in place of the receiver, at one flow, made and delivered 1,480 kpps through the redirect, which is nearly all the \
     sender's own time; beyond it, a packet took 51 ns more with the FIB lookup, 8 with the hash lookup, 21 with natgw, \
     197 with the kernel's forwarding and 484 with nftables. The table of own work says the same within 25 ns.",
    "From some ten thousand flows on, cache misses decide. A virtual machine gets a share of the last-level cache \
     that its neighbours change: at 50,000 flows, where the tables just about fit, the same code delivers between \
     2,200 and 5,300 kpps on the hash lookup's row from one hour to the next. Under such pressure \
     tables that are only read suffer more than natgw's: with a program on the other CPU that streamed through 400 \
     MB, natgw's first version fell from 4,900 to 3,600 kpps at 50,000 flows and the hash lookup, on the very same \
     table, from 5,200 to 2,400. So of two runs believe the one where that row is higher. Ratios of the same round are \
     compared with a tolerance of 30 % there, of 10 % elsewhere.",
];

/// Whether the machine had something else to do.
fn quietness(outcomes: &[Outcome]) -> Option<String> {
    let shared = outcomes.iter().filter(|o| o.series.cpus == Cpus::Shared);
    let (mut times, mut took) = (Times::default(), Duration::ZERO);
    for outcome in shared {
        times.others_busy += outcome.times.others_busy;
        times.stolen += outcome.times.stolen;
        took += outcome.took;
    }
    if took.is_zero() {
        return None;
    }
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Some(format!(
        "The machine meanwhile: of {:.0} s with all packets on CPU 0, the other {} CPUs together were busy for \
         {:.1} s, natgw's daemon and the reading of counters included; the hypervisor took {:.1} s of all CPUs for others.",
        took.as_secs_f64(),
        cpus - 1,
        seconds(times.others_busy),
        seconds(times.stolen),
    ))
}

#[expect(clippy::cast_precision_loss, reason = "ticks of some minutes")]
fn seconds(ticks: u64) -> f64 {
    ticks as f64 / 100.0
}
