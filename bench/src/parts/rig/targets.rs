//! The ratios that natgw is held to.

use super::cpus::Cpus;
use super::gateways::Kind;
use super::measure::Outcome;
use super::plan::{SMALL, Series};
use super::traffic::Order;
use crate::report::section::{Compare, Finding, Sample, Target};

/// natgw by each of the others: the median over the rounds, each round by itself.
pub fn findings(outcome: &Outcome) -> Vec<Finding> {
    let series = outcome.series;
    let others = [Kind::Redirect, Kind::Fib, Kind::Lookup, Kind::Kernel, Kind::Nft];
    let finding = |other: Kind| {
        let ratios = outcome.ratios(Kind::Natgw, other);
        if ratios.is_empty() {
            return None;
        }
        let of_medians = outcome.median(Kind::Natgw)? / outcome.median(other)?;
        Some(Finding {
            id: format!("rig/{}/{}/natgw_over_{}", name(series), series.flows, other.id()),
            what: format!(
                "natgw / {}, {} flows, {} bytes{} (of the medians: {of_medians:.2}){}",
                other.title(),
                series.flows,
                series.size,
                manner(series),
                stretch(series, other),
            ),
            value: Sample::of(&ratios).median,
            target: target(series, other),
            compare: Compare::NotBelow(noise(series)),
        })
    };
    others.into_iter().filter_map(finding).collect()
}

/// `64`, `imix`, `64-sequential`, `64-apart`.
fn name(series: Series) -> String {
    let mut name = series.size.to_string();
    if series.order == Order::Sequential {
        name.push_str("-sequential");
    }
    if series.cpus == Cpus::Apart {
        name.push_str("-apart");
    }
    name
}

fn manner(series: Series) -> &'static str {
    match (series.order, series.cpus) {
        (_, Cpus::Apart) => ", gateway on a CPU of its own",
        (Order::Sequential, _) => ", in order of birth",
        (Order::Random, _) => "",
    }
}

fn is_held(series: Series) -> bool {
    series.size == SMALL && series.order == Order::Random && series.cpus == Cpus::Shared
}

fn target(series: Series, other: Kind) -> Option<Target> {
    if !is_held(series) {
        return None;
    }
    match (other, series.flows) {
        (Kind::Fib, 1) => Some(1.1),
        (Kind::Nft, 1) => Some(2.2),
        (Kind::Nft, 50_000) => Some(1.9),
        (Kind::Nft, 1_000_000) => Some(2.0),
        (Kind::Lookup, _) => Some(0.95),
        _ => None,
    }
    .map(Target::AtLeast)
}

fn stretch(series: Series, other: Kind) -> &'static str {
    match (other, series.flows) {
        (Kind::Lookup, 50_000 | 1_000_000) if is_held(series) => "; stretch: above 1",
        _ => "",
    }
}

/// By how much identical code differs between runs on one machine: at 50,000 flows both tables just about fit the
/// share of the last-level cache that a virtual machine gets, which depends on its neighbours.
fn noise(series: Series) -> f64 {
    match (series.cpus, series.flows) {
        (Cpus::Apart, _) => 0.25,
        (_, 10_000..=500_000) => 0.3,
        _ => 0.1,
    }
}
