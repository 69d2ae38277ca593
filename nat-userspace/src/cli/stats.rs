//! `natgw stats`: the counters.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write};
use std::time::Duration;

use super::args::StatsArgs;
use super::instance::Instance;
use super::table::{Align, Paint, bits_per_second, bytes, table};
use crate::datapath::inspect::Inspect;
use crate::observe::devices;
use crate::observe::number::{float, percent};
use crate::observe::stats::{Losses, Meters, StatsView};

/// Between two redraws of `--watch`.
const REDRAW: Duration = Duration::from_secs(1);

/// Prints the counters, with `--watch` until interrupted.
pub async fn run(instance: &Instance, args: &StatsArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let inspect = instance.open()?;
    let mut last = read(instance, &inspect)?;
    print(&last, None, args, out)?;
    if !args.watch {
        return Ok(());
    }
    loop {
        tokio::time::sleep(REDRAW).await;
        let now = read(instance, &inspect)?;
        if !args.output.json && std::io::stdout().is_terminal() {
            // Cursor home, erase to the end: no flicker.
            write!(out, "\x1b[H\x1b[J")?;
        }
        print(&now, Some(&last), args, out)?;
        last = now;
    }
}

fn read(instance: &Instance, inspect: &Inspect) -> anyhow::Result<StatsView> {
    let losses = devices::losses(inspect, instance.recorded()?.as_ref())?;
    Ok(StatsView::new(&inspect.stats()?, inspect.capacity()).with_losses(losses))
}

fn print(
    now: &StatsView,
    before: Option<&StatsView>,
    args: &StatsArgs,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    if args.output.json {
        serde_json::to_writer(&mut *out, now)?;
        writeln!(out)?;
    } else {
        out.write_all(render(now, before, Paint::stdout()).as_bytes())?;
    }
    out.flush()?;
    Ok(())
}

/// `before`, one second earlier, adds rates.
fn render(now: &StatsView, before: Option<&StatsView>, paint: Paint) -> String {
    let mut text = traffic(now, before, paint);
    let c = &now.connections;
    let f = &now.flows;
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "\n{}  {} attempts, {} established, {} idle timeouts, {} port allocation errors",
        paint.bold("connections"),
        c.attempts,
        c.established,
        c.idle_timeouts,
        now.port_allocation_errors
    );
    let share = percent(f.total(), f.capacity);
    let _ = writeln!(
        text,
        "{}        {} tcp, {} udp, {} icmp; {} of {} ({share})",
        paint.bold("flows"),
        f.tcp,
        f.udp,
        f.icmp,
        f.total(),
        f.capacity
    );
    let i = &now.internals;
    let _ = writeln!(
        text,
        "{}       {} passed to the host, {} handed over to the kernel",
        paint.bold("kernel"),
        i.passed,
        i.handovers
    );
    let _ = writeln!(
        text,
        "{}    {} ports probed, {} races lost, {} flows revived, {} hops resolved",
        paint.bold("internals"),
        i.probes,
        i.lost_races,
        i.revivals,
        i.hops_resolved
    );
    text + &answers(now, paint) + "\n" + &drops(now, before, paint) + &losses(now, paint)
}

fn traffic(now: &StatsView, before: Option<&StatsView>, paint: Paint) -> String {
    let mut columns = vec![("TRAFFIC", Align::Left), ("PACKETS", Align::Right), ("BYTES", Align::Right)];
    if before.is_some() {
        columns.extend([("PACKETS/S", Align::Right), ("RATE", Align::Right)]);
    }
    let delta =
        |now: &Meters, before: &Meters, i: usize| now.named()[i].1.saturating_sub(before.named()[i].1);
    let names = ["received from inside", "sent to outside", "received from outside", "sent to inside"];
    let rows: Vec<Vec<String>> = (0..names.len())
        .map(|i| {
            let (packets, octets) = (now.packets.named()[i].1, now.bytes.named()[i].1);
            let mut row = vec![names[i].to_owned(), packets.to_string(), bytes(octets)];
            if let Some(before) = before {
                row.push(delta(&now.packets, &before.packets, i).to_string());
                row.push(bits_per_second(float(delta(&now.bytes, &before.bytes, i))));
            }
            row
        })
        .collect();
    table(&columns, &rows, paint)
}

