//! The programs at both ends: loaded, attached, run and read.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use aya::maps::{Array, MapData, PerCpuArray};
use aya::programs::xdp::XdpLinkId;
use aya::programs::{ProgramError, TestRun as _, TestRunAttrs, TestRunOptions, Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};
use nat_bench_ebpf::layout::endpoints::{BUCKETS, Expected, FRAME, Plan, Received};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::{Pid, getpid, gettid};

use super::delays::Delays;
use super::lane::Lane;
use crate::context::Context;
use crate::cores;

/// UDP port of the sender's packets: discard.
const PORT: u16 = 9;

/// How fast packets are sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// As fast as the core can.
    Flood,
    /// So many per second, in bursts of so many (a power of two).
    Steady(f64, u32),
}

/// What is sent.
#[derive(Clone, Copy, Debug)]
pub struct Traffic {
    /// How fast.
    pub pace: Pace,
    /// Number of the first packet. Packet n belongs to flow n modulo `flows`.
    pub first: u64,
    /// Number of flows.
    pub flows: u64,
    /// Whether the receiver learns how long each packet took.
    pub is_timed: bool,
    /// Core of the sender.
    pub cpu: usize,
}

/// Sender and receiver.
pub struct Frames {
    ebpf: Ebpf,
    links: Vec<XdpLinkId>,
    plan: Array<MapData, Plan>,
    expected: Array<MapData, Expected>,
    received: PerCpuArray<MapData, Received>,
    delays: PerCpuArray<MapData, u64>,
}

impl Frames {
    /// Loads both programs.
    pub fn load(context: &Context) -> Result<Self> {
        let path = &context.bench_object;
        let bytes = std::fs::read(path)
            .with_context(|| format!("read {}; `cargo xtask bench` makes it", path.display()))?;
        let mut ebpf = EbpfLoader::new().load(&bytes)?;
        for name in ["end_send", "end_receive"] {
            let program: &mut Xdp = ebpf.program_mut(name).with_context(|| name.to_owned())?.try_into()?;
            program.load().with_context(|| format!("load {name}"))?;
        }
        let mut map = |name: &str| ebpf.take_map(name).with_context(|| format!("no map {name}"));
        let plan = Array::try_from(map("END_PLAN")?)?;
        let expected = Array::try_from(map("END_EXPECTED")?)?;
        let received = PerCpuArray::try_from(map("END_RECEIVED")?)?;
        let delays = PerCpuArray::try_from(map("END_DELAYS")?)?;
        Ok(Self { ebpf, links: Vec::new(), plan, expected, received, delays })
    }

    /// Puts the receiver in front of a lane's server.
    pub fn attach(&mut self, lane: &Lane) -> Result<()> {
        let program: &mut Xdp = self.ebpf.program_mut("end_receive").context("end_receive")?.try_into()?;
        let link = lane.srv.run(|| program.attach("eth0", XdpMode::Driver)).context("attach the receiver")?;
        self.links.push(link);
        Ok(())
    }

    /// Takes the receiver away from every server: sockets then get their packets as without it.
    pub fn detach(&mut self) -> Result<()> {
        let program: &mut Xdp = self.ebpf.program_mut("end_receive").context("end_receive")?.try_into()?;
        for link in self.links.drain(..) {
            program.detach(link).context("detach the receiver")?;
        }
        Ok(())
    }

    /// Tells the receiver which of the lanes to expect packets from; `is_open` lets them through to the host.
    pub fn expect(&mut self, lane: &Lane, is_open: bool) -> Result<()> {
        let (source, mask) = lane.kind.seen_source();
        let is_open = u32::from(is_open);
        Ok(self.expected.set(0, Expected { dport: PORT.into(), src: source.into(), mask, is_open }, 0)?)
    }

    /// Sender's packets received so far, and those of them that did not come from where they should.
    pub fn received(&self) -> Result<(u64, u64)> {
        let per_cpu = self.received.get(&0, 0)?;
        Ok(per_cpu.iter().fold((0, 0), |(good, bad), r| (good + r.good, bad + r.bad)))
    }

