//! Two byte strings side by side, for the message of a failed assertion.

use std::fmt::Write as _;

/// A hex dump of both, 16 bytes a row, rows that differ marked with `!` and differing bytes pointed at.
pub fn diff(expected: &[u8], actual: &[u8]) -> String {
    let mut out = format!("expected {} bytes, got {}\n", expected.len(), actual.len());
    let rows = expected.len().max(actual.len()).div_ceil(16);
    for row in 0..rows {
        let range = |bytes: &[u8]| -> Vec<u8> { bytes.iter().skip(row * 16).take(16).copied().collect() };
        let (e, a) = (range(expected), range(actual));
        let mark = if e == a { ' ' } else { '!' };
        let _ = writeln!(out, "{mark} {:04x}  {}  {}", row * 16, hex(&e), hex(&a));
        if e != a {
            let points: String = (0..16).map(|i| if e.get(i) == a.get(i) { "   " } else { "^^ " }).collect();
            let _ = writeln!(out, "{:8}{:48}  {points}", "", "");
        }
    }
    out
}

fn hex(bytes: &[u8]) -> String {
    let text: String = bytes.iter().fold(String::new(), |mut s, b| {
        let _ = write!(s, "{b:02x} ");
        s
    });
    format!("{text:48}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_at_what_differs() {
        let d = diff(&[1, 2, 3], &[1, 9, 3]);
        assert!(d.contains("! 0000  01 02 03"), "{d}");
        assert!(d.lines().any(|l| l.trim_end().ends_with("^^")), "{d}");
        assert!(diff(&[7; 20], &[7; 20]).lines().skip(1).all(|l| l.starts_with(' ')));
    }
}