/// What natgw told senders, if it told anybody anything.
fn answers(now: &StatsView, paint: Paint) -> String {
    let seen: Vec<String> =
        now.answers.named().filter(|(_, n)| *n > 0).map(|(name, n)| format!("{n} {name}")).collect();
    if seen.is_empty() {
        String::new()
    } else {
        format!("{}      {}\n", paint.bold("answers"), seen.join(", "))
    }
}

fn drops(now: &StatsView, before: Option<&StatsView>, paint: Paint) -> String {
    let seen = now.drops.0.iter().enumerate().filter(|(_, (_, n))| *n > 0);
    let rows: Vec<Vec<String>> = seen
        .map(|(i, (reason, n))| {
            let mut row = vec![reason.name().to_owned(), n.to_string()];
            if let Some(before) = before {
                row.push(n.saturating_sub(before.drops.0[i].1).to_string());
            }
            row.push(reason.text().to_owned());
            row
        })
        .collect();
    if rows.is_empty() {
        return "no packet has been dropped\n".to_owned();
    }
    let mut columns = vec![("DROPPED", Align::Left), ("PACKETS", Align::Right)];
    if before.is_some() {
        columns.push(("PER S", Align::Right));
    }
    columns.push(("MEANING", Align::Left));
    table(&columns, &rows, paint)
}

/// Packets that are among those dropped, by the interface that lost them; nothing if none did.
fn losses(now: &StatsView, paint: Paint) -> String {
    let rows: Vec<Vec<String>> = now
        .lost
        .0
        .iter()
        .map(|(name, lost)| {
            let counts = Losses::named(lost).map(|(_, n)| n.to_string());
            [vec![name.clone()], counts.to_vec()].concat()
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let columns = [
        ("LOST AT", Align::Left),
        ("REFUSED", Align::Right),
        ("DROPPED", Align::Right),
        ("NOT SENT BACK", Align::Right),
    ];
    format!("\n{}", table(&columns, &rows, paint))
}

#[cfg(test)]
mod tests {
    use bytemuck::Zeroable as _;
    use nat_common::lost::Lost;
    use nat_common::stats::Stats;
    use nat_common::{Answer, Reason};

    use super::*;

    #[test]
    fn a_page_for_people() {
        let mut stats = Stats::zeroed();
        stats.packets = [1, 2, 3, 4];
        stats.bytes = [1024, 2048, 3072, 4096];
        stats.births = [2, 1, 0];
        let before = StatsView::new(&stats, 1000);
        let quiet = render(&before, None, Paint::Plain);
        assert!(quiet.contains("no packet has been dropped") && !quiet.contains("RATE"), "{quiet}");
        assert!(!quiet.contains("answers"), "{quiet}");
        (stats.passes[0], stats.handovers, stats.revivals) = (31, 32, 33);
        (stats.lost_races, stats.probes, stats.hops_resolved) = (34, 35, 36);
        stats.drops[Reason::Ttl as usize] = 7;
        stats.answers[Answer::TimeExceeded as usize] = 6;
        stats.answers_limited = 1;
        stats.bytes[0] += 125_000;
        let lost = Lost { refused: 71, dropped: 0, back: 0 };
        let after = StatsView::new(&stats, 1000).with_losses(Losses(vec![("eth7".to_owned(), lost)]));
        let page = render(&after, Some(&before), Paint::Plain);
        assert!(page.contains("LOST AT") && page.contains("eth7") && page.contains("71"), "{page}");
        assert!(page.contains("1.0 Mbit/s") && page.contains("3 of 1000 (0.3 %)"), "{page}");
        assert!(page.contains("TTL used up"), "{page}");
        for line in [
            "kernel       31 passed to the host, 32 handed over to the kernel\n",
            "answers      6 time_exceeded, 1 limited\n",
            "internals    35 ports probed, 34 races lost, 33 flows revived, 36 hops resolved\n",
        ] {
            assert!(page.contains(line), "{page}");
        }
    }
}
