//! Packets per second through real interfaces: natgw and what it is compared with, in turns, in one run.

mod addresses;
mod cpus;
mod devices;
mod flows;
mod gateways;
mod measure;
mod natgw;
mod notes;
mod objects;
mod plan;
mod summary;
mod targets;
mod traffic;
mod verify;

use anyhow::{Context as _, Result, ensure};
use nat_tests::lab::session::Session;

use crate::conntrack::Limits;
use crate::context::{Context, progress};
use crate::report::section::{Sample, Section};
use addresses::{CLIENT_MAC, INSIDE_MAC};
use gateways::{Ends, Gateway};
use measure::Outcome;
use objects::Objects;
use plan::{Plan, Series};
use traffic::{MAX_FLOWS, Sent};

/// Measures.
pub fn run(context: &Context) -> Result<Section> {
    let plan = Plan::new(context)?;
    let _limits = Limits::raise()?;
    let session = Session::open()?;
    let mut objects = Objects::load(&context.bench_object, MAX_FLOWS, INSIDE_MAC, CLIENT_MAC)?;
    let ends = Ends::create(&session, &mut objects)?;
    let spaces = plan.gateways.iter().map(|kind| session.namespace(kind.id())).collect::<Result<Vec<_>>>()?;
    let mut gateways = Vec::new();
    for (kind, ns) in plan.gateways.iter().zip(&spaces) {
        gateways.push(Gateway::create(*kind, ns, &session, &ends, &mut objects)?);
    }
    let (mut known, mut cpus) = (0, cpus::Cpus::Shared);
    let mut outcomes = Vec::new();
    for series in &plan.series {
        progress(&format!("rig: {series}"));
        if series.flows > known {
            arrange(&gateways, &mut cpus, cpus::Cpus::Shared)?;
            for gateway in &mut gateways {
                flows::establish(&mut objects, gateway, known..series.flows)?;
            }
            known = series.flows;
        }
        arrange(&gateways, &mut cpus, series.cpus)?;
        let outcome = one(&mut objects, &ends, &mut gateways, *series, &plan)?;
        for gateway in &gateways {
            flows::expect_flows(gateway, known)?;
        }
        if plan.shows_results {
            show(&outcome);
        }
        outcomes.push(outcome);
    }
    Ok(summary::section(&outcomes))
}

/// Puts the gateways' receive processing where it should be.
fn arrange(gateways: &[Gateway<'_>], now: &mut cpus::Cpus, wanted: cpus::Cpus) -> Result<()> {
    if *now != wanted {
        for gateway in gateways {
            cpus::arrange(gateway.ns, &gateway.inside(), wanted)?;
        }
        *now = wanted;
    }
    Ok(())
}

/// Verifies every gateway, measures a series, and checks that natgw translated all that it was given.
fn one(
    objects: &mut Objects,
    ends: &Ends,
    gateways: &mut [Gateway<'_>],
    series: Series,
    plan: &Plan,
) -> Result<Outcome> {
    let visits = traffic::visits(series.flows, series.size, series.order);
    objects.set_course(&visits)?;
    let sample: Vec<Sent> = visits.iter().cycle().take(verify::SAMPLE).map(Sent::from).collect();
    for gateway in &mut *gateways {
        verify::verify(objects, ends, gateway, series, &sample)?;
    }
    let drops = |gateways: &[Gateway<'_>]| -> Result<Vec<_>> {
        gateways.iter().filter_map(|g| Some(natgw::drops(g.natgw.as_ref()?))).collect()
    };
    let before = drops(gateways)?;
    let outcome =
        measure::series(objects, ends, gateways, series, plan).with_context(|| series.to_string())?;
    let after = drops(gateways)?;
    ensure!(
        before == after,
        "natgw dropped packets of established flows ({series}): {before:?}, then {after:?}"
    );
    Ok(outcome)
}

fn show(outcome: &Outcome) {
    for turns in &outcome.turns {
        let delivered = Sample::of(&turns.rates.iter().map(|r| r.delivered / 1e3).collect::<Vec<_>>());
        let sent = Sample::of(&turns.rates.iter().map(|r| r.sent / 1e3).collect::<Vec<_>>());
        eprintln!(
            "  {:9} {:7.0} kpps ({:.0} to {:.0}), {:.1} ns; sent {:.0} kpps; lost {} of {} {:?}",
            turns.kind.id(),
            delivered.median,
            delivered.low,
            delivered.high,
            1e6 / delivered.median,
            sent.median,
            turns.made - turns.delivered,
            turns.made,
            turns.devices,
        );
    }
    eprintln!("  {:?} in {:?}", outcome.times, outcome.took);
}
