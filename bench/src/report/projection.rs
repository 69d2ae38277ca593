//! "Plan past this machine": what the measured cost per packet would mean on real NICs. A projection, from published
//! figures of drivers; nothing here is measured but natgw's own share.

use super::document::{Failure, Report};
use super::number::number;
use super::section::{Cell, Row, Section, Table};

/// The table it is computed from, in nanoseconds: the rows of a hit and of an empty program, with one flow and with many
/// visited at random.
const SOURCE: &str = "program";
const HIT: &str = "natgw: hit, UDP, out";
const EMPTY: &str = "empty program";
const FLOWS: [&str; 3] = ["1 flow", "50,000 flows", "1,000,000 flows"];

/// What a driver was seen to do with a program that swaps the MAC addresses and redirects: one core, one queue, 64 B.
struct Driver {
    name: &'static str,
    /// Packets per second, in millions.
    mpps: f64,
}

/// In docs/benchmarks.md each has its source.
const DRIVERS: [Driver; 4] = [
    Driver { name: "ixgbe, 2018, retpolines [a]", mpps: 6.854 },
    Driver { name: "i40e, 2018, retpolines [a]", mpps: 6.725 },
    Driver { name: "mlx5 (ConnectX-5), 2018, no retpolines [b]", mpps: 8.650 },
    Driver { name: "mlx5 (ConnectX-5), Linux 5.10, bulk return [c]", mpps: 9.542 },
];

/// A port that is to be filled in one direction, and the driver that its cards have.
struct Port {
    name: &'static str,
    gigabits: f64,
    driver: &'static Driver,
}

const PORTS: [Port; 3] = [
    Port { name: "10 GbE", gigabits: 10.0, driver: &DRIVERS[0] },
    Port { name: "25 GbE", gigabits: 25.0, driver: &DRIVERS[3] },
    Port { name: "100 GbE", gigabits: 100.0, driver: &DRIVERS[3] },
];

/// Mean length of a frame with its check sequence, in bytes.
struct Load {
    name: &'static str,
    bytes: f64,
}

/// The mix is the rig's: 7 frames of 64 B, 4 of 570 B and 1 of 1,514 B, and 4 B of check sequence each.
const LOADS: [Load; 2] = [
    Load { name: "64 B", bytes: 64.0 },
    Load { name: "IMIX", bytes: (7.0 * 64.0 + 4.0 * 570.0 + 1_514.0) / 12.0 + 4.0 },
];

/// What a frame takes on the wire beyond itself, in bytes: preamble and the gap to the next.
const WIRE: f64 = 20.0;

/// What natgw needs more than an empty program, in nanoseconds per packet, for each of [`FLOWS`].
type Extras = [f64; FLOWS.len()];

/// What the section is called.
pub const PART: &str = "plan";

/// Puts the projection at the end of `report`, in the place of an older one: it is not measured, and its text may
/// have changed since. Without the part that it is computed from there is none.
pub fn renew(report: &mut Report) {
    report.sections.retain(|section| section.id != PART);
    report.failures.retain(|failure| failure.part != PART);
    match section(report) {
        Some(plan) => report.sections.push(plan),
        None if report.sections.iter().any(|section| section.id == SOURCE) => {
            let error =
                format!("table `{SOURCE}` has no times of {HIT:?} and {EMPTY:?} for {}", FLOWS.join(" and "));
            report.failures.push(Failure { part: PART.to_owned(), error });
        }
        None => {}
    }
}

/// The section, when what it is computed from was measured.
fn section(report: &Report) -> Option<Section> {
    let source =
        report.sections.iter().flat_map(|section| &section.tables).find(|table| table.id == SOURCE)?;
    let extra = |flows: &str| {
        let extra = median(source, HIT, flows)? - median(source, EMPTY, flows)?;
        (extra > 0.0).then_some(extra)
    };
    let extras: Extras = [extra(FLOWS[0])?, extra(FLOWS[1])?, extra(FLOWS[2])?];
    let notes = vec![
        "A projection, not a measurement. Time per packet on a NIC = what the driver was seen to need for a program \
         that only redirects (published, other machines) + what natgw needs more than an empty program (measured \
         here). natgw's share has the call of the redirect helper too, so it is counted twice. Clock rates are not \
         adjusted."
            .to_owned(),
        format!(
            "Measured here: a hit takes {} ns more than an empty program with one flow, {} ns with 50,000 and {} ns \
             with a million flows visited at random.",
            number(extras[0]),
            number(extras[1]),
            number(extras[2])
        ),
        arithmetic(&PORTS[2], &LOADS[0], extras[1]),
    ];
    Some(Section {
        id: PART.to_owned(),
        title: "Plan past this machine".to_owned(),
        notes,
        tables: vec![per_core(&extras), cores(&extras)],
        findings: Vec::new(),
    })
}

/// What stands in a row, in the column whose head begins with `column`.
fn median(table: &Table, row: &str, column: &str) -> Option<f64> {
    let place = table.columns.iter().position(|head| head.starts_with(column))?;
    match table.rows.iter().find(|candidate| candidate.name == row)?.cells.get(place)? {
        Cell::Sample(sample) => Some(sample.median),
        Cell::Number(value) => Some(*value),
        Cell::Text(_) | Cell::Missing => None,
    }
}

/// Millions of packets per second on one core of a driver that has `extra` nanoseconds more to do for each.
fn with_natgw(driver: &Driver, extra: f64) -> f64 {
    1_000.0 / (1_000.0 / driver.mpps + extra)
}

/// Millions of packets per second that fill a port in one direction.
fn line_rate(port: &Port, load: &Load) -> f64 {
    port.gigabits * 1_000.0 / ((load.bytes + WIRE) * 8.0)
}

