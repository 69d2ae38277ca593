//! What was measured, as tables and findings.

use anyhow::{Context as _, Result};

use super::cases::{DRIVER, LOOKUP};
use super::claims::Claims;
use super::measure::{Measured, Stage, increase_ratio, median};
use super::tally::Fate;
use crate::bench::report::{Cell, Compare, Finding, Plot, Row, Sample, Table, Target};
use crate::fixture::World;

/// Shares by which a ratio may get worse before `--check` speaks up: several times what ten runs of the same code
/// differed by.
const RATIO_NOISE: f64 = 0.15;

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

/// How the hits compare: hot with an empty program, cold with the bare lookup.
pub fn ratios(all: &Stages) -> (Table, Vec<Finding>) {
    let mut table = Table {
        id: "program_ratios".to_owned(),
        caption: "Hot: times the empty program. Otherwise: what it costs more than hot, for each nanosecond that the \
                  bare lookup costs more"
            .to_owned(),
        key: "program".to_owned(),
        ..Table::default()
    };
    let mut findings = Vec::new();
    for (nth, stages) in all.iter().enumerate() {
        let Some(hot) = stages.first() else { continue };
        if nth == 0 {
            table.columns = stages.iter().map(|s| heading(s.flows)).collect();
        }
        for case in &hot.cases {
            let mut cells = Vec::new();
            let over_empty = median(&case.net) / median(&hot.plain);
            cells.push(Cell::Number(over_empty));
            let is_hit = matches!(case.fate, Some(Fate::SentOut | Fate::SentIn));
            if is_hit {
                findings.push(Finding {
                    id: format!("program/{}/hot_over_empty", case.id),
                    what: format!("{}: hot, times an empty program", case.name),
                    value: over_empty,
                    target: Some(Target::AtMost(6.0)),
                    compare: Compare::NotAbove(RATIO_NOISE),
                });
            } else if case.fate != Some(Fate::Unseen) {
                findings.push(Finding {
                    id: format!("program/{}/hot_over_empty", case.id),
                    what: format!("{}: hot, times an empty program", label(case)),
                    value: over_empty,
                    target: None,
                    compare: Compare::NotAbove(2.0 * RATIO_NOISE),
                });
            }
            for cold in stages.iter().skip(1) {
                let ratio = increase_ratio(hot, cold, case.id).filter(|_| is_hit || case.id == LOOKUP);
                cells.push(ratio.map_or(Cell::Missing, Cell::Number));
                if let Some(ratio) = ratio.filter(|_| is_hit) {
                    findings.push(Finding {
                        id: format!("program/{}/increase_{}_over_lookup", case.id, cold.flows),
                        what: format!(
                            "{}: increase from hot to {} flows at random, times the bare lookup's",
                            case.name,
                            heading(cold.flows)
                        ),
                        value: ratio,
                        target: (cold.flows >= 1_000_000).then_some(Target::AtMost(1.15)),
                        compare: Compare::NotAbove(RATIO_NOISE),
                    });
                }
            }
            if is_hit || (nth == 0 && case.id != DRIVER) {
                table.rows.push(Row { name: label(case), cells });
            }
        }
    }
    (table, findings)
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
            ("stack", "bytes of stack, deepest chain of calls", stack.bytes, Compare::NotAbove(0.0)),
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
        key: "what".to_owned(),
        columns: vec!["".to_owned()],
        rows: vec![
            number("a refusal without probes, ns", attack.refusal - claims.driver),
            number("a probe, ns", attack.probe),
            number("probes granted per CPU and second", f64::from(attack.budget)),
            number("so probes take of a CPU at most, %", share * 100.0),
        ],
        ..Table::default()
    };
    let at = |percent| {
        let level = claims.levels.iter().find(|l| l.percent == percent);
        level.map_or(0.0, |l| median(&l.rounds) - claims.driver)
    };
    let ratio = |id: &str, what: &str, value| Finding {
        id: format!("program/claim/{id}"),
        what: what.to_owned(),
        value,
        target: None,
        compare: Compare::NotAbove(2.0 * RATIO_NOISE),
    };
    let findings = vec![
        ratio("50_over_0", "a new flow at 50 % of its destination's ports, times one at 0 %", at(50) / at(0)),
        ratio("90_over_0", "a new flow at 90 % of its destination's ports, times one at 0 %", at(90) / at(0)),
        ratio("99_over_0", "a new flow at 99 % of its destination's ports, times one at 0 %", at(99) / at(0)),
        Finding {
            compare: Compare::Never,
            ..ratio("cpu_share", "share of a CPU that probes for a full destination can take", share)
        },
    ];
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
