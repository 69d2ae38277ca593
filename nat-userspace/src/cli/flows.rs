//! `natgw flows`: lists the flow table, straight from the pinned map.

use std::io::Write;
use std::ops::ControlFlow;

use super::args::{FlowFilter, FlowsAction, FlowsArgs, Instance};
use super::devices::Devices;
use super::table::{Align, Paint, bytes, seconds, table};
use crate::datapath::inspect::Inspect;
use crate::export::view::{FlowList, FlowView, HopView, Pair, sort};

/// Lists or deletes.
pub fn run(instance: &Instance, args: &FlowsArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    if let Some(FlowsAction::Delete { filter, all, output }) = &args.action {
        return super::delete::run(instance, filter, *all, *output, out);
    }
    let inspect = super::open(instance)?;
    let list = collect(&inspect, args, &Devices::read(instance)?)?;
    if args.output.json {
        serde_json::to_writer(&mut *out, &list)?;
        writeln!(out)?;
    } else if args.count {
        writeln!(out, "{}", list.total)?;
    } else {
        out.write_all(render(&list, Paint::stdout()).as_bytes())?;
    }
    Ok(())
}

/// Hands every live flow that matches to `each`.
pub fn for_each_match(
    inspect: &Inspect,
    filter: &FlowFilter,
    hop: &dyn Fn(nat_common::HopStamp) -> Option<HopView>,
    mut each: impl FnMut(FlowView, &nat_common::Tuple),
) -> anyhow::Result<()> {
    let timeouts = inspect.settings()?.timeouts;
    inspect.flows(&mut |flow| {
        let pair = Pair { key: &flow.key, out: &flow.out, back: flow.back.as_ref() };
        if !pair.is_dead(&timeouts, flow.now)
            && let Some(view) = FlowView::new(pair, &timeouts, flow.now, hop)
            && view.matches(filter)
        {
            each(view, &flow.key);
        }
        ControlFlow::Continue(())
    })?;
    Ok(())
}

fn collect(inspect: &Inspect, args: &FlowsArgs, devices: &Devices) -> anyhow::Result<FlowList> {
    let limit = if args.count { 0 } else { args.limit.unwrap_or(usize::MAX) };
    let mut list = FlowList { flows: Vec::new(), total: 0 };
    for_each_match(inspect, &args.filter, &|stamp| devices.hop(stamp), |view, _| {
        list.total += 1;
        // Unsorted, the first N are as good as any.
        if list.flows.len() < limit || (args.sort.is_some() && !args.count) {
            list.flows.push(view);
        }
    })?;
    if let Some(by) = args.sort {
        sort(&mut list.flows, by);
    }
    list.flows.truncate(limit);
    Ok(list)
}

const COLUMNS: [(&str, Align); 10] = [
    ("PROTO", Align::Left),
    ("STATE", Align::Left),
    ("INSIDE", Align::Left),
    ("EIP", Align::Left),
    ("REMOTE", Align::Left),
    ("PKTS OUT/IN", Align::Right),
    ("BYTES OUT/IN", Align::Right),
    ("AGE", Align::Right),
    ("IDLE", Align::Right),
    ("EXPIRES", Align::Right),
];

fn render(list: &FlowList, paint: Paint) -> String {
    let via = |hop: Option<&HopView>| hop.map_or("-", |h| h.dev.as_str()).to_owned();
    let rows: Vec<Vec<String>> = list
        .flows
        .iter()
        .map(|f| {
            vec![
                f.proto.name().to_owned(),
                f.state.name().to_owned(),
                f.inside.to_string(),
                f.eip.to_string(),
                f.remote.to_string(),
                format!("{}/{}", f.packets_out, f.packets_in),
                format!("{} / {}", bytes(f.bytes_out), bytes(f.bytes_in)),
                seconds(f.age_s),
                seconds(f.idle_s),
                seconds(f.expires_in_s),
                format!("{}/{}", via(f.hop_out.as_ref()), via(f.hop_in.as_ref())),
            ]
        })
        .collect();
    let columns: Vec<_> = COLUMNS.into_iter().chain([("VIA OUT/IN", Align::Left)]).collect();
    let shown = list.flows.len() as u64;
    let total = if shown == list.total { format!("{shown}") } else { format!("{shown} of {}", list.total) };
    let noun = if list.total == 1 { "flow" } else { "flows" };
    let body = if rows.is_empty() { String::new() } else { table(&columns, &rows, paint) };
    format!("{body}{total} {noun}\n")
}
