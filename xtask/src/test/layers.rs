//! The layers of tests: what belongs to each, how it is built and run.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::outcome::Outcome;
use crate::process::cargo;

/// What is under test.
pub(crate) struct Environment {
    /// The release binary.
    pub(crate) natgw: PathBuf,
    /// The BPF object it embeds.
    pub(crate) object: PathBuf,
}

/// Tests that run together and are counted together.
pub(super) struct Layer {
    /// What the summary calls it.
    pub(super) name: String,
    kind: Kind,
}

enum Kind {
    /// Test executables, one after the other.
    Harnesses { executables: Vec<Harness>, threads: Threads },
    /// The examples in the documentation, which cargo builds and runs.
    Examples,
}

/// A test executable and the directory its package lives in.
struct Harness {
    executable: PathBuf,
    package_dir: PathBuf,
}

/// How many tests of a layer run at once when nobody says otherwise.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Threads {
    /// What the harness chooses: as many as there are CPUs.
    Default,
    /// Two: each test brings up namespaces and traffic of its own, and measures time.
    Two,
}

/// Packages with tests, in the order of their layers: the cheapest first.
pub(super) const PACKAGES: [&str; 6] =
    ["nat-common", "xtask", "nat-lints", "nat-userspace", "nat-tests", "nat-bench"];

/// Where the suites of nat-tests begin in the order of layers.
const SUITE: usize = 6;

/// Suites of nat-tests that cannot be missing: the first words of their names.
const SUITES: [&str; 7] = ["fixtures", "lab", "stress", "exhaustion", "expiry", "hostile", "topology"];

/// Compiles the tests of these packages.
pub(crate) fn compile(environment: &Environment, packages: &[&str], profile: &str) -> Result<Vec<Artifact>> {
    let mut command = cargo();
    command.args(["test", "--no-run", "--message-format", "json-render-diagnostics", "--profile", profile]);
    for package in packages {
        command.args(["--package", package]);
    }
    command.env("NATGW_BPF_OBJECT", &environment.object).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let output = command.output().context("cannot start cargo")?;
    if !output.status.success() {
        bail!("the tests do not compile");
    }
    Ok(String::from_utf8_lossy(&output.stdout).lines().filter_map(Artifact::parse).collect())
}

/// Compiles all tests and sorts them into layers.
pub(super) fn build(environment: &Environment) -> Result<Vec<Layer>> {
    let mut layers: Vec<(usize, Layer)> = Vec::new();
    for artifact in compile(environment, &PACKAGES, "dev")? {
        let (rank, name, threads) = artifact.layer();
        let harness = Harness { executable: artifact.executable, package_dir: artifact.package_dir };
        if let Some((_, Layer { kind: Kind::Harnesses { executables, .. }, .. })) =
            layers.iter_mut().find(|(_, layer)| layer.name == name)
        {
            executables.push(harness);
        } else {
            layers
                .push((rank, Layer { name, kind: Kind::Harnesses { executables: vec![harness], threads } }));
        }
    }
    for suite in SUITES {
        if !layers.iter().any(|(rank, layer)| *rank >= SUITE && layer.name.starts_with(suite)) {
            bail!("the suites called {suite}* are missing from tests/tests");
        }
    }
    layers.push((3, Layer { name: "documentation examples".to_owned(), kind: Kind::Examples }));
    layers.sort_by(|(a, x), (b, y)| (a, &x.name).cmp(&(b, &y.name)));
    Ok(layers.into_iter().map(|(_, layer)| layer).collect())
}

impl Layer {
    /// Runs all tests of this layer that `filter` lets through.
    pub(super) fn run(
        &self,
        environment: &Environment,
        filter: Option<&str>,
        options: &[String],
    ) -> Result<Outcome> {
        let (executables, threads) = match &self.kind {
            Kind::Harnesses { executables, threads } => (executables, *threads),
            Kind::Examples => return run_harness(examples(environment).args(filter).args(options)),
        };
        let told = options.iter().any(|option| option.starts_with("--test-threads"))
            || std::env::var_os("RUST_TEST_THREADS").is_some();
        let mut sum = Outcome::default();
        for harness in executables {
            let mut command = Command::new(&harness.executable);
            command
                .args(filter)
                .args(options)
                .current_dir(&harness.package_dir)
                .env("CARGO_MANIFEST_DIR", &harness.package_dir)
                .env("NATGW_BIN", &environment.natgw)
                .env("NATGW_BPF_OBJECT", &environment.object);
            if threads == Threads::Two && !told {
                command.args(["--test-threads", "2"]);
            }
            sum = sum + run_harness(&mut command)?;
        }
        Ok(sum)
    }
}

