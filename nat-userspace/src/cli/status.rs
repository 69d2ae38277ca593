//! `natgw status`: is there a gateway, what does it carry, and what is wrong with it.

use std::fmt::Write as _;
use std::io::Write;

use super::args::Output;
use super::instance::Instance;
use super::table::{Paint, bits_per_second};
use crate::datapath::Error as DatapathError;
use crate::host::condition::Condition;
use crate::model::interface::XdpMode;
use crate::model::status::{InterfaceStatus, Status};
use crate::observe::number::{float, percent};
use crate::observe::status::{SAMPLE, Since, addresses, flows, look};

/// Prints the status; fails when there is no gateway.
pub async fn run(instance: &Instance, output: Output, out: &mut dyn Write) -> anyhow::Result<()> {
    let inspect = match instance.open() {
        Ok(inspect) => inspect,
        Err(e) => {
            let absent = matches!(e.downcast_ref(), Some(DatapathError::NotUp { .. }));
            if output.json && absent {
                writeln!(out, "{}", serde_json::json!({ "up": false }))?;
            }
            return Err(e);
        }
    };
    let first = inspect.stats()?;
    tokio::time::sleep(SAMPLE).await;
    let since = Since { first, sample: SAMPLE };
    let host = Condition::read(&addresses(&inspect)?).await?;
    let (state, flows) = (instance.recorded()?, flows(&inspect)?);
    let status = look(&instance.pins()?, state.as_ref(), &inspect, &since, Some(&host), flows)?;
    if output.json {
        serde_json::to_writer(&mut *out, &status)?;
        writeln!(out)?;
    } else {
        out.write_all(render(&status, Paint::stdout()).as_bytes())?;
    }
    Ok(())
}

fn render(status: &Status, paint: Paint) -> String {
    let mut text = String::new();
    let head = if status.up { paint.green("up") } else { paint.red("down") };
    let daemon = match (status.pid, status.started) {
        (Some(pid), Some(started)) => {
            let now = std::time::UNIX_EPOCH.elapsed().map_or(0, |t| t.as_secs());
            let since = super::table::seconds(float(now.saturating_sub(started)));
            format!("daemon pid {pid}, since {since}")
        }
        _ => "no daemon".to_owned(),
    };
    let r = &status.rates;
    // Writing to a String cannot fail.
    let mut line = |label: &str, value: String| {
        let _ = writeln!(text, "{} {value}", paint.bold(&format!("{label:<11}")));
    };
    line("gateway", format!("{head}, {daemon}"));
    match status.pid {
        _ if status.in_this_namespace => {}
        Some(pid) => line("namespace", format!("another one: `nsenter --target {pid} --net` enters it")),
        None => line("namespace", "another one".to_owned()),
    }
    for InterfaceStatus { recorded, present, attached } in &status.interfaces {
        let side = recorded.side.name();
        let state = match (present, attached) {
            (false, _) => paint.red("missing"),
            (true, false) if recorded.xdp_mode == XdpMode::Tc => paint.red("no program"),
            (true, false) => paint.red("no XDP"),
            (true, true) if recorded.xdp_mode == XdpMode::Tc => "tc".to_owned(),
            (true, true) => format!("{} XDP", recorded.xdp_mode.name()),
        };
        line("interface", format!("{} ({side}, {state})", recorded.name));
    }
    let eips: Vec<String> = status.eips.iter().map(ToString::to_string).collect();
    line("eips", eips.join(" "));
    let (flows, room) = (status.flows.total(), status.flows.capacity);
    line("flows", format!("{flows} of {room} ({})", percent(flows, room)));
    line("out", format!("{:.0} packets/s, {}", r.packets_out, bits_per_second(r.bytes_out)));
    line("in", format!("{:.0} packets/s, {}", r.packets_in, bits_per_second(r.bytes_in)));
    line("new flows", format!("{:.0}/s", r.new_flows));
    line("drops", format!("{:.0}/s", r.drops));
    for fault in &status.faults {
        let _ = writeln!(text, "{} {fault}", paint.red("fault      "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_in_another_namespace_says_so() {
        assert!(!render(&Status::healthy(), Paint::Plain).contains("namespace"));
        let away = Status { in_this_namespace: false, ..Status::healthy() };
        assert!(render(&away, Paint::Plain).contains("`nsenter --target 7 --net`"));
    }

    #[test]
    fn an_interface_that_is_lost_is_shown_as_missing() {
        let mut status = Status::healthy();
        let recorded = status.interfaces.remove(0).recorded;
        for (attached, exists, state) in [
            (&["eth0".to_owned()][..], true, "eth0 (outside, native XDP)"),
            (&[], true, "eth0 (outside, no XDP)"),
            (&[], false, "eth0 (outside, missing)"),
        ] {
            status.interfaces = vec![InterfaceStatus::new(recorded.clone(), attached, |_| exists)];
            let page = render(&status, Paint::Plain);
            assert!(page.contains(state), "{page}");
            let json = serde_json::to_value(&status).expect("serializes");
            assert_eq!(json["interfaces"][0]["missing"], !exists);
            assert_eq!(json["interfaces"][0]["present"], exists);
        }
    }

    #[test]
    fn a_page_and_a_document() {
        let page = render(&Status::healthy(), Paint::Plain);
        assert!(page.contains("up, daemon pid 7") && page.contains("eth0 (outside, native XDP)"), "{page}");
        let json = serde_json::to_value(Status::healthy()).expect("serializes");
        assert_eq!(json["interfaces"][0]["name"], "eth0");
        assert_eq!(json["interfaces"][0]["xdp_mode"], "native");
        assert_eq!(json["flows"]["capacity"], 1000);
    }
}
