//! TCP goodput.

mod iperf;

use anyhow::{Result, ensure};
use nat_tests::lab::session::Session;

use crate::conntrack::Limits;
use crate::context::{Context, progress};
use crate::cores::{self, Awake};
use crate::endpoints::sockets::{self, Server};
use crate::endpoints::{Contender, Kind, Lane, Offloads, Table};
use crate::report::section::{Cell, Compare, Finding, Plot, Row, Sample, Section, Table as Rows};
use iperf::{Direction, Transfer};

/// A row: a gateway, and what its interfaces leave to "hardware".
struct Line {
    kind: Kind,
    offloads: Offloads,
    /// Gbit/s, for each column the rounds.
    rates: Vec<Vec<f64>>,
}

/// Rows in the order in which they are shown. natgw has one: with XDP on it, a veth takes no packets larger than its
/// MTU, and none without a checksum.
const LINES: [(Kind, Offloads); 5] = [
    (Kind::Natgw, Offloads::Off),
    (Kind::Nft, Offloads::Off),
    (Kind::Kernel, Offloads::Off),
    (Kind::Nft, Offloads::On),
    (Kind::Kernel, Offloads::On),
];

/// Columns.
const TRANSFERS: [(u32, Direction); 4] =
    [(1, Direction::Out), (1, Direction::In), (4, Direction::Out), (4, Direction::In)];

/// Measures.
pub fn run(context: &Context) -> Result<Section> {
    let session = Session::open()?;
    let _limits = Limits::raise()?;
    let lanes = Kind::ALL.iter().map(|kind| Lane::build(&session, *kind)).collect::<Result<Vec<_>>>()?;
    let table = Table { flows: 10_000, arguments: Vec::new() };
    let contenders =
        lanes.iter().map(|lane| Contender::start(&session, lane, &table)).collect::<Result<Vec<_>>>()?;
    let (ends, gateway) = cores::ends_and_gateway()?;
    let _awake = Awake::keep(&[ends, gateway])?;
    let mut servers = Vec::new();
    for contender in &contenders {
        contender.pin(gateway)?;
        cores::thread_napi(&contender.lane.cli, "eth0", ends)?;
        cores::thread_napi(&contender.lane.srv, "eth0", ends)?;
        verify(contender, ends)?;
        servers.push(iperf::Server::start(contender.lane, ends)?);
    }
    progress("goodput: iperf3");
    let columns = context.pick(vec![0, 3], vec![0, 1, 2, 3]);
    let mut lines: Vec<Line> = LINES
        .iter()
        .map(|(kind, offloads)| Line { kind: *kind, offloads: *offloads, rates: vec![Vec::new(); 4] })
        .collect();
    for _ in 0..context.pick(1, 3) {
        for line in &mut lines {
            let Some(contender) = contenders.iter().find(|c| c.lane.kind == line.kind) else { continue };
            if line.kind != Kind::Natgw {
                contender.lane.offloads(line.offloads)?;
            }
            for column in &columns {
                let (streams, direction) = TRANSFERS[*column];
                let megabytes = match line.offloads {
                    Offloads::Off => context.pick(100, 400),
                    Offloads::On => context.pick(500, 2000),
                };
                let transfer = Transfer { streams, direction, megabytes };
                line.rates[*column].push(iperf::measure(contender.lane, transfer, ends)?);
            }
        }
    }
    for contender in &contenders {
        contender.check_drops()?;
    }
    Ok(report(&lines))
}

/// Connections must arrive translated.
fn verify(contender: &Contender<'_>, cpu: usize) -> Result<()> {
    let server = Server::start(contender.lane, cpu)?;
    let delays = contender.lane.cli.run(|| sockets::first_bytes(0, 3))?;
    server.finish()?;
    ensure!(delays.count() == 3, "{}: connections fail", contender.lane.kind.title());
    Ok(())
}

fn report(lines: &[Line]) -> Section {
    let rows = lines.iter().map(|line| {
        let offloads = match (line.kind, line.offloads) {
            (_, Offloads::Off) => "packets of the MTU",
            (_, Offloads::On) => "packets of 64 kB",
        };
        let cell = |rates: &Vec<f64>| {
            if rates.is_empty() { Cell::Missing } else { Cell::Sample(Sample::of(rates)) }
        };
        Row {
            name: format!("{}, {offloads}", line.kind.title()),
            cells: line.rates.iter().map(cell).collect(),
        }
    });
    let column = |(streams, direction): (u32, Direction)| {
        let way = if direction == Direction::Out { "out" } else { "in" };
        format!("{streams} stream{} {way}", if streams == 1 { "" } else { "s" })
    };
    let table = Rows {
        id: "goodput".to_owned(),
        caption: "TCP goodput by iperf3 between two sockets, through the gateway".to_owned(),
        key: "gateway".to_owned(),
        columns: TRANSFERS.map(column).to_vec(),
        unit: "Gbit/s".to_owned(),
        rows: rows.collect(),
        plot: Plot::Bars,
    };
    let median = |kind: Kind, column: usize| {
        let line = lines.iter().find(|line| line.kind == kind && line.offloads == Offloads::Off);
        line.map_or(f64::NAN, |line| Sample::of(&line.rates[column]).median)
    };
    let ratio = |id: &str, what: &str, over: Kind, column: usize| Finding {
        id: format!("goodput/{id}"),
        what: what.to_owned(),
        value: median(Kind::Natgw, column) / median(over, column),
        target: None,
        compare: Compare::Never,
    };
    Section {
        id: "goodput".to_owned(),
        title: "TCP goodput".to_owned(),
        notes: NOTES.map(str::to_owned).to_vec(),
        tables: vec![table],
        findings: vec![
            ratio(
                "1/out/natgw_over_nft",
                "goodput of one stream out, MTU-sized packets, natgw over nft",
                Kind::Nft,
                0,
            ),
            ratio(
                "4/in/natgw_over_nft",
                "goodput of four streams in, MTU-sized packets, natgw over nft",
                Kind::Nft,
                3,
            ),
            ratio(
                "1/out/natgw_over_kernel",
                "goodput of one stream out, MTU-sized packets, natgw over kernel forwarding",
                Kind::Kernel,
                0,
            ),
        ],
    }
}

/// What the figures mean.
const NOTES: [&str; 3] = ["", "", ""];
