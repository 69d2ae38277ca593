//! How long a test run took, per packet.
//!
//! The kernel says so itself, but in whole nanoseconds, rounded down: for a program that takes five, that is no
//! measurement. The thread's CPU time is fine enough, but contains the cost of setting up, a quarter of a
//! millisecond; so that is measured too and taken off, and cheap programs run long enough for what is left of the
//! error not to matter.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::Result;
use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use nix::time::{ClockId, clock_gettime};

/// From this many nanoseconds on, the kernel's whole nanoseconds are fine enough.
const COARSE_ABOVE: f64 = 200.0;

/// The cost of setting up is the median of this many.
const CALIBRATIONS: usize = 5;

/// What came of a run.
#[derive(Clone, Copy, Debug)]
pub struct Timed {
    /// The XDP action of the last packet.
    pub action: u32,
    /// Nanoseconds per packet.
    pub nanoseconds: f64,
}

/// Knows what setting up costs.
#[derive(Debug, Default)]
pub struct Clock {
    setups: VecDeque<Duration>,
}

impl Clock {
    /// Measures the cost of setting up with a program that does nothing. It depends on the machine's mood, so this is
    /// for every round.
    pub fn calibrate(&mut self, empty: &Xdp, frame: &[u8], ifindex: u32) -> Result<()> {
        if self.setups.len() == CALIBRATIONS {
            self.setups.pop_front();
        }
        while self.setups.len() < CALIBRATIONS {
            // Two packets, not one: only from two on does the kernel set up a direct call.
            let (_, call) = run(empty, frame, ifindex, 2)?;
            self.setups.push_back(call);
        }
        Ok(())
    }

    /// Runs the program `repeat` times on the frame, which arrives on the interface with this index.
    pub fn time(&self, program: &Xdp, frame: &[u8], ifindex: u32, repeat: u32) -> Result<Timed> {
        let (kernel, call) = run(program, frame, ifindex, repeat)?;
        let nanoseconds = if kernel.nanoseconds >= COARSE_ABOVE {
            // It was rounded down.
            kernel.nanoseconds + 0.5
        } else {
            call.saturating_sub(self.setup()).as_secs_f64() * 1e9 / f64::from(repeat)
        };
        Ok(Timed { nanoseconds, ..kernel })
    }

    fn setup(&self) -> Duration {
        let mut times: Vec<_> = self.setups.iter().copied().collect();
        times.sort_unstable();
        times.get(times.len() / 2).copied().unwrap_or_default()
    }
}

/// One run of the program on the frame: the XDP action, and the frame afterwards.
pub fn look(program: &Xdp, frame: &[u8], ifindex: u32) -> Result<(u32, Vec<u8>)> {
    let mut out = vec![0; frame.len() + 256];
    let result = program.test_run(TestRunOptions {
        data_in: Some(frame),
        data_out: Some(&mut out),
        ctx_in: Some(bytemuck::cast_slice(&context(frame, ifindex)?)),
        ..TestRunOptions::new()
    })?;
    out.truncate(result.data_size_out as usize);
    Ok((result.return_value, out))
}

/// By the kernel's clock, and the CPU time of the whole call.
fn run(program: &Xdp, frame: &[u8], ifindex: u32, repeat: u32) -> Result<(Timed, Duration)> {
    let context = context(frame, ifindex)?;
    let options = TestRunOptions {
        data_in: Some(frame),
        ctx_in: Some(bytemuck::cast_slice(&context)),
        repeat,
        ..TestRunOptions::new()
    };
    let before = cpu_time()?;
    let result = program.test_run(options)?;
    let call = cpu_time()?.saturating_sub(before);
    let kernel = Timed { action: result.return_value, nanoseconds: result.duration.as_secs_f64() * 1e9 };
    Ok((kernel, call))
}

/// `struct xdp_md`: data, `data_end`, `data_meta`, `ingress_ifindex`, `rx_queue_index`, `egress_ifindex`.
fn context(frame: &[u8], ifindex: u32) -> Result<[u32; 6]> {
    Ok([0, u32::try_from(frame.len())?, 0, ifindex, 0, 0])
}

/// CPU time of this thread: what others do meanwhile does not count.
fn cpu_time() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}
