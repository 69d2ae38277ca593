//! What scrapers get, and what those get who only take up room.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use bytemuck::Zeroable as _;
use nat_common::stats::Stats;
use nat_common::{Proto, Reason};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::model::fault::{Code, Fault};

fn snapshot() -> Snapshot {
    let mut stats = Stats::zeroed();
    (stats.packets, stats.bytes) = ([1, 2, 3, 4], [10, 20, 30, 40]);
    stats.drops[Reason::Fragment as usize] = 7;
    (stats.attempts, stats.established, stats.idle_timeouts) = ([5, 6, 7], [8, 9, 10], [11, 12, 13]);
    (stats.births, stats.deaths, stats.port_allocation_errors) = ([20, 10, 5], [5, 5, 5], 14);
    (stats.passes[0], stats.handovers, stats.revivals) = (21, 22, 23);
    (stats.lost_races, stats.probes, stats.hops_resolved) = (24, 25, 26);
    let addr = Ipv4Addr::new(203, 0, 113, 10);
    Snapshot {
        stats,
        capacity: 1000,
        eips: vec![EipSnapshot {
            addr,
            ports: [64_512, 64_511, 64_510],
            in_use: [15, 16, 17],
            errors: [9, 4, 1],
        }],
        destinations: vec![DestinationUsage {
            eip: addr,
            proto: Proto::Tcp,
            remote: "198.51.100.7:443".parse().expect("address"),
            ratio: 0.25,
        }],
        host: HostCounts { kept: 27, refused: 28, overruns: 29 },
        faults: vec![],
    }
}

/// Series to value, and family to type: an independent reading of the text format.
fn parse(body: &str) -> (BTreeMap<String, f64>, BTreeMap<String, String>) {
    let (mut series, mut types) = (BTreeMap::new(), BTreeMap::new());
    for line in body.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|l| l.split_once(' ')) {
            types.insert(name.to_owned(), kind.to_owned());
        } else if !line.starts_with('#') {
            let (name, value) = line.rsplit_once(' ').expect("name and value");
            let unique = series.insert(name.to_owned(), value.parse().expect("a number")).is_none();
            assert!(unique, "{name} twice");
        }
    }
    (series, types)
}

#[test]
fn every_name_of_the_interface_comes_out() {
    let body = render(Some(snapshot()), &Peak::default());
    let (series, types) = parse(&body);
    for (name, value) in [
        ("natgw_up", 1.0),
        (concat!("natgw_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}"), 1.0),
        ("natgw_bytes_total{side=\"source\",dir=\"in\"}", 10.0),
        ("natgw_bytes_total{side=\"destination\",dir=\"out\"}", 20.0),
        ("natgw_bytes_total{side=\"destination\",dir=\"in\"}", 30.0),
        ("natgw_bytes_total{side=\"source\",dir=\"out\"}", 40.0),
        ("natgw_packets_total{side=\"source\",dir=\"in\"}", 1.0),
        ("natgw_packets_dropped_total{reason=\"fragment\"}", 7.0),
        ("natgw_packets_dropped_total{reason=\"unsolicited_inbound\"}", 0.0),
        ("natgw_connection_attempts_total{proto=\"tcp\"}", 5.0),
        ("natgw_connections_established_total{proto=\"udp\"}", 9.0),
        ("natgw_idle_timeouts_total{proto=\"icmp\"}", 13.0),
        ("natgw_active_connections{proto=\"tcp\"}", 15.0),
        ("natgw_active_connections{proto=\"icmp\"}", 0.0),
        ("natgw_passed_packets_total", 21.0),
        ("natgw_handover_packets_total", 22.0),
        ("natgw_flow_revivals_total", 23.0),
        ("natgw_flow_lost_races_total", 24.0),
        ("natgw_port_probes_total", 25.0),
        ("natgw_hops_resolved_total", 26.0),
        ("natgw_neighbours_kept", 27.0),
        ("natgw_neighbours_refused", 28.0),
        ("natgw_netlink_overruns_total", 29.0),
        ("natgw_flow_table_entries", 40.0),
        ("natgw_flow_table_capacity", 2000.0),
        ("natgw_port_allocation_errors_total{eip=\"203.0.113.10\",proto=\"tcp\"}", 9.0),
        ("natgw_ports_in_use{eip=\"203.0.113.10\",proto=\"udp\"}", 16.0),
        ("natgw_ports_capacity{eip=\"203.0.113.10\",proto=\"tcp\"}", 64_512.0),
        ("natgw_ports_capacity{eip=\"203.0.113.10\",proto=\"icmp\"}", 64_510.0),
        (
            "natgw_destination_port_usage_ratio{eip=\"203.0.113.10\",proto=\"tcp\",destination=\"198.51.100.7:443\"}",
            0.25,
        ),
        ("natgw_peak_bytes_per_second", 0.0),
        ("natgw_peak_packets_per_second", 0.0),
    ] {
        let found = series.get(name).unwrap_or_else(|| panic!("{name} is missing:\n{body}"));
        assert!((found - value).abs() < 1e-9, "{name} is {found}");
    }
    assert_eq!(types["natgw_bytes"], "counter");
    assert_eq!(types["natgw_active_connections"], "gauge");
    assert_eq!(
        series.keys().filter(|k| k.starts_with("natgw_packets_dropped_total")).count(),
        Reason::ALL.len()
    );
    let errors = series.iter().filter(|(k, _)| k.starts_with("natgw_port_allocation_errors_total"));
    assert!((errors.map(|(_, n)| n).sum::<f64>() - 14.0).abs() < 1e-9, "the series add up to the total");
    for (family, words) in [
        ("natgw_flow_table_capacity", "two a flow: twice max_flows"),
        ("natgw_ports_in_use", "collector's last pass"),
    ] {
        let help = body.lines().find(|l| l.starts_with(&format!("# HELP {family} "))).expect(family);
        assert!(help.contains(words), "{help}");
    }
    for family in types.keys() {
        assert!(body.contains(&format!("# HELP {family} ")), "{family} has no help");
    }
}

