//! `cargo xtask vm`: tests on another kernel than this machine's, in a virtual machine that needs neither root nor KVM.
//!
//! The machine is one of Debian's kernels and an initramfs: natgw, a test harness as cargo built it, the programs that it runs,
//! and the kernel's modules. What the harness prints comes over a serial line; the kernel's own messages go to a file.

mod image;
mod kernel;

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context as _, Result};

use crate::build::{Profile, Program, programs};
use crate::process::say;
use crate::test::{Environment, compile, report, run_harness};
use crate::{bpf, packages, workspace};

/// Options of `cargo xtask vm`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run only tests whose name contains this
    filter: Option<String>,
    /// Which of Debian's kernels
    #[arg(long, value_enum, default_value = "6.12")]
    kernel: kernel::Version,
    /// The suite of tests/tests to run; of topology, the tests called vm_*
    #[arg(long, value_name = "NAME", default_value = TOPOLOGY)]
    suite: String,
    /// Options of the test harness: -- --nocapture
    #[arg(last = true, value_name = "HARNESS OPTIONS")]
    harness: Vec<String>,
}

/// The suite with tests that only run here.
const TOPOLOGY: &str = "topology";

/// Emulated, a suite takes minutes; one that hangs ends.
const LIMIT_SECONDS: &str = "1500";

/// Cards of the machine, in pairs: each pair is a cable. The guest names them by the last byte of their addresses.
const CABLES: [[(&str, &str); 2]; 3] = [
    [("virtio-net-pci", "01"), ("virtio-net-pci", "02")],
    [("virtio-net-pci", "03"), ("virtio-net-pci", "04")],
    [("e1000e", "05"), ("virtio-net-pci", "06")],
];

/// `cargo xtask vm`.
pub(crate) fn main(args: &Args) -> Result<ExitCode> {
    let object = bpf::build()?;
    let natgw =
        programs(&[Program::Natgw], Profile::Release, &object)?.into_iter().next().unwrap_or_default();
    let environment = Environment { natgw, object };
    let harness = compile(&environment, &["nat-tests"], "dev")?
        .into_iter()
        .find(|artifact| artifact.layer().1 == args.suite)
        .with_context(|| format!("there is no suite tests/tests/{}", args.suite))?
        .executable;
    packages::ensure(&[packages::LAB, packages::TESTS, packages::VM])?;
    let kernel = kernel::fetch(args.kernel)?;
    let dir = workspace::target().join("vm").join(args.kernel.name());
    let mut options = vec!["--test-threads".to_owned(), "1".to_owned()];
    if args.suite == TOPOLOGY {
        options.extend(["--ignored".to_owned(), args.filter.clone().unwrap_or_else(|| "::vm_".to_owned())]);
    } else {
        options.extend(args.filter.clone());
    }
    options.extend(args.harness.iter().cloned());
    let initramfs = image::build(&dir, &kernel, &environment.natgw, &harness, &options)?;
    say(&format!(
        "Linux {} in a virtual machine; its messages: {}",
        kernel.release,
        workspace::shown(&console(&dir))
    ));
    let start = Instant::now();
    let mut outcome = run_harness(&mut machine(&dir, &kernel, &initramfs))?;
    outcome.took = start.elapsed();
    Ok(report(&[(format!("{} on Linux {}", args.suite, kernel.release), outcome)]))
}

/// Where the kernel's messages go.
fn console(dir: &Path) -> std::path::PathBuf {
    dir.join("console.log")
}

fn machine(dir: &Path, kernel: &kernel::Kernel, initramfs: &Path) -> Command {
    let mut qemu = Command::new("timeout");
    qemu.args([LIMIT_SECONDS, "qemu-system-x86_64", "-machine", "q35", "-accel", "tcg"]);
    qemu.args(["-cpu", "max", "-m", "2G", "-smp", "2", "-no-reboot", "-nodefaults", "-display", "none"]);
    qemu.arg("-serial").arg(format!("file:{}", console(dir).display())).args(["-serial", "stdio"]);
    for (hub, cable) in CABLES.iter().enumerate() {
        for (model, byte) in cable {
            qemu.arg("-netdev").arg(format!("hubport,id=n{byte},hubid={hub}"));
            qemu.arg("-device").arg(format!("{model},netdev=n{byte},mac=52:54:00:00:00:{byte},romfile="));
        }
    }
    qemu.arg("-kernel").arg(&kernel.image).arg("-initrd").arg(initramfs);
    qemu.args(["-append", "console=ttyS0 panic=-1 mitigations=off"]);
    qemu
}
