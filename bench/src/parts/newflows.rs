//! New flows: how many a second, what each costs, and how long a client waits for its first byte.

mod tcp;
mod udp;

use std::time::Duration;

use anyhow::Result;
use nat_tests::lab::session::Session;

use crate::conntrack::Limits;
use crate::context::{Context, progress};
use crate::cores::{self, Awake};
use crate::endpoints::{Contender, Delays, Frames, Kind, Lane, Table};
use crate::report::section::{Cell, Compare, Finding, Plot, Row, Sample, Section, Table as Rows, Target};

/// Flows that natgw's table takes; nft's has room for as many.
const FLOWS: u32 = 1_000_000;

/// What was measured of one contender.
#[derive(Default)]
struct Figures {
    udp: Vec<f64>,
    lost: Vec<f64>,
    connections: Vec<f64>,
    gateway_us: Vec<f64>,
    first_byte: Delays,
}

/// Measures.
pub fn run(context: &Context) -> Result<Section> {
    let session = Session::open()?;
    let _room = Limits::raise()?;
    let lanes = Kind::ALL.iter().map(|kind| Lane::build(&session, *kind)).collect::<Result<Vec<_>>>()?;
    let table = Table { flows: FLOWS, arguments: Vec::new() };
    let contenders =
        lanes.iter().map(|lane| Contender::start(&session, lane, &table)).collect::<Result<Vec<_>>>()?;
    let mut figures: Vec<Figures> = contenders.iter().map(|_| Figures::default()).collect();
    measure(context, &contenders, &mut figures)?;
    for contender in &contenders {
        contender.check_drops()?;
    }
    Ok(report(&contenders, &figures))
}

