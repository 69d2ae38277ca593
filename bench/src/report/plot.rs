//! A table as a picture: groups of horizontal bars, so that long names and values stay legible, with whiskers from
//! the smallest to the largest measurement. SVG, written by hand: no fonts, no scripts, light and dark.

mod scale;

use std::fmt::Write as _;

use super::number::{chosen, number};
use super::section::{Cell, Plot, Table};
use super::terminal::caption;
use scale::Scale;

/// All lengths are in pixels.
const WIDTH: f64 = 800.0;
const MARGIN: f64 = 20.0;
const BAR: f64 = 15.0;
const BAR_GAP: f64 = 3.0;
const GROUP_GAP: f64 = 16.0;
const LINE: f64 = 20.0;
/// Room for a value behind the longest bar.
const VALUE: f64 = 70.0;
/// About as wide as a letter of the text gets.
const LETTER: f64 = 6.9;
/// More bars than this in a group are hard to tell apart by colour.
const COLOURS: usize = 8;

/// Light and dark mode. natgw has a strong colour of its own; the others' are softened ones of Okabe and Ito, which
/// the colour-blind can tell apart.
const STYLE: &str = "\
text{font:12px system-ui,-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif;fill:#1f2328}\
.title{font-size:14px;font-weight:600}.soft{fill:#59636e}.page{fill:#fff;stroke:#d1d9e0}\
.grid{stroke:#e4e8ec}.axis{stroke:#818b98}.spread{stroke:#1f2328}\
.own{fill:#0969da}.c0{fill:#e0b040}.c1{fill:#5fb794}.c2{fill:#a892cc}.c3{fill:#df8a62}.c4{fill:#aab2bb}\
.c5{fill:#d79fbf}.c6{fill:#c2b95e}.c7{fill:#8cc8e8}.strong{font-weight:600}\
@media(prefers-color-scheme:dark){text{fill:#f0f6fc}.soft{fill:#9198a1}.page{fill:#0d1117;stroke:#3d444d}\
.grid{stroke:#262c36}.axis{stroke:#656c76}.spread{stroke:#f0f6fc}.own{fill:#4493f8}.c4{fill:#7d8590}}";

/// One bar.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Bar {
    /// Which of the series: its place in the legend.
    series: usize,
    value: f64,
    low: f64,
    high: f64,
}

/// Bars that belong together.
#[derive(Clone, Debug, PartialEq)]
struct Group {
    name: String,
    bars: Vec<Bar>,
}

impl Group {
    fn height(&self) -> f64 {
        self.bars.iter().map(|_| BAR + BAR_GAP).sum::<f64>() - BAR_GAP
    }
}

/// The picture, or nothing when the table is not to be drawn or has no numbers.
pub fn svg(table: &Table) -> Option<String> {
    let (groups, series) = arrange(table);
    let bars = || groups.iter().flat_map(|group| &group.bars);
    let highest = bars().map(|bar| bar.high).fold(0.0, f64::max);
    let scale = match table.plot {
        Plot::None => return None,
        _ if bars().next().is_none() => return None,
        Plot::Bars => Scale::linear(highest),
        Plot::LogBars => Scale::logarithmic(bars().map(|bar| bar.low).fold(f64::MAX, f64::min), highest),
    };
    Some(draw(table, &groups, &series, &scale))
}

/// Numbers only. A group per column and a bar per row, but when that makes a single group, or more bars in it than
/// there are colours: a group per row and a bar per column.
fn arrange(table: &Table) -> (Vec<Group>, Vec<String>) {
    let numbers = |column: usize| table.rows.iter().any(|row| bar(row.cells.get(column), 0).is_some());
    let columns: Vec<usize> = (0..table.columns.len())
        .filter(|&column| numbers(column) && !table.columns[column].ends_with(']'))
        .collect();
    let rows: Vec<usize> = (0..table.rows.len())
        .filter(|&row| columns.iter().any(|&column| bar(table.rows[row].cells.get(column), 0).is_some()))
        .collect();
    let place = |row: usize, column: usize, series| bar(table.rows[row].cells.get(column), series);
    let column_names = columns.iter().map(|&column| table.columns[column].clone());
    let row_names = rows.iter().map(|&row| table.rows[row].name.clone());
    if columns.len() > 1 && rows.len() > 1 && rows.len() <= COLOURS {
        let bars = |&column: &usize| {
            rows.iter().enumerate().filter_map(|(series, &row)| place(row, column, series)).collect()
        };
        let groups = column_names.zip(columns.iter().map(bars)).map(|(name, bars)| Group { name, bars });
        (groups.collect(), row_names.collect())
    } else {
        let bars = |&row: &usize| {
            columns.iter().enumerate().filter_map(|(series, &column)| place(row, column, series)).collect()
        };
        let groups = row_names.zip(rows.iter().map(bars)).map(|(name, bars)| Group { name, bars });
        (groups.collect(), column_names.collect())
    }
}

fn bar(cell: Option<&Cell>, series: usize) -> Option<Bar> {
    let (value, low, high) = match cell? {
        Cell::Number(value) => (*value, *value, *value),
        Cell::Sample(sample) if sample.count > 0 => (sample.median, sample.low, sample.high),
        Cell::Sample(_) | Cell::Text(_) | Cell::Missing => return None,
    };
    [value, low, high].iter().all(|n| n.is_finite() && *n >= 0.0).then_some(Bar { series, value, low, high })
}

