//! `natgw flows`: lists the flow table, straight from the pinned map, in memory that does not depend on its size.

use std::cmp::Reverse;
use std::io::Write;

use nat_common::FlowEntry;
use nat_common::timeouts::IdleLimits;

use super::args::{FlowsAction, FlowsArgs};
use super::instance::Instance;
use super::table::{Align, Paint, Stream, bytes, seconds};
use crate::datapath::inspect::{Flow, Inspect};
use crate::model::filter::Sort;
use crate::observe::devices::Devices;
use crate::observe::flows::{FlowView, HopView, Pair};
use crate::observe::matches::for_each_match;

/// Lists or deletes.
pub fn run(instance: &Instance, args: &FlowsArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    if let Some(FlowsAction::Delete { filter, all, output }) = &args.action {
        return super::delete::run(instance, &filter.filter(), *all, *output, out);
    }
    let inspect = instance.open()?;
    if args.count && !args.output.json {
        let mut total = 0u64;
        for_each_match(&inspect, &args.filter.filter(), &mut |_, _| {
            total += 1;
            Ok(())
        })?;
        writeln!(out, "{total}")?;
        return Ok(());
    }
    let views = Views {
        devices: Devices::read(&inspect, instance.recorded()?.as_ref())?,
        limits: inspect.settings()?.timeouts,
    };
    let mut list: Box<dyn List> = if args.output.json {
        Box::new(Json { out, shown: 0 })
    } else {
        Box::new(Page { out, stream: Stream::new(&COLUMNS, Paint::stdout()), shown: 0 })
    };
    let total = show(&inspect, args, &views, list.as_mut())?;
    list.end(total)
}

/// Adds the flows that were asked for to the list; returns how many match.
fn show(inspect: &Inspect, args: &FlowsArgs, views: &Views, list: &mut dyn List) -> anyhow::Result<u64> {
    let limit = if args.count { 0 } else { args.limit.unwrap_or(usize::MAX) };
    let mut total = 0u64;
    let mut left = limit;
    let mut first = First { limit, ranked: Vec::new() };
    for_each_match(inspect, &args.filter.filter(), &mut |flow, back| {
        total += 1;
        match args.sort {
            _ if limit == 0 => {}
            Some(by) => first.consider(by, flow, back()),
            // Unsorted, the first N are as good as any.
            None if left > 0 => {
                left -= 1;
                if let Some(view) = views.of(flow, back().as_ref()) {
                    list.add(&view)?;
                }
            }
            None => {}
        }
        Ok(())
    })?;
    first.shrink();
    for Ranked { flow, back, .. } in &first.ranked {
        if let Some(view) = views.of(flow, back.as_ref()) {
            list.add(&view)?;
        }
    }
    Ok(total)
}

/// What it takes to show a flow.
struct Views {
    devices: Devices,
    limits: IdleLimits,
}

impl Views {
    fn of(&self, flow: &Flow, back: Option<&FlowEntry>) -> Option<FlowView> {
        let pair = Pair { key: &flow.key, out: &flow.out, back };
        FlowView::new(pair, &self.limits, flow.now, &|stamp| self.devices.hop(stamp))
    }
}

/// The flows that come first in an order. Keeps a few more than it is to keep, so that it need not sort at each.
struct First {
    limit: usize,
    ranked: Vec<Ranked>,
}

struct Ranked {
    rank: u64,
    flow: Flow,
    back: Option<FlowEntry>,
}

impl First {
    /// Fewer are not worth sorting.
    const SLACK: usize = 1024;

    fn consider(&mut self, by: Sort, flow: &Flow, back: Option<FlowEntry>) {
        let rank = Pair { key: &flow.key, out: &flow.out, back: back.as_ref() }.rank(by, flow.now);
        self.ranked.push(Ranked { rank, flow: *flow, back });
        if self.ranked.len() >= self.limit.saturating_mul(2).max(Self::SLACK) {
            self.shrink();
        }
    }

    fn shrink(&mut self) {
        self.ranked.sort_by_key(|r| Reverse(r.rank));
        self.ranked.truncate(self.limit);
    }
}

/// Where flows are shown.
trait List {
    fn add(&mut self, flow: &FlowView) -> anyhow::Result<()>;

    /// `total`: how many match, shown or not.
    fn end(&mut self, total: u64) -> anyhow::Result<()>;
}

/// `{"flows":[...],"total":n}`, a flow at a time.
struct Json<'a> {
    out: &'a mut dyn Write,
    shown: u64,
}

