//! What a part of the benchmark found: tables and single numbers, in one form for every output.

use serde::{Deserialize, Deserializer, Serialize};

/// What one part found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Section {
    /// As in `--only`.
    pub id: String,
    /// Heading.
    pub title: String,
    /// Paragraphs below the heading: what was measured and how.
    pub notes: Vec<String>,
    /// Tables, each with an optional plot.
    pub tables: Vec<Table>,
    /// Single numbers that targets and the comparison refer to.
    pub findings: Vec<Finding>,
}

/// Rows of measurements.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// Unique among all sections: names the plot's file.
    pub id: String,
    /// One line above the table.
    pub caption: String,
    /// What the first column holds, e.g. "gateway".
    pub key: String,
    /// Heads of the other columns.
    pub columns: Vec<String>,
    /// Unit of all numbers that do not say otherwise, e.g. "kpps".
    pub unit: String,
    /// Rows, in the order in which they are shown.
    pub rows: Vec<Row>,
    /// How it is drawn.
    pub plot: Plot,
}

/// How a table is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Plot {
    /// Not at all.
    #[default]
    None,
    /// Groups of bars: a group per column, a bar per row.
    Bars,
    /// The same on a logarithmic axis.
    LogBars,
}

/// One line of a table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// First column.
    pub name: String,
    /// Other columns.
    pub cells: Vec<Cell>,
}

/// One place in a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Cell {
    /// Repeated measurements.
    Sample(Sample),
    /// One number.
    Number(f64),
    /// Words.
    Text(String),
    /// Not measured, or does not apply.
    Missing,
}

/// Repeated measurements of one thing.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Middle value.
    #[serde(deserialize_with = "number_or_null")]
    pub median: f64,
    /// Smallest.
    #[serde(deserialize_with = "number_or_null")]
    pub low: f64,
    /// Largest.
    #[serde(deserialize_with = "number_or_null")]
    pub high: f64,
    /// How many.
    pub count: usize,
}

impl Sample {
    /// Of at least one value; all zero without.
    pub fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or_default();
        let middle = sorted.len() / 2;
        let median = if sorted.len().is_multiple_of(2) && !sorted.is_empty() {
            f64::midpoint(at(middle - 1), at(middle))
        } else {
            at(middle)
        };
        Self { median, low: at(0), high: at(sorted.len().saturating_sub(1)), count: sorted.len() }
    }
}

/// A number with a name that stays the same from run to run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// E.g. `rig/64/1/natgw_over_fib`.
    pub id: String,
    /// What it is, in words.
    pub what: String,
    /// The number.
    #[serde(deserialize_with = "number_or_null")]
    pub value: f64,
    /// What it is held to, if anything.
    pub target: Option<Target>,
    /// How a later run is compared with this one.
    pub compare: Compare,
}

/// A wish that came with a number.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// This much or more.
    AtLeast(f64),
    /// This much or less.
    AtMost(f64),
}

impl Target {
    /// Whether `value` meets it.
    pub fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
        }
    }
}

/// How `--check` compares a number with the committed one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compare {
    /// Not at all: absolute times of this machine.
    Never,
    /// Must not change: instruction counts.
    Exact,
    /// A ratio where larger is better, that may fall by this share (0.1: a tenth) from noise.
    NotBelow(f64),
    /// A ratio where smaller is better, that may rise by this share from noise.
    NotAbove(f64),
}

/// JSON knows no infinity and no "not a number": serde writes null for them, and this reads it back.
fn number_or_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}
