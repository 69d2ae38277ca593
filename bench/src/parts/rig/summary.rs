//! What was measured, in the report's form.

use super::cpus::Cpus;
use super::gateways::Kind;
use super::measure::{Outcome, Turns};
use super::plan::{SMALL, Series};
use super::traffic::{Order, Size};
use super::{notes, targets};
use crate::report::section::{Cell, Plot, Row, Sample, Section, Table};

/// Tables, ratios and notes.
pub fn section(outcomes: &[Outcome]) -> Section {
    let main: Vec<&Outcome> = outcomes.iter().filter(|o| is_main(o.series)).collect();
    let sizes: Vec<&Outcome> =
        outcomes.iter().filter(|o| o.series.size != SMALL && o.series.order == Order::Random).collect();
    let sequential: Vec<&Outcome> =
        outcomes.iter().filter(|o| o.series.order == Order::Sequential && o.series.size == SMALL).collect();
    let apart: Vec<&Outcome> = outcomes.iter().filter(|o| o.series.cpus == Cpus::Apart).collect();
    let tables = [
        delivered("rig-64", "Packets delivered, 64-byte frames, flows in random order", &main, Plot::LogBars),
        own_cost(&main),
        ratios(&main),
        delivered("rig-sizes", "Packets delivered, other frame lengths, random order", &sizes, Plot::LogBars),
        delivered(
            "rig-order",
            "Packets delivered, 64-byte frames, flows in order of their birth",
            &sequential,
            Plot::None,
        ),
        separate(&apart),
        losses(outcomes),
    ];
    Section {
        id: "rig".to_owned(),
        title: "Packets per second through real interfaces".to_owned(),
        notes: notes::all(outcomes),
        tables: tables.into_iter().flatten().collect(),
        findings: outcomes.iter().flat_map(targets::findings).collect(),
    }
}

fn is_main(series: Series) -> bool {
    series.size == SMALL && series.order == Order::Random && series.cpus == Cpus::Shared
}

/// `1 flow`, `50,000 flows`.
fn flows(series: Series) -> String {
    let digits = series.flows.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    format!("{text} {}", if series.flows == 1 { "flow" } else { "flows" })
}

fn column(series: Series) -> String {
    match series.size {
        SMALL => flows(series),
        Size::Imix => format!("IMIX, {}", flows(series)),
        Size::Fixed(length) => format!("{length} B, {}", flows(series)),
    }
}

/// A row for every gateway of the outcomes, a cell for every outcome. `None` without outcomes.
fn table(
    id: &str,
    caption: &str,
    unit: &str,
    outcomes: &[&Outcome],
    cell: impl Fn(&Outcome, &Turns) -> Cell,
) -> Option<Table> {
    let first = outcomes.first()?;
    let rows = first.turns.iter().enumerate().map(|(at, turns)| Row {
        name: turns.kind.title().to_owned(),
        cells: outcomes.iter().map(|o| cell(o, &o.turns[at])).collect(),
    });
    Some(Table {
        id: id.to_owned(),
        caption: caption.to_owned(),
        key: "gateway".to_owned(),
        columns: outcomes.iter().map(|o| column(o.series)).collect(),
        unit: unit.to_owned(),
        rows: rows.collect(),
        plot: Plot::None,
    })
}

fn delivered(id: &str, caption: &str, outcomes: &[&Outcome], plot: Plot) -> Option<Table> {
    let cell = |_: &Outcome, turns: &Turns| {
        Cell::Sample(Sample::of(&turns.rates.iter().map(|r| r.delivered / 1e3).collect::<Vec<_>>()))
    };
    table(id, caption, "kpps", outcomes, cell).map(|t| Table { plot, ..t })
}

/// What a gateway's own work takes: its time per packet less that of the redirect, which all have in common.
fn own_cost(outcomes: &[&Outcome]) -> Option<Table> {
    let cell = |outcome: &Outcome, turns: &Turns| {
        let Some(redirect) = outcome.of(Kind::Redirect) else { return Cell::Missing };
        let times = turns.rates.iter().zip(&redirect.rates);
        Cell::Sample(Sample::of(
            &times.map(|(g, r)| 1e9 / g.delivered - 1e9 / r.delivered).collect::<Vec<_>>(),
        ))
    };
    let caption = "The gateway's own work: time per packet beyond that of the XDP redirect, same rounds";
    let mut table = table("rig-own", caption, "ns", outcomes, cell)?;
    table.rows.retain(|r| [Kind::Ceiling, Kind::Redirect].iter().all(|k| k.title() != r.name));
    Some(table)
}

/// natgw by each of the others.
fn ratios(outcomes: &[&Outcome]) -> Option<Table> {
    let natgw = outcomes.first()?.of(Kind::Natgw)?.kind;
    let cell =
        |outcome: &Outcome, turns: &Turns| Cell::Sample(Sample::of(&outcome.ratios(natgw, turns.kind)));
    let caption = "natgw's packets by another's in the same round, 64-byte frames, random order";
    let mut table = table("rig-ratios", caption, "ratio", outcomes, cell)?;
    table.rows.retain(|r| r.name != natgw.title());
    for row in &mut table.rows {
        row.name = format!("natgw / {}", row.name);
    }
    "ratio".clone_into(&mut table.key);
    Some(table)
}

/// With the gateway on a CPU of its own there are losses: they go beside the rates.
fn separate(outcomes: &[&Outcome]) -> Option<Table> {
    let caption = "Packets delivered with gateway and far end on another CPU than the generator, 64-byte frames, random order";
    let mut table = delivered("rig-apart", caption, outcomes, Plot::None)?;
    table.columns =
        table.columns.iter().flat_map(|c| [c.clone(), "lost at the gateway's input".to_owned()]).collect();
    for (at, row) in table.rows.iter_mut().enumerate() {
        let lost = outcomes.iter().map(|o| {
            let t = &o.turns[at];
            Cell::Text(format!("{:.0} %", 100.0 * share(t.devices.lost_at_input, t.made)))
        });
        row.cells = row.cells.drain(..).zip(lost).flat_map(|(rate, lost)| [rate, lost]).collect();
    }
    Some(table)
}

/// Every packet of every turn on the generator's CPU, warm-up and all.
fn losses(outcomes: &[Outcome]) -> Option<Table> {
    let shared: Vec<&Outcome> = outcomes.iter().filter(|o| o.series.cpus == Cpus::Shared).collect();
    let first = shared.first()?;
    let rows = first.turns.iter().enumerate().map(|(at, turns)| {
        let sum = |of: fn(&Turns) -> u64| shared.iter().map(|o| of(&o.turns[at])).sum::<u64>();
        let (made, delivered) = (sum(|t| t.made), sum(|t| t.delivered));
        let (input, output) = (sum(|t| t.devices.lost_at_input), sum(|t| t.devices.lost_at_output));
        let cells = [made, delivered, made.saturating_sub(delivered), input, output];
        Row { name: turns.kind.title().to_owned(), cells: cells.map(|n| Cell::Text(n.to_string())).to_vec() }
    });
    Some(Table {
        id: "rig-losses".to_owned(),
        caption: "Packets sent and lost in all turns of the tables above but the one with CPUs apart"
            .to_owned(),
        key: "gateway".to_owned(),
        columns: ["sent", "delivered", "lost", "of these at its input", "at the far end"]
            .map(str::to_owned)
            .to_vec(),
        unit: "packets".to_owned(),
        rows: rows.collect(),
        plot: Plot::None,
    })
}

#[expect(clippy::cast_precision_loss, reason = "packets of some seconds")]
fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}
