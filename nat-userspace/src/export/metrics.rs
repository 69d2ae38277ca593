//! Prometheus metrics over HTTP: `GET /metrics` reads the maps when asked, `GET /health` says ok.

use std::cell::RefCell;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::encode::Scrape;
pub use super::encode::{DestinationUsage, EipSnapshot, Snapshot};
use super::format::Format;
use super::peak::{Peak, WINDOW};

/// Connections served at the same time; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 16;

/// A scrape that takes longer is cut off.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);

/// Why metrics cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is taken, or not this host's.
    #[error("cannot serve metrics at {addr}; change listen under [metrics], or --metrics")]
    Bind {
        /// As configured.
        addr: SocketAddr,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
}

/// Takes the address, so that a conflict is found before anything else is done.
pub async fn bind(addr: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(addr).await.map_err(|source| Error::Bind { addr, source })
}

/// [`bind`] and [`serve_on`].
pub async fn serve<E: std::fmt::Display>(
    addr: SocketAddr,
    source: impl Fn() -> Result<Snapshot, E>,
) -> Result<Infallible, Error> {
    Ok(serve_on(bind(addr).await?, source).await)
}

/// Serves until dropped. `source` is called at each scrape, and every ten seconds for the peak rates.
///
/// Needs no `Send`: everything runs where it is polled.
pub async fn serve_on<E: std::fmt::Display>(
    listener: TcpListener,
    source: impl Fn() -> Result<Snapshot, E>,
) -> Infallible {
    let endpoint = Endpoint { source: &source, peak: RefCell::new(Peak::default()), started: Instant::now() };
    let mut ticks = interval(WINDOW);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut connections = FuturesUnordered::new();
    loop {
        tokio::select! {
            _ = ticks.tick() => endpoint.tick(),
            Some(()) = connections.next() => {}
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, _)) => connections.push(endpoint.connection(stream)),
                // Out of file descriptors, mostly: the next tick or scrape may do better.
                Err(e) => {
                    tracing::warn!("metrics: cannot accept a connection: {e}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
}

struct Endpoint<'a, F> {
    source: &'a F,
    peak: RefCell<Peak>,
    started: Instant,
}

impl<E: std::fmt::Display, F: Fn() -> Result<Snapshot, E>> Endpoint<'_, F> {
    async fn connection(&self, stream: TcpStream) {
        let service = service_fn(async |request| Ok::<_, Infallible>(self.answer(&request)));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), service);
        // A scraper that goes away or dawdles is no news.
        let _ = timeout(CONNECTION_TIMEOUT, connection).await;
    }

    fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        const PLAIN: &str = "text/plain; charset=utf-8";
        let (status, kind, body) = match (request.method(), request.uri().path()) {
            (&Method::GET, "/metrics") => {
                let accept = request.headers().get(ACCEPT).and_then(|a| a.to_str().ok());
                let format = Format::accepted(accept);
                let body = format.write(render(self.read(), &self.peak.borrow()));
                (StatusCode::OK, format.content_type(), body)
            }
            (&Method::GET, "/health") => (StatusCode::OK, PLAIN, "ok\n".to_owned()),
            (_, "/metrics" | "/health") => (StatusCode::METHOD_NOT_ALLOWED, PLAIN, "GET only\n".to_owned()),
            _ => (StatusCode::NOT_FOUND, PLAIN, "natgw: try /metrics or /health\n".to_owned()),
        };
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        response
    }

    /// Closes a window of the peak rates. Scrapes only look at them: windows stay ten seconds long.
    fn tick(&self) {
        if let Some(Snapshot { stats, .. }) = self.read() {
            let (bytes, packets) = (stats.bytes.iter().sum(), stats.packets.iter().sum());
            self.peak.borrow_mut().sample(self.started.elapsed(), bytes, packets);
        }
    }

    fn read(&self) -> Option<Snapshot> {
        match (self.source)() {
            Ok(snapshot) => Some(snapshot),
            Err(e) => {
                tracing::warn!("metrics: cannot read the data plane: {e}");
                None
            }
        }
    }
}

