//! A client that asks for ports that are not there, as fast as it can.

use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nat_tests::lab::servers::{Server, any};
use nat_tests::lab::tap::{Injector, mac_of};
use nat_tests::lab::{Gateway, Lab, Options, SRV_A, SRV_B, client_addr, wait_until};
use nat_tests::packet::{Packet, flags};

use super::{answered, count, inspect, sockets};

const HAMMERED: Duration = Duration::from_secs(3);
const FIRST: u16 = 20_000;

/// Frames that differ in their source port, ready to send.
fn frames(lab: &Lab, n: u8, ports: u16, make: impl Fn(u16) -> Packet) -> Vec<Vec<u8>> {
    let client = lab.client(usize::from(n));
    let (smac, dmac) = (mac_of(client, "eth0").unwrap(), mac_of(lab.gw(), "in0").unwrap());
    (0..ports).map(|p| make(p).macs(smac, dmac).build()).collect()
}

struct Load {
    packets_per_second: f64,
    softirq_share: f64,
    probes_per_second: f64,
    refusals_per_second: f64,
}

/// Sends `frames` round and round from client 0 while `meanwhile` runs; what it cost.
fn hammer(lab: &Lab, gateway: &Gateway<'_>, frames: &[Vec<u8>], meanwhile: impl FnOnce()) -> Load {
    let maps = inspect(gateway);
    let injector = Injector::open(lab.client(0), "eth0").unwrap();
    let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|s| {
        s.spawn(|| {
            for frame in frames.iter().cycle() {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                // A full queue is a reason to go on.
                let _ = injector.send(frame);
                sent.fetch_add(1, Ordering::Relaxed);
            }
        });
        let start = Instant::now();
        let (before, softirq) = (maps.stats().unwrap(), softirq_ticks());
        meanwhile();
        std::thread::sleep(HAMMERED.saturating_sub(start.elapsed()));
        let (after, ticks) = (maps.stats().unwrap(), softirq_ticks() - softirq);
        let seconds = start.elapsed().as_secs_f64();
        stop.store(true, Ordering::Relaxed);
        let rate = |n: u64| float(n) / seconds;
        Load {
            packets_per_second: rate(sent.load(Ordering::Relaxed)),
            // In ticks of 10 ms, summed over the CPUs.
            softirq_share: rate(ticks) / 100.0,
            probes_per_second: rate(after.probes - before.probes),
            refusals_per_second: rate(after.port_allocation_errors - before.port_allocation_errors),
        }
    })
}

#[expect(clippy::cast_precision_loss, reason = "a rate to print")]
fn float(n: u64) -> f64 {
    n as f64
}

/// Softirq time of all CPUs together since boot, in ticks of 10 ms (`USER_HZ`).
fn softirq_ticks() -> u64 {
    let text = std::fs::read_to_string("/proc/stat").unwrap();
    // cpu, user, nice, system, idle, iowait, irq, softirq.
    text.split_whitespace().nth(7).unwrap().parse().unwrap()
}

fn report(what: &str, load: &Load) {
    println!(
        "{what:<34} {:>9.0} packets/s {:>6.1} % of a CPU in softirq {:>9.0} probes/s {:>9.0} refused/s",
        load.packets_per_second,
        load.softirq_share * 100.0,
        load.probes_per_second,
        load.refusals_per_second
    );
}

fn cpus() -> f64 {
    let count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    float(count as u64)
}

/// Fills every port towards these destination ports of `SRV_A`.
fn exhaust(lab: &Lab, gateway: &Gateway<'_>, ports: u16, dports: std::ops::Range<u16>) {
    let maps = inspect(gateway);
    let injector = Injector::open(lab.client(0), "eth0").unwrap();
    let wanted = u64::from(ports) * dports.len() as u64;
    wait_until("every port taken", Duration::from_secs(30), || {
        for dport in dports.clone() {
            for frame in frames(lab, 0, ports + 8, |p| question(1024 + p, dport)) {
                let _ = injector.send(&frame);
            }
        }
        maps.stats().unwrap().births[1] == wanted
    });
}

fn question(sport: u16, dport: u16) -> Packet {
    Packet::udp(SocketAddrV4::new(client_addr(0), sport), SocketAddrV4::new(SRV_A, dport))
}

fn options(ports: u16) -> Options {
    Options::one_eip().arg("--ports").arg(&format!("{FIRST}-{}", FIRST + ports - 1))
}

#[test]
fn a_full_destination_cannot_be_used_to_burn_cpu() {
    const PORTS: u16 = 512;
    let lab = Lab::two_armed(2).unwrap();
    let gateway = Gateway::start(&lab, &options(PORTS)).unwrap();
    let _server = Server::udp_echo(lab.node("srv-b"), any(53)).unwrap();
    let budget = f64::from(inspect(&gateway).settings().unwrap().probe_budget) * cpus();
    exhaust(&lab, &gateway, PORTS, 9..10);
    let others = || {
        let new = sockets(lab.client(1), 100);
        let begun = Instant::now();
        let has = answered(&new, SocketAddrV4::new(SRV_B, 53), Duration::from_secs(2));
        println!("{} of 100 flows of another client answered in {:?}", count(&has), begun.elapsed());
        assert_eq!(count(&has), 100, "other clients' new flows");
    };

    let hits = frames(&lab, 0, PORTS, |p| question(1024 + p, 9));
    let known = hammer(&lab, &gateway, &hits, || ());
    report("existing flows, for comparison", &known);
    let closed = frames(&lab, 0, 4096, |p| {
        let inside = SocketAddrV4::new(client_addr(0), 1024 + p);
        Packet::tcp(inside, SocketAddrV4::new(SRV_A, 9), flags::ACK)
    });
    report("packets that may start nothing", &hammer(&lab, &gateway, &closed, || ()));
    let refused = frames(&lab, 0, 20_000, |p| question(30_000 + p, 9));
    let load = hammer(&lab, &gateway, &refused, others);
    report("an exhausted destination", &load);
    assert!(load.refusals_per_second > 1000.0, "the hammer hit nothing");
    // Seconds of the budget and of the measurement do not begin together.
    let bound = budget * (1.0 + 1.0 / HAMMERED.as_secs_f64()) + 64.0 * 100.0;
    assert!(load.probes_per_second <= bound, "{} probes/s, bound {bound}", load.probes_per_second);
}

#[test]
fn nor_can_many_full_destinations() {
    // More destinations than the budget pays walks for in a second.
    const PORTS: u16 = 64;
    const MANY: u16 = 400;
    let lab = Lab::two_armed(1).unwrap();
    let gateway = Gateway::start(&lab, &options(PORTS)).unwrap();
    let budget = f64::from(inspect(&gateway).settings().unwrap().probe_budget) * cpus();
    exhaust(&lab, &gateway, PORTS, 100..100 + MANY);
    let refused = frames(&lab, 0, 20_000, |p| question(30_000 + p, 100 + p % MANY));
    let bound = budget * (1.0 + 1.0 / HAMMERED.as_secs_f64()) + 64.0 * f64::from(MANY) * 4.0;
    // A destination counts as full only when a walk that the budget paid for has found it so: until then its
    // packets have their quick probes for free. It takes seconds until that has happened to all 400.
    for round in 1..=6 {
        let load = hammer(&lab, &gateway, &refused, || ());
        report(&format!("400 exhausted destinations, {round}"), &load);
        assert!(load.refusals_per_second > 1000.0, "the hammer hit nothing");
        if load.probes_per_second <= bound {
            return;
        }
    }
    panic!("more than {bound} probes/s, and no end of it");
}
