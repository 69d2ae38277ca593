//! What to measure.

use std::fmt;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::gateways::Kind;
use super::traffic::{MAX_FLOWS, Order, Size};
use crate::bench::Context;

/// Measured in turns by every gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Series {
    /// Frames.
    pub size: Size,
    /// Which flow is next.
    pub order: Order,
    /// How many flows.
    pub flows: u32,
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes, {} flows, {:?} order", self.size, self.flows, self.order)
    }
}

/// Where the gateway's packets are processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cpus {
    /// On the generator's CPU, right after they were made.
    Shared,
    /// On a CPU of the gateway's own.
    Apart,
}

/// The whole of it.
#[derive(Clone, Debug)]
pub struct Plan {
    /// In ascending order of flows.
    pub series: Vec<Series>,
    /// Contenders.
    pub gateways: Vec<Kind>,
    /// Turns of each gateway in a series.
    pub rounds: usize,
    /// Packets flow for this long before they are counted.
    pub warm_up: Duration,
    /// And this long while they are.
    pub window: Duration,
    /// Where.
    pub cpus: Cpus,
}

impl Plan {
    /// As `context` says, and `$NATGW_BENCH_RIG`, for those who tune: `gateways=natgw,lookup;flows=1,50000;rounds=5;
    /// sizes=64,512,imix;orders=random;window=300;cpus=apart`.
    pub fn new(context: &Context) -> Result<Self> {
        let mut plan = Self {
            series: Vec::new(),
            gateways: Kind::ALL.to_vec(),
            rounds: context.pick(3, 9),
            warm_up: Duration::from_millis(100),
            window: Duration::from_millis(context.pick(200, 300)),
            cpus: Cpus::Shared,
        };
        let mut flows = context.pick(vec![1, 50_000, 1_000_000], vec![1, 1000, 50_000, 1_000_000]);
        let mut sizes = vec![Size::Fixed(64)];
        let mut orders = vec![Order::Random];
        let wishes = std::env::var("NATGW_BENCH_RIG").unwrap_or_default();
        for wish in wishes.split(';').map(str::trim).filter(|w| !w.is_empty()) {
            let (key, value) = wish.split_once('=').with_context(|| format!("NATGW_BENCH_RIG: {wish}"))?;
            let words = value.split(',').map(str::trim);
            match key {
                "gateways" => {
                    plan.gateways =
                        Kind::ALL.into_iter().filter(|k| words.clone().any(|w| w == k.id())).collect();
                }
                "flows" => flows = words.map(|w| Ok(w.parse()?)).collect::<Result<_>>()?,
                "sizes" => sizes = words.map(size).collect::<Result<_>>()?,
                "orders" => orders = words.map(order).collect::<Result<_>>()?,
                "rounds" => plan.rounds = value.parse()?,
                "window" => plan.window = Duration::from_millis(value.parse()?),
                "warmup" => plan.warm_up = Duration::from_millis(value.parse()?),
                "cpus" => plan.cpus = if value == "apart" { Cpus::Apart } else { Cpus::Shared },
                _ => bail!("NATGW_BENCH_RIG: unknown key `{key}`"),
            }
        }
        flows.sort_unstable();
        if flows.iter().any(|f| !(1..=MAX_FLOWS).contains(f)) {
            bail!("NATGW_BENCH_RIG: between 1 and {MAX_FLOWS} flows");
        }
        for &flows in &flows {
            for &size in &sizes {
                for &order in &orders {
                    plan.series.push(Series { size, order, flows });
                }
            }
        }
        Ok(plan)
    }

    /// Flows of the largest series.
    pub fn most_flows(&self) -> u32 {
        MAX_FLOWS
    }
}

fn size(word: &str) -> Result<Size> {
    Ok(if word == "imix" { Size::Imix } else { Size::Fixed(word.parse()?) })
}

fn order(word: &str) -> Result<Order> {
    match word {
        "random" => Ok(Order::Random),
        "sequential" => Ok(Order::Sequential),
        _ => bail!("NATGW_BENCH_RIG: unknown order `{word}`"),
    }
}