fn per_core(extras: &Extras) -> Table {
    let row = |driver: &Driver| Row {
        name: driver.name.to_owned(),
        cells: std::iter::once(driver.mpps)
            .chain(extras.iter().map(|extra| with_natgw(driver, *extra)))
            .map(Cell::Number)
            .collect(),
    };
    Table {
        id: "plan-per-core".to_owned(),
        caption: "Projection: packets per second and core".to_owned(),
        key: "driver".to_owned(),
        columns: std::iter::once("redirect only (published)".to_owned())
            .chain(FLOWS.map(|flows| format!("natgw, {flows}")))
            .collect(),
        unit: "Mpps".to_owned(),
        rows: DRIVERS.iter().map(row).collect(),
        ..Table::default()
    }
}

fn cores(extras: &Extras) -> Table {
    let mut rows = Vec::new();
    for port in &PORTS {
        for load in &LOADS {
            let rate = line_rate(port, load);
            let needed = extras.iter().map(|extra| (rate / with_natgw(port.driver, *extra)).ceil());
            rows.push(Row {
                name: format!("{}, {}", port.name, load.name),
                cells: std::iter::once(rate).chain(needed).map(Cell::Number).collect(),
            });
        }
    }
    Table {
        id: "plan-cores".to_owned(),
        caption: "Projection: cores that fill one port in one direction (twice as many for both)".to_owned(),
        key: "port, frames".to_owned(),
        columns: std::iter::once("line rate [Mpps]".to_owned())
            .chain(FLOWS.map(|flows| format!("cores, {flows}")))
            .collect(),
        rows,
        ..Table::default()
    }
}

/// One line of the second table, step by step.
fn arithmetic(port: &Port, load: &Load, extra: f64) -> String {
    let rate = line_rate(port, load);
    let each = with_natgw(port.driver, extra);
    format!(
        "For example {}, {}, {}: {} Gbit/s / (({} + {WIRE} B) x 8) = {} Mpps; 1,000 / (1,000 / {} + {}) \
         = {} Mpps per core; {} / {} = {} cores, if card and bus carry it (see the limits below).",
        port.name,
        load.name,
        FLOWS[1],
        number(port.gigabits),
        number(load.bytes),
        number(rate),
        port.driver.mpps,
        number(extra),
        number(each),
        number(rate),
        number(each),
        number((rate / each).ceil()),
    )
}

#[cfg(test)]
mod tests {
    use super::super::document::tests::fake;
    use super::super::section::Sample;
    use super::*;

    fn report(hot: f64, many: f64, million: f64) -> Report {
        let mut report = fake();
        let row = |name: &str, cells: [f64; 3]| Row {
            name: name.to_owned(),
            cells: vec![
                Cell::Sample(Sample::of(&cells[..1])),
                Cell::Number(cells[1]),
                Cell::Number(cells[2]),
            ],
        };
        report.sections[1].tables.push(Table {
            id: SOURCE.to_owned(),
            columns: ["1 flow (hot)", "50,000 flows", "1,000,000 flows"].map(str::to_owned).into(),
            rows: vec![row(EMPTY, [7.0, 8.0, 9.0]), row(HIT, [7.0 + hot, 8.0 + many, 9.0 + million])],
            ..Table::default()
        });
        report
    }

    fn close(a: f64, b: f64) -> bool {
        (a / b - 1.0).abs() < 0.001
    }

    #[test]
    fn knows_line_rates() {
        let at_64: Vec<f64> = PORTS.iter().map(|port| line_rate(port, &LOADS[0])).collect();
        assert!(close(at_64[0], 14.88) && close(at_64[1], 37.2) && close(at_64[2], 148.8), "{at_64:?}");
        assert!(close(line_rate(&PORTS[0], &LOADS[1]), 10_000.0 / (377.5 * 8.0)));
    }

    #[test]
    fn adds_times_not_rates() {
        let driver = Driver { name: "x", mpps: 10.0 };
        assert!(close(with_natgw(&driver, 0.0), 10.0));
        assert!(close(with_natgw(&driver, 100.0), 5.0));
    }

    #[test]
    fn needs_more_cores_for_more_work_and_whole_ones() {
        let plan = section(&report(10.0, 50.0, 100.0)).expect("both inputs");
        let rows = &plan.tables[1].rows;
        assert_eq!(rows[0].name, "10 GbE, 64 B");
        // 14.88 Mpps at 1,000 / (1,000 / 6.854 + 10) = 6.41, 1,000 / (145.9 + 50) = 5.10, 4.07 Mpps per core.
        assert_eq!(rows[0].cells[1..], [3.0, 3.0, 4.0].map(Cell::Number));
        assert!(plan.notes[2].contains("149 Mpps"), "{}", plan.notes[2]);
    }

    #[test]
    fn is_there_once_or_the_reason_why_not() {
        let mut with = report(10.0, 50.0, 100.0);
        renew(&mut with);
        renew(&mut with);
        assert_eq!(with.sections.iter().filter(|section| section.id == PART).count(), 1);
        assert!(with.failures.is_empty());

        let mut without = fake();
        renew(&mut without);
        renew(&mut without);
        assert_eq!(without.failures.len(), 1);
        assert!(without.failures[0].error.contains(HIT), "{:?}", without.failures);

        let mut other_parts = fake();
        other_parts.sections.retain(|section| section.id != SOURCE);
        renew(&mut other_parts);
        assert!(other_parts.failures.is_empty());
    }

    #[test]
    fn says_nothing_without_its_inputs() {
        assert!(section(&fake()).is_none());
        assert!(section(&report(0.0, 50.0, 100.0)).is_none());
        assert!(section(&report(10.0, 50.0, f64::NAN)).is_none());
    }
}