    /// Waits until nothing arrives any more.
    pub fn settle(&self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(1);
        let mut before = None;
        while before != Some(self.received()?) && Instant::now() < deadline {
            before = Some(self.received()?);
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Delays seen so far.
    pub fn delays(&self) -> Result<Delays> {
        let counts = (0..BUCKETS).map(|n| Ok(self.delays.get(&n, 0)?.iter().sum()));
        Ok(Delays::of_counts(counts.collect::<Result<_>>()?))
    }

    /// Packets that the sender has made since it was last told what to do.
    pub fn sent(&self, traffic: &Traffic) -> Result<u64> {
        Ok(self.plan.get(&0, 0)?.next - traffic.first)
    }

    /// Sends a few packets through the gateway to a socket: they must arrive translated, with checksums that the
    /// receiving kernel accepts. The receiver must be attached, and another lane's if it is told so afterwards.
    pub fn verify(&mut self, lane: &Lane, cpu: usize) -> Result<()> {
        // Each takes a page of the socket's buffer.
        const COUNT: u32 = 32;
        self.expect(lane, true)?;
        let socket = lane.srv.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT)))?;
        socket.set_read_timeout(Some(Duration::from_secs(1)))?;
        let pace = Pace::Steady(20_000.0, 1);
        let first = u64::from(u32::MAX) << 16;
        self.send(lane, &Traffic { pace, first, flows: u64::MAX, is_timed: false, cpu }, COUNT)?;
        for number in 0..COUNT {
            let title = lane.kind.title();
            let (_, from) = socket
                .recv_from(&mut [0; FRAME])
                .with_context(|| format!("{title}: of {COUNT} packets, {number} reached a socket"))?;
            ensure!(lane.kind.may_be_source(from), "{title}: a packet came from {from}");
        }
        Ok(())
    }

    /// Calls `during` while a thread sends. The sender has stopped when this returns, but packets may still be on
    /// their way.
    pub fn while_sending<T>(
        &mut self,
        lane: &Lane,
        traffic: &Traffic,
        during: impl FnOnce(&Self) -> Result<T>,
    ) -> Result<T> {
        self.plan.set(0, plan(traffic)?, 0)?;
        let this = &*self;
        std::thread::scope(|scope| {
            let (tell, told) = mpsc::channel();
            let sender = scope.spawn(move || {
                tell.send(gettid()).context("nobody listens")?;
                Self::enter(lane, traffic).and_then(|i| this.make(i, traffic, u32::MAX))
            });
            let thread = told.recv().context("the sender did not start")?;
            let outcome = during(this);
            // A run begins and ends with a wait for RCU, tens of milliseconds: so there is only one, and it is broken
            // off. A signal may come before there is anything to break off.
            while !sender.is_finished() {
                interrupt(thread)?;
                std::thread::sleep(Duration::from_millis(1));
            }
            sender.join().map_err(|_| anyhow!("the sender panicked"))??;
            outcome
        })
    }

    /// Sends exactly so many packets, and waits until the sender is done.
    pub fn send(&mut self, lane: &Lane, traffic: &Traffic, count: u32) -> Result<()> {
        self.plan.set(0, plan(traffic)?, 0)?;
        let this = &*self;
        std::thread::scope(|scope| {
            let sender =
                scope.spawn(|| Self::enter(lane, traffic).and_then(|i| this.make(i, traffic, count)));
            sender.join().map_err(|_| anyhow!("the sender panicked"))?
        })
    }

    /// Moves the calling thread to the client's end; the index of its interface.
    fn enter(lane: &Lane, traffic: &Traffic) -> Result<u32> {
        lane.cli.enter()?;
        cores::pin(0, traffic.cpu)?;
        if traffic.pace != Pace::Flood {
            // It waits by looking at the clock, which must not keep the real work waiting.
            cores::yield_to_all()?;
        }
        Ok(nix::net::if_::if_nametoindex("eth0")?)
    }

    fn make(&self, index: u32, traffic: &Traffic, count: u32) -> Result<()> {
        let program: &Xdp = self.ebpf.program("end_send").context("end_send")?.try_into()?;
        let batch = match traffic.pace {
            Pace::Flood => 256,
            Pace::Steady(_, burst) => burst,
        };
        // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        let context = [0, FRAME as u32, 0, index, 0, 0];
        let ran = program.test_run(TestRunOptions {
            data_in: Some(&[0; FRAME]),
            ctx_in: Some(bytemuck::cast_slice(&context)),
            repeat: count,
            attrs: TestRunAttrs::new().xdp_live_frames(batch),
            ..TestRunOptions::new()
        });
        match ran {
            Err(ProgramError::SyscallError(e)) if e.io_error.kind() == ErrorKind::Interrupted => Ok(()),
            other => other.map(drop).context("run the sender (BPF_F_TEST_XDP_LIVE_FRAMES: Linux 5.18)"),
        }
    }
}

/// Interrupts the system call that a thread of this process is in.
fn interrupt(thread: Pid) -> Result<()> {
    extern "C" fn nothing(_: i32) {}
    let action = SigAction::new(SigHandler::Handler(nothing), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler does nothing.
    unsafe { sigaction(Signal::SIGUSR1, &action)? };
    // SAFETY: a system call with three numbers. A thread that has just ended is no error.
    unsafe { libc::syscall(libc::SYS_tgkill, getpid().as_raw(), thread.as_raw(), libc::SIGUSR1) };
    Ok(())
}

fn plan(traffic: &Traffic) -> Result<Plan> {
    let mut macs = [0; 12];
    macs[..6].copy_from_slice(&Lane::INSIDE_MAC);
    macs[6..].copy_from_slice(&Lane::CLIENT_MAC);
    let (gap_ns, burst) = match traffic.pace {
        Pace::Flood => (0, 1),
        Pace::Steady(per_second, burst) => ((f64::from(burst) * 1e9 / per_second) as u64, burst),
    };
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC)?;
    Ok(Plan {
        next: traffic.first,
        flows: traffic.flows,
        gap_ns,
        due_ns: Duration::from(now).as_nanos() as u64,
        burst,
        is_timed: traffic.is_timed.into(),
        src: u32::from_be_bytes([10, 0, 2, 0]),
        dst: u32::from_be_bytes([198, 18, 0, 0]),
        src_bits: 8,
        dst_bits: 10,
        dport: PORT.into(),
        macs,
    })
}
