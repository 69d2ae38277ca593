//! SIGHUP: the configuration is read again, and what can change while natgw runs does, with the flows there.
#![expect(clippy::unwrap_used, reason = "a test panics where it fails; helpers are part of tests")]

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nat_common::hop::Rpf;
use nat_tests::lab::servers::{Server, any};
use nat_tests::lab::{Gateway, Lab, Options, SRV_A, clients, eip, wait_until};
use nat_userspace::datapath::maps;
use nat_userspace::datapath::pins::Pins;
use nix::sys::signal::Signal;
use serde_json::Value;

/// The collector ends the flows of an EIP that is gone at its next pass, 20 s later at most.
const PATIENCE: Duration = Duration::from_secs(30);

/// A gateway whose configuration is in a file.
struct Configured<'lab> {
    gateway: Gateway<'lab>,
    file: PathBuf,
}

fn configuration(eips: &[Ipv4Addr], more: &str) -> String {
    let eips: Vec<String> = eips.iter().map(|eip| format!("\"{eip}\"")).collect();
    format!(
        "[interfaces]\ninside = [\"in0\"]\noutside = [\"out0\"]\n[[pool]]\neips = [{}]\nsources = [\"10.0.0.0/8\"]\n{more}",
        eips.join(", ")
    )
}

impl<'lab> Configured<'lab> {
    fn start(lab: &'lab Lab, text: &str) -> Self {
        let options = Options { config: Some(text.to_owned()), ..Options::default() };
        Self { gateway: Gateway::start(lab, &options).unwrap(), file: lab.dir().join("natgw.toml") }
    }

    /// Writes the file anew, sends SIGHUP, and returns what natgw says to it.
    fn reload(&self, text: &str) -> String {
        // " not reloaded: " is one, too.
        let is_answer = |line: &str| line.contains(" reloaded: ");
        let answers = || self.gateway.log().lines().filter(|l| is_answer(l)).map(str::to_owned).collect();
        let before: Vec<String> = answers();
        std::fs::write(&self.file, text).unwrap();
        self.gateway.signal(Signal::SIGHUP).unwrap();
        let mut after = Vec::new();
        wait_until("an answer to SIGHUP", PATIENCE, || {
            after = answers();
            after.len() > before.len()
        });
        after.pop().unwrap()
    }

    fn eips(&self) -> Vec<String> {
        let list: Value =
            serde_json::from_str(&self.gateway.say(&["eip", "list", "--json"]).unwrap()).unwrap();
        let eips = list["eips"].as_array().unwrap();
        eips.iter().map(|e| e["eip"].as_str().unwrap().to_owned()).collect()
    }
}

fn echo_address() -> SocketAddrV4 {
    SocketAddrV4::new(SRV_A, 7)
}

/// A new connection of the client's: the source address that its server sees.
fn connects_as(lab: &Lab) -> Ipv4Addr {
    let (mut stream, seen) = clients::connect_tcp(lab.client(0), 0, echo_address()).unwrap();
    clients::echo(&mut stream, b"hello").unwrap();
    *seen.ip()
}

/// Whether the outside interface has an address.
fn has_address(lab: &Lab, addr: Ipv4Addr) -> bool {
    lab.gw()
        .output("ip", &["-o", "-4", "addr", "show", "dev", "out0"])
        .unwrap()
        .contains(&format!(" {addr}/"))
}

#[test]
fn eips_come_and_go_and_the_flows_of_those_that_stay_go_on() {
    let lab = Lab::two_armed(1).unwrap();
    let _echo = Server::tcp_echo(lab.node("srv-a"), any(7)).unwrap();
    let natgw = Configured::start(&lab, &configuration(&[eip(0)], ""));
    let (mut stream, seen) = clients::connect_tcp(lab.client(0), 0, echo_address()).unwrap();
    clients::echo(&mut stream, b"before").unwrap();
    assert_eq!(*seen.ip(), eip(0));

    let said = natgw.reload(&configuration(&[eip(0), eip(1)], ""));
    assert!(said.contains("INFO reloaded: "), "{said}");
    assert_eq!(natgw.eips(), [eip(0).to_string(), eip(1).to_string()]);
    assert!(has_address(&lab, eip(0)) && has_address(&lab, eip(1)), "the kernel answers ARP for both");
    clients::echo(&mut stream, b"the flow is the same").unwrap();

    let said = natgw.reload(&configuration(&[eip(1)], ""));
    assert!(said.contains("INFO reloaded: "), "{said}");
    assert_eq!(natgw.eips(), [eip(1).to_string()]);
    assert!(!has_address(&lab, eip(0)) && has_address(&lab, eip(1)));
    assert_eq!(connects_as(&lab), eip(1), "new flows get an EIP that is left");
    let gone = eip(0).to_string();
    wait_until("the flow of the removed EIP to end", PATIENCE, || {
        natgw.gateway.flows(&["--eip", &gone]).unwrap().is_empty()
    });
    assert!(natgw.reload(&configuration(&[eip(1)], "")).contains("the configuration is what it was"));
}

