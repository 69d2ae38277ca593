//! What was measured, as tables and findings.

use anyhow::{Context as _, Result};
use nat_tests::fixture::World;

use super::cases::DRIVER;
use super::claims::Claims;
use super::measure::{Measured, Stage, increase_ratio, median};
use super::tally::Fate;
use crate::report::section::{Cell, Compare, Finding, Plot, Row, Sample, Table, Target};

/// Share by which a ratio may get worse before `--check` speaks up, where everything is in the first caches. Runs of the
/// same code differ by up to 0.06.
const HOT_NOISE: f64 = 0.1;

/// The same where nearly everything comes from memory. Runs differ by up to 0.08.
const COLD_NOISE: f64 = 0.15;

/// The same in between, where caches have a say that other guests of the machine use too. Runs differ by up to 0.23.
const CACHE_NOISE: f64 = 0.3;

/// The stages of every kind of population, largest table first.
pub type Stages = [Vec<Stage>];

/// Nanoseconds per packet by number of live flows, without the driver's share; and as measured, with it.
pub fn costs(all: &Stages) -> [Table; 2] {
    let sizes: Vec<u32> = all.first().into_iter().flatten().map(|s| s.flows).collect();
    let table = |id: &str, caption: &str, plot| Table {
        id: id.to_owned(),
        caption: caption.to_owned(),
        key: "program".to_owned(),
        columns: sizes.iter().map(|n| heading(*n)).collect(),
        unit: "ns".to_owned(),
        rows: Vec::new(),
        plot,
    };
    let mut net = table("program", "CPU time per packet", Plot::LogBars);
    let mut raw =
        table("program_raw", "The same as measured, with the driver that makes the packets", Plot::None);
    for (nth, stages) in all.iter().enumerate() {
        let cells = |values: &dyn Fn(&Stage) -> Option<Sample>| -> Vec<Cell> {
            let at = |n: &u32| stages.iter().find(|s| s.flows == *n).and_then(values);
            sizes.iter().map(|n| at(n).map_or(Cell::Missing, Cell::Sample)).collect()
        };
        if nth == 0 {
            let plain = cells(&|s| Some(Sample::of(&s.plain)));
            net.rows.push(Row { name: "empty program".to_owned(), cells: plain });
        }
        let Some(first) = stages.first() else { continue };
        for case in first.cases.iter().filter(|c| nth == 0 || c.fate != Some(Fate::Unseen)) {
            let name = label(case);
            if case.id != DRIVER {
                let cells = cells(&|s| s.case(case.id).map(|c| Sample::of(&c.net)));
                net.rows.push(Row { name: name.clone(), cells });
            }
            let cells = cells(&|s| s.case(case.id).map(|c| Sample::of(&c.raw)));
            raw.rows.push(Row { name, cells });
        }
    }
    [net, raw]
}

/// How natgw's cases compare: hot with an empty program; hits, from many flows, with the bare lookup.
pub fn ratios(all: &Stages) -> (Table, Vec<Finding>) {
    let columns = all.first().into_iter().flatten().map(|s| heading(s.flows)).collect();
    let mut table = Table {
        id: "program_ratios".to_owned(),
        caption: "Hot: times the empty program. Otherwise: by how much it costs more than hot, times by how much the \
                  bare lookup does"
            .to_owned(),
        key: "program".to_owned(),
        columns,
        ..Table::default()
    };
    let mut findings = Vec::new();
    for stages in all {
        let Some((hot, colder)) = stages.split_first() else { continue };
        for case in hot.cases.iter().filter(|c| c.fate != Some(Fate::Unseen)) {
            let of_hot = hot_over_empty(hot, case);
            let mut cells = vec![Cell::Number(of_hot.value)];
            findings.push(of_hot);
            if is_hit(case) {
                let of_colder: Vec<_> = colder.iter().filter_map(|c| increase(hot, c, case)).collect();
                cells.extend(of_colder.iter().map(|f| Cell::Number(f.value)));
                findings.extend(of_colder);
            }
            cells.resize_with(table.columns.len(), || Cell::Missing);
            table.rows.push(Row { name: label(case), cells });
        }
    }
    (table, findings)
}

fn is_hit(case: &Measured) -> bool {
    matches!(case.fate, Some(Fate::SentOut | Fate::SentIn))
}

fn hot_over_empty(hot: &Stage, case: &Measured) -> Finding {
    Finding {
        id: format!("program/{}/hot_over_empty", case.id),
        what: format!("{}: hot, times an empty program", label(case)),
        value: median(&case.net) / median(&hot.plain),
        target: is_hit(case).then_some(Target::AtMost(6.0)),
        // A birth touches memory that nobody has touched for long: it is never hot.
        compare: if case.fate == Some(Fate::Born) { Compare::Never } else { Compare::NotAbove(HOT_NOISE) },
    }
}

fn increase(hot: &Stage, cold: &Stage, case: &Measured) -> Option<Finding> {
    let fits_no_cache = cold.flows >= 1_000_000;
    Some(Finding {
        id: format!("program/{}/increase_{}_over_lookup", case.id, cold.flows),
        what: format!(
            "{}: increase from hot to {} at random, times the bare lookup's",
            case.name,
            heading(cold.flows)
        ),
        value: increase_ratio(hot, cold, case.id)?,
        target: fits_no_cache.then_some(Target::AtMost(1.15)),
        compare: Compare::NotAbove(if fits_no_cache { COLD_NOISE } else { CACHE_NOISE }),
    })
}