fn draw(table: &Table, groups: &[Group], series: &[String], scale: &Scale) -> String {
    let single = series.len() == 1;
    let longest = groups.iter().map(|group| group.name.chars().count()).max().unwrap_or_default();
    let left = MARGIN + width(longest) + 10.0;
    let across = WIDTH - left - VALUE - MARGIN;
    let x = |value: f64| left + scale.position(value) * across;

    let mut body = String::new();
    let mut y = MARGIN + 14.0;
    _ = writeln!(body, r#"<text class="title" x="{MARGIN}" y="{y}">{}</text>"#, escape(&caption(table)));
    y += 10.0;
    if !single {
        y = legend(&mut body, series, y);
    }
    let top = y + 8.0;
    let heights = groups.iter().map(Group::height);
    let gap = if single { BAR_GAP * 2.0 } else { GROUP_GAP };
    let bottom = top + heights.map(|height| height + gap).sum::<f64>();

    for &tick in &scale.ticks {
        let at = x(tick);
        _ = writeln!(body, r#"<path class="grid" d="M{at:.1} {top:.1}V{bottom:.1}"/>"#);
        let below = bottom + 16.0;
        let label = escape(&chosen(tick));
        _ = writeln!(
            body,
            r#"<text class="soft" x="{at:.1}" y="{below:.1}" text-anchor="middle">{label}</text>"#
        );
    }
    let mut y = top + gap / 2.0;
    for group in groups {
        let height = group.height();
        let (end, middle) = (left - 8.0, y + height / 2.0 + 4.0);
        let name = escape(&group.name);
        _ = writeln!(body, r#"<text x="{end:.1}" y="{middle:.1}" text-anchor="end">{name}</text>"#);
        for bar in &group.bars {
            let class = colour(series, bar.series, single.then_some(group.name.as_str()));
            draw_bar(&mut body, *bar, y, class, &x);
            y += BAR + BAR_GAP;
        }
        y += gap - BAR_GAP;
    }
    _ = writeln!(body, r#"<path class="axis" d="M{left:.1} {top:.1}V{bottom:.1}"/>"#);
    let end = WIDTH - MARGIN;
    let note = bottom + 34.0;
    let how = if matches!(table.plot, Plot::LogBars) { ", logarithmic" } else { "" };
    _ = writeln!(
        body,
        r#"<text class="soft" x="{end}" y="{note:.1}" text-anchor="end">{}{how}; bars: medians, lines: smallest to largest measurement</text>"#,
        escape(&table.unit)
    );
    let height = note + 14.0;
    let (inner, deep) = (WIDTH - 1.0, height - 1.0);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" aria-label=\"{}\">\n<style>{STYLE}</style>\n\
         <rect class=\"page\" x=\"0.5\" y=\"0.5\" width=\"{inner}\" height=\"{deep:.0}\" rx=\"6\"/>\n{body}</svg>\n",
        escape(&table.caption)
    )
}

/// Squares and names, as many lines as they need; returns where the last one ends.
fn legend(body: &mut String, series: &[String], mut y: f64) -> f64 {
    let mut x = MARGIN;
    y += LINE - 6.0;
    for (index, name) in series.iter().enumerate() {
        let wide = 18.0 + width(name.chars().count()) + 16.0;
        if x > MARGIN && x + wide > WIDTH - MARGIN {
            x = MARGIN;
            y += LINE;
        }
        let (square, text) = (y - 10.0, x + 17.0);
        let class = colour(series, index, None);
        _ = writeln!(
            body,
            r#"<rect class="{class}" x="{x:.1}" y="{square:.1}" width="11" height="11" rx="2"/><text x="{text:.1}" y="{y:.1}">{}</text>"#,
            escape(name)
        );
        x += wide;
    }
    y
}

fn draw_bar(body: &mut String, bar: Bar, y: f64, class: &str, x: &impl Fn(f64) -> f64) {
    let (start, end) = (x(0.0), x(bar.value));
    let wide = (end - start).max(1.0);
    _ = writeln!(
        body,
        r#"<rect class="{class}" x="{start:.1}" y="{y:.1}" width="{wide:.1}" height="{BAR}" rx="1.5"/>"#
    );
    let (low, high, middle) = (x(bar.low), x(bar.high), y + BAR / 2.0);
    if high - low >= 1.0 {
        let (above, below) = (middle - 3.5, middle + 3.5);
        _ = writeln!(
            body,
            r#"<path class="spread" d="M{low:.1} {middle:.1}H{high:.1}M{low:.1} {above:.1}V{below:.1}M{high:.1} {above:.1}V{below:.1}"/>"#
        );
    }
    let (text, base) = (end.max(high) + 6.0, middle + 4.0);
    let value = escape(&number(bar.value));
    let weight = if class == "own" { "strong" } else { "soft" };
    _ = writeln!(body, r#"<text class="{weight}" x="{text:.1}" y="{base:.1}">{value}</text>"#);
}

/// natgw in its own colour; the others in the order of the legend. A single series is told apart by `group`.
fn colour(series: &[String], index: usize, group: Option<&str>) -> &'static str {
    const CLASSES: [&str; COLOURS] = ["c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7"];
    let is_own =
        |name: &str| name.strip_prefix("natgw").is_some_and(|rest| !rest.starts_with(char::is_alphanumeric));
    match group {
        Some(group) if is_own(group) => "own",
        Some(_) => {
            if series.iter().any(|name| is_own(name)) {
                "own"
            } else {
                "c4"
            }
        }
        None if is_own(&series[index]) => "own",
        None => {
            let before = series[..index].iter().filter(|name| !is_own(name)).count();
            CLASSES[before % COLOURS]
        }
    }
}

/// About how wide so many letters are.
fn width(letters: usize) -> f64 {
    f64::from(u32::try_from(letters).unwrap_or(u32::MAX)) * LETTER
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests;
