//! A whole run: what `--json` writes and `--from` reads.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use super::files;
use super::machine::Machine;
use super::section::{Finding, Section, Target};

/// Version of the names and meanings in the JSON document.
pub const SCHEMA: u32 = 1;

/// Everything one run found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`] of whoever wrote it.
    pub schema: u32,
    /// What it was measured on.
    pub machine: Machine,
    /// `check`, `quick` or `full`.
    pub effort: String,
    /// How long all of it took, in seconds.
    pub seconds: f64,
    /// What each part found, in the order of the parts.
    pub sections: Vec<Section>,
    /// Parts that broke.
    pub failures: Vec<Failure>,
}

/// A part that broke.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// As in `--only`.
    pub part: String,
    /// What went wrong.
    pub error: String,
}

impl Report {
    /// Nothing measured yet.
    pub fn new(machine: Machine, effort: &str) -> Self {
        Self {
            schema: SCHEMA,
            machine,
            effort: effort.to_owned(),
            seconds: 0.0,
            sections: Vec::new(),
            failures: Vec::new(),
        }
    }

    /// Every single number of every part.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.sections.iter().flat_map(|section| &section.findings)
    }

    /// The number called `id`, when it was measured.
    pub fn finding(&self, id: &str) -> Option<&Finding> {
        self.findings().find(|finding| finding.id == id)
    }

    /// Numbers with a target.
    pub fn targets(&self) -> Vec<(&Finding, Target)> {
        self.findings().filter_map(|finding| Some((finding, finding.target?))).collect()
    }

    /// Reads what [`Report::save`] wrote.
    pub fn load(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("{} is not a report of this benchmark", path.display()))
    }

    /// Writes one JSON document.
    pub fn save(&self, path: &Path) -> Result<()> {
        files::write(path, &self.encode()?)
    }

    fn parse(text: &str) -> Result<Self> {
        #[derive(Deserialize)]
        struct Version {
            schema: u32,
        }
        let Version { schema } = serde_json::from_str(text).context("no `schema`")?;
        if schema != SCHEMA {
            bail!("schema {schema}, and this program knows {SCHEMA}: measure again");
        }
        Ok(serde_json::from_str(text)?)
    }

    fn encode(&self) -> Result<String> {
        let mut text = serde_json::to_string_pretty(self).context("cannot encode the report")?;
        text.push('\n');
        Ok(text)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::section::{Cell, Compare, Plot, Row, Sample, Table};
    use super::*;

    /// Two parts, one of each kind of cell.
    pub(in super::super) fn fake() -> Report {
        let mut report = Report::new(Machine::default(), "full");
        report.sections.push(Section {
            id: "rig".to_owned(),
            title: "Packets".to_owned(),
            notes: vec!["A note.".to_owned()],
            tables: vec![Table {
                id: "rig-64".to_owned(),
                caption: "Delivered at 64 B".to_owned(),
                key: "gateway".to_owned(),
                columns: vec!["1 flow".to_owned(), "50,000 flows".to_owned()],
                unit: "kpps".to_owned(),
                rows: vec![
                    Row {
                        name: "natgw".to_owned(),
                        cells: vec![
                            Cell::Sample(Sample::of(&[1_790.0, 1_832.5, 1_850.0])),
                            Cell::Number(1_489.0),
                        ],
                    },
                    Row {
                        name: "nft | masquerade".to_owned(),
                        cells: vec![Cell::Text("slow".to_owned()), Cell::Missing],
                    },
                ],
                plot: Plot::Bars,
            }],
            findings: vec![Finding {
                id: "rig/64/1/natgw_over_fib".to_owned(),
                what: "natgw over FIB forwarding".to_owned(),
                value: 1.05,
                target: Some(Target::AtLeast(1.1)),
                compare: Compare::NotBelow(0.1),
            }],
        });
        report.sections.push(Section {
            id: "program".to_owned(),
            title: "Program".to_owned(),
            findings: vec![Finding {
                id: "program/insns".to_owned(),
                what: "instructions".to_owned(),
                value: 812.0,
                target: None,
                compare: Compare::Exact,
            }],
            ..Section::default()
        });
        report
    }

    #[test]
    fn reads_back_what_it_wrote() {
        let report = fake();
        assert_eq!(Report::parse(&report.encode().expect("encodes")).expect("parses"), report);
    }

    #[test]
    fn has_stable_names() {
        let value: serde_json::Value =
            serde_json::from_str(&fake().encode().expect("encodes")).expect("is JSON");
        let row = &value["sections"][0]["tables"][0]["rows"];
        assert_eq!(value["schema"], 1);
        assert_eq!(row[0]["cells"][0]["median"], 1_832.5);
        assert_eq!(row[0]["cells"][1], 1_489.0);
        assert_eq!(row[1]["cells"][0], "slow");
        assert!(row[1]["cells"][1].is_null());
        let finding = &value["sections"][0]["findings"][0];
        assert_eq!(finding["target"]["at_least"], 1.1);
        assert_eq!(finding["compare"]["not_below"], 0.1);
        assert_eq!(value["sections"][1]["findings"][0]["compare"], "exact");
    }

    #[test]
    fn survives_what_json_cannot_say() {
        let mut report = fake();
        report.sections[0].findings[0].value = f64::NAN;
        let read = Report::parse(&report.encode().expect("encodes")).expect("parses");
        assert!(read.sections[0].findings[0].value.is_nan());
    }

    #[test]
    fn refuses_another_schema() {
        let text = fake().encode().expect("encodes").replace("\"schema\": 1", "\"schema\": 2");
        let error = Report::parse(&text).expect_err("another schema").to_string();
        assert!(error.contains("schema 2"), "{error}");
    }
}