impl List for Json<'_> {
    fn add(&mut self, flow: &FlowView) -> anyhow::Result<()> {
        self.out.write_all(if self.shown == 0 { b"{\"flows\":[" } else { b"," })?;
        self.shown += 1;
        Ok(serde_json::to_writer(&mut *self.out, flow)?)
    }

    fn end(&mut self, total: u64) -> anyhow::Result<()> {
        let head = if self.shown == 0 { "{\"flows\":[" } else { "" };
        Ok(writeln!(self.out, "{head}],\"total\":{total}}}")?)
    }
}

/// A table for people.
struct Page<'a> {
    out: &'a mut dyn Write,
    stream: Stream<'static>,
    shown: u64,
}

const COLUMNS: [(&str, Align); 11] = [
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
    ("VIA OUT/IN", Align::Left),
];

impl List for Page<'_> {
    fn add(&mut self, f: &FlowView) -> anyhow::Result<()> {
        self.shown += 1;
        let via = |hop: Option<&HopView>| hop.map_or("-", |h| h.dev.as_str()).to_owned();
        let row = vec![
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
        ];
        Ok(self.stream.row(row, self.out)?)
    }

    fn end(&mut self, total: u64) -> anyhow::Result<()> {
        self.stream.finish(self.out)?;
        let shown = self.shown;
        let of = if shown == total { String::new() } else { format!(" of {total}") };
        let noun = if total == 1 { "flow" } else { "flows" };
        Ok(writeln!(self.out, "{shown}{of} {noun}")?)
    }
}

#[cfg(test)]
mod tests {
    use bytemuck::Zeroable as _;
    use nat_common::timeouts::Timeouts;
    use nat_common::{Proto, Stamp, Tuple};

    use super::*;

    fn flow(number: u64) -> Flow {
        let mut out =
            FlowEntry::new(&Tuple::zeroed(), &Tuple::zeroed(), FlowEntry::OUTBOUND, Stamp::from_ns(1));
        out.packets = number;
        Flow { proto: Proto::Udp, key: Tuple { proto: 17, ..Tuple::zeroed() }, out, now: Stamp::from_ns(1) }
    }

    fn view(number: u64) -> FlowView {
        let Flow { key, out, now, .. } = &flow(number);
        let pair = Pair { key, out, back: None };
        FlowView::new(pair, &IdleLimits::from(&Timeouts::RFC), *now, &|_| None).expect("a known protocol")
    }

    #[test]
    fn the_first_are_the_largest_in_order() {
        let mut first = First { limit: 3, ranked: Vec::new() };
        for n in 0..10_000u64 {
            // Each number once, in no order.
            first.consider(Sort::Packets, &flow(n * 7919 % 10_000), None);
        }
        first.shrink();
        assert_eq!(first.ranked.iter().map(|r| r.rank).collect::<Vec<_>>(), [9999, 9998, 9997]);
        let mut all = First { limit: usize::MAX, ranked: Vec::new() };
        (0..5000).for_each(|n| all.consider(Sort::Packets, &flow(n), None));
        all.shrink();
        assert_eq!((all.ranked.len(), all.ranked[0].rank), (5000, 4999));
    }

    #[test]
    fn json_is_one_document_however_many_there_are() {
        for shown in 0..3 {
            let mut text = Vec::new();
            let mut list = Json { out: &mut text, shown: 0 };
            (0..shown).for_each(|n| list.add(&view(n)).expect("a Vec takes it"));
            list.end(7).expect("a Vec takes it");
            let document: serde_json::Value = serde_json::from_slice(&text).expect("one document");
            assert_eq!(document["flows"].as_array().map(Vec::len), Some(shown as usize));
            assert_eq!((&document["total"], text.last()), (&7.into(), Some(&b'\n')));
        }
    }

    #[test]
    fn a_page_says_how_many_there_are() {
        for (shown, total, end) in [(0, 0, "0 flows\n"), (1, 1, "1 flow\n"), (2, 7, "2 of 7 flows\n")] {
            let mut text = Vec::new();
            let stream = Stream::new(&COLUMNS, Paint::Plain);
            let mut list = Page { out: &mut text, stream, shown: 0 };
            (0..shown).for_each(|n| list.add(&view(n)).expect("a Vec takes it"));
            list.end(total).expect("a Vec takes it");
            let text = String::from_utf8(text).expect("UTF-8");
            assert!(text.ends_with(end) && text.starts_with("PROTO") == (shown > 0), "{text}");
        }
    }
}
