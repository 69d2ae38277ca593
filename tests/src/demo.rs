//! What `cargo xtask run` shows: real programs through the gateway, an uninvited stranger, and the
//! gateway's own account of it.

use std::net::SocketAddrV4;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::lab::servers::{DOWNLOAD, Server, any};
use crate::lab::tap::{Direction, Injector, mac_of};
use crate::lab::{EVIL, Gateway, Lab, SRV_A, SRV_B, client_addr, clients, eip};
use crate::packet::{Packet, Parsed, flags};
use crate::report::Page;

/// The servers of the demonstration; they run until this is dropped.
#[derive(Debug)]
pub struct Servers {
    http: Server,
    dns: Server,
}

impl Servers {
    /// HTTP on the first server, a UDP request and reply service on the second.
    pub fn start(lab: &Lab) -> Result<Self> {
        Ok(Self {
            http: Server::http(lab.node("srv-a"), any(80))?,
            dns: Server::udp_echo(lab.node("srv-b"), any(53))?,
        })
    }
}

/// The picture of the lab.
pub fn picture(page: &Page, lab: &Lab) {
    page.heading("The lab: network namespaces on this machine, joined by virtual Ethernet");
    page.block(&format!(
        "   client                   gateway                internet
 +-----------+         +---------------+         +----------------------------+
 | {client:<9} |  inside |     natgw     | outside | {a:<13}  web server  |
 |           +---------+ in0      out0 +---------+ {b:<13}  UDP service |
 | private   |         | EIP {eip:<9} |         | {evil:<13}  a stranger  |
 +-----------+         +---------------+         +----------------------------+",
        client = client_addr(0),
        a = SRV_A,
        b = SRV_B,
        evil = EVIL,
        eip = eip(0),
    ));
    page.line(&format!(
        "  Namespaces are called {}-<name>; nothing else on this machine is touched.",
        lab.id()
    ));
}

/// Traffic from inside: every step says what the server saw.
pub fn outbound(page: &mut Page, lab: &Lab, servers: &Servers) {
    page.heading("From inside: allowed, and the servers see only the Elastic IP");
    let client = lab.client(0);
    page.step("curl http://198.51.100.10/ip", {
        clients::curl(client, &format!("http://{SRV_A}/ip"))
            .and_then(|seen| sees_eip(seen.trim().parse().context("an address")?))
    });
    page.step("100 MB download, SHA-256 compared", download(lab));
    page.step("UDP question to 203.0.113.10:53", {
        clients::ask_udp(client, 0, SocketAddrV4::new(SRV_B, 53)).and_then(sees_eip)
    });
    page.step("ping 198.51.100.10", {
        clients::ping(client, SRV_A, 3, &[]).and_then(|n| {
            ensure!(n == 3, "{n} of 3 replies");
            Ok("3 of 3 replies".to_owned())
        })
    });
    page.step("sources that the servers ever saw", {
        let mut seen: Vec<_> =
            servers.http.seen().iter().chain(&servers.dns.seen()).map(|s| *s.ip()).collect();
        seen.sort_unstable();
        seen.dedup();
        if seen == [eip(0)] {
            Ok(format!("{} and no other", eip(0)))
        } else {
            Err(anyhow::anyhow!("{seen:?}"))
        }
    });
}

/// Attempts from outside: every one must vanish.
pub fn unsolicited(page: &mut Page, lab: &Lab, gateway: &Gateway<'_>) {
    page.heading("From outside, uninvited: silence, whatever is tried");
    let before = gateway.drops("unsolicited_inbound").unwrap_or(0);
    let stranger = SocketAddrV4::new(EVIL, 40_000);
    let target = |port| SocketAddrV4::new(eip(0), port);
    let tries = [
        ("TCP SYN to the EIP, port 22", Packet::tcp(stranger, target(22), flags::SYN)),
        ("UDP to the EIP, port 53", Packet::udp(stranger, target(53))),
        ("ping to the EIP", Packet::echo_request(EVIL, eip(0), 7)),
        (
            "TCP SYN straight to 10.0.0.10",
            Packet::tcp(stranger, SocketAddrV4::new(client_addr(0), 22), flags::SYN),
        ),
    ];
    for (what, packet) in tries {
        page.step(what, vanishes(lab, packet));
    }
    page.step("natgw counted them", {
        gateway.drops("unsolicited_inbound").and_then(|after| {
            ensure!(after >= before + 3, "unsolicited_inbound went from {before} to {after} only");
            Ok(format!("drops: unsolicited_inbound {}", after - before))
        })
    });
}

