//! `--check`: is anything worse than what was committed? Ratios within their noise, instruction counts exactly.

use std::fmt::Write as _;

use super::baseline::{Baseline, Counter, Entry, is_compared, part_of};
use super::document::Report;
use super::number::{number, percent};
use super::section::{Compare, Finding};

/// How far an instruction count may be off when another verifier or compiler made it.
const STRANGER: f64 = 0.1;

/// What the comparison came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Worse than committed, or gone. One line each.
    pub regressions: Vec<String>,
    /// Better than committed by more than noise.
    pub improvements: Vec<String>,
    /// Measured, but not committed.
    pub unknown: Vec<String>,
    /// What else must be said.
    pub remarks: Vec<String>,
    /// How many numbers were compared.
    pub compared: usize,
    /// Parts that a second measurement might clear: those with a ratio that is worse.
    pub noisy_parts: Vec<String>,
}

/// How a number stands next to the committed one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Same,
    Better,
    Worse,
}

/// Compares what was measured with what was committed.
pub fn compare(report: &Report, baseline: &Baseline) -> Outcome {
    let mut outcome = Outcome::default();
    let here = Counter::of(&report.machine);
    let exact = here == baseline.counted_by;
    let counts = |finding: &Finding| finding.compare == Compare::Exact;
    if !exact && report.findings().any(counts) {
        outcome.remarks.push(format!(
            "instruction counts were committed on {}, this is {}: compared with {} tolerance",
            describe(&baseline.counted_by),
            describe(&here),
            percent(STRANGER)
        ));
    }
    for finding in report.findings().filter(|finding| finding.compare != Compare::Never) {
        let Some(old) = baseline.findings.get(&finding.id) else {
            if is_compared(finding) {
                outcome.unknown.push(format!(
                    "{} = {} ({})",
                    finding.id,
                    number(finding.value),
                    finding.what
                ));
            }
            continue;
        };
        outcome.compared += 1;
        let line = line(finding, old.value);
        match standing(finding, old.value, exact) {
            Standing::Same => {}
            Standing::Better => outcome.improvements.push(line),
            Standing::Worse => {
                outcome.regressions.push(line);
                let part = part_of(&finding.id).to_owned();
                if !counts(finding) && !outcome.noisy_parts.contains(&part) {
                    outcome.noisy_parts.push(part);
                }
            }
        }
    }
    for (id, Entry { value, compare }) in &baseline.findings {
        let measured = report.sections.iter().any(|section| section.id == part_of(id));
        // Which ratios are measured depends on the effort; instructions are always counted.
        if measured && *compare == Compare::Exact && report.finding(id).is_none() {
            outcome.regressions.push(format!("{id}: was {}, and is not measured any more", number(*value)));
        }
    }
    outcome
}

/// Takes over every ratio of `again` that is better than in `report`. What is really slower is so in every
/// measurement; what only a neighbour on the machine disturbed is not.
pub fn keep_best(report: &mut Report, again: &Report) {
    for finding in report.sections.iter_mut().flat_map(|section| &mut section.findings) {
        let Some(second) = again.finding(&finding.id) else { continue };
        finding.value = match finding.compare {
            Compare::Never | Compare::Exact => continue,
            Compare::NotBelow(_) => finding.value.max(second.value),
            Compare::NotAbove(_) => finding.value.min(second.value),
        };
    }
}

/// The verdict in words, with what to do.
pub fn describe_outcome(outcome: &Outcome, attempts: u32) -> String {
    let mut text = String::new();
    let mut list = |head: &str, lines: &[String]| {
        if !lines.is_empty() {
            _ = writeln!(text, "\n{head}");
            for line in lines {
                _ = writeln!(text, "  {line}");
            }
        }
    };
    list("Remarks", &outcome.remarks);
    list("Better than committed (commit it, so that it cannot get lost)", &outcome.improvements);
    list("New, not committed yet", &outcome.unknown);
    list("WORSE than committed", &outcome.regressions);
    let measured = if attempts > 1 { format!(", best of {attempts} measurements") } else { String::new() };
    _ = writeln!(
        text,
        "\ncheck: {} numbers compared{measured}: {}",
        outcome.compared,
        match outcome.regressions.len() {
            0 => "none is worse than committed".to_owned(),
            1 => "1 IS WORSE".to_owned(),
            many => format!("{many} ARE WORSE"),
        }
    );
    if !outcome.regressions.is_empty() {
        text.push_str(
            "Not on purpose? Find the change: git bisect run cargo xtask bench --check\n\
             On purpose, and worth it? Commit the new figures with a reason: \
             cargo xtask bench --only program --save-baseline\n",
        );
    } else if !outcome.improvements.is_empty() || !outcome.unknown.is_empty() {
        text.push_str("To commit the new figures: cargo xtask bench --only program --save-baseline\n");
    }
    text
}

fn standing(finding: &Finding, old: f64, exact: bool) -> Standing {
    let new = finding.value;
    match finding.compare {
        Compare::Never => Standing::Same,
        // Also fewer: the count is a fingerprint of the program, and a gain not committed is lost unnoticed. (Counts are whole; half of one is for the rounding of a file.)
        Compare::Exact if exact => {
            if (new - old).abs() < 0.5 {
                Standing::Same
            } else {
                Standing::Worse
            }
        }
        Compare::Exact => band(new, old, STRANGER, Direction::SmallerIsBetter),
        Compare::NotBelow(noise) => band(new, old, noise, Direction::LargerIsBetter),
        Compare::NotAbove(noise) => band(new, old, noise, Direction::SmallerIsBetter),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    LargerIsBetter,
    SmallerIsBetter,
}

/// What is not a number is worse than any.
fn band(new: f64, old: f64, noise: f64, direction: Direction) -> Standing {
    let above = new > old * (1.0 + noise);
    let below = new < old * (1.0 - noise);
    match direction {
        _ if !new.is_finite() => Standing::Worse,
        Direction::LargerIsBetter if below => Standing::Worse,
        Direction::LargerIsBetter if above => Standing::Better,
        Direction::SmallerIsBetter if above => Standing::Worse,
        Direction::SmallerIsBetter if below => Standing::Better,
        _ => Standing::Same,
    }
}

fn line(finding: &Finding, old: f64) -> String {
    let rule = match finding.compare {
        Compare::NotBelow(noise) => format!(", {} down allowed", percent(noise)),
        Compare::NotAbove(noise) => format!(", {} up allowed", percent(noise)),
        Compare::Exact | Compare::Never => String::new(),
    };
    let change = finding.value / old - 1.0;
    let sign = if change > 0.0 { "+" } else { "" };
    format!(
        "{}: {} -> {} ({sign}{}{rule}): {}",
        finding.id,
        number(old),
        number(finding.value),
        percent(change),
        finding.what
    )
}

fn describe(counter: &Counter) -> String {
    let known = |value: &str, what: &str| {
        if value.is_empty() { format!("an unknown {what}") } else { value.to_owned() }
    };
    format!("Linux {} with {}", known(&counter.kernel, "version"), known(&counter.compiler, "compiler"))
}

#[cfg(test)]
mod tests;
