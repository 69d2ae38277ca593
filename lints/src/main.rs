//! Checks of this repository's own rules, for `cargo xtask lint`. Prints what it finds; exit status 1 when that breaks a rule.
//!
//! `--all` also prints what is not a failure yet.

mod house;
mod imports;

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use cargo_metadata::{Metadata, MetadataCommand, Package};

use imports::Fault;

fn main() -> Result<ExitCode> {
    let print_all = std::env::args().any(|argument| argument == "--all");
    let metadata = MetadataCommand::new().no_deps().exec().context("cannot ask cargo for the packages")?;
    let mut failed = false;
    for package in &metadata.packages {
        let rules = house::rules(&package.name);
        let faults = check(&metadata, package, rules)?;
        let fails = !rules.pending && !faults.is_empty();
        println!("{}", summary(&package.name, &faults, rules.pending && !print_all));
        if fails || print_all {
            for fault in &faults {
                println!("{fault}");
            }
        }
        failed |= fails;
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// One line about a package.
fn summary(package: &str, faults: &[Fault], is_hidden: bool) -> String {
    let (mut circles, mut files, mut others) = (0, 0, 0);
    for fault in faults {
        match fault {
            Fault::Circle { members, .. } => (circles, files) = (circles + 1, files + members.len()),
            Fault::Unlisted { .. } | Fault::Against { .. } => others += 1,
        }
    }
    let hint = if is_hidden && !faults.is_empty() {
        "; pending, list them with: cargo run -p nat-lints -- --all"
    } else {
        ""
    };
    format!("{package}: {circles} circles of imports ({files} files), {others} against the order{hint}")
}

/// What breaks the rules in the targets of a package: each library, program and suite is a tree of modules of its own.
fn check(metadata: &Metadata, package: &Package, rules: house::Rules) -> Result<Vec<Fault>> {
    let root = metadata.workspace_root.as_std_path();
    let mut faults = Vec::new();
    for target in &package.targets {
        // The order is that of the package's own code, not of its test suites.
        let is_own =
            package.manifest_path.parent().is_some_and(|dir| target.src_path.starts_with(dir.join("src")));
        let order = if is_own { rules.order } else { &[] };
        let found = imports::check(target.src_path.as_std_path(), root, order)
            .with_context(|| format!("cannot check the imports of {}", target.src_path))?;
        faults.extend(found);
    }
    Ok(faults)
}