/// As `OpenMetrics`.
fn render(snapshot: Option<Snapshot>, peak: &Peak) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape { snapshot, peak: peak.rate() }));
    let mut body = String::new();
    // Writing to a String cannot fail.
    let _ = text::encode(&mut body, &registry);
    body
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::Ipv4Addr;

    use bytemuck::Zeroable as _;
    use nat_common::stats::Stats;
    use nat_common::{Proto, Reason};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    fn snapshot() -> Snapshot {
        let mut stats = Stats::zeroed();
        (stats.packets, stats.bytes) = ([1, 2, 3, 4], [10, 20, 30, 40]);
        stats.drops[Reason::Fragment as usize] = 7;
        (stats.attempts, stats.established, stats.idle_timeouts) = ([5, 6, 7], [8, 9, 10], [11, 12, 13]);
        (stats.births, stats.deaths, stats.port_allocation_errors) = ([20, 10, 5], [5, 5, 5], 14);
        (stats.passed, stats.handovers, stats.revivals) = (21, 22, 23);
        (stats.lost_races, stats.probes, stats.hops_resolved) = (24, 25, 26);
        let addr = Ipv4Addr::new(203, 0, 113, 10);
        Snapshot {
            stats,
            capacity: 1000,
            eips: vec![EipSnapshot { addr, ports: 64_512, in_use: [15, 16, 17], errors: [9, 4, 1] }],
            destinations: vec![DestinationUsage {
                eip: addr,
                proto: Proto::Tcp,
                remote: "198.51.100.7:443".parse().expect("address"),
                ratio: 0.25,
            }],
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
            ("natgw_flow_table_entries", 40.0),
            ("natgw_flow_table_capacity", 2000.0),
            ("natgw_port_allocation_errors_total{eip=\"203.0.113.10\",proto=\"tcp\"}", 9.0),
            ("natgw_ports_in_use{eip=\"203.0.113.10\",proto=\"udp\"}", 16.0),
            ("natgw_ports_capacity{eip=\"203.0.113.10\",proto=\"tcp\"}", 64_512.0),
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
        let listener = bind("127.0.0.1:0".parse().expect("address")).await.expect("a free port");
        let addr = listener.local_addr().expect("bound");
        let client = async {
            let metrics = get(addr, "/metrics", "Accept: application/openmetrics-text\r\n").await;
            assert!(metrics.starts_with("HTTP/1.1 200") && metrics.contains("openmetrics-text"), "{metrics}");
            assert!(metrics.contains("\nnatgw_up 1\n") && metrics.ends_with("# EOF\n"), "{metrics}");
            let metrics = get(addr, "/metrics", "").await;
            assert!(metrics.contains("content-type: text/plain; version=0.0.4"), "{metrics}");
            assert!(metrics.contains("\n# TYPE natgw_bytes_total counter\n"), "{metrics}");
            assert!(metrics.contains("\nnatgw_up 1\n") && !metrics.contains("EOF"), "{metrics}");
            assert!(get(addr, "/health", "").await.starts_with("HTTP/1.1 200"));
            assert!(get(addr, "/", "").await.starts_with("HTTP/1.1 404"));
        };
        tokio::select! {
            never = serve_on(listener, || Ok::<_, &str>(snapshot())) => match never {},
            () = client => {}
        }
    }

    #[tokio::test]
    async fn an_address_that_is_taken_is_named() {
        let first = bind("127.0.0.1:0".parse().expect("address")).await.expect("a free port");
        let addr = first.local_addr().expect("bound");
        let error = bind(addr).await.expect_err("taken").to_string();
        assert!(error.contains(&addr.to_string()) && error.contains("[metrics]"), "{error}");
    }
}
