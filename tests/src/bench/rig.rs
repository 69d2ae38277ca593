//! Packets per second through real interfaces: natgw and what it is compared with, in turns, in one run.

mod cpus;
mod flows;
mod gateways;
mod measure;
mod natgw;
mod nft;
mod objects;
mod plan;
mod summary;
mod traffic;
mod verify;

use anyhow::Result;

use super::{Context, report::Section};
use gateways::{Ends, Gateway, INSIDE_MAC, CLIENT_MAC};
use objects::Objects;
use plan::Plan;
use crate::lab::session::Session;

/// Measures.
pub fn run(context: &Context) -> Result<Section> {
    let plan = Plan::new(context)?;
    let _limits = nft::Limits::raise()?;
    let session = Session::open()?;
    let mut objects = Objects::load(&context.bench_object, plan.most_flows(), INSIDE_MAC, CLIENT_MAC)?;
    let ends = Ends::create(&session, &mut objects)?;
    context.progress("rig: setting up the gateways");
    let mut gateways = Vec::new();
    for kind in &plan.gateways {
        gateways.push(Gateway::create(*kind, &session, &ends, &mut objects, &context.natgw)?);
    }
    cpus::arrange(&plan, &gateways)?;
    let mut done = 0;
    let mut results = Vec::new();
    for series in &plan.series {
        if series.flows > done {
            context.progress(&format!("rig: establishing {} flows", series.flows));
            for gateway in &mut gateways {
                flows::establish(&mut objects, gateway, done..series.flows)?;
            }
            done = series.flows;
        }
        context.progress(&format!("rig: {series}"));
        objects.set_course(&traffic::visits(series.flows, series.size, series.order))?;
        for gateway in &mut gateways {
            verify::verify(&mut objects, &ends, gateway, *series)?;
        }
        let result = measure::series(&mut objects, &gateways, *series, &plan)?;
        for (kind, rates) in &result.rates {
            let s = super::report::Sample::of(&rates.iter().map(|r| r.delivered).collect::<Vec<_>>());
            let sent = super::report::Sample::of(&rates.iter().map(|r| r.sent).collect::<Vec<_>>());
            eprintln!("  {:9} {:8.0} [{:.0}..{:.0}] sent {:.0} kpps", kind.id(), s.median/1e3, s.low/1e3, s.high/1e3, sent.median/1e3);
        }
        results.push(result);
    }
    Ok(summary::section(&plan, &results))
}
