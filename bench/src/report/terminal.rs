//! Everything on stdout: facts, tables, targets.

use std::fmt::Write as _;

use super::document::{Failure, Report};
use super::machine::Machine;
use super::number::{cell, chosen, number, percent, seconds};
use super::section::{Cell, Finding, Section, Table, Target};

/// Columns of running text.
const WIDTH: usize = 100;

/// What the figures were measured on.
pub fn machine(machine: &Machine) -> String {
    let facts = machine.facts();
    let width = facts.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default();
    facts.iter().fold(String::new(), |mut text, (name, value)| {
        _ = writeln!(text, "{name:<width$}  {value}");
        text
    })
}

/// One part: heading, notes, tables.
pub fn section(section: &Section) -> String {
    let mut text = format!("\n{}\n{}\n", section.title, "=".repeat(section.title.chars().count()));
    for note in &section.notes {
        text.push_str(&wrap(note));
    }
    for table in &section.tables {
        text.push('\n');
        text.push_str(&self::table(table));
    }
    text
}

/// Caption with unit, heads, rows; numbers right-aligned.
pub fn table(table: &Table) -> String {
    let mut lines: Vec<Vec<String>> =
        vec![std::iter::once(&table.key).chain(&table.columns).map(String::clone).collect()];
    for row in &table.rows {
        lines.push(std::iter::once(row.name.clone()).chain(row.cells.iter().map(cell)).collect());
    }
    let columns = lines.iter().map(Vec::len).max().unwrap_or_default();
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            lines
                .iter()
                .filter_map(|line| line.get(column))
                .map(|c| c.chars().count())
                .max()
                .unwrap_or_default()
        })
        .collect();
    let words: Vec<bool> = (0..columns).map(|column| column == 0 || is_words(table, column - 1)).collect();
    let mut text = format!("{}\n", caption(table));
    for line in &lines {
        let shown: Vec<String> = line
            .iter()
            .enumerate()
            .map(|(column, c)| {
                let width = widths[column];
                if words[column] { format!("{c:<width$}") } else { format!("{c:>width$}") }
            })
            .collect();
        _ = writeln!(text, "  {}", shown.join("  ").trim_end());
    }
    text
}

/// The line above a table.
pub fn caption(table: &Table) -> String {
    if table.unit.is_empty() { table.caption.clone() } else { format!("{} [{}]", table.caption, table.unit) }
}

/// Whether all of a column is text, which reads better from the left.
pub fn is_words(table: &Table, column: usize) -> bool {
    let mut texts = 0;
    for row in &table.rows {
        match row.cells.get(column) {
            Some(Cell::Text(_)) => texts += 1,
            Some(Cell::Missing) | None => {}
            Some(Cell::Sample(_) | Cell::Number(_)) => return false,
        }
    }
    texts > 0
}

/// The targets, what was reached of each, and what broke.
pub fn closing(report: &Report) -> String {
    let mut text = String::new();
    let targets = report.targets();
    if !targets.is_empty() {
        let met = targets.iter().filter(|(finding, target)| target.is_met(finding.value)).count();
        _ = writeln!(text, "\nTargets: {met} of {} met", targets.len());
        let widths = targets.iter().map(|(finding, _)| number(finding.value).len()).max().unwrap_or_default();
        for (finding, target) in &targets {
            let (verdict, wish) = (verdict(finding, *target), wish(*target));
            let value = number(finding.value);
            _ = writeln!(text, "  {verdict:<20} {value:>widths$}  {wish:<15}  {}", finding.what);
        }
    }
    for Failure { part, error } in &report.failures {
        _ = writeln!(text, "\nFAILED: {part}: {error}");
    }
    _ = writeln!(text, "\n{} in all", seconds(report.seconds));
    text
}

/// `met`, or by how much not.
pub fn verdict(finding: &Finding, target: Target) -> String {
    if target.is_met(finding.value) {
        return "met".to_owned();
    }
    let by = match target {
        Target::AtLeast(least) => 1.0 - finding.value / least,
        Target::AtMost(most) => finding.value / most - 1.0,
    };
    format!("MISSED by {}", if by.is_finite() { percent(by) } else { "all of it".to_owned() })
}

/// A target in words.
pub fn wish(target: Target) -> String {
    match target {
        Target::AtLeast(least) => format!("at least {}", chosen(least)),
        Target::AtMost(most) => format!("at most {}", chosen(most)),
    }
}

fn wrap(paragraph: &str) -> String {
    let mut text = String::new();
    let mut column = 0;
    for word in paragraph.split_whitespace() {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > WIDTH {
            text.push('\n');
            column = 0;
        }
        if column > 0 {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += length;
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::super::section::{Compare, Plot, Row, Sample};
    use super::*;

    fn finding(value: f64) -> Finding {
        Finding { id: "rig/x".to_owned(), what: "x".to_owned(), value, target: None, compare: Compare::Never }
    }

    #[test]
    fn aligns_numbers_right_and_words_left() {
        let shown = table(&Table {
            id: "t".to_owned(),
            caption: "Delivered".to_owned(),
            key: "gateway".to_owned(),
            columns: vec!["1 flow".to_owned(), "note".to_owned()],
            unit: "kpps".to_owned(),
            rows: vec![
                Row {
                    name: "natgw".to_owned(),
                    cells: vec![
                        Cell::Sample(Sample::of(&[1_790.0, 1_832.0, 1_850.0])),
                        Cell::Text("a".to_owned()),
                    ],
                },
                Row { name: "nft".to_owned(), cells: vec![Cell::Missing, Cell::Text("bbbb".to_owned())] },
            ],
            plot: Plot::None,
        });
        let expected = "Delivered [kpps]\n  gateway                1 flow  note\n  natgw    1,832 (1,790..1,850)  a\n  nft                         -  bbbb\n";
        assert_eq!(shown, expected);
    }

    #[test]
    fn says_by_how_much_a_target_is_missed() {
        assert_eq!(verdict(&finding(1.1), Target::AtLeast(1.1)), "met");
        assert_eq!(verdict(&finding(0.99), Target::AtLeast(1.1)), "MISSED by 10.0 %");
        assert_eq!(verdict(&finding(330.0), Target::AtMost(300.0)), "MISSED by 10.0 %");
        assert_eq!(verdict(&finding(f64::NAN), Target::AtMost(300.0)), "MISSED by all of it");
    }

    #[test]
    fn closes_with_targets_failures_and_time() {
        let mut report = super::super::document::tests::fake();
        report.seconds = 61.0;
        report.failures.push(Failure { part: "scale".to_owned(), error: "no memory".to_owned() });
        let text = closing(&report);
        let lines = [
            "Targets: 0 of 1 met",
            "  MISSED by 4.5 %      1.05  at least 1.1     natgw over FIB forwarding",
            "FAILED: scale: no memory",
            "1 min 1 s in all",
        ];
        for line in lines {
            assert!(text.lines().any(|found| found == line), "{line:?} is not in {text}");
        }
    }

    #[test]
    fn wraps_between_words() {
        let text = wrap(&"word ".repeat(30));
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH && !line.ends_with(' ')), "{text}");
        assert_eq!(text.split_whitespace().count(), 30);
    }
}
