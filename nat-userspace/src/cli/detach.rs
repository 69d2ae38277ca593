//! `natgw detach`: takes the gateway down, daemon or not.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::args::DetachArgs;
use super::instance::Instance;
use crate::daemon::detach::{Detached, Leave, detach, enter_home};
use crate::host::process;
use crate::host::state::StateDir;

/// A daemon takes seconds at most: it has interfaces to detach and addresses to remove. One that is just being started
/// listens once it is up, which takes a while with a large flow table on a small machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// Looks at who holds the lock and has not recorded itself: a second's worth.
const LOOKS: u32 = 20;

/// Between looks at whether it is gone, or has recorded itself.
const PAUSE: Duration = Duration::from_millis(50);

/// Stops the daemon if there is one, and removes whatever is left of the gateway.
pub async fn run(instance: &Instance, args: DetachArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    // The daemon forgets on its way out where its pins were.
    let bpffs = instance.bpffs();
    // Before anything is touched. It stays findable even if the daemon was all that kept it.
    let home = enter_home(&instance.state_dir, &bpffs)?;
    let stopped = match daemon(instance).await {
        Some(pid) => {
            stop(pid).await?;
            Some(pid)
        }
        None => None,
    };
    let leave = if args.purge { Leave::Nothing } else { Leave::OthersDirectory };
    let found = detach(&instance.state_dir, &bpffs, leave, home).await?;
    if let Some(pid) = stopped {
        writeln!(out, "stopped the daemon (pid {pid})")?;
    }
    match (found, stopped) {
        (Detached::DataPlane, _) => writeln!(out, "the data plane is down")?,
        (Detached::Nothing, Some(_)) => writeln!(out, "it took the data plane down")?,
        (Detached::Nothing, None) => writeln!(out, "no data plane was up")?,
    }
    Ok(())
}

/// The daemon of this state directory. One that has just begun to start holds the lock, and records itself in a moment. Another
/// gateway's daemon is not to be stopped because somebody wrote its number into our state.
async fn daemon(instance: &Instance) -> Option<u32> {
    for _ in 0..LOOKS {
        // Looking does not create the directory.
        let holder = if instance.state_dir.is_dir() {
            StateDir::open(&instance.state_dir).and_then(|s| s.holder()).ok().flatten()?
        } else {
            return None;
        };
        if instance.daemon() == Some(holder) {
            return Some(holder);
        }
        tokio::time::sleep(PAUSE).await;
    }
    None
}

async fn stop(pid: u32) -> anyhow::Result<()> {
    let target = Pid::from_raw(i32::try_from(pid)?);
    let failed = || format!("cannot stop the daemon (pid {pid}); stop it, then run `natgw detach` again");
    match kill(target, Signal::SIGTERM) {
        Err(Errno::ESRCH) => return Ok(()),
        other => other.with_context(failed)?,
    }
    let deadline = Instant::now() + PATIENCE;
    while process::is_natgw(pid) {
        if Instant::now() >= deadline {
            return Err(anyhow::anyhow!("it did not end within {} s", PATIENCE.as_secs()))
                .with_context(failed);
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}