/// Instructions, machine code and stack of natgw's programs.
pub fn sizes() -> Result<(Table, Vec<Finding>)> {
    let mut world = World::new(super::population::Kind::Udp.setup(128))?;
    let mut table = Table {
        id: "program_sizes".to_owned(),
        caption: "What the kernel makes of natgw's programs".to_owned(),
        key: "program".to_owned(),
        columns: ["verified instructions", "machine code, bytes", "stack, bytes"].map(str::to_owned).to_vec(),
        ..Table::default()
    };
    let mut findings = Vec::new();
    let stacks = world.stacks()?;
    let mut sizes = world.sizes()?;
    sizes.sort();
    for (name, verified, jited) in sizes {
        let (_, stack) = stacks.iter().find(|(n, _)| *n == name).context("a program without a stack")?;
        let numbers = [
            ("verified", "instructions that the verifier walks", verified, Compare::Exact),
            ("jited", "bytes of machine code", jited, Compare::Never),
            ("stack", "bytes of stack, deepest chain of calls", stack.bytes, Compare::NotAbove(0.1)),
        ];
        table.rows.push(Row {
            name: name.clone(),
            cells: numbers.map(|(_, _, n, _)| Cell::Number(f64::from(n))).to_vec(),
        });
        findings.extend(numbers.map(|(id, what, n, compare)| Finding {
            id: format!("program/{name}/{id}"),
            what: format!("{name}: {what}"),
            value: f64::from(n),
            target: None,
            compare,
        }));
    }
    Ok((table, findings))
}

/// New flows by how full their destination is, and the price of refusing them.
pub fn claims(claims: &Claims) -> ([Table; 2], Vec<Finding>) {
    let levels = Table {
        id: "program_claims".to_owned(),
        caption: format!(
            "A new flow, by how many of its destination's ports are taken ({} flows to others in the table)",
            heading(claims.others).trim_end_matches(" flows")
        ),
        key: "ports taken".to_owned(),
        columns: ["in series, ns", "one by one: median, ns", "90 %, ns", "worst, ns", "probes", "refused, %"]
            .map(str::to_owned)
            .to_vec(),
        rows: claims
            .levels
            .iter()
            .map(|level| {
                let at = |share: usize| level.single.get((level.single.len() - 1) * share / 100);
                let single = |share| at(share).map_or(Cell::Missing, |n| Cell::Number(*n));
                let net: Vec<f64> = level.rounds.iter().map(|n| n - claims.driver).collect();
                Row {
                    name: format!("{} %", level.percent),
                    cells: vec![
                        Cell::Sample(Sample::of(&net)),
                        single(50),
                        single(90),
                        single(100),
                        Cell::Number(level.probes),
                        Cell::Number(level.refused * 100.0),
                    ],
                }
            })
            .collect(),
        ..Table::default()
    };
    let attack = &claims.attack;
    let share = attack.probe * f64::from(attack.budget) / 1e9;
    let number = |name: &str, n: f64| Row { name: name.to_owned(), cells: vec![Cell::Number(n)] };
    let attacked = Table {
        id: "program_attack".to_owned(),
        caption: "What asking for ports of a full destination costs the gateway".to_owned(),
        key: "cost".to_owned(),
        columns: vec!["figure".to_owned()],
        rows: vec![
            number("a refusal without probes, ns", attack.refusal - claims.driver),
            number("a probe, ns", attack.probe),
            number("probes granted per CPU and second", f64::from(attack.budget)),
            number("share of a CPU that probes take at most, %", share * 100.0),
        ],
        ..Table::default()
    };
    let mut findings = vec![Finding {
        id: "program/claim/cpu_share".to_owned(),
        what: "share of a CPU that probes for a full destination can take".to_owned(),
        value: share,
        target: None,
        compare: Compare::Never,
    }];
    findings.extend(claims.levels.iter().filter(|l| l.percent < 100).map(|level| Finding {
        id: format!("program/claim/{}/probes", level.percent),
        what: format!("ports looked at for a new flow at {} % of its destination's ports", level.percent),
        value: level.probes,
        target: None,
        compare: Compare::NotAbove(HOT_NOISE),
    }));
    ([levels, attacked], findings)
}

/// The name, with what became of packets that were not translated.
fn label(case: &Measured) -> String {
    match case.fate {
        Some(fate @ (Fate::Dropped(_) | Fate::Passed)) => format!("{} ({fate})", case.name),
        _ => case.name.clone(),
    }
}

fn heading(flows: u32) -> String {
    match flows {
        1 => "1 flow (hot)".to_owned(),
        n => {
            let digits = n.to_string();
            let groups: Vec<&str> =
                digits.as_bytes().rchunks(3).rev().filter_map(|g| std::str::from_utf8(g).ok()).collect();
            format!("{} flows", groups.join(","))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::heading;

    #[test]
    fn headings() {
        assert_eq!(heading(1), "1 flow (hot)");
        assert_eq!(heading(50_000), "50,000 flows");
        assert_eq!(heading(1_000_000), "1,000,000 flows");
    }
}
