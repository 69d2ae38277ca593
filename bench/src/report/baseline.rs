//! The committed figures that `--check` compares with: bench/baseline.json.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use super::document::Report;
use super::files;
use super::machine::Machine;
use super::section::{Compare, Finding};

/// Version of the file's layout.
const SCHEMA: u32 = 1;

/// Where it is in the checkout.
pub const FILE: &str = "bench/baseline.json";

/// What was committed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    schema: u32,
    /// Who counted the instructions: their number depends on the verifier and the compiler.
    pub counted_by: Counter,
    /// By [`Finding::id`].
    pub findings: BTreeMap<String, Entry>,
}

/// What an instruction count depends on, apart from the source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter {
    /// Major and minor of the kernel: `6.18`.
    pub kernel: String,
    /// Compiler, LLVM and linker of the BPF object.
    pub compiler: String,
}

/// One number.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// As measured.
    pub value: f64,
    /// How it is compared.
    pub compare: Compare,
}

impl Counter {
    /// Of this machine.
    pub fn of(machine: &Machine) -> Self {
        Self { kernel: machine.kernel_series(), compiler: machine.compiler.clone() }
    }
}

impl Baseline {
    /// Reads the file.
    pub fn load(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| {
            format!(
                "no committed figures ({}); write them: cargo xtask bench --save-baseline",
                path.display()
            )
        })?;
        let baseline: Self =
            serde_json::from_str(&text).with_context(|| format!("{} is damaged", path.display()))?;
        if baseline.schema != SCHEMA {
            bail!("{} has schema {}, and this program knows {SCHEMA}", path.display(), baseline.schema);
        }
        Ok(baseline)
    }

    /// Writes the file.
    pub fn save(&self, path: &Path) -> Result<()> {
        files::write(path, &self.encode().context("cannot encode the baseline")?)
    }

    /// A line per finding, so that a diff says what has changed.
    fn encode(&self) -> Result<String> {
        let lines = self.findings.iter().map(|(id, entry)| {
            Ok(format!("    {}: {}", serde_json::to_string(id)?, serde_json::to_string(entry)?))
        });
        Ok(format!(
            "{{\n  \"schema\": {},\n  \"counted_by\": {},\n  \"findings\": {{\n{}\n  }}\n}}\n",
            self.schema,
            serde_json::to_string(&self.counted_by)?,
            lines.collect::<Result<Vec<_>>>()?.join(",\n")
        ))
    }

    /// Takes over what `report` compares by rule; forgets older figures of the same parts, keeps those of other
    /// parts.
    pub fn replace_with(&mut self, report: &Report) {
        self.schema = SCHEMA;
        let measured = |id: &str| report.sections.iter().any(|section| part_of(id) == section.id);
        self.findings.retain(|id, _| !measured(id));
        for finding in report.findings().filter(|finding| is_compared(finding)) {
            let Finding { id, value, compare, .. } = finding;
            if *compare == Compare::Exact {
                self.counted_by = Counter::of(&report.machine);
            }
            self.findings.insert(id.clone(), Entry { value: shortened(*value), compare: *compare });
        }
    }
}

/// Whether `--check` looks at it. A number that is none (a division by zero) is no yardstick.
pub fn is_compared(finding: &Finding) -> bool {
    finding.compare != Compare::Never && finding.value.is_finite()
}

/// Whole numbers as they are; others to four digits that count: more would be noise in a diff.
fn shortened(value: f64) -> f64 {
    if value.fract() == 0.0 {
        return value;
    }
    let digits = 3 - value.abs().log10().floor() as i32;
    let power = 10_f64.powi(digits);
    (value * power).round() / power
}

/// The part that a finding's name begins with.
pub fn part_of(id: &str) -> &str {
    id.split('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::document::tests::fake;
    use super::*;

    #[test]
    fn replaces_the_parts_that_were_measured_and_no_other() {
        let mut baseline = Baseline::default();
        let old = Entry { value: 1.0, compare: Compare::Exact };
        baseline.findings.insert("rig/gone".to_owned(), old);
        baseline.findings.insert("scale/kept".to_owned(), old);
        let mut report = fake();
        report.machine.kernel = "6.18.1".to_owned();
        baseline.replace_with(&report);
        let ids: Vec<_> = baseline.findings.keys().map(String::as_str).collect();
        assert_eq!(ids, ["program/insns", "rig/64/1/natgw_over_fib", "scale/kept"]);
        assert_eq!(baseline.counted_by.kernel, "6.18");
    }

    #[test]
    fn reads_back_what_it_wrote() {
        let mut baseline = Baseline::default();
        baseline.replace_with(&fake());
        let text = baseline.encode().expect("encodes");
        let line = r#"    "program/insns": {"value":812.0,"compare":"exact"},"#;
        assert!(text.lines().any(|found| found == line), "{text}");
        assert_eq!(serde_json::from_str::<Baseline>(&text).expect("parses"), baseline);
        let empty = Baseline::default().encode().expect("encodes");
        assert_eq!(serde_json::from_str::<Baseline>(&empty).expect("parses"), Baseline::default());
    }

    #[test]
    fn keeps_four_digits_of_a_ratio_and_all_of_a_count() {
        let kept = [1.234_567, 0.012_345_67, 24.789_45, 31_689.0, 123_456.7].map(shortened);
        let wanted = [1.235, 0.012_35, 24.79, 31_689.0, 123_500.0];
        for (kept, wanted) in kept.into_iter().zip(wanted) {
            assert!((kept / wanted - 1.0_f64).abs() < 1e-9, "{kept} {wanted}");
        }
    }

    #[test]
    fn leaves_out_what_is_never_compared() {
        let mut report = fake();
        report.sections[0].findings[0].compare = Compare::Never;
        report.sections[1].findings[0].value = f64::NAN;
        let mut baseline = Baseline::default();
        baseline.replace_with(&report);
        assert!(baseline.findings.is_empty());
    }

    #[test]
    fn keeps_who_counted_when_nothing_was_counted() {
        let mut baseline = Baseline::default();
        baseline.counted_by.kernel = "6.12".to_owned();
        let mut report = fake();
        report.sections.pop();
        report.machine.kernel = "6.18.1".to_owned();
        baseline.replace_with(&report);
        assert_eq!(baseline.counted_by.kernel, "6.12");
    }
}