/// Of the packages that have a library: cargo finds examples nowhere else, and refuses to look.
fn examples(environment: &Environment) -> Command {
    let mut command = cargo();
    command.args(["test", "--quiet", "--doc"]).env("NATGW_BPF_OBJECT", &environment.object);
    for package in PACKAGES.iter().filter(|package| !["xtask", "nat-lints", "nat-bench"].contains(*package)) {
        command.args(["--package", package]);
    }
    command.arg("--");
    command
}

/// Runs a harness with its output on our terminal, and adds up what it reports.
pub(crate) fn run_harness(command: &mut Command) -> Result<Outcome> {
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child =
        command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot start {program}"))?;
    let mut reported: Option<Outcome> = None;
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).split(b'\n') {
            let line = line.with_context(|| format!("cannot read what {program} prints"))?;
            let line = String::from_utf8_lossy(&line);
            println!("{line}");
            if let Some(outcome) = Outcome::parse(&line) {
                reported = Some(reported.unwrap_or_default() + outcome);
            }
        }
    }
    let status = child.wait().with_context(|| format!("cannot wait for {program}"))?;
    Ok(match reported {
        Some(outcome) if status.success() || outcome.failed > 0 => outcome,
        Some(outcome) => outcome + Outcome::crash(),
        None => Outcome::crash(),
    })
}

/// A test executable as cargo reports it.
pub(crate) struct Artifact {
    pub(crate) executable: PathBuf,
    pub(super) package_dir: PathBuf,
    target: String,
    integration: bool,
}

impl Artifact {
    /// Picks what is needed out of one line of cargo's JSON messages. xtask has no JSON parser on purpose (it is the
    /// first thing a fresh clone compiles); cargo writes these messages one a line, in a fixed order, without spaces.
    fn parse(line: &str) -> Option<Self> {
        let rest = line.strip_prefix(r#"{"reason":"compiler-artifact","#)?;
        if !rest.contains(r#""test":true},"features""#) {
            return None;
        }
        let target = between(rest, r#""target":{"#, "}")?;
        let manifest = between(rest, r#""manifest_path":""#, "\"")?;
        Some(Self {
            executable: between(rest, r#""executable":""#, "\"")?.into(),
            package_dir: Path::new(manifest).parent()?.to_owned(),
            target: between(target, r#""name":""#, "\"")?.to_owned(),
            integration: target.contains(r#""kind":["test"]"#),
        })
    }

    /// Order, name and threads of the layer it belongs to.
    pub(crate) fn layer(&self) -> (usize, String, Threads) {
        let dir = self.package_dir.file_name().unwrap_or_default().to_string_lossy();
        match (dir.as_ref(), self.integration) {
            ("nat-common", _) => (0, "nat-common".to_owned(), Threads::Default),
            ("xtask" | "lints", _) => (1, dir.into_owned(), Threads::Default),
            ("nat-userspace", false) => (2, "nat-userspace unit".to_owned(), Threads::Default),
            ("nat-userspace", true) => (4, "nat-userspace integration".to_owned(), Threads::Two),
            (_, false) => (5, "lab's own unit tests".to_owned(), Threads::Default),
            (_, true) if self.target == "fixtures" => (SUITE, self.target.clone(), Threads::Default),
            (_, true) => (SUITE + 1, self.target.clone(), Threads::Two),
        }
    }
}

/// What stands in `text` after `start` and before the next `end`.
fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(start)?;
    Some(rest.split_once(end)?.0)
}

#[cfg(test)]
mod tests {
    use super::{Artifact, Threads};

    const LINE: &str = r#"{"reason":"compiler-artifact","package_id":"path+file:///r/tests#nat-tests@0.1.0","manifest_path":"/r/tests/Cargo.toml","target":{"kind":["test"],"crate_types":["bin"],"name":"fixtures","src_path":"/r/tests/tests/fixtures.rs","edition":"2024","doc":false,"doctest":false,"test":true},"profile":{"opt_level":"0","debuginfo":2,"debug_assertions":true,"overflow_checks":true,"test":true},"features":[],"filenames":["/r/target/debug/deps/fixtures-1"],"executable":"/r/target/debug/deps/fixtures-1","fresh":true}"#;

    #[test]
    fn finds_a_test_executable() {
        let artifact = Artifact::parse(LINE).expect("a test artifact");
        assert_eq!(artifact.executable.to_str(), Some("/r/target/debug/deps/fixtures-1"));
        let (_, name, threads) = artifact.layer();
        assert_eq!(name, "fixtures");
        assert!(threads == Threads::Default);
    }

    #[test]
    fn passes_over_programs_and_libraries() {
        let program =
            LINE.replace(r#""overflow_checks":true,"test":true"#, r#""overflow_checks":true,"test":false"#);
        assert!(Artifact::parse(&program).is_none());
        let library =
            LINE.replace(r#""executable":"/r/target/debug/deps/fixtures-1""#, r#""executable":null"#);
        assert!(Artifact::parse(&library).is_none());
    }
}
