//! How tables, units and colours look. What is in them is each verb's business.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write};

use crate::observe::number::float;

/// Colours only on a terminal, and not when `NO_COLOR` says so (<https://no-color.org>).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// ANSI escapes.
    Colour,
    /// Bytes as they are.
    Plain,
}

impl Paint {
    /// For standard output.
    pub fn stdout() -> Self {
        Self::for_stream(io::stdout().is_terminal())
    }

    /// For standard error.
    pub fn stderr() -> Self {
        Self::for_stream(io::stderr().is_terminal())
    }

    fn for_stream(terminal: bool) -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        if terminal && !refused { Self::Colour } else { Self::Plain }
    }

    /// For headings.
    pub fn bold(self, text: &str) -> String {
        self.wrap("1", text)
    }

    /// For what is wrong.
    pub fn red(self, text: &str) -> String {
        self.wrap("31", text)
    }

    /// For what is right.
    pub fn green(self, text: &str) -> String {
        self.wrap("32", text)
    }

    fn wrap(self, code: &str, text: &str) -> String {
        match self {
            Self::Colour => format!("\x1b[{code}m{text}\x1b[0m"),
            Self::Plain => text.to_owned(),
        }
    }
}

/// On which side a column's cells stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Texts.
    Left,
    /// Numbers.
    Right,
}

/// Columns without lines, as `ip` and `conntrack` print them; ends with a line feed.
pub fn table(columns: &[(&str, Align)], rows: &[Vec<String>], paint: Paint) -> String {
    let mut text = String::new();
    let mut layout = Layout::new(columns, paint);
    layout.widen(rows);
    layout.head(&mut text);
    for row in rows {
        layout.line(row, &mut text);
    }
    text
}

/// Rows that are laid out at a time in a [`Stream`].
const BLOCK: usize = 1000;

/// A table whose rows are printed as they come, in memory that does not depend on their number. Columns grow when a
/// block of rows needs it, and never shrink.
pub struct Stream<'a> {
    layout: Layout<'a>,
    block: Vec<Vec<String>>,
    printed: bool,
}

impl<'a> Stream<'a> {
    /// A table without rows: nothing is printed of it, not even the head.
    pub fn new(columns: &'a [(&'a str, Align)], paint: Paint) -> Self {
        Self { layout: Layout::new(columns, paint), block: Vec::new(), printed: false }
    }

    /// One more row.
    pub fn row(&mut self, row: Vec<String>, out: &mut dyn Write) -> io::Result<()> {
        self.block.push(row);
        if self.block.len() < BLOCK { Ok(()) } else { self.finish(out) }
    }

    /// Prints what is left.
    pub fn finish(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let mut text = String::new();
        self.layout.widen(&self.block);
        if !self.printed && !self.block.is_empty() {
            self.printed = true;
            self.layout.head(&mut text);
        }
        for row in self.block.drain(..) {
            self.layout.line(&row, &mut text);
        }
        out.write_all(text.as_bytes())
    }
}

/// Names, sides and widths of columns.
struct Layout<'a> {
    columns: &'a [(&'a str, Align)],
    widths: Vec<usize>,
    paint: Paint,
}

impl<'a> Layout<'a> {
    fn new(columns: &'a [(&'a str, Align)], paint: Paint) -> Self {
        Self { columns, widths: columns.iter().map(|(name, _)| name.chars().count()).collect(), paint }
    }

    fn widen(&mut self, rows: &[Vec<String>]) {
        for row in rows {
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
    }

    fn head(&self, text: &mut String) {
        let mut line = String::new();
        self.cells(self.columns.iter().map(|(name, _)| *name), &mut line);
        text.push_str(&self.paint.bold(&line));
        text.push('\n');
    }

    fn line(&self, row: &[String], text: &mut String) {
        self.cells(row.iter().map(String::as_str), text);
        text.push('\n');
    }

    /// Two blanks between columns, none at the end.
    fn cells<'c>(&self, cells: impl Iterator<Item = &'c str>, text: &mut String) {
        let start = text.len();
        for ((cell, (_, align)), width) in cells.zip(self.columns).zip(&self.widths) {
            // Writing to a String cannot fail.
            let _ = match align {
                Align::Left => write!(text, "{cell:<width$}  "),
                Align::Right => write!(text, "{cell:>width$}  "),
            };
        }
        text.truncate(start + text[start..].trim_end().len());
    }
}

