//! The generated parts of docs/benchmarks.md. What a person wrote around them stays.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::document::Report;
use super::number::{cell, number};
use super::section::{Plot, Section, Table};
use super::terminal::{caption, is_words, verdict, wish};
use super::{files, plot, projection};

/// The page, seen from the root of the checkout.
pub const PAGE: &str = "docs/benchmarks.md";
/// The pictures, likewise. Nothing else is in there.
pub const PLOTS: &str = "docs/plots";

/// Has a region of its own, with a few figures.
const README: &str = "README.md";
/// Those figures, by [`super::section::Finding::id`].
const HIGHLIGHTS: [&str; 5] = [
    "rig/64/1/natgw_over_fib",
    "rig/64/1/natgw_over_nft",
    "rig/64/50000/natgw_over_nft",
    "rig/64/1000000/natgw_over_nft",
    "newflows/udp/natgw_over_nft",
];

/// How much of the benchmark a report covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Every part.
    Everything,
    /// Some parts: what is about all of them stays as it is.
    Parts,
}

/// Writes the regions and the pictures of everything in `report` below `root`.
pub fn write(report: &Report, extent: Extent, root: &Path) -> Result<()> {
    let page = root.join(PAGE);
    let old = fs::read_to_string(&page).with_context(|| format!("cannot read {}", page.display()))?;
    let new = render(report, extent, &old).with_context(|| format!("{} stays as it is", page.display()))?;
    let plots = root.join(PLOTS);
    let mut drawn = BTreeSet::new();
    for table in report.sections.iter().flat_map(|section| &section.tables) {
        if let Some(picture) = plot::svg(table) {
            let name = picture_name(table);
            files::write(&plots.join(&name), &picture)?;
            drawn.insert(name);
        }
    }
    files::write(&page, &new)?;
    if extent == Extent::Everything {
        remove_others(&plots, &drawn)?;
        let readme = root.join(README);
        let old = fs::read_to_string(&readme).with_context(|| format!("cannot read {}", readme.display()))?;
        files::write(&readme, &replace_region(&old, "readme", &highlights(report)?)?)?;
    }
    Ok(())
}

/// `page` with its regions filled anew.
fn render(report: &Report, extent: Extent, page: &str) -> Result<String> {
    let mut page = page.to_owned();
    for section in &report.sections {
        let verb =
            if section.id == projection::PART { "Computed from what was measured" } else { "Measured" };
        let text = format!("{}\n{}\n", self::section(section), provenance(report, verb));
        page = replace_region(&page, &section.id, &text)?;
    }
    if extent == Extent::Everything {
        page = replace_region(&page, "machine", &machine(report))?;
        page = replace_region(&page, "targets", &targets(report))?;
    }
    Ok(page)
}

/// Puts `text` between `<!-- bench:name -->` and `<!-- /bench:name -->`.
fn replace_region(page: &str, name: &str, text: &str) -> Result<String> {
    let (open, close) = (format!("<!-- bench:{name} -->"), format!("<!-- /bench:{name} -->"));
    if page.matches(&open).count() != 1 || page.matches(&close).count() != 1 {
        bail!("the region {open} .. {close} must be there once");
    }
    let (before, rest) = page.split_once(&open).context("no start")?;
    let (_, after) = rest.split_once(&close).with_context(|| format!("{close} stands before {open}"))?;
    Ok(format!("{before}{open}\n\n{}\n\n{close}{after}", text.trim()))
}

fn section(section: &Section) -> String {
    let mut text = String::new();
    for note in &section.notes {
        _ = writeln!(text, "{note}\n");
    }
    for table in &section.tables {
        text.push_str(&self::table(table));
        if table.plot != Plot::None && plot::svg(table).is_some() {
            let dir = PLOTS.rsplit('/').next().unwrap_or(PLOTS);
            _ = writeln!(
                text,
                "![{}]({dir}/{})\n",
                table.caption.replace(['[', ']'], ""),
                picture_name(table)
            );
        }
    }
    text
}

