//! Who runs on which core.
//!
//! A veth's NAPI runs where its peer sends from, so that generator, gateway and receiver would share one core. As a
//! thread, NAPI can be given a core of its own, and the kernel then keeps books on it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use nat_tests::lab::netns::{Netns, check};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::knobs::Knobs;

/// The core of clients, servers and generators, and the gateway's. The same when there is only one.
pub fn ends_and_gateway() -> Result<(usize, usize)> {
    let allowed = sched_getaffinity(Pid::from_raw(1)).or_else(|_| sched_getaffinity(Pid::from_raw(0)))?;
    let cpus: Vec<usize> = (0..CpuSet::count()).filter(|n| allowed.is_set(*n).unwrap_or(false)).collect();
    let first = *cpus.first().context("no CPU to run on")?;
    Ok((first, cpus.get(1).copied().unwrap_or(first)))
}

/// Moves a thread (0: the calling one) to a core.
pub fn pin(thread: i32, cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    sched_setaffinity(Pid::from_raw(thread), &set)
        .with_context(|| format!("pin thread {thread} to CPU {cpu}"))
}

/// Moves every thread of a process to a core.
pub fn pin_process(pid: u32, cpu: usize) -> Result<()> {
    threads_of(pid)?.into_iter().try_for_each(|thread| pin(thread, cpu))
}

/// Time that a process has spent on cores.
pub fn time_of_process(pid: u32) -> Result<Duration> {
    time_of(&threads_of(pid)?)
}

fn threads_of(pid: u32) -> Result<Vec<i32>> {
    let path = format!("/proc/{pid}/task");
    let entries = fs::read_dir(&path).context(path)?.flatten();
    Ok(entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
}

/// Lets the calling thread run only where nothing else wants to.
pub fn yield_to_all() -> Result<()> {
    schedule(0, libc::SCHED_IDLE, 0)
}

/// Lets threads run before every ordinary process, as softirqs do.
pub fn go_first(threads: &[i32]) -> Result<()> {
    threads.iter().try_for_each(|thread| schedule(*thread, libc::SCHED_FIFO, 1))
}

fn schedule(thread: i32, policy: i32, priority: i32) -> Result<()> {
    let parameters = libc::sched_param { sched_priority: priority };
    // SAFETY: a plain system call with a pointer to a local variable.
    let answer = unsafe { libc::sched_setscheduler(thread, policy, &raw const parameters) };
    ensure!(answer == 0, "sched_setscheduler of thread {thread}: {}", std::io::Error::last_os_error());
    Ok(())
}

/// Makes the NAPI of a veth threads, pins them to a core and returns their ids.
pub fn thread_napi(ns: &Netns, device: &str, cpu: usize) -> Result<Vec<i32>> {
    let before = napi_threads(device);
    // Off first: threads that are there already would not be told from those of another namespace.
    set_threaded(ns, device, &[false, true])?;
    let threads: Vec<i32> = napi_threads(device).difference(&before).copied().collect();
    if threads.is_empty() {
        bail!("{device} of {} has no NAPI thread: is GRO on, or an XDP program attached?", ns.name());
    }
    for thread in &threads {
        pin(*thread, cpu)?;
    }
    Ok(threads)
}

/// Has the NAPI of a veth run in softirqs again, where its peer sends from.
pub fn unthread_napi(ns: &Netns, device: &str) -> Result<()> {
    set_threaded(ns, device, &[false])
}

/// Switches threaded NAPI on or off, once for each of `steps`.
fn set_threaded(ns: &Netns, device: &str, steps: &[bool]) -> Result<()> {
    let file = format!("/sys/class/net/{device}/threaded");
    // sysfs shows the devices of the namespace in which it was mounted.
    let mut script = vec!["mount -t sysfs none /sys".to_owned()];
    script.extend(steps.iter().map(|on| format!("echo {} >{file}", u8::from(*on))));
    let script = script.join(" && ");
    check("unshare", ns.command("unshare").args(["--mount", "sh", "-c", &script]))
        .with_context(|| format!("threaded NAPI on {device} of {}", ns.name()))?;
    Ok(())
}

/// Kernel threads `napi/<device>-<id>` of all namespaces.
fn napi_threads(device: &str) -> BTreeSet<i32> {
    let prefix = format!("napi/{device}-");
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.starts_with(&prefix))
        })
        .collect()
}

/// Time that threads have spent on a core, softirqs that they handled included.
pub fn time_of(threads: &[i32]) -> Result<Duration> {
    let mut sum = 0;
    for thread in threads {
        let path = format!("/proc/{thread}/schedstat");
        let text = fs::read_to_string(&path).with_context(|| path.clone())?;
        sum += text.split(' ').next().and_then(|n| n.parse::<u64>().ok()).context(path)?;
    }
    Ok(Duration::from_nanos(sum))
}

/// Keeps cores from falling asleep while it lives.
///
/// A virtual machine's idle core is given back to the host, and waking it takes longer than all that is measured here.
/// A gateway that cares for latency keeps its cores awake too (`idle=poll`, or C-states off).
#[derive(Debug)]
pub struct Awake {
    _poll: Option<Knobs>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<()>>>,
}

/// How long an idle core of a virtual machine waits for work before it is given back: a millisecond, always.
const HALT_POLL: [(&str, &str); 3] = [
    ("/sys/module/haltpoll/parameters/guest_halt_poll_ns", "1000000"),
    ("/sys/module/haltpoll/parameters/guest_halt_poll_grow_start", "1000000"),
    ("/sys/module/haltpoll/parameters/guest_halt_poll_allow_shrink", "N"),
];

impl Awake {
    /// Has the kernel poll when it is idle, where it knows how to; elsewhere a thread on each core gives way to
    /// everything else all the time.
    pub fn keep(cpus: &[usize]) -> Result<Self> {
        if HALT_POLL.iter().all(|(path, _)| Path::new(path).exists()) {
            let poll = Knobs::set(&HALT_POLL)?;
            return Ok(Self { _poll: Some(poll), stop: Arc::default(), threads: Vec::new() });
        }
        let stop = Arc::new(AtomicBool::new(false));
        let spin = |cpu: usize| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                pin(0, cpu)?;
                yield_to_all()?;
                while !stop.load(Ordering::Relaxed) {
                    std::thread::yield_now();
                }
                Ok(())
            })
        };
        let threads = cpus.iter().map(|cpu| spin(*cpu)).collect();
        Ok(Self { _poll: None, stop, threads })
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // One that could not get its priority has ended already; the figures then say so.
            let _ = thread.join();
        }
    }
}