/// Bytes with a binary unit: `5.0 KiB`.
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if n < 1024 {
        return format!("{n} B");
    }
    let mut value = float(n);
    let mut unit = "B";
    for next in UNITS {
        // 1023.95 would be printed as 1024.0.
        if value < 1023.95 {
            break;
        }
        (value, unit) = (value / 1024.0, next);
    }
    format!("{value:.1} {unit}")
}

/// A rate in bits per second with a decimal unit: `1.2 Mbit/s`.
pub fn bits_per_second(bytes_per_second: f64) -> String {
    let mut value = bytes_per_second * 8.0;
    for unit in ["bit/s", "kbit/s", "Mbit/s", "Gbit/s"] {
        if value < 999.95 {
            return format!("{value:.1} {unit}");
        }
        value /= 1000.0;
    }
    format!("{value:.1} Tbit/s")
}

/// Seconds, in the largest unit that fits and the next one: `0.3s`, `42s`, `1m56s`, `2h04m`.
pub fn seconds(s: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "ages are finite and not negative"
    )]
    let whole = s as u64;
    match whole {
        0..10 => format!("{s:.1}s"),
        10..60 => format!("{whole}s"),
        60..3600 => format!("{}m{:02}s", whole / 60, whole % 60),
        3600..86_400 => format!("{}h{:02}m", whole / 3600, whole / 60 % 60),
        _ => format!("{}d{:02}h", whole / 86_400, whole / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units() {
        for (n, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_048_575, "1.0 MiB"),
            (5120, "5.0 KiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(bytes(n), text);
        }
        assert_eq!(bits_per_second(0.0), "0.0 bit/s");
        assert_eq!(bits_per_second(125_000.0), "1.0 Mbit/s");
        for (s, text) in [
            (0.31, "0.3s"),
            (42.9, "42s"),
            (116.0, "1m56s"),
            (297.0, "4m57s"),
            (3599.9, "59m59s"),
            (7439.7, "2h03m"),
            (9e4, "1d01h"),
        ] {
            assert_eq!(seconds(s), text);
        }
    }

    #[test]
    fn columns_line_up_without_trailing_blanks() {
        let rows = [vec!["tcp".to_owned(), "5".to_owned()], vec!["icmp".to_owned(), "1234".to_owned()]];
        let text = table(&[("PROTO", Align::Left), ("PACKETS", Align::Right)], &rows, Paint::Plain);
        assert_eq!(text, "PROTO  PACKETS\ntcp          5\nicmp      1234\n");
    }

    #[test]
    fn a_stream_prints_its_head_once_and_grows() {
        let columns = [("A", Align::Left), ("B", Align::Right)];
        let mut stream = Stream::new(&columns, Paint::Plain);
        let mut out = Vec::new();
        stream.finish(&mut out).expect("a Vec takes it");
        assert!(out.is_empty(), "no rows, no head");
        for n in 0..=BLOCK {
            let wide = if n == BLOCK { "wide" } else { "x" };
            stream.row(vec![wide.to_owned(), n.to_string()], &mut out).expect("a Vec takes it");
        }
        stream.finish(&mut out).expect("a Vec takes it");
        let text = String::from_utf8(out).expect("ASCII");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines.len(), lines[0], lines[1]), (BLOCK + 2, "A    B", "x    0"));
        assert_eq!(lines[BLOCK + 1], "wide  1000");
    }

    #[test]
    fn colours_wrap_the_text() {
        assert_eq!(Paint::Plain.red("x"), "x");
        assert_eq!(Paint::Colour.red("x"), "\x1b[31mx\x1b[0m");
    }
}