/// The gateway's own account: flow table and counters.
pub fn account(page: &mut Page, gateway: &Gateway<'_>) {
    for (title, verb) in [("The flow table: natgw flows", "flows"), ("The counters: natgw stats", "stats")] {
        page.heading(title);
        match gateway.say(&[verb]) {
            Ok(text) if !text.trim().is_empty() => page.block(&text),
            Ok(_) => page.step(&format!("natgw {verb}"), Err(anyhow::anyhow!("it printed nothing"))),
            Err(e) => page.step(&format!("natgw {verb}"), Err(e)),
        }
    }
}

/// Commands that work while the lab is up.
pub fn invitation(page: &Page, lab: &Lab, gateway: &Gateway<'_>) {
    let enter = |node: &str| format!("nsenter --net={}", lab.node(node).path().display());
    let natgw = crate::lab::gateway::natgw_path();
    let (state, bpffs) = (gateway.state_dir().display(), gateway.bpffs().display());
    let natgw = format!("{} {} --state-dir {state} --bpffs {bpffs}", enter("gw"), natgw.display());
    page.heading("It is yours until Ctrl-C. From another terminal (as root):");
    page.command("ask a server who you are", &format!("{} curl http://{SRV_A}/ip", enter("cli-a")));
    page.command("watch the flow table", &format!("watch -n1 '{natgw} flows'"));
    page.command("watch the counters", &format!("{natgw} stats --watch"));
    page.command("knock from outside, and get no answer", &format!("{} ping -c 3 {}", enter("evil"), eip(0)));
    page.command("see what passes on the outside wire", &format!("{} tcpdump -ni gw0", enter("wan")));
    page.command("be the client", &format!("{} bash", enter("cli-a")));
}

fn sees_eip(seen: SocketAddrV4) -> Result<String> {
    ensure!(*seen.ip() == eip(0), "the server saw {seen}, not the EIP {}", eip(0));
    Ok(format!("the server saw {seen}"))
}

fn download(lab: &Lab) -> Result<String> {
    let begin = std::time::Instant::now();
    let got = clients::download(lab.client(0), &format!("http://{SRV_A}/100mb"))?;
    let took = begin.elapsed();
    let want = clients::expected_sha256(DOWNLOAD)?;
    ensure!(got == want, "SHA-256 {got}, expected {want}");
    Ok(format!("{}… intact, {:.1} s", &got[..12], took.as_secs_f64()))
}

/// Sends the packet from the stranger; nothing may come back, and nothing may reach the client.
fn vanishes(lab: &Lab, packet: Packet) -> Result<String> {
    // Onto the gateway's own wire, as a neighbour there could.
    let wan = lab.node("wan");
    let frame = packet.macs(mac_of(wan, "gw0")?, mac_of(lab.gw(), "out0")?).build();
    let (inside, outside) = (lab.inside_tap()?, lab.outside_tap()?);
    Injector::open(wan, "gw0")?.send(&frame)?;
    let about = |p: &Parsed| p.src == EVIL || p.dst == EVIL;
    ensure!(
        outside.wait_for(Duration::from_secs(1), |p, d| d == Direction::Sent && about(p)).is_some(),
        "the packet never left"
    );
    let answer = outside.wait_for(Duration::from_millis(300), |p, d| d == Direction::Received && about(p));
    ensure!(answer.is_none(), "it was answered: {}", answer.map(|p| p.to_string()).unwrap_or_default());
    let reached = inside.find(|p, _| about(p));
    ensure!(reached.is_empty(), "it reached the inside: {}", reached[0]);
    Ok("no answer, nothing inside".to_owned())
}
