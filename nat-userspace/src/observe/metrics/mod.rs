//! Prometheus metrics over HTTP: `GET /metrics` reads the maps when asked, `GET /healthz` (or `/health`) says that the
//! process runs, `GET /readyz` whether packets get through.

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
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

use encode::Scrape;
pub use encode::{DestinationUsage, EipSnapshot, HostCounts, Snapshot};
use format::Format;
use peak::{Peak, WINDOW};

use crate::model::fault::Severity;

mod encode;
mod format;
mod peak;
mod places;

use places::{Place, Places, Visit};

/// Connections at the same time. When there is another one, it takes the place of one that has
/// no complete request yet.
const MAX_CONNECTIONS: usize = 128;

/// Connections that wait to be accepted. When the queue is full, a client tries again only after a second.
const QUEUE: u32 = 4096;

/// A request is complete this long after its connection was accepted, or is not waited for.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);

/// A whole scrape that takes longer is cut off.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of a request that are kept: far more than a scraper's headers.
const REQUEST_BYTES: usize = 16 << 10;

/// Headers of a request.
const REQUEST_HEADERS: usize = 64;

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

/// Takes the address, so that a conflict is found before anything else is done. Needs a tokio runtime.
pub fn bind(addr: SocketAddr) -> Result<TcpListener, Error> {
    let listen = || {
        let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.bind(addr)?;
        socket.listen(QUEUE)
    };
    listen().map_err(|source| Error::Bind { addr, source })
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
    let mut places = Places::new(MAX_CONNECTIONS);
    let (mut pause, mut complained) = (endpoint.started, false);
    loop {
        let now = Instant::now();
        let opens = places.opens(now).max(pause);
        tokio::select! {
            _ = ticks.tick() => endpoint.tick(),
            Some(place) = connections.next() => places.leave(place),
            () = sleep_until(opens), if opens > now => {}
            accepted = listener.accept(), if opens <= now => match accepted {
                Ok((stream, from)) => {
                    connections.push(endpoint.connection(stream, places.take(from.ip(), now)));
                }
                // Out of file descriptors, mostly: those that have one are served meanwhile.
                Err(e) => {
                    if !std::mem::replace(&mut complained, true) {
                        tracing::warn!("metrics: cannot accept a connection: {e}");
                    }
                    pause = now + Duration::from_millis(100);
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
    async fn connection(&self, stream: TcpStream, visit: Visit) -> Place {
        let service = service_fn(async |request| {
            visit.has_asked();
            Ok::<_, Infallible>(self.answer(&request))
        });
        let serve = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(REQUEST_TIMEOUT)
            .max_buf_size(REQUEST_BYTES)
            .max_headers(REQUEST_HEADERS)
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), service);
        // A scraper that goes away or dawdles is no news.
        tokio::select! {
            _ = timeout(CONNECTION_TIMEOUT, serve) => {}
            () = visit.turned_out() => {}
            // hyper waits for a head; one that is complete may still lack a body, which nobody reads.
            () = visit.overdue(REQUEST_TIMEOUT) => {}
        }
        visit.place()
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
            (&Method::GET, "/health" | "/healthz") => (StatusCode::OK, PLAIN, "ok\n".to_owned()),
            (&Method::GET, "/readyz") => {
                let (status, body) = readiness(self.read().as_ref());
                (status, PLAIN, body)
            }
            (_, "/metrics" | "/health" | "/healthz" | "/readyz") => {
                (StatusCode::METHOD_NOT_ALLOWED, PLAIN, "GET only\n".to_owned())
            }
            _ => (StatusCode::NOT_FOUND, PLAIN, "natgw: try /metrics, /healthz or /readyz\n".to_owned()),
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

/// Whether packets get through, and why not.
fn readiness(snapshot: Option<&Snapshot>) -> (StatusCode, String) {
    match snapshot {
        Some(snapshot) if snapshot.is_up() => (StatusCode::OK, "ready\n".to_owned()),
        Some(snapshot) => {
            let grave = snapshot.faults.iter().filter(|f| f.severity == Severity::Critical);
            (
                StatusCode::SERVICE_UNAVAILABLE,
                grave.map(|f| format!("{}: {f}\n", f.code.name())).collect::<Vec<_>>().concat(),
            )
        }
        None => (StatusCode::SERVICE_UNAVAILABLE, "the data plane cannot be read\n".to_owned()),
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
mod tests;
