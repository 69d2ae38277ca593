//! Latency: idle, under load, and while the daemon has work to do.

mod contenders;
mod lines;
mod million;
mod oneway;
mod pingpong;

use anyhow::{Context as _, Result, anyhow};
use nat_tests::lab::session::Session;

use crate::conntrack::Limits;
use crate::context::{Context, progress};
use crate::cores::{self, Awake};
use crate::endpoints::{Contender, Frames, Kind, Lane, Table};
use crate::report::section::{Compare, Finding, Plot, Sample, Section, Table as Rows, Target};
use contenders::{half, idle};
use lines::{COLUMNS, Line};

/// Measures.
pub fn run(context: &Context) -> Result<Section> {
    let session = Session::open()?;
    let flows = context.pick(300_000, 1_000_000);
    let _room = Limits::raise()?;
    let lanes = Kind::ALL.iter().map(|kind| Lane::build(&session, *kind)).collect::<Result<Vec<_>>>()?;
    // The collector goes over the table twice in the shortest timeout: with this one, all the time.
    let arguments = ["--persist", "--timeout", "icmp=1s"].map(str::to_owned).to_vec();
    let table = Table { flows: flows + flows / 4, arguments };
    let mut contenders =
        lanes.iter().map(|lane| Contender::start(&session, lane, &table)).collect::<Result<Vec<_>>>()?;
    // On a thread of its own, which can be kept off the gateway's core.
    std::thread::scope(|scope| {
        let measuring = scope.spawn(|| measure(context, &mut contenders, flows.into()));
        measuring.join().map_err(|_| anyhow!("the measuring thread panicked"))?
    })
}

fn measure(context: &Context, contenders: &mut [Contender<'_>], flows: u64) -> Result<Section> {
    let (ends, gateway) = cores::ends_and_gateway()?;
    cores::pin(0, ends)?;
    let _awake = Awake::keep(&[ends, gateway])?;
    let mut frames = Frames::load(context)?;
    for contender in &*contenders {
        cores::go_first(&contender.pin(gateway)?)?;
        frames.attach(contender.lane)?;
        frames.verify(contender.lane, ends)?;
    }
    progress("latency: natgw, nft and kernel forwarding");
    let compared = contenders::measure(context, &mut frames, contenders, ends)?;
    progress("latency: a large table, its collector, restarts");
    let natgw = contenders.iter_mut().find(|c| c.lane.kind == Kind::Natgw).context("no natgw")?;
    let million = million::measure(context, &mut frames, natgw, flows, (ends, gateway))?;
    natgw.check_drops()?;
    Ok(report(&compared, &million))
}

fn report(compared: &contenders::Lines, million: &million::Lines) -> Section {
    let table = |id: &str, caption: &str, lines: &[&Line]| Rows {
        id: format!("latency-{id}"),
        caption: caption.to_owned(),
        key: "gateway".to_owned(),
        columns: COLUMNS.map(str::to_owned).to_vec(),
        unit: "us".to_owned(),
        rows: lines.iter().map(|line| line.row()).collect(),
        plot: Plot::None,
    };
    let daemon = Sample::of(&million.daemon).median * 100.0;
    let flows = million.flows;
    let tables = vec![
        table(
            "oneway",
            "One way through the gateway, from sending to receiving in the kernel",
            &compared.oneway.iter().collect::<Vec<_>>(),
        ),
        table(
            "rtt",
            "Round trip of a UDP flow between two sockets through the gateway",
            &compared.round_trips.iter().collect::<Vec<_>>(),
        ),
        table(
            "daemon",
            &format!("One way through natgw with {flows} flows, all of them in use, at half of its maximum"),
            &[&million.stopped, &million.collector, &million.shared, &million.reload, &million.restart],
        ),
    ];
    let mut notes = NOTES.map(str::to_owned).to_vec();
    notes.push(format!(
        "With {flows} flows the collector passes over the table again and again (an idle timeout of 1 s makes it; by \
         default it starts a pass every 20 s), and takes {daemon:.1} % of a core. `daemon stopped` is the same table \
         with the daemon halted by SIGSTOP. On the gateway's core, NAPI is a thread that has to wait until a system \
         call of the daemon ends; a NIC's interrupt would not."
    ));
    if million.reload.quantiles(0.5).is_empty() {
        notes.push(
            "This natgw has no `reload`: a changed configuration is applied by a restart with `--persist`, which is \
             the last row."
                .to_owned(),
        );
    }
    Section {
        id: "latency".to_owned(),
        title: "Latency under load".to_owned(),
        notes,
        tables,
        findings: findings(compared, million),
    }
}

fn findings(compared: &contenders::Lines, million: &million::Lines) -> Vec<Finding> {
    let median = |line: &Line, share| Sample::of(&line.quantiles(share)).median;
    let oneway = |name: String| {
        compared.oneway.iter().find(|line| line.name == name).map_or(f64::NAN, |line| median(line, 0.5))
    };
    let finding = |id: &str, what: &str, value, target, compare| Finding {
        id: format!("latency/{id}"),
        what: what.to_owned(),
        value,
        target,
        compare,
    };
    let collector = |share| median(&million.collector, share) / median(&million.stopped, share);
    vec![
        finding(
            "idle/natgw_over_nft",
            "median one-way delay when idle, natgw over nft",
            oneway(idle(Kind::Natgw)) / oneway(idle(Kind::Nft)),
            None,
            Compare::NotAbove(0.15),
        ),
        finding(
            "half/natgw_over_nft",
            "median one-way delay at half of nft's maximum, natgw over nft",
            oneway(half(Kind::Natgw, Kind::Nft)) / oneway(half(Kind::Nft, Kind::Nft)),
            None,
            Compare::NotAbove(0.25),
        ),
        finding(
            "collector/p99",
            "p99 of the one-way delay while the collector is at work, over the same without it",
            collector(0.99),
            None,
            Compare::Never,
        ),
        finding(
            "collector/p999",
            "p99.9 of the one-way delay while the collector is at work, over the same without it",
            collector(0.999),
            Some(Target::AtMost(1.2)),
            Compare::Never,
        ),
    ]
}

/// What the figures mean.
const NOTES: [&str; 3] = [
    "One way: the generator writes the kernel's clock into each packet, an XDP receiver behind the gateway reads the \
     same clock. Included are the wait in the ring at the gateway's input, the waking of the gateway's NAPI thread, \
     the gateway itself, and the receiver. Generator on one core, gateway and receiver on the other; idle is one packet \
     every 20 us, load is in bursts of 8 evenly spaced, and each row takes its load from what that gateway delivered \
     at most in this run. The gateway's NAPI thread goes before every ordinary process (SCHED_FIFO), as a NIC's \
     softirq would; idle cores poll instead of halting, because waking a virtual core takes longer than all the rest.",
    "Round trip: a question and an answer of 8 bytes, timed in the client's process, so it includes four passes \
     through socket code and two wakings of a process. Client, server and the generator of the load share one core, \
     which is most of what the loaded rows show; the one-way table is the one to compare gateways by.",
    "Quantiles are of a round of 150 ms; shown is the median of the rounds, with the smallest and the largest. The machine \
     has two virtual cores, and whatever else it and its host do stops one of them for milliseconds now and then: that is \
     what the largest figures and the maxima show, with every gateway.",
];