#[test]
fn timeouts_and_exempt_prefixes_change_while_flows_live() {
    let lab = Lab::two_armed(1).unwrap();
    let _echo = Server::tcp_echo(lab.node("srv-a"), any(7)).unwrap();
    let natgw = Configured::start(&lab, &configuration(&[eip(0)], ""));
    let (mut stream, _) = clients::connect_tcp(lab.client(0), 0, echo_address()).unwrap();
    clients::echo(&mut stream, b"before").unwrap();
    let expires = || natgw.gateway.flows(&["--proto", "tcp"]).unwrap()[0]["expires_in_s"].as_f64().unwrap();
    assert!(expires() > 1000.0, "two hours");
    let said = natgw.reload(&configuration(&[eip(0)], "[timeouts]\ntcp_established = \"10m\"\n"));
    assert!(said.contains("INFO reloaded: "), "{said}");
    assert!(expires() <= 601.0, "the new timeout holds for flows that are there");
    clients::echo(&mut stream, b"after").unwrap();

    let rpf =
        || maps::ifaces(&Pins::new(natgw.gateway.bpffs())).unwrap().iter().map(|i| i.unwrap().1.rpf).max();
    assert_eq!(rpf(), Some(Rpf::Strict as u8));
    let said = natgw.reload(&format!("rpf = \"off\"\n{}", configuration(&[eip(0)], "")));
    assert!(said.contains("INFO reloaded: the configuration holds"), "{said}");
    assert_eq!(rpf(), Some(Rpf::Off as u8), "what is told of interfaces follows, too");
    clients::echo(&mut stream, b"and on").unwrap();
}

#[test]
fn what_cannot_be_applied_is_named_and_nothing_of_the_file_is_applied() {
    let lab = Lab::two_armed(1).unwrap();
    let _echo = Server::tcp_echo(lab.node("srv-a"), any(7)).unwrap();
    let options = Options { config: Some(configuration(&[eip(0)], "")), ..Options::default() }.auto();
    let natgw =
        Configured { gateway: Gateway::start(&lab, &options).unwrap(), file: lab.dir().join("natgw.toml") };
    let both = [eip(0), eip(1)];
    for (text, named) in [
        (format!("colour = \"red\"\n{}", configuration(&both, "")), vec!["natgw.toml line 1", "colour"]),
        (configuration(&both, "[[pool"), vec!["natgw.toml line"]),
        (configuration(&both, "").replace("out0", "out9"), vec!["out9", "does not exist"]),
        (format!("xdp = \"generic\"\n{}", configuration(&both, "")), vec!["xdp", "needs a restart"]),
        (
            format!("max_flows = 7000\n{}", configuration(&both, "[metrics]\nlisten = \"127.0.0.1:9464\"\n")),
            vec!["max_flows", "metrics.listen", "need a restart"],
        ),
    ] {
        let said = natgw.reload(&text);
        assert!(said.contains("ERROR not reloaded: "), "{said}");
        assert!(named.iter().all(|part| said.contains(part)), "{named:?} in: {said}");
        assert_eq!(natgw.eips(), [eip(0).to_string()], "{said}");
        assert!(!has_address(&lab, eip(1)), "{said}");
    }
    assert_eq!(connects_as(&lab), eip(0));
    // A file that is gone is no configuration without pools.
    std::fs::remove_file(&natgw.file).unwrap();
    natgw.gateway.signal(Signal::SIGHUP).unwrap();
    wait_until("natgw to miss its file", PATIENCE, || {
        natgw.gateway.log().contains("cannot read the configuration")
    });
    assert_eq!(connects_as(&lab), eip(0));
}

/// Knocks at a port of an address from the internet side until it is told to stop: how often somebody answered.
fn knock(lab: &Lab, at: SocketAddrV4, is_over: &AtomicBool) -> usize {
    let try_once = || match TcpStream::connect_timeout(&at.into(), Duration::from_millis(20)) {
        Err(e) => usize::from(e.kind() == ErrorKind::ConnectionRefused),
        Ok(_) => 1,
    };
    let deadline = Instant::now() + 2 * PATIENCE;
    lab.node("srv-a").run(|| {
        let mut answers = 0;
        while !is_over.load(Ordering::SeqCst) && Instant::now() < deadline {
            answers += try_once();
        }
        answers
    })
}

#[test]
fn the_host_never_answers_for_an_eip_that_goes() {
    let lab = Lab::two_armed(1).unwrap();
    let _echo = Server::tcp_echo(lab.node("srv-a"), any(7)).unwrap();
    let (both, one) = (configuration(&[eip(0), eip(1)], ""), configuration(&[eip(1)], ""));
    let start = |text: &str| {
        let options = Options { config: Some(text.to_owned()), ..Options::default() };
        Gateway::start(&lab, &options.arg("--persist")).unwrap()
    };
    let (gone, is_over) = (SocketAddrV4::new(eip(0), 4321), AtomicBool::new(false));
    let mut first = start(&both);
    let answers = thread::scope(|scope| {
        let knocking = scope.spawn(|| knock(&lab, gone, &is_over));
        // By a restart that adopts, and back; then by a reload.
        for text in [&one, &both, &one, &both] {
            first.stop().unwrap();
            first = start(text);
        }
        let natgw = Configured { gateway: first, file: lab.dir().join("natgw.toml") };
        assert!(natgw.reload(&one).contains("INFO reloaded: "));
        assert!(!has_address(&lab, eip(0)));
        is_over.store(true, Ordering::SeqCst);
        knocking.join().unwrap()
    });
    assert_eq!(answers, 0, "the host answered for {gone}");
}