fn measure(context: &Context, contenders: &[Contender<'_>], figures: &mut [Figures]) -> Result<()> {
    let (ends, gateway) = cores::ends_and_gateway()?;
    let mut frames = Frames::load(context)?;
    let mut threads = Vec::new();
    for contender in contenders {
        threads.push(contender.pin(gateway)?);
        frames.attach(contender.lane)?;
        frames.verify(contender.lane, ends)?;
    }
    progress("new flows: UDP");
    for round in 0..=context.pick(2, 9) {
        for (contender, figures) in contenders.iter().zip(&mut *figures) {
            let measured = udp::measure(&mut frames, contender, round << 24, ends)?;
            if round == 0 {
                // A table that has never been used is in better order than it will ever be again.
                continue;
            }
            figures.udp.push(measured.delivered / 1000.0);
            figures.lost.push(100.0 * measured.lost);
        }
    }
    frames.detach()?;
    progress("new flows: TCP");
    let _awake = Awake::keep(&[ends, gateway])?;
    for contender in contenders {
        contender.forget()?;
        // With softirqs of the ends on the gateway's core, its books would be wrong.
        cores::thread_napi(&contender.lane.cli, "eth0", ends)?;
        cores::thread_napi(&contender.lane.srv, "eth0", ends)?;
    }
    let window = context.pick(Duration::from_millis(150), Duration::from_millis(500));
    for _ in 0..context.pick(3, 9) {
        for ((contender, figures), threads) in contenders.iter().zip(&mut *figures).zip(&threads) {
            let measured = tcp::connections(contender, threads, window, ends)?;
            figures.connections.push(measured.per_second / 1000.0);
            figures.gateway_us.push(measured.gateway_us);
        }
    }
    progress("new flows: first byte");
    let (rounds, count) = context.pick((3, 200), (10, 400));
    for round in 0..rounds {
        for (contender, figures) in contenders.iter().zip(&mut *figures) {
            let delays = tcp::first_byte(contender, round * count, count, ends)?;
            figures.first_byte.merge(&delays);
        }
    }
    Ok(())
}

fn report(contenders: &[Contender<'_>], figures: &[Figures]) -> Section {
    let rows = |cells: &dyn Fn(&Figures) -> Vec<Cell>| -> Vec<Row> {
        let all = contenders.iter().zip(figures);
        all.map(|(c, f)| Row { name: c.lane.kind.title().to_owned(), cells: cells(f) }).collect()
    };
    let sample = |values: &[f64]| Cell::Sample(Sample::of(values));
    let tables = vec![
        Rows {
            id: "newflows-udp".to_owned(),
            caption: "New UDP flows per second: every packet is one".to_owned(),
            key: "gateway".to_owned(),
            columns: vec!["new flows, kflows/s".to_owned(), "lost of 4 Mpps, %".to_owned()],
            unit: "kflows/s".to_owned(),
            rows: rows(&|f| vec![sample(&f.udp), sample(&f.lost)]),
            plot: Plot::None,
        },
        Rows {
            id: "newflows-tcp".to_owned(),
            caption: "TCP connections opened and closed by real sockets".to_owned(),
            key: "gateway".to_owned(),
            columns: vec!["connections, k/s".to_owned(), "gateway's core, us each".to_owned()],
            unit: "k/s".to_owned(),
            rows: rows(&|f| vec![sample(&f.connections), sample(&f.gateway_us)]),
            plot: Plot::None,
        },
        Rows {
            id: "newflows-first-byte".to_owned(),
            caption: "Time to the first byte: connect, one byte there, one byte back".to_owned(),
            key: "gateway".to_owned(),
            columns: ["p50", "p90", "p99", "max", "connections"].map(str::to_owned).to_vec(),
            unit: "us".to_owned(),
            rows: rows(&|f| {
                let quantiles = [0.5, 0.9, 0.99].map(|q| Cell::Number(f.first_byte.quantile(q)));
                let rest = [Cell::Number(f.first_byte.longest()), Cell::Number(f.first_byte.count() as f64)];
                quantiles.into_iter().chain(rest).collect()
            }),
            plot: Plot::Bars,
        },
    ];
    Section {
        id: "newflows".to_owned(),
        title: "New flows".to_owned(),
        notes: NOTES.map(str::to_owned).to_vec(),
        tables,
        findings: findings(contenders, figures),
    }
}

fn findings(contenders: &[Contender<'_>], figures: &[Figures]) -> Vec<Finding> {
    let of = |kind: Kind| contenders.iter().zip(figures).find(|(c, _)| c.lane.kind == kind).map(|(_, f)| f);
    let (Some(natgw), Some(nft), Some(kernel)) = (of(Kind::Natgw), of(Kind::Nft), of(Kind::Kernel)) else {
        return Vec::new();
    };
    let median = |values: &[f64]| Sample::of(values).median;
    let finding = |id: &str, what: &str, value, target, compare| Finding {
        id: format!("newflows/{id}"),
        what: what.to_owned(),
        value,
        target,
        compare,
    };
    vec![
        finding(
            "udp/natgw_over_nft",
            "new UDP flows per second, natgw over nft",
            median(&natgw.udp) / median(&nft.udp),
            Some(Target::AtLeast(3.0)),
            Compare::NotBelow(0.15),
        ),
        finding(
            "tcp/natgw_over_nft",
            "TCP connections per second, natgw over nft (the ends are the limit)",
            median(&natgw.connections) / median(&nft.connections),
            None,
            Compare::NotBelow(0.15),
        ),
        finding(
            "tcp/natgw_over_kernel",
            "TCP connections per second, natgw over kernel forwarding without NAT (the ends' limit)",
            median(&natgw.connections) / median(&kernel.connections),
            None,
            Compare::NotBelow(0.15),
        ),
        finding(
            "tcp/core_natgw_over_nft",
            "time of the gateway's core per TCP connection, natgw over nft",
            median(&natgw.gateway_us) / median(&nft.gateway_us),
            None,
            Compare::NotAbove(0.2),
        ),
        finding(
            "first_byte/natgw_over_nft",
            "median time to the first byte, natgw over nft",
            natgw.first_byte.quantile(0.5) / nft.first_byte.quantile(0.5),
            None,
            Compare::NotAbove(0.15),
        ),
    ]
}

/// What the figures mean.
const NOTES: [&str; 4] = [
    "UDP: a generator in the kernel (BPF_PROG_TEST_RUN with live frames, 64-byte frames, valid checksums) makes every \
     packet another flow: 256 clients, 1,024 destinations, ports from 64,512. Counted is what arrives, translated, at \
     an XDP_DROP receiver behind the gateway; the gateway's own count of flows must agree within 1 %. Each round \
     starts from an empty table and ends with some 100,000 to 300,000 flows in it. Generator on one core, gateway \
     (threaded NAPI) and receiver on another. Offered are 4 Mpps and not as many as the generator can: at 17 Mpps \
     into a full ring, the ring's own contention takes a third of every gateway's rate.",
    "TCP: 64 connections at a time, from 64 client addresses to 16 server addresses, each closed as soon as it is \
     open, by real sockets on the same core as the server. Client and server take most of the time, so the rates \
     differ little; the time that the gateway's core worked per connection (six to seven packets, and one birth) \
     tells the gateways apart.",
    "First byte: fresh connections one after the other, timed in the client from connect(2) to the answer's byte. \
     Both cores are kept awake by a thread of the lowest priority, because waking a virtual core takes longer than \
     all the rest.",
    "nft: masquerade and a stateful forward filter, nothing else; conntrack with two buckets and two entries of room \
     per expected flow, no checksum checks, set for the run and put back. Kernel forwarding translates nothing and remembers nothing: it \
     is what the ends and the wire can do, not an opponent.",
];
