//! The lab behind `cargo xtask run`: builds it, drives it, prints a page, stays up until Ctrl-C.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser;
use nat_tests::demo::{self, Servers};
use nat_tests::lab::{Gateway, Lab, Options, Topology};
use nat_tests::report::Page;

/// A NAT gateway in a lab of network namespaces on this machine, with real traffic through it.
#[derive(Debug, Parser)]
struct Args {
    /// Print the page and exit; fail if any step failed.
    #[arg(long)]
    once: bool,
    /// Build the namespaces and wait, without natgw.
    #[arg(long, hide = true)]
    topology_only: bool,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(failures) => {
            eprintln!("natgw-lab: {failures} steps failed");
            ExitCode::FAILURE
        }
        Err(e) => {
            eprintln!("natgw-lab: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<usize> {
    anyhow::ensure!(
        nix::unistd::geteuid().is_root(),
        "network namespaces and XDP need root: run it under sudo"
    );
    let mut page = Page::default();
    let lab = Lab::start(Topology::default()).context("start the lab")?;
    if args.topology_only {
        wait_for_the_end();
    }
    demo::picture(&page, &lab);
    let servers = Servers::start(&lab)?;
    let gateway = Gateway::start(&lab, &Options::one_eip())?;
    page.line(&format!("  natgw was ready after {:.2} s.", gateway.started_in().as_secs_f64()));
    demo::outbound(&mut page, &lab, &servers);
    demo::unsolicited(&mut page, &lab, &gateway);
    page.step(
        "no inside address on the outside wire",
        match lab.leaks().as_slice() {
            [] => Ok("not one frame".to_owned()),
            leaks => Err(anyhow::anyhow!("{} frames, e.g. {}", leaks.len(), leaks[0])),
        },
    );
    demo::account(&mut page, &gateway);
    if !args.once {
        demo::invitation(&page, &lab, &gateway);
        wait_for_the_end();
    }
    drop(gateway);
    if page.failures() > 0 {
        lab.expect_leak();
    }
    Ok(page.failures())
}

/// Ctrl-C is handled by the lab, which takes itself down first.
fn wait_for_the_end() -> ! {
    loop {
        std::thread::park();
    }
}