#[test]
fn a_data_plane_that_cannot_be_read_is_down() {
    let (series, _) = parse(&render(None, &Peak::default()));
    assert!(series["natgw_up"].abs() < 1e-9);
    assert_eq!(series.len(), 2, "up and build_info only");
}

async fn get(addr: SocketAddr, path: &str, headers: &str) -> String {
    let mut stream = TcpStream::connect(addr).await.expect("connects");
    let request = format!("GET {path} HTTP/1.1\r\nHost: natgw\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.expect("writes");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("reads to the end");
    answer
}

#[tokio::test]
async fn http_serves_metrics_health_and_nothing_else() {
    let listener = bind("127.0.0.1:0".parse().expect("address")).expect("a free port");
    let addr = listener.local_addr().expect("bound");
    let client = async {
        let metrics = get(addr, "/metrics", "Accept: application/openmetrics-text\r\n").await;
        assert!(metrics.starts_with("HTTP/1.1 200") && metrics.contains("openmetrics-text"), "{metrics}");
        assert!(metrics.contains("\nnatgw_up 1\n") && metrics.ends_with("# EOF\n"), "{metrics}");
        let metrics = get(addr, "/metrics", "").await;
        assert!(metrics.contains("content-type: text/plain; version=0.0.4"), "{metrics}");
        assert!(metrics.contains("\n# TYPE natgw_bytes_total counter\n"), "{metrics}");
        assert!(metrics.contains("\nnatgw_up 1\n") && !metrics.contains("EOF"), "{metrics}");
        for path in ["/health", "/healthz", "/readyz"] {
            assert!(get(addr, path, "").await.starts_with("HTTP/1.1 200"));
        }
        assert!(get(addr, "/", "").await.starts_with("HTTP/1.1 404"));
    };
    tokio::select! {
        never = serve_on(listener, || Ok::<_, &str>(snapshot())) => match never {},
        () = client => {}
    }
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() {
    let first = bind("127.0.0.1:0".parse().expect("address")).expect("a free port");
    let addr = first.local_addr().expect("bound");
    let error = bind(addr).expect_err("taken").to_string();
    assert!(error.contains(&addr.to_string()) && error.contains("[metrics]"), "{error}");
}

/// Serves, and runs `client` meanwhile.
async fn while_serving(client: impl AsyncFnOnce(SocketAddr)) {
    let listener = bind("127.0.0.1:0".parse().expect("address")).expect("a free port");
    let addr = listener.local_addr().expect("bound");
    tokio::select! {
        never = serve_on(listener, || Ok::<_, &str>(snapshot())) => match never {},
        () = client(addr) => {}
    }
}

/// Connections that say `words` and nothing more, each of which comes again as soon as it is turned out.
async fn dawdle(addr: SocketAddr, count: usize, words: &[u8]) {
    let mut all: FuturesUnordered<_> = (0..count)
        .map(async |_| {
            loop {
                if let Ok(mut stream) = TcpStream::connect(addr).await {
                    let _ = stream.write_all(words).await;
                    let _ = stream.read(&mut [0; 64]).await;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .collect();
    let _: Option<Infallible> = all.next().await;
}

#[tokio::test]
async fn scrapes_are_answered_at_once_while_hundreds_hold_half_a_request() {
    for words in ["GET /metrics HTTP/1.1\r\nHost:", "", "POST /metrics HTTP/1.1\r\nContent-Length: 99999\r\n"]
    {
        while_serving(async |addr| {
            let scrapes = async {
                let mut pace = interval(Duration::from_millis(30));
                for _ in 0..30 {
                    pace.tick().await;
                    let begin = Instant::now();
                    let answer = timeout(Duration::from_secs(1), get(addr, "/metrics", "")).await;
                    let answer = answer.unwrap_or_else(|_| panic!("no answer in {:?}", begin.elapsed()));
                    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\nnatgw_up 1\n"));
                }
            };
            tokio::select! {
                () = dawdle(addr, 200, words.as_bytes()) => {}
                () = scrapes => {}
            }
        })
        .await;
    }
}

#[tokio::test]
async fn a_request_without_end_is_cut_off_in_time_and_in_size() {
    while_serving(async |addr| {
        let ends = async |mut stream: TcpStream| {
            let mut answer = Vec::new();
            let end = timeout(REQUEST_TIMEOUT * 2, stream.read_to_end(&mut answer)).await;
            end.expect("the other end closes").ok();
            String::from_utf8_lossy(&answer).into_owned()
        };
        let mut slow = TcpStream::connect(addr).await.expect("connects");
        slow.write_all(b"GET /metrics HTTP/1.1\r\nX: ").await.expect("writes");
        assert!(!ends(slow).await.contains(" 200 "));

        let mut huge = TcpStream::connect(addr).await.expect("connects");
        huge.write_all(b"GET /metrics HTTP/1.1\r\nX: ").await.expect("writes");
        let mut sent = 0;
        while sent < 4 * REQUEST_BYTES && huge.write_all(&[b'x'; 1024]).await.is_ok() {
            sent += 1024;
        }
        assert!(!ends(huge).await.contains(" 200 "));

        let many = "X: y\r\n".repeat(REQUEST_HEADERS + 1);
        assert!(!get(addr, "/metrics", &many).await.contains(" 200 "));
    })
    .await;
}

#[test]
fn a_grave_fault_is_down_and_says_why() {
    let grave = Fault::new(Code::SideDown, "every outside interface is down", "see the cable");
    let slow = Fault::new(Code::GenericXdp, "in0 runs generic XDP", "set xdp");
    let with = |faults: &[&Fault]| {
        let faults = faults.iter().map(|f| (*f).clone()).collect();
        Snapshot { faults, ..snapshot() }
    };
    let values = |faults: &[&Fault]| parse(&render(Some(with(faults)), &Peak::default())).0;
    let fault = "natgw_fault{code=\"side_down\",severity=\"critical\"}";
    for (faults, up, is_wrong) in [(&[][..], 1.0, 0.0), (&[&slow], 1.0, 0.0), (&[&slow, &grave], 0.0, 1.0)] {
        let values = values(faults);
        assert!((values["natgw_up"] - up).abs() < 0.1 && (values[fault] - is_wrong).abs() < 0.1);
    }
    assert_eq!(readiness(Some(&with(&[&slow]))), (StatusCode::OK, "ready\n".to_owned()));
    let (status, body) = readiness(Some(&with(&[&slow, &grave])));
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(body, "side_down: every outside interface is down; see the cable\n");
    assert_eq!(readiness(None).0, StatusCode::SERVICE_UNAVAILABLE);
}
