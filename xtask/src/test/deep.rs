//! `cargo xtask test --deep`: what takes too long for CI. Tests that are marked `#[ignore = "deep: …"]` and whose names begin
//! with `deep_`, each by itself, and the stress suite with longer storms.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::layers::{self, Artifact, Environment, PACKAGES, run_harness};
use super::outcome::Outcome;
use crate::process::{output, say};

/// How long each storm of the stress suite lasts here; in CI it is 10 s.
const STORM: Duration = Duration::from_mins(2);

/// Packages whose deep tests compute a lot, and are compiled with optimisation.
const OPTIMISED: [&str; 1] = ["nat-common"];

/// Something to run, and what the summary calls it.
pub(super) struct Deep {
    name: String,
    command: Command,
}

/// Compiles the tests and finds the deep ones that `filter` lets through.
pub(super) fn find(environment: &Environment, filter: Option<&str>) -> Result<Vec<Deep>> {
    let (optimised, plain): (Vec<&str>, Vec<&str>) =
        PACKAGES.into_iter().partition(|package| OPTIMISED.contains(package));
    let mut found = Vec::new();
    for (packages, profile) in [(optimised, "release"), (plain, "dev")] {
        for artifact in layers::compile(environment, &packages, profile)? {
            let layer = artifact.layer().1;
            for test in tests(&artifact)? {
                let mut command = harness(&artifact, environment);
                command.args(["--exact", &test, "--ignored"]);
                found.push(Deep { name: format!("{layer}: {test}"), command });
            }
            if layer == "stress" {
                let mut command = harness(&artifact, environment);
                command.env("STRESS_SECONDS", STORM.as_secs().to_string());
                found.push(Deep { name: format!("stress, {} s a storm", STORM.as_secs()), command });
            }
        }
    }
    found.retain(|deep| filter.is_none_or(|filter| deep.name.contains(filter)));
    Ok(found)
}

impl Deep {
    /// Runs it, and says how it went and how long it took.
    pub(super) fn run(mut self, options: &[String]) -> Result<(String, Outcome)> {
        say(&format!("deep test: {}", self.name));
        let start = Instant::now();
        let mut outcome = run_harness(self.command.args(options))?;
        outcome.took = start.elapsed();
        Ok((self.name, outcome))
    }
}

fn harness(artifact: &Artifact, environment: &Environment) -> Command {
    let mut command = Command::new(&artifact.executable);
    command
        .current_dir(&artifact.package_dir)
        .env("CARGO_MANIFEST_DIR", &artifact.package_dir)
        .env("NATGW_BIN", &environment.natgw)
        .env("NATGW_BPF_OBJECT", &environment.object);
    command
}

/// The deep tests of a harness.
fn tests(artifact: &Artifact) -> Result<Vec<String>> {
    let executable: &PathBuf = &artifact.executable;
    let mut list = Command::new(executable);
    list.args(["--list", "--ignored", "--format", "terse"]).current_dir(&artifact.package_dir);
    let listed =
        output(&mut list).with_context(|| format!("cannot list the tests of {}", executable.display()))?;
    Ok(listed.lines().filter_map(deep_test).map(str::to_owned).collect())
}

/// The name in a line of a harness's list, when it is a deep test's.
fn deep_test(line: &str) -> Option<&str> {
    let name = line.strip_suffix(": test")?;
    name.rsplit("::").next()?.starts_with("deep_").then_some(name)
}

#[cfg(test)]
mod tests {
    use super::deep_test;

    #[test]
    fn deep_tests_are_found_by_their_names() {
        assert_eq!(deep_test("table::lives::deep_two_lives: test"), Some("table::lives::deep_two_lives"));
        assert_eq!(deep_test("deep_everything: test"), Some("deep_everything"));
        for other in ["deep_module::quick: test", "needs_hardware: test", "deep_speed: bench", "", "3 tests"]
        {
            assert_eq!(deep_test(other), None, "{other}");
        }
    }
}
