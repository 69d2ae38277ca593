//! What one packet costs: nanoseconds of `BPF_PROG_TEST_RUN`, program by program and case by case.

mod cases;
mod claims;
mod clock;
mod driver;
mod measure;
mod population;
mod tables;
mod tally;
mod traffic;
mod visits;

use std::time::Duration;

use anyhow::Result;

use crate::context::{Context, Effort};
use crate::report::section::Section;
use cases::Series;
use measure::Plan;
use population::Kind;

/// From a flow that never leaves the caches to a table that fits none.
const SIZES: &[u32] = &[1, 50_000, 1_000_000];

const FULL: Series = Series { packets: 200_000, time: Duration::from_millis(30), births: 1000, rounds: 9 };
const QUICK: Series = Series { packets: 100_000, time: Duration::from_millis(15), births: 1000, rounds: 5 };

/// Measures.
pub fn run(context: &Context) -> Result<Section> {
    match context.effort {
        Effort::Full => {
            let plan = |kind| Plan { kind, sizes: SIZES, series: FULL };
            section(context, &[Kind::Udp, Kind::Tcp, Kind::OneArmed].map(plan), Some(FULL.rounds))
        }
        Effort::Check | Effort::Quick => check_subset(context),
    }
}

/// What `--check` needs, and someone who tunes the hot path: all hits hot, UDP at all sizes, and the size of the
/// programs, in a quarter of a minute. The findings are among those of [`run`], under the same names.
pub fn check_subset(context: &Context) -> Result<Section> {
    let plans = [(Kind::Udp, SIZES), (Kind::Tcp, &SIZES[..1]), (Kind::OneArmed, &SIZES[..1])];
    section(context, &plans.map(|(kind, sizes)| Plan { kind, sizes, series: QUICK }), None)
}

fn section(context: &Context, plans: &[Plan], claim_rounds: Option<u32>) -> Result<Section> {
    let all = plans.iter().map(|plan| measure::run(context, *plan)).collect::<Result<Vec<_>>>()?;
    let [costs, raw] = tables::costs(&all);
    let (ratios, mut findings) = tables::ratios(&all);
    let (sizes, of_sizes) = tables::sizes()?;
    findings.extend(of_sizes);
    let mut all_tables = vec![costs, ratios, sizes];
    if let Some(rounds) = claim_rounds {
        let (of_claims, more) = tables::claims(&claims::run(context, rounds)?);
        all_tables.extend(of_claims);
        findings.extend(more);
    }
    all_tables.push(raw);
    Ok(Section {
        id: "program".to_owned(),
        title: "What one packet costs".to_owned(),
        notes: notes(),
        tables: all_tables,
        findings,
    })
}

fn notes() -> Vec<String> {
    [
        "CPU time per packet of 60 bytes by BPF_PROG_TEST_RUN, on one pinned CPU: median (lowest to highest) of rounds \
         in which every program had its turn. After each series natgw's counters are compared with what must have \
         happened to every packet of it.",
        "A test run repeats a program on one frame, so a driver program goes first on every repeat. It takes the next \
         tuple from a list, writes all headers with right checksums, and tail-calls the program under test. The list \
         is shuffled (fixed seed) and read from front to back: the prefetcher hides the list, nothing hides the flow \
         table, and a flow comes again only after all the others. The order has nothing to do with that in which the \
         flows were created. The driver's cost, measured with an empty program in the same rounds, is taken off, and \
         an empty program alone is put in its place; the last table has the figures as measured.",
        "Flows were created by their first packets through natgw itself, answered, and (TCP) established. natgw's \
         table has room for a million flows at every size (where only one flow is measured, for fewer). A new flow \
         writes where nobody has been for long, so it is never hot. The kernel hash has the same keys, two for each flow, \
         values of 64 bytes, and the same room; its program reads the headers, looks up, and reads the value. At a \
         million flows each flow is idle for longer than 250 ms between two packets, so each packet also renews its \
         flow's time stamp.",
        "Consecutive packets are independent, so the CPU overlaps their cache misses as far as it can look ahead, as \
         it does with a burst from a NIC. What a short program gains by this, a long one does not.",
    ]
    .map(str::to_owned)
    .to_vec()
}
