//! What the packet path has to say: refused flows, and its diagnostics when they are on.

use std::net::SocketAddrV4;
use std::os::fd::AsRawFd;
use std::time::Duration;

use aya::maps::{MapData, RingBuf};
use aya_log::EbpfLogger;
use nat_common::event::{Event, EventKind};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

use super::wait;
use crate::datapath::Datapath;
use crate::datapath::load::LogLevel;
use crate::datapath::maps;

/// Between two warnings of the same kind.
const QUIET: Duration = Duration::from_secs(10);

/// The ring buffers of a gateway. One that cannot be opened is logged and stays silent.
pub(crate) struct Events {
    ring: Option<AsyncFd<RingBuf<MapData>>>,
    log: Option<AsyncFd<EbpfLogger<&'static dyn log::Log>>>,
    port: Limiter,
    table: Limiter,
}

impl Events {
    pub(crate) fn open(plane: &mut Datapath, level: LogLevel) -> Self {
        let ring = match maps::events(plane.pins()).map(watched) {
            Ok(Ok(ring)) => Some(ring),
            Ok(Err(e)) => failed("the packet path's events", &e),
            Err(e) => failed("the packet path's events", &e),
        };
        let log = match level {
            LogLevel::Off => None,
            LogLevel::Debug => match EbpfLogger::init(plane.ebpf_mut()).map(watched) {
                Ok(Ok(log)) => Some(log),
                Ok(Err(e)) => failed("the packet path's diagnostics", &e),
                Err(e) => failed("the packet path's diagnostics", &e),
            },
        };
        Self { ring, log, port: Limiter::default(), table: Limiter::default() }
    }

    /// Waits for records and reports them. Dropping the future loses nothing.
    pub(crate) async fn step(&mut self) {
        let Self { ring, log, port, table } = self;
        tokio::select! {
            ready = wait::maybe(ring.as_mut().map(AsyncFd::readable_mut)) => {
                if let Ok(mut ready) = ready {
                    while let Some(record) = ready.get_inner_mut().next() {
                        // A record of another size would be another schema's.
                        if let Ok(event) = bytemuck::try_pod_read_unaligned::<Event>(&record) {
                            report(&event, port, table);
                        }
                    }
                    ready.clear_ready();
                }
            }
            ready = wait::maybe(log.as_mut().map(AsyncFd::readable_mut)) => {
                if let Ok(mut ready) = ready {
                    ready.get_inner_mut().flush();
                    ready.clear_ready();
                }
            }
        }
    }
}

/// Lets one through in a while, and counts the others.
#[derive(Default)]
struct Limiter {
    last: Option<Instant>,
    held_back: u64,
}

impl Limiter {
    /// How many were held back since the last one, when it is time for another.
    fn pass(&mut self, now: Instant, more: u32) -> Option<u64> {
        self.held_back += u64::from(more);
        if self.last.is_some_and(|last| now < last + QUIET) {
            self.held_back += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.held_back))
    }
}

fn report(event: &Event, port: &mut Limiter, table: &mut Limiter) {
    let now = Instant::now();
    let tuple = &event.tuple;
    let from = SocketAddrV4::new(tuple.src.into(), tuple.sport.host());
    let to = SocketAddrV4::new(tuple.dst.into(), tuple.dport.host());
    let proto = nat_common::Proto::from_number(tuple.proto).map_or("", nat_common::Proto::name);
    match EventKind::from_number(event.kind) {
        Some(EventKind::PortExhausted) => {
            if let Some(more) = port.pass(now, event.suppressed) {
                tracing::warn!(
                    proto, %from, %to, more,
                    "no free port towards this destination on any EIP of the pool: the flow was refused; add an EIP to the pool"
                );
            }
        }
        Some(EventKind::TableFull) => {
            if let Some(more) = table.pass(now, event.suppressed) {
                tracing::warn!(
                    proto, %from, %to, more,
                    "the flow table is full: the flow was refused; raise max_flows, or shorten [timeouts]"
                );
            }
        }
        None => {}
    }
}

/// Registers a ring buffer with the runtime.
fn watched<T: AsRawFd>(ring: T) -> std::io::Result<AsyncFd<T>> {
    // SAFETY: both kinds of ring own their descriptor, which stays open and the same until they are dropped, and
    // nothing here takes them out of the AsyncFd.
    unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) }.map_err(|e| e.into_parts().1)
}

fn failed<T>(what: &str, error: &dyn std::fmt::Display) -> Option<T> {
    tracing::warn!("{what} cannot be shown: {error}");
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_a_while_with_the_number_of_the_others() {
        let mut limiter = Limiter::default();
        let start = Instant::now();
        assert_eq!(limiter.pass(start, 0), Some(0));
        assert_eq!(limiter.pass(start, 4), None);
        assert_eq!(limiter.pass(start + QUIET, 2), Some(7));
        assert_eq!(limiter.pass(start + QUIET * 2, 0), Some(0));
    }
}
