//! What one packet costs.

mod cases;
mod driver;
mod population;
mod traffic;

use anyhow::{Context as _, Result};

use super::{
    Context,
    report::{Cell, Row, Sample, Section, Table},
};
use crate::fixture::World;
use cases::Case;
use driver::{Driver, Own, Room};
use population::{Kind, Population};

/// Measures.
pub fn run(context: &Context) -> Result<Section> {
    let mut table = Table {
        id: "program".to_owned(),
        caption: "CPU time per packet, without the driver's share".to_owned(),
        key: "program".to_owned(),
        columns: vec!["1 flow".to_owned(), "50,000".to_owned(), "1,000,000".to_owned()],
        unit: "ns".to_owned(),
        ..Table::default()
    };
    let mut raw = table.clone();
    raw.id = "program_raw".to_owned();
    raw.caption = "raw".to_owned();
    std::thread::scope(|s| {
        s.spawn(|| population(context, Kind::Udp, &mut table, &mut raw))
            .join()
            .map_err(|_| anyhow::anyhow!("died"))?
    })?;
    Ok(Section {
        id: "program".to_owned(),
        title: "What one packet costs".to_owned(),
        tables: vec![table, raw],
        ..Section::default()
    })
}

fn population(context: &Context, kind: Kind, table: &mut Table, raw: &mut Table) -> Result<()> {
    let entries = 1 << 21;
    let sizes = [1u32, 50_000, 1_000_000];
    let (rounds, repeat) = context.pick((5, 100_000), (9, 200_000));
    let start = std::time::Instant::now();
    let world = World::new(kind.setup(entries))?;
    population::route_to_clients(&world)?;
    let _lane = world.lane(1)?;
    let mut driver = Driver::load(&context.bench_object, Room { visits: 4_000_000, bare_entries: entries })?;
    let mut people = Population::new(kind);
    eprintln!("set-up {:?}", start.elapsed());
    for count in sizes {
        context.progress(&format!("program: {kind:?}, {count} flows"));
        let start = std::time::Instant::now();
        people.grow(&world, &mut driver, count)?;
        eprintln!("grow {:?}", start.elapsed());
        let mut cases = cases::of(&world, &mut driver, &people, kind)?;
        eprintln!("lists {:?}", start.elapsed());
        let mut plain = Vec::new();
        for case in &mut cases {
            case.warm_up(&world, &mut driver)?;
        }
        for _ in 0..rounds {
            let first = cases.first().context("no case")?.traffic().clone();
            driver.calibrate(&first)?;
            plain.push(driver.run_alone(Own::Empty, &first, 1_000_000)?.nanoseconds);
            for case in &mut cases {
                case.measure(&world, &mut driver, repeat)?;
            }
        }
        eprintln!("measured {:?}", start.elapsed());
        let base = cases.first().context("no case")?.rounds.clone();
        add(table, "empty, no driver", Sample::of(&plain));
        for case in &cases {
            let net: Vec<f64> =
                case.rounds.iter().zip(&base).zip(&plain).map(|((x, d), p)| x - d + p).collect();
            add(table, case.name, Sample::of(&net));
            add(raw, case.name, Sample::of(&case.rounds));
        }
    }
    Ok(())
}

fn add(table: &mut Table, name: &str, sample: Sample) {
    let cell = Cell::Sample(sample);
    match table.rows.iter_mut().find(|r| r.name == name) {
        Some(row) => row.cells.push(cell),
        None => table.rows.push(Row { name: name.to_owned(), cells: vec![cell] }),
    }
}