fn table(table: &Table) -> String {
    let mut text = format!("**{}**\n\n", caption(table));
    let heads: Vec<String> =
        std::iter::once(&table.key).chain(&table.columns).map(|head| escape(head)).collect();
    _ = writeln!(text, "| {} |", heads.join(" | "));
    text.push_str("|---|");
    for column in 0..table.columns.len() {
        text.push_str(if is_words(table, column) { "---|" } else { "---:|" });
    }
    text.push('\n');
    for row in &table.rows {
        let cells: Vec<String> = std::iter::once(escape(&row.name))
            .chain(
                (0..table.columns.len())
                    .map(|column| row.cells.get(column).map_or(String::new(), |c| escape(&cell(c)))),
            )
            .collect();
        _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    text.push('\n');
    text
}

fn targets(report: &Report) -> String {
    let mut text = "| target | wanted | measured | |\n|---|---|---:|---|\n".to_owned();
    for (finding, target) in report.targets() {
        _ = writeln!(
            text,
            "| {} | {} | {} | {} |",
            escape(&finding.what),
            wish(target),
            number(finding.value),
            verdict(finding, target)
        );
    }
    text
}

/// A list of the figures that the README shows.
fn highlights(report: &Report) -> Result<String> {
    let mut text = String::new();
    for id in HIGHLIGHTS {
        let finding =
            report.finding(id).with_context(|| format!("the README wants {id}, and nobody measures it"))?;
        _ = writeln!(text, "- **{}** {}", number(finding.value), finding.what);
    }
    _ = writeln!(text, "\n{}", provenance(report, "Measured"));
    Ok(text)
}

fn machine(report: &Report) -> String {
    let mut text = "| | |\n|---|---|\n".to_owned();
    for (name, value) in report.machine.facts() {
        _ = writeln!(text, "| {name} | {} |", escape(&value));
    }
    _ = writeln!(text, "| run | {}, {} |", report.effort, super::number::seconds(report.seconds));
    text
}

/// Where the figures of a region come from: a run may have measured one part only.
fn provenance(report: &Report, verb: &str) -> String {
    let machine = &report.machine;
    format!(
        "*{verb} {} UTC, commit {}, Linux {}, {} run.*",
        machine.date, machine.commit, machine.kernel, report.effort
    )
}

fn picture_name(table: &Table) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    format!("{}.svg", table.id.chars().map(plain).collect::<String>())
}

fn escape(text: &str) -> String {
    text.replace('|', "\\|")
}

fn remove_others(plots: &Path, drawn: &BTreeSet<String>) -> Result<()> {
    let Ok(entries) = fs::read_dir(plots) else { return Ok(()) };
    for entry in entries.flatten() {
        let path = entry.path();
        let is_picture = path.extension().is_some_and(|extension| extension == "svg");
        if is_picture && !drawn.contains(&*entry.file_name().to_string_lossy()) {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::document::tests::fake;
    use super::*;

    const PAGE: &str = "# Head\n<!-- bench:machine -->\n<!-- /bench:machine -->\nby hand\n<!-- bench:targets -->old<!-- /bench:targets -->\n<!-- bench:rig -->\nold\n<!-- /bench:rig -->\n<!-- bench:program -->\n<!-- /bench:program -->\nend\n";

    #[test]
    fn fills_regions_and_nothing_else() {
        let page = render(&fake(), Extent::Everything, PAGE).expect("renders");
        assert!(
            page.starts_with("# Head\n") && page.ends_with("\nend\n") && page.contains("\nby hand\n"),
            "{page}"
        );
        assert!(!page.contains("old") && !page.contains("\n\n\n<!--"), "{page}");
        assert!(page.contains("| natgw | 1,832 (1,790..1,850) | 1,489 |"), "{page}");
        assert!(page.contains("| nft \\| masquerade | slow | - |"), "{page}");
        assert!(page.contains("![Delivered at 64 B](plots/rig-64.svg)"), "{page}");
        assert!(
            page.contains("| natgw over FIB forwarding | at least 1.1 | 1.05 | MISSED by 4.5 % |"),
            "{page}"
        );
    }

    #[test]
    fn changes_nothing_the_second_time() {
        let once = render(&fake(), Extent::Everything, PAGE).expect("renders");
        assert_eq!(render(&fake(), Extent::Everything, &once).expect("renders"), once);
    }

    #[test]
    fn leaves_the_summary_alone_when_parts_are_missing() {
        let page = render(&fake(), Extent::Parts, PAGE).expect("renders");
        assert!(page.contains("<!-- bench:targets -->old<!-- /bench:targets -->"), "{page}");
        assert!(!page.contains("\nold\n"), "{page}");
    }

    #[test]
    fn refuses_a_page_without_the_region() {
        let (open, close) = ("<!-- bench:x -->", "<!-- /bench:x -->");
        let pages = [
            String::new(),
            open.to_owned(),
            format!("{close}{open}"),
            format!("{open}{open}{close}"),
            format!("{open}{close}{close}"),
        ];
        for page in &pages {
            assert!(replace_region(page, "x", "").is_err(), "{page}");
        }
        assert!(render(&fake(), Extent::Parts, "<!-- bench:rig --><!-- /bench:rig -->").is_err());
    }

    #[test]
    fn the_readme_lists_figures_and_misses_none() {
        let mut report = fake();
        let error = highlights(&report).expect_err("not all are there").to_string();
        assert!(error.contains(HIGHLIGHTS[1]), "{error}");
        let first = report.sections[0].findings[0].clone();
        for id in &HIGHLIGHTS[1..] {
            report.sections[0]
                .findings
                .push(super::super::section::Finding { id: (*id).to_owned(), ..first.clone() });
        }
        let text = highlights(&report).expect("all are there");
        assert!(text.starts_with("- **1.05** natgw over FIB forwarding\n- **1.05**"), "{text}");
        assert_eq!(text.matches("- **").count(), HIGHLIGHTS.len());
    }

    #[test]
    fn names_pictures_plainly() {
        let table = Table { id: "Rig/64 B".to_owned(), ..Table::default() };
        assert_eq!(picture_name(&table), "rig-64-b.svg");
    }
}
