//! Ctrl-C takes the labs of this process down before it takes the process.

use std::os::fd::IntoRawFd as _;
use std::sync::Once;
use std::sync::atomic::{AtomicI32, Ordering};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

static PIPE: AtomicI32 = AtomicI32::new(-1);

/// From now on SIGINT, SIGTERM and SIGHUP make `clean_up` run, and this process then exits with 128 + signal.
pub(super) fn clean_up_on_termination(clean_up: fn()) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let Ok((mut read, write)) = std::io::pipe() else { return };
        PIPE.store(write.into_raw_fd(), Ordering::SeqCst);
        std::thread::spawn(move || {
            let mut number = [0u8];
            if std::io::Read::read_exact(&mut read, &mut number).is_ok() {
                clean_up();
                std::process::exit(128 + i32::from(number[0]));
            }
        });
        let action = SigAction::new(SigHandler::Handler(tell), SaFlags::SA_RESTART, SigSet::empty());
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            // SAFETY: the handler only writes one byte to a pipe, which is async-signal-safe.
            let _ = unsafe { sigaction(signal, &action) };
        }
    });
}

extern "C" fn tell(signal: i32) {
    let byte = u8::try_from(signal).unwrap_or(0);
    // SAFETY: write(2) of one byte from a local variable.
    unsafe { libc::write(PIPE.load(Ordering::SeqCst), (&raw const byte).cast(), 1) };
}
