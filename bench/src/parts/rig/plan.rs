//! What to measure.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use super::cpus::Cpus;
use super::gateways::Kind;
use super::traffic::{MAX_FLOWS, Order, Size};
use crate::context::Context;

/// Frames of the main series, in bytes.
pub const SMALL: Size = Size::Fixed(64);

/// Measured in turns by every gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Series {
    /// How many flows.
    pub flows: u32,
    /// Frames.
    pub size: Size,
    /// Which flow is next.
    pub order: Order,
    /// Where the gateway's packets are processed.
    pub cpus: Cpus,
    /// Turns of each gateway.
    pub rounds: usize,
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { flows, size, order, cpus, rounds } = self;
        write!(f, "{flows} flows, {size} bytes, {order:?} order, CPUs {cpus:?}, {rounds} rounds")
    }
}

/// The whole of it.
#[derive(Clone, Debug)]
pub struct Plan {
    /// In ascending order of flows, but for those on CPUs apart, which come last.
    pub series: Vec<Series>,
    /// Who takes part.
    pub gateways: Vec<Kind>,
    /// Packets flow for this long before they are counted.
    pub warm_up: Duration,
    /// And this long while they are.
    pub window: Duration,
    /// Whether every result is shown at once: for those who tune.
    pub shows_results: bool,
}

impl Plan {
    /// As the effort says, or `$NATGW_BENCH_RIG`.
    pub fn new(context: &Context) -> Result<Self> {
        let mut plan = Self {
            series: Vec::new(),
            gateways: Kind::ALL.to_vec(),
            warm_up: Duration::from_millis(context.pick(60, 100)),
            window: Duration::from_millis(context.pick(120, 150)),
            shows_results: false,
        };
        match std::env::var("NATGW_BENCH_RIG") {
            Ok(wishes) => plan.series = plan.wished(&wishes)?,
            Err(_) => plan.series = context.pick(quick(), full()),
        }
        plan.series.sort_by_key(|s| (s.cpus == Cpus::Apart, s.flows));
        Ok(plan)
    }

    /// E.g. `gateways=natgw,lookup;flows=1,50000;sizes=64,imix;orders=random,sequential;cpus=shared;rounds=5;window=300`.
    fn wished(&mut self, wishes: &str) -> Result<Vec<Series>> {
        let mut flows = vec![1, 50_000, 1_000_000];
        let (mut sizes, mut orders, mut cpus, mut rounds) =
            (vec![SMALL], vec![Order::Random], vec![Cpus::Shared], 5);
        for wish in wishes.split(';').map(str::trim).filter(|w| !w.is_empty()) {
            let (key, value) = wish.split_once('=').with_context(|| format!("NATGW_BENCH_RIG: `{wish}`"))?;
            let words = value.split(',').map(str::trim);
            match key {
                "gateways" => {
                    let wanted: BTreeSet<_> = words.collect();
                    self.gateways.retain(|k| wanted.contains(k.id()));
                    ensure!(
                        self.gateways.len() == wanted.len(),
                        "NATGW_BENCH_RIG: unknown gateway in `{value}`"
                    );
                }
                "flows" => flows = words.map(|w| Ok(w.parse()?)).collect::<Result<_>>()?,
                "sizes" => sizes = words.map(size).collect::<Result<_>>()?,
                "orders" => orders = words.map(order).collect::<Result<_>>()?,
                "cpus" => cpus = words.map(place).collect::<Result<_>>()?,
                "rounds" => rounds = value.parse()?,
                "window" => self.window = Duration::from_millis(value.parse()?),
                "warmup" => self.warm_up = Duration::from_millis(value.parse()?),
                _ => bail!("NATGW_BENCH_RIG: unknown key `{key}`"),
            }
        }
        ensure!(flows.iter().all(|f| (1..=MAX_FLOWS).contains(f)), "NATGW_BENCH_RIG: 1 to {MAX_FLOWS} flows");
        self.shows_results = true;
        let mut series = Vec::new();
        for &cpus in &cpus {
            for &flows in &flows {
                for &size in &sizes {
                    series.extend(orders.iter().map(|&order| Series { flows, size, order, cpus, rounds }));
                }
            }
        }
        Ok(series)
    }
}

fn quick() -> Vec<Series> {
    [1, 50_000, 1_000_000].map(|flows| small(flows, 3)).to_vec()
}

fn full() -> Vec<Series> {
    let mut series = [1, 1000, 50_000, 1_000_000].map(|flows| small(flows, 11)).to_vec();
    for flows in [50_000, 1_000_000] {
        series.push(Series { order: Order::Sequential, ..small(flows, 5) });
    }
    for size in [Size::Fixed(512), Size::Fixed(1500), Size::Imix] {
        series.extend([1, 50_000].map(|flows| Series { size, ..small(flows, 5) }));
    }
    series.extend([1, 1_000_000].map(|flows| Series { cpus: Cpus::Apart, ..small(flows, 5) }));
    series
}

fn small(flows: u32, rounds: usize) -> Series {
    Series { flows, size: SMALL, order: Order::Random, cpus: Cpus::Shared, rounds }
}

fn size(word: &str) -> Result<Size> {
    Ok(match word {
        "imix" => Size::Imix,
        _ => Size::Fixed(
            word.parse().ok().filter(|l| (60..=1514).contains(l)).context("sizes: 60 to 1514, or imix")?,
        ),
    })
}

fn order(word: &str) -> Result<Order> {
    match word {
        "random" => Ok(Order::Random),
        "sequential" => Ok(Order::Sequential),
        _ => bail!("orders: random, sequential"),
    }
}

fn place(word: &str) -> Result<Cpus> {
    match word {
        "shared" => Ok(Cpus::Shared),
        "apart" => Ok(Cpus::Apart),
        _ => bail!("cpus: shared, apart"),
    }
}
